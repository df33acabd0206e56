"""A class that the student has no sample of: its recall before and after the class-bias correction.

The teacher has seen all classes. The student's transfer set lacks every sample of one of them; the correction is fitted
on validation rows that hold it, test rows are looked at once. Where the temperature is "-", students learnt from hard
labels alone: they never say the class, and what the correction makes of them is what soft labels must beat.

Series of several frequencies (`simulate_frequencies`) have two teachers: a logistic regression on the amplitudes, which
are privileged, and a network on the series that the student sees as well. Means over seeds, smallest and largest recall
in brackets. Usage: ``python benchmarks/study_unseen_class.py [n_seeds]``; about two minutes for five seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from pitskd import simulate_frequencies
from pitskd.models import MLP
from pitskd.neural import ClassBiasCorrection, NeuralDistillationClassifier

TEMPERATURES = (1.0, 2.0, 5.0, 20.0)
UNSEEN = {"frequencies": 2, "load_digits": 3}
# Recall before and after as the method's reference experiments have it.
REFERENCE = {"frequencies": "about 0 / .97", "load_digits": ".68 / .89"}
SETTINGS = {
    "frequencies": {"max_epochs": 40, "learning_rate": 3e-3},
    "load_digits": {"max_epochs": 60, "learning_rate": 1e-3},
}


class Part(NamedTuple):
    """What student and teacher see of the same rows, and the labels."""

    X: np.ndarray
    Z: np.ndarray
    y: np.ndarray

    def rows(self, chosen: Any) -> Part:
        """Return some of the rows."""
        return Part(self.X[chosen], self.Z[chosen], self.y[chosen])


def network(data: str, seed: int, **settings: Any) -> NeuralDistillationClassifier:
    """Return an unfitted network; its epochs are fixed, since held-out rows without the class would mislead it."""
    given = {"student": partial(MLP, hidden=64), "validation": None, "random_state": seed, **SETTINGS[data]}
    return NeuralDistillationClassifier(**given, **settings)


def setups(seed: int) -> Iterator[tuple[str, str, Part, tuple[Any, Any, Any], Callable[[Part], Any]]]:
    """Yield data, the teacher's name, all rows, positions of training, validation and test rows, and the teacher."""
    X, amplitudes, y = simulate_frequencies(6000, random_state=seed)
    parts = slice(0, 1500), slice(1500, 2000), slice(2000, 6000)
    yield "frequencies", "amplitudes", Part(X, amplitudes, y), parts, lambda own: LogisticRegression().fit(own.Z, own.y)
    yield "frequencies", "series", Part(X, X, y), parts, lambda own: alone("frequencies", seed, own)
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))
    parts = order[:900], order[900:1250], order[1250:]
    yield "load_digits", "pixels", Part(X, X, y), parts, lambda own: alone("load_digits", seed, own)


def alone(data: str, seed: int, own: Part) -> NeuralDistillationClassifier:
    """Return a network fitted to labels of all classes."""
    return network(data, seed, imitation=0.0).fit(own.Z, own.y)


def study(seed: int) -> Iterator[dict[str, Any]]:
    """Yield one row per data, teacher and temperature."""
    for data, name, every, (train, validation, test), fit_teacher in setups(seed):
        unseen, own = UNSEEN[data], every.rows(train)
        teacher = fit_teacher(own)
        transfer, judged, asked = own.rows(own.y != unseen), every.rows(validation), every.rows(test)
        template = network(data, seed, teacher=FrozenEstimator(teacher), classes=np.unique(every.y).tolist())
        points = [{"imitation": 0.0}, *({"imitation": 1.0, "temperature": T} for T in TEMPERATURES)]
        students = template.fit_grid(transfer.X, transfer.y, points, X_privileged=transfer.Z)
        for point, student in zip(points, students, strict=True):
            corrected = ClassBiasCorrection(student).fit(judged.X, judged.y)
            row = {"data": data, "teacher": name, "T": point.get("temperature", "-"), "seed": seed}
            row["teacher error"] = float(np.mean(teacher.predict(asked.Z) != asked.y))
            for when, model in (("before", student), ("after", corrected)):
                said = model.predict(asked.X)
                row[f"recall {when}"] = float(np.mean(said[asked.y == unseen] == unseen))
                row[f"error {when}"] = float(np.mean(said != asked.y))
            yield row


def main() -> None:
    n_seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    table = pd.DataFrame([row for seed in range(n_seeds) for row in study(seed)])
    groups = table.groupby(["data", "teacher", "T"], sort=False)
    shown = groups[["teacher error", "error before", "error after"]].mean().round(3)
    for when in ("before", "after"):
        recall = groups[f"recall {when}"]
        spread = zip(recall.mean(), recall.min(), recall.max(), strict=True)
        shown[f"recall {when}"] = [f"{mean:.2f} [{least:.2f}, {most:.2f}]" for mean, least, most in spread]
    print(shown[["teacher error", "recall before", "recall after", "error before", "error after"]].to_string())
    for data, figures in REFERENCE.items():
        print(f"reference recall before / after, {data}: {figures}")


if __name__ == "__main__":
    main()
