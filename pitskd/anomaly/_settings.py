"""What a detector may be asked: every wrong parameter is refused before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pitskd._validation import (
    check_choice,
    check_fraction,
    check_integer,
    check_model,
    check_positive,
    is_list,
    wrong,
)

__all__: list[str] = []


def check_settings(detector: Any) -> tuple[int, ...]:
    """Refuse wrong parameters; return the horizons, ascending."""
    check_model("student", detector.student, "regressor")
    horizons = _check_horizons(detector.horizons)
    if detector.n_lags is not None:
        check_integer("n_lags", detector.n_lags, minimum=1, step="Use None to choose it by held-out likelihood.")
    check_choice("isolation_forest", detector.isolation_forest, (True, False), "Use True to ask a forest too.")
    for name in ("smoothing", "alarm_after", "clear_after"):
        check_integer(name, getattr(detector, name), minimum=1, step="Use 1 for none.")
    _check_open_share("memory", detector.memory, "Use e.g. 0.3, or None for no moving average.")
    _check_rate(detector)
    step = 'Use "pot" to reach beyond the held-out rows.'
    check_choice("calibration", detector.calibration, ("pot", "conformal"), step)
    _check_open_share("calibration_size", detector.calibration_size, "Use e.g. 0.3, or None for blocks.")
    if detector.drift is not None:
        check_integer("drift", detector.drift, minimum=2, step="Use e.g. 150 rows, or None for a level that stays.")
    if detector.patience is not None:
        check_integer("patience", detector.patience, minimum=1, step="Use None to wait forever.")
    step = 'Use "marginal" to score what is observed.'
    check_choice("missing", detector.missing, ("marginal", "flag", "raise"), step)
    check_fraction("adaptation", detector.adaptation, "Use a small number such as 0.001.")
    _check_purpose(detector)
    return horizons


def _check_horizons(given: Any) -> tuple[int, ...]:
    step = "Use e.g. 1 or (1, 5, 20)."
    listed = given if is_list(given) else [given]
    horizons = {check_integer("horizons", horizon, minimum=1, step=step) for horizon in listed}
    if not horizons:
        raise wrong("horizons", "one or several integers of at least 1", given, step)
    return tuple(sorted(horizons))


def _check_open_share(name: str, value: Any, step: str) -> None:
    if value is not None and not 0.0 < check_fraction(name, value, step) < 1.0:
        raise wrong(name, "above 0 and below 1", value, step)


def _check_rate(detector: Any) -> None:
    if detector.false_alarms_per_day is not None:
        step = "Use e.g. 1, or None for a share of rows."
        check_positive("false_alarms_per_day", detector.false_alarms_per_day, step)
    elif detector.false_alarm_rate is None:
        raise wrong("false_alarm_rate", "a number between 0 and 1", None, "Use e.g. 0.01, or false_alarms_per_day.")
    else:
        _check_open_share("false_alarm_rate", detector.false_alarm_rate, "Use e.g. 0.01.")
    if detector.period is not None:
        seconds_of(detector.period)


def seconds_of(period: Any) -> float:
    """Return the time between rows in seconds, given as a number of them or a text."""
    step = 'Use e.g. 1 for a second or "3min".'
    if isinstance(period, int | float | np.integer | np.floating) and not isinstance(period, bool | np.timedelta64):
        return check_positive("period", period, step)
    try:
        seconds = pd.Timedelta(period) / pd.Timedelta("1s")
    except (ValueError, TypeError):
        seconds = np.nan
    if not seconds > 0:
        raise wrong("period", "a time above 0", period, step)
    return float(seconds)


def _check_purpose(detector: Any) -> None:
    """Refuse contradictions between curation and target."""
    step = 'Use "privileged" to let all sensors choose, "self" for those that stay.'
    check_choice("curate", detector.curate, (None, "privileged", "self"), step)
    if detector.contamination is not None:
        step = "Use the share of rows that were not normal, or None if it is not known."
        if detector.curate is None:
            raise wrong("contamination", "None without curate", detector.contamination, 'Use curate="privileged".')
        if not 0.0 < check_fraction("contamination", detector.contamination, step) <= 0.5:
            raise wrong("contamination", "above 0 and at most 0.5", detector.contamination, step)
    if detector.target is None:
        return
    step = 'Use e.g. {"purity": (95.0, None)}: names of X_privileged with lower and upper limits.'
    if not isinstance(detector.target, Mapping) or not detector.target:
        raise wrong("target", "a mapping of privileged columns to limits", detector.target, step, TypeError)
    for name in ("curate", "calibration_size", "student", "n_lags"):
        if getattr(detector, name) is not None:
            step = "The limits say which rows are normal, and a soft sensor is the student."
            raise wrong(name, "None with a target", getattr(detector, name), step)
    for name, unset in (("isolation_forest", False), ("horizons", (1,))):
        given = getattr(detector, name)
        if (given if name == "isolation_forest" else _check_horizons(given)) != unset:
            step = "A soft sensor of the present row and a forest of its own give the score."
            raise wrong(name, f"{unset} with a target", given, step)


def read_limits(target: Mapping[Any, Any], names: Any, n_columns: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Return positions of the limited columns, and their limits; infinite where there is none."""
    known = list(range(n_columns)) if names is None else list(names)
    columns, limits = [], []
    for name, pair in target.items():
        if isinstance(name, bool) or name not in known:
            raise wrong("target", "columns of X_privileged", repr(name), f"It has: {', '.join(map(repr, known))}.")
        columns.append(known.index(name))
        limits.append(_limits(name, pair))
    low, high = np.array(limits, dtype=np.float64).T
    return columns, low, high


def _limits(name: Any, pair: Any) -> tuple[float, float]:
    """Return lower and upper limit of one column."""
    step = "Use e.g. (0.5, 1.5), (None, 1.5) or (0.5, None)."
    if not is_list(pair) or len(pair) != 2 or not all(limit is None or _is_limit(limit) for limit in pair):
        raise wrong(f"target[{name!r}]", "a pair of limits", pair, step)
    low, high = (-np.inf if pair[0] is None else float(pair[0])), (np.inf if pair[1] is None else float(pair[1]))
    if not low < high or (low == -np.inf and high == np.inf):
        raise wrong(f"target[{name!r}]", "a lower limit below an upper one, one of them given", pair, step)
    return low, high


def _is_limit(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool) and value == value
