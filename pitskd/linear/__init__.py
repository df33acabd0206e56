"""Convex students and the solvers that fit whole grids of them."""

from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__ = ["TunedLogisticRegression", "TunedRidge"]
