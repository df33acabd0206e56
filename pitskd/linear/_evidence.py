"""Chains, dynamics and anchored students learnt from sums over rows instead of from the rows themselves.

Every one of these rules is a ladder of ridge regressions whose features are columns of ``[X | X_privileged | y]`` and
whose targets are affine in them. So all they need are the moments of those columns, one set for each kind of row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pitskd._lessons import Lesson
from pitskd.linear._moments import Affine, Moments, check_alike, check_same_names, merged, ridge_rules
from pitskd.linear._states import DYNAMICS, Walk, whole_path
from pitskd.linear.dynamics import Dynamics, dynamics_rule

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class RegressionRule:
    """A linear student."""

    coef_: np.ndarray  # (k, d)
    intercept_: np.ndarray  # (k,)
    one_target: bool

    def predict(self, X: np.ndarray) -> np.ndarray:
        values = X @ self.coef_.T + self.intercept_
        return values[:, 0] if self.one_target else values


BOTH, LABELLED, PRIVILEGED = "labelled and privileged", "labelled only", "privileged only"
_SEEN = (BOTH, PRIVILEGED)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What rows of one shape add up to.

    Parameters
    ----------
    moments : dict of str to Moments
        Of the columns that each kind of row has: X, then X_privileged unless "labelled only", then y unless "privileged
        only".
    window, middle : tuple of int
        Trailing shapes of X and X_privileged; of the latter () while no row had any.
    n_targets : int
    one_target : bool
        Whether y has one axis.
    features, names : tuple of str or None
        Names of the columns of X and of X_privileged, if they came in frames.
    """

    moments: dict[str, Moments]
    window: tuple[int, ...]
    middle: tuple[int, ...]
    n_targets: int
    one_target: bool
    features: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, lesson: Lesson, one_target: bool) -> Evidence:
        """Add up rows as an estimator has read them; those of weight 0 are no evidence."""
        if lesson.weight is not None:
            lesson = lesson.rows(lesson.weight > 0)
        kinds = {
            BOTH: lesson.labelled & lesson.privileged,
            LABELLED: lesson.labelled & ~lesson.privileged,
            PRIVILEGED: lesson.privileged & ~lesson.labelled,
        }
        moments = {kind: _summed(lesson, kind, rows) for kind, rows in kinds.items() if rows.any()}
        middle, names = (lesson.middle, lesson.names) if lesson.privileged.any() else ((), None)
        return cls(moments, lesson.window, middle, lesson.hard.shape[1], one_target, lesson.features, names)

    @property
    def n_features(self) -> int:
        return int(np.prod(self.window))

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Trailing shape of y."""
        return () if self.one_target else (self.n_targets,)

    @property
    def n_privileged(self) -> int:
        return int(np.prod(self.middle)) if self.middle else 0

    @property
    def n_rows(self) -> int:
        return sum(part.count for part in self.moments.values())

    @property
    def privileged(self) -> bool:
        """Tell whether any row had a privileged part."""
        return bool(self.middle)

    @property
    def n_taught(self) -> int:
        """Number of rows with label and privileged part."""
        return self.moments[BOTH].count if BOTH in self.moments else 0

    @property
    def n_labelled(self) -> int:
        return self.n_taught + (self.moments[LABELLED].count if LABELLED in self.moments else 0)

    def merged(self, other: Evidence) -> Evidence:
        """Return what the rows of both add up to; refuse rows of another shape."""
        check_alike("X", self.window, other.window)
        check_alike("y", self.target_shape, other.target_shape)
        check_same_names("X", self.features, other.features)
        if self.middle and other.middle:
            check_alike("X_privileged", self.middle, other.middle)
            check_same_names("X_privileged", self.names, other.names)
        moments = dict(self.moments)
        for kind, part in other.moments.items():
            moments[kind] = moments[kind].merged(part) if kind in moments else part
        known = self if self.middle else other
        return replace(self, moments=moments, middle=known.middle, names=known.names)

    # ------------------------------------------------ columns, by their numbers in [X | X_privileged | y]

    def columns(self) -> Lesson:
        """Return a lesson of one row that holds the number of each column, so that states select columns."""
        X = np.arange(self.n_features, dtype=np.float64)[None]
        Z = np.arange(self.n_features, self.n_features + self.n_privileged, dtype=np.float64)[None]
        one = np.ones(1, dtype=bool)
        y = np.zeros((1, self.n_targets))
        known = one if self.privileged else ~one
        return Lesson(X, y, y, one, Z, known, None, self.names, self.features, self.window, self.middle)

    def states(self, walk: Walk) -> list[np.ndarray]:
        """Return the columns of every state, (d_t,)."""
        return [state[0].astype(np.intp) for state in walk.of(self.columns())]

    def path(self) -> np.ndarray:
        """Return the columns of input window and middle as one, (n_rows, n_channels)."""
        return whole_path(self.columns(), *DYNAMICS)[0].astype(np.intp)

    def target(self) -> Affine:
        """Return the map to y."""
        first = self.n_features + self.n_privileged
        return self.selecting(np.arange(first, first + self.n_targets))

    def selecting(self, columns: np.ndarray) -> Affine:
        """Return the map to some columns."""
        matrix = np.zeros((len(columns), self._n_columns))
        matrix[np.arange(len(columns)), columns] = 1.0
        return Affine(matrix, np.zeros(len(columns)))

    def told(self, coef: np.ndarray, intercept: np.ndarray, columns: np.ndarray) -> Affine:
        """Return the map to what a linear rule says of some columns."""
        matrix = np.zeros((len(coef), self._n_columns))
        matrix[:, columns] = coef
        return Affine(matrix, intercept)

    @property
    def _n_columns(self) -> int:
        return self.n_features + self.n_privileged + self.n_targets

    # ------------------------------------------------ regressions

    def regression(self, columns: np.ndarray, targets: dict[str, tuple[Affine, float]]) -> Moments:
        """Return the moments of some columns and of targets, over kinds of rows with a target and a weight each."""
        features, sides = self.selecting(columns), []
        for kind, (target, factor) in targets.items():
            if kind in self.moments and factor > 0.0:
                both = Affine(np.vstack([features.matrix, target.matrix]), np.append(features.shift, target.shift))
                sides.append(self._mapped(kind, both).scaled(factor))
        width = len(columns) + next(len(target.shift) for target, _ in targets.values())
        return merged(sides, width)

    def pooled(self, kinds: Iterable[tuple[str, list[np.ndarray]]]) -> Moments:
        """Return the moments of selections of columns, (n_columns,) each, pooled over selections and kinds of rows."""
        known = [(kind, many) for kind, many in kinds if kind in self.moments]
        parts = [self._mapped(kind, self.selecting(one)) for kind, many in known for one in many]
        return merged(parts, len(parts[0].mean))

    def _mapped(self, kind: str, affine: Affine) -> Moments:
        d, both = self.n_features, self.n_features + self.n_privileged
        absent = {LABELLED: range(d, both), PRIVILEGED: range(both, self._n_columns), BOTH: range(0)}[kind]
        return self.moments[kind].mapped(Affine(np.delete(affine.matrix, absent, axis=1), affine.shift))


def chain_links(
    evidence: Evidence, walk: Walk, imitation: float, penalty: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Fit the links of a chain, the student first.

    Parameters
    ----------
    evidence : Evidence
    walk : Walk
        ``alike`` asks links at the pooled dynamics' forecast of the next state.
    imitation : float
        Taken for 0 where no row has a privileged part.
    penalty : float
        Of every link, and of the dynamics.

    Returns
    -------
    links : list of (coef, intercept)
        Of shapes (k, d_t) and (k,), for features as given.
    """
    y, states = evidence.target(), evidence.states(walk)
    if imitation == 0.0 or not evidence.privileged:
        return [_ridge(evidence, states[0], {BOTH: (y, 1.0), LABELLED: (y, 1.0)}, penalty)]
    dynamics = state_dynamics(evidence, states, walk, penalty) if walk.alike else None
    links = [_ridge(evidence, states[-1], {BOTH: (y, 1.0)}, penalty)]
    for number in range(len(states) - 2, -1, -1):
        told = _asked(evidence, links[0], states[number], states[number + 1], dynamics)
        mixed = Affine(*((1.0 - imitation) * a + imitation * b for a, b in zip(y, told, strict=True)))
        targets = {BOTH: (mixed, 1.0), PRIVILEGED: (told, imitation)}
        if number == 0:
            targets[LABELLED] = y, 1.0
        links.insert(0, _ridge(evidence, states[number], targets, penalty))
    return links


def _ridge(
    evidence: Evidence, columns: np.ndarray, targets: dict[str, tuple[Affine, float]], penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    coef, intercept = ridge_rules(evidence.regression(columns, targets), len(columns), [penalty])
    return coef[0], intercept[0]


def _asked(
    evidence: Evidence, link: tuple[np.ndarray, np.ndarray], state: np.ndarray, following: np.ndarray,
    dynamics: Dynamics | None,
) -> Affine:  # fmt: skip
    """Return what a link says of the state that follows, as observed or as pooled dynamics forecast it."""
    coef, intercept = link
    if dynamics is None:
        return evidence.told(coef, intercept, following)
    return evidence.told(coef @ dynamics.matrix, intercept + coef @ dynamics.shift, state)


def state_dynamics(evidence: Evidence, states: list[np.ndarray], walk: Walk, penalty: float) -> Dynamics:
    """Return the map from each state of a chain to the next, pooled over all transitions."""
    moving = walk.moving(evidence.columns())
    rows = evidence.pooled((kind, states) for kind in _SEEN)
    steps = [np.append(now, following[moving]) for now, following in pairwise(states)]
    return _dynamics(rows, evidence.pooled((kind, steps) for kind in _SEEN), 1, moving, penalty)


def path_dynamics(evidence: Evidence, order: int, penalty: float) -> Dynamics:
    """Return the map from `order` rows of the series to the next, pooled over input windows and middle."""
    path, window = evidence.path(), evidence.window[0] if len(evidence.window) == 2 else 1

    def transitions(rows: np.ndarray) -> list[np.ndarray]:
        return [rows[t : t + order + 1].ravel() for t in range(len(rows) - order)]

    seen = {BOTH: path, PRIVILEGED: path, LABELLED: path[:window]}
    rows = evidence.pooled((kind, list(own)) for kind, own in seen.items())
    steps = evidence.pooled((kind, transitions(own)) for kind, own in seen.items() if len(own) > order)
    return _dynamics(rows, steps, order, np.arange(path.shape[1]), penalty)


def _dynamics(rows: Moments, steps: Moments, order: int, moving: np.ndarray, penalty: float) -> Dynamics:
    """Return dynamics from the moments of single rows and of stretches of `order` rows and what moves after them."""
    n_channels = len(rows.mean)
    scale = np.tile(rows.scale(), order)
    coef, intercept = ridge_rules(steps, order * n_channels, [penalty], scale)
    matrix, shift = np.eye(order * n_channels, k=n_channels), np.zeros(order * n_channels)
    still = (order - 1) * n_channels + np.setdiff1d(np.arange(n_channels), moving)
    last = (order - 1) * n_channels + moving
    matrix[still, still] = 1.0
    matrix[last], shift[last] = coef[0], intercept[0]
    return Dynamics(matrix, shift)


def dynamics_prior(evidence: Evidence, order: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rule that rolls pooled dynamics to the last privileged step and reads the target off it."""
    path, window = evidence.path(), evidence.window[0] if len(evidence.window) == 2 else 1
    link = _ridge(evidence, path[-order:].ravel(), {BOTH: (evidence.target(), 1.0)}, penalty)
    return dynamics_rule(path_dynamics(evidence, order, penalty), len(path) - window, *link, evidence.n_features)


def shrunk(evidence: Evidence, prior: tuple[np.ndarray, np.ndarray], anchor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the student whose departure from a prior rule of X is penalised."""
    return shrunk_path(evidence, prior, [anchor])[0]


def shrunk_path(
    evidence: Evidence, prior: tuple[np.ndarray, np.ndarray], anchors: Any
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the students at every anchor."""
    columns = np.arange(evidence.n_features)
    y, told = evidence.target(), evidence.told(*prior, columns)
    left = Affine(y.matrix - told.matrix, y.shift - told.shift)
    moments = evidence.regression(columns, {BOTH: (left, 1.0), LABELLED: (left, 1.0)})
    departures = zip(*ridge_rules(moments, len(columns), anchors), strict=True)
    return [(prior[0] + coef, prior[1] + intercept) for coef, intercept in departures]


def _summed(lesson: Lesson, kind: str, rows: np.ndarray) -> Moments:
    part = lesson if rows.all() else lesson.rows(rows)
    columns = {BOTH: (part.X, part.Z, part.hard), LABELLED: (part.X, part.hard), PRIVILEGED: (part.X, part.Z)}[kind]
    return Moments.of(columns, part.weight)
