"""The only room that steps an optimiser: a student, or a stack of students as one network."""

from pitskd.training.loop import fit_module, train
from pitskd.training.plan import Outcome, Plan, Rows, adam

__all__ = ["Outcome", "Plan", "Rows", "adam", "fit_module", "train"]
