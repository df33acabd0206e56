"""Protocol C with the front door: every choice inside its training windows, privileged are all hours of the middle.

Where a task has validation windows, four opponents choose by them and so see more than the student does: one of the
tuned logistic models, one generalized distillation, ridge on the margin and the no-middle control. Log-losses are taken
beside accuracies.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from pitskd._candidates import Anchored, Trial
from pitskd._folds import default_folds
from pitskd._lessons import Classification, Lesson
from pitskd.distillation import GeneralizedDistillationClassifierCV
from pitskd.experiments.compare import time_blocks
from pitskd.experiments.competitors import (
    BASELINE,
    IMITATIONS,
    MARGIN,
    NO_MIDDLE,
    PERMUTED,
    SAME_LOSS,
    STUDENT,
    TEACHER,
    TEMPERATURES,
    Prediction,
    Resample,
    Search,
    alone,
    flat,
    own_dynamics,
    permutation,
    ridge_on_margin,
    rules_named,
    tuned_logistic,
)
from pitskd.experiments.protocols import EventTask, Task, mackey_glass_task, pm25_tasks
from pitskd.linear._families import Rules
from pitskd.linear.tuned import TunedLogisticRegression
from pitskd.privileged import PrivilegedClassifier, permuted_control
from pitskd.windows import PrivilegedWindows, make_windows

__all__ = ["FrontDoorTask", "daily_task", "daily_windows", "event_tasks"]

INDICATORS = "logistic, indicators kept"  # the baseline candidate of the front door
VALIDATED = "logistic, by validation"
GENERALIZED = "generalized distillation"
GENERALIZED_VALIDATED = "generalized, by validation"
EVENT_CONTROLS = (VALIDATED, INDICATORS, SAME_LOSS, MARGIN, NO_MIDDLE, PERMUTED)
LOG_LOSS = "log_loss"

_WINDS = ("NE", "NW", "SE", "cv")
_NUMBERS = ("pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir")
_LEAST_HOURS = 12


@dataclass(frozen=True, eq=False)
class FrontDoorTask(Task[Resample]):
    """The windows of an event, learnt by `PrivilegedClassifier` from the training windows alone, beside its opponents.

    Parameters
    ----------
    event : EventTask
        Windows, label and resamples; its privileged steps are all those of the middle.

    Notes
    -----
    Generalized distillation hears of the last two privileged steps, as published. The teacher, the bound, is a tuned
    logistic model on these two and the last input. Permuted x* refits the candidates that make the student.

    Examples
    --------
    >>> from pitskd.experiments import mackey_glass_task
    >>> FrontDoorTask(mackey_glass_task(4000)).name
    'Mackey-Glass'
    """

    event: EventTask
    name: str = field(init=False)
    published: Mapping[str, float] = field(init=False, default_factory=dict)  # those experiments had other students
    controls: ClassVar[tuple[str, ...]] = EVENT_CONTROLS

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.event.name)

    def settings(self) -> tuple[Any, ...]:
        """Return those of the event."""
        return "front door", *self.event.settings()

    def draw(self, seed: int) -> Resample:
        """Return training, validation and test windows of a seed."""
        return self.event.draw(seed)

    def losses(self, resample: Resample, prediction: Prediction) -> dict[str, np.ndarray]:
        """Return the log-loss of each test row, in nats."""
        assert prediction.logits is not None
        return {LOG_LOSS: np.logaddexp(0.0, np.where(resample.y_test == 1, -1.0, 1.0) * prediction.logits)}

    def compete(self, resample: Resample, seed: int) -> Iterator[Prediction]:
        """Train every model on a resample."""
        r, X_test = resample, flat(resample.X_test)
        X, y = flat(r.X[r.train]), r.y[r.train]
        bar = TunedLogisticRegression(penalties=r.penalties).fit(X, y)
        yield Prediction.of(BASELINE, bar.decision_function(X_test), {"penalty": bar.penalty_})
        yield from validated_methods(r)
        yield Prediction.of(SAME_LOSS, averaged_logistic(r))
        yield Prediction.of(MARGIN, ridge_on_margin(r))
        yield Prediction.of(NO_MIDDLE, own_dynamics(r, int(np.max(self.event.windows.horizon))))
        yield generalized_distillation(r)
        yield from front_door(r, seed)
        seen, seen_test = (
            np.hstack([given[:, -1], flat(middle[:, -2:])])
            for given, middle in ((r.X[r.train], r.X_privileged[r.train]), (r.X_test, r.X_privileged_test))
        )
        teacher = TunedLogisticRegression(penalties=r.penalties).fit(seen, y)
        yield Prediction.of(TEACHER, teacher.decision_function(seen_test))


def event_tasks(frame: pd.DataFrame | None = None) -> list[FrontDoorTask]:
    """Return the events of protocol C for the front door.

    Parameters
    ----------
    frame : DataFrame, default=None
        As from `fetch_beijing_pm25`. None: Mackey-Glass alone.

    Returns
    -------
    tasks : list of FrontDoorTask
        PM2.5-a and b on random days and late, with all hours of the middle, daily up/down, and Mackey-Glass with the
        penalties of the protocol.

    Examples
    --------
    >>> [task.name for task in event_tasks()]
    ['Mackey-Glass', 'Mackey-Glass, L2 from 1e-8']
    """
    events = [] if frame is None else [*pm25_tasks(frame, privileged="between"), daily_task(frame)]
    return [FrontDoorTask(event) for event in [*events, mackey_glass_task(), mackey_glass_task(weak_penalties=True)]]


# ---------------------------------------------------------------- daily up/down


def daily_windows(frame: pd.DataFrame, *, window: int = 3, horizon: int = 3) -> PrivilegedWindows:
    """Average the Beijing hours by day and cut windows whose target is the rise of PM2.5 since the last input day.

    Parameters
    ----------
    frame : DataFrame
        As from `fetch_beijing_pm25`: every hour is there.
    window : int, default=3
        Input days.
    horizon : int, default=3
        From the last input day to the target day. Unit: days, at least 2.

    Returns
    -------
    windows : PrivilegedWindows
        11 features: pm2.5 (ug/m3) first, DEWP, TEMP, PRES, Iws, Is, Ir, and the share of hours with each wind
        direction. The target is ``pm2.5 of the target day - pm2.5 of the last input day`` (ug/m3); all days between
        are privileged. A day on which fewer than 12 hours of PM2.5 were observed is missing, and windows with a missing
        value are dropped.

    Examples
    --------
    >>> hours = pd.date_range("2014-01-01", periods=24 * 6, freq="h", name="time")
    >>> weather = dict.fromkeys(["DEWP", "TEMP", "PRES", "Iws", "Is", "Ir"], 0.0)
    >>> frame = pd.DataFrame({"pm2.5": np.repeat([5.0, 9.0, 4.0, 2.0, 1.0, 7.0], 24), **weather, "cbwd": "NW"}, hours)
    >>> daily_windows(frame).y  # 7 - 4
    array([3.])
    """
    numbers = frame.reindex(columns=list(_NUMBERS)).astype(np.float64)
    known = frame["cbwd"].notna()
    winds = {f"cbwd_{wind}": (frame["cbwd"] == wind).astype(np.float64).where(known) for wind in _WINDS}
    hours = numbers.assign(**winds)
    days = hours.resample("D").mean()
    observed = hours["pm2.5"].resample("D").count() >= _LEAST_HOURS
    windows = make_windows(days.where(observed), "pm2.5", window=window, horizon=horizon)
    assert windows.X_privileged is not None
    path = np.concatenate([windows.X, windows.X_privileged], axis=1)
    windows = windows.take(~np.isnan(path).any(axis=(1, 2)))
    return replace(windows, y=windows.y - windows.X[:, -1, 0])


def daily_task(frame: pd.DataFrame, n_train: int = 110) -> EventTask:
    """Return daily up/down: whether PM2.5 will be higher three days ahead than today.

    Parameters
    ----------
    frame : DataFrame
        As from `fetch_beijing_pm25`.
    n_train : int, default=110
        Training windows; none validate.

    Returns
    -------
    task : EventTask
        Three days in, three ahead. Each resample begins at a random offset, takes windows that share no day, and draws
        its training windows from those that end before the last 40 % of the calendar; all windows within these are
        tested. Blocks of test time are 30 days long.

    Notes
    -----
    No public definition exists. This one is ours: its figures compare with no published ones.

    Examples
    --------
    >>> from pitskd import fetch_beijing_pm25
    >>> task = daily_task(fetch_beijing_pm25())  # doctest: +SKIP
    """
    windows = daily_windows(frame)
    calendar = pd.DatetimeIndex(frame.index).normalize()
    first = (pd.DatetimeIndex(windows.origin) - calendar[0]).days.to_numpy() - windows.window + 1
    border = int(0.6 * calendar.nunique())
    choose = _Calendar(first, windows.window + int(np.max(windows.horizon)), border)
    block = time_blocks(windows.origin, length="30D")
    return EventTask("daily up/down", windows, 0.0, choose, block, {}, n_train, n_validation=0, rises=True)


@dataclass(frozen=True, eq=False)
class _Calendar:
    """Learn from windows without a common day that end before a border, test on all that begin behind it."""

    first: np.ndarray  # (n_windows,) first day of each window, counted from the first day of the series, ascending
    length: int  # days from first input to target
    border: int

    def __call__(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        kept, free = [], int(generator.integers(self.length))
        for row in np.flatnonzero(self.first + self.length <= self.border):
            if self.first[row] >= free:
                kept.append(row)
                free = self.first[row] + self.length
        return generator.permutation(np.asarray(kept, dtype=np.int64)), np.flatnonzero(self.first >= self.border)


# ---------------------------------------------------------------- methods


def front_door(resample: Resample, seed: int) -> Iterator[Prediction]:
    """Fit `PrivilegedClassifier` once: the student, candidates alone, other rules; and its parts on permuted x*."""
    r, X_test = resample, flat(resample.X_test)
    X, Z, y = r.X[r.train], r.X_privileged[r.train], r.y[r.train]
    model = PrivilegedClassifier().fit(X, y, X_privileged=Z)
    logits = {name: one.decision_function(X_test) for name, one in model.candidate_students_.items()}
    yield Prediction.of(INDICATORS, logits["baseline"])
    yield from (Prediction.of(alone(name), logits[name]) for name in logits if name != "baseline")
    for name, weights in rules_named(model):
        yield Prediction.of(name, np.sum([weights[one] * said for one, said in logits.items()], axis=0))
    permuted = permuted_control(model).fit(X, y, X_privileged=Z[permutation(len(y), seed)])
    yield Prediction.of(PERMUTED, permuted.decision_function(r.X_test))
    yield Prediction.of(STUDENT, model.decision_function(r.X_test))


def validated_methods(resample: Resample) -> Iterator[Prediction]:
    """Fit logistic regression and generalized distillation, chosen by validation rows where there are any."""
    r = resample
    if len(r.X) > r.n_train:
        yield Prediction.of(VALIDATED, tuned_logistic(r).decision_function(flat(r.X_test)))
        search = Search.run(replace(r, X_privileged=r.X_privileged[:, -2:]), IMITATIONS)
        yield Prediction.of(GENERALIZED_VALIDATED, search.model().decision_function(r.X_test), search.choices)


def generalized_distillation(resample: Resample) -> Prediction:
    """Fit generalized distillation from the last two privileged steps, chosen by folds of the training rows."""
    r = resample
    model = GeneralizedDistillationClassifierCV(
        imitations=IMITATIONS, temperatures=TEMPERATURES, penalties=r.penalties, cv=5
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The teacher's held-out loss", category=UserWarning)
        model.fit(r.X[r.train], r.y[r.train], X_privileged=r.X_privileged[r.train, -2:])
    return Prediction.of(GENERALIZED, model.decision_function(r.X_test), model.best_params_)


class _AnchoredToNothing(Anchored):
    """The loss, the strengths and the averaging of an anchored student whose prior rule is zero."""

    name, distils = "same loss", False

    def obstacle(self, trial: Trial) -> str | None:
        return None

    def priors(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        n_sets, k = len(trial.sets), trial.numbers.shape[1]
        settings = pd.DataFrame({"imitation": [0.0]})
        zero = np.zeros((n_sets, 1, k, trial.X.shape[1]))
        return Rules(zero, np.zeros((n_sets, 1, k)), settings), np.ones(1)


def averaged_logistic(resample: Resample) -> np.ndarray:
    """Return test logits of plain L2-logistic regression, averaged over strengths and tempered as a candidate is."""
    r = resample
    X, y = flat(r.X[r.train]), r.y[r.train]
    task = Classification(TunedLogisticRegression())
    y, hard, labelled = task.read(y)
    nothing = np.empty((len(X), 0)), np.zeros(len(X), dtype=bool)
    lesson = Lesson(X, y, hard, labelled, *nothing, weight=None, window=r.X.shape[1:])
    found = _AnchoredToNothing().fit(Trial.of(task, lesson, default_folds(task, lesson)))
    assert found.coef is not None
    assert found.intercept is not None
    return (flat(r.X_test) @ found.coef.T + found.intercept)[:, 0]
