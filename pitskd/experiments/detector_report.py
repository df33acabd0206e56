"""Does the privileged side help this detector: the detector beside its controls on test runs that nobody learnt from.

Everything is fitted to the log alone. Labels of test rows enter the counting only.
"""

from __future__ import annotations

import html
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pitskd import _validation as check
from pitskd._random import stage_generator
from pitskd._series import as_frame
from pitskd._validation import wrong
from pitskd.anomaly._settings import read_limits
from pitskd.anomaly.detector import PrivilegedAnomalyDetector
from pitskd.experiments import _detector_verdict as words
from pitskd.experiments._detector_controls import ALL_SENSORS, ALWAYS, DETECTOR, FOREST, Said, Study, rivals
from pitskd.metrics._columns import read_mask

__all__ = ["DetectorReport", "detector_report"]


@dataclass(frozen=True, eq=False)
class DetectorReport:
    """What `detector_report` found; printed as text, shown as a table in notebooks.

    Parameters
    ----------
    verdict : "helps", "no evidence" or "hurts"
        Of the privileged side, on these runs, for this detector.
    summary : str
        The verdict in words, with the numbers and the hardest opponent.
    table : DataFrame
        One row per method: method; role (student, baseline, control, bound); n_runs; means over runs of roc, vus_pr,
        balanced_accuracy (half of alarmed anomalous and unalarmed normal rows), detection_rate (alarmed share of
        anomalous rows), event_recall and delay (rows from the start of an event to its first alarm, its length if there
        is none); false_alarm_rate (alarmed share of the normal rows of all runs) with false_alarm_lower and
        false_alarm_upper, an interval of 95 % by blocks of time.
    differences : DataFrame
        One row per metric and opponent: metric, opponent, role, lead (positive where the detector is better, whichever
        way the metric counts), lower, upper, p_value, n_runs.
    runs : DataFrame
        One row per method and run: run, method, n_rows, n_events and all metrics.
    left_out : dict of str to str
        What could not be run, and why.
    about : str
        Detector, log, runs, and what the intervals are.
    metrics : tuple of str
        What the verdict rests on.
    confidence : float
        Of the intervals of differences.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import PrivilegedAnomalyDetector, detector_report
    >>> rows = np.random.default_rng(0).normal(size=(500, 3))
    >>> detector = PrivilegedAnomalyDetector(curate="privileged", n_lags=1, calibration="conformal")
    >>> y_test = np.arange(200) > 150
    >>> report = detector_report(detector, rows[:300, :2], rows[:300, 2], X_test=rows[300:, :2], y_test=y_test)
    >>> report.left_out
    {'all sensors (bound)': 'X_privileged_test was not given'}
    """

    verdict: str
    summary: str
    table: pd.DataFrame
    differences: pd.DataFrame
    runs: pd.DataFrame
    left_out: dict[str, str]
    about: str
    metrics: tuple[str, ...]
    confidence: float

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the table."""
        return self.table.copy()

    def __str__(self) -> str:
        texts = [_wrapped(f"{self.verdict.upper()}: {self.summary}"), _wrapped(self.about)]
        tables = [table.to_string(index=False) for table in self._shown()]
        return "\n\n".join([*texts, *tables, *map(_wrapped, self._remarks())])

    def _repr_html_(self) -> str:
        head = f"<p><strong>{html.escape(self.verdict)}</strong>: {html.escape(self.summary)}</p>"
        tables = [table.to_html(index=False, border=0) for table in self._shown()]  # which escapes
        return "\n".join([head, *tables, *(f"<p>{html.escape(text)}</p>" for text in (self.about, *self._remarks()))])

    def _shown(self) -> list[pd.DataFrame]:
        """Return the tables as text."""
        leads = [words.leads_shown(self.differences, metric, self.confidence) for metric in self.metrics]
        return [words.table_shown(self.table, self.metrics), *leads]

    def _remarks(self) -> list[str]:
        return [f"Left out: {what}: {why}." for what, why in self.left_out.items()]


def detector_report(
    detector: Any,
    X: Any,
    X_privileged: Any,
    *,
    X_test: Any,
    y_test: Any = None,
    X_privileged_test: Any = None,
    normal: Any = None,
    groups: Any = None,
    metric: Any = None,
    confidence: float = 0.95,
    random_state: Any = 0,
) -> DetectorReport:
    """Say whether the privileged side helps a detector, against itself without it and against other controls.

    All are fitted to the same log, with the same smoothing and calibration, and judge the same test runs:

    * the detector itself;
    * *without privilege*. For ``curate="privileged"``: the sensors that stay trim the log, or nobody does. For a
      student that distils: the same at imitation 0, and the ridge student. For a target: the innovations of the sensors
      that stay, from all rows and from those that they trim themselves, and the forest that is half of its score;
    * with *permuted privilege*, blocks of time of X_privileged in another order;
    * an isolation forest of the sensors that stay, and an alarm in every row;
    * with all sensors, which is the bound.

    Parameters
    ----------
    detector : PrivilegedAnomalyDetector
        With ``curate="privileged"``, a `target`, or a `student` that distils; it is cloned.
    X : array-like or frame of shape (n_rows, n_channels)
        The log of the sensors that stay, as for its `fit`.
    X_privileged : array-like or frame of shape (n_rows, n_privileged)
        The sensors that will not be there.
    X_test : array-like or frame of shape (n_test_rows, n_channels), or list of these
        Rows of one run, or several runs.
    y_test : array-like of shape (n_test_rows,), or list of these, default=None
        1 or True where a row is anomalous. None: with a `target`, the rows of X_privileged_test outside the limits.
    X_privileged_test : array-like or frame of shape (n_test_rows, n_privileged), or list of these, default=None
        For the bound, and for labels by a target; where a limited column is NaN the row is not judged.
    normal : array-like of shape (n_rows,) of bool, default=None
        Rows of the log that may be taken for normal, as for `fit`.
    groups : array-like of shape (n_test_rows,), default=None
        Number or name of the run of each row, where X_test holds several one below the other.
    metric : str or list of str, default=None
        What the verdict rests on, of the metrics in `DetectorReport`. None: "balanced_accuracy" for curation, which
        sets the threshold and leaves the ranking much as it is, else "roc". One run: those of single rows, which are
        roc, balanced_accuracy, false_alarm_rate and detection_rate.
    confidence : float, default=0.95
        Of the intervals of differences; between 0 and 1, both excluded.
    random_state : int, numpy Generator, numpy RandomState or None, default=0
        Seed of the permutation, the forest and the bootstrap; the detector keeps its own.

    Returns
    -------
    DetectorReport
        `print` it; `verdict`, `summary`, `table`, `differences` and `runs` hold the parts.

    Raises
    ------
    ValueError
        If the detector makes no use of X_privileged, there are no labels or labels of one kind only, rows differ in
        number, or a parameter is wrong.
    TypeError
        If the detector is no PrivilegedAnomalyDetector.

    Notes
    -----
    *helps*, and the word gain, are said only where the interval of detector minus opponent lies above 0 for every
    control (the bound is none) in a metric that the verdict rests on, and the largest of their p-values, adjusted by
    Holm's method over these metrics, is below ``1 - confidence``, while no such metric is worse than the baseline's.
    *hurts* is the reverse against the baseline, the detector without privilege. Several runs: paired t intervals over
    runs. One run: a moving-block bootstrap of its rows, blocks as long as the longest event but at most a fifth of the
    run; it says nothing of other runs, and with fewer than three events nothing is claimed. No correction is made for
    detectors that you have tried before. No point adjustment: the rows just behind an event, over which the smoothed
    score comes down, are normal ones, and their alarms false.

    Examples
    --------
    Thirty rows of a log of 300 are faulty; only the third sensor, which will go, shows that plainly.

    >>> import numpy as np
    >>> from pitskd import PrivilegedAnomalyDetector, detector_report
    >>> rng = np.random.default_rng(0)
    >>> rows, anomalous = rng.normal(size=(900, 3)), np.arange(900) % 300 >= 270
    >>> rows[anomalous] += [1.0, 1.0, 9.0]
    >>> X, Z = rows[:, :2], rows[:, 2]
    >>> detector = PrivilegedAnomalyDetector(curate="privileged", n_lags=1, calibration="conformal")
    >>> report = detector_report(detector, X[:300], Z[:300], X_test=X[300:], y_test=anomalous[300:])
    >>> report.verdict  # two events in one run
    'no evidence'
    >>> report.table["method"].tolist()[:4]
    ['detector', 'curated by itself', 'not curated', 'permuted privilege']
    """
    _check(detector, confidence)
    every = list(rivals(detector))
    if X_privileged is None:
        step = "Without them there is nothing to report: compare detectors by vus_pr."
        raise wrong("X_privileged", "the sensors that will not be there", None, step)
    check.check_same_rows("X_privileged", len(X_privileged), len(X), "Pass one row per row of X.")
    runs, labels, privileged = _runs(X_test, y_test, X_privileged_test, groups)
    truths = _truths(detector, X_privileged, runs, labels, privileged)
    metrics = _metrics(metric, detector, len(runs))
    seed = int(stage_generator(random_state, "detector report").integers(2**31))
    study = Study(detector, X, X_privileged, normal, runs, privileged, seed)
    left_out = _left_out(X_privileged, privileged)
    said = _all_said(study, [rival for rival in every if rival.name not in left_out])
    roles = {rival.name: rival.role for rival in every} | {FOREST: "control", ALWAYS: "control"}
    by_run = words.judged(truths, said)
    rates = {name: words.achieved(truths, one, detector.smoothing, seed) for name, one in said.items()}
    table = words.tabulate(by_run, roles, rates)
    options: Any = {"smoothing": detector.smoothing, "confidence": confidence, "seed": seed}
    leads = words.differences(by_run, roles, truths, said, **options)
    n_events = int(by_run.loc[by_run["method"] == DETECTOR, "n_events"].sum())
    verdict, summary = words.judge(leads, table, metrics, n_events, confidence)
    about = _about(detector, len(X), truths, n_events, confidence)
    return DetectorReport(verdict, summary, table, leads, by_run, left_out, about, metrics, confidence)


def _check(detector: Any, confidence: float) -> None:
    if not isinstance(detector, PrivilegedAnomalyDetector):
        expected, step = "a PrivilegedAnomalyDetector", 'Pass e.g. PrivilegedAnomalyDetector(curate="privileged").'
        raise wrong("detector", expected, type(detector).__name__, step, TypeError)
    step = "Use confidence=0.95."
    if check.check_fraction("confidence", confidence, step) in (0.0, 1.0):
        raise wrong("confidence", "above 0 and below 1", confidence, step)


def _metrics(metric: Any, detector: Any, n_runs: int) -> tuple[str, ...]:
    if metric is None:
        return ("balanced_accuracy" if detector.curate == "privileged" else "roc",)
    listed = tuple(metric) if check.is_list(metric) else (metric,)
    known = tuple(words.NAMES) if n_runs > 1 else words.BY_ROW
    step = f"They are: {', '.join(known)}{'' if n_runs > 1 else ' (of one run)'}."
    if not listed or len(set(listed)) < len(listed):
        raise wrong("metric", "one metric or several different ones", metric, step)
    for name in listed:
        check.check_choice("metric", name, known, step)
    return listed


def _runs(X_test: Any, y_test: Any, Z_test: Any, groups: Any) -> tuple[list[Any], list[Any] | None, list[Any] | None]:
    """Return runs, their labels and their privileged rows as lists of the same length."""
    if isinstance(X_test, list | tuple) and len(X_test) and np.ndim(X_test[0]) == 2:
        if groups is not None:
            raise wrong("groups", "None where X_test is a list of runs", groups, "Pass the runs one below the other.")
        parts = [_listed(name, part, X_test) for name, part in (("y_test", y_test), ("X_privileged_test", Z_test))]
        return list(X_test), parts[0], parts[1]
    if groups is None:
        parts = [_listed(*part, [X_test]) for part in (("y_test", _one(y_test)), ("X_privileged_test", _one(Z_test)))]
        return [X_test], parts[0], parts[1]
    check.check_same_rows("groups", len(groups), len(X_test), "Pass the run of each row.", "X_test")
    numbers = pd.factorize(np.asarray(groups))[0]
    places = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    for name, rows in (("y_test", y_test), ("X_privileged_test", Z_test)):
        if rows is not None:
            check.check_same_rows(name, len(rows), len(X_test), "Pass one row per row of X_test.", "X_test")
    split = [None if rows is None else [_take(rows, place) for place in places] for rows in (X_test, y_test, Z_test)]
    assert split[0] is not None
    return split[0], split[1], split[2]


def _one(rows: Any) -> Any:
    return None if rows is None else [rows]


def _take(rows: Any, place: np.ndarray) -> Any:
    return rows.iloc[place] if isinstance(rows, pd.DataFrame | pd.Series) else np.asarray(rows)[place]


def _listed(name: str, parts: Any, runs: Sequence[Any]) -> list[Any] | None:
    if parts is None:
        return None
    if not isinstance(parts, list | tuple) or len(parts) != len(runs):
        raise wrong(name, f"a list of {len(runs)}, one for each run of X_test", parts, "Pass one item per run.")
    for part, run in zip(parts, runs, strict=True):
        check.check_same_rows(name, len(part), len(run), "Pass one row per row of X_test.", "X_test")
        if isinstance(part, pd.DataFrame | pd.Series) and isinstance(run, pd.DataFrame):
            check.check_same_index(name, part, run, f"Use {name}.loc[X_test.index].")
    return list(parts)


def _truths(
    detector: Any, X_privileged: Any, runs: list[Any], labels: list[Any] | None, privileged: list[Any] | None
) -> list[np.ndarray]:
    """Return for every run 1 where a row is anomalous, 0 where it is normal, NaN where nobody knows."""
    if labels is not None:
        truths = [read_mask("y_test", label).astype(np.float64) for label in labels]
    elif detector.target is not None and privileged is not None:
        truths = [_off_spec(detector.target, X_privileged, rows) for rows in privileged]
    else:
        step = "Without any, make some: X_test, y_test, _ = inject_anomalies(X_test)."
        if detector.target is not None:
            step = "Or X_privileged_test, whose limited columns tell."
        raise wrong("y_test", "labels of the test rows", None, step)
    kinds = np.unique(np.concatenate([truth[~np.isnan(truth)] for truth in truths]))
    if len(kinds) < 2:
        what = "y_test" if labels is not None else "X_privileged_test"
        step = f"Pass runs with both; there are {len(runs)} now."
        raise wrong(what, "such that some test rows are normal and some anomalous", "one kind only", step)
    return truths


def _off_spec(target: Any, X_privileged: Any, rows: Any) -> np.ndarray:
    """Return which rows have a limited column outside its limits."""
    frame, tested = as_frame(X_privileged), as_frame(rows)
    if frame is not None and tested is not None and list(frame.columns) != list(tested.columns):
        step = "Use X_privileged_test[X_privileged.columns]."
        raise wrong("X_privileged_test", f"of the columns {list(frame.columns)}", list(tested.columns), step)
    values = np.asarray(rows, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    columns, low, high = read_limits(target, None if frame is None else frame.columns, values.shape[1])
    limited = values[:, columns]
    outside = ((limited < low) | (limited > high)).any(axis=1)
    return np.where(np.isnan(limited).any(axis=1), np.nan, outside)


def _left_out(X_privileged: Any, privileged: list[Any] | None) -> dict[str, str]:
    if privileged is None:
        return {ALL_SENSORS: "X_privileged_test was not given"}
    if any(pd.isna(np.asarray(part, dtype=np.float64)).any() for part in (X_privileged, *privileged)):
        return {ALL_SENSORS: "privileged sensors have missing values"}
    return {}


def _all_said(study: Study, every: list[Any]) -> dict[str, list[Said]]:
    """Let all judge all runs, in the order of the table."""
    detector, *others = every
    fitted, first = study.said(detector)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what the detector was warned of, or of missing privilege
        said = {rival.name: study.said(rival)[1] for rival in others}
    bound = {name: said.pop(name) for name in [ALL_SENSORS] if name in said}
    return {detector.name: first} | said | {FOREST: study.forest(fitted), ALWAYS: study.always()} | bound


def _about(detector: Any, n_rows: int, truths: list[np.ndarray], n_events: int, confidence: float) -> str:
    known = np.concatenate([truth[~np.isnan(truth)] for truth in truths])
    asked = f"{detector.false_alarm_rate:.2%} false alarms"
    if detector.false_alarms_per_day is not None:
        asked = f"{detector.false_alarms_per_day:g} false alarms per day"
    kind = "paired t intervals over runs" if len(truths) > 1 else (
        f"a bootstrap of blocks of {words.block_length(truths[0], detector.smoothing)} rows of the one run"
    )  # fmt: skip
    return (
        f"{detector!r} learnt from {n_rows} rows; asked for {asked}. Judged on {len(truths)} run(s) of {len(known)} "
        f"rows in all, {known.mean():.1%} of them anomalous in {n_events} events. Intervals of differences "
        f"({confidence:.0%}) are {kind}. False alarms include those just behind an event, while the smoothed score "
        "comes down."
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 98)
