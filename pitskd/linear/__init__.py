"""Convex students, the rules that the middle implies, and the solvers that fit whole grids of them."""

from pitskd.linear.anchored import (
    AnchoredDistillationClassifier,
    AnchoredDistillationClassifierCV,
    AnchoredDistillationRegressor,
    AnchoredDistillationRegressorCV,
)
from pitskd.linear.chain import (
    ChainDistillationClassifier,
    ChainDistillationClassifierCV,
    ChainDistillationRegressor,
    ChainDistillationRegressorCV,
)
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__ = [
    "AnchoredDistillationClassifier",
    "AnchoredDistillationClassifierCV",
    "AnchoredDistillationRegressor",
    "AnchoredDistillationRegressorCV",
    "ChainDistillationClassifier",
    "ChainDistillationClassifierCV",
    "ChainDistillationRegressor",
    "ChainDistillationRegressorCV",
    "TunedLogisticRegression",
    "TunedRidge",
]
