"""The models of the tables: the bar, the controls, the student and its teacher, each trained on one resample.

Whatever is chosen is chosen on training and validation rows; test rows are predicted once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pitskd._random import stage_generator
from pitskd.distillation import GeneralizedDistillationClassifier, GeneralizedDistillationClassifierCV
from pitskd.linear._paths import logistic_path, ridge_path
from pitskd.linear.dynamics import rolled_forecast
from pitskd.linear.tuned import TunedLogisticRegression

__all__ = ["Prediction", "Resample"]

BASELINE = "tuned baseline"
SAME_LOSS = "same-loss control"
NO_MIDDLE = "no-middle control"
PERMUTED = "permuted-x* control"
MARGIN = "ridge on the margin"
STUDENT = "student"
TEACHER = "teacher"
PATH = "student at imitation"
CONTROLS = (SAME_LOSS, NO_MIDDLE, PERMUTED, MARGIN)
# Rules of combination that the front door does not take, as tables name them.
RULES = {
    "average": "average of all three",
    "weights": "weighted by likelihood",
    "stack": "stacked",
    "select": "one selected",
}

# Protocol C's grid. On noise-free series its floor still binds: see WEAK_PENALTIES.
PENALTIES = np.logspace(-4, 3, 15)
WEAK_PENALTIES = np.logspace(-8, 3, 23)
IMITATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
TEMPERATURES = (1.0, 2.0, 5.0)


@dataclass(frozen=True, eq=False)
class Resample:
    """One draw of a task: rows to learn from, training first and validation behind, and rows to be tested on."""

    X: np.ndarray  # (n, window, n_channels)
    X_privileged: np.ndarray  # (n, n_steps, n_privileged_channels)
    y: np.ndarray  # (n,) labels 0 and 1
    n_train: int
    X_test: np.ndarray
    X_privileged_test: np.ndarray
    y_test: np.ndarray
    block: np.ndarray  # (n_test,) block of test time; all 0 where rows are independent
    margin: np.ndarray  # (n,) the number whose threshold gives y
    threshold: float
    penalties: np.ndarray = field(default_factory=lambda: PENALTIES)  # candidates of every model
    rises: bool = False  # the margin is counted from the last input of the first channel

    @property
    def train(self) -> slice:
        """The training rows."""
        return slice(0, self.n_train)

    @property
    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The one division into training and validation rows; without the latter five folds of the former."""
        rows = np.arange(len(self.X))
        if len(rows) > self.n_train:
            return [(rows[: self.n_train], rows[self.n_train :])]
        return list(StratifiedKFold(5).split(rows, self.y))


@dataclass(frozen=True, eq=False)
class Prediction:
    """Test labels of one method, with the hyper-parameters it chose and the logits behind the labels."""

    method: str
    labels: np.ndarray
    choices: dict[str, float] = field(default_factory=dict)
    logits: np.ndarray | None = None

    @classmethod
    def of(cls, method: str, logits: np.ndarray, choices: dict[str, float] | None = None) -> Prediction:
        """Return the labels, 0 and 1, that logits (n_test,) mean."""
        return cls(method, (logits > 0).astype(int), choices or {}, logits)


@dataclass(frozen=True, eq=False)
class Search:
    """A search by validation loss. Its teacher and its final models learn from the training rows alone."""

    resample: Resample
    teacher: Any
    results: pd.DataFrame

    @classmethod
    def run(cls, resample: Resample, imitations: tuple[float, ...]) -> Search:
        r = resample
        teacher = make_pipeline(StandardScaler(), TunedLogisticRegression(penalties=r.penalties))
        teacher.fit(flat(r.X_privileged[r.train]), r.y[r.train])
        search = GeneralizedDistillationClassifierCV(
            teacher,
            imitations=imitations,
            temperatures=TEMPERATURES,
            penalties=r.penalties,
            cross_fit="prefit",
            cv=r.folds,
        )
        with warnings.catch_warnings():
            # The protocol reports the teacher beside its students, also where it is weak: for permuted x* it has to be.
            warnings.filterwarnings("ignore", message="The teacher's held-out loss", category=UserWarning)
            search.fit(r.X, r.y, X_privileged=r.X_privileged)
        return cls(resample, teacher, pd.DataFrame(search.cv_results_))

    @property
    def choices(self) -> dict[str, float]:
        return self._best(self.results)

    @staticmethod
    def _best(results: pd.DataFrame) -> dict[str, float]:
        row = results.loc[results["mean_test_loss"].idxmin()]
        return {name: float(row[name]) for name in ("imitation", "temperature", "penalty")}

    def predict(self, X: np.ndarray, imitation: float | None = None) -> np.ndarray:
        """Predict with the best student, or with the best of one imitation."""
        return self.model(imitation).predict(X)

    def model(self, imitation: float | None = None) -> GeneralizedDistillationClassifier:
        """Fit the best student, or the best of one imitation."""
        results = self.results if imitation is None else self.results[self.results["imitation"] == imitation]
        best, r = self._best(results), self.resample
        model = GeneralizedDistillationClassifier(
            teacher=self.teacher,
            student=TunedLogisticRegression(penalties=[best["penalty"]]),
            imitation=best["imitation"],
            temperature=best["temperature"],
            cross_fit="prefit",
        )
        return model.fit(r.X[r.train], r.y[r.train], X_privileged=r.X_privileged[r.train])


def tuned_logistic(resample: Resample) -> Any:
    """Return scikit-learn's own L2-logistic model, the bar: strength by validation log-loss, fit on training rows."""
    model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=1000))
    grid = {"logisticregression__C": 1.0 / resample.penalties[::-1]}
    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=resample.folds, refit=False)
    X, y = flat(resample.X), resample.y
    search.fit(X, y)
    return model.set_params(**search.best_params_).fit(X[resample.train], y[resample.train])


def ridge_on_margin(resample: Resample) -> np.ndarray:
    """Regress the number itself, calibrate and return test logits: required beside thresholded labels.

    Strength by held-out log-loss of the calibrated forecast, which for a skewed number beats a cut at the threshold.
    """

    def models(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        X, X_test = _standardised(resample, train)
        coef, intercept = ridge_path(X[train], resample.margin[train, None], resample.penalties, np.ones(len(train)))
        rules = zip(coef[:, 0], intercept[:, 0], strict=True)
        logits = [_calibrate(resample.y, train, X @ w + b, X_test @ w + b) for w, b in rules]
        learn, test = (np.stack(part, axis=1) for part in zip(*logits, strict=True))
        return learn, test

    return _chosen(resample, models)


def own_dynamics(resample: Resample, horizon: int) -> np.ndarray:
    """Shrink a logistic model towards the VAR of the input windows rolled to the target: no middle-time data.

    The strongest penalty leaves the calibrated rolled VAR itself, so both forms of the control compete for the best
    held-out log-loss, over several orders and penalties of the VAR. Returns test logits.
    """
    strengths = np.append(resample.penalties, 1e6)

    def models(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        X, X_test = _standardised(resample, train)
        one_hot, even = np.eye(2)[resample.y[train]][None], np.ones((1, len(train)))
        learn, test = [], []
        for rolled, rolled_test in _rolled_margins(resample, train, horizon):
            logit, logit_test = _calibrate(resample.y, train, rolled, rolled_test)
            coef, intercept = logistic_path(X[train], one_hot, strengths, even, offset=logit[train])
            learn.append(X @ coef[0, :, 0].T + intercept[0, :, 0] + logit[:, None])
            test.append(X_test @ coef[0, :, 0].T + intercept[0, :, 0] + logit_test[:, None])
        return np.hstack(learn), np.hstack(test)

    return _chosen(resample, models)


Models = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _chosen(resample: Resample, models: Models) -> np.ndarray:
    """Return test logits of the model of least held-out log-loss, fitted to the training rows.

    ``models(rows)`` fits all of them to some rows: logits of learning rows (n, n_models) and test rows.
    """
    losses, said_test = 0.0, np.empty(0)
    for train, rest in resample.folds:
        said, said_test = models(train)
        sign = np.where(resample.y[rest] == 1, -1.0, 1.0)[:, None]
        losses = losses + np.logaddexp(0.0, sign * said[rest]).sum(axis=0)
    if len(resample.folds) > 1:  # else the one fold has just been fitted to all training rows
        said_test = models(np.arange(resample.n_train))[1]
    return said_test[:, int(np.argmin(losses))]


def _rolled_margins(resample: Resample, train: np.ndarray, horizon: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield forecasts of the target's channel, the first, for learning and test rows; of its rise where that counts."""
    X_train = resample.X[train]
    for order in range(1, min(4, X_train.shape[1])):
        for penalty in (1e-4, 1e-2, 1.0, 10.0, 100.0):
            learn, test = (
                rolled_forecast(X_train, X, horizon=horizon, order=order, penalty=penalty)[:, 0]
                - (X[:, -1, 0] if resample.rises else 0.0)
                for X in (resample.X, resample.X_test)
            )
            yield learn, test


def _calibrate(
    y: np.ndarray, train: np.ndarray, score: np.ndarray, score_test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a score into logits by slope and intercept, fitted to the training rows."""
    centre, spread = score[train].mean(), score[train].std() or 1.0
    rule = LogisticRegression(C=1e4).fit((score[train, None] - centre) / spread, y[train])
    logit, logit_test = (rule.decision_function((s[:, None] - centre) / spread) for s in (score, score_test))
    return logit, logit_test


def _standardised(resample: Resample, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return learning and test rows, flat, on the scale of some training rows."""
    X = flat(resample.X)
    mean, scale = _location_and_scale(X[train])
    return (X - mean) / scale, (flat(resample.X_test) - mean) / scale


def _location_and_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = X.std(axis=0)
    return X.mean(axis=0), np.where(scale == 0, 1.0, scale)


def alone(candidate: str) -> str:
    """Return how tables name a candidate of the front door without the others."""
    return f"{candidate} alone"


def rules_named(model: Any) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield, by the name in tables, the weights that other rules of combination give to candidates."""
    yield from ((named, model.rules_.loc[rule].to_dict()) for rule, named in RULES.items())


def permutation(n_rows: int, seed: int) -> np.ndarray:
    """Return the order of rows that parts x* from its x."""
    return stage_generator(seed, "permuted x*").permutation(n_rows)


def flat(windows: np.ndarray) -> np.ndarray:
    """Return windows as rows, time-major."""
    return windows.reshape(len(windows), -1)
