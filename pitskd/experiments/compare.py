"""Paired statistics of methods scored on the same test windows: is one better, and by how much.

Every comparison is of the mean over resamples of the difference *within* a resample, and both intervals are about that
one number. The t interval takes resamples as the only source of chance: it is conditional on the series at hand, and
optimistic, since resamples of one series share their windows. The bootstrap interval draws resamples and blocks of test
time anew, and so speaks of other stretches of time as well. Larger scores are better: pass minus the squared error.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pitskd._random import stage_generator
from pitskd._validation import check_fraction, check_integer, wrong

__all__ = ["Interval", "paired_interval", "two_way_bootstrap", "time_blocks", "compare_methods", "is_gain"]

FloatArray = NDArray[np.float64]

_COLUMNS = ["task", "seed", "method", "block", "n_test", "sum"]


class Interval(NamedTuple):
    """A mean paired difference with its confidence interval.

    Parameters
    ----------
    mean : float
        The point estimate, in the unit of the differences.
    lower, upper : float
        Ends of the interval, same unit; NaN where the data do not define them.
    n_splits : int
        Resamples (repetitions, splits) behind it, at least 1.

    Examples
    --------
    >>> Interval(0.02, 0.01, 0.03, n_splits=20).lower > 0
    True
    """

    mean: float
    lower: float
    upper: float
    n_splits: int


def paired_interval(differences: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Compute Student's t interval for the mean of paired differences.

    Parameters
    ----------
    differences : array-like of shape (n_splits,)
        One difference per resample, e.g. accuracy of the student minus accuracy of the baseline. Any unit; finite.
    confidence : float, default=0.95
        Between 0 and 1, both excluded.

    Returns
    -------
    Interval
        `lower` and `upper` are NaN for a single split, and equal to the mean where all differences are equal.

    Raises
    ------
    ValueError
        If the differences are not a non-empty vector of finite numbers, or confidence is not between 0 and 1.

    Notes
    -----
    mean +- t_{n-1, (1+confidence)/2} s / sqrt(n), equal to the interval of `scipy.stats.ttest_rel`. It is
    conditional on the series that all resamples were drawn from: it says what more resamples would give, not what
    another year would.

    Examples
    --------
    >>> interval = paired_interval([0.01, 0.02, 0.03])
    >>> round(interval.lower, 4), round(interval.upper, 4)  # 0.02 -+ 4.303 * 0.01 / sqrt(3)
    (-0.0048, 0.0448)
    """
    _check_confidence(confidence)
    d = _finite("differences", differences, 1, "Pass one paired difference per resample.")
    mean, n_splits = float(d.mean()), len(d)
    if n_splits == 1:
        return Interval(mean, np.nan, np.nan, 1)
    if np.ptp(d) == 0:  # rounding in the mean would leave a width of 1e-17 around a value beside the common one
        return Interval(float(d[0]), float(d[0]), float(d[0]), n_splits)
    half = float(stats.t.ppf((1 + confidence) / 2, n_splits - 1) * stats.sem(d))
    return Interval(mean, mean - half, mean + half, n_splits)


def two_way_bootstrap(
    sums: ArrayLike, counts: ArrayLike, *, confidence: float = 0.95, n_bootstrap: int = 2000, random_state: Any = 0
) -> Interval:
    """Bootstrap a mean paired difference over resamples and over blocks of test time at once.

    Resamples of one series share test windows, so their spread alone understates the doubt; neighbouring windows
    depend on each other, so windows alone do too. Drawing whole resamples and whole blocks respects both.

    Parameters
    ----------
    sums : array-like of shape (n_resamples, n_blocks)
        Summed difference over a resample's test windows in a block, e.g. correct by the student minus correct by the
        baseline. Any unit; finite.
    counts : array-like of shape (n_resamples, n_blocks)
        Test windows behind each sum, at least 0 and above 0 somewhere in each resample. Blocks that no resample tests
        are left out.
    confidence : float, default=0.95
        Between 0 and 1, both excluded.
    n_bootstrap : int, default=2000
        Draws, at least 1.
    random_state : int, numpy Generator, numpy RandomState or None, default=0
        Seed of the draws; the default repeats them, so that the signs of A - B and B - A mirror each other.

    Returns
    -------
    Interval
        `mean` is the mean over resamples of sum / count, the very number of `paired_interval` on those ratios, so that
        both parts of a table agree. The bounds are NaN with one resample or one block: their spread is unknown then.

    Raises
    ------
    ValueError
        If shapes differ, a number is not finite, a count is negative, a sum is not 0 where its count is, or a resample
        has no test window.

    Notes
    -----
    The pigeonhole bootstrap [1]_: independent multinomial weights w (resamples) and v (blocks) per draw, statistic
    sum_r w_r (S v)_r / (C v)_r / sum_r w_r over the resamples with (C v)_r > 0, percentile interval. Draws in which no
    such resample is left are excluded. The pooled ratio (w'S v) / (w'C v) is the same where the counts are equal over
    resamples; it was decided against since it weighs a resample by its count, which the t interval does not.
    It is conservative: the noise of single cells is counted three times (both factors and their product carry it), so
    that the variance is overstated, by up to three, where that noise dominates. The factors (n - 1) / n of every
    bootstrap work the other way: with fewer than about ten resamples or blocks the interval may be short.

    References
    ----------
    .. [1] Owen (2007). The pigeonhole bootstrap. Annals of Applied Statistics 1(2), 386-411. arXiv:0712.1111.

    Examples
    --------
    >>> gains = np.tile([3, 1, 2, 2], (5, 1))
    >>> interval = two_way_bootstrap(gains, np.full((5, 4), 100))
    >>> round(interval.mean, 3), 0.01 <= interval.lower < 0.02 < interval.upper <= 0.03
    (0.02, True)
    """
    _check_confidence(confidence)
    n_bootstrap = check_integer("n_bootstrap", n_bootstrap, minimum=1, step="Use 2000 draws.")
    S, C = _check_cells(sums, counts)
    mean = float(np.mean(S.sum(axis=1) / C.sum(axis=1)))
    tested = C.any(axis=0)
    S, C = S[:, tested], C[:, tested]
    if min(S.shape) == 1:
        return Interval(mean, np.nan, np.nan, len(S))
    draws = _draw_means(S, C, n_bootstrap, stage_generator(random_state, "bootstrap"))
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(draws, [tail, 1 - tail])
    return Interval(mean, float(lower), float(upper), len(S))


def time_blocks(origin: ArrayLike, *, length: str | pd.Timedelta | int) -> NDArray[np.int64]:
    """Assign consecutive test times to numbered blocks, so that dependent windows are drawn together.

    Call it once with the origins of *all* windows and take the rows of each resample's test part: numbered resample by
    resample, equal numbers would stand for different stretches of time. A block should outlast the dependence between
    windows, e.g. 30 days for hourly weather.

    Parameters
    ----------
    origin : array-like of shape (n_windows,)
        Forecast origins, in any order: time stamps, or row positions as integers.
    length : str, Timedelta or int
        For time stamps a positive time delta such as ``"30D"``, for positions a number of rows, at least 1.

    Returns
    -------
    ndarray of int64, shape (n_windows,)
        0 for the block that starts at midnight of the first origin's day, or at the first position; gaps in time leave
        gaps in the numbers.

    Raises
    ------
    ValueError
        If a time stamp is missing, or length is no positive time delta (no positive integer for positions).
    TypeError
        If origin holds neither time stamps nor integers, or length is no integer where positions are given.

    Examples
    --------
    >>> time_blocks(np.array(["2014-01-01T23", "2014-01-30T23", "2014-01-31T00"], dtype="M8[h]"), length="30D")
    array([0, 0, 1])
    >>> time_blocks([7, 8, 9, 10, 30], length=3)
    array([0, 0, 0, 1, 7])
    """
    index = pd.Index(np.asarray(origin)).infer_objects()
    if isinstance(index, pd.DatetimeIndex):
        return _blocks_of_stamps(index, _check_timedelta(length))
    if not pd.api.types.is_integer_dtype(index):
        raise wrong("origin", "time stamps or integers", str(index.dtype), "Pass `windows.origin`.", TypeError)
    rows = check_integer("length", length, minimum=1, step="Give the number of rows in a block, e.g. 720.")
    positions = index.to_numpy(dtype=np.int64)
    return (positions - positions.min()) // rows if len(positions) else positions


def compare_methods(
    results: pd.DataFrame,
    *,
    baseline: str,
    metric: str = "accuracy",
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    random_state: Any = 0,
) -> pd.DataFrame:
    """Compare every method with a baseline on the same test windows, task by task.

    Parameters
    ----------
    results : DataFrame
        One row per cell, with columns task; seed (the resample); method; block (of test time, see `time_blocks`; 0
        everywhere where there is none); n_test (test windows in the cell) and sum (of the score over them, e.g. the
        number of correct labels; larger is better). Other columns are ignored.
    baseline : str
        The method that the others are compared with, present in every task.
    metric : str, default="accuracy"
        Name of the column of means in the answer.
    confidence : float, default=0.95
        Between 0 and 1, both excluded.
    n_bootstrap : int, default=2000
        Draws of the two-way bootstrap, at least 1.
    random_state : int, numpy Generator, numpy RandomState or None, default=0
        Seed of the bootstrap. An integer uses the same draws for all methods.

    Returns
    -------
    DataFrame
        One row per (task, method), in order of appearance: task, method, n_splits, n_blocks, the metric's mean (over
        seeds, of sum / n_test), difference to the baseline, lower and upper (`paired_interval`), bootstrap_lower and
        bootstrap_upper (`two_way_bootstrap`). The baseline's own row has difference 0.

    Raises
    ------
    ValueError
        If a column is missing, a value is missing or not finite, a cell occurs twice, a seed has no test window, the
        baseline is absent from a task, or a method was not run on exactly the baseline's seeds, blocks and numbers of
        test windows.

    Notes
    -----
    No correction for the number of methods or tasks is made: say how many were tried.

    Examples
    --------
    >>> cells = [("b", s, m, 0, 100, 70 + s + 2 * (m == "student")) for s in range(3) for m in ("logistic", "student")]
    >>> results = pd.DataFrame(cells, columns=["task", "seed", "method", "block", "n_test", "sum"])
    >>> table = compare_methods(results, baseline="logistic")
    >>> table[["method", "accuracy", "difference", "lower", "n_splits"]].round(3)
         method  accuracy  difference  lower  n_splits
    0  logistic      0.71        0.00   0.00         3
    1   student      0.73        0.02   0.02         3
    """
    taken = ["task", "method", "n_splits", "n_blocks", *_Difference._fields]
    if metric in taken:
        raise wrong("metric", "a name that no other column has", metric, "Use metric='accuracy'.")
    rows = []
    for task, methods in _check_results(results).items():
        _check_run("baseline", baseline, task, methods)
        for method, cells in methods.items():
            _check_paired(task, method, cells, baseline, methods[baseline])
            statistics = _compare_cells(cells, methods[baseline], confidence, n_bootstrap, random_state)
            sizes = [cells.index.get_level_values(level).nunique() for level in ("seed", "block")]
            rows.append([task, method, *sizes, _mean_ratio(cells), *statistics])
    return pd.DataFrame(rows, columns=[*taken[:4], metric, *_Difference._fields])


def is_gain(
    results: pd.DataFrame,
    *,
    student: str,
    baseline: str,
    controls: Sequence[str] = (),
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    random_state: Any = 0,
) -> pd.DataFrame:
    """Decide, task by task, whether the word *gain* may be used of a student.

    Parameters
    ----------
    results : DataFrame
        As for `compare_methods`; methods other than the student, the baseline and the controls play no part.
    student : str
        The method claimed to gain.
    baseline : str
        The tuned baseline without privileged information.
    controls : sequence of str, default=()
        The other methods that the student must beat: same loss with hard labels, no middle-time data, permuted x*.
    confidence : float, default=0.95
        Of every interval; between 0 and 1, both excluded.
    n_bootstrap : int, default=2000
        Draws of the two-way bootstrap, at least 1.
    random_state : int, numpy Generator, numpy RandomState or None, default=0
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        One row per task: task, student, verdict, hardest (the opponent with the least lower end) and the difference,
        t and bootstrap bounds and n_splits against it. verdict is "gain" where every interval against the baseline
        and each control lies above 0, "loss" where the intervals against the baseline lie below 0, else "no evidence".

    Raises
    ------
    ValueError
        As `compare_methods`, or if the student, the baseline or a control is absent from a task or the student is one
        of them.

    Notes
    -----
    Both intervals have to agree; the bootstrap's is passed over where it is undefined (one block), but without a t
    interval (one split) there is never evidence. A claim against *every* control is an intersection-union test [1]_:
    its level is that of a single interval, and no correction for the number of controls is due. Several students or
    tasks do call for one.

    References
    ----------
    .. [1] Berger (1982). Multiparameter hypothesis testing and acceptance sampling. Technometrics 24(4), theorem 1.

    Examples
    --------
    >>> cells = [("b", s, m, 0, 100, 70 + s + 2 * (m == "student")) for s in range(3) for m in ("logistic", "student")]
    >>> results = pd.DataFrame(cells, columns=["task", "seed", "method", "block", "n_test", "sum"])
    >>> is_gain(results, student="student", baseline="logistic")["verdict"].tolist()
    ['gain']
    """
    opponents = list(dict.fromkeys([baseline, *_check_controls(controls)]))
    if student in opponents:
        raise wrong("student", "another method than its baseline and controls", student, "Leave it out of controls.")
    rows = []
    for task, methods in _check_results(results).items():
        for name, method in [("student", student), ("baseline", baseline), *(("controls", c) for c in opponents[1:])]:
            _check_run(name, method, task, methods)
        duels = {}
        for opponent in opponents:
            _check_paired(task, student, methods[student], opponent, methods[opponent])
            duels[opponent] = _compare_cells(methods[student], methods[opponent], confidence, n_bootstrap, random_state)
        n_splits = methods[student].index.get_level_values("seed").nunique()
        hardest = min(opponents, key=lambda opponent: duels[opponent].rank)
        rows.append([task, student, _judge(duels, baseline), hardest, n_splits, *duels[hardest]])
    return pd.DataFrame(rows, columns=["task", "student", "verdict", "hardest", "n_splits", *_Difference._fields])


class _Difference(NamedTuple):
    """A paired difference with both intervals, as the columns of the tables name them."""

    difference: float
    lower: float
    upper: float
    bootstrap_lower: float
    bootstrap_upper: float

    @property
    def outer(self) -> tuple[float, float]:
        """Ends that both intervals reach; an undefined bootstrap is passed over, an undefined t interval is not."""
        if np.isnan(self.lower):
            return np.nan, np.nan
        return float(np.fmin(self.lower, self.bootstrap_lower)), float(np.fmax(self.upper, self.bootstrap_upper))

    @property
    def rank(self) -> float:
        return self.difference if np.isnan(self.lower) else self.outer[0]


def _judge(duels: dict[str, _Difference], baseline: str) -> str:
    if all(duel.outer[0] > 0 for duel in duels.values()):
        return "gain"
    return "loss" if duels[baseline].outer[1] < 0 else "no evidence"


def _compare_cells(
    cells: pd.DataFrame, reference: pd.DataFrame, confidence: float, n_bootstrap: int, random_state: Any
) -> _Difference:
    sums = _grid(cells, "sum") - _grid(reference, "sum")
    counts = _grid(reference, "n_test")
    t = paired_interval(sums.sum(axis=1) / counts.sum(axis=1), confidence=confidence)
    b = two_way_bootstrap(sums, counts, confidence=confidence, n_bootstrap=n_bootstrap, random_state=random_state)
    return _Difference(t.mean, t.lower, t.upper, b.lower, b.upper)


def _grid(cells: pd.DataFrame, column: str) -> FloatArray:
    """Spread cells over (n_seeds, n_blocks); a block that a seed does not test adds nothing."""
    return cells[column].unstack(fill_value=0.0).to_numpy()


def _mean_ratio(cells: pd.DataFrame) -> float:
    return float(np.mean(_grid(cells, "sum").sum(axis=1) / _grid(cells, "n_test").sum(axis=1)))


def _draw_means(S: FloatArray, C: FloatArray, n_bootstrap: int, generator: np.random.Generator) -> FloatArray:
    w, v = (generator.multinomial(n, np.full(n, 1 / n), size=n_bootstrap).astype(float) for n in S.shape)
    drawn_counts = v @ C.T  # (n_bootstrap, n_resamples)
    w[drawn_counts == 0] = 0.0
    ratios = v @ S.T / np.where(drawn_counts == 0, 1.0, drawn_counts)
    kept = w.any(axis=1)
    if not kept.any():
        raise wrong(
            "n_bootstrap", "large enough for one draw with a test window", n_bootstrap, "Use 2000, or longer blocks."
        )
    return (w * ratios).sum(axis=1)[kept] / w.sum(axis=1)[kept]


def _check_results(results: pd.DataFrame) -> dict[Any, dict[Any, pd.DataFrame]]:
    """Return, per task and method, the cells n_test and sum indexed by (seed, block) in ascending order."""
    _check_rows(results)
    by_cell = results.astype({"n_test": float, "sum": float}).set_index(["seed", "block"])
    return {
        task: {
            method: pd.DataFrame(cells[["n_test", "sum"]]).sort_index()
            for method, cells in rows.groupby("method", sort=False, observed=True)
        }
        for task, rows in by_cell.groupby("task", sort=False, observed=True)
    }


def _check_rows(results: pd.DataFrame) -> None:
    if not isinstance(results, pd.DataFrame):
        raise wrong("results", "a DataFrame", type(results).__name__, "Pass one row per cell.", TypeError)
    missing = [column for column in _COLUMNS if column not in results]
    if missing:
        step = f"Add {missing}."
        raise wrong("results", f"a frame with the columns {_COLUMNS}", f"columns {list(results.columns)}", step)
    for column in _COLUMNS[:4]:
        if pd.isna(results[column]).to_numpy().any():
            raise wrong(f"results[{column!r}]", "known in every row", "a missing value", "Name it, or drop the row.")
    for column in ("n_test", "sum"):
        _finite(f"results[{column!r}]", results[column], 1, "Drop the method or run the cell again.")
    least = np.min(results["n_test"].to_numpy(dtype=float)).item()
    if least < 0:
        raise wrong("results['n_test']", "at least 0 everywhere", least, "Count the test windows.")
    totals = results.groupby(_COLUMNS[:3], observed=True)["n_test"].sum()
    for task, seed, method in totals.index[totals.to_numpy() == 0]:
        got = f"0 for seed {seed}, method {method!r} of task {task!r}"
        raise wrong("results['n_test']", "above 0 in a block of each seed", got, "Leave out seeds without a test part.")
    repeated = results.duplicated(_COLUMNS[:4]).to_numpy()
    if repeated.any():
        cell = results.loc[repeated, _COLUMNS[:4]].iloc[0].tolist()
        raise wrong("results", f"one row per {_COLUMNS[:4]}", f"{cell} twice", "Add up or drop the copies.")


def _check_run(name: str, method: Any, task: Any, methods: dict[Any, pd.DataFrame]) -> None:
    if method not in methods:
        raise wrong(
            name, f"among the methods {list(methods)} of task {task!r}", method, "Run it there, or drop the task."
        )


def _check_paired(task: Any, method: Any, cells: pd.DataFrame, baseline: Any, reference: pd.DataFrame) -> None:
    expected = f"paired: in task {task!r} method {method!r} has the seeds and blocks of {baseline!r}"
    for wanted, held, problem in ((reference, cells, "no row for"), (cells, reference, "an unpaired row for")):
        odd = wanted.index.difference(held.index)
        if len(odd):
            seed, block = odd[0]
            step = "Run both methods on it, or drop it from both."
            raise wrong("results", expected, f"{problem} seed {seed}, block {block}", step)
    differ = (cells["n_test"] != reference["n_test"]).to_numpy()
    if differ.any():
        seed, block = cells.index[differ][0]
        got = f"another n_test at seed {seed}, block {block}"
        raise wrong("results", f"{expected} and their n_test", got, "Score both methods on the same test windows.")


def _check_controls(controls: Sequence[str]) -> list[str]:
    if isinstance(controls, str):
        raise wrong("controls", "a sequence of methods", controls, f"Use controls=[{controls!r}].", TypeError)
    return list(controls)


def _check_cells(sums: ArrayLike, counts: ArrayLike) -> tuple[FloatArray, FloatArray]:
    S = _finite("sums", sums, 2, "Pass one row per resample and one column per block.")
    C = _finite("counts", counts, 2, "Pass the number of test windows behind each sum.")
    if S.shape != C.shape:
        raise wrong("counts", f"of the shape {S.shape} of sums", f"shape {C.shape}", "Count the windows of each sum.")
    if (C < 0).any():
        raise wrong("counts", "at least 0 everywhere", float(C.min()), "Count the windows of each sum.")
    if S[C == 0].any():
        raise wrong("sums", "0 where counts is 0", "another sum", "Pass the sum over the windows counted.")
    empty = np.flatnonzero(C.sum(axis=1) == 0)
    if len(empty):
        got = f"no test window in resample {empty[0]}"
        raise wrong("counts", "above 0 somewhere in each resample", got, "Leave out resamples without a test part.")
    return S, C


def _blocks_of_stamps(stamps: pd.DatetimeIndex, length: pd.Timedelta) -> NDArray[np.int64]:
    if stamps.hasnans:
        raise wrong("origin", "free of missing time stamps", "NaT", "Drop the windows without an origin.")
    if stamps.empty:
        return np.zeros(0, dtype=np.int64)
    return np.asarray((stamps - stamps.sort_values()[:1].normalize()[0]) // length, dtype=np.int64)


def _check_timedelta(length: Any) -> pd.Timedelta:
    delta = None
    if isinstance(length, str | pd.Timedelta):  # a bare number would be read as nanoseconds
        with suppress(ValueError):
            delta = pd.Timedelta(length)
    if delta is None or not delta > pd.Timedelta(0):
        raise wrong("length", "a positive time delta", repr(length), 'Use length="30D" for blocks of thirty days.')
    return cast("pd.Timedelta", delta)


def _check_confidence(confidence: float) -> None:
    step = "Use confidence=0.95."
    if check_fraction("confidence", confidence, step) in (0.0, 1.0):
        raise wrong("confidence", "above 0 and below 1", confidence, step)


def _finite(name: str, values: Any, n_axes: int, step: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise wrong(name, "an array of numbers", values, step, TypeError) from None
    if array.ndim != n_axes or not array.size:
        raise wrong(name, f"a non-empty array with {n_axes} axes", f"shape {array.shape}", step)
    if not np.isfinite(array).all():
        raise wrong(name, "finite everywhere", f"{int((~np.isfinite(array)).sum())} values that are not", step)
    return array
