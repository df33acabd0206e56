"""Neural students: networks taught by those that see more, one by one or whole grids as one."""

from pitskd.neural.bias import ClassBiasCorrection
from pitskd.neural.distillation import NeuralDistillationClassifier, NeuralDistillationRegressor
from pitskd.neural.munge import munge
from pitskd.neural.refinery import LabelRefineryClassifier
from pitskd.neural.search import NeuralDistillationClassifierCV, NeuralDistillationRegressorCV

__all__ = [
    "ClassBiasCorrection",
    "LabelRefineryClassifier",
    "NeuralDistillationClassifier",
    "NeuralDistillationClassifierCV",
    "NeuralDistillationRegressor",
    "NeuralDistillationRegressorCV",
    "munge",
]
