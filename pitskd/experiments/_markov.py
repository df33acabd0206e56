"""Is the middle a chain: held-out loss of chains from hard targets alone (imitation 0) to what follows alone (1)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pitskd._lessons import Classification, Folds, Lesson, Task
from pitskd.experiments.compare import paired_interval
from pitskd.linear._families import chain_rules
from pitskd.linear._states import channels_agree
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__: list[str] = []

IMITATIONS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)
PENALTIES = (1e-4, 1e-2, 1.0, 10.0, 100.0, 1e3, 1e4)  # a floor would cripple imitation 0 on series without noise


def imitation_path(task: Task, lesson: Lesson, folds: Folds, confidence: float) -> pd.DataFrame:
    """Return the held-out loss of default chains at every imitation, each with the penalty that suits it best.

    Returns
    -------
    DataFrame
        Columns imitation; penalty; loss (mean squared error, or log-loss in nats); percent (of the variance of the
        target, or of the log-loss of the class shares); and what is gained over imitation 0 in the same per cent, with
        lower and upper (t over splits).
    """
    weight = np.ones(len(lesson.X)) if lesson.weight is None else lesson.weight
    sets = np.zeros((len(folds), len(weight)))
    for row, (train, _) in zip(sets, folds, strict=True):
        row[train] = weight[train]
    shifted = len(lesson.window) == 2 and lesson.window[0] > 1 and channels_agree(lesson)
    states = "windows" if shifted else "steps"
    rules = chain_rules(task, lesson, IMITATIONS, PENALTIES, sets, states=states)
    X, kind = (
        np.asarray(lesson.X, dtype=np.float64),
        (TunedLogisticRegression if isinstance(task, Classification) else TunedRidge),
    )
    losses = np.empty((len(folds), len(IMITATIONS), len(PENALTIES)))
    for number, (_, test) in enumerate(folds):
        said = np.swapaxes(rules.coef[number] @ X[test].T, 1, 2) + rules.intercept[number][:, None]
        losses[number] = kind.losses(said, lesson.hard[test]).mean(axis=1).reshape(losses.shape[1:])
    best = losses.mean(axis=0).argmin(axis=1)
    at_best = losses[:, np.arange(len(IMITATIONS)), best]
    scale = 100.0 / _loss_of_nothing(task, lesson)
    gains = [paired_interval(scale * (at_best[:, 0] - column), confidence=confidence) for column in at_best.T]
    loss = at_best.mean(axis=0)
    return pd.DataFrame(
        {
            "imitation": IMITATIONS,
            "penalty": np.asarray(PENALTIES)[best],
            "loss": loss,
            "percent": scale * loss,
            "gain": [gain.mean for gain in gains],
            "lower": [gain.lower for gain in gains],
            "upper": [gain.upper for gain in gains],
        }
    )


def _loss_of_nothing(task: Task, lesson: Lesson) -> float:
    """Return the loss of a constant forecast: the variance of the target, or the entropy of the classes."""
    hard = lesson.hard[lesson.counts]
    if isinstance(task, Classification):
        share = hard.mean(axis=0)
        return float(-(share[share > 0] * np.log(share[share > 0])).sum())
    return float(hard.var(axis=0).mean())


def reading(path: pd.DataFrame, classify: bool) -> str:
    """Return the path in one sentence."""
    unit = "% of the class entropy" if classify else "% of the variance"
    best = path.loc[path["loss"].idxmin()]
    end = path.iloc[-1]
    if best["imitation"] == 0.0:
        return (
            f"Chains are best without the middle (imitation 0): at imitation 1 they lose {-end['gain']:.1f} {unit}; "
            "the steps between do not carry what the target needs, or X is not their whole state."
        )
    sure = "" if best["lower"] > 0 else ", which may be chance"
    where = "at imitation 1, as a Markov chain has it" if best["imitation"] == 1.0 else f"at {best['imitation']:g}"
    sentence = (
        f"Chains are best {where}: the middle takes {best['gain']:.1f} {unit} "
        f"[{best['lower']:.1f}, {best['upper']:.1f}] off the loss of imitation 0{sure} "
        f"(best of {len(path)} imitations, picked on these rows)"
    )
    if best["imitation"] == 1.0:
        return f"{sentence}."
    back = best["gain"] - end["gain"]
    return (
        f"{sentence}; trusting the chain alone (imitation 1) gives {back:.1f} {unit} back: "
        "a sign, no proof, that X is not the whole state."
    )
