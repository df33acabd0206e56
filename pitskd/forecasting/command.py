"""What `pitskd fit` and `pitskd predict` do: everything that can be wrong is found before a file appears."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pitskd._files import check_readable, check_writable
from pitskd._validation import wrong
from pitskd.forecasting._tables import STANDARD_OUTPUT, check_out, written
from pitskd.forecasting.asked import WindowOptions
from pitskd.forecasting.learning import Learnt, choose, is_taught, learn
from pitskd.forecasting.own_file import TARGET_ALONE, OwnFile, open_file
from pitskd.forecasting.predicting import open_new
from pitskd.forecasting.recipe import RIDGE, Recipe, load_forecaster
from pitskd.persistence import save

__all__: list[str] = []

_FILE, _MODEL = "FILE", "MODEL"  # arguments of the commands
_SHOWN = {
    "front-door": "the front door, which combines the candidates that distil",
    "anchored": "anchored to the chain through the middle",
    "chain": "the chain through the middle",
}
Say = Callable[[str], None]


@dataclass(frozen=True)
class FitPlan:
    """What `pitskd fit` is asked for."""

    file: Path
    options: WindowOptions
    model: Path
    student: str = "auto"


@dataclass(frozen=True)
class PredictPlan:
    """What `pitskd predict` is asked for."""

    model: Path
    file: Path
    out: str
    every: bool = False
    time: str | None = None
    group: str | None = None


def fit(plan: FitPlan, say: Say) -> None:
    """Learn a student from a file and save it.

    Parameters
    ----------
    plan : FitPlan
    say : callable
        Takes a line for the user.

    Raises
    ------
    ValueError, TypeError
        If anything asked for is wrong; nothing has been written then.
    """
    check_writable("--model", plan.model)
    check_apart("--model", plan.model, {_FILE: plan.file})
    own_file = open_file(_FILE, plan.file, plan.options)
    student = choose(own_file, plan.student)
    for name, reason in own_file.parts.left_out.items():
        say(f"column {name!r} left out: {reason}")
    learnt = learn(own_file, student, say)
    for line in [*_about_windows(learnt), *_summary(own_file, learnt)]:
        say(line)
    save(learnt.model, plan.model, notes=_recipe(own_file, learnt).notes)
    say(f"model saved: {plan.model}")
    say("how good it is, and whether the privileged part helps: pitskd report, with the same options")


def predict(plan: PredictPlan, say: Say) -> None:
    """Write the forecasts of a saved student for a new file.

    Parameters
    ----------
    plan : PredictPlan
    say : callable
        Takes a line for the user.

    Raises
    ------
    ValueError, TypeError
        If anything asked for is wrong; nothing has been written then.
    """
    check_out("--out", plan.out)
    if plan.out != STANDARD_OUTPUT:
        check_apart("--out", Path(plan.out), {_FILE: plan.file, _MODEL: plan.model})
    check_readable(_FILE, plan.file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forecaster = load_forecaster(_MODEL, plan.model)
    for warning in caught:
        say(f"warning: {warning.message}")
    new = open_new(_FILE, plan.file, forecaster, time=plan.time, group=plan.group, every=plan.every)
    recipe = forecaster.recipe
    units = {recipe.name: recipe.units[recipe.target]} if recipe.target in recipe.units else {}
    with written(plan.out, units if recipe.threshold is None else {}) as writer:
        for table in new.forecasts():
            writer.add(table)
    for line in new.lines:
        say(line)
    if plan.out != STANDARD_OUTPUT:
        say(f"forecasts written: {plan.out}")


def check_apart(name: str, path: Path, sources: dict[str, Path]) -> None:
    """Refuse to write over what is read."""
    for source, given in sources.items():
        if path.resolve() == given.resolve():
            raise wrong(name, f"another file than {source}", str(path), "Choose another place.")


def _summary(own_file: OwnFile, learnt: Learnt) -> list[str]:
    """Return what was learnt, for people."""
    options, units = own_file.options, own_file.units
    event = "" if options.threshold is None else f" above {options.threshold:g}"
    spread = "" if learnt.in_memory else ", by sums over every window"
    lines = [
        f"inputs: {_listed(own_file.feature_names, units)}, the last {_counted(options.window).removeprefix('1 ')}; "
        f"target: {_listed([options.target], units)}{event}, {_counted(options.horizon)} ahead; "
        f"privileged: {_privileged(own_file, learnt.student)}",
        f"student: {_student(own_file, learnt.student)}{spread} ({type(learnt.model).__name__})",
    ]
    loss = getattr(learnt.model, "loss_", math.nan)
    if math.isfinite(loss):
        kind = "mean squared error" if options.threshold is None else "log-loss"
        lines.append(f"held-out {kind} inside the training: {loss:.4g}")
    return lines


def _about_windows(learnt: Learnt) -> list[str]:
    """Return what a person should know of the windows; a student that nobody teaches has no privileged part."""
    alone = learnt.student == RIDGE
    return [line for line in learnt.lines if not (alone and line.endswith(TARGET_ALONE))]


def _privileged(own_file: OwnFile, student: str) -> str:
    """Return what the teacher saw, for people."""
    if student == RIDGE and is_taught(own_file):
        return "nothing, as this student learns without"
    middle = [step for step in own_file.privileged_steps if step > 0]
    between = f"rows ahead: {_spelt(middle)}" if middle else ""
    columns = _listed(own_file.options.privileged_columns, own_file.units)
    return "; ".join(part for part in (columns, between) if part) or "nothing"


def _student(own_file: OwnFile, student: str) -> str:
    """Return what the student is, for people."""
    if student == RIDGE:
        kind = "ridge" if own_file.options.threshold is None else "logistic"
        return f"{kind} regression without privileged data"
    if not is_taught(own_file):
        return "the tuned baseline of the front door, as nothing is privileged"
    return _SHOWN[student]


def _counted(number: int) -> str:
    return f"{number} row{'' if number == 1 else 's'}"


def _spelt(steps: list[int]) -> str:
    """Return ascending steps for people."""
    whole = steps == list(range(steps[0], steps[-1] + 1)) and len(steps) > 2
    return f"{steps[0]} to {steps[-1]}" if whole else ", ".join(map(str, steps))


def _listed(names: Any, units: dict[str, str]) -> str:
    return ", ".join(name if units.get(name, "") in name else f"{name} [{units[name]}]" for name in names)


def _recipe(own_file: OwnFile, learnt: Learnt) -> Recipe:
    options, parts, clock = own_file.options, own_file.parts, learnt.tally.clock
    return Recipe(
        target=options.target, window=options.window, horizon=options.horizon, threshold=options.threshold,
        columns=list(own_file.feature_names), privileged_columns=list(options.privileged_columns),
        privileged_steps=list(own_file.privileged_steps), time=parts.time, group=options.group,
        max_gap=None if own_file.max_gap is None else str(own_file.max_gap),
        clock=clock.kind, aware=clock.aware, period=clock.period,
        calendar=clock.calendar, calendar_step=clock.calendar_step, even=clock.even, shifts=clock.shifts,
        ranges={name: list(pair) for name, pair in learnt.tally.ranges(own_file.feature_names).items()},
        units={name: own_file.units[name] for name in parts.names if name in own_file.units},
        student=learnt.student, rows=own_file.n_rows, windows=learnt.n_windows, stride=learnt.stride,
        dropped=learnt.dropped, file=own_file.path.name,
    )  # fmt: skip
