"""Does the middle still help when every window counts: linear students on all windows of a series, from sums alone.

Blocks of time are added up in one pass. Each is held out once; students are chosen and fitted on what the others add up
to, and scored on what the held-out one adds up to, for a squared error needs no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pitskd._random import stage_generator
from pitskd._validation import wrong
from pitskd.experiments import _verdict as words
from pitskd.linear._blocks import STRENGTHS, Path, TimeBlocks, anchored_path, joined, left_over, plain_path, reading
from pitskd.linear._evidence import BOTH, LABELLED, Evidence
from pitskd.linear.chain import ChainDistillationRegressor
from pitskd.windows import PrivilegedWindows

__all__: list[str] = []

RIDGE, STUDENT, PERMUTED = "tuned ridge", "anchored student", "permuted x* control"
N_BLOCKS = 10
MOST_COLUMNS = 1000  # whose products take 8 MB, for each of forty stretches
_IMITATION, _PENALTY = 0.9, 3.0  # of the chain, as in the front door


@dataclass(frozen=True, eq=False)
class WholeFile:
    """What all windows say.

    Parameters
    ----------
    n_windows : int
        That were used: all but those that reach across a border between blocks of time.
    n_blocks : int
        Of time, each held out once.
    blocks : DataFrame
        One row per block: n_windows, and the R2 of "tuned ridge", of "anchored student", and of "permuted x* control",
        the student taught with the privileged parts of other windows.
    differences : DataFrame
        One row per opponent of the student: mean over blocks of the student's R2 minus its own, with lower and upper, a
        t interval over blocks, corrected as their training parts overlap.
    confidence : float
    """

    n_windows: int
    n_blocks: int
    blocks: pd.DataFrame
    differences: pd.DataFrame
    confidence: float

    @property
    def r2(self) -> float:
        """Return the mean R2 of ridge regression, tuned without privileged data."""
        return float(self.blocks[RIDGE].mean())

    @property
    def verdict(self) -> str:
        """Return "helps", "no evidence" or "hurts"."""
        if (self.differences["lower"] > 0).all():
            return "helps"
        return "hurts" if self.differences.loc[RIDGE, "upper"] < 0 else "no evidence"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        blocks, differences = (table.reset_index().to_dict("records") for table in (self.blocks, self.differences))
        return {
            "verdict": self.verdict, "n_windows": self.n_windows, "n_blocks": self.n_blocks, "blocks": blocks,
            "differences": differences, "confidence": self.confidence,
        }  # fmt: skip

    def __str__(self) -> str:
        rows = self.differences.itertuples(name=None)
        apart = "; ".join(f"to the {name} {_spanned(mean, low, high)}" for name, mean, low, high in rows)
        said = {"helps": "the privileged part helps there", "hurts": "the privileged part hurts there"}
        return (
            f"{self.n_windows} windows in {self.n_blocks} blocks of time, each held out once: tuned ridge R2 "
            f"{self.r2:.4f}, anchored student R2 {self.blocks[STUDENT].mean():.4f}; difference {apart}: "
            f"{said.get(self.verdict, 'no evidence that the privileged part helps there')}."
        )


def _spanned(mean: float, low: float, high: float) -> str:
    decimals = max(4, words.decimals_for(low, high))
    return words.signed(mean, decimals) + words.interval(low, high, decimals)


def compare_on_all(
    records: Iterable[PrivilegedWindows],
    n_expected: int,
    *,
    stride: int = 1,
    n_blocks: int = N_BLOCKS,
    confidence: float = 0.95,
    random_state: Any = 0,
) -> WholeFile:
    """Compare tuned ridge and the anchored student on windows that come in order of time.

    Parameters
    ----------
    records : iterable of PrivilegedWindows
        Of one series; read once.
    n_expected : int
        How many windows may come at most, for the borders of the blocks.
    stride : int, default=1
        Rows from one window to the next, at least.
    n_blocks : int, default=10
    confidence : float, default=0.95
    random_state : int, numpy Generator, numpy RandomState or None, default=0
        Seed of the permutation.

    Returns
    -------
    WholeFile

    Raises
    ------
    ValueError
        If there are too few windows for three blocks, too many columns for sums of products, several groups, or a
        target that does not vary.
    """
    own, parted = (TimeBlocks(reading(ChainDistillationRegressor()), n_expected, n_blocks, stride) for _ in range(2))
    generator = stage_generator(random_state, "permuted x* of all windows")
    for record in records:
        _check(record)
        own.add(record)
        parted.add(_permuted(record, generator))
    blocks = own.blocks
    if len(blocks) < 3:
        step = "Pass a longer series, or one with fewer gaps."
        raise wrong("records", "windows enough for three blocks of time", f"{len(blocks)}", step)
    total = joined(blocks)
    spread = total.regression(np.arange(0), {kind: (total.target(), 1.0) for kind in (BOTH, LABELLED)})
    variance = spread.scatter.diagonal() / spread.weight
    if not variance.all():
        raise wrong("records", "windows with targets that vary", "a constant", "There is nothing to forecast.")
    rows = []
    for test, errors in zip(blocks, _errors(blocks, parted.blocks), strict=True):
        scores = {name: 1.0 - float((error / variance).mean()) for name, error in errors.items()}
        rows.append({"n_windows": test.n_rows, **scores})
    table = pd.DataFrame(rows).rename_axis("block")
    apart = {name: _interval(table[STUDENT] - table[name], confidence) for name in (RIDGE, PERMUTED)}
    differences = pd.DataFrame(apart, index=["mean", "lower", "upper"]).T.rename_axis("opponent")
    return WholeFile(total.n_rows, len(blocks), table, differences, confidence)


def _check(record: PrivilegedWindows) -> None:
    if record.groups is not None:
        expected, step = "windows of one series, without groups", "Compare each group alone."
        raise wrong("records", expected, "groups, which share time", step)
    width = sum(int(np.prod(a.shape[1:])) for a in (record.X, record.X_privileged) if a is not None)
    if width > MOST_COLUMNS:
        expected = f"of at most {MOST_COLUMNS} columns, windows and middle together"
        raise wrong("records", expected, f"{width}", "Use shorter windows, fewer columns or fewer privileged steps.")


def _permuted(record: PrivilegedWindows, generator: np.random.Generator) -> PrivilegedWindows:
    """Return the windows, each with the privileged part of another, where it has one."""
    Z = record.X_privileged
    if Z is None or not Z[0].size:
        return record
    known = np.flatnonzero(~np.isnan(Z).all(axis=(1, 2)))
    order = np.arange(len(Z))
    order[known] = generator.permutation(known)
    return replace(record, X_privileged=Z[order])


def _interval(values: pd.Series, confidence: float) -> list[float]:
    """Return mean and t interval, widened as the training parts of the blocks overlap (Nadeau and Bengio 2003)."""
    n = len(values)
    spread = values.std(ddof=1) * np.sqrt(1.0 / n + 1.0 / (n - 1))
    half = stats.t.ppf((1.0 + confidence) / 2.0, n - 1) * spread
    return [float(values.mean()), float(values.mean() - half), float(values.mean() + half)]


def _errors(blocks: Sequence[Evidence], parted: Sequence[Evidence]) -> list[dict[str, np.ndarray]]:
    """Return for every block what each student leaves of it, fitted to the others, its strength chosen inside them."""
    students = {RIDGE: (blocks, plain_path), STUDENT: (blocks, _anchored), PERMUTED: (parted, _anchored)}
    errors: list[dict[str, np.ndarray]] = [{} for _ in blocks]
    for name, (own, path) in students.items():
        losses, numbers = np.zeros((len(blocks), len(STRENGTHS))), range(len(blocks))
        for one, other in combinations(numbers, 2):  # fitted without two blocks: for the choice of either
            rules = path(joined([own[number] for number in numbers if number not in (one, other)]))
            for out, held_out in ((one, other), (other, one)):
                losses[out] += blocks[held_out].n_labelled * left_over(blocks[held_out], rules).mean(axis=1)
        for out in numbers:
            best = len(STRENGTHS) - 1 - int(np.argmin(losses[out][::-1]))
            rules = path(joined([own[number] for number in numbers if number != out]))
            errors[out][name] = left_over(blocks[out], [rules[best]])[0]
    return errors


def _anchored(evidence: Evidence) -> Path:
    return anchored_path(evidence, _IMITATION, _PENALTY)
