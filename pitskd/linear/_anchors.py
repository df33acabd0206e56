"""The inside of anchored distillation: a prior rule from the middle, and a student that is shrunk towards it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pitskd._estimator import Distillation
from pitskd._lessons import Classification, Lesson, Regression, Task
from pitskd._teaching import Teaching, check_prefitted, check_privileged_rows
from pitskd._validation import check_choice, check_fraction, check_integer, check_strength, wrong
from pitskd.linear._evidence import RegressionRule
from pitskd.linear._families import Rules, anchored_rules, calibrated, dynamics_rules, taught_targets
from pitskd.linear._links import Chain
from pitskd.linear._paths import logistic_path, ridge_path
from pitskd.linear._search import FamilySearch, distinct, row_weights
from pitskd.linear._states import DYNAMICS, Walk, channel_order
from pitskd.linear.tuned import location_and_scale, log_probabilities

__all__: list[str] = []

_ANCHORS = np.logspace(-4, 5, 10)


@dataclass(frozen=True, eq=False)
class ClassificationRule:
    """A linear student of logits."""

    coef_: np.ndarray  # (k, d), one logit for two classes
    intercept_: np.ndarray  # (k,)
    classes_: np.ndarray

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        values = X @ self.coef_.T + self.intercept_
        return values[:, 0] if len(self.classes_) == 2 else values

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.exp(log_probabilities(X @ self.coef_.T + self.intercept_))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class _Anchored(Distillation):
    """The settings that single students and searches share, and their checks."""

    towards: Any
    states: Any
    static: Any
    order: Any
    target_imitation: Any
    teacher: Any
    _learner = _predictor = ""  # everything is linear and takes no NaN

    def _template(self) -> Any:
        return None

    def _temperature(self) -> float:
        return 1.0

    def _check_settings(self, task: Task) -> None:
        super()._check_settings(task)
        check_choice("towards", self.towards, ("chain", "dynamics"), 'Use "chain" if X has a single row per window.')
        Walk(self.states, self.static).check()
        check_integer("order", self.order, minimum=1, step="Use 1 for dynamics of the last row alone.")
        check_fraction("target_imitation", self.target_imitation, "Use 0.0 for hard targets only.")
        self._temperature()
        task.check_teacher(self.teacher)
        check_prefitted(self.teacher, None)

    def _check_lesson(self, task: Task, lesson: Lesson, imitations: set[float]) -> None:
        if not lesson.labelled.any():
            raise wrong("y", "present in some rows", "none", "Pass the targets you have.")
        Walk("steps", self.static).check_rows(lesson)
        if not lesson.privileged.any():
            return
        if self.towards == "dynamics":
            self._check_dynamics(lesson)
        elif imitations != {0.0}:
            Walk(self.states, self.static).check_rows(lesson)
        if self.towards == "dynamics" or imitations != {0.0}:
            check_privileged_rows(task, lesson, "Pass more rows with both.")
        if self.target_imitation > 0.0:
            teaching = Teaching(task, self.teacher, None, None)
            teaching.check(lesson)
            teaching.check_width(lesson, "Fit it to the rows of X_privileged alone.")

    def _check_dynamics(self, lesson: Lesson) -> None:
        channel_order(lesson, *DYNAMICS)
        window = lesson.window[0] if len(lesson.window) == 2 else 1
        if self.order > window:
            expected = f"at most {window}, the rows of an input window"
            raise wrong("order", expected, self.order, "Use fewer lags or longer windows.")

    def _needs_privilege(self, imitations: list[float]) -> bool:
        return self.towards == "dynamics" or max(imitations) > 0.0 or self.target_imitation > 0.0


class SingleAnchored(_Anchored):
    """One student at one strength."""

    anchor: Any
    imitation: Any
    penalty: Any

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Learn the prior rule from the middle, then the student.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What the student sees; windows are flattened time-major.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows teach the prior, and the student where `target_imitation` is
            above 0).
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            The middle: steps in order of time, two axes are one step; a row that is all NaN has no privileged part
            and keeps its hard target.
        sample_weight : array of shape (n,), default=None
            Weights of rows, for prior, teacher and student.

        Returns
        -------
        self : object
        """
        task = self._task()
        above = isinstance(task, Classification)
        anchor = check_strength("anchor", self.anchor, "Use e.g. 10.0.", above=above)
        penalty = check_strength("penalty", self.penalty, "Use e.g. 3.0.", above=above)
        imitation = check_fraction("imitation", self.imitation, "Use 1.0 to learn from the link after alone.")
        lesson = self._read(task, X, y, X_privileged, sample_weight, {imitation})
        taught = not self._needs_privilege([imitation]) or self._can_teach(lesson)
        weight = row_weights(lesson)
        rows, self.teacher_ = np.asarray(lesson.X, dtype=np.float64), None
        targets, counts = lesson.hard, weight * lesson.labelled
        if taught and self.target_imitation > 0.0:
            settings = self.target_imitation, self._temperature(), self.teacher
            self.teacher_, targets, counts = taught_targets(task, lesson, weight, *settings)
        prior = self._prior(task, lesson, imitation if taught else 0.0, penalty)
        if isinstance(task, Classification):
            coef, intercept = calibrated(prior[0][None], prior[1][None], rows, lesson, weight[None])
            prior = coef[0], intercept[0]
        self.prior_coef_, self.prior_intercept_ = prior
        self.coef_, self.intercept_ = _shrunk(task, rows, targets, counts, prior, anchor)
        return self._finish(task)

    def _prior(self, task: Task, lesson: Lesson, imitation: float, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the rule that the middle implies; without a middle that of the plain model."""
        if self.towards == "dynamics" and lesson.privileged.any():
            rules = dynamics_rules(task, lesson, [penalty], row_weights(lesson)[None], order=self.order)
            return rules.coef[0, 0], rules.intercept[0, 0]
        link = task.default().set_params(penalties=[penalty])
        student = Chain(task, link, imitation, Walk(self.states, self.static)).links(lesson)[0]
        return student.coef_, student.intercept_

    def _finish(self, task: Any) -> Any:
        kind, own = (RegressionRule, "one_target") if isinstance(task, Regression) else (ClassificationRule, "classes")
        self.student_ = kind(self.coef_, self.intercept_, getattr(task, own))
        return super()._finish(task)


def _shrunk(
    task: Task, X: np.ndarray, targets: np.ndarray, weight: np.ndarray, prior: tuple[np.ndarray, np.ndarray],
    anchor: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return coefficients (k, d) and intercepts of the student: what the prior leaves of the targets, shrunk to 0."""
    coef, intercept = prior
    mean, scale = location_and_scale(X, weight)
    unit, told, anchors = (X - mean) / scale, X @ coef.T + intercept, np.array([anchor])
    if isinstance(task, Regression):
        departure, constant = (part[0] for part in ridge_path(unit, targets - told, anchors, weight))
    else:
        offset = (told[:, 0] if told.shape[1] == 1 else told)[None]
        paths = logistic_path(unit, targets[None], anchors, weight[None], offset=offset)
        departure, constant = (part[0, 0] for part in paths)
    departure = departure / scale
    return coef + departure, intercept + constant - departure @ mean


class SearchedAnchored(FamilySearch, _Anchored):
    """The best of many anchored students."""

    anchors: Any

    def _check_settings(self, task: Task) -> None:
        super()._check_settings(task)
        self._anchor_candidates(task)

    def _anchor_candidates(self, task: Task) -> np.ndarray:
        return distinct("anchors", _ANCHORS if self.anchors is None else self.anchors, task)

    def _rules(
        self, task: Task, lesson: Lesson, imitations: list[float], penalties: np.ndarray, weights: np.ndarray
    ) -> Rules:
        shared = ("towards", "states", "static", "order", "target_imitation", "teacher")
        settings = {name: getattr(self, name) for name in shared}
        anchors = list(self._anchor_candidates(task))
        return anchored_rules(
            task, lesson, anchors, weights, imitations=imitations, penalties=list(penalties),
            temperature=self._temperature(), **settings,
        )  # fmt: skip

    def _finish(self, task: Any) -> Any:
        for name in ("coef_", "intercept_", "prior_coef_", "prior_intercept_"):
            setattr(self, name, getattr(self.best_estimator_, name))
        return super()._finish(task)

    def _best_settings(self, taught: bool) -> dict[str, Any]:
        best = dict(self.best_params_)
        if np.isnan(best["imitation"]):  # towards dynamics, which have none
            best["imitation"] = 0.0
        shared = ("towards", "states", "static", "order", "target_imitation", "teacher")
        plain = {} if taught else {"towards": "chain", "target_imitation": 0.0}
        return {name: getattr(self, name) for name in shared} | best | plain
