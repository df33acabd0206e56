"""Volumes under range-based precision-recall and ROC curves, which forgive labels that are not exact to the row."""

from __future__ import annotations

from typing import Any

import numpy as np

from pitskd._validation import check_integer, check_same_rows, wrong
from pitskd.metrics._columns import read_column, read_mask
from pitskd.metrics.events import events_of

__all__ = ["vus_pr", "vus_pr_scorer", "vus_roc", "vus_roc_scorer"]


def vus_pr(y_true: Any, score: Any, *, max_buffer: int | None = None) -> float:
    """Compute the volume under the range-based precision-recall curves of all buffer lengths.

    Labels of events are rarely exact to the row. A buffer gives rows near an event partial credit, and averaging over
    its length spares the choice of one. Unlike point adjustment it cannot be won by a detector that alarms at random.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        1 where a row is anomalous, else 0; both must occur.
    score : array-like of shape (n_rows,)
        Larger where a row is more anomalous; only the order counts. Without NaN.
    max_buffer : int, default=None
        Longest buffer L, at least 0; half of it lies on either side of an event. None: the median length of the events,
        but at most half the median length of the normal runs, so that buffers leave normal rows. Unit: rows.

    Returns
    -------
    volume : float
        In [0, 1], 1 if all anomalous rows score above all others at ``max_buffer=0``. Long buffers cap it below 1: the
        rows of a buffer are partly normal.

    Raises
    ------
    ValueError
        If labels are not 0 or 1, one of them is absent, something is NaN, or lengths differ.

    See Also
    --------
    vus_roc : The same under the ROC curves.

    Notes
    -----
    Definition of [1]_, section 4. With an event of first row s and last row e and a buffer of length l, the label of a
    row i is 1 in the event, sqrt(1 - (s - i) / l) if s - l / 2 <= i < s, and sqrt(1 - (i - e) / l) if
    e < i < e + l / 2; where buffers of two events overlap, their labels are added and clipped at 1. At a threshold with
    predictions p, with b the binary and c the buffered labels:

    * TP = sum c p, FP = sum (1 - c) p, P = sum (b + c) / 2, N = n_rows - P,
    * recall = min(TP / P, 1) times the share of ranges (runs of c > 0) with a predicted row, the existence reward,
    * precision = TP / (TP + FP), false-positive rate = FP / N.

    The area is the trapezoid rule over **all** distinct scores as thresholds (the authors take 250 of them), starting
    at recall 0 and precision 1; the volume is the mean of the areas of buffers 0, 1, ..., L. Time is
    O(n_rows (log n_rows + L)); one sort serves all buffers.

    The existence reward stays at buffer 0. Only with a single event has it no effect there: then the area is
    ``sklearn.metrics.auc(recall, precision)`` of ``precision_recall_curve``. That is the trapezoid rule, which differs
    from the steps of ``average_precision_score``.

    References
    ----------
    .. [1] Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin (2022). Volume Under the Surface: A New Accuracy
       Evaluation Measure for Time-Series Anomaly Detection. PVLDB 15(11), 2774-2787. doi:10.14778/3551793.3551830.

    Examples
    --------
    >>> y = [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]
    >>> vus_pr(y, [0, 0, 0, 0, 0.8, 0.9, 0.1, 0, 0, 0], max_buffer=0)
    1.0
    >>> late = [0, 0, 0, 0, 0, 0.9, 0.8, 0.1, 0, 0]
    >>> [round(vus_pr(y, late, max_buffer=k), 3) for k in (0, 4)]
    [0.633, 0.693]
    """
    return _volume(y_true, score, max_buffer, _precision_recall_area)


def vus_roc(y_true: Any, score: Any, *, max_buffer: int | None = None) -> float:
    """Compute the volume under the range-based ROC curves of all buffer lengths.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        1 where a row is anomalous, else 0; both must occur.
    score : array-like of shape (n_rows,)
        Larger where a row is more anomalous; only the order counts. Without NaN.
    max_buffer : int, default=None
        Longest buffer, as in `vus_pr`. Unit: rows.

    Returns
    -------
    volume : float
        In [0, 1].

    Raises
    ------
    ValueError
        If labels are not 0 or 1, one of them is absent, something is NaN, or lengths differ.

    See Also
    --------
    vus_pr : The same under the precision-recall curves, with the definitions.

    Notes
    -----
    Trapezoid rule from (0, 0) over all distinct scores to (1, 1). The existence reward stays at buffer 0; with a single
    event it has no effect there, and the area is ``sklearn.metrics.roc_auc_score``. With several events the volume of
    a score without any information lies below one half.

    References
    ----------
    .. [1] Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin (2022). Volume Under the Surface: A New Accuracy
       Evaluation Measure for Time-Series Anomaly Detection. PVLDB 15(11), 2774-2787. doi:10.14778/3551793.3551830.

    Examples
    --------
    >>> y = [0, 0, 0, 0, 1, 1, 0, 0, 0, 0]
    >>> late = [0, 0, 0, 0, 0, 0.9, 0.8, 0.1, 0, 0]
    >>> [round(vus_roc(y, late, max_buffer=k), 4) for k in (0, 4)]
    [0.6875, 0.725]
    """
    return _volume(y_true, score, max_buffer, _roc_area)


def vus_pr_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Score a fitted anomaly detector by `vus_pr`, in the form scikit-learn expects of ``scoring``.

    Parameters
    ----------
    estimator : fitted detector
        With ``score_samples`` or, if it has none, ``decision_function``; both larger where a row is more *normal*, as
        all of scikit-learn's outlier detectors have it. The sign is turned here. Classifiers are refused: theirs is
        larger for the positive class.
    X : array-like of shape (n_rows, n_channels)
        Rows in order of time: pass ``TimeSeriesSplit`` or other unshuffled folds as ``cv``.
    y : array-like of shape (n_rows,)
        1 where a row is anomalous, else 0 (not scikit-learn's -1 and 1); both must occur in every fold.

    Returns
    -------
    volume : float
        `vus_pr` with its default buffer.

    Raises
    ------
    TypeError
        If the estimator is a classifier or has neither method.
    ValueError
        As `vus_pr`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn.model_selection import cross_val_score
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(90, 2)), np.tile(np.arange(30) // 25, 3)
    >>> X[y == 1] += 9
    >>> folds = [(np.flatnonzero(y[:60] == 0), np.arange(60, 90))]
    >>> detector = IsolationForest(n_estimators=20, random_state=0)
    >>> scores = cross_val_score(detector, X, y, cv=folds, scoring=vus_pr_scorer)
    >>> scores.round(2)
    array([0.97])
    """
    return vus_pr(y, _anomaly_score(estimator, X))


def vus_roc_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Score a fitted anomaly detector by `vus_roc`, in the form scikit-learn expects of ``scoring``.

    Parameters
    ----------
    estimator : fitted detector
        With ``score_samples`` or ``decision_function``, larger where a row is more normal; as in `vus_pr_scorer`.
    X : array-like of shape (n_rows, n_channels)
        Rows in order of time.
    y : array-like of shape (n_rows,)
        1 where a row is anomalous, else 0; both must occur in every fold.

    Returns
    -------
    volume : float
        `vus_roc` with its default buffer.

    Raises
    ------
    TypeError
        If the estimator is a classifier or has neither method.
    ValueError
        As `vus_roc`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import LocalOutlierFactor
    >>> X, y = np.array([[0.0], [1.0], [0.5], [9.0], [9.0], [1.0], [0.0]]), [0, 0, 0, 1, 1, 0, 0]
    >>> detector = LocalOutlierFactor(n_neighbors=2, novelty=True).fit(X[:3])
    >>> round(vus_roc_scorer(detector, X, y), 3)
    1.0
    """
    return vus_roc(y, _anomaly_score(estimator, X))


def _anomaly_score(estimator: Any, X: Any) -> np.ndarray:
    expected = "a detector with score_samples or decision_function"
    step = "Pass an outlier detector, whose scores are larger where a row is more normal."
    if hasattr(estimator, "classes_"):
        raise wrong("estimator", expected, f"the classifier {type(estimator).__name__}", step, TypeError)
    for method in ("score_samples", "decision_function"):
        if hasattr(estimator, method):
            return -np.asarray(getattr(estimator, method)(X), dtype=np.float64)
    raise wrong("estimator", expected, f"a {type(estimator).__name__} with neither", step, TypeError)


def _volume(y_true: Any, score: Any, max_buffer: Any, area: Any) -> float:
    anomalous = read_mask("y_true", y_true)
    values = read_column("score", score)
    check_same_rows("score", len(values), len(anomalous), "Pass one score per label.", reference="y_true")
    if anomalous.all() or not anomalous.any():
        got = f"only {int(anomalous[0])}" if len(anomalous) else "no rows"
        raise wrong("y_true", "0 in some rows and 1 in others", got, "The curves need both.")
    longest = _default_buffer(anomalous) if max_buffer is None else _checked_buffer(max_buffer)
    surface = _Surface(anomalous, values, longest)
    return float(np.mean([area(*surface.curve(length)) for length in range(longest + 1)]))


def _checked_buffer(max_buffer: Any) -> int:
    return check_integer("max_buffer", max_buffer, minimum=0, step="Use 0 for no buffer, None for the default.")


def _default_buffer(anomalous: np.ndarray) -> int:
    event, normal = (np.median(np.diff(events_of(mask))) for mask in (anomalous, ~anomalous))
    return int(min(event, normal / 2))


def _precision_recall_area(recall: np.ndarray, precision: np.ndarray, false_positives: np.ndarray) -> float:
    return float(np.trapezoid(np.append(1.0, precision), np.append(0.0, recall)))


def _roc_area(recall: np.ndarray, precision: np.ndarray, false_positives: np.ndarray) -> float:
    return float(np.trapezoid(np.concatenate([[0.0], recall, [1.0]]), np.concatenate([[0.0], false_positives, [1.0]])))


class _Surface:
    """What the curves of all buffers share: the order of the scores, and from which buffer on a row is covered.

    A label in a buffer is at least sqrt(1 / 2), so two that overlap always add to more than 1. It is thus enough to
    know, for each row, the shortest buffers that reach it from one event and from a second.
    """

    def __init__(self, anomalous: np.ndarray, score: np.ndarray, longest: int) -> None:
        self.score = score
        self.order = np.argsort(-score, kind="stable")
        descending = score[self.order]
        self.last = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))  # of each threshold
        self.thresholds = descending[self.last]
        self.n_anomalous = np.count_nonzero(anomalous)
        self.reach, self.second_reach = _reaches(anomalous, longest)

    def labels(self, length: int) -> np.ndarray:
        """Return the buffered labels of [1] for a buffer of this length."""
        distance = self.reach // 2
        once = np.sqrt(np.maximum(1.0 - distance / max(length, 1), 0.0))
        return np.where(self.second_reach <= length, 1.0, np.where(self.reach <= length, once, 0.0))

    def curve(self, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return recall, precision and false-positive rate at all thresholds, the highest first."""
        labels = self.labels(length)
        n_predicted = self.last + 1.0
        true = np.cumsum(labels[self.order])[self.last]
        positives = (self.n_anomalous + labels.sum()) / 2
        recall = np.minimum(true / positives, 1.0) * self._existence(length)
        return recall, true / n_predicted, (n_predicted - true) / (len(labels) - positives)

    def _existence(self, length: int) -> np.ndarray:
        """Return the share of ranges with a predicted row at each threshold."""
        ranges = events_of(self.reach <= length)
        within = np.append(self.score, -np.inf)  # reduceat needs every bound to be a row
        highest = np.sort(np.maximum.reduceat(within, ranges.ravel())[::2])
        return 1.0 - np.searchsorted(highest, self.thresholds, side="left") / len(ranges)


def _reaches(anomalous: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shortest buffer that covers each row, and the shortest at which a second buffer covers it too.

    A buffer of length l covers a row d before an event if 2 d <= l and a row d behind it if 2 d < l, so half the reach
    is the distance. Both are 0 in events.
    """
    events, rows, never = events_of(anomalous), np.arange(len(anomalous)), 2 * len(anomalous) + longest + 1
    # Two events that no row has, on either side, spare the cases of first and last.
    starts = np.concatenate([events[:, 0], [len(rows) + never] * 2])
    ends = np.concatenate([[-never] * 2, events[:, 1] - 1])
    following = np.searchsorted(events[:, 0], rows)
    passed = np.searchsorted(events[:, 1] - 1, rows, side="right")
    before = [2 * (starts[following + k] - rows) for k in (0, 1)]
    behind = [2 * (rows - ends[passed + 1 - k]) + 1 for k in (0, 1)]
    shortest = np.sort([*before, *behind], axis=0)[:2]
    reach, second = np.where(anomalous, 0, shortest)
    return reach, second
