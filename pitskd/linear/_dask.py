"""Sums over blocks of dask arrays, made where the blocks lie and joined pairwise: a map and a reduce, any scheduler.

Every task is a pure function of its block, so that a worker that dies costs the time of its tasks and nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from pitskd._validation import wrong

__all__: list[str] = []

_FAN_IN = 8  # sums joined by one task


def is_dask(values: Any) -> bool:
    """Tell whether values are a collection of dask, without importing it."""
    return type(values).__module__.split(".")[0] in ("dask", "dask_expr")


def summed(model: Any, given: Mapping[str, Any]) -> Any:
    """Return what the rows of dask arrays add up to for a model with ``_evidence(X, y, X_privileged, sample_weight)``.

    Parameters
    ----------
    model : estimator
        Unfitted.
    given : mapping
        X, y and what else there is, as dask arrays; None where there is nothing.
    """
    dask: Any = importlib.import_module("dask")
    lengths, blocks = _aligned(given)
    add_up = dask.delayed(_block_evidence, pure=True)
    rows = zip(lengths, np.cumsum([0, *lengths]), zip(*blocks, strict=True), strict=False)
    parts = [add_up(model, int(start), *block) for n_rows, start, block in rows if n_rows]
    return _joined(parts).compute()


def _aligned(given: Mapping[str, Any]) -> tuple[tuple[int, ...], list[list[Any]]]:
    """Return the lengths of the blocks of X, and of every array its delayed blocks, cut at the same rows."""
    for name in ("X", "y"):
        if given[name] is None:
            raise wrong(name, "a dask array, as the others are", None, "Pass inputs and targets.")
    present = {name: values for name, values in given.items() if values is not None}
    for name, values in present.items():
        _check_array(name, values)
    X = present["X"]
    for name, values in present.items():
        if values.shape[0] != X.shape[0]:
            expected = f"of {X.shape[0]} rows, as many as X"
            raise wrong(name, expected, f"{values.shape[0]}", "Pass the rows of the same windows.")
    rows, blocks = X.chunks[0], []
    for values in given.values():
        if values is None:
            blocks.append([None] * len(rows))
        else:
            whole = values.rechunk({0: rows, **dict.fromkeys(range(1, values.ndim), -1)})
            # Unoptimised, so that what arrays share, a file that is read, say, stays one task for all of them.
            blocks.append(whole.to_delayed(optimize_graph=False).ravel().tolist())
    return rows, blocks


def _joined(parts: Sequence[Any]) -> Any:
    """Return the delayed sum of delayed parts, joined in a tree whose shape depends on their number alone."""
    dask: Any = importlib.import_module("dask")
    together = dask.delayed(_join, pure=True)
    while len(parts) > 1:
        parts = [together(list(parts[start : start + _FAN_IN])) for start in range(0, len(parts), _FAN_IN)]
    return parts[0]


def _check_array(name: str, values: Any) -> None:
    kind = f"{type(values).__module__.split('.')[0]} {type(values).__name__}"
    if not is_dask(values):
        raise wrong(name, "a dask array, as the others are", kind, "Use dask.array.from_array.", TypeError)
    if not type(values).__module__.startswith("dask.array"):
        step = f"Use {name}.to_dask_array(lengths=True), or dask.array.from_delayed."
        raise wrong(name, "a dask array", kind, step, TypeError)
    if any(np.isnan(length) for length in values.chunks[0]):
        raise wrong(name, "of known length", "blocks of unknown length", f"Call {name}.compute_chunk_sizes() first.")
    if not values.shape[0]:
        raise wrong(name, "of at least one row", "none", "Pass more rows.")


def _block_evidence(model: Any, start: int, X: Any, y: Any, X_privileged: Any, sample_weight: Any) -> Any:
    """Return the sums of one block; an error says where it lies."""
    try:
        return clone(model)._evidence(X, y, X_privileged, sample_weight)  # threads share the model of a task
    except (ValueError, TypeError) as error:
        raise type(error)(f"{error} (In the block that starts at row {start}.)") from None


def _join(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total.merged(part)
    return total
