"""A stack of networks that are nothing but dense layers, with the backward pass written out.

Small networks spend their time between the matrix products, in the bookkeeping of automatic differentiation. For a
chain of ``h_k = act(h_{k-1} W_k' + b_k)`` the gradients are three lines, so that only the loss is left to autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pitskd.models.modules import TimeMajor, flat_rows

__all__: list[str] = []

# Activations in place, and derivatives by their *output* h, so that their input need not be kept.
_ACTIVATION: dict[type, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    nn.ReLU: (torch.relu_, lambda gradient, h: torch.ops.aten.threshold_backward(gradient, h, 0)),
    nn.Tanh: (torch.tanh_, torch.ops.aten.tanh_backward),
    nn.Sigmoid: (torch.sigmoid_, torch.ops.aten.sigmoid_backward),
}


@dataclass(frozen=True, eq=False)
class Dense:
    """A network that flattens its input and is a chain of linear layers from there on."""

    time_first: bool  # whether it flattens as `TimeMajor` does, else as `nn.Flatten`
    layers: list[tuple[str, nn.Module | None]]  # name of a linear layer, and the activation behind it

    @property
    def weights(self) -> set[str]:
        """Names of all weights."""
        return {f"{name}.{part}" for name, _ in self.layers for part in ("weight", "bias")}


class DenseChain:
    """Forward and backward passes of stacked dense networks.

    Parameters
    ----------
    weights : mapping of str to Tensor
        ``(n_networks, ...)`` by the names of the template's parameters.
    gradients : mapping of str to Tensor
        Of the same shapes; written by `backward`.
    network : Dense
        The architecture; see `dense_layers`.
    """

    def __init__(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor], network: Dense) -> None:
        self._time_first = network.time_first
        self._layers = [
            (
                weights[f"{name}.weight"].detach(),
                weights[f"{name}.bias"].detach().unsqueeze(1),
                gradients[f"{name}.weight"],
                gradients[f"{name}.bias"],
                (None, None) if activation is None else _ACTIVATION[type(activation)],
            )
            for name, activation in network.layers
        ]

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the inputs (n_networks, batch, ...), flattened, and every layer's output, the prediction last."""
        outputs = [flat_rows(inputs, axis=2) if self._time_first else inputs.flatten(2)]
        for weight, bias, _, _, (activate, _) in self._layers:
            h = torch.baddbmm(bias, outputs[-1], weight.mT)
            outputs.append(h if activate is None else activate(h))
        return outputs

    def backward(self, outputs: list[Tensor], gradient: Tensor) -> None:
        """Write the gradients of all weights, given that of the prediction (n_networks, batch, n_outputs)."""
        for k in range(len(self._layers) - 1, -1, -1):
            weight, _, of_weight, of_bias, (_, derive) = self._layers[k]
            if derive is not None:
                gradient = derive(gradient, outputs[k + 1])
            torch.bmm(gradient.mT, outputs[k], out=of_weight)
            torch.sum(gradient, 1, out=of_bias)
            if k:
                gradient = torch.bmm(gradient, weight)


def dense_layers(network: nn.Module) -> Dense | None:
    """Return how a network is a chain of linear layers, each with its activation; None if it is not.

    It begins by flattening its input, and has no weights but those of its layers, each of them once.
    """
    leaves = list(_leaves(network))
    if not leaves or not _flattens(leaves[0][1]):
        return None
    layers: list[tuple[str, nn.Module | None]] = []
    for name, module in leaves[1:]:
        if type(module) is nn.Linear and module.bias is not None:
            layers.append((name, None))
        elif type(module) in _ACTIVATION and layers and layers[-1][1] is None:
            layers[-1] = (layers[-1][0], module)
        else:
            return None
    found = Dense(type(leaves[0][1]) is TimeMajor, layers)
    # A layer or a weight that stands twice has one name among the network's and two here.
    return found if layers and found.weights == {name for name, _ in network.named_parameters()} else None


def _flattens(module: nn.Module) -> bool:
    """Tell whether a module flattens all axes behind the batch."""
    return type(module) is TimeMajor or (type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1))


def _leaves(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield names and modules that a tree of `Sequential` runs one after the other; what is no such tree is a leaf."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for name, child in module._modules.items():  # named_children leaves out what comes twice
            if child is not None:
                yield from _leaves(child, f"{prefix}{name}.")
    else:
        yield prefix.removesuffix("."), module
