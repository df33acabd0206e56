"""The timeline of a detector: signals, score and threshold, events, and the sensors that speak.

Long logs are drawn by the largest (and of signals the smallest) value per pixel, so that no peak is lost. What is
alarmed has its own strip and is shaded throughout; nothing rests on colour alone. Matplotlib comes with the `plot`
extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pitskd._series import as_frame, counts_rows
from pitskd._validation import check_integer, check_positive, check_same_rows, wrong
from pitskd.metrics import events_of
from pitskd.metrics._columns import read_mask

__all__ = ["AnomalyTimelineDisplay"]

# Okabe and Ito's colours, which the colour-blind can tell apart; they differ in lightness, too.
_SIGNAL, _SCORE, _THRESHOLD, _ALARM, _TRUE = "#0072B2", "black", "#D55E00", "#E69F00", "#5B4B8A"
_HEAT = "YlOrBr"  # from light to dark, whatever the eye makes of its colours
_GAP = 10.0  # usual steps: lines break where the next row is further away
_WIDE = 20.0  # thresholds: above it the score is drawn on a logarithmic axis
_MOST_IN_HEAT = 12
_CLOCKS = (pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex)


class AnomalyTimelineDisplay:
    """What a detector said of a log over time, and why.

    Above, the sensors that spoke most; below them the score with its threshold, a strip of events beside one of true
    anomalies where these are known, and the part of every sensor in the score.

    Parameters
    ----------
    detections : DataFrame of shape (n_rows, ...)
        As from `PrivilegedAnomalyDetector.detect`: score and is_anomaly; the index is the time.
    threshold : float
        Scores above it are alarms.
    signals : DataFrame of shape (n_rows, n_channels) or None, default=None
    y : ndarray of shape (n_rows,), bool, or None, default=None
        True in anomalies.
    contributions : ndarray of shape (n_rows, n_channels) or None, default=None
        As from `PrivilegedAnomalyDetector.contributions`.
    n_signals : int, default=4
        Sensors to draw at most: those with the largest part in the score of alarmed rows, or of all if there are none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the score.
    axes_ : dict of str to matplotlib Axes
        "score", "events" and "contributions".
    signal_axes_ : dict of str to matplotlib Axes
        By the names of the sensors that are drawn.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import pandas as pd
    >>> from pitskd import AnomalyTimelineDisplay
    >>> said = pd.DataFrame({"score": [1.0, 9.0, 8.0, 1.2], "is_anomaly": [False, True, True, False]})
    >>> display = AnomalyTimelineDisplay(detections=said, threshold=3.0)  # draws nothing yet
    >>> display.detections["score"].max()
    np.float64(9.0)
    """

    ax_: Any
    axes_: dict[str, Any]
    signal_axes_: dict[str, Any]
    figure_: Any

    def __init__(
        self,
        *,
        detections: pd.DataFrame,
        threshold: float,
        signals: pd.DataFrame | None = None,
        y: np.ndarray | None = None,
        contributions: np.ndarray | None = None,
        n_signals: int = 4,
    ) -> None:
        self.detections = detections
        self.threshold = threshold
        self.signals = signals
        self.y = y
        self.contributions = contributions
        self.n_signals = n_signals

    @classmethod
    def from_estimator(
        cls, detector: Any, X: Any, *, y: Any = None, n_signals: int = 4, ax: Any = None
    ) -> AnomalyTimelineDisplay:
        """Ask a fitted detector about rows and draw what it says.

        Parameters
        ----------
        detector : PrivilegedAnomalyDetector
            Fitted.
        X : array-like or frame of shape (n_rows, n_channels)
            Rows in order of time.
        y : array-like of shape (n_rows,), default=None
            1 or True where a row is anomalous.
        n_signals : int, default=4
        ax : matplotlib Axes, default=None
            Its place in the figure is divided; a new figure if None.

        Returns
        -------
        display : AnomalyTimelineDisplay
        """
        if not hasattr(detector, "detect"):
            step = "Pass a fitted PrivilegedAnomalyDetector."
            raise wrong("detector", "an object with a method detect", type(detector).__name__, step, TypeError)
        said = {"contributions": detector.contributions(X), "threshold": detector.threshold_}
        return cls.from_detections(detector.detect(X), X=X, y=y, **said, n_signals=n_signals, ax=ax)

    @classmethod
    def from_detections(
        cls,
        detections: pd.DataFrame,
        *,
        threshold: float,
        X: Any = None,
        y: Any = None,
        contributions: Any = None,
        n_signals: int = 4,
        ax: Any = None,
    ) -> AnomalyTimelineDisplay:
        """Draw what a detector said, such as the collected answers of a live stream.

        Parameters
        ----------
        detections : DataFrame of shape (n_rows, ...)
            Columns score and is_anomaly; the index is the time.
        threshold : float
            Above 0.
        X : array-like or frame of shape (n_rows, n_channels), default=None
            Signals.
        y : array-like of shape (n_rows,), default=None
            1 or True where a row is anomalous.
        contributions : array-like of shape (n_rows, n_channels), default=None
        n_signals : int, default=4
        ax : matplotlib Axes, default=None

        Returns
        -------
        display : AnomalyTimelineDisplay
        """
        absent = [name for name in ("score", "is_anomaly") if name not in getattr(detections, "columns", ())]
        if absent:
            step = "Use what detect of a detector returns."
            raise wrong("detections", "a frame with the columns score and is_anomaly", f"none named {absent[0]}", step)
        check_positive("threshold", threshold, "Use detector.threshold_.")
        check_integer("n_signals", n_signals, minimum=0, step="Use 0 for the score alone.")
        if isinstance(detections.index, _CLOCKS) and not detections.index.is_monotonic_increasing:
            raise wrong("detections", "in order of time", "an index that goes back", "Use detections.sort_index().")
        signals = None if X is None else _named(X)
        parts = None if contributions is None else np.asarray(contributions, dtype=np.float64)
        labels = None if y is None else read_mask("y", y)
        for name, rows in (("X", signals), ("y", labels), ("contributions", parts)):
            if rows is not None:
                check_same_rows(name, len(rows), len(detections), "Pass one row per detection.", "detections")
        display = cls(
            detections=detections, threshold=threshold, signals=signals, y=labels, contributions=parts,
            n_signals=n_signals,
        )  # fmt: skip
        return display.plot(ax)

    def plot(self, ax: Any = None) -> AnomalyTimelineDisplay:
        """Draw the panels one below the other, over the same time.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Its place in the figure is divided; a new figure if None.

        Returns
        -------
        display : AnomalyTimelineDisplay
        """
        names = self._names()
        spoken = self._spoken(names)
        drawn = [] if self.signals is None else spoken[: self.n_signals]
        heat = [] if self.contributions is None else spoken[:_MOST_IN_HEAT]
        n_strips = 1 if self.y is None else 2
        self.figure_, axes = _panels(ax, len(drawn), n_strips, len(heat))
        self.signal_axes_ = {names[k]: one for k, one in zip(drawn, axes, strict=False)}
        self.axes_ = dict(zip(("score", "events", "contributions"), axes[len(drawn) :], strict=False))
        self.ax_ = self.axes_["score"]
        time = _Time.read(self.detections.index, _pixels(self.ax_))
        for k, one in zip(drawn, axes, strict=False):
            assert self.signals is not None
            _draw_signal(one, time, self.signals.iloc[:, k].to_numpy(dtype=np.float64), names[k])
        alarmed = self.detections["is_anomaly"].to_numpy(dtype=bool)
        self._draw_score(time)
        self._draw_strips(time, alarmed)
        for one in axes[: len(drawn) + 1]:
            _shade(one, time.spans(alarmed), 0.0, 1.0, _ALARM, alpha=0.3)
        if heat:
            self._draw_heat(time, heat, names)
        self._finish(time, axes)
        return self

    def _names(self) -> list[str]:
        if self.signals is not None:
            return [str(name) for name in self.signals.columns]
        n_channels = 0 if self.contributions is None else self.contributions.shape[1]
        return [f"x{number}" for number in range(n_channels)]

    def _spoken(self, names: list[str]) -> list[int]:
        """Return the sensors by their part in the score of alarmed rows, or of all rows, the largest first."""
        if self.contributions is None:
            return list(range(len(names)))
        alarmed = self.detections["is_anomaly"].to_numpy(dtype=bool)
        parts = self.contributions[alarmed] if alarmed.any() else self.contributions
        return np.argsort(-parts.mean(axis=0), kind="stable").tolist()

    def _draw_score(self, time: _Time) -> None:
        x, high = time.largest(self.detections["score"].to_numpy(dtype=np.float64))
        known = high[~np.isnan(high)]
        if len(known) and known.max() > _WIDE * self.threshold:
            self.ax_.set_yscale("log")
            high = np.maximum(high, 1e-3 * self.threshold)
        self.ax_.plot(x, high, color=_SCORE, linewidth=0.9)
        self.ax_.axhline(self.threshold, color=_THRESHOLD, linestyle="--", linewidth=1.2, zorder=3)
        self.ax_.annotate(
            "threshold", (1.0, self.threshold), xycoords=("axes fraction", "data"), xytext=(3, 0),
            textcoords="offset points", va="center", fontsize="small", color=_THRESHOLD,
        )  # fmt: skip
        _label(self.ax_, "score")

    def _draw_strips(self, time: _Time, alarmed: np.ndarray) -> None:
        ax = self.axes_["events"]
        strips = [("alarm", alarmed, _ALARM, "")]
        if self.y is not None:
            strips.append(("true", self.y, _TRUE, "////"))
        for number, (_, rows, colour, hatch) in enumerate(strips):
            # Hatched, so that the strips differ without colour, too.
            style = {"hatch": hatch, "edgecolor": "white"} if hatch else {}
            _shade(ax, time.spans(rows), -number - 0.8, 0.6, colour, axis=False, **style)
        ax.set_ylim(-len(strips), 0.0)
        ax.set_yticks([-number - 0.5 for number in range(len(strips))], [name for name, *_ in strips])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)

    def _draw_heat(self, time: _Time, heat: list[int], names: list[str]) -> None:
        from matplotlib.colors import LogNorm

        assert self.contributions is not None
        ax = self.axes_["contributions"]
        edges, parts = time.cells(self.contributions[:, heat] / self.threshold)
        norm = LogNorm(0.1, max(3.0, float(np.nanmax(parts, initial=0.0))), clip=True)
        mesh = ax.pcolormesh(edges, np.arange(len(heat) + 1), parts.T, cmap=_HEAT, norm=norm, rasterized=True)
        ax.set_yticks(np.arange(len(heat)) + 0.5, [names[k] for k in heat])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        bar = ax.inset_axes((1.01, 0.0, 0.012, 1.0))
        self.figure_.colorbar(mesh, cax=bar)
        bar.set_ylabel("part of score\nin thresholds", fontsize="small")
        bar.tick_params(labelsize="small")

    def _finish(self, time: _Time, axes: list[Any]) -> None:
        for ax in axes:
            ax.set_xlim(*time.limits)
            ax.tick_params(labelsize="small")
            ax.spines[["top", "right"]].set_visible(False)
        for ax in axes[:-1]:
            ax.tick_params(axis="x", labelbottom=False)
        time.dress(axes[-1])


@dataclass(frozen=True, eq=False)
class _Time:
    """The rows of a log along the axis, and how many pixels there are for them."""

    x: np.ndarray  # (n,), ascending
    step: float  # usual
    n_pixels: int
    label: str
    zone: Any  # of dates; False if there are none

    @classmethod
    def read(cls, index: pd.Index, n_pixels: int) -> _Time:
        x, label, zone = _axis(index)
        steps = np.diff(x)
        steps = steps[steps > 0]
        return cls(x, float(np.median(steps)) if len(steps) else 1.0, n_pixels, label, zone)

    @property
    def limits(self) -> tuple[float, float]:
        return float(self.x[0]), float(self.x[-1]) + self.step

    def _bins(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Return first rows and places of what is drawn together, and the usual distance of places."""
        n = len(self.x)
        if n <= self.n_pixels:
            return np.arange(n), self.x, self.step
        low, high = self.limits
        width = (high - low) / self.n_pixels
        bins = np.minimum(((self.x - low) / width).astype(np.int64), self.n_pixels - 1)
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        return starts, low + bins[starts] * width, max(width, self.step)

    def _broken(self, x: np.ndarray, values: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Put a missing value into every gap."""
        gaps = np.flatnonzero(np.diff(x) > _GAP * step) + 1
        nothing = np.full((len(gaps), *values.shape[1:]), np.nan)
        return np.insert(x, gaps, x[gaps - 1] + step), np.insert(values, gaps, nothing, axis=0)

    def largest(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return places with the largest value of each (n, ...), NaN in gaps."""
        starts, x, step = self._bins()
        return self._broken(x, np.fmax.reduceat(values, starts, axis=0), step)

    def range(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return places twice, with the smallest and the largest value; once where each is a row."""
        starts, x, step = self._bins()
        if len(starts) == len(values):
            return self._broken(x, values, step)
        both = np.stack([np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)], axis=1)
        places, both = self._broken(x, both, step)
        return np.repeat(places, 2), both.ravel()

    def cells(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return edges of cells and the largest values (n_cells, ...) in them."""
        x, high = self.largest(values)
        return np.append(x, max(self.limits[1], x[-1])), high

    def spans(self, rows: np.ndarray) -> np.ndarray:
        """Return start and width of every run of True; none is narrower than a pixel."""
        events = events_of(rows)
        first, last = self.x[events[:, 0]], self.x[events[:, 1] - 1] + self.step
        low, high = self.limits
        return np.column_stack([first, np.maximum(last - first, (high - low) / self.n_pixels)])

    def dress(self, ax: Any) -> None:
        """Label the axis."""
        ax.set_xlabel(self.label, fontsize="small")
        if self.zone is False:
            return
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator(tz=self.zone)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=self.zone))


_UNITS = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def _axis(index: pd.Index) -> tuple[np.ndarray, str, Any]:
    """Return places on the axis, its label and, for dates, the time zone (None if there is none)."""
    name = "" if index.name is None else str(index.name)
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    if isinstance(index, pd.DatetimeIndex):
        from matplotlib.dates import date2num

        return np.asarray(date2num(index.to_pydatetime()), dtype=np.float64), name, index.tz
    if isinstance(index, pd.TimedeltaIndex):
        seconds = np.asarray(index.total_seconds(), dtype=np.float64)
        size, unit = next(((s, u) for s, u in _UNITS if np.ptp(seconds) >= 3 * s), _UNITS[-1])
        return seconds / size, f"{name or 'time'} / {unit}", False
    # Names of rows, and numbers that are no time.
    if counts_rows(index) or not pd.api.types.is_numeric_dtype(index) or not index.is_monotonic_increasing:
        return np.arange(len(index), dtype=np.float64), name or "row", False
    return index.to_numpy(dtype=np.float64), name, False


def _named(X: Any) -> pd.DataFrame:
    frame = as_frame(X)
    if frame is not None:
        return frame
    values = np.asarray(X, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    return pd.DataFrame(values, columns=pd.Index([f"x{number}" for number in range(values.shape[1])]))


def _panels(ax: Any, n_signals: int, n_strips: int, n_heat: int) -> tuple[Any, list[Any]]:
    """Return a figure and axes for signals, score, events and, if any, contributions."""
    heights = [*[0.7] * n_signals, 1.4, 0.25 * n_strips, *([0.25 * n_heat] if n_heat else [])]
    if ax is None:
        try:
            from matplotlib import pyplot  # an optional dependency
        except ImportError:
            raise ImportError("Figures need matplotlib. Install it with: pip install 'pitskd[plot]'") from None
        figure = pyplot.figure(figsize=(9.0, 1.0 + 1.1 * sum(heights)), layout="constrained")
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    else:
        figure, place = ax.figure, ax.get_subplotspec()
        if place is None:
            raise wrong("ax", "axes of a grid", "axes placed by hand", "Use those of pyplot.subplots().")
        ax.set_axis_off()
        grid = place.subgridspec(len(heights), 1, height_ratios=heights)
    axes: list[Any] = []
    for number in range(len(heights)):
        axes.append(figure.add_subplot(grid[number], sharex=axes[0] if axes else None))
    return figure, axes


def _pixels(ax: Any) -> int:
    """Return how many columns of pixels the axes are about wide; twice the usual resolution."""
    figure = ax.figure
    return int(max(2.0 * ax.get_position().width * figure.get_figwidth() * 100.0, 200.0))


def _draw_signal(ax: Any, time: _Time, values: np.ndarray, name: str) -> None:
    ax.plot(*time.range(values), color=_SIGNAL, linewidth=0.8)
    ax.locator_params(axis="y", nbins=3)
    _label(ax, name)


def _label(ax: Any, name: str) -> None:
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small")


def _shade(
    ax: Any, spans: np.ndarray, low: float, height: float, colour: str, *, axis: bool = True, **style: Any
) -> None:
    """Draw bands, of the height of the axes unless `axis` is False."""
    if not len(spans):
        return
    place = {"transform": ax.get_xaxis_transform()} if axis else {}
    ax.broken_barh(spans.tolist(), (low, height), facecolor=colour, linewidth=0, zorder=0.5, **place, **style)
