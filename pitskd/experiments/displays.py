"""Figures: a window and its privileged part, differences to the baseline, accuracy against imitation.

Each function draws on the axes it is given, or on new ones, and returns them. Matplotlib comes with the `plot` extra.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pitskd._validation import check_integer, wrong
from pitskd.experiments.protocols import BASELINE, PATH, STUDENT, TEACHER
from pitskd.windows import PrivilegedWindows

__all__ = ["plot_differences", "plot_imitation", "plot_learning_curve", "plot_window"]


def plot_window(windows: PrivilegedWindows, row: int = 0, *, channel: int = 0, ax: Any = None) -> Any:
    """Draw one window: what both models see, what only the teacher sees, and the target.

    Parameters
    ----------
    windows : PrivilegedWindows
        Whose privileged part, if any, has the drawn channel at the same position.
    row : int, default=0
        Which window.
    channel : int, default=0
        Which channel.
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes
    """
    check_integer("row", row, minimum=0, step=f"There are {windows.n_windows} windows.")
    one, ax = windows.take([row]), _axes(ax)
    ax.plot(np.arange(1 - one.window, 1), one.X[0, :, channel], "o-", color="C0", label="input: student and teacher")
    if one.X_privileged is not None and len(one.privileged_steps):
        ax.plot(
            one.privileged_steps, one.X_privileged[0, :, channel], "s--", color="C1", label="privileged: teacher only"
        )
    horizons = np.atleast_1d(one.horizon)
    targets = np.atleast_1d(one.y[0])
    if len(targets) == len(horizons):
        ax.plot(horizons, targets, "*", color="C3", markersize=13, label="target")
    ax.axvline(0.5, color="grey", linewidth=0.8)
    ax.set_xlabel("rows from the origin")
    ax.set_ylabel(one.feature_names[channel])
    ax.legend(fontsize="small")
    return ax


def plot_differences(table: pd.DataFrame, *, ax: Any = None) -> Any:
    """Draw differences to the tuned baseline with their t intervals (thick) and bootstrap intervals (thin).

    Parameters
    ----------
    table : DataFrame
        As from `compare`, with columns task, method, difference, lower, upper, bootstrap_lower, bootstrap_upper.
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes
    """
    shown = table[~table["method"].isin([BASELINE, TEACHER]) & ~table["method"].str.startswith(PATH)]
    if shown.empty:
        raise wrong("table", "a comparison of more than baseline and teacher", f"{len(table)} rows", "Use `compare`.")
    ax = _axes(ax, height=0.22 * len(shown) + 1.2)
    place = -np.arange(len(shown))
    thin = [shown["bootstrap_lower"].fillna(shown["lower"]), shown["bootstrap_upper"].fillna(shown["upper"])]
    colours = ["C3" if method == STUDENT else "C0" for method in shown["method"]]
    ax.hlines(place, *thin, color=colours, linewidth=1)
    ax.hlines(place, shown["lower"], shown["upper"], color=colours, linewidth=4, alpha=0.6)
    ax.scatter(shown["difference"], place, color=colours, zorder=3)
    ax.axvline(0.0, color="black", linewidth=0.8)
    ax.set_yticks(place, [f"{task}: {method}" for task, method in zip(shown["task"], shown["method"], strict=True)])
    ax.tick_params(axis="y", labelsize="small")
    ax.set_xlabel("accuracy minus tuned baseline (95 % intervals: t thick, resamples and time blocks thin)")
    return ax


def plot_imitation(results: pd.DataFrame, *, ax: Any = None) -> Any:
    """Draw a task's mean test accuracy against imitation, between the tuned baseline and the teacher.

    Parameters
    ----------
    results : DataFrame
        Cells of one task that has students at fixed imitations, as from `run_tasks`.
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes
    """
    accuracy = _accuracy(results, "method")
    path = accuracy[accuracy.index.str.startswith(PATH)]
    if path.empty:
        raise wrong("results", "cells of students at fixed imitations", "none", "Use an EventTask.")
    imitation = path.index.str.removeprefix(PATH).astype(float)
    ax = _axes(ax)
    ax.plot(imitation, path["mean"], "o-", color="C3", label=STUDENT)
    ax.fill_between(imitation, path["mean"] - path["half"], path["mean"] + path["half"], color="C3", alpha=0.15)
    ax.axhline(accuracy.loc[BASELINE, "mean"], color="C0", linestyle="--", label=BASELINE)
    ax.axhline(accuracy.loc[TEACHER, "mean"], color="grey", linestyle=":", label="teacher (bound)")
    ax.set_xlabel("imitation")
    ax.set_ylabel("test accuracy")
    ax.set_title(str(results["task"].iloc[0]), fontsize="medium")
    ax.legend(fontsize="small")
    return ax


def plot_learning_curve(results: pd.DataFrame, *, ax: Any = None) -> Any:
    """Draw baseline, student and teacher over the number of training windows.

    Parameters
    ----------
    results : DataFrame
        Cells of one task at several sizes, as from `run_tasks`, with a further column n_train.
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes
    """
    accuracy = _accuracy(results, ["method", "n_train"])
    ax = _axes(ax)
    for method, style in [(TEACHER, ":"), (STUDENT, "-"), (BASELINE, "--")]:
        curve = accuracy.loc[method]
        ax.errorbar(
            curve.index, curve["mean"], yerr=curve["half"], linestyle=style, marker="o", capsize=3, label=method
        )
    ax.set_xlabel("training windows")
    ax.set_ylabel("test accuracy")
    ax.legend(fontsize="small")
    return ax


def _accuracy(results: pd.DataFrame, by: Any) -> pd.DataFrame:
    """Return mean accuracy over seeds and the half width of its normal 95 % interval."""
    keys = [by] if isinstance(by, str) else list(by)
    sums = results.groupby([*keys, "seed"], sort=False)[["sum", "n_test"]].sum()
    accuracy = (sums["sum"] / sums["n_test"]).groupby(level=keys, sort=False)
    half = 1.96 * accuracy.std() / np.sqrt(accuracy.count())
    return pd.DataFrame({"mean": accuracy.mean(), "half": half.fillna(0.0)})


def _axes(ax: Any, height: float = 3.6) -> Any:
    if ax is not None:
        return ax
    from matplotlib import pyplot  # an optional dependency

    return pyplot.subplots(figsize=(7.0, height), layout="constrained")[1]
