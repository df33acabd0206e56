"""Which student learns from a file, and from how many of its windows.

The front door compares candidates on windows in memory, so it takes a limited number of them, evenly spaced. Students
whose training needs nothing but sums of products learn from every window, piece by piece.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pitskd._validation import check_choice, wrong
from pitskd.forecasting.asked import MAX_WINDOWS
from pitskd.forecasting.own_file import OwnFile, check_some_left, check_taught, gather, told, total, untaught
from pitskd.forecasting.recipe import RIDGE, as_read
from pitskd.forecasting.tally import Tally
from pitskd.linear._accumulation import learn_from
from pitskd.linear._blocks import TimeBlocks, anchored_path, chain_path, chosen_strength, reading
from pitskd.linear._evidence import Evidence
from pitskd.linear.anchored import AnchoredDistillationClassifierCV, AnchoredDistillationRegressor
from pitskd.linear.chain import ChainDistillationClassifierCV, ChainDistillationRegressor
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge
from pitskd.privileged import PrivilegedClassifier, PrivilegedRegressor
from pitskd.windows import PrivilegedWindows

__all__ = ["STUDENTS", "Learnt", "learn"]

STUDENTS = ("auto", "front-door", "anchored", "chain", RIDGE)
_N_BLOCKS = 5  # of time, by which strengths are chosen
_UNTAUGHT = ("front-door", RIDGE)  # those that need nothing privileged


@dataclass(frozen=True, eq=False)
class Learnt:
    """A student and what it has learnt from.

    Parameters
    ----------
    model : estimator
    student : str
        One of `STUDENTS` but auto.
    n_windows : int
    dropped : dict of str to int
    tally : Tally
    stride : int
    in_memory : bool
        Whether it learnt from windows in memory rather than from sums over parts.
    lines : list of str
        What a person should know of the windows.
    """

    model: Any
    student: str
    n_windows: int
    dropped: dict[str, int]
    tally: Tally
    stride: int
    in_memory: bool
    lines: list[str]


def choose(own_file: OwnFile, student: str) -> str:
    """Return the student for a file; "auto" is the front door where its windows are few enough.

    Raises
    ------
    ValueError
        If there is no such student, or it needs a privileged part and nothing is privileged.
    """
    check_choice("--student", student, STUDENTS, "Leave it out for auto.")
    taught = is_taught(own_file)
    if student == "auto":
        few = _few(own_file) or own_file.options.threshold is not None
        return "front-door" if few else "anchored" if taught else RIDGE
    if not taught and student not in _UNTAUGHT:
        step = "Use --privileged or --privileged-columns to say what the teacher sees."
        raise wrong("--student", f"{' or '.join(_UNTAUGHT)} where nothing is privileged", student, step)
    return student


def is_taught(own_file: OwnFile) -> bool:
    """Tell whether anything is privileged; with a horizon of one row nothing lies in between."""
    options = own_file.options
    return bool(options.privileged_columns) or (options.privileged is not None and options.horizon > 1)


def learn(own_file: OwnFile, student: str, say: Callable[[str], None]) -> Learnt:
    """Learn a student from a file.

    Parameters
    ----------
    own_file : OwnFile
    student : str
        As `choose` returns it.
    say : callable
        Takes a line for the user: what the training warns of.

    Returns
    -------
    Learnt

    Raises
    ------
    ValueError
        If no window is left, or events are all of one class.
    """
    events = own_file.options.threshold is not None
    in_parts = student != "front-door" and not events
    model = _unfitted(student, events, is_taught(own_file))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learnt = _from_all(own_file, model, student) if in_parts else _from_some(own_file, model, student)
    for message in dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, UserWarning)):
        say(f"note: {message}")
    return learnt


def check_two(own_file: OwnFile, n_windows: int) -> None:
    """Refuse a file that has nothing to compare."""
    if n_windows < 2:
        raise wrong(own_file.name, "a file with two whole windows or more", "one", "Record more rows.")


def _few(own_file: OwnFile) -> bool:
    """Tell whether the windows of a file are no more than the front door takes, or as many as were asked for."""
    options = own_file.options
    if options.max_windows is not None:
        return True
    n_windows = 1 + (own_file.n_rows - options.needed) // (options.stride or 1)
    return n_windows <= MAX_WINDOWS


def _unfitted(student: str, events: bool, taught: bool) -> Any:
    candidates = None if taught else "baseline"
    if student == "front-door":
        return PrivilegedClassifier(candidates=candidates) if events else PrivilegedRegressor(candidates=candidates)
    if student == RIDGE:
        return TunedLogisticRegression() if events else TunedRidge()
    if student == "chain":
        return ChainDistillationClassifierCV() if events else ChainDistillationRegressor()
    return AnchoredDistillationClassifierCV() if events else AnchoredDistillationRegressor()


def _lesson(windows: PrivilegedWindows, student: str) -> dict[str, Any]:
    """Return the arguments of `fit`."""
    lesson = {"X": as_read(windows.X, student), "y": windows.y}
    Z = windows.X_privileged
    return lesson if student == RIDGE or Z is None or not Z[0].size else {**lesson, "X_privileged": Z}


def _from_some(own_file: OwnFile, model: Any, student: str) -> Learnt:
    """Fit to evenly spaced windows in memory."""
    gathered = gather(own_file)
    windows = gathered.windows
    check_two(own_file, windows.n_windows)
    if student != RIDGE:
        check_taught(own_file, gathered.tally, windows.n_windows, gathered.n_untaught)
    model.fit(**_lesson(windows, student))
    return Learnt(
        model, student, windows.n_windows, gathered.dropped, gathered.tally, gathered.stride, True, gathered.lines
    )


def _from_all(own_file: OwnFile, model: Any, student: str) -> Learnt:
    """Learn from every window, piece by piece, by a strength that is chosen on blocks of time."""
    options, tally = own_file.options, Tally()
    stride = own_file.stride if options.max_windows is not None else options.stride or 1
    n_windows, n_untaught, dropped = 0, 0, []
    most = 1 + (own_file.n_rows - options.needed) // stride
    blocks = None if student == RIDGE else TimeBlocks(reading(model), most, _N_BLOCKS, stride)
    for piece in own_file.windows(stride=stride, tally=tally):
        dropped.append(piece.dropped)
        if piece.n_windows:
            if blocks is None:
                model.partial_fit(**_lesson(piece, student))
            else:
                blocks.add(piece)
            n_windows += piece.n_windows
            n_untaught += 0 if student == RIDGE else untaught(piece)
    lost = total(dropped)
    check_some_left(own_file, tally, lost, n_windows)
    check_two(own_file, n_windows)
    if student != RIDGE:
        check_taught(own_file, tally, n_windows, n_untaught)
    lines = told(own_file, tally, stride, n_windows, lost, n_untaught)
    if blocks is None:
        lines.append(f"penalty {model.penalty_:g}, chosen by held-out error")
    else:
        lines += _strengthen(model, blocks.blocks)
        learn_from(model, blocks.total)
    return Learnt(model, student, n_windows, lost, tally, stride, False, lines)


def _strengthen(model: Any, blocks: list[Evidence]) -> list[str]:
    """Set the penalty of a chain, or the anchor, by held-out error on blocks of time; return a line about it."""
    if isinstance(model, ChainDistillationRegressor):
        name, strength = "penalty", chosen_strength(blocks, lambda evidence: chain_path(evidence, model.imitation))
    else:
        prior = model.imitation, model.penalty
        name, strength = "anchor", chosen_strength(blocks, lambda evidence: anchored_path(evidence, *prior))
    if strength is None:
        return [f"{name} {getattr(model, name):g}, the default: too few windows to choose by"]
    model.set_params(**{name: strength})
    return [f"{name} {strength:g}, chosen by held-out error on {len(blocks)} blocks of time"]
