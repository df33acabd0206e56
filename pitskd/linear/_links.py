"""The inside of chain distillation: links fitted from the last to the student, one chain or a search through many.

Every link is one call of `teach`, so rows without label, rows without privileged part and weights behave as they do
in generalized distillation, and so does any scikit-learn link.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pitskd._estimator import Distillation, Searching
from pitskd._lessons import Classification, Folds, Lesson, Task, teach
from pitskd._teaching import accepts_nan, check_privileged_rows
from pitskd._validation import check_choice, check_fraction, check_strength, wrong
from pitskd.linear._families import Rules, chain_rules
from pitskd.linear._search import FamilySearch, distinct, row_weights
from pitskd.linear._states import Walk
from pitskd.linear.dynamics import Dynamics, pooled_dynamics

__all__: list[str] = []

_PENALTIES = np.logspace(-4, 4, 9)


@dataclass(frozen=True)
class Chain:
    """How links are fitted, from the last to the student."""

    task: Task
    link: Any
    imitation: float
    walk: Walk
    penalty: float = 1.0  # of pooled dynamics

    def links(self, lesson: Lesson) -> list[Any]:
        """Return the fitted links, the student first; alone where there is nothing to imitate."""
        nothing = np.full(lesson.hard.shape, np.nan)
        if self.imitation == 0.0 or not lesson.privileged.any():
            return [teach(self.task, self.link, lesson, nothing, 0.0)]
        seen, (first, *states) = lesson.rows(lesson.privileged), self.walk.of(lesson)
        states = [state[lesson.privileged] for state in states]
        dynamics = self._dynamics(seen, [first[lesson.privileged], *states]) if self.walk.alike else None
        links = [teach(self.task, self.link, replace(seen, X=states[-1]), nothing[lesson.privileged], 0.0)]
        for state, following in zip(states[-2::-1], states[:0:-1], strict=True):
            soft = self._ask(links[0], state, following, dynamics)
            links.insert(0, teach(self.task, self.link, replace(seen, X=state), soft, self.imitation))
        nothing[lesson.privileged] = self._ask(links[0], first[lesson.privileged], states[0], dynamics)
        return [teach(self.task, self.link, lesson, nothing, self.imitation), *links]

    def _ask(self, link: Any, state: np.ndarray, following: np.ndarray, dynamics: Dynamics | None) -> np.ndarray:
        """Return what a link says of the state that follows, as observed or as pooled dynamics forecast it."""
        scores = self.task.scores(link, following if dynamics is None else dynamics(state))
        return self.task.soften(scores, 1.0)

    def _dynamics(self, seen: Lesson, states: list[np.ndarray]) -> Dynamics:
        path, moving = np.stack(states, axis=1), self.walk.moving(seen)
        return pooled_dynamics(path, row_weights(seen), penalty=self.penalty, moving=moving)


class _Chained(Distillation):
    """The settings that single chains and searches share, and their checks."""

    stationary: Any
    link: Any
    states: Any
    static: Any
    links_: list[Any]
    _learner, _predictor = "link", "link"

    def _template(self) -> Any:
        return self.link

    def _walk(self) -> Walk:
        return Walk(self.states, self.static, alike=bool(self.stationary))

    def _allows_holes(self, task: Task) -> bool:
        return self.link is not None and not self.stationary and accepts_nan(self.link)

    def _default_link(self, task: Task, penalty: float) -> Any:
        return task.default().set_params(penalties=[penalty])

    def _check_settings(self, task: Task) -> None:
        super()._check_settings(task)
        check_choice("stationary", self.stationary, (True, False), "Use False for dynamics of each step's own.")
        self._walk().check()
        if self.link is not None:
            task.check_student(self.link, taught=False, weighted=False, scored=False, name="link")
            task.check_teacher(self.link, "link")

    def _check_lesson(self, task: Task, lesson: Lesson, imitations: set[float]) -> None:
        if not lesson.labelled.any():
            raise wrong("y", "present in some rows", "none", "Pass the targets you have.")
        Walk(static=self.static).check_rows(lesson)
        if imitations != {0.0}:
            self._walk().check_rows(lesson)
            check_privileged_rows(task, lesson, "Pass more rows with both.")
        if self.link is not None:
            task.check_student(
                self.link,
                taught=imitations != {0.0},
                weighted=lesson.needs_weights(imitations),
                scored=isinstance(self, Searching),
                name="link",
            )

    def _finish(self, task: Any) -> Any:
        self.student_ = self.links_[0]
        self.teacher_ = self.links_[1] if len(self.links_) > 1 else None
        return super()._finish(task)

    @property
    def coef_(self) -> np.ndarray:
        """Coefficients of the student for features as given, where its link has any."""
        return self.student_.coef_

    @property
    def intercept_(self) -> np.ndarray:
        """Intercept of the student, where its link has one."""
        return self.student_.intercept_


class SingleChain(_Chained):
    """One chain at one imitation."""

    imitation: Any
    penalty: Any

    def fit(self, X: Any, y: Any, *, X_privileged: Any = None, sample_weight: Any = None) -> Any:
        """Fit the links backwards, from the last privileged step to the student.

        Parameters
        ----------
        X : array of shape (n, d) or (n, window, n_channels)
            What the student sees; windows are flattened time-major.
        y : array of shape (n,), or (n, n_targets) for regression
            Targets; NaN or None where missing (such rows learn from the link after alone).
        X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels), default=None
            The middle: steps in order of time, two axes are one step; a row that is all NaN has no privileged part
            and keeps its hard target.
        sample_weight : array of shape (n,), default=None
            Weights of rows, for every link.

        Returns
        -------
        self : object
        """
        imitation = check_fraction("imitation", self.imitation, "Use 1.0 to learn from the link after alone.")
        task = self._task()
        above = self.link is None and isinstance(task, Classification)
        penalty = check_strength("penalty", self.penalty, "Use e.g. 1.0.", above=above)
        lesson = self._read(task, X, y, X_privileged, sample_weight, {imitation})
        if imitation > 0.0 and not self._can_teach(lesson):
            imitation = 0.0
        link = self._default_link(task, penalty) if self.link is None else self.link
        walk = self._walk()
        if imitation > 0.0 and penalty == 0.0 and self.link is None and not self.stationary:
            _warn_if_idle(walk, lesson, self._caller)
        self.links_ = Chain(task, link, imitation, walk, penalty).links(lesson)
        return self._finish(task)


def _warn_if_idle(walk: Walk, lesson: Lesson, caller: int) -> None:
    """Name the chains that provably teach nothing (methods: chain distillation)."""
    n_rows = np.count_nonzero(lesson.counts & lesson.privileged)
    widest = max(state.shape[1] for state in walk.of(lesson)[1:])
    if widest + 1 >= n_rows:
        warnings.warn(
            f"penalty=0 lets a link of {widest} columns reproduce the targets of {n_rows} rows exactly: what lies "
            "after it in the chain teaches nothing. Use a penalty above 0, e.g. 1.0.",
            UserWarning,
            stacklevel=caller,
        )


class SearchedChain(FamilySearch, _Chained):
    """The best of many chains; default links of each step's own are solved for all folds and settings at once."""

    def _imitation_candidates(self) -> list[float]:
        return sorted({0.0, *super()._imitation_candidates()})

    def _penalty_candidates(self, task: Task) -> np.ndarray:
        if self.link is not None and not self.stationary:
            if self.penalties is not None:
                expected = "None for links that are given"
                raise wrong("penalties", expected, self.penalties, "Tune the link itself with GridSearchCV.")
            return np.full(1, np.nan)
        default = _PENALTIES if self.link is None else np.ones(1)
        return distinct("penalties", default if self.penalties is None else self.penalties, task)

    def _held_out(
        self, task: Task, lesson: Lesson, folds: Folds, imitations: list[float], penalties: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        if self.link is None and not self.stationary:
            return super()._held_out(task, lesson, folds, imitations, penalties)
        grid = [(imitation, float(penalty)) for imitation in imitations for penalty in penalties]
        sums = np.zeros((len(folds), len(grid)))
        for f, (train, test) in enumerate(folds):
            part, held_out = lesson.rows(train), lesson.rows(test)
            for m, (imitation, penalty) in enumerate(grid if len(test) else ()):
                link = self._default_link(task, penalty) if self.link is None else self.link
                student = Chain(task, link, imitation, self._walk(), penalty).links(part)[0]
                losses = task.losses(task.predict(student, held_out.X), held_out.hard)
                sums[f, m] = losses @ row_weights(held_out)
        columns = np.array(grid).T
        return {"imitation": columns[0].copy(), "penalty": columns[1].copy()}, sums

    def _rules(
        self, task: Task, lesson: Lesson, imitations: list[float], penalties: np.ndarray, weights: np.ndarray
    ) -> Rules:
        walk = {"states": self.states, "static": self.static}
        return chain_rules(task, lesson, imitations, list(penalties), weights, **walk)

    def _finish(self, task: Any) -> Any:
        self.links_ = self.best_estimator_.links_
        return super()._finish(task)

    def _best_settings(self) -> dict[str, Any]:
        penalty = self.best_params_["penalty"]
        shared = ("stationary", "link", "states", "static")
        return {
            **{name: getattr(self, name) for name in shared},
            "imitation": self.best_params_["imitation"],
            "penalty": 1.0 if np.isnan(penalty) else penalty,
        }
