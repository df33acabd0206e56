"""Figures of a privileged report: what the student has on its opponents, chains over imitation, a file's forecasts.

Displays in scikit-learn's form: `from_estimator` computes and draws, `plot` draws again. Matplotlib comes with the
`plot` extra.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from pitskd.experiments._file_words import FileReport
from pitskd.experiments._verdict import NAMES
from pitskd.experiments.privileged_report import PrivilegedReport, privileged_path, privileged_report

__all__ = ["FileReportDisplay", "ImitationPathDisplay", "PrivilegedGainDisplay"]


class PrivilegedGainDisplay:
    """What the student has on its baselines and controls: differences with intervals, a zero line, the verdict.

    Parameters
    ----------
    table : DataFrame
        As `PrivilegedReport.table`.
    verdict : str
        The title.
    metric : str, default="score"
        Name of the score on the axis.
    confidence : float, default=0.95
        Of the intervals, for the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from pitskd import PrivilegedGainDisplay, PrivilegedRegressor, privileged_report, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(40, random_state=0)
    >>> report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=4)
    >>> display = PrivilegedGainDisplay(table=report.table, verdict=report.verdict)  # draws nothing yet
    """

    ax_: Any
    figure_: Any

    def __init__(self, *, table: pd.DataFrame, verdict: str, metric: str = "score", confidence: float = 0.95) -> None:
        self.table = table
        self.verdict = verdict
        self.metric = metric
        self.confidence = confidence

    @classmethod
    def from_report(cls, report: PrivilegedReport, *, ax: Any = None) -> PrivilegedGainDisplay:
        """Draw a report.

        Parameters
        ----------
        report : PrivilegedReport
        ax : matplotlib Axes, default=None
            New ones if None.

        Returns
        -------
        display : PrivilegedGainDisplay
        """
        metric = NAMES[report.metric]
        display = cls(table=report.table, verdict=report.verdict, metric=metric, confidence=report.confidence)
        return display.plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, X_privileged: Any, ax: Any = None, **report_options: Any
    ) -> PrivilegedGainDisplay:
        """Report on an estimator and draw it.

        Parameters
        ----------
        estimator, X, y, X_privileged, **report_options
            As for `privileged_report`.
        ax : matplotlib Axes, default=None

        Returns
        -------
        display : PrivilegedGainDisplay
        """
        ax = _axes(ax)  # before minutes of work
        return cls.from_report(privileged_report(estimator, X, y, X_privileged=X_privileged, **report_options), ax=ax)

    def plot(self, ax: Any = None) -> PrivilegedGainDisplay:
        """Draw t intervals (thick) and bootstrap intervals (thin) of student minus opponent.

        Parameters
        ----------
        ax : matplotlib Axes, default=None

        Returns
        -------
        display : PrivilegedGainDisplay
        """
        ax = _axes(ax)
        shown = self.table[self.table["lead"].notna()]
        place = range(0, -len(shown), -1)
        colours = shown["role"].map({"baseline": "C0", "control": "C1", "reference": "C2"}).tolist()
        ax.hlines(place, shown["lead_bootstrap_lower"], shown["lead_bootstrap_upper"], color=colours, linewidth=1)
        ax.hlines(place, shown["lead_lower"], shown["lead_upper"], color=colours, linewidth=4, alpha=0.6)
        ax.scatter(shown["lead"], place, color=colours, zorder=3)
        ax.axvline(0.0, color="black", linewidth=0.8)
        ax.set_yticks(list(place), shown["method"].tolist())
        percent = f"{100 * self.confidence:g} % intervals: t thick, splits and blocks of time thin"
        ax.set_xlabel(f"{self.metric}, student minus opponent\n{percent}")
        ax.set_title(f"privileged rows: {self.verdict}")
        self.ax_, self.figure_ = ax, ax.figure
        return self


class ImitationPathDisplay:
    """Held-out loss of chains against imitation: 0 is the plain model, 1 trusts what follows alone.

    Parameters
    ----------
    imitation_path : DataFrame
        As `PrivilegedReport.imitation_path`.
    markov : str, default=""
        The reading of it, as title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from pitskd import ImitationPathDisplay, PrivilegedRegressor, privileged_report, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(40, random_state=0)
    >>> report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=4)
    >>> ImitationPathDisplay(imitation_path=report.imitation_path).imitation_path["imitation"].tolist()
    [0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0]
    """

    ax_: Any
    figure_: Any

    def __init__(self, *, imitation_path: pd.DataFrame, markov: str = "") -> None:
        self.imitation_path = imitation_path
        self.markov = markov

    @classmethod
    def from_report(cls, report: PrivilegedReport, *, ax: Any = None) -> ImitationPathDisplay:
        """Draw the path of a report.

        Parameters
        ----------
        report : PrivilegedReport
        ax : matplotlib Axes, default=None

        Returns
        -------
        display : ImitationPathDisplay
        """
        return cls(imitation_path=report.imitation_path, markov=report.markov).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, X_privileged: Any, ax: Any = None, **report_options: Any
    ) -> ImitationPathDisplay:
        """Fit the chains alone, in seconds, and draw them.

        Parameters
        ----------
        estimator : object
            Tells regression from classification; the chains are the default ones.
        X, y, X_privileged
            As for `privileged_report`.
        ax : matplotlib Axes, default=None
        **report_options
            cv, sample_weight, confidence and random_state, as for `privileged_report`.

        Returns
        -------
        display : ImitationPathDisplay
        """
        ax = _axes(ax)
        path, markov = privileged_path(estimator, X, y, X_privileged=X_privileged, **report_options)
        return cls(imitation_path=path, markov=markov).plot(ax)

    def plot(self, ax: Any = None) -> ImitationPathDisplay:
        """Draw the path, its best imitation, and the loss of the plain model.

        Parameters
        ----------
        ax : matplotlib Axes, default=None

        Returns
        -------
        display : ImitationPathDisplay
        """
        ax = _axes(ax)
        path = self.imitation_path
        best = path.loc[path["percent"].idxmin()]
        plain = path["percent"].iloc[0]
        ax.plot(path["imitation"], path["percent"], "o-", color="C0", label="chain")
        ax.fill_between(
            path["imitation"], plain - path["upper"], plain - path["lower"], color="C0", alpha=0.15,
            label="paired to imitation 0",
        )  # fmt: skip
        ax.axhline(plain, color="grey", linestyle="--", linewidth=0.8, label="imitation 0: plain model")
        ax.plot(best["imitation"], best["percent"], "*", color="C3", markersize=13, label="best")
        ax.set_xlabel("imitation")
        ax.set_ylabel("held-out loss, % of a constant forecast's")
        ax.set_title(self.markov, fontsize="small", wrap=True)
        ax.legend(fontsize="small")
        self.ax_, self.figure_ = ax, ax.figure
        return self


class FileReportDisplay:
    """A file's report: what the student has on opponents and references, and its last held-out forecasts.

    Parameters
    ----------
    report : FileReport

    Attributes
    ----------
    axes_ : tuple of matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from pitskd.experiments import FileReportDisplay
    >>> FileReportDisplay.from_report(file_report("air.csv", target="pm", window=6, horizon=3))  # doctest: +SKIP
    """

    axes_: tuple[Any, Any]
    figure_: Any

    def __init__(self, report: FileReport) -> None:
        self.report = report

    @classmethod
    def from_report(cls, report: FileReport, *, axes: Any = None) -> FileReportDisplay:
        """Draw a report.

        Parameters
        ----------
        report : FileReport
        axes : two matplotlib Axes, default=None
            New ones if None.

        Returns
        -------
        display : FileReportDisplay
        """
        return cls(report).plot(axes)

    def plot(self, axes: Any = None) -> FileReportDisplay:
        """Draw the differences above and the forecasts below.

        Parameters
        ----------
        axes : two matplotlib Axes, default=None

        Returns
        -------
        display : FileReportDisplay
        """
        above, below = _axes(None, 2) if axes is None else axes
        facts = self.report.facts
        PrivilegedGainDisplay.from_report(self.report.report, ax=above)
        self._near(above)
        above.set_title(f"{facts['target']}, {facts['horizon']} rows ahead: {self.report.verdict}")
        if self.report.stretch is None:
            below.set_axis_off()
        else:
            self._forecasts(below, self.report.stretch, facts)
        self.axes_, self.figure_ = (above, below), above.figure
        return self

    def _near(self, ax: Any) -> None:
        """Keep the axis near the opponents of the verdict; what is far off is told in numbers at its edge."""
        rows = self.report.table.set_index("method")
        near = rows[rows["role"].isin(["baseline", "control"])]
        ends = near[["lead_lower", "lead_upper", "lead_bootstrap_lower", "lead_bootstrap_upper"]]
        low, high = min(0.0, float(ends.min(axis=None))), max(0.0, float(ends.max(axis=None)))
        low, high = low - (high - low), high + (high - low)
        leads = rows["lead"].dropna()
        if leads.between(low, high).all():
            return
        ax.set_xlim(low, high)
        for place, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True):
            lead = leads.get(label.get_text(), 0.0)
            if lead > high:
                ax.annotate(f"{lead:+.2f} \N{RIGHTWARDS ARROW}", (high, place), ha="right", va="center")
            elif lead < low:
                ax.annotate(f"\N{LEFTWARDS ARROW} {lead:+.2f}", (low, place), ha="left", va="center")

    def _forecasts(self, ax: Any, stretch: pd.DataFrame, facts: dict[str, Any]) -> None:
        events = facts["threshold"] is not None
        unit = f" [{facts['unit']}]" if facts["unit"] and facts["unit"] not in facts["target"] else ""
        ax.plot(stretch["origin"], stretch["target"], "." if events else ".-", color="black", lw=0.8, label="target")
        ax.plot(stretch["origin"], stretch["student"], color="C0", label="student")
        if "persistence" in stretch:
            ax.plot(stretch["origin"], stretch["persistence"], color="C2", lw=0.8, alpha=0.7, label="persistence")
        named = f"probability of {facts['target']} > {facts['threshold']:g}" if events else facts["target"]
        ax.set_ylabel(named if events else f"{named}{unit}")
        ax.tick_params(axis="x", labelrotation=15)
        ax.set_xlabel("forecast origin")
        ax.set_title("last windows, forecast by a student of what lies before them", fontsize="medium")
        ax.legend(fontsize="small")


def _axes(ax: Any, n_rows: int = 1) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot  # an optional dependency
    except ImportError:
        raise ImportError("Figures need matplotlib. Install it with: pip install 'pitskd[plot]'") from None
    return pyplot.subplots(n_rows, figsize=(7.0, 3.6 * n_rows), layout="constrained")[1]
