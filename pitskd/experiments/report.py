"""Tables, figures and a short Markdown report from the cells of a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import pitskd
from pitskd.experiments.compare import compare_methods, is_gain
from pitskd.experiments.competitors import (
    BASELINE,
    CONTROLS,
    MARGIN,
    NO_MIDDLE,
    PATH,
    PERMUTED,
    SAME_LOSS,
    STUDENT,
    TEACHER,
)
from pitskd.experiments.displays import plot_differences, plot_imitation
from pitskd.experiments.protocols import Task

__all__ = ["summarise", "write_report"]

_COLUMNS = (BASELINE, MARGIN, SAME_LOSS, NO_MIDDLE, PERMUTED, STUDENT, TEACHER)


def summarise(results: pd.DataFrame, tasks: Sequence[Task]) -> pd.DataFrame:
    """Return one row per task: the accuracy of every model, the student's difference and the verdict.

    Parameters
    ----------
    results : DataFrame
        Cells as from `run_tasks`.
    tasks : sequence of Task
        For the published figures.

    Returns
    -------
    DataFrame
        Columns task, one per model (NaN where it does not apply), difference to the tuned baseline with lower, upper
        (t) and bootstrap_lower, bootstrap_upper, n_splits, published (text) and verdict: "gain" only if both intervals
        exclude 0 against the baseline and every control and the difference is material, with the hardest opponent.
    """
    return pd.DataFrame([_row(results[results["task"] == task.name], task) for task in tasks])


def _row(cells: pd.DataFrame, task: Task) -> dict[str, Any]:
    cells = cells[~cells["method"].str.startswith(PATH)]
    table = compare_methods(cells, baseline=BASELINE).set_index("method")
    controls = [control for control in CONTROLS if control in table.index]
    judged = is_gain(cells, student=STUDENT, baseline=BASELINE, controls=controls).iloc[0]
    row: dict[str, Any] = {"task": task.name}
    row |= {method: table["accuracy"].get(method, float("nan")) for method in _COLUMNS}
    intervals = ["difference", "lower", "upper", "bootstrap_lower", "bootstrap_upper", "n_splits"]
    row |= {name: table.loc[STUDENT, name] for name in intervals}
    row["published"] = ", ".join(f"{method} {value:.3g}" for method, value in task.published.items())
    least = row[STUDENT] - max(row[method] for method in (BASELINE, *controls))
    return row | {"verdict": _words(judged, least, task.material)}


def _words(judged: pd.Series, least: float, material: float) -> str:
    """Say the verdict with the number that decided it: the difference to the hardest opponent."""
    verdict = str(judged["verdict"])
    if verdict == "gain" and least < material:
        verdict = f"no material gain (below {material:g})"
    if verdict == "no evidence" and judged[["upper", "bootstrap_upper"]].max() < 0:
        verdict = "no gain, a control is better"
    return f"{verdict}: {judged['difference']:+.4f} against {judged['hardest']}"


def write_report(
    parts: Mapping[str, tuple[Sequence[Task], pd.DataFrame]], out: Path, left_out: Mapping[str, str]
) -> pd.DataFrame:
    """Write results.csv, table.csv, report.md and, with matplotlib, one figure or two per part.

    Parameters
    ----------
    parts : dict of str to (tasks, results)
        Cells of each part that ran.
    out : Path
        An existing folder.
    left_out : dict of str to str
        What did not run, and how to get it.

    Returns
    -------
    DataFrame
        The table of `summarise` over all parts.
    """
    results = pd.concat([cells for _, cells in parts.values()], ignore_index=True)
    results.to_csv(out / "results.csv", index=False)
    table = pd.concat([summarise(cells, tasks) for tasks, cells in parts.values()], ignore_index=True)
    table.to_csv(out / "table.csv", index=False)
    figures = [figure for name, (_, cells) in parts.items() for figure in _draw(name, cells, out)]
    origin = (
        f"pitskd {pitskd.__version__}, seeds {results['seed'].min()} to {results['seed'].max()}, {len(table)} tasks."
    )
    (out / "report.md").write_text(_markdown(table, figures, left_out, origin), encoding="utf-8")
    return table


def _draw(name: str, cells: pd.DataFrame, out: Path) -> list[str]:
    """Draw what a part has to show; without matplotlib nothing."""
    if importlib.util.find_spec("matplotlib") is None:
        return []
    from matplotlib.figure import Figure

    table = compare_methods(cells[~cells["method"].str.startswith(PATH)], baseline=BASELINE)
    shown = ~table["method"].isin([BASELINE, TEACHER])
    figure = Figure(figsize=(9.0, 0.24 * shown.sum() + 1.2), layout="constrained")
    plot_differences(table, ax=figure.subplots())
    figure.savefig(out / f"{name}-differences.png", dpi=120)
    names = [f"{name}-differences.png"]
    paths = [task for task, part in cells.groupby("task", sort=False) if part["method"].str.startswith(PATH).any()]
    if paths:
        figure = Figure(figsize=(4.2 * len(paths), 3.4), layout="constrained")
        for task, ax in zip(paths, figure.subplots(1, len(paths), squeeze=False)[0], strict=True):
            plot_imitation(cells[cells["task"] == task], ax=ax)
        figure.savefig(out / f"{name}-imitation.png", dpi=120)
        names.append(f"{name}-imitation.png")
    return names


def _markdown(table: pd.DataFrame, figures: Sequence[str], left_out: Mapping[str, str], origin: str) -> str:
    lines = [
        "# Does the privileged information help?",
        "",
        "Mean test accuracy. Differences are student minus tuned baseline, paired over the same resamples; in brackets",
        "the 95 % t interval over resamples (conditional on this series), then the two-way bootstrap over resamples",
        "and blocks of test time. *gain* stands only where both intervals exclude zero against the baseline and every",
        "control. The number behind a verdict is the difference to the hardest opponent. A gain can be real and small.",
        "",
        f"{origin} No correction is made for the number of tasks.",
        "",
        *_markdown_table(table),
        "",
    ]
    for what, how in left_out.items():
        lines += [f"**Left out: {what}.** {how}", ""]
    lines += [f"![{figure.removesuffix('.png')}]({figure})\n" for figure in figures]
    return "\n".join(lines)


def _markdown_table(table: pd.DataFrame) -> list[str]:
    heads = [
        "task",
        *_COLUMNS[:-1],
        "teacher (bound)",
        "difference",
        "t interval",
        "bootstrap",
        "n",
        "published",
        "verdict",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in table.to_dict("records"):
        models = [_number(row[method], ".3f") for method in _COLUMNS]
        bounds = [[_number(row[f"{kind}{end}"], "+.4f") for end in ("lower", "upper")] for kind in ("", "bootstrap_")]
        intervals = [f"[{', '.join(pair)}]" for pair in bounds]
        rest = [f"{row['difference']:+.4f}", *intervals, str(row["n_splits"]), row["published"], row["verdict"]]
        lines.append("| " + " | ".join([row["task"], *models, *rest]) + " |")
    return lines


def _number(value: float, form: str) -> str:
    return "-" if pd.isna(value) else format(value, form)
