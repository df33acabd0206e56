"""All weights of a stack of networks in one vector, and their gradients in another.

An optimiser that works element by element then steps every network at once, in one kernel.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__: list[str] = []

_ALIGNMENT = 16  # numbers between the starts of two weights: matrix products like them on a cache line


class Weights:
    """Weights ``(n_networks, ...)`` by name, as views of one vector.

    Parameters
    ----------
    named : mapping of str to Tensor
        Copied.

    Attributes
    ----------
    flat, grad : Tensor of shape (n_numbers,)
        Each name's block holds the weights of all networks, one network after the other.
    views, gradients : dict of str to Tensor
        Of shape (n_networks, ...).
    """

    def __init__(self, named: Mapping[str, Tensor]) -> None:
        first = next(iter(named.values()))
        self.n_networks = len(first)
        sizes = [-(-value.numel() // _ALIGNMENT) * _ALIGNMENT for value in named.values()]
        self.flat = torch.zeros(sum(sizes), dtype=first.dtype, device=first.device)
        self.grad = torch.zeros_like(self.flat)
        shapes = {name: value.shape for name, value in named.items()}
        self.views = _views(self.flat, shapes, sizes)
        self.gradients = _views(self.grad, shapes, sizes)
        for name, value in named.items():
            self.views[name].copy_(value.detach())

    def like(self, flat: Tensor) -> dict[str, Tensor]:
        """Return another vector of this layout by name."""
        starts = {name: view.storage_offset() for name, view in self.views.items()}
        return {name: flat[starts[name] :][: view.numel()].view_as(view) for name, view in self.views.items()}

    def spread(self, values: Tensor) -> Tensor:
        """Return a vector of this layout that repeats one number (n_networks,) per network."""
        flat = torch.zeros_like(self.flat)
        for part in self.like(flat).values():
            part.copy_(values.view(-1, *[1] * (part.dim() - 1)).expand_as(part))
        return flat

    def norms(self) -> Tensor:
        """Return the norm of each network's gradient, (n_networks,)."""
        squares = [part.reshape(self.n_networks, -1).square().sum(dim=1) for part in self.gradients.values()]
        return torch.stack(squares).sum(dim=0).sqrt()


def _views(flat: Tensor, shapes: Mapping[str, torch.Size], sizes: list[int]) -> dict[str, Tensor]:
    blocks = flat.split(sizes)
    return {
        name: block[: shape.numel()].view(shape) for (name, shape), block in zip(shapes.items(), blocks, strict=True)
    }
