"""Families of linear students: every setting on every training set, from the solvers for whole grids.

A training set is a row of weights: a row of weight 0 is held out of it, and nothing is learnt from it, neither scale
nor dynamics, calibration or teacher. What is fitted equals the single estimators fitted to the rows that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pitskd._lessons import Lesson, Regression, Task
from pitskd._teaching import Teaching, check_privileged_rows
from pitskd.linear._calibration import calibrate
from pitskd.linear._paths import logistic_path, ridge_anchor_grid, ridge_chain_grid, ridge_grid, two_valued_range
from pitskd.linear._states import DYNAMICS, Walk, whole_path
from pitskd.linear.dynamics import dynamics_rule, pooled_dynamics
from pitskd.linear.tuned import location_and_scale, log_probabilities

__all__: list[str] = []


@dataclass(frozen=True, eq=False)
class Rules:
    """Linear rules for features as given, one per training set and setting."""

    coef: np.ndarray  # (n_sets, n_settings, k, d), with one logit (k = 1) for two classes
    intercept: np.ndarray  # (n_sets, n_settings, k)
    settings: pd.DataFrame  # one row per setting

    def values(self, X: np.ndarray) -> np.ndarray:
        """Return predictions, or logits, of rows (n, d): (n_sets, n_settings, n, k)."""
        return np.swapaxes(self.coef @ X.T, -1, -2) + self.intercept[..., None, :]


def chain_rules(
    task: Task,
    lesson: Lesson,
    imitations: Sequence[float],
    penalties: Sequence[float],
    weights: np.ndarray,
    *,
    states: str = "steps",
    static: Any = None,
    indicators: bool = False,
) -> Rules:
    """Fit chains of default links at every imitation x penalty on every training set.

    Parameters
    ----------
    task : Task
    lesson : Lesson
        All rows, as an estimator has read them; its own weights do not count.
    imitations : sequence of float
        In [0, 1], distinct; without privileged rows they are all 0.
    penalties : sequence of float
        At least 0 for regression, else above.
    weights : ndarray of shape (n_sets, n)
        One training set per row, 0 for rows held out; sample weights multiplied in.
    states, static
        As in `ChainDistillationRegressor`.
    indicators : bool, default=False
        Whether columns of two values are divided by their range instead of their standard deviation.

    Returns
    -------
    rules : Rules
        Settings imitation, penalty; the penalty runs fastest.
    """
    _check_sets(task, lesson, weights, max(imitations) > 0.0)
    walked = Walk(states, static).of(lesson)
    mixes, strengths = np.asarray(imitations, dtype=np.float64), np.asarray(penalties, dtype=np.float64)
    complete = lesson.labelled.all() and (lesson.privileged.all() or len(walked) == 1)
    if isinstance(task, Regression) and complete:
        coef, intercept = ridge_chain_grid(walked, lesson.hard, mixes, strengths, weights, indicators=indicators)
    else:
        parts = [_chains(task, lesson, walked, mixes, float(penalty), weights, indicators) for penalty in strengths]
        coef, intercept = (np.stack(part, axis=2) for part in zip(*parts, strict=True))
    settings = pd.MultiIndex.from_product([mixes, strengths], names=["imitation", "penalty"]).to_frame(index=False)
    return Rules(_joined(coef, 1), _joined(intercept, 1), settings)


def _chains(
    task: Task, lesson: Lesson, walked: list[np.ndarray], imitations: np.ndarray, penalty: float, weights: np.ndarray,
    indicators: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return coefficients (n_sets, n_imitations, k, d) of chains of one penalty whose rows may miss label or middle."""
    shape = len(weights), len(imitations)
    problems = [(weight, imitation) for weight in weights for imitation in imitations]
    soft = np.full((len(problems), *lesson.hard.shape), np.nan)

    def link(part: Lesson, state: np.ndarray, rows: Any, *, last: bool) -> tuple[np.ndarray, np.ndarray]:
        mixed = [
            replace(part, weight=weight[rows]).mix(told[rows], imitation)
            for (weight, imitation), told in zip(problems, soft, strict=True)
        ]
        targets, weight = (np.stack(column) for column in zip(*mixed, strict=True))
        # No imitation plays a part in the last link, which has hard targets only.
        same = shape[1] if last else 1
        coef, intercept = _solved(task, state, targets[::same], penalty, weight[::same], indicators)
        return np.repeat(coef, same, axis=0), np.repeat(intercept, same, axis=0)

    known, n_states = np.flatnonzero(lesson.privileged), len(walked)
    for t in range(n_states - 1, 0, -1):
        state = walked[t][known]
        soft[:, known] = _told(task, state, *link(lesson.rows(known), state, known, last=t == n_states - 1))
    coef, intercept = link(lesson, walked[0], slice(None), last=n_states == 1)
    return coef.reshape(*shape, *coef.shape[1:]), intercept.reshape(*shape, -1)


def anchored_rules(
    task: Task,
    lesson: Lesson,
    anchors: Sequence[float],
    weights: np.ndarray,
    *,
    towards: str = "chain",
    imitations: Sequence[float] = (0.8,),
    penalties: Sequence[float] = (3.0,),
    states: str = "steps",
    static: Any = None,
    order: int = 1,
    target_imitation: float = 0.0,
    temperature: float = 1.0,
    teacher: Any = None,
) -> Rules:
    """Fit students anchored to every prior at every strength on every training set.

    Parameters
    ----------
    task, lesson, weights, imitations, penalties, states, static
        As in `chain_rules`.
    anchors : sequence of float
        At least 0 for regression, else above.
    towards, order, target_imitation, temperature, teacher
        As in `AnchoredDistillationClassifier`.

    Returns
    -------
    rules : Rules
        Settings imitation (NaN towards dynamics, which have none), penalty, anchor; the anchor runs fastest.
    """
    if towards == "chain" or not lesson.privileged.any():
        priors = chain_rules(task, lesson, imitations, penalties, weights, states=states, static=static)
    else:
        priors = dynamics_rules(task, lesson, penalties, weights, order=order)
    if target_imitation > 0.0 and lesson.privileged.any():
        taught = [taught_targets(task, lesson, w, target_imitation, temperature, teacher)[1:] for w in weights]
        targets, weight = (np.stack(part) for part in zip(*taught, strict=True))
    else:
        targets, weight = np.broadcast_to(lesson.hard, (len(weights), *lesson.hard.shape)), weights * lesson.labelled
    strengths, X = np.asarray(anchors, dtype=np.float64), np.asarray(lesson.X, dtype=np.float64)
    if isinstance(task, Regression):
        coef, intercept = ridge_anchor_grid(X, targets, priors.coef, strengths, weight)
    else:
        scale = np.stack([location_and_scale(X, w)[1] for w in weight])
        coef, intercept = anchored_logistic(lesson, X, priors, targets, weight, weights, strengths, scale)
    settings = priors.settings.loc[priors.settings.index.repeat(len(strengths))].reset_index(drop=True)
    settings["anchor"] = np.tile(strengths, len(priors.settings))
    return Rules(_joined(coef, 1), _joined(intercept, 1), settings)


def anchored_logistic(
    lesson: Lesson, X: np.ndarray, priors: Rules, targets: np.ndarray, weight: np.ndarray, sets: np.ndarray,
    anchors: np.ndarray, scale: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Calibrate priors and fit logistic models shrunk to them: coefficients (n_sets, n_priors, n_anchors, k, d)."""
    n_sets, n_priors, k, _ = priors.coef.shape
    each = np.repeat(np.arange(n_sets), n_priors)
    prior, constant = calibrated(_joined(priors.coef, 0), _joined(priors.intercept, 0), X, lesson, sets[each])
    offset = prior @ X.T + constant[..., None]
    offset = offset[:, 0] if k == 1 else np.swapaxes(offset, 1, 2)
    coef, intercept = logistic_path(X, targets[each], anchors, weight[each], offset=offset, scale=scale[each])
    shape = (n_sets, n_priors, len(anchors), k)
    return (prior[:, None] + coef).reshape(*shape, -1), (constant[:, None] + intercept).reshape(shape)


def calibrated(
    coef: np.ndarray, intercept: np.ndarray, X: np.ndarray, lesson: Lesson, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return rules (n_rules, k, d) whose scores are logits of the labelled rows, each by one slope and intercepts."""
    scores = np.swapaxes(coef @ X.T, 1, 2) + intercept[:, None]
    slope, constant = calibrate(scores, lesson.hard, weights * lesson.labelled)
    return slope[:, None, None] * coef, slope[:, None] * intercept + constant


def dynamics_rules(
    task: Task, lesson: Lesson, penalties: Sequence[float], weights: np.ndarray, *, order: int = 1
) -> Rules:
    """Roll pooled dynamics to the last privileged step and read the target off it, at every penalty, on every set.

    Parameters
    ----------
    task, lesson, weights
        As in `chain_rules`; the lesson has privileged rows.
    penalties : sequence of float
        Of dynamics and link.
    order : int, default=1
        Rows that the dynamics and the link see, at most the window.

    Returns
    -------
    rules : Rules
        Settings imitation (NaN), penalty.
    """
    _check_sets(task, lesson, weights, taught=True)
    path = whole_path(lesson, *DYNAMICS)
    _, n_rows, n_channels = path.shape
    width = lesson.X.shape[1]
    known = np.flatnonzero(lesson.privileged)
    last, hard, counts = path[known, -order:].reshape(len(known), -1), lesson.hard[known], lesson.labelled[known]
    steps = n_rows - width // n_channels
    coef, intercept = [], []
    for weight in weights:
        for penalty in penalties:
            dynamics = pooled_dynamics(path, weight, order=order, penalty=penalty)
            link = _solved(task, last, hard[None], penalty, (weight[known] * counts)[None])
            rule = dynamics_rule(dynamics, steps, link[0][0], link[1][0], width)
            coef.append(rule[0])
            intercept.append(rule[1])
    shape = (len(weights), len(penalties))
    settings = pd.DataFrame({"imitation": np.nan, "penalty": np.asarray(penalties, dtype=np.float64)})
    return Rules(np.stack(coef).reshape(*shape, *coef[0].shape), np.stack(intercept).reshape(*shape, -1), settings)


def taught_targets(
    task: Task, lesson: Lesson, weight: np.ndarray, imitation: float, temperature: float, teacher: Any
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return a teacher fitted to the rows of positive weight, mixed targets (n, k) and weights (n,)."""
    train = np.flatnonzero(weight > 0)
    even = bool((weight[train] == 1.0).all())
    part = replace(lesson.rows(train), weight=None if even else weight[train])
    fitted, scores = Teaching(task, teacher, None, None).run(part)
    soft = np.full(lesson.hard.shape, np.nan)
    soft[train] = task.soften(scores, temperature)
    return fitted, *replace(lesson, weight=weight).mix(soft, imitation)


def _solved(
    task: Task, X: np.ndarray, targets: np.ndarray, penalty: float, weights: np.ndarray, indicators: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Fit default links to targets (n_problems, n, k), each on its own weights (n_problems, n)."""
    if isinstance(task, Regression):
        coef, intercept = ridge_grid(X, targets, np.array([penalty]), weights, indicators=indicators)
    else:
        scale = np.stack([location_and_scale(X, weight)[1] for weight in weights])
        if indicators:
            ranges = two_valued_range(X)
            scale = np.where(np.isnan(ranges), scale, ranges)
        coef, intercept = logistic_path(X, targets, np.array([penalty]), weights, scale=scale)
    return coef[:, 0], intercept[:, 0]


def _told(task: Task, X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """Return what links say of rows, as targets (n_problems, n, k)."""
    linear = np.swapaxes(coef @ X.T, 1, 2) + intercept[:, None]
    return linear if isinstance(task, Regression) else np.exp(log_probabilities(linear))


def _check_sets(task: Task, lesson: Lesson, weights: np.ndarray, taught: bool) -> None:
    """Refuse training sets without labelled privileged rows."""
    for weight in weights if taught and lesson.privileged.any() else ():
        check_privileged_rows(task, lesson.rows(np.flatnonzero(weight > 0)), "Use fewer folds or more rows.")


def _joined(array: np.ndarray, axis: int) -> np.ndarray:
    """Make one axis of `axis` and the one behind it."""
    shape = array.shape
    return array.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
