"""What losses between predictions share: probabilities, targets and shapes of rows whose last axis is classes."""

from __future__ import annotations

import torch
from torch import Tensor

from pitskd._validation import check_choice, check_positive, wrong

__all__: list[str] = []


def log_probabilities(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Return log softmax(logits / temperature); a tensor of temperatures has the shape of rows, and is not checked."""
    if isinstance(temperature, Tensor):
        divisor = temperature[..., None]
    elif check_positive("temperature", temperature, "Use e.g. 2.0; larger is softer.") == 1.0:
        return logits.log_softmax(-1)
    else:
        divisor = temperature
    # Dividing first would round a common offset of the logits by far more than their differences.
    return ((logits - logits.detach().amax(-1, keepdim=True)) / divisor).log_softmax(-1)


def per_temperature(divergence: Tensor, temperature: float | Tensor) -> Tensor:
    """Return rows times the squared temperature."""
    if isinstance(temperature, Tensor):
        return divergence * temperature.square()
    return divergence if temperature == 1.0 else divergence * temperature**2


def cross_entropy(log_p: Tensor, targets: Tensor) -> Tensor:
    """Return -log p of the class of each row, or its mean over the classes' probabilities."""
    if targets.is_floating_point():
        # A class of which target and student are sure that it is not counts 0, not 0 * inf.
        return -torch.where(targets == 0, 0.0, targets * log_p).sum(-1)
    return -log_p.gather(-1, targets.long().expand(log_p.shape[:-1])[..., None]).squeeze(-1)


def one_hot(targets: Tensor, logits: Tensor) -> Tensor:
    """Return targets as probabilities."""
    if targets.is_floating_point():
        return targets.to(logits.dtype)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return (targets[..., None] == classes).to(logits.dtype)


def reduced(rows: Tensor, reduction: str) -> Tensor:
    """Return the mean of rows, or the rows."""
    check_choice("reduction", reduction, ("mean", "none"), 'Use "mean" for a scalar.')
    return rows.mean() if reduction == "mean" else rows


def taught(student: Tensor, teacher: Tensor, name: str, minimum: int = 2) -> Tensor:
    """Return what a teacher says as a constant of the student's precision.

    Logits without a second class are refused, and a teacher that does not broadcast to the student's rows.
    """
    check_classes("student_logits", student, minimum)
    if teacher.shape != student.shape:
        check_rows(name, teacher.shape[:-1], student.shape[:-1], teacher.shape[-1:], student.shape[-1:])
    return teacher.detach().to(student.dtype)


def check_targets(logits: Tensor, targets: Tensor) -> None:
    """Refuse a single class, targets of other rows, and classes that do not exist."""
    check_classes("logits", logits, 2)
    shape = targets.shape
    if targets.is_floating_point():
        check_rows("targets", shape[:-1], logits.shape[:-1], shape[-1:], logits.shape[-1:])
    else:
        check_rows("targets", shape, logits.shape[:-1])
        _check_known(targets, logits.shape[-1])


def _check_known(targets: Tensor, n_classes: int) -> None:
    outside = (targets < 0) | (targets >= n_classes)
    try:
        found = bool(outside.any())
    except RuntimeError:  # under torch.vmap values cannot be looked at
        return
    if found:
        step = "Count classes from 0, and leave out rows without a label."
        raise wrong("targets", f"class indices from 0 to {n_classes - 1}", targets[outside][0].item(), step)


def check_bool(name: str, value: bool) -> bool:
    """Return a switch, True or False."""
    if not isinstance(value, bool):
        raise wrong(name, "True or False", value, "Pass a bool.", TypeError)
    return value


def check_classes(name: str, logits: Tensor, minimum: int) -> None:
    """Refuse a softmax of one."""
    if not logits.ndim or logits.shape[-1] < minimum:
        step = "Give the network one output per class, two for two classes: the softmax of one is always 1."
        raise wrong(name, f"of shape (..., n_classes), n_classes >= {minimum}", f"shape {tuple(logits.shape)}", step)


def check_rows(
    name: str,
    rows: tuple[int, ...],
    expected: tuple[int, ...],
    last: tuple[int, ...] = (),
    needed: tuple[int, ...] = (),
) -> None:
    """Refuse rows that torch would broadcast the wrong way, such as (batch, 1) against (batch,)."""
    fits = last == needed and len(rows) <= len(expected)
    trailing = expected[len(expected) - len(rows) :]
    if not fits or any(given not in (1, size) for given, size in zip(rows, trailing, strict=True)):
        shape = (*expected, *needed)
        raise wrong(name, f"of shape {shape}", f"shape {(*rows, *last)}", "Pass those of the same rows.")
