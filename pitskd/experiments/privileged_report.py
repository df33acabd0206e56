"""Does the privileged part help on these rows, and by how much: a student beside its baselines and controls.

Every split refits everything on its training part. The scores of held-out rows, summed over blocks of time, go through
the paired statistics of `compare_methods` and `is_gain`; nothing here decides by other means.
"""

from __future__ import annotations

import html
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import KFold
from sklearn.utils.validation import has_fit_parameter
from tqdm import tqdm

from pitskd import _validation as check
from pitskd._folds import apart, held_out_blocks, overlap, teaches, time_block_numbers
from pitskd._lessons import Classification, Folds, split_rows
from pitskd._random import stage_generator
from pitskd._validation import wrong
from pitskd.experiments import _verdict as words
from pitskd.experiments._controls import Study, judged_split
from pitskd.experiments._markov import imitation_path, reading
from pitskd.experiments._same_loss import untaught_candidates, without_privilege
from pitskd.experiments.competitors import NO_MIDDLE, SAME_LOSS, STUDENT, TEACHER
from pitskd.experiments.references import check_per_split, read_references
from pitskd.privileged import PrivilegedClassifier, PrivilegedRegressor

__all__ = ["PrivilegedReport", "privileged_report"]

_FRACTIONS = (0.25, 0.5, 0.75, 1.0)
_LEAST = 8  # rows for the default splits
_NUMBERS = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
_PATIENCE = 5.0  # seconds after which progress is shown


@dataclass(frozen=True, eq=False)
class PrivilegedReport:
    """What `privileged_report` found; printed as text, shown as a table in notebooks.

    Parameters
    ----------
    verdict : "helps", "no evidence" or "hurts"
        On these rows, for this estimator.
    summary : str
        The verdict in words, with the number and the hardest opponent.
    table : DataFrame
        One row per method: method; role (baseline, control, reference, candidate, student, bound); n_splits; n_blocks;
        score, the mean over splits of the metric per held-out row, larger is better; all scores by name (r2, mse and
        mae, or accuracy and log_loss); difference of the score to the tuned baseline with lower, upper (t over splits),
        bootstrap_lower, bootstrap_upper (splits and blocks of time); and for the student's opponents and references
        lead, the student minus this method, with the same intervals under lead_..., p_value and, for opponents, p_holm.
    imitation_path : DataFrame
        Held-out loss of chains over imitation, see `markov`: imitation, penalty (the best for it), loss, percent (of
        variance or class entropy), gain over imitation 0 in per cent with lower and upper.
    markov : str
        That path in one sentence: how far the best imitation is from 1, and what the middle adds.
    learning_curve : DataFrame or None
        One row per size: size as asked, n_train (mean over splits), student and baseline scores, their difference with
        both intervals, n_splits.
    cells : DataFrame
        Everything that was compared: task, seed (the split), method, block, n_test, sum (of the metric) and the sums
        of all scores, as `compare_methods` takes them.
    left_out : dict of str to str
        What could not be run, and why.
    about : str
        Estimator, rows, splits and how many methods were compared.
    metric : str
        Name of the score.
    confidence : float
        Of every interval.

    Examples
    --------
    >>> from pitskd import PrivilegedRegressor, privileged_report, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(40, random_state=0)
    >>> report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=4)
    >>> report.table.loc[report.table["role"] == "control", "method"].tolist()
    ['same-loss control', 'permuted-x* control']
    >>> report.left_out["no-middle control"]
    'X has a single row per window, which has no dynamics of its own'
    """

    verdict: str
    summary: str
    table: pd.DataFrame
    imitation_path: pd.DataFrame
    markov: str
    learning_curve: pd.DataFrame | None
    cells: pd.DataFrame
    left_out: dict[str, str]
    about: str
    metric: str
    confidence: float

    def to_frame(self) -> pd.DataFrame:
        """Return a copy of the table."""
        return self.table.copy()

    def __str__(self) -> str:
        texts = [_wrapped(f"{self.verdict.upper()}: {self.summary}"), _wrapped(self.about)]
        tables = [table.to_string(index=False) for table in self._shown()]
        return "\n\n".join([*texts, *tables, "\n".join(map(_wrapped, self._remarks()))])

    def _repr_html_(self) -> str:
        head = f"<p><strong>{html.escape(self.verdict)}</strong>: {html.escape(self.summary)}</p>"
        tables = [table.to_html(index=False, border=0) for table in self._shown()]  # which escapes
        return "\n".join([head, *tables, *(f"<p>{html.escape(text)}</p>" for text in (self.about, *self._remarks()))])

    def _shown(self) -> list[pd.DataFrame]:
        """Return the tables as text."""
        tables = [words.scores_shown(self.table, self.confidence)]
        tables.append(words.leads_shown(self.table, self.metric, self.confidence))
        if self.learning_curve is not None:
            tables.append(words.curve_shown(self.learning_curve, self.confidence))
        return tables

    def _remarks(self) -> list[str]:
        told = [words.reference_remark(self.table), f"Middle: {self.markov}"]
        return [*filter(None, told), *(f"Left out: {what}: {why}." for what, why in self.left_out.items())]


def privileged_report(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    X_privileged: Any,
    cv: Any = None,
    sample_weight: Any = None,
    metric: str | None = None,
    references: Any = None,
    learning_curve: Any = False,
    confidence: float = 0.95,
    random_state: Any = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> PrivilegedReport:
    """Say whether the privileged part helps an estimator on these rows, against a tuned baseline and controls.

    The estimator is refitted in every split beside the models it has to beat: a tuned linear model without privileged
    data; the *same loss* without privileged data (the estimator at imitation 0, a network from the same seed; for the
    front door its averaging over strengths, shrunk towards nothing, combined with estimators of the user's own that see
    no privileged row); the better of two models that roll the *input windows' own dynamics* on; and
    the estimator itself with *permuted* privileged rows. A tuned linear model of X and X_privileged is the bound.

    Parameters
    ----------
    estimator : object
        Regressor or classifier with ``fit(X, y, X_privileged=...)``, such as `PrivilegedRegressor`; it is cloned.
    X : array of shape (n, d) or (n, window, n_channels)
        Inputs, rows in order of time.
    y : array of shape (n,), or (n, n_targets) for regression
        Targets; rows where it is missing are not scored.
    X_privileged : array of shape (n, d) or (n, n_steps, n_privileged_channels)
        What the estimator sees in training only; a row that is all NaN has none.
    cv : int, splitter or iterable, default=None
        None: up to 20 distinct draws of a quarter of (at most 16) contiguous blocks of time. An int: that many
        contiguous parts. Both drop training rows that share a time step with a held-out row; a splitter is taken as it
        is.
    sample_weight : array of shape (n,), default=None
        Weights of rows in training; rows of weight 0 are not scored, others count once.
    metric : "r2", "accuracy" or "log_loss", default=None
        What is compared, per held-out row: 1 minus the squared error over the variance of y (all regressors), correct
        labels (None for classifiers), or minus the log-loss in nats.
    references : mapping, default=None
        What the student should beat to be worth deploying, by name, such as persistence: an estimator, refitted in
        every split to the rows with targets by ``fit(X, y)``, X and y as given and without privileged data or weights;
        a pair of an estimator and other targets to fit it to, (n, ...), such as the numbers behind labels; an array
        (n,) or (n, n_targets) of forecasts (labels) of every row; or a list of fitted models, one for each split of
        `cv`, which then must not have seen its held-out rows. They are compared on the same splits and have no part
        in the verdict, which is about privilege.
    learning_curve : bool or list of numbers, default=False
        Sizes at which student and baseline are also compared, fractions of the training part or numbers of rows; each
        split takes a stretch of consecutive training rows. True: 0.25, 0.5, 0.75, 1.0.
    confidence : float, default=0.95
        Of every interval; between 0 and 1, both excluded.
    random_state : int, numpy Generator, numpy RandomState or None, default=0
        Seed of splits, permutations and bootstrap, and of an estimator whose own `random_state` is None, so that the
        student and its controls start alike; any other keeps its own.
    n_jobs : int, default=None
        Processes that share the splits, -1 for all cores; it does not change the result.
    verbose : bool, default=False
        Whether to show progress at once; else only when it takes longer than five seconds.

    Returns
    -------
    PrivilegedReport
        `print` it; `verdict`, `summary`, `table`, `imitation_path`, `learning_curve` and `cells` hold the parts.

    Raises
    ------
    ValueError
        If X_privileged is None or empty, rows differ in number, X holds NaN, there are too few rows to split, a
        training part of cv holds one class, a reference has the name of another method or no forecast for a row that
        is scored, or a parameter is out of range; before any training.
    TypeError
        If the estimator is no regressor or classifier whose fit takes X_privileged, or a reference neither an
        estimator nor an array.

    Notes
    -----
    *helps* is said only where both intervals of student minus opponent lie above 0 for the tuned baseline and every
    control, and every Holm-adjusted p-value of these paired t tests is below ``1 - confidence``. *hurts*: both
    intervals against the tuned baseline lie below 0. The splits share one pool of rows: the t interval and the p-values
    are conditional on it and optimistic, the bootstrap over splits and blocks of time is wider. The tuned baseline is
    the better, by held-out loss inside each training part, of two scalings where X has columns of two values; then
    both are opponents, too.
    Dynamics need windows of two rows at least. A teacher that was fitted before the report has seen held-out rows.

    The Markov diagnosis fits chains of default links (ridge, logistic), each imitation at the penalty of least mean
    loss over the same splits; it supposes that `X_privileged` lies between input and target, and the
    best imitation is picked on the very rows that show it. Learning curves cut training rows down, not held-out ones.

    Examples
    --------
    >>> from pitskd import PrivilegedRegressor, privileged_report, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(40, random_state=0)
    >>> report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=4)
    >>> report.verdict  # forty rows are too few to say
    'no evidence'
    >>> report.imitation_path["imitation"][report.imitation_path["loss"].idxmin()].item() > 0.5
    True
    """
    study, gap = _read(estimator, X, y, X_privileged, sample_weight, random_state)
    metric = _metric(metric, study)
    study = replace(study, references=_references(references, study, metric))
    sizes = _sizes(learning_curve)
    _check_confidence(confidence)
    check_jobs("n_jobs", n_jobs)
    folds, left_out = _splits(cv, study, gap)
    check_per_split(study.references, len(folds))
    jobs = [delayed(judged_split)(study, number, *fold, sizes) for number, fold in enumerate(folds)]
    pool = Parallel(n_jobs=n_jobs, return_as="generator", max_nbytes=None)(jobs)
    bar = tqdm(pool, total=len(jobs), unit="split", delay=0.0 if verbose else _PATIENCE)
    parts, curves, messages = zip(*bar, strict=True)
    _pass_on(messages)
    cells = words.scored(pd.concat(parts, ignore_index=True), metric)
    options: Any = {"confidence": confidence, "random_state": study.seed}
    table = words.tabulate(cells, references=list(study.references), **options)
    verdict, summary = words.judge(cells, table, metric, **options)
    path = imitation_path(study.task, study.lesson, folds, confidence)
    stretches = words.scored(pd.concat([part for part in curves if len(part)] or curves[:1], ignore_index=True), metric)
    return PrivilegedReport(
        verdict=verdict,
        summary=summary,
        table=table,
        imitation_path=path,
        markov=reading(path, study.classify),
        learning_curve=_curve(stretches, sizes, metric, confidence, study.seed, left_out),
        cells=cells,
        left_out=left_out | _left_out(study),
        about=_about(study, folds, table),
        metric=metric,
        confidence=confidence,
    )


def privileged_path(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    X_privileged: Any,
    cv: Any = None,
    sample_weight: Any = None,
    confidence: float = 0.95,
    random_state: Any = 0,
) -> tuple[pd.DataFrame, str]:
    """Return the imitation path of a report and its reading alone; arguments as for `privileged_report`."""
    study, gap = _read(estimator, X, y, X_privileged, sample_weight, random_state)
    _check_confidence(confidence)
    path = imitation_path(study.task, study.lesson, _splits(cv, study, gap)[0], confidence)
    return path, reading(path, study.classify)


def _check_confidence(confidence: float) -> None:
    step = "Use confidence=0.95."
    if check.check_fraction("confidence", confidence, step) in (0.0, 1.0):
        raise wrong("confidence", "above 0 and below 1", confidence, step)


def _read(
    estimator: Any, X: Any, y: Any, X_privileged: Any, sample_weight: Any, random_state: Any
) -> tuple[Study, int]:
    """Return what is to be judged, all checked, and how many rows further on windows still overlap."""
    check.check_model("estimator", estimator, "regressor or classifier")
    if estimator is None or not (is_classifier(estimator) or is_regressor(estimator)):
        step = "Pass e.g. PrivilegedRegressor() or PrivilegedClassifier()."
        raise wrong("estimator", "a regressor or a classifier", type(estimator).__name__, step, TypeError)
    if not has_fit_parameter(estimator, "X_privileged"):
        expected, step = "an estimator whose fit takes X_privileged", "Pass e.g. PrivilegedRegressor()."
        raise wrong("estimator", expected, type(estimator).__name__, step, TypeError)
    nothing = "Without privileged rows there is nothing to report: compare models by cross_val_score."
    if X_privileged is None:
        raise wrong("X_privileged", "what lies between input and target", None, nothing)
    seed = int(stage_generator(random_state, "report").integers(2**31))
    reader: Any = PrivilegedClassifier() if is_classifier(estimator) else PrivilegedRegressor()
    task = reader._task()
    lesson = reader._read(task, X, y, X_privileged, sample_weight, {1.0})
    if not lesson.privileged.any():
        raise wrong("X_privileged", "present in some rows", f"shape {np.shape(X_privileged)}, empty", nothing)
    n, variance = len(lesson.X), lesson.hard[lesson.counts].var(axis=0)
    gap = overlap(lesson, numbers=not isinstance(task, Classification))
    if not variance.all():
        raise wrong("y", "of more than one value in every target", "a constant", "Pass targets that vary.")
    given = None if lesson.weight is None else np.asarray(lesson.weight)
    block = time_block_numbers(n, gap)
    return Study(_seeded(estimator, seed), task, lesson, X, y, X_privileged, given, block, seed, variance), gap


def _seeded(estimator: Any, seed: int) -> Any:
    """Return the estimator with a seed if it could have one and has none."""
    unseeded = estimator.get_params(deep=False).get("random_state", seed) is None
    return clone(estimator).set_params(random_state=seed) if unseeded else estimator


def _metric(metric: str | None, study: Study) -> str:
    known = ("accuracy", "log_loss") if study.classify else ("r2",)
    metric = check.check_choice("metric", known[0] if metric is None else metric, known, f'Use "{known[0]}".')
    assert metric is not None
    if metric == "log_loss" and not hasattr(study.estimator, "predict_proba"):
        got = f"log_loss for {type(study.estimator).__name__}"
        raise wrong("metric", '"accuracy" for a classifier without predict_proba', got, 'Use "accuracy".')
    return metric


def _references(references: Any, study: Study, metric: str) -> dict[str, Any]:
    lesson, taken = study.lesson, (*words.OPPONENTS, STUDENT, TEACHER)
    n_targets = 1 if study.classify else lesson.hard.shape[1]
    read = read_references(references, len(lesson.X), n_targets, lesson.counts, taken)
    for name, one in read.items():
        if metric == "log_loss" and not (isinstance(one, tuple | list) and hasattr(one[0], "predict_proba")):
            expected, step = "an estimator with predict_proba where log_loss is compared", 'Use metric="accuracy".'
            raise wrong(f"references[{name!r}]", expected, type(one).__name__, step)
    return read


def check_jobs(name: str, n_jobs: Any) -> None:
    """Refuse a number of processes that joblib would not take."""
    if n_jobs is None:
        return
    step = f"Use {name}=-1 for all cores."
    whole = isinstance(n_jobs, int | np.integer) and not isinstance(n_jobs, bool)
    if not whole or n_jobs == 0:
        raise wrong(name, "None or a whole number other than 0", n_jobs, step, ValueError if whole else TypeError)


def _sizes(learning_curve: Any) -> list[int | float]:
    if learning_curve is False or learning_curve is None:
        return []
    if learning_curve is True:
        return list(_FRACTIONS)
    listed = list(learning_curve) if check.is_list(learning_curve) else [learning_curve]
    step = "Use True, or e.g. [0.25, 0.5, 1.0] or [50, 100]."
    for size in listed:
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 2
        part = isinstance(size, float | np.floating) and 0.0 < size <= 1.0
        if not (whole or part):
            raise wrong("learning_curve", "fractions in (0, 1] or numbers of rows from 2", learning_curve, step)
    if not listed or len(set(listed)) < len(listed):
        raise wrong("learning_curve", "distinct sizes, at least one", learning_curve, step)
    return [float(size) if isinstance(size, float | np.floating) else int(size) for size in listed]


def _splits(cv: Any, study: Study, gap: int) -> tuple[Folds, dict[str, str]]:
    """Return training rows and held-out rows that can be scored, and what could not be drawn."""
    task, lesson, n = study.task, study.lesson, len(study.lesson.X)
    check.check_splitter("cv", cv, "Use e.g. 5, TimeSeriesSplit(gap=window + horizon - 1), or None.")
    if cv is None:
        if n < _LEAST:
            raise wrong("X", f"of at least {_LEAST} rows", f"{n}", "Pass more windows, or splits of your own as cv.")
        folds = held_out_blocks(task, lesson, study.block, gap, stage_generator(study.seed, "splits"))
        if len(folds) < 2:
            got = f"{n} windows, of which {gap} in a row overlap" if gap else f"{n}"
            raise wrong(
                "X", "of rows enough to learn from three quarters", got, "Pass more windows or a larger stride."
            )
        few = {"splits": f"only {len(folds)} distinct ones can be learnt from"} if len(folds) < 20 else {}
        return folds, few
    if isinstance(cv, int | np.integer):
        check.check_rows_for_folds("cv", int(cv), n)
        folds = [apart(lesson, test, gap) for _, test in KFold(int(cv)).split(lesson.X)]
    else:
        folds = [(train, test[lesson.counts[test]]) for train, test in split_rows("cv", cv, task, lesson)]
    for train, test in folds:
        if not len(test):
            raise wrong("cv", "a splitter that holds out rows with targets in every split", cv, "Use fewer splits.")
        if not teaches(task, lesson, train):
            expected = "a splitter whose training parts hold two rows with target and privilege, of two classes"
            raise wrong("cv", expected, cv, "Use fewer splits, more rows or a larger stride.")
    if not folds:
        raise wrong("cv", "a splitter with at least one split", cv, "Use e.g. 5.")
    return folds, {}


def _pass_on(messages: Iterable[list[str]]) -> None:
    """Repeat what fitting the student warned of, each warning once; those that differ in numbers alone are one."""
    listed = [{_NUMBERS.sub("#", message): message for message in split} for split in messages]
    for alike, times in Counter(alike for split in listed for alike in split).items():
        said = list(dict.fromkeys(split[alike] for split in listed if alike in split))
        example = ", for example" if len(said) > 1 else ""
        warnings.warn(f"In {times} of {len(listed)} splits{example}: {said[0]}", UserWarning, stacklevel=3)


def _curve(
    cells: pd.DataFrame, sizes: list[int | float], metric: str, confidence: float, seed: int, left_out: dict[str, str]
) -> pd.DataFrame | None:
    for size in sizes:
        if "size" not in cells or not (cells["size"] == size).any():
            left_out[f"learning curve at {size}"] = "too few rows, or rows of one class, to learn from"
    drawn = bool(sizes) and len(cells) > 0
    return words.learning_curve(cells, metric, confidence=confidence, random_state=seed) if drawn else None


def _left_out(study: Study) -> dict[str, str]:
    """Say which methods could not run, and which stand-in was taken."""
    missing = {}
    if study.window == 1:
        missing[NO_MIDDLE] = "X has a single row per window, which has no dynamics of its own"
    if without_privilege(study.estimator) is None:
        linear = "a tuned linear model averaged over strengths"
        stand_in = "its candidates without privileged rows" if untaught_candidates(study.estimator) else linear
        what = f"{type(study.estimator).__name__} at imitation 0"
        missing[what] = f"it has no such setting; the {SAME_LOSS} is {stand_in}"
    if study.classify:
        missing["ridge on the margin"] = (
            "the number behind the label, if there is one, is not known here: regress it and compare before you call "
            "this help"
        )
    if not study.bounded:
        missing[TEACHER] = "some held-out rows have no privileged part"
    return missing


def _about(study: Study, folds: Folds, table: pd.DataFrame) -> str:
    n_train, n_test = (np.mean([len(part) for part in parts]) for parts in zip(*folds, strict=True))
    kind = f"{type(study.estimator).__name__} on {len(study.lesson.X)} rows, {len(folds)} splits"
    references = int((table["role"] == "reference").sum())
    compared = int((table["method"] != STUDENT).sum()) - references
    beside = f"; {references} reference(s) were judged on the same splits" if references else ""
    return (
        f"{kind} (on average {n_train:.0f} training and {n_test:.0f} held-out rows) of this one pool of rows in "
        f"{study.block.max() + 1} blocks of time; beside the student {compared} variants were run and "
        f"{int(table['lead'].notna().sum()) - references} are its opponents{beside}."
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 98)
