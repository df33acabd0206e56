"""The detector: trained with every sensor, deployed on those that stay."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from pitskd._series import as_frame
from pitskd._validation import (
    check_complete,
    check_floats,
    check_same_index,
    check_same_rows,
    check_text_free,
    has_finite_sum,
    wrong,
)
from pitskd.anomaly._clock import Clock
from pitskd.anomaly._settings import check_settings, seconds_of
from pitskd.anomaly._training import train
from pitskd.anomaly.calibration import Calibration, Debounce, achieved_rate, calibrate
from pitskd.anomaly.head import runs_of
from pitskd.anomaly.smoothing import trailing_mean
from pitskd.anomaly.stream import Alarm, Stream, read_state, save_state
from pitskd.anomaly.students import Lesson

__all__ = ["PrivilegedAnomalyDetector"]

_FAR_ABOVE = 2.0  # times the rate asked for
# Means that do not overlap, expected above the threshold: fewer than that, and the rate can be several times as high.
_FEWEST_EXCESSES = 0.2


class _Judgement(NamedTuple):
    """What is said of the rows of an array, but for repetitions."""

    rows: np.ndarray
    run: np.ndarray
    absent: np.ndarray
    scores: np.ndarray
    levels: np.ndarray
    alarms: np.ndarray
    answer: np.ndarray  # of all rows: which of these answers for it


class PrivilegedAnomalyDetector(OutlierMixin, BaseEstimator):
    """Detect anomalies on the sensors that stay, having learnt with all of them.

    A student forecasts every row from the rows before it. What it did not foresee, whitened and averaged, is the
    anomaly score; the threshold comes from rows that the student was not fitted on, so that the false-alarm rate asked
    for is the one to expect. Arrays (`detect`, `predict`, `score_samples`) and live rows (`update`) give the same
    numbers. Sensors that will not be there can help in three ways while learning: they make a better student
    (``student=ChainDistillationRegressorCV()``), they choose the normal rows of a log (``curate="privileged"``), and
    they say what an alarm is for (`target`). `detector_report` tells whether they do.

    Parameters
    ----------
    student : regressor or None, default=None
        Forecasts rows from the last `n_lags`. None: a ridge vector autoregression. Any multi-output regressor of
        scikit-learn; one of this package that distils is taught with the rows between and the privileged sensors. A
        network (`NeuralDistillationRegressor`) sees windows with their time; in single precision its streams equal
        arrays to about six digits, with ``precision="float64"`` to rounding.
    horizons : int or sequence of int, default=(1,)
        How many rows ahead is forecast; innovations of several horizons are whitened jointly. ``(1, 5, 20)`` sees slow
        faults that one-step forecasts adapt to.
    n_lags : int or None, default=None
        Rows that the student sees. None: 1, 2, 3 or 5 by held-out likelihood; 3 for a `student` of your own.
    memory : float or None, default=0.3
        Weight of the newest row in a multivariate moving average (EWMA) of the whitened innovations, in (0, 1); half of
        the score. Small shifts that stay add up in it. None: rows by themselves.
    isolation_forest : bool, default=False
        Whether half of the score is that of an isolation forest. Rows one by one become slow with it.
    curate : {"privileged", "self"} or None, default=None
        Who chooses the normal rows of a log that holds faults: all sensors, or those that stay. None: all rows are
        normal.
    contamination : float or None, default=None
        Share of rows that were not normal, in (0, 0.5], where `curate` starts its search. None: less than half.
    target : mapping or None, default=None
        Columns of X_privileged with their limits, ``{name: (low, high)}``, None for no limit: an alarm shall say that
        one of them is outside. Then a soft sensor and an isolation forest give the score.
    smoothing : int, default=10
        Rows of the trailing mean of the score. Unit: rows. 1: none.
    false_alarm_rate : float, default=0.01
        Share of normal rows with an alarm, in (0, 1).
    false_alarms_per_day : float or None, default=None
        Events per day instead; needs times as index of X, or `period`.
    calibration : {"pot", "conformal"}, default="pot"
        How the threshold is set from held-out scores: by peaks over threshold, a generalised Pareto distribution of
        the largest tenth [3]_, or by their order alone, which needs ``1 / false_alarm_rate`` rows.
    calibration_size : float or None, default=None
        Share of normal rows, the last ones, that the student never sees and the threshold is set on. None: ten blocks,
        each scored by a student of the others; the final student learns from all rows.
    drift : int or None, default=None
        Rows of a running median of scores without an alarm that scores are divided by. None: the level of the log
        holds for ever. Use it where normal operation wanders; a fault slower than this many rows goes unseen.
    patience : int or None, default=300
        With `drift`, rows after which an alarm that lasts is taken for what is usual now. None: never.
    alarm_after, clear_after : int, default=1
        Consecutive rows above, and not above, the threshold that start and end an alarm.
    missing : {"marginal", "flag", "raise"}, default="marginal"
        What becomes of a row with NaN: scored by what is observed, an alarm by itself, or an error.
    max_gap : time, number or None, default=None
        Longest step of the index to the next row; behind a longer one a stream starts afresh. None: ten usual steps.
    period : time, number of seconds or None, default=None
        Time between rows, where the index of X does not tell.
    adaptation : float, default=0.001
        Share of an innovation that ``update(learn=True)`` moves by, in [0, 1].
    random_state : int, numpy Generator, numpy RandomState or None, default=0
        For the isolation forest and the interval of the achieved rate.

    Attributes
    ----------
    threshold_ : float
        Anomaly scores above it are alarms; about 1 is normal.
    offset_ : float
        ``-threshold_``, as in scikit-learn.
    achieved_rate_ : AchievedRate
        False alarms on held-out blocks, each at the threshold of the others, with an interval of 95 %.
    normal_rows_ : ndarray of shape (n_rows,), bool
        Rows of X taken for normal.
    contamination_ : float
        Share of the others.
    student_ : object or None
        The fitted student; None with a `target`.
    n_lags_ : int or None
        Rows that it sees.
    log_likelihoods_ : dict or None
        Held-out log-likelihood per row of each order tried.
    scorer_, calibration_, clock_ : object
        What gives rows their score, what turns scores into p-values, and what reads the index.
    stream_ : object or None
        The running streams.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X was a frame with such names; live rows and later frames are checked against them.
    privileged_feature_names_in_ : ndarray

    See Also
    --------
    detector_report : Does the privileged side help on your log?

    Notes
    -----
    With innovations e of k values (channels times horizons) and the Ledoit-Wolf covariance S of held-out ones, the raw
    score of a row is ``e' S^-1 e / k``, S scaled so that it is 1 on average; with a `memory` half of it, and half of
    the same for the multivariate EWMA of [1]_. S is that of [4]_, its root that of [5]_, which stays near the sensors.
    p-values have the conformal form ``(1 + #{held-out >= score}) / (n + 1)`` [2]_, with "pot" parametric in the largest
    tenth [3]_. The guarantee of split-conformal prediction needs ``calibration_size``, "conformal" and rows that do not
    depend on each other; by blocks the student is fitted again and its penalty chosen on the same innovations, so that
    the rate is what `achieved_rate_` says rather than what is proven. With `curate` both are those of the rows that
    curation left. With a `target` the score is that of a soft sensor and a forest: `memory` and ``update(learn=True)``
    change nothing. A row before any forecast, and a missing sensor, count with the
    expectation of what is not observed.

    scikit-learn asks detectors to score each row by itself; this one scores rows as a series, so that the order of rows
    matters, and a row alone is scored without its past.

    References
    ----------
    .. [1] Lowry, Woodall, Champ and Rigdon (1992). A Multivariate Exponentially Weighted Moving Average Control Chart.
       Technometrics 34(1), 46-53.
    .. [2] Vovk, Gammerman and Shafer (2005). Algorithmic Learning in a Random World. Springer.
    .. [3] Siffer, Fouque, Termier and Largouet (2017). Anomaly Detection in Streams with Extreme Value Theory. KDD.
    .. [4] Ledoit and Wolf (2004). A well-conditioned estimator for large-dimensional covariance matrices. Journal of
       Multivariate Analysis 88(2), 365-411.
    .. [5] Kessy, Lewin and Strimmer (2018). Optimal Whitening and Decorrelation. The American Statistician 72(4).

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import PrivilegedAnomalyDetector
    >>> rng = np.random.default_rng(0)
    >>> log = np.cumsum(rng.normal(size=(1000, 3)), axis=0) * 0.1 + rng.normal(size=(1000, 3))
    >>> live = log[:50].copy()
    >>> live[30:, 1] += 8.0
    >>> detector = PrivilegedAnomalyDetector(smoothing=5).fit(log)
    >>> detector.detect(live)["is_anomaly"].to_numpy()[[0, 29, 32, 49]]
    array([False, False,  True,  True])
    >>> for row in live[:33]:
    ...     alarm = detector.update(row)
    >>> alarm.is_anomaly, int(alarm.contributions.argmax())
    (True, 1)
    """

    __metadata_request__fit = {"X_privileged": True, "normal": True}  # noqa: RUF012  scikit-learn reads this name from the class

    def __init__(
        self,
        student: Any = None,
        *,
        horizons: Any = (1,),
        n_lags: int | None = None,
        memory: float | None = 0.3,
        isolation_forest: bool = False,
        curate: str | None = None,
        contamination: float | None = None,
        target: Any = None,
        smoothing: int = 10,
        false_alarm_rate: float = 0.01,
        false_alarms_per_day: float | None = None,
        calibration: str = "pot",
        calibration_size: float | None = None,
        drift: int | None = None,
        patience: int | None = 300,
        alarm_after: int = 1,
        clear_after: int = 1,
        missing: str = "marginal",
        max_gap: Any = None,
        period: Any = None,
        adaptation: float = 1e-3,
        random_state: Any = 0,
    ) -> None:
        self.student = student
        self.horizons = horizons
        self.n_lags = n_lags
        self.memory = memory
        self.isolation_forest = isolation_forest
        self.curate = curate
        self.contamination = contamination
        self.target = target
        self.smoothing = smoothing
        self.false_alarm_rate = false_alarm_rate
        self.false_alarms_per_day = false_alarms_per_day
        self.calibration = calibration
        self.calibration_size = calibration_size
        self.drift = drift
        self.patience = patience
        self.alarm_after = alarm_after
        self.clear_after = clear_after
        self.missing = missing
        self.max_gap = max_gap
        self.period = period
        self.adaptation = adaptation
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, *, X_privileged: Any = None, normal: Any = None) -> PrivilegedAnomalyDetector:
        """Learn what is normal from a log, and set the threshold on rows that the student had not seen.

        Parameters
        ----------
        X : array-like or frame of shape (n_rows, n_channels)
            Rows in order of time, of the sensors that stay. NaN where missing.
        y : None
            Ignored.
        X_privileged : array-like or frame of shape (n_rows, n_privileged), default=None
            Sensors that the detector will not have. A teacher's rows between, for a student that distils; who judges,
            for ``curate="privileged"``; what has limits, for `target`.
        normal : array-like of shape (n_rows,) of bool, default=None
            Rows that may be taken for normal, where some are known not to be. None: all.

        Returns
        -------
        self : PrivilegedAnomalyDetector

        Raises
        ------
        ValueError
            If a parameter, a row or an index is wrong, or the log is too short to learn from or to set the threshold.

        Warns
        -----
        UserWarning
            If a sensor never moves, the log is short for the rate asked for, or its parts differ in their false alarms.
        """
        horizons = check_settings(self)
        frame = as_frame(X)
        rows = self._read(X if frame is None else frame, reset=True)
        Z = self._read_privileged(X_privileged, frame, rows)
        self._columns = None if frame is None else tuple(frame.columns)
        self.clock_ = Clock.learn(None if frame is None else frame.index, self.max_gap)
        run, repeated = self.clock_.runs(self.clock_.read(None if frame is None else frame.index), len(rows))
        kept = ~repeated
        check_same_index("normal", normal, frame, "Use normal.loc[X.index].")
        known = self._read_known(normal, len(rows))
        rate, rows_per_day = self._asked()
        # Around zero, what is left of large readings keeps its digits, the same ones row by row as in arrays.
        self._centre = _centre_of(rows[known])
        trained = train(
            self, rows[kept] - self._centre, run[kept], None if Z is None else Z[kept], known[kept], horizons
        )
        self.scorer_ = trained.scorer
        self.normal_rows_ = np.zeros(len(rows), dtype=bool)
        self.normal_rows_[kept] = trained.normal
        self.contamination_ = 1.0 - float(trained.normal.mean())
        self._calibrate(trained.held_out, trained.counted, run[kept], rate, rows_per_day)
        self._remember(trained.lesson)
        self._warn_of_drift(rate)
        self.reset()
        return self

    def _remember(self, lesson: Lesson | None) -> None:
        """Store what the choice of the student rests on."""
        self.student_ = None if lesson is None else lesson.student
        self.n_lags_ = None if lesson is None else lesson.student.n_lags
        self.log_likelihoods_ = None if lesson is None else lesson.log_likelihoods

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")  # reset sets an attribute of its own before fit

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "raise"
        return tags

    def _read(self, X: Any, *, reset: bool) -> np.ndarray:
        """Return the rows as floats, of the columns seen in fit."""
        known = None if reset else self._columns
        # scikit-learn compares names that are text; numbers can be in another order too.
        numbered = isinstance(X, pd.DataFrame) and not hasattr(self, "feature_names_in_")
        if known is not None and numbered and tuple(X.columns) != known:
            raise wrong("X", f"a frame with the columns of fit, {list(known)}", list(X.columns), "Select them.")
        check_text_free("X", X)
        rows = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite=False, ensure_min_samples=2 if reset else 1
        )
        allow = self.missing != "raise"
        return check_complete("X", rows, allow_nan=allow, step="Remove or mend these rows.")

    def _read_privileged(self, X_privileged: Any, frame: Any, rows: np.ndarray) -> np.ndarray | None:
        if hasattr(self, "privileged_feature_names_in_"):
            del self.privileged_feature_names_in_
        if X_privileged is None:
            return None
        privileged = as_frame(X_privileged)
        if privileged is not None:
            self.privileged_feature_names_in_ = np.asarray(privileged.columns, dtype=object)
            if frame is not None:
                check_same_index("X_privileged", privileged, frame, "Use X_privileged.loc[X.index].")
        given = X_privileged if privileged is None else privileged
        check_text_free("X_privileged", given)
        Z = check_floats("X_privileged", given)
        Z = Z[:, None] if Z.ndim == 1 else Z
        if Z.ndim != 2:
            expected = "of shape (n_rows, n_privileged)"
            raise wrong("X_privileged", expected, f"shape {Z.shape}", "Pass the rows of the log, not windows.")
        check_same_rows("X_privileged", len(Z), len(rows), "Pass one row per row of X.")
        never = np.flatnonzero(np.isnan(Z).all(axis=0))
        if len(never):
            names = getattr(self, "privileged_feature_names_in_", np.arange(Z.shape[1]))
            raise wrong("X_privileged", "measured in some rows", f"nothing in column {names[never[0]]!r}", "Drop it.")
        return check_complete("X_privileged", Z, allow_nan=True, step="Remove or mend these rows.")

    @staticmethod
    def _read_known(normal: Any, n_rows: int) -> np.ndarray:
        if normal is None:
            return np.ones(n_rows, dtype=bool)
        known = np.asarray(normal)
        if known.dtype.kind == "f" and np.isin(known, (0.0, 1.0)).all():
            known = known.astype(bool)
        if known.dtype.kind not in "biu" or known.ndim != 1 or not np.isin(known, (0, 1)).all():
            raise wrong("normal", "one boolean per row of X", normal, "Pass e.g. labels == 0.")
        check_same_rows("normal", len(known), n_rows, "Pass one boolean per row of X.")
        if not known.any():
            raise wrong("normal", "True in some rows", "none", "A detector learns from normal rows.")
        return known.astype(bool)

    def _calibrate(
        self, raw: np.ndarray, counted: np.ndarray | None, run: np.ndarray, rate: float, rows_per_day: float | None
    ) -> None:
        """Set threshold and p-values from raw scores of rows that the student was not fitted on.

        They are smoothed as if nothing lay between them; the first, whose means reach before them, are left out. Where
        only some rows count, all are smoothed in their runs.
        """
        if not len(raw):
            step = "Record a longer log, or use fewer n_lags and shorter horizons."
            raise wrong("X", "long enough to hold rows out for the threshold", "a log that is too short", step)
        self._smoothing = self.smoothing  # what was calibrated, whatever is set later
        if counted is None:
            scores = [trailing_mean(raw, self.smoothing, 1.0)[min(self.smoothing - 1, len(raw) // 2) :]]
        else:
            smooth = [trailing_mean(raw[inside], self.smoothing, 1.0) for inside in runs_of(run)]
            scores = [np.concatenate(smooth)[counted]]
        _warn_if_short(len(scores[0]), self.smoothing, rate, rows_per_day)
        debounce = Debounce(self.alarm_after, self.clear_after)
        asked: dict[str, Any] = {"method": self.calibration, "rows_per_day": rows_per_day, "drift": self.drift}
        patience = np.inf if self.patience is None else self.patience
        self.calibration_: Calibration = calibrate(scores, rate, debounce, patience=patience, **asked)
        self.threshold_ = self.calibration_.threshold
        self.offset_ = -self.threshold_
        block = max(2 * self.smoothing, int(np.sqrt(len(raw))))
        self.achieved_rate_ = achieved_rate(
            scores, rate, debounce, **asked, block=block, random_state=self.random_state
        )

    def _warn_of_drift(self, rate: float) -> None:
        """Tell when held-out blocks ran far above the rate, so that the next rows will too."""
        achieved = self.achieved_rate_
        if self.drift is None and achieved.lower > _FAR_ABOVE * rate:
            warnings.warn(
                f"X drifts, or is short: its parts had {achieved.rate:.3g} false alarms ({achieved.unit}; 95 %: "
                f"{achieved.lower:.3g} to {achieved.upper:.3g}) at thresholds for {rate:g} set on the other parts. "
                "Use drift=150 to follow what is usual, or a longer log.",
                UserWarning,
                stacklevel=3,
            )

    def _asked(self) -> tuple[float, float | None]:
        """Return the rate asked for, and rows per day if it counts events per day."""
        if self.false_alarms_per_day is None:
            return float(self.false_alarm_rate), None
        seconds = self.clock_.seconds if self.period is None else seconds_of(self.period)
        if seconds is None:
            expected, step = "None where the time between rows is not known", 'Pass X indexed by times, or period="1s".'
            raise wrong("false_alarms_per_day", expected, self.false_alarms_per_day, step)
        return float(self.false_alarms_per_day), 86400.0 / seconds

    def _smoothed(
        self, rows: np.ndarray, run: np.ndarray, raw: Callable[[np.ndarray], np.ndarray], before: float
    ) -> np.ndarray:
        return np.concatenate([trailing_mean(raw(rows[inside]), self._smoothing, before) for inside in runs_of(run)])

    def _judge(self, X: Any) -> _Judgement:
        """Return scores and alarms of all rows that are no repetition, and which row of them answers for each row."""
        check_is_fitted(self)
        frame = as_frame(X)
        rows = self._read(X if frame is None else frame, reset=False)
        run, repeated = self.clock_.runs(self.clock_.read(None if frame is None else frame.index), len(rows))
        if repeated.any():
            rows, run = rows[~repeated], run[~repeated]
        rows = rows - self._centre
        absent = np.zeros(len(rows), dtype=np.int64) if has_finite_sum(rows) else np.isnan(rows).sum(axis=1)
        scores = self._smoothed(rows, run, self.scorer_.raw_scores, 1.0)
        forced = (absent > 0) if self.missing == "flag" else np.zeros(len(rows), dtype=bool)
        levels, alarms = self.calibration_.follow(scores, forced)
        return _Judgement(rows, run, absent, scores / levels, levels, alarms, np.cumsum(~repeated) - 1)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return minus the anomaly score of each row.

        Parameters
        ----------
        X : array-like or frame of shape (n_rows, n_channels)
            Rows in order of time, as a stream of their own: the first ones have no past and count as normal until
            forecasts reach them. Behind a gap of more than `max_gap` that is so again; a row with the time of the one
            before is taken for its repetition and scored as that one.

        Returns
        -------
        ndarray of shape (n_rows,)
            Larger is more normal; about -1 on normal rows.
        """
        check_is_fitted(self)
        judged = self._judge(X)
        return -judged.scores[judged.answer]

    def decision_function(self, X: Any) -> np.ndarray:
        """Return by how much the anomaly score of each row stays below the threshold.

        Parameters
        ----------
        X : array-like or frame of shape (n_rows, n_channels)

        Returns
        -------
        ndarray of shape (n_rows,)
            Negative above the threshold.
        """
        check_is_fitted(self)
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return -1 for rows with an alarm and 1 for others.

        That is the sign of `decision_function` but for `alarm_after`, `clear_after` and ``missing="flag"``.

        Parameters
        ----------
        X : array-like or frame of shape (n_rows, n_channels)

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        return np.where(self.detect(X)["is_anomaly"], -1, 1)

    def detect(self, X: Any) -> pd.DataFrame:
        """Return what `update` would say of each row, as a frame.

        Parameters
        ----------
        X : array-like or frame of shape (n_rows, n_channels)

        Returns
        -------
        DataFrame
            One row per row of X, with its index: score, p_value, is_anomaly, event (number from 1, 0 outside),
            n_missing.
        """
        check_is_fitted(self)
        judged, frame = self._judge(X), as_frame(X)
        starts = judged.alarms & ~np.concatenate([[False], judged.alarms[:-1]])
        said = {
            "score": judged.scores,
            "p_value": self.calibration_.p_values(judged.scores),
            "is_anomaly": judged.alarms,
            "event": np.cumsum(starts) * judged.alarms,
            "n_missing": judged.absent,
        }
        index = None if frame is None else frame.index
        return pd.DataFrame({name: values[judged.answer] for name, values in said.items()}, index=index)

    def contributions(self, X: Any) -> np.ndarray:
        """Return the part of each sensor in the anomaly score of each row.

        Parameters
        ----------
        X : array-like or frame of shape (n_rows, n_channels)

        Returns
        -------
        ndarray of shape (n_rows, n_channels)
            At least 0; the sum of a row is its anomaly score, minus its `score_samples`.
        """
        judged = self._judge(X)
        share = 1.0 / self.n_features_in_
        parts = self._smoothed(judged.rows, judged.run, self.scorer_.contributions, share) / judged.levels[:, None]
        return parts[judged.answer]

    def reset(self) -> None:
        """Forget the running streams: the next `update` starts new ones."""
        self.stream_: Stream | None = None

    def update(self, x: Any, time: Any = None, *, learn: bool = False) -> Alarm:
        """Take the next row, or the next row of each of many streams.

        Parameters
        ----------
        x : array-like of shape (n_channels,) or (n_streams, n_channels), mapping or Series
            NaN where missing. Names, where given, must be those of fit.
        time : datetime, number or None, default=None
            Time of the row, of the kind of the index of X in fit. None: it follows the row before. Behind a gap of more
            than `max_gap` the stream starts afresh; a row with the time of the one before is a repetition: it changes
            nothing and is answered as that one was.
        learn : bool, default=False
            Whether to move slowly with the innovations, by a share `adaptation` per row, while no alarm lasts.

        Returns
        -------
        Alarm

        Raises
        ------
        ValueError
            If a sensor is missing from `x` or unknown, a value is infinite, the number of streams changes, or the clock
            goes backwards. The row is not taken then.
        """
        stream = getattr(self, "stream_", None)
        if stream is None:
            check_is_fitted(self)
            stream = self._start(x)
        alarm = stream.update(x, time, self.adaptation if learn else 0.0)
        self.stream_ = stream  # only now: a refused first row starts nothing
        return alarm

    def _start(self, x: Any) -> Stream:
        """Return fresh streams, as many as `x` has rows."""
        n_streams = None if isinstance(x, Mapping) or np.ndim(x) < 2 else len(x)
        return Stream(
            self.scorer_, self.calibration_, self._smoothing, n_streams,
            missing=self.missing, clock=self.clock_, names=self._columns, centre=self._centre,
        )  # fmt: skip

    def save_state(self, path: Any) -> None:
        """Write the state of the running streams to a file, to go on from there in another process.

        Parameters
        ----------
        path : str or path
            Written beside and renamed, so that a stop leaves the old file or the new one.

        Raises
        ------
        ValueError
            If no stream runs.
        """
        check_is_fitted(self)
        if self.stream_ is None:
            raise wrong("save_state", "called while a stream runs", "no stream", "Call update first.")
        save_state(self.stream_, path)

    def load_state(self, path: Any) -> PrivilegedAnomalyDetector:
        """Go on with the streams of a file that `save_state` of this very detector wrote.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        self : PrivilegedAnomalyDetector

        Raises
        ------
        ValueError
            If the file is no such state, or one of another detector or version; running streams stay as they are.
        """
        check_is_fitted(self)
        state = read_state(path)
        n_streams = state.pop("n_streams")
        stream = self._start(np.zeros(self.n_features_in_ if n_streams is None else (n_streams, self.n_features_in_)))
        stream.restore(state)
        self.stream_ = stream
        return self


def _centre_of(rows: np.ndarray) -> np.ndarray:
    """Return a value in the middle of each sensor; 0 where nothing was measured."""
    measured = ~np.isnan(rows).all(axis=0)
    centre = np.zeros(rows.shape[1])
    centre[measured] = np.nanmedian(rows[:, measured], axis=0)
    return centre


def _warn_if_short(n_rows: int, smoothing: int, rate: float, rows_per_day: float | None) -> None:
    """Tell when so few rows are held out that the threshold is mostly extrapolated."""
    share = rate if rows_per_day is None else rate / rows_per_day
    if n_rows * share < _FEWEST_EXCESSES * smoothing:
        warnings.warn(
            f"X is short for its threshold: {n_rows} rows held out, means over {smoothing}, for false alarms in "
            f"{share:.3g} of rows. The rate may be several times what was asked for. Record a longer log, ask for a "
            "higher rate, or use less smoothing.",
            UserWarning,
            stacklevel=4,
        )
