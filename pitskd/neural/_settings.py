"""How a neural student is to be trained: its parameters, checked before any work."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from pitskd._random import seeded
from pitskd._validation import (
    check_choice,
    check_fraction,
    check_integer,
    check_positive,
    is_list,
    wrong,
)
from pitskd.losses.base import DistillationLoss, ResponseLoss
from pitskd.models.networks import MLP
from pitskd.training import Plan, adam

__all__: list[str] = []

_BUILDER = "Use e.g. functools.partial(pitskd.models.MLP, hidden=64)."


def check_training(model: Any) -> None:
    """Refuse wrong parameters of training."""
    step = "Use a positive integer."
    check_integer("max_epochs", model.max_epochs, minimum=1, step=step)
    check_integer("batch_size", model.batch_size, minimum=1, step=step)
    check_integer("patience", model.patience, minimum=1, step=step)
    check_integer("distil_from", model.distil_from, minimum=0, step="Use 0 to distil from the first epoch on.")
    if model.distil_from >= model.max_epochs:
        expected = f"below max_epochs, {model.max_epochs}"
        raise wrong("distil_from", expected, model.distil_from, "Use imitation=0 to learn without a teacher.")
    check_integer("hint_epochs", model.hint_epochs, minimum=0, step="Use 0 for hints beside the targets.")
    check_positive("learning_rate", model.learning_rate, "Use e.g. 0.001.")
    if model.clip is not None:
        check_positive("clip", model.clip, "Use e.g. 1.0, or None.")
    if model.validation is not None:
        check_share("validation", model.validation)
    if not callable(model.schedule):
        check_choice("schedule", model.schedule, (None, "cosine", "plateau"), "Or pass a callable of the epoch.")
    for name in ("optimizer", "augmentation"):
        value = getattr(model, name)
        if value is not None and not callable(value):
            raise wrong(name, "a callable or None", value, "Use e.g. functools.partial(torch.optim.SGD, momentum=0.9).")
    check_optimizer(model.optimizer)
    check_choice("precision", model.precision, ("float32", "float64"), 'Use "float32".')
    check_device(model.device)
    check_hints(model.hints)
    if model.soft_loss is not None and not isinstance(model.soft_loss, ResponseLoss):
        expected = "a response loss of pitskd.losses or None"
        raise wrong("soft_loss", expected, model.soft_loss, "Use e.g. pitskd.losses.SoftTargets().", TypeError)
    if model.hint_epochs and not model.hints:
        raise wrong("hint_epochs", "0 without hints", model.hint_epochs, "Pass hints=[(loss, weight), ...].")


def check_share(name: str, value: Any) -> float:
    """Return a share above 0 and below 1."""
    share = check_fraction(name, value, "Use e.g. 0.2, or None for no validation part.")
    if share in (0.0, 1.0):
        raise wrong(name, "above 0 and below 1, or None", value, "Use e.g. 0.2.")
    return share


def check_optimizer(value: Any) -> None:
    """Refuse what does not make an optimiser that steps every weight by itself, without a closure."""
    if value is None:
        return
    expected = "a callable that makes an element-wise optimiser of torch from (parameters, lr=)"
    step = "Use e.g. functools.partial(torch.optim.SGD, momentum=0.9)."
    try:
        made = value([nn.Parameter(torch.zeros(2))], lr=0.1)
    except (TypeError, ValueError) as error:
        raise wrong("optimizer", expected, f"{_name(value)} ({error})", step) from None
    kind = type(made).__name__
    if not isinstance(made, torch.optim.Optimizer) or kind in ("LBFGS", "Adafactor", "Muon", "SparseAdam"):
        raise wrong("optimizer", expected, f"one of {kind}", step)


def check_device(value: Any) -> None:
    """Refuse a device that is not there."""
    try:
        device = torch.device(value)
        torch.zeros(1, device=device).cpu()  # which "meta" can not
    except (RuntimeError, AssertionError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise wrong("device", "a device of torch that is there", f"{value!r} ({first[:80]})", 'Use "cpu".') from None


def check_hints(hints: Any) -> list[tuple[DistillationLoss, float]]:
    """Return hints as pairs of a loss and its weight."""
    step = 'Use e.g. hints=[(pitskd.losses.FitNetHint("hidden", "hidden"), 1.0)].'
    if not is_list(hints):
        raise wrong("hints", "a list of pairs (loss, weight)", hints, step, TypeError)
    for pair in hints:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], DistillationLoss):
            raise wrong("hints", "a list of pairs (loss, weight)", pair, step, TypeError)
        check_positive("hints", pair[1], "A weight is a finite number above 0.")
    return [(loss, float(weight)) for loss, weight in hints]


def check_builder(name: str, value: Any) -> Any:
    """Return what builds a network; None is an MLP."""
    if value is None:
        return MLP
    if isinstance(value, nn.Module) or hasattr(value, "fit") or not callable(value):
        expected = "a builder of networks or None"
        raise wrong(name, expected, type(value).__name__ if not callable(value) else value, _BUILDER, TypeError)
    return value


def sizes_of(shape: tuple[int, ...], n_outputs: int) -> dict[str, int]:
    """Return what builders are told, of windows (window, n_channels) or columns (d,)."""
    length, n_channels = shape if len(shape) == 2 else (1, shape[0])
    return {"n_channels": n_channels, "length": length, "n_outputs": n_outputs}


def build(name: str, builder: Any, sizes: dict[str, int], seed: int) -> nn.Module:
    """Return a fresh network, checked on two rows."""
    with seeded(seed):
        try:
            network = builder(**sizes)
        except TypeError as error:
            takes = "a builder that takes n_channels, length and n_outputs"
            raise wrong(name, takes, f"{_name(builder)} ({error})", _BUILDER, TypeError) from None
        if not isinstance(network, nn.Module):
            raise wrong(name, "a builder of torch modules", f"one of {type(network).__name__}", _BUILDER, TypeError)
        check_outputs(name, network, builder, sizes)
    if not any(weights.requires_grad for weights in network.parameters()):
        raise wrong(name, "a builder of networks with weights to train", f"{_name(builder)} without any", _BUILDER)
    return network


def check_outputs(name: str, network: nn.Module, builder: Any, sizes: dict[str, int]) -> None:
    """Refuse a network that does not turn windows into one row of outputs each."""
    network.eval()
    example = example_of(network, sizes)
    try:
        with torch.no_grad():
            said = network(example)
    except Exception as error:  # whatever goes wrong in code that is not ours
        expected = f"a network of windows (batch, {sizes['n_channels']}, {sizes['length']})"
        first = f"{type(error).__name__} {error}".splitlines()[0][:120]
        raise wrong(name, expected, f"{_name(builder)}, which fails: {first}", "Compare its sizes.") from None
    shape = tuple(said.shape) if torch.is_tensor(said) else type(said).__name__
    if shape != (2, sizes["n_outputs"]):
        expected = f"a network with {sizes['n_outputs']} outputs per window"
        raise wrong(name, expected, f"{_name(builder)} with outputs {shape}", "Use n_outputs in the builder.")


def example_of(network: nn.Module, sizes: dict[str, int]) -> torch.Tensor:
    """Return two windows of zeros where a network is, and of its precision."""
    like = next(network.parameters(), torch.zeros(0))
    return like.detach().new_zeros(2, sizes["n_channels"], sizes["length"])


def check_augmentation(augmentation: Any, windows: torch.Tensor) -> None:
    """Refuse what gives other windows than it gets."""
    if augmentation is None:
        return
    given = augmentation(windows.clone(), torch.Generator(device=windows.device).manual_seed(0))
    if not torch.is_tensor(given) or given.shape != windows.shape:
        expected = f"a callable that returns windows of the shape it gets, {tuple(windows.shape)}"
        got = f"one that returns {tuple(given.shape) if torch.is_tensor(given) else type(given).__name__}"
        raise wrong("augmentation", expected, got, "Use e.g. lambda windows, generator: windows.flip(2).")


def _name(builder: Any) -> str:
    inner = builder.func if isinstance(builder, functools.partial) else builder
    return getattr(inner, "__name__", type(inner).__name__)


def plan_of(models: list[Any]) -> Plan:
    """Return how students that share all but their learning rate are trained."""
    first = models[0]
    return Plan(
        [float(model.learning_rate) for model in models],
        adam if first.optimizer is None else first.optimizer,
        max_epochs=first.max_epochs,
        batch_size=first.batch_size,
        schedule=first.schedule,
        clip=first.clip,
        patience=first.patience,
        distil_from=first.distil_from,
        hints_alone=first.hint_epochs,
        augmentation=first.augmentation,
    )
