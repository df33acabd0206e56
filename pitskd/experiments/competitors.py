"""The models of the tables: the bar, the controls, the student and its teacher, each trained on one resample.

Whatever is chosen is chosen on training and validation rows; test rows are predicted once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
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

    @property
    def train(self) -> slice:
        """The training rows."""
        return slice(0, self.n_train)

    @property
    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The one division into training and validation rows."""
        rows = np.arange(len(self.X))
        return [(rows[: self.n_train], rows[self.n_train :])]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Test labels of one method, with the hyper-parameters it chose."""

    method: str
    labels: np.ndarray
    choices: dict[str, float] = field(default_factory=dict)


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
        results = self.results if imitation is None else self.results[self.results["imitation"] == imitation]
        best, r = self._best(results), self.resample
        model = GeneralizedDistillationClassifier(
            teacher=self.teacher,
            student=TunedLogisticRegression(penalties=[best["penalty"]]),
            imitation=best["imitation"],
            temperature=best["temperature"],
            cross_fit="prefit",
        )
        return model.fit(r.X[r.train], r.y[r.train], X_privileged=r.X_privileged[r.train]).predict(X)


def tuned_logistic(resample: Resample) -> Any:
    """Return scikit-learn's own L2-logistic model, the bar: strength by validation log-loss, fit on training rows."""
    model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=1000))
    grid = {"logisticregression__C": 1.0 / resample.penalties[::-1]}
    search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=resample.folds, refit=False)
    X, y = flat(resample.X), resample.y
    search.fit(X, y)
    return model.set_params(**search.best_params_).fit(X[resample.train], y[resample.train])


def ridge_on_margin(resample: Resample) -> np.ndarray:
    """Regress the number itself, calibrate and classify: required beside thresholded labels.

    Strength by validation log-loss of the calibrated forecast, which for a skewed number beats a cut at the threshold.
    """
    train = resample.train
    X = flat(resample.X)
    mean, scale = _location_and_scale(X[train])
    X, X_test = (X - mean) / scale, (flat(resample.X_test) - mean) / scale
    coef, intercept = ridge_path(X[train], resample.margin[train, None], resample.penalties, np.ones(resample.n_train))
    best_loss, labels = np.inf, np.zeros(len(X_test), dtype=int)
    for w, b in zip(coef[:, 0], intercept[:, 0], strict=True):
        logit, logit_test = _calibrate(resample, X @ w + b, X_test @ w + b)
        loss = _validation_losses(resample, logit[:, None])[0]
        if loss < best_loss:
            best_loss, labels = loss, (logit_test > 0).astype(int)
    return labels


def own_dynamics(resample: Resample, horizon: int) -> np.ndarray:
    """Shrink a logistic model towards the VAR of the input windows rolled to the target: no middle-time data.

    The strongest penalty leaves the calibrated rolled VAR itself, so both forms of the control compete for the best
    validation log-loss, over several orders and penalties of the VAR.
    """
    train = resample.train
    X = flat(resample.X)
    mean, scale = _location_and_scale(X[train])
    X, X_test = (X - mean) / scale, (flat(resample.X_test) - mean) / scale
    strengths = np.append(resample.penalties, 1e6)
    one_hot, even = np.eye(2)[resample.y[train]][None], np.ones((1, resample.n_train))
    best_loss, labels = np.inf, np.zeros(len(X_test), dtype=int)
    for rolled, rolled_test in _rolled_margins(resample, horizon):
        logit, logit_test = _calibrate(resample, rolled, rolled_test)
        coef, intercept = logistic_path(X[train], one_hot, strengths, even, offset=logit[train])
        losses = _validation_losses(resample, X @ coef[0, :, 0].T + intercept[0, :, 0] + logit[:, None])
        best = int(np.argmin(losses))
        if losses[best] < best_loss:
            best_loss = losses[best]
            labels = (X_test @ coef[0, best, 0] + intercept[0, best, 0] + logit_test > 0).astype(int)
    return labels


def _rolled_margins(resample: Resample, horizon: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield forecasts of the target's channel, the first, for learning and test rows."""
    X_train = resample.X[resample.train]
    for order in range(1, min(4, X_train.shape[1])):
        for penalty in (1e-4, 1e-2, 1.0, 10.0, 100.0):
            learn, test = (
                rolled_forecast(X_train, X, horizon=horizon, order=order, penalty=penalty)[:, 0]
                for X in (resample.X, resample.X_test)
            )
            yield learn, test


def _calibrate(resample: Resample, score: np.ndarray, score_test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a score into logits by slope and intercept, fitted to the training rows."""
    train = resample.train
    centre, spread = score[train].mean(), score[train].std() or 1.0
    rule = LogisticRegression(C=1e4).fit((score[train, None] - centre) / spread, resample.y[train])
    logit, logit_test = (rule.decision_function((s[:, None] - centre) / spread) for s in (score, score_test))
    return logit, logit_test


def _validation_losses(resample: Resample, logits: np.ndarray) -> np.ndarray:
    """Return mean validation log-losses of logits (n, n_models)."""
    rest = resample.folds[0][1]
    sign = np.where(resample.y[rest] == 1, -1.0, 1.0)[:, None]
    return np.logaddexp(0.0, sign * logits[rest]).mean(axis=0)


def _location_and_scale(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = X.std(axis=0)
    return X.mean(axis=0), np.where(scale == 0, 1.0, scale)


def permutation(n_rows: int, seed: int) -> np.ndarray:
    """Return the order of rows that parts x* from its x."""
    return stage_generator(seed, "permuted x*").permutation(n_rows)


def flat(windows: np.ndarray) -> np.ndarray:
    """Return windows as rows, time-major."""
    return windows.reshape(len(windows), -1)
