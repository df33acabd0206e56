"""What a student has to beat on its own rows: tuned baselines and the controls of a privileged report, split by split.

Everything is chosen inside the training part, on the folds of the front door; held-out rows are predicted once. Only
the teacher is shown the privileged part of held-out rows: it is the bound.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from threadpoolctl import threadpool_limits

from pitskd._candidates import Anchored, Baseline, Candidate, Finding, Linear, Trial
from pitskd._folds import default_folds, teaches
from pitskd._lessons import Classification, Lesson, Task
from pitskd._random import stage_generator
from pitskd.experiments._same_loss import Plain, combined_untaught, untaught_candidates, without_privilege
from pitskd.experiments.competitors import BASELINE, NO_MIDDLE, PERMUTED, SAME_LOSS, STUDENT, TEACHER
from pitskd.linear._families import Rules, calibrated
from pitskd.linear._paths import logistic_path, ridge_grid, two_valued_range
from pitskd.linear.dynamics import Dynamics, dynamics_rule, pooled_dynamics
from pitskd.linear.tuned import location_and_scale, log_probabilities
from pitskd.privileged import permuted_control

__all__: list[str] = []

STANDARDISED = "baseline, standardised"
INDICATORS = "baseline, indicators kept"
CANDIDATE = "candidate: "

ORDERS, PENALTIES = (1, 2, 3), (0.1, 1.0, 10.0, 100.0)  # of the rolled dynamics
STEPS = (1, 2, 4, 8, 16, 32)  # besides one more than there are privileged steps
LINK_PENALTY = 3.0
KEPT = 2  # forecasts by dynamics that students are shrunk towards


@dataclass(frozen=True, eq=False)
class Study:
    """An estimator and the rows it is judged on, as given and as read."""

    estimator: Any
    task: Task
    lesson: Lesson
    X: Any
    y: Any
    X_privileged: Any
    sample_weight: np.ndarray | None
    block: np.ndarray  # (n,) block of time of each row
    seed: int
    variance: np.ndarray  # (k,) of the targets, over all labelled rows
    references: dict[str, Any] = field(default_factory=dict)  # as `read_references` returns them

    @property
    def classify(self) -> bool:
        return isinstance(self.task, Classification)

    @property
    def classes(self) -> Any:
        """Labels in the order of logits; None for numbers."""
        return self.task.classes if isinstance(self.task, Classification) else None

    @property
    def has_indicators(self) -> bool:
        """Tell whether the two baselines differ."""
        return not np.isnan(two_valued_range(np.asarray(self.lesson.X, dtype=np.float64))).all()

    @property
    def bounded(self) -> bool:
        """Tell whether a teacher can be asked about every row that is scored."""
        return bool(self.lesson.privileged[self.lesson.counts].all())

    @property
    def window(self) -> int:
        """Rows of an input window."""
        return self.lesson.window[0] if len(self.lesson.window) == 2 else 1

    def fit(self, estimator: Any, train: np.ndarray, privileged: np.ndarray) -> Any:
        """Fit a clone to training rows and the privileged part of some rows, usually the same."""
        Z = _safe_indexing(self.X_privileged, privileged)
        if hasattr(Z, "set_axis"):  # a permuted frame must look like one of these rows
            Z = Z.set_axis(_safe_indexing(self.X_privileged, train).index)
        return self._fitted(estimator, train, Z)

    def fit_without(self, estimator: Any, train: np.ndarray) -> Any:
        """Fit a clone to training rows without any privileged part."""
        return self._fitted(estimator, train, None)

    def _fitted(self, estimator: Any, train: np.ndarray, Z: Any) -> Any:
        weight = {} if self.sample_weight is None else {"sample_weight": self.sample_weight[train]}
        X, y = _safe_indexing(self.X, train), _safe_indexing(self.y, train)
        model = clone(estimator)
        if hasattr(estimator, "_joined"):  # a control takes what rows no longer tell
            model._joined = estimator._joined
        return model.fit(X, y, X_privileged=Z, **weight)

    def measure(self, model: Any, test: np.ndarray, classes: Any = None, X: Any = None) -> pd.DataFrame:
        """Return what each held-out row adds to every score of a model with `predict`."""
        X = _safe_indexing(self.X, test) if X is None else X
        said = np.asarray(model.predict(X))
        if not self.classify:
            return self.measure_values(said.astype(np.float64).reshape(len(test), -1), test)
        log_p = np.full((len(test), self.lesson.hard.shape[1]), np.nan)
        if hasattr(model, "predict_proba"):
            place = np.searchsorted(self.task.classes, model.classes_ if classes is None else classes)  # pyright: ignore[reportAttributeAccessIssue]
            probabilities = np.zeros(log_p.shape)
            probabilities[:, place] = model.predict_proba(X)
            log_p = np.log(np.clip(probabilities, np.finfo(np.float64).eps, None))
        return self._measured(said == np.asarray(self.lesson.y)[test], log_p, test)

    def measure_values(self, values: np.ndarray, test: np.ndarray) -> pd.DataFrame:
        """Return the same from predictions or logits (n_test, k)."""
        hard = self.lesson.hard[test]
        if self.classify:
            log_p = log_probabilities(values)
            return self._measured(log_p.argmax(axis=1) == hard.argmax(axis=1), log_p, test)
        error = np.square(values - hard)
        r2, mae = 1.0 - (error / self.variance).mean(axis=1), np.abs(values - hard).mean(axis=1)
        return pd.DataFrame({"r2": r2, "mse": error.mean(axis=1), "mae": mae})

    def _measured(self, correct: np.ndarray, log_p: np.ndarray, test: np.ndarray) -> pd.DataFrame:
        loss = -np.where(self.lesson.hard[test] > 0, log_p, 0.0).sum(axis=1)
        return pd.DataFrame({"accuracy": correct.astype(np.float64), "log_loss": loss})


def judged_split(
    study: Study, number: int, train: np.ndarray, test: np.ndarray, sizes: list[int | float]
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Judge every method on one split.

    Returns
    -------
    cells : DataFrame
        One row per method and block: seed (the split), method, block, n_test and the sums of all scores.
    curve : DataFrame
        The same of student and baseline on parts of the training rows, with columns size and n_train.
    messages : list of str
        What fitting the student warned of.
    """
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            student = study.fit(study.estimator, train, train)
        judged = _methods(study, student, number, train, test)
        cells = pd.concat([_cells(study, number, name, rows, test) for name, rows in judged], ignore_index=True)
        curve = [part for size in sizes for part in _curve(study, student, number, train, test, size, cells)]
    messages = [str(one.message) for one in caught if issubclass(one.category, UserWarning)]
    return cells, pd.concat(curve, ignore_index=True) if curve else cells[:0], messages


def _cells(study: Study, number: int, name: str, rows: pd.DataFrame, test: np.ndarray) -> pd.DataFrame:
    """Sum the scores of held-out rows over blocks of time."""
    sums = rows.assign(n_test=1.0).groupby(study.block[test]).sum(min_count=1)  # a score that is missing stays so
    sums = sums.rename_axis("block").reset_index()
    sums.insert(0, "method", name)
    sums.insert(0, "seed", number)
    return sums


def _methods(
    study: Study, student: Any, number: int, train: np.ndarray, test: np.ndarray
) -> Iterator[tuple[str, pd.DataFrame]]:
    lesson = study.lesson.rows(train)
    trial = Trial.of(study.task, lesson, default_folds(study.task, lesson))
    X_test = np.asarray(study.lesson.X[test], dtype=np.float64)

    def said(finding: Finding) -> pd.DataFrame:
        return study.measure_values(X_test @ np.asarray(finding.coef).T + np.asarray(finding.intercept), test)

    baselines = tuned_baselines(study, trial)
    yield BASELINE, said(_better(trial, list(baselines.values())))
    if len(baselines) > 1:
        yield from ((name, said(finding)) for name, finding in baselines.items())
    plain, alone = without_privilege(study.estimator), untaught_candidates(study.estimator)
    if plain is not None:
        yield SAME_LOSS, study.measure(study.fit_without(plain, train), test)
    elif alone:
        model = combined_untaught(trial, alone, study.estimator.combine)
        yield SAME_LOSS, study.measure(model, test, study.classes, X_test)
    else:
        yield SAME_LOSS, said(Plain().fit(trial))
    if study.window > 1:
        yield NO_MIDDLE, said(own_dynamics(trial, study.window))
    control = permuted_control(student) if hasattr(student, "middle_follows_") else study.estimator
    parted = study.fit(control, train, permuted(study, number, train))
    yield PERMUTED, study.measure(parted, test)
    yield from ((name, _referred(study, one, number, train, test)) for name, one in study.references.items())
    for name, one in getattr(student, "candidate_students_", {}).items():
        if name != "baseline":  # shown already
            yield f"{CANDIDATE}{name}", study.measure(one, test, getattr(student, "classes_", None), X_test)
    yield STUDENT, study.measure(student, test)
    if study.bounded:
        yield TEACHER, study.measure_values(teacher_values(study, train, test), test)


def _referred(study: Study, reference: Any, number: int, train: np.ndarray, test: np.ndarray) -> pd.DataFrame:
    """Score a forecast of every row, this split's model, or an estimator fitted to the training rows with a target."""
    if isinstance(reference, list):
        return study.measure(reference[number], test)
    if isinstance(reference, tuple):
        estimator, targets = reference
        train = train[study.lesson.counts[train]]
        y = _safe_indexing(study.y if targets is None else targets, train)
        return study.measure(clone(estimator, safe=False).fit(_safe_indexing(study.X, train), y), test)
    if study.classify:
        said = reference[test].reshape(len(test)) == np.asarray(study.lesson.y)[test]
        return study._measured(said, np.full((len(test), study.lesson.hard.shape[1]), np.nan), test)
    return study.measure_values(reference[test].astype(np.float64).reshape(len(test), -1), test)


def _curve(
    study: Study, student: Any, number: int, train: np.ndarray, test: np.ndarray, size: int | float, cells: pd.DataFrame
) -> Iterator[pd.DataFrame]:
    """Yield the cells of student and baseline on a stretch of the training rows, as if the history were shorter."""
    n_rows = round(size * len(train)) if isinstance(size, float) else min(size, len(train))
    if n_rows == len(train):
        yield cells[cells["method"].isin([BASELINE, STUDENT])].assign(size=size, n_train=n_rows)
        return
    starts = stage_generator(study.seed, f"stretch {number}, {size}").permutation(len(train) - n_rows + 1)
    stretches = (train[start : start + n_rows] for start in starts)
    part = next((rows for rows in stretches if teaches(study.task, study.lesson, rows)), None)
    if part is None:
        return
    lesson = study.lesson.rows(part)
    trial = Trial.of(study.task, lesson, default_folds(study.task, lesson))
    bar = _better(trial, list(tuned_baselines(study, trial).values()))
    values = np.asarray(study.lesson.X[test], dtype=np.float64) @ np.asarray(bar.coef).T + np.asarray(bar.intercept)
    judged = {BASELINE: study.measure_values(values, test)}
    judged[STUDENT] = study.measure(study.fit(lean(study.estimator, student), part, part), test)
    for name, rows in judged.items():
        yield _cells(study, number, name, rows, test).assign(size=size, n_train=n_rows)


def permuted(study: Study, number: int, train: np.ndarray) -> np.ndarray:
    """Return training rows in an order that parts x* from its x; rows without x* stay without."""
    order, own = train.copy(), np.flatnonzero(study.lesson.privileged[train])
    order[own] = train[stage_generator(study.seed, f"permuted x* {number}").permutation(own)]
    return order


def lean(estimator: Any, student: Any) -> Any:
    """Return the estimator without candidates that its rule gives no weight, whatever the rows: the same student."""
    weights = getattr(student, "weights_", {})
    if getattr(estimator, "combine", None) != "anchored" or estimator.candidates is not None:
        return estimator
    return clone(estimator).set_params(candidates=[name for name, weight in weights.items() if weight > 0])


def _better(trial: Trial, findings: list[Finding]) -> Finding:
    """Return the one of least held-out loss inside the training part."""
    return min(findings, key=lambda finding: float(trial.losses(finding.values))) if trial.folds else findings[0]


class Standardised(Baseline):
    """The tuned model on standardised columns, indicators included."""

    def rules(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        hard = np.broadcast_to(trial.lesson.hard, (len(trial.sets), *trial.lesson.hard.shape))
        if trial.classify:
            scale = np.stack([location_and_scale(trial.X, weight)[1] for weight in trial.counts])
            coef, intercept = logistic_path(trial.X, hard, self.penalties, trial.counts, scale=scale)
        else:
            coef, intercept = ridge_grid(trial.X, hard, self.penalties, trial.counts)
        settings = pd.DataFrame({"penalty": self.penalties})
        return Rules(coef, intercept, settings), np.exp(-np.abs(np.log(self.penalties)))


def tuned_baselines(study: Study, trial: Trial) -> dict[str, Finding]:
    """Return the tuned models without privileged data: they differ where columns of two values are at hand."""
    kinds: dict[str, Candidate] = {STANDARDISED: Standardised()}
    if study.has_indicators:
        kinds[INDICATORS] = Baseline()
    return {name: kind.fit(trial) for name, kind in kinds.items()}


class ShrunkToDynamics(Anchored):
    """Shrunk towards forecasts that know of no middle."""

    name = "shrunk to own dynamics"

    def __init__(self, forecasts: Rules) -> None:
        self.forecasts = forecasts

    def priors(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        n_priors = len(self.forecasts.settings)
        return self.forecasts, np.full(n_priors, 1.0 / n_priors)


class DynamicsAlone(Linear):
    """The best of these forecasts itself, calibrated."""

    name = "own dynamics"

    def __init__(self, forecasts: Rules) -> None:
        self.forecasts = forecasts

    def rules(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        coef, intercept, settings = self.forecasts.coef, self.forecasts.intercept, self.forecasts.settings
        n_sets, n_priors, k, d = coef.shape
        if trial.classify:
            sets = np.repeat(trial.sets, n_priors, axis=0)
            flat = coef.reshape(-1, k, d), intercept.reshape(-1, k)
            coef, intercept = calibrated(*flat, trial.X, trial.lesson, sets)
        shape = n_sets, n_priors, k
        return Rules(coef.reshape(*shape, d), intercept.reshape(shape), settings), np.full(n_priors, 1.0 / n_priors)

    def weigh(self, trial: Trial, rules: Rules, prior: np.ndarray) -> np.ndarray:
        best = int(np.argmin(self._losses(trial, rules))) if trial.folds else 0
        return np.eye(len(prior))[best]


def own_dynamics(trial: Trial, window: int) -> Finding:
    """Return the better of two models that know how the inputs move on, learnt from the input windows alone.

    A ridge VAR over every transition inside the windows is rolled on; the channel and the number of steps that forecast
    the target best, by a slope and an intercept, are found by held-out loss. The models are that forecast itself, and
    students shrunk towards it.
    """
    forecasts = _forecasts(trial, window)
    return _better(trial, [ShrunkToDynamics(forecasts).fit(trial), DynamicsAlone(forecasts).fit(trial)])


def _forecasts(trial: Trial, window: int) -> Rules:
    """Return the best forecasts by dynamics, each also with a ridge link on all channels in place of one."""
    n, d = trial.X.shape
    path = trial.X.reshape(n, window, -1)
    rolled = list(_rolled(trial, path))
    n_channels = path.shape[2]
    read = [
        dynamics_rule(dynamics, steps, _last(dynamics, n_channels), np.zeros(n_channels), d)
        for dynamics, steps in rolled
    ]
    said = np.stack([trial.X @ coef.T + intercept for coef, intercept in read])  # (n_rolled, n, n_channels)
    slope, constant, loss = _readouts(trial, said)
    channel = loss.argmin(axis=1)  # (n_rolled, k)
    best = np.argsort(np.take_along_axis(loss, channel[:, None], axis=1).sum(axis=(1, 2)), kind="stable")[:KEPT]
    coefs, intercepts = [], []
    target = np.arange(channel.shape[1])
    for one in best:
        a, b = (part[:, one, channel[one], target] for part in (slope, constant))  # (n_sets, k)
        coefs.append(a[..., None] * read[one][0][channel[one]])
        intercepts.append(a * read[one][1][channel[one]] + b)
        linked = _linked(trial, *rolled[one])
        coefs.append(linked[0])
        intercepts.append(linked[1])
    settings = pd.DataFrame({"forecast": np.arange(float(len(coefs)))})
    return Rules(np.stack(coefs, axis=1), np.stack(intercepts, axis=1), settings)


def _rolled(trial: Trial, path: np.ndarray) -> Iterator[tuple[Dynamics, int]]:
    """Yield dynamics of the training part's inputs, and how many steps they are to be rolled."""
    middle = trial.lesson.middle[0] if len(trial.lesson.middle) == 2 else 1
    for order in range(1, min(max(ORDERS), path.shape[1] - 1) + 1):
        for penalty in PENALTIES:
            dynamics = pooled_dynamics(path, trial.sets[-1], order=order, penalty=penalty)
            yield from ((dynamics, steps) for steps in sorted({*STEPS, middle + 1}))


def _last(dynamics: Dynamics, n_channels: int) -> np.ndarray:
    """Return the link that reads the newest row off a state."""
    return np.eye(len(dynamics.shift))[-n_channels:]


def _readouts(trial: Trial, said: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return slope and intercept (n_sets, n_rolled, n_channels, k) of each forecast, and held-out squared errors."""
    y, share = trial.numbers, trial.counts / trial.counts.sum(axis=1, keepdims=True)
    centre = said.mean(axis=1)  # moments about a near point keep their digits
    f = said - centre[:, None]
    mean_f, mean_y = np.einsum("sn,rnc->src", share, f), share @ y
    spread = np.einsum("sn,rnc->src", share, np.square(f)) - np.square(mean_f)
    both = np.einsum("sn,rnc,nk->srck", share, f, y, optimize=True) - mean_f[..., None] * mean_y[:, None, None]
    tiny = 1e-12 * np.einsum("rnc,rnc->rc", said, said)[..., None] / said.shape[1]
    slope = np.divide(both, spread[..., None], out=np.zeros_like(both), where=spread[..., None] > tiny)
    constant = mean_y[:, None, None] - slope * (mean_f + centre)[..., None]
    loss = np.zeros(slope.shape[1:])
    folds = list(enumerate(trial.folds)) or [(len(trial.sets) - 1, (None, np.arange(len(y))))]
    for number, (_, test) in folds:
        told = said[:, test, :, None] * slope[number][:, None] + constant[number][:, None]
        loss += np.einsum("n,rnck->rck", trial.counts[-1][test], np.square(told - y[test][:, None]))
    return slope, constant, loss


def _linked(trial: Trial, dynamics: Dynamics, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rules (n_sets, k, d) that regress the target on all channels as forecast."""
    d = trial.X.shape[1]
    whole = dynamics_rule(dynamics, steps, np.eye(len(dynamics.shift)), np.zeros(len(dynamics.shift)), d)
    state = trial.X @ whole[0].T + whole[1]
    coef, intercept = ridge_grid(state, trial.numbers, np.array([LINK_PENALTY]), trial.counts)
    return coef[:, 0] @ whole[0], intercept[:, 0] + coef[:, 0] @ whole[1]


class _Teacher(Baseline):
    """A coarser choice, for twice the columns."""

    penalties = np.logspace(-4.0, 4.0, 9)


def teacher_values(study: Study, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return what a tuned linear model of X and X_privileged side by side says of held-out rows."""
    lesson = study.lesson.rows(train[study.lesson.privileged[train]])
    folds = default_folds(study.task, lesson)
    finding = _Teacher().fit(Trial.of(study.task, replace(lesson, X=_beside(lesson)), folds, joined=False))
    return _beside(study.lesson.rows(test)) @ np.asarray(finding.coef).T + np.asarray(finding.intercept)


def _beside(lesson: Lesson) -> np.ndarray:
    return np.hstack([np.asarray(lesson.X, dtype=np.float64), lesson.Z])
