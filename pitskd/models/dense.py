"""A stack of networks that are nothing but dense layers, with the backward pass written out.

Small networks spend their time between the matrix products, in the bookkeeping of automatic differentiation. For a
chain of ``h_k = act(h_{k-1} W_k' + b_k)`` the gradients are three lines, so that only the loss is left to autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__: list[str] = []

# Activations in place, and derivatives by their *output* h, so that their input need not be kept.
_ACTIVATION: dict[type, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    nn.ReLU: (torch.relu_, lambda gradient, h: torch.ops.aten.threshold_backward(gradient, h, 0)),
    nn.Tanh: (torch.tanh_, torch.ops.aten.tanh_backward),
    nn.Sigmoid: (torch.sigmoid_, torch.ops.aten.sigmoid_backward),
}


class DenseChain:
    """Forward and backward passes of stacked dense networks.

    Parameters
    ----------
    weights : mapping of str to Tensor
        ``(n_networks, ...)`` by the names of the template's parameters.
    gradients : mapping of str to Tensor
        Of the same shapes; written by `backward`.
    layers : list of pairs
        Name of a linear layer and the activation behind it, or None; see `dense_layers`.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        layers: list[tuple[str, nn.Module | None]],
    ) -> None:
        self._layers = [
            (
                weights[f"{name}.weight"].detach(),
                weights[f"{name}.bias"].detach().unsqueeze(1),
                gradients[f"{name}.weight"],
                gradients[f"{name}.bias"],
                (None, None) if activation is None else _ACTIVATION[type(activation)],
            )
            for name, activation in layers
        ]

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the inputs (n_networks, batch, n_features) and every layer's output, the prediction last."""
        outputs = [inputs]
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


def dense_layers(network: nn.Module) -> list[tuple[str, nn.Module | None]] | None:
    """Return the linear layers of a network that is a chain of them, each with its activation; None if it is not.

    The network may begin by flattening its input.
    """
    leaves = list(_leaves(network))
    if leaves and type(leaves[0][1]) is nn.Flatten and leaves[0][1].start_dim == 1:
        leaves = leaves[1:]
    layers: list[tuple[str, nn.Module | None]] = []
    for name, module in leaves:
        if type(module) is nn.Linear and module.bias is not None:
            layers.append((name, None))
        elif type(module) in _ACTIVATION and layers and layers[-1][1] is None:
            layers[-1] = (layers[-1][0], module)
        else:
            return None
    return layers or None


def _leaves(module: nn.Module, prefix: str = "") -> Any:
    """Yield names and modules that a tree of `Sequential` runs one after the other; what is no such tree is a leaf."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for name, child in module._modules.items():  # named_children leaves out what comes twice
            if child is not None:
                yield from _leaves(child, f"{prefix}{name}.")
    else:
        yield prefix.removesuffix("."), module
