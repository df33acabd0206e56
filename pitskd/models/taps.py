"""The only hooks: what a named layer gave during a forward pass is read here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from pitskd._validation import shorten, wrong

__all__ = ["check_layers", "layer_names", "tapped"]


def layer_names(network: nn.Module) -> list[str]:
    """Return the names of all layers of a network, sorted: those of ``network.named_modules()`` but itself.

    Parameters
    ----------
    network : torch.nn.Module

    Returns
    -------
    names : list of str

    Examples
    --------
    >>> from torch import nn
    >>> layer_names(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    ['0', '1']
    """
    return sorted(name for name, _ in network.named_modules() if name)


def check_layers(name: str, network: nn.Module, layers: Iterable[str]) -> tuple[str, ...]:
    """Return ``layers`` as a tuple if the network has them all.

    Parameters
    ----------
    name : str
        The argument that named the layers, as the user typed it.
    network : torch.nn.Module
    layers : iterable of str
        Names as in ``network.named_modules()``.

    Returns
    -------
    layers : tuple of str

    Raises
    ------
    TypeError
        If a name is no string, or there is no list of names.
    ValueError
        If the network has no layer of a name; the message lists those it has.

    Examples
    --------
    >>> from torch import nn
    >>> check_layers("student_layer", nn.Sequential(nn.Linear(3, 2)), ["encoder"])
    Traceback (most recent call last):
    ...
    ValueError: student_layer must be the name of a layer, got encoder. Sequential has no layer 'encoder'. It has: '0'.
    """
    if not isinstance(layers, Iterable):
        raise wrong(name, "names of layers", layers, "Pass a list of strings, or () for none.", TypeError)
    layers = (layers,) if isinstance(layers, str) else tuple(layers)
    known = layer_names(network)
    for layer in layers:
        if not isinstance(layer, str):
            raise wrong(name, "the name of a layer", layer, f"Pass a string such as {_listed(known[:1])}.", TypeError)
        if layer not in known:
            has = f"It has: {_listed(known)}." if known else "It has none."
            step = f"{type(network).__name__} has no layer {layer!r}. {has}"
            raise wrong(name, "the name of a layer", shorten(layer), step)
    return layers


def works_in_place(network: nn.Module) -> bool:
    """Tell whether a module says of itself that it overwrites its input, as ``nn.ReLU(inplace=True)`` does."""
    return any(getattr(module, "inplace", False) for module in network.modules())


class Collected:
    """What named layers gave, and whether it is still that.

    Parameters
    ----------
    copies : bool
        Whether copies are kept, which nothing behind a layer can overwrite.

    Attributes
    ----------
    features : dict of str to Tensor
    """

    def __init__(self, *, copies: bool) -> None:
        self.features: dict[str, Tensor] = {}
        self._copies = copies
        self._versions: dict[str, int] = {}

    def add(self, layer: str, output: Tensor) -> None:
        """Keep what a layer gave."""
        self.features[layer] = output.clone() if self._copies else output
        self._versions[layer] = _version(self.features[layer])

    def check(self) -> None:
        """Refuse a feature that was overwritten by what came behind the layer."""
        for layer, version in self._versions.items():
            if _version(self.features[layer]) != version:
                step = "Use e.g. relu instead of relu_ behind it, or name a layer further on."
                raise wrong("layers", "layers whose outputs last", f"{layer!r}, overwritten in place", step)


def _version(values: Tensor) -> int:
    return 0 if values.is_inference() else values._version  # inference counts no versions


def _listed(names: list[str], most: int = 40) -> str:
    """Return quoted names, so many that the message stays on a screen."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


@contextmanager
def tapped(network: nn.Module, layers: Iterable[str], *, copies: bool = False) -> Iterator[dict[str, Tensor]]:
    """Collect what named layers give while the network runs.

    The tensors belong to the graph of the forward pass: a loss on them trains the layers below. Hooks are removed
    when the block is left, by an error too.

    Parameters
    ----------
    network : torch.nn.Module
    layers : iterable of str
        Names as in ``network.named_modules()``. If empty, nothing is hooked.
    copies : bool, default=False
        Whether to keep copies in any case. They are kept where a module of the network works in place.

    Yields
    ------
    features : dict of str to Tensor
        By name of the layer, in the order in which they ran; filled by each forward pass. Of a layer that gives a
        tuple, its first tensor; of one that runs several times, its last output.

    Raises
    ------
    ValueError
        If the network has no layer of a name; the message lists those it has. On leaving the block, if what a layer
        gave was overwritten.
    TypeError
        From the forward pass, if a layer gives no tensor.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> with tapped(network, ["0"]) as features:
    ...     prediction = network(torch.zeros(5, 3))
    >>> features["0"].shape
    torch.Size([5, 2])
    """
    layers = check_layers("layers", network, layers)
    collected = Collected(copies=copies or works_in_place(network))
    with ExitStack() as hooks:
        for layer in dict.fromkeys(layers):
            handle = network.get_submodule(layer).register_forward_hook(_keep(collected, layer))
            hooks.callback(handle.remove)
        yield collected.features
        collected.check()


def _keep(collected: Collected, layer: str) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(first, Tensor):
            given = f"{layer!r}, which gives {type(output).__name__}"
            raise wrong("layers", "layers that give a tensor", given, "Name a layer inside or behind it.", TypeError)
        collected.add(layer, first)

    return hook
