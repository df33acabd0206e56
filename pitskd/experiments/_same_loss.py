"""What an estimator is without privilege: the same loss on hard targets alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from pitskd._candidates import Anchored, Candidate, Outside, Trial
from pitskd._combination import candidate_weights, combined
from pitskd._lessons import Lesson
from pitskd.linear._families import Rules
from pitskd.privileged import PrivilegedClassifier, PrivilegedRegressor

__all__: list[str] = []


class Plain(Anchored):
    """Averaged over strengths as the anchored students are, but shrunk towards nothing."""

    name = "plain"

    def priors(self, trial: Trial) -> tuple[Rules, np.ndarray]:
        k = trial.numbers.shape[1]
        nothing = np.zeros((len(trial.sets), 1, k, trial.X.shape[1])), np.zeros((len(trial.sets), 1, k))
        return Rules(*nothing, pd.DataFrame({"prior": [0.0]})), np.ones(1)


def without_privilege(estimator: Any) -> Any:
    """Return the estimator with its imitation set to 0, the same loss on hard targets alone; None if it has none.

    A loss that asks no teacher, as a regulariser that is not privileged, stays.
    """
    given = estimator.get_params(deep=False)
    off, inner = {}, _inside(estimator)
    if inner is not None and (plain := without_privilege(inner)) is not None:
        off["estimator"] = plain
    own = {"imitation": 0.0, "imitations": [0.0], "towards": "chain", "target_imitation": 0.0}
    off |= {name: value for name, value in own.items() if name in given}
    if not {"imitation", "imitations", "estimator"} & set(off):
        return None
    if not getattr(given.get("soft_loss", getattr(inner, "soft_loss", None)), "needs_teacher", True):
        off.pop("imitation", None)
        off.pop("imitations", None)
    if "hints" in given:
        off["hints"] = [(loss, weight) for loss, weight in given["hints"] if not loss.needs_teacher]
        if not off["hints"]:
            off["hint_epochs"] = 0
    return clone(estimator).set_params(**off)


def _inside(estimator: Any) -> Any:
    """Return the estimator of ours that a search or a refinery of ours trains, None for others."""
    given = estimator.get_params(deep=False)
    if "estimator" not in given or not hasattr(estimator, "_model"):
        return None
    return estimator._model()


class Untaught(Outside):
    """An estimator of the user's own that could be taught, but sees no privileged row."""

    def obstacle(self, trial: Trial) -> str | None:
        return None

    def _taught_by(self, part: Lesson) -> None:
        return None


def untaught_candidates(estimator: Any) -> list[Candidate]:
    """Return the candidates of a front door as they are without privilege; none where all of them are linear.

    Linear ones that distil are shrunk towards nothing instead. An estimator of the user's own that could be taught
    stays if it has a setting for that.
    """
    if not isinstance(estimator, PrivilegedRegressor | PrivilegedClassifier):
        return []
    found: dict[str, Candidate] = {}
    for one in estimator._listed():
        if not one.distils:
            found[one.name] = one
        elif not isinstance(one, Outside):
            found[Plain.name] = Plain()
        elif (plain := without_privilege(one.estimator)) is not None:
            found[one.name] = Untaught(plain, one.name)
    return list(found.values()) if any(isinstance(one, Outside) for one in found.values()) else []


def combined_untaught(trial: Trial, candidates: list[Candidate], rule: str) -> Any:
    """Return what a front door makes of candidates without privilege."""
    found = {candidate: candidate.fit(trial) for candidate in candidates}
    losses = {one: float(trial.losses(finding.values)) if trial.folds else np.nan for one, finding in found.items()}
    return combined(trial.task, found, candidate_weights(rule, trial, found, losses))
