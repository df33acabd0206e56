"""What the front door chooses among: linear students of several kinds, each averaged over its own strengths.

A candidate fits every setting of its grid on every training set at once and gives each setting a weight: its prior
times the likelihood of the held-out rows. Averaging over strengths loses less than choosing one. Least squares on
class indicators implies the rules that classifiers are anchored to; a slope and an intercept turn them into logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from pitskd._folds import is_large, teachable
from pitskd._lessons import Classification, Folds, Lesson, Regression, Task, fit_weighted
from pitskd.linear._families import Rules, anchored_logistic, chain_rules
from pitskd.linear._paths import logistic_path, ridge_anchor_grid, ridge_grid, two_valued_range
from pitskd.linear._rolled import rolled_chain_grid
from pitskd.linear._states import channels_agree, follows, whole_path
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge, location_and_scale

__all__: list[str] = []

# Chosen on Beijing PM2.5 and Mackey-Glass alone (see `PrivilegedRegressor`).
IMITATION = 0.9
PENALTIES = np.array([1e-4, 1e-2, 0.3, 3.0, 10.0])
# Weak links and weak anchors are there for series with little noise, whose held-out loss demands them loudly.
PENALTY_PRIOR = np.array([0.03, 0.03, 0.07, 0.80, 0.07])
ORDERS = (1, 2)


@dataclass(frozen=True, eq=False)
class Trial:
    """Rows to learn from, and the training sets that hold some of them out; the last set holds out none."""

    task: Task
    lesson: Lesson
    folds: Folds  # training and held-out rows
    sets: np.ndarray  # (n_folds + 1, n) weights of rows, 0 where held out
    joined: bool  # the middle has the channels of the input and follows it at once

    @classmethod
    def of(cls, task: Task, lesson: Lesson, folds: Folds, joined: bool | None = None) -> Trial:
        weight = np.ones(len(lesson.X)) if lesson.weight is None else lesson.weight
        if not weight.all():  # as if these rows had not been given
            kept = weight > 0
            place, lesson, weight = np.cumsum(kept) - 1, lesson.rows(kept), weight[kept]
            folds = [(place[train[kept[train]]], place[test[kept[test]]]) for train, test in folds]
        sets = np.zeros((len(folds) + 1, len(weight)))
        for row, (train, _) in zip(sets, folds, strict=False):
            row[train] = weight[train]
        sets[-1] = weight
        continues = lesson.privileged.any() and lesson.Z.shape[1] > 0 and channels_agree(lesson)
        return cls(task, lesson, folds, sets, bool(continues and (follows(lesson) if joined is None else joined)))

    @property
    def X(self) -> np.ndarray:
        return np.asarray(self.lesson.X, dtype=np.float64)

    @property
    def classify(self) -> bool:
        return isinstance(self.task, Classification)

    @property
    def large(self) -> bool:
        """Whether a logistic model costs so much that the grids are coarser; at that size strengths matter little."""
        return self.classify and is_large(self.lesson)

    @property
    def numbers(self) -> np.ndarray:
        """Targets as numbers, (n, k): as they are, or indicators of all classes but the first of two."""
        return self.lesson.hard[:, 1:] if self.classify and self.lesson.hard.shape[1] == 2 else self.lesson.hard

    @property
    def counts(self) -> np.ndarray:
        """Weights of rows that have a label, (n_sets, n)."""
        return self.sets * self.lesson.labelled

    @property
    def n_rows(self) -> float:
        """Labelled rows that count, each once."""
        return float(np.count_nonzero(self.lesson.counts))

    def losses(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Return mean held-out losses of values (..., n_test, k), one array per fold."""
        loss = TunedLogisticRegression.losses if self.classify else TunedRidge.losses
        total, weight = 0.0, 0.0
        for (_, test), said in zip(self.folds, values, strict=True):
            counts = self.sets[-1][test]
            total = total + loss(said, self.lesson.hard[test]) @ counts
            weight += counts.sum()
        return np.asarray(total) / weight

    def likelihood(self, losses: np.ndarray) -> np.ndarray:
        """Return held-out log-likelihoods up to a constant; a regression's noise is that of the best model."""
        best = losses.min()
        return -self.n_rows * (losses - best) / (1.0 if self.classify else 2.0 * max(best, np.finfo(float).tiny))

    def temper(self, values: list[np.ndarray]) -> float:
        """Return the slope, at most 1, that makes held-out logits honest: fits are too sure of themselves."""
        rows = np.concatenate([test for _, test in self.folds])
        said, hard, weight = np.concatenate(values), self.lesson.hard[rows], self.sets[-1][rows]
        if not self.task.can_learn(hard):  # a single class would ask for ever more
            return 1.0

        def loss(log_slope: float) -> float:
            return float(TunedLogisticRegression.losses(np.exp(log_slope) * said, hard) @ weight)

        return float(np.exp(minimize_scalar(loss, bounds=(-5.0, 0.0), method="bounded").x))

    def scales(self, sets: np.ndarray, X: np.ndarray | None = None) -> np.ndarray:
        """Return the scale of each column on each training set; columns of two values keep their range."""
        X = self.X if X is None else X
        ranges = two_valued_range(X)
        return np.stack([np.where(np.isnan(ranges), location_and_scale(X, w)[1], ranges) for w in sets])

    def solve(
        self, X: np.ndarray, targets: np.ndarray, penalties: np.ndarray, sets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit linear models to targets (n_sets, n, k) at every penalty: coef (n_sets, n_penalties, k, d)."""
        if self.classify:
            return logistic_path(X, targets, penalties, sets, scale=self.scales(sets, X))
        return ridge_grid(X, targets, penalties, sets, indicators=True)


@dataclass(frozen=True, eq=False)
class Voice:
    """A fitted estimator that is no linear rule, asked for values."""

    task: Task
    model: Any
    window: tuple[int, ...]  # trailing shape of X as the estimator takes it

    def values(self, X: np.ndarray) -> np.ndarray:
        """Return predictions (n, k), or logits as linear candidates have them: one for two classes, else centred."""
        X = X.reshape(len(X), *self.window)
        if not isinstance(self.task, Classification):
            return np.asarray(self.model.predict(X), dtype=np.float64).reshape(len(X), -1)
        scores = log_softmax(np.clip(self.task.scores(self.model, X), -1e3, 1e3), axis=1)
        return scores[:, 1:] - scores[:, :1] if scores.shape[1] == 2 else scores - scores.mean(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Finding:
    """A candidate fitted: what it said of held-out rows, its model for new ones, and how it came about."""

    values: list[np.ndarray]  # per fold (n_test, k): predictions, or logits
    coef: np.ndarray | None  # (k, d); None where the model is no linear rule
    intercept: np.ndarray | None
    voice: Voice | None = None
    settings: dict[str, float] = field(default_factory=dict)


class Candidate(ABC):
    """One kind of student."""

    name: str
    distils = True  # learns from privileged rows
    anchored = False

    def obstacle(self, trial: Trial) -> str | None:
        """Say why this candidate cannot be built from these rows; None if it can."""
        if teachable(trial.task, trial.lesson):
            return None
        return f"{'too few labelled rows have' if trial.lesson.privileged.any() else 'no row has'} a privileged part"

    @abstractmethod
    def fit(self, trial: Trial) -> Finding:
        """Fit on every training set."""


class Linear(Candidate):
    """A family of linear rules, averaged over its settings by prior and held-out likelihood."""

    def fit(self, trial: Trial) -> Finding:
        rules, prior = self.rules(trial)
        weights = self.weigh(trial, rules, prior)
        coef = np.einsum("fmkd,m->fkd", rules.coef, weights)
        intercept = np.einsum("fmk,m->fk", rules.intercept, weights)
        values = [trial.X[test] @ coef[f].T + intercept[f] for f, (_, test) in enumerate(trial.folds)]
        if trial.classify and trial.folds:
            slope = trial.temper(values)
            values, coef, intercept = [slope * said for said in values], slope * coef, slope * intercept
        settings = {str(name): _average(column.to_numpy(), weights) for name, column in rules.settings.items()}
        return Finding(values, coef[-1], intercept[-1], settings=settings)

    @abstractmethod
    def rules(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        """Return the family on every training set, and prior weights of its settings."""

    def weigh(self, trial: Trial, rules: Rules, prior: np.ndarray) -> np.ndarray:
        """Return weights of the settings, summing to 1; without folds those of the prior."""
        with np.errstate(divide="ignore"):
            evidence = np.log(prior)
        return softmax(evidence + trial.likelihood(self._losses(trial, rules)) if trial.folds else evidence)

    def _losses(self, trial: Trial, rules: Rules) -> np.ndarray:
        said = [
            np.swapaxes(rules.coef[f] @ trial.X[test].T, 1, 2) + rules.intercept[f][:, None]
            for f, (_, test) in enumerate(trial.folds)
        ]
        return trial.losses(said)


class Baseline(Linear):
    """The tuned model without privileged data: one penalty, chosen by held-out loss."""

    name, distils = "baseline", False
    penalties = np.logspace(-6.0, 4.0, 31)  # without noise a floor of 1e-4 would cripple the bar

    def obstacle(self, trial: Trial) -> str | None:
        return None

    def rules(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        hard = np.broadcast_to(trial.lesson.hard, (len(trial.sets), *trial.lesson.hard.shape))
        coef, intercept = trial.solve(trial.X, hard, self.penalties, trial.counts)
        settings = pd.DataFrame({"penalty": self.penalties})
        return Rules(coef, intercept, settings), np.exp(-np.abs(np.log(self.penalties)))

    def weigh(self, trial: Trial, rules: Rules, prior: np.ndarray) -> np.ndarray:
        weights = np.zeros(len(prior))
        # Ties go to the strongest; without folds the penalty nearest to 1 is taken.
        order = -self._losses(trial, rules)[::-1] if trial.folds else prior[::-1]
        weights[len(prior) - 1 - int(np.argmax(order))] = 1.0
        return weights


class Generalized(Linear):
    """Generalized distillation from a linear teacher on the last two privileged steps."""

    name = "generalized"
    imitations, temperatures = (0.25, 0.5, 0.75, 1.0), (1.0, 2.0, 5.0)
    penalties, teacher_penalties = np.logspace(-4.0, 4.0, 9), np.logspace(-3.0, 3.0, 7)
    n_folds = 5

    def rules(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        scores = self._teacher(trial)
        temperatures = self.temperatures if trial.classify and not trial.large else (1.0,)
        grid = [(imitation, t) for imitation in self.imitations for t in temperatures]
        mixed = [
            replace(trial.lesson, weight=weight).mix(trial.task.soften(score, t), imitation)
            for weight, score in zip(trial.sets, scores, strict=True)
            for imitation, t in grid
        ]
        targets, weights = (np.stack(part) for part in zip(*mixed, strict=True))
        coef, intercept = trial.solve(trial.X, targets, self.penalties, weights)
        shape = len(trial.sets), len(grid) * len(self.penalties)
        names = ["imitation", "temperature", "penalty"]
        settings = pd.DataFrame([(*pair, penalty) for pair in grid for penalty in self.penalties], columns=names)
        settings = settings if trial.classify else settings.drop(columns="temperature")
        rules = Rules(coef.reshape(*shape, *coef.shape[2:]), intercept.reshape(*shape, -1), settings)
        return rules, np.full(shape[1], 1.0 / shape[1])

    def _teacher(self, trial: Trial) -> np.ndarray:
        """Return what the teacher of each training set says of every row, (n_sets, n, k); NaN without privilege."""
        lesson = trial.lesson
        rows = np.flatnonzero(lesson.privileged)
        channels = lesson.middle[-1] if len(lesson.middle) == 2 else lesson.Z.shape[1]
        Z, hard = lesson.Z[rows][:, -2 * channels :], lesson.hard[rows]
        sets = trial.counts[:, rows]
        inner, place = [], []
        for weight in sets:
            train = np.flatnonzero(weight)
            held_out = [train[part :: self.n_folds] for part in range(min(self.n_folds, len(train) - 1))]
            held_out = [part for part in held_out if self._can_learn(trial, hard, weight, part)]
            place.append((len(inner), held_out))
            inner += [np.where(np.isin(np.arange(len(weight)), part), 0.0, weight) for part in held_out]
        every = np.stack([*inner, *sets])
        coef, intercept = trial.solve(
            Z, np.broadcast_to(hard, (len(every), *hard.shape)), self.teacher_penalties, every
        )
        values = np.swapaxes(coef @ Z.T, 2, 3) + intercept[:, :, None]
        loss = TunedLogisticRegression.losses if trial.classify else TunedRidge.losses
        scores = np.full((len(sets), *lesson.hard.shape), np.nan)
        for f, (first, held_out) in enumerate(place):
            lost = np.zeros(len(self.teacher_penalties))
            for number, part in enumerate(held_out):
                lost += loss(values[first + number][:, part], hard[part]) @ sets[f][part]
            said = values[len(inner) + f, int(np.argmin(lost)) if held_out else len(lost) // 2]
            two = trial.classify and lesson.hard.shape[1] == 2
            scores[f, rows] = np.hstack([np.zeros_like(said), said]) if two else said
        return scores

    def _can_learn(self, trial: Trial, hard: np.ndarray, weight: np.ndarray, part: np.ndarray) -> bool:
        rest = weight > 0
        rest[part] = False
        return trial.task.can_learn(hard[rest])


class Anchored(Linear):
    """A student shrunk towards rules that the middle implies."""

    anchored = True

    def rules(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        priors, share = self.priors(trial)
        priors = replace(priors, coef=priors.coef * self._varies(trial)[:, None, None])
        anchors = np.logspace(-4.0, 4.0, 17 if not trial.classify else 5 if trial.large else 9)
        hard = np.broadcast_to(trial.lesson.hard, (len(trial.sets), *trial.lesson.hard.shape))
        if trial.classify:
            counts, scale = trial.counts, trial.scales(trial.counts)
            coef, intercept = anchored_logistic(trial.lesson, trial.X, priors, hard, counts, trial.sets, anchors, scale)
        else:
            coef, intercept = ridge_anchor_grid(trial.X, hard, priors.coef, anchors, trial.counts, indicators=True)
        settings = priors.settings.loc[priors.settings.index.repeat(len(anchors))].reset_index(drop=True)
        settings["anchor"] = np.tile(anchors, len(priors.settings))
        # Below 10 a regression hardly hears of its prior: such anchors, too, have to be asked for by the held-out rows.
        strength = np.ones(len(anchors)) if trial.classify else np.minimum(1.0, anchors / 10.0)
        shape = len(trial.sets), len(settings)
        rules = Rules(coef.reshape(*shape, *coef.shape[3:]), intercept.reshape(*shape, -1), settings)
        return rules, (share[:, None] * strength).ravel()

    def _varies(self, trial: Trial) -> np.ndarray:
        """Return which columns vary in each training set, (n_sets, d).

        A column that stands still in the inputs may move in the middle: a prior that learnt from a snow hour or two
        there would say wild things of the first snow it meets, and no training row could set it right.
        """
        return np.stack([np.ptp(trial.X[weight > 0], axis=0) > 0 for weight in trial.counts])

    @abstractmethod
    def priors(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        """Return rules of numbers on every training set, and prior weights of their settings."""

    def _penalties(self, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """Return penalties of links and dynamics, and their prior weights."""
        if not trial.classify:
            return PENALTIES, PENALTY_PRIOR
        penalties = PENALTIES[2:4] if trial.large else PENALTIES
        return penalties, np.full(len(penalties), 1.0 / len(penalties))


class AnchoredToChain(Anchored):
    """Shrunk towards the step-wise chain through the privileged steps."""

    name = "chain"

    def obstacle(self, trial: Trial) -> str | None:
        if super().obstacle(trial) or trial.lesson.Z.shape[1]:
            return super().obstacle(trial)
        return "X_privileged has no column"

    def priors(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        lesson, (penalties, share) = replace(trial.lesson, hard=trial.numbers), self._penalties(trial)
        windows = len(lesson.window) == 2 and lesson.window[0] > 1 and trial.joined
        rules = chain_rules(
            Regression(TunedRidge()), lesson, [IMITATION], list(penalties), trial.sets,
            states="windows" if windows else "steps", indicators=True,
        )  # fmt: skip
        return rules, share


class AnchoredToDynamics(Anchored):
    """Shrunk towards pooled dynamics, rolled to the target."""

    name = "dynamics"

    def obstacle(self, trial: Trial) -> str | None:
        if reason := super().obstacle(trial):
            return reason
        if not channels_agree(trial.lesson):
            return "X_privileged has other channels than X"
        return None if trial.joined else "X_privileged does not follow X at once"

    def priors(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        path = whole_path(trial.lesson, "dynamics", "other candidates")
        window = path.shape[1] - trial.lesson.Z.shape[1] // path.shape[2]
        orders, (penalties, share) = [order for order in ORDERS if order <= window], self._penalties(trial)
        parts = [
            rolled_chain_grid(
                path, trial.numbers, np.array([IMITATION]), penalties, trial.sets, window=window, order=order,
                labelled=trial.lesson.labelled, indicators=True,
            )
            for order in orders
        ]  # fmt: skip
        coef, intercept = (
            np.concatenate([part[:, 0] for part in column], axis=1) for column in zip(*parts, strict=True)
        )
        settings = pd.DataFrame(
            [(IMITATION, o, p) for o in orders for p in penalties], columns=["imitation", "order", "penalty"]
        )
        return Rules(coef, intercept, settings), np.tile(share, len(orders)) / len(orders)


class Outside(Candidate):
    """Any estimator: fitted once per training set, with the privileged rows if its `fit` takes them."""

    def __init__(self, estimator: Any, name: str) -> None:
        self.estimator, self.name = estimator, name
        self.distils = has_fit_parameter(estimator, "X_privileged")

    def obstacle(self, trial: Trial) -> str | None:
        return super().obstacle(trial) if self.distils else None

    def fit(self, trial: Trial) -> Finding:
        voices = [self._fitted(trial, weight) for weight in trial.sets]
        values = [voice.values(trial.lesson.X[test]) for voice, (_, test) in zip(voices, trial.folds, strict=False)]
        return Finding(values, None, None, voices[-1])

    def _fitted(self, trial: Trial, weight: np.ndarray) -> Voice:
        rows = np.flatnonzero((weight > 0) & trial.lesson.labelled)
        part, model = trial.lesson.rows(rows), clone(self.estimator)
        given = None if (weight[rows] == 1.0).all() else weight[rows]
        if not self.distils:
            model = fit_weighted("candidates", model, part.X, part.y, given)
            return Voice(trial.task, model, part.X.shape[1:])
        extra = {} if given is None else {"sample_weight": given}
        X = part.X.reshape(len(rows), *part.window)
        return Voice(trial.task, model.fit(X, part.y, X_privileged=self._taught_by(part), **extra), part.window)

    def _taught_by(self, part: Lesson) -> np.ndarray | None:
        """Return the privileged rows that are shown."""
        return part.Z.reshape(len(part.X), *part.middle)


BUILT_IN = {kind.name: kind for kind in (Baseline, Generalized, AnchoredToChain, AnchoredToDynamics)}


def _average(column: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean of a setting; strengths are averaged on their logarithm."""
    values = np.asarray(column, dtype=np.float64)
    logarithmic = (values > 0).all() and values.max() / values.min() > 100.0
    return float(np.exp(weights @ np.log(values)) if logarithmic else weights @ values)
