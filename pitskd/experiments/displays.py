"""Figures: a window and its privileged part, differences to the baseline, accuracy against imitation.

Each function draws on the axes it is given, or on new ones, and returns them. Matplotlib comes with the `plot` extra.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pitskd._validation import check_integer, wrong
from pitskd.experiments.competitors import BASELINE, PATH, STUDENT, TEACHER
from pitskd.windows import PrivilegedWindows

__all__ = ["plot_differences", "plot_imitation", "plot_learning_curve", "plot_size_differences", "plot_window"]


def plot_window(windows: PrivilegedWindows, row: int = 0, *, channel: int = 0, ax: Any = None) -> Any:
    """Draw one window: what both models see, what only the teacher sees, and the target.

    Parameters
    ----------
    windows : PrivilegedWindows
        Labels (from ``threshold=``) have no place on a channel's axis and are written beside the target's step.
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
    if channel not in range(len(windows.feature_names)):
        raise wrong("channel", f"below {len(windows.feature_names)}", channel, "Count the channels of X from 0.")
    one, ax = windows.take([row]), _axes(ax)
    name = one.feature_names[channel]
    ax.plot(np.arange(1 - one.window, 1), one.X[0, :, channel], "o-", color="C0", label="input: student and teacher")
    if one.X_privileged is not None and name in one.privileged_feature_names and len(one.privileged_steps):
        seen = one.X_privileged[0, :, one.privileged_feature_names.index(name)]
        ax.plot(one.privileged_steps, seen, "s--", color="C1", label="privileged: teacher only")
    targets = dict(zip(one.target_names, np.atleast_1d(one.y[0]), strict=True))
    for step in np.atleast_1d(one.horizon):
        target = targets.get(f"{name}+{step}")
        if target is not None and one.y.dtype.kind == "i" and one.X.dtype.kind == "f":
            ax.axvline(step, color="C3", linestyle=":", label=f"target: label {target}")
        elif target is not None:
            ax.plot(step, target, "*", color="C3", markersize=13, label="target")
    ax.axvline(0.5, color="grey", linewidth=0.8)
    ax.set_xlabel("rows from the origin")
    ax.set_ylabel(name)
    ax.legend(fontsize="small")
    return ax


def plot_differences(table: pd.DataFrame, *, metric: str = "accuracy", ax: Any = None) -> Any:
    """Draw differences to the tuned baseline with their t intervals (thick) and bootstrap intervals (thin).

    Parameters
    ----------
    table : DataFrame
        As from `compare_methods`: columns task, method, difference, lower, upper, bootstrap_lower, bootstrap_upper.
    metric : str, default="accuracy"
        Name of the score on the axis.
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes
    """
    shown = table[~table["method"].isin([BASELINE, TEACHER]) & ~table["method"].str.startswith(PATH)]
    if shown.empty:
        raise wrong(
            "table", "a comparison of more than baseline and teacher", f"{len(table)} rows", "Use `compare_methods`."
        )
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
    ax.set_xlabel(f"{metric} minus tuned baseline\n95 % intervals: t thick, resamples and time blocks thin")
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
    accuracy = _by_seed(results, ["method"])
    path = accuracy[[method for method in accuracy.columns if method.startswith(PATH)]]
    if path.empty:
        raise wrong("results", "cells of students at fixed imitations", "none", "Use an EventTask.")
    imitation = path.columns.str.removeprefix(PATH).astype(float)
    half = 1.96 * path.sub(accuracy[BASELINE], axis=0).std() / np.sqrt(len(path))
    ax = _axes(ax)
    ax.plot(imitation, path.mean(), "o-", color="C3", label=STUDENT)
    ax.fill_between(imitation, path.mean() - half, path.mean() + half, color="C3", alpha=0.15, label="paired 95 %")
    ax.axhline(accuracy[BASELINE].mean(), color="C0", linestyle="--", label=BASELINE)
    # The bound is often far above: as a line it would flatten everything else.
    ax.plot([], [], " ", label=f"teacher (bound): {accuracy[TEACHER].mean():.3f}")
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
    accuracy = _by_seed(results, ["method", "n_train"])
    mean, half = accuracy.mean(), 1.96 * accuracy.std() / np.sqrt(len(accuracy))
    ax = _axes(ax)
    for method, style, colour in [(TEACHER, ":", "grey"), (STUDENT, "-", "C3"), (BASELINE, "--", "C0")]:
        x, y, error = mean[method].index, mean[method], half[method]
        ax.errorbar(x, y, yerr=error, linestyle=style, color=colour, marker="o", capsize=3, label=method)
    ax.set_xlabel("training windows")
    ax.set_ylabel("test accuracy")
    ax.legend(fontsize="small")
    return ax


def plot_size_differences(table: pd.DataFrame, *, metric: str = "R2", ax: Any = None) -> Any:
    """Draw every method's difference to the tuned baseline over the number of training windows, one line each.

    Parameters
    ----------
    table : DataFrame
        As from `compare_methods`, tasks that differ in size only, with a further column n_train. The student has its
        t interval.
    metric : str, default="R2"
        Name of the score on the axis.
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes
    """
    shown = table[~table["method"].isin([BASELINE, TEACHER])]
    if shown.empty or "n_train" not in shown:
        expected, step = "a comparison with a column n_train", "Add the size of each task to `compare_methods`."
        raise wrong("table", expected, f"columns {list(table.columns)}", step)
    ax = _axes(ax)
    colours = [f"C{number}" for number in range(10) if number != 3]  # C3 is the student's
    for number, (method, rows) in enumerate(shown.sort_values("n_train").groupby("method", sort=False)):
        style = {"color": colours[number % 9], "linestyle": "-" if number < 9 else "--"}
        style = {"color": "C3", "linewidth": 2.2} if method == STUDENT else style
        ax.plot(rows["n_train"], rows["difference"], marker="o", markersize=3, label=method, **style)
        if method == STUDENT:
            ax.fill_between(rows["n_train"], rows["lower"], rows["upper"], color="C3", alpha=0.15)
    sizes = sorted(set(shown["n_train"]))
    ax.axhline(0.0, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.minorticks_off()
    ax.set_xlabel("training windows")
    ax.set_ylabel(f"{metric} minus tuned baseline")
    return ax


def _by_seed(results: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return accuracies with one row per seed."""
    sums = results.groupby(["seed", *columns], sort=False)[["sum", "n_test"]].sum()
    return (sums["sum"] / sums["n_test"]).unstack(columns)


def _axes(ax: Any, height: float = 3.6) -> Any:
    if ax is not None:
        return ax
    from matplotlib import pyplot  # an optional dependency

    return pyplot.subplots(figsize=(7.0, height), layout="constrained")[1]
