"""Does the middle still help when every window counts: linear students on all windows of a series, from sums alone.

Blocks of time are added up in one pass. Each is held out once; students are chosen and fitted on what the others add up
to, and scored on what the held-out one adds up to, for a squared error needs no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pitskd._lessons import Regression
from pitskd._validation import wrong
from pitskd.linear._evidence import BOTH, LABELLED, Evidence, chain_links, shrunk_path
from pitskd.linear._moments import Affine
from pitskd.linear._states import Walk
from pitskd.linear.chain import ChainDistillationRegressor
from pitskd.windows import PrivilegedWindows

__all__: list[str] = []

RIDGE, STUDENT, PERMUTED = "tuned ridge", "anchored student", "permuted x* control"
N_BLOCKS = 10
MOST_COLUMNS = 1500  # whose products take 18 MB a block
_STRENGTHS = np.logspace(-2.0, 7.0, 10)  # of ridge and anchors; sums over many rows want strong ones
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
        the student of middles that belong to other windows.
    differences : DataFrame
        One row per opponent of the student: mean over blocks of the student's R2 minus its own, with lower and upper (t
        over blocks).
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
        apart = "; ".join(
            f"to the {name} {mean:+.4f} [{lower:+.4f}, {upper:+.4f}]" for name, mean, lower, upper in rows
        )
        said = {"helps": "the privileged part helps there too", "hurts": "the privileged part hurts there"}
        return (
            f"{self.n_windows} windows in {self.n_blocks} blocks of time, each held out once: tuned ridge R2 "
            f"{self.r2:.4f}, anchored student R2 {self.blocks[STUDENT].mean():.4f}; difference {apart}: "
            f"{said.get(self.verdict, 'no evidence that the privileged part helps there')}."
        )


def compare_on_all(
    records: Iterable[PrivilegedWindows], n_expected: int, *, n_blocks: int = N_BLOCKS, confidence: float = 0.95
) -> WholeFile:
    """Compare tuned ridge and the anchored student on windows that come in order of time.

    Parameters
    ----------
    records : iterable of PrivilegedWindows
        Of one series, stride 1 or more; read once.
    n_expected : int
        About how many windows there are, for the borders of the blocks; not fewer than come.
    n_blocks : int, default=10
    confidence : float, default=0.95

    Returns
    -------
    WholeFile

    Raises
    ------
    ValueError
        If there are too few windows for three blocks, or too many columns for sums of products.
    """
    blocks = [block for block in _blocks(records, n_expected, n_blocks) if block.n_labelled > 1]
    if len(blocks) < 3:
        raise wrong("records", "windows enough for three blocks of time", f"{len(blocks)}", "Pass a longer series.")
    total = _joined(blocks)
    spread = total.regression(np.arange(0), {kind: (total.target(), 1.0) for kind in (BOTH, LABELLED)})
    variance = spread.scatter.diagonal() / spread.weight
    rows = []
    for test, errors in zip(blocks, _errors(blocks), strict=True):
        scores = {name: 1.0 - float((error / variance).mean()) for name, error in errors.items()}
        rows.append({"n_windows": test.n_rows, **scores})
    table = pd.DataFrame(rows).rename_axis("block")
    apart = {name: _interval(table[STUDENT] - table[name], confidence) for name in (RIDGE, PERMUTED)}
    differences = pd.DataFrame(apart, index=["mean", "lower", "upper"]).T.rename_axis("opponent")
    return WholeFile(total.n_rows, len(blocks), table, differences, confidence)


def _interval(values: pd.Series, confidence: float) -> list[float]:
    half = stats.t.ppf((1.0 + confidence) / 2.0, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [float(values.mean()), float(values.mean() - half), float(values.mean() + half)]


def _blocks(records: Iterable[PrivilegedWindows], n_expected: int, n_blocks: int) -> list[Evidence]:
    """Add up every block of time; windows that share a row with the next block are left out."""
    reader, found, passed = ChainDistillationRegressor(), {}, 0
    for record in records:
        reach = record.window + int(np.max(record.horizon)) - 1
        numbers = passed + np.arange(record.n_windows)
        block, ahead = (
            np.minimum(place * n_blocks // n_expected, n_blocks - 1) for place in (numbers, numbers + reach)
        )
        inner = block == ahead
        passed += record.n_windows
        for number in np.unique(block[inner]):
            part = record.take(np.flatnonzero(inner & (block == number)))
            own = _evidence(reader, part)
            found[number] = own if number not in found else found[number].merged(own)
    return [found[number] for number in sorted(found)]


def _evidence(reader: ChainDistillationRegressor, part: PrivilegedWindows) -> Evidence:
    width = sum(np.prod(a.shape[1:]) for a in (part.X, part.X_privileged) if a is not None) + part.y[:1].size
    if width > MOST_COLUMNS:
        expected = f"of at most {MOST_COLUMNS} columns, windows, middle and target together"
        raise wrong("records", expected, f"{width}", "Use shorter windows, fewer columns or fewer privileged steps.")
    task: Any = Regression(None)
    lesson = reader._read_rows(task, part.X, part.y, part.X_privileged, None, least=1)
    return Evidence.of(lesson, task.one_target)


Path = list[tuple[np.ndarray, np.ndarray]]  # rules of all strengths


def _errors(blocks: Sequence[Evidence]) -> list[dict[str, np.ndarray]]:
    """Return for every block what each student leaves of it, fitted to the others, its strength chosen inside them."""
    numbers = range(len(blocks))
    losses = {name: np.zeros((len(blocks), len(_STRENGTHS))) for name in _PATHS}
    for one, other in combinations(numbers, 2):
        train = _joined([blocks[number] for number in numbers if number not in (one, other)])
        for name, path in _PATHS.items():
            rules = path(train)
            for out, held_out in ((one, other), (other, one)):
                losses[name][out] += blocks[held_out].n_labelled * _left(blocks[held_out], rules).mean(axis=1)
    errors = []
    for out in numbers:
        train = _joined([blocks[number] for number in numbers if number != out])
        best = {name: len(loss[out]) - 1 - int(np.argmin(loss[out][::-1])) for name, loss in losses.items()}
        errors.append({name: _left(blocks[out], [path(train)[best[name]]])[0] for name, path in _PATHS.items()})
    return errors


def _ridge_path(evidence: Evidence) -> Path:
    nothing = np.zeros((evidence.n_targets, evidence.n_features)), np.zeros(evidence.n_targets)
    return shrunk_path(evidence, nothing, _STRENGTHS)


def _anchored_path(evidence: Evidence) -> Path:
    prior = chain_links(evidence, Walk(), _IMITATION, _PENALTY)[0]
    return shrunk_path(evidence, prior, _STRENGTHS)


def _permuted_path(evidence: Evidence) -> Path:
    prior = chain_links(evidence.parted(), Walk(), _IMITATION, _PENALTY)[0]
    return shrunk_path(evidence, prior, _STRENGTHS)


_PATHS = {RIDGE: _ridge_path, STUDENT: _anchored_path, PERMUTED: _permuted_path}


def _left(evidence: Evidence, rules: Path) -> np.ndarray:
    """Return the mean square of what every rule leaves of every target, (n_rules, n_targets)."""
    y, columns = evidence.target(), np.arange(evidence.n_features)
    told = [evidence.told(coef, intercept, columns) for coef, intercept in rules]
    left = Affine(np.vstack([y.matrix - one.matrix for one in told]), np.concatenate([-one.shift for one in told]))
    squares = evidence.regression(np.arange(0), dict.fromkeys((BOTH, LABELLED), (left, 1.0))).mean_square()
    return squares.reshape(len(rules), -1)


def _joined(blocks: Sequence[Evidence]) -> Evidence:
    return reduce(Evidence.merged, blocks)
