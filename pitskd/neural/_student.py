"""A trained network with the scales of its inputs and outputs: numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn

from pitskd._random import seeded
from pitskd._validation import wrong
from pitskd.models.taps import tapped

__all__: list[str] = []

_AT_ONCE = 4096  # rows per forward pass
_STEP = "Use a builder that builds the same network again, or pickle."


@dataclass(frozen=True, eq=False)
class Scale:
    """What brings values to mean 0 and deviation 1 along their last axis; what stands still keeps its unit."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """Learn from rows (..., n)."""
        axes = tuple(range(values.ndim - 1))
        mean, deviation = values.mean(axis=axes), values.std(axis=axes)
        still = deviation <= 1e-12 * np.abs(values).max(axis=axes, initial=0.0)
        return cls(mean, np.where(still, 1.0, deviation))

    @classmethod
    def none(cls, n: int) -> Scale:
        """Change nothing."""
        return cls(np.zeros(n), np.ones(n))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return scaled values."""
        return (values - self.mean) / self.deviation

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Return values in their unit."""
        return values * self.deviation + self.mean


def steps(flat: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return flat rows as (n, length, n_channels); columns without a time are one step."""
    return flat.reshape(len(flat), *(shape if len(shape) == 2 else (1, flat.shape[1])))


def channels_first(values: np.ndarray, dtype: torch.dtype, device: Any) -> Tensor:
    """Return (n, length, n_channels) as a tensor (n, n_channels, length)."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 2, 1), dtype=kind)).to(device)


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode; every part of it is left in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class NetworkStudent:
    """A trained network that predicts from flat rows, windows flattened time-major.

    Attributes
    ----------
    network : torch.nn.Module
        In evaluation mode.
    history : list of dict
        One per epoch.
    best_epoch : int
    ended : "epochs", "patience", "diverged" or "interrupted"
    classes_ : ndarray or None
    n_features_in_ : int
    """

    network: nn.Module

    def __init__(
        self,
        network: nn.Module,
        builder: Callable[..., nn.Module] | None,
        sizes: dict[str, int],
        shape: tuple[int, ...],
        inputs: Scale,
        outputs: Scale,
        *,
        classes: np.ndarray | None = None,
        quantiles: tuple[float, ...] | None = None,
        one_target: bool = True,
    ) -> None:
        self.network, self.builder, self.sizes, self.shape = network, builder, sizes, shape
        self.inputs, self.outputs = inputs, outputs
        self.classes_, self.quantiles, self.one_target = classes, quantiles, one_target
        self.n_features_in_ = int(np.prod(shape))
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.ended = 0, "epochs"

    @property
    def parameter(self) -> Tensor:
        """Any weight: it tells the device and the precision."""
        return next(self.network.parameters(), torch.zeros(0))

    def tensor(self, X: np.ndarray) -> Tensor:
        """Return flat rows as the network takes them."""
        scaled = self.inputs.apply(steps(np.asarray(X, dtype=np.float64), self.shape))
        return channels_first(scaled, self.parameter.dtype, self.parameter.device)

    def raw(self, X: np.ndarray) -> np.ndarray:
        """Return what the network says of flat rows, (n, n_outputs): logits, or values in their unit."""
        said, _ = self.look(X, ())
        return self.outputs.undo(said.cpu().double().numpy())  # some devices know no double precision

    @torch.no_grad()
    def look(self, X: np.ndarray, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return outputs as the network gives them, and the features of layers; its mode is left as it was."""
        parts: list[tuple[Tensor, dict[str, Tensor]]] = []
        with at_rest(self.network):
            for start in range(0, max(len(X), 1), _AT_ONCE):
                with tapped(self.network, layers) as features:
                    said = self.network(self.tensor(X[start : start + _AT_ONCE]))
                parts.append((said, dict(features)))
        seen = {name: torch.cat([features[name] for _, features in parts]) for name in layers}
        return torch.cat([said for said, _ in parts]), seen

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return values (n,) or (n, n_targets), or labels."""
        if self.classes_ is not None:
            return self.classes_[self.raw(X).argmax(axis=1)]
        values = self.raw(X)
        if self.quantiles is not None:
            middle = int(np.argmin(np.abs(np.asarray(self.quantiles) - 0.5)))
            values = self._quantiles(values)[..., middle]
        return values[:, 0] if self.one_target else values

    def predict_quantiles(self, X: np.ndarray) -> np.ndarray:
        """Return (n, n_quantiles) or (n, n_targets, n_quantiles), sorted along the last axis."""
        values = self._quantiles(self.raw(X))
        return values[:, 0] if self.one_target else values

    def _quantiles(self, values: np.ndarray) -> np.ndarray:
        assert self.quantiles is not None
        order = np.argsort(np.argsort(self.quantiles))  # levels may be given in any order
        return np.sort(values.reshape(len(values), -1, len(self.quantiles)), axis=2)[..., order]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities of the classes, (n, n_classes)."""
        return softmax(self.raw(X), axis=1)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return logits (n, n_classes); for two classes their difference (n,)."""
        logits = self.raw(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def copied(self) -> nn.Module:
        """Return a copy of the network."""
        return deepcopy(self.network)

    def __getstate__(self) -> dict[str, Any]:
        """Hold the network as it is, on the CPU: a pickle may be read where there is no other device."""
        state = dict(self.__dict__)
        if (device := self.parameter.device).type != "cpu":
            state |= {"network": self.copied().cpu(), "device": str(device)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go back to the device, where there is one."""
        state = dict(state)
        device = state.pop("device", "cpu")
        self.__dict__.update(state)
        if device != "cpu" and _is_there(device):
            self.network.to(device)

    def for_file(self) -> StudentArrays | None:
        """Return what a model file holds; None for a network that nothing is known to build."""
        return None if self.builder is None else StudentArrays(self)


def _is_there(device: str) -> bool:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        return False
    return True


class StudentArrays:
    """A student as a model file holds it: the arrays of its network, and what builds it.

    Whatever else a network holds, as layers that were changed or that its builder draws, is not in the file; such a
    student is refused when it is written.
    """

    def __init__(self, student: NetworkStudent) -> None:
        self.attributes = {name: value for name, value in vars(student).items() if name not in ("network", "builder")}
        self.builder, self.precision = student.builder, str(student.parameter.dtype).removeprefix("torch.")
        self.arrays = {name: part.detach().cpu().numpy() for name, part in _parts(student.network).items()}
        self.frozen = [name for name, part in student.network.named_parameters() if not part.requires_grad]
        self.device = str(student.parameter.device)
        self._check(student)

    def _check(self, student: NetworkStudent) -> None:
        """Refuse a network that would not come back as it is."""
        again = self.from_file()
        width = student.n_features_in_
        example = np.sin(np.arange(3.0 * width)).reshape(3, width)  # any rows that differ
        rows = student.inputs.undo(steps(example, student.shape)).reshape(3, width)
        one, other = again.raw(rows), student.raw(rows)
        if not np.allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max(), equal_nan=True):
            raise wrong("student", "what its builder and weights tell", "a network that says something else", _STEP)

    def from_file(self) -> NetworkStudent:
        """Build the network anew and give it its arrays."""
        builder: Any = self.builder
        if isinstance(builder, type) and not issubclass(builder, nn.Module):
            # A file made by hand may name any class, and building it would run its code.
            expected = "a builder of networks"
            raise wrong("student", expected, builder.__qualname__, "Pass what was pickled or saved.", TypeError)
        with seeded(0):
            network = builder(**self.attributes["sizes"])
        network.to(self.device if _is_there(self.device) else "cpu", getattr(torch, self.precision))
        parts = _parts(network)
        if {name: tuple(part.shape) for name, part in parts.items()} != {
            name: np.shape(values) for name, values in self.arrays.items()
        }:
            raise wrong("student", "what its builder builds", "a network with other weights", _STEP)
        with torch.no_grad():
            for name, part in parts.items():
                part.copy_(torch.from_numpy(np.array(self.arrays[name])))
        for name, part in network.named_parameters():
            part.requires_grad_(name not in self.frozen)
        student = NetworkStudent.__new__(NetworkStudent)
        vars(student).update(self.attributes, network=network.eval(), builder=builder)
        return student


def _parts(network: nn.Module) -> dict[str, Tensor]:
    """Return weights and buffers, those too that `state_dict` leaves out."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
