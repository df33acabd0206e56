"""The search through a family of linear students by held-out loss, all folds and settings at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from pitskd._estimator import Searching
from pitskd._lessons import Classification, Folds, Lesson, Task
from pitskd._teaching import check_privileged_rows
from pitskd._validation import check_fraction, check_penalties, is_list, wrong
from pitskd.linear._families import Rules
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__: list[str] = []


class FamilySearch(Searching):
    """The best of a family, then fitted to all rows."""

    imitations: Any
    penalties: Any
    best_estimator_: Any

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Choose the settings by held-out loss, then fit to all rows.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What the student sees; windows are flattened time-major.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows are never scored).
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            The middle: steps in order of time, two axes are one step; a row that is all NaN has no privileged part
            and keeps its hard target.
        sample_weight : array of shape (n,), default=None
            Weights of rows, for training and held-out loss.

        Returns
        -------
        self : object
        """
        task = self._task()
        imitations, penalties = self._imitation_candidates(), self._penalty_candidates(task)
        lesson = self._read(task, X, y, X_privileged, sample_weight, set(imitations))
        taught = self._needs_privilege(imitations)
        if taught and not self._can_teach(lesson):
            taught, imitations = False, [0.0]
        folds = self._splits(task, lesson, (lambda part: _check_part(task, part)) if taught else None)
        settings, losses = self._held_out(task, lesson, folds, imitations, penalties)
        weights = np.array([row_weights(lesson)[test].sum() for _, test in folds])
        self._choose_best(settings, losses, weights)
        best = self._best(taught).fit(X, y, X_privileged=X_privileged if taught else None, sample_weight=sample_weight)
        self.best_estimator_, self.student_, self.teacher_ = best, best.student_, best.teacher_
        return self._finish(task)

    def _imitation_candidates(self) -> list[float]:
        """Return the distinct imitations, ascending."""
        advice = "Use e.g. (0.0, 0.5, 0.8, 1.0)."
        listed = list(self.imitations) if is_list(self.imitations) else [self.imitations]
        if not listed:
            raise wrong("imitations", "at least one number between 0 and 1", self.imitations, advice)
        return sorted({check_fraction("imitations", value, advice) for value in listed})

    def _penalty_candidates(self, task: Task) -> np.ndarray:
        """Return the distinct penalties from strong to weak, so that ties go to the strong."""
        return distinct("penalties", self.penalties, task)

    def _needs_privilege(self, imitations: list[float]) -> bool:
        return max(imitations) > 0.0

    def _held_out(
        self, task: Task, lesson: Lesson, folds: Folds, imitations: list[float], penalties: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return settings, and summed held-out losses (n_folds, n_settings)."""
        weight = row_weights(lesson)
        sets = np.stack([np.bincount(train, minlength=len(weight)) * weight for train, _ in folds])
        rules = self._rules(task, lesson, imitations, penalties, sets)
        loss = TunedLogisticRegression.losses if isinstance(task, Classification) else TunedRidge.losses
        sums = np.empty(rules.coef.shape[:2])
        for f, (_, test) in enumerate(folds):
            values = np.swapaxes(rules.coef[f] @ lesson.X[test].T, 1, 2) + rules.intercept[f][:, None]
            sums[f] = loss(values, lesson.hard[test]) @ weight[test]
        return {str(name): column.to_numpy() for name, column in rules.settings.items()}, sums

    @abstractmethod
    def _rules(
        self, task: Task, lesson: Lesson, imitations: list[float], penalties: np.ndarray, weights: np.ndarray
    ) -> Rules:
        """Return the family on every training set, the settings that win a tie first."""

    @abstractmethod
    def _best(self, taught: bool) -> Any:
        """Return the single estimator to be fitted to all rows, to the middle only if `taught`."""


def distinct(name: str, values: Any, task: Task) -> np.ndarray:
    """Return distinct strengths of a penalty, strong ones first; of default models alone above 0 for classes."""
    return np.unique(check_penalties(name, values, above=isinstance(task, Classification)))[::-1]


def row_weights(lesson: Lesson) -> np.ndarray:
    """Return the weights of rows, 1 where none are given."""
    return np.ones(len(lesson.X)) if lesson.weight is None else lesson.weight


def _check_part(task: Task, part: Lesson) -> None:
    check_privileged_rows(task, part, "Use fewer folds or more rows.")
