"""How candidates make one student: the weight that each rule gives them, and the model that comes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

from pitskd._candidates import Candidate, Finding, Trial, Voice
from pitskd._lessons import Classification
from pitskd.linear._anchors import ClassificationRule, RegressionRule
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge, log_probabilities

__all__: list[str] = []


def candidate_weights(
    rule: str, trial: Trial, found: dict[Candidate, Finding], losses: dict[Candidate, float]
) -> dict[Candidate, float]:
    """Return the weight that a rule of combination gives to each candidate."""
    names = list(found)
    anchored = [candidate for candidate in names if candidate.anchored]
    taught = [candidate for candidate in names if candidate.distils]
    if rule in ("anchored", "average") or not trial.folds:
        chosen = (anchored if rule != "average" else None) or taught or names
        return {candidate: (candidate in chosen) / len(chosen) for candidate in names}
    loss = np.array([losses[candidate] for candidate in names])
    if rule == "select":
        weights = np.eye(len(names))[int(np.argmin(loss))]
    elif rule == "weights":
        weights = softmax(trial.likelihood(loss))
    else:
        weights = _stacked(trial, list(found.values()))
    return dict(zip(names, weights.tolist(), strict=True))


def combined_loss(trial: Trial, found: dict[Candidate, Finding], weights: dict[Candidate, float]) -> float:
    if not trial.folds:
        return np.nan
    parts = [[weights[candidate] * said for said in finding.values] for candidate, finding in found.items()]
    return float(trial.losses([np.sum(fold, axis=0) for fold in zip(*parts, strict=True)]))


def _stacked(trial: Trial, findings: list[Finding]) -> np.ndarray:
    """Return the convex combination of least held-out loss."""
    rows = np.concatenate([test for _, test in trial.folds])
    said = np.stack([np.concatenate(finding.values) for finding in findings], axis=-1)  # (n_rows, k, n_candidates)
    hard, share = trial.lesson.hard[rows], trial.sets[-1][rows] / trial.sets[-1][rows].sum()
    loss = TunedLogisticRegression.losses if trial.classify else TunedRidge.losses
    scale = max(float(loss(said.mean(axis=-1), hard) @ share), np.finfo(float).tiny)
    n = len(findings)
    best = minimize(
        lambda weights: float(loss(said @ weights, hard) @ share) / scale,
        np.full(n, 1.0 / n),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n,
        constraints=[{"type": "eq", "fun": lambda weights: weights.sum() - 1.0}],
    ).x
    best = np.clip(best, 0.0, None)
    return best / best.sum()


def combined(task: Any, found: dict[Candidate, Finding], weights: dict[Candidate, float]) -> Any:
    """Return the student: one linear rule where all that count are linear, else their mixture."""
    used = [(finding, weights[candidate]) for candidate, finding in found.items() if weights[candidate] > 0]
    linear = [(finding, weight) for finding, weight in used if finding.coef is not None]
    coef = sum(weight * np.asarray(finding.coef) for finding, weight in linear)
    intercept = sum(weight * np.asarray(finding.intercept) for finding, weight in linear)
    others = [(finding.voice, weight) for finding, weight in used if finding.voice is not None]
    if not others:
        if isinstance(task, Classification):
            return ClassificationRule(np.asarray(coef), np.asarray(intercept), task.classes)
        return RegressionRule(np.asarray(coef), np.asarray(intercept), task.one_target)
    return Mixture(task, coef, intercept, others)


class Mixture:
    """Linear rules and estimators of the user's own, their values averaged; it has no coefficients."""

    def __init__(self, task: Any, coef: Any, intercept: Any, others: list[tuple[Voice, float]]) -> None:
        self.task, self.rule, self.others = task, (coef, intercept), others

    def values(self, X: np.ndarray) -> np.ndarray:
        """Return predictions or logits (n, k)."""
        coef, intercept = self.rule
        total = sum(weight * voice.values(X) for voice, weight in self.others)
        return np.asarray(total) + (0.0 if isinstance(coef, int) else X @ coef.T + intercept)

    def predict(self, X: np.ndarray) -> np.ndarray:
        values = self.values(X)
        if isinstance(self.task, Classification):
            return self.task.classes[log_probabilities(values).argmax(axis=1)]
        return values[:, 0] if self.task.one_target else values

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.exp(log_probabilities(self.values(X)))

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        values = self.values(X)
        return values[:, 0] if values.shape[1] == 1 else values
