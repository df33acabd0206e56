"""Networks for windows of time series, as builders: ``builder(n_channels=, length=, n_outputs=)``.

Each takes (batch, n_channels, length) and gives (batch, n_outputs). All are chains of named parts, so that many of
one architecture can run as one and a loss can name the layer it looks at. Weights start as torch starts them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from pitskd._validation import check_choice, check_integer, is_list, wrong
from pitskd.models.modules import (
    CausalConv1d,
    Dropout,
    LastStep,
    Recurrent,
    Residual,
    Stretch,
    TimeMajor,
    check_share,
)

__all__ = ["MLP", "GRU", "TCN", "Autoencoder"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class _Parts(nn.Sequential):
    """Parts that run one after the other. A slice of them is a plain `Sequential`: it is no such network any more."""

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[idx]))
        return super().__getitem__(idx)


class MLP(_Parts):
    """Fully connected layers over the flattened window.

    The plainest student, and for short windows often the best. Either its sizes are listed, or it is a builder.

    Parameters
    ----------
    sizes : sequence of int, default=None
        Units of all layers, the input's and the output's included, e.g. ``(784, 1200, 1200, 10)``.
    hidden : int or sequence of int, default=None
        Units of the hidden layers. Empty: a linear model. None: those of ``sizes``, or ``(64, 32)`` without.
    activation : {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh"}, default="relu"
        Behind each hidden layer.
    dropout : float, default=0.0
        Share of units to drop behind each hidden layer while training, in [0, 1). In a loop of your own
        torch's generator draws them, as for ``torch.nn.Dropout``.
    n_channels, length : int, default=None, 1
        Shape of a window.
    n_outputs : int, default=None

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, or sizes contradict ``n_channels * length``, ``hidden`` or ``n_outputs``.

    Notes
    -----
    Parts: ``hidden`` gives (batch, last hidden units), ``head`` is the last linear layer. Inputs may also be flat,
    (batch, features), as the package flattens windows: entry ``t * n_channels + c``.

    References
    ----------
    .. [1] Hinton et al. (2015). Distilling the Knowledge in a Neural Network. arXiv:1503.02531, section 3: students
       784-800-800-10, teachers 784-1200-1200-10.

    Examples
    --------
    >>> sum(weights.numel() for weights in MLP((784, 1200, 1200, 10)).parameters())
    2395210
    >>> MLP(hidden=16, n_channels=3, length=8, n_outputs=2).head
    Linear(in_features=16, out_features=2, bias=True)
    """

    def __init__(
        self,
        sizes: Sequence[int] | None = None,
        *,
        hidden: int | Sequence[int] | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
        n_channels: int | None = None,
        length: int = 1,
        n_outputs: int | None = None,
    ) -> None:
        check_choice("activation", activation, list(ACTIVATIONS), "Choose one of these.")
        share = check_share("dropout", dropout)
        first, *inner, last = _sizes(sizes, hidden, n_channels, length, n_outputs)
        body = nn.Sequential(TimeMajor())
        for units_in, units_out in pairwise((first, *inner)):
            body.extend([nn.Linear(units_in, units_out), ACTIVATIONS[activation](), *_dropout(share)])
        super().__init__()
        self.hidden = body
        self.head = nn.Linear((first, *inner)[-1], last)


def _sizes(sizes: Any, hidden: Any, n_channels: Any, length: Any, n_outputs: Any) -> tuple[int, ...]:
    """Return the units of all layers of an MLP; what was said twice must agree."""
    n_inputs = None if n_channels is None else _check_channels(n_channels) * _check_length(length)
    if n_outputs is not None:
        _check_outputs(n_outputs)
    if sizes is None:
        if n_inputs is None or n_outputs is None:
            missing = "n_channels" if n_inputs is None else "n_outputs"
            raise wrong(missing, "an integer where sizes is None", None, "Pass it, or e.g. sizes=(784, 800, 800, 10).")
        return (n_inputs, *_check_hidden((64, 32) if hidden is None else hidden), n_outputs)
    sizes = _check_units("sizes", sizes, "Use e.g. (784, 800, 800, 10).")
    if len(sizes) < 2:
        raise wrong("sizes", "at least two numbers", sizes, "The first is the input's, the last the output's.")
    if n_inputs not in (None, sizes[0]):
        raise wrong("sizes[0]", f"n_channels * length = {n_inputs}", sizes[0], "Leave sizes out and use hidden.")
    if n_outputs not in (None, sizes[-1]):
        raise wrong("sizes[-1]", f"n_outputs = {n_outputs}", sizes[-1], "Leave sizes out and use hidden.")
    if hidden is not None and _check_hidden(hidden) != sizes[1:-1]:
        raise wrong("hidden", f"sizes[1:-1] = {sizes[1:-1]}", hidden, "Leave out one of the two.")
    return sizes


class GRU(_Parts):
    """Gated recurrent units over the window, read out at its last step.

    Parameters
    ----------
    hidden : int, default=32
        Units of the state.
    n_layers : int, default=1
        Recurrent layers on top of each other.
    dropout : float, default=0.0
        Share of units to drop between layers and before the head while training, in [0, 1). In a loop of your own
        torch's generator draws them, as for ``torch.nn.Dropout``.
    n_channels, length : int
        Shape of a window.
    n_outputs : int

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Notes
    -----
    Parts: ``hidden`` gives the states (batch, hidden, length), of which ``head`` sees the last. Torch's variant of
    the unit is used: the reset gate acts behind the recurrent product, not before it as in [1]_.

    References
    ----------
    .. [1] Cho et al. (2014). Learning Phrase Representations using RNN Encoder-Decoder. EMNLP. arXiv:1406.1078,
       eqs. (5)-(8).

    Examples
    --------
    >>> import torch
    >>> network = GRU(hidden=8, n_channels=3, length=24, n_outputs=1)
    >>> network(torch.zeros(5, 3, 24)).shape, network.hidden(torch.zeros(5, 3, 24)).shape
    (torch.Size([5, 1]), torch.Size([5, 8, 24]))
    """

    def __init__(
        self,
        *,
        hidden: int = 32,
        n_layers: int = 1,
        dropout: float = 0.0,
        n_channels: int,
        length: int,
        n_outputs: int,
    ) -> None:
        units = check_integer("hidden", hidden, minimum=1, step="Use e.g. 32.")
        check_integer("n_layers", n_layers, minimum=1, step="Use e.g. 1.")
        share = check_share("dropout", dropout)
        channels, _, outputs = _check_shape(n_channels, length, n_outputs)
        layers: list[nn.Module] = [Recurrent(channels, units)]
        for _ in range(n_layers - 1):
            layers += [*_dropout(share), Recurrent(units, units)]
        super().__init__()
        self.hidden = nn.Sequential(*layers)
        self.last = LastStep()
        if share:
            self.dropout = Dropout(share)
        self.head = nn.Linear(units, outputs)


class TCN(_Parts):
    """Causal convolutions whose reach doubles from block to block, read out at the last step.

    Parameters
    ----------
    hidden : int, default=32
        Channels of each block.
    n_blocks : int, default=None
        None: as many as it takes for the last step to see the whole window.
    kernel_size : int, default=3
        Taps of each convolution, at least 2.
    dropout : float, default=0.0
        Share of elements to drop behind each convolution while training, in [0, 1). In a loop of your own
        torch's generator draws them, as for ``torch.nn.Dropout``.
    n_channels, length : int
        Shape of a window.
    n_outputs : int

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Notes
    -----
    Block i is ``relu(x + relu(conv(relu(conv(x)))))`` with dilation ``2**i``; n blocks see
    ``1 + 2 * (kernel_size - 1) * (2**n - 1)`` steps. Parts: ``blocks.0``, ... each give (batch, hidden, length) and
    ``head`` sees the last step. Differs from [1]_ in that weights are not normalised and single elements are dropped
    instead of whole channels.

    References
    ----------
    .. [1] Bai et al. (2018). An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
       Modeling. arXiv:1803.01271, sections 3.2 (causal), 3.3 with eq. (2) (dilated) and 3.4 (residual).

    Examples
    --------
    >>> import torch
    >>> network = TCN(hidden=8, n_channels=3, length=24, n_outputs=1)
    >>> len(network.blocks), network(torch.zeros(5, 3, 24)).shape
    (3, torch.Size([5, 1]))
    """

    def __init__(
        self,
        *,
        hidden: int = 32,
        n_blocks: int | None = None,
        kernel_size: int = 3,
        dropout: float = 0.0,
        n_channels: int,
        length: int,
        n_outputs: int,
    ) -> None:
        units = check_integer("hidden", hidden, minimum=1, step="Use e.g. 32.")
        check_integer("kernel_size", kernel_size, minimum=2, step="Use e.g. 3.")
        share = check_share("dropout", dropout)
        channels, steps, outputs = _check_shape(n_channels, length, n_outputs)
        if n_blocks is None:
            n_blocks = _blocks_to_see(steps, kernel_size)
        check_integer("n_blocks", n_blocks, minimum=1, step="Use None to see the whole window.")
        super().__init__()
        self.blocks = nn.Sequential(
            *(_block(units if i else channels, units, kernel_size, 2**i, share) for i in range(n_blocks))
        )
        self.last = LastStep()
        self.head = nn.Linear(units, outputs)


def _blocks_to_see(length: int, kernel_size: int) -> int:
    """Return the smallest n with ``1 + 2 * (kernel_size - 1) * (2**n - 1) >= length``, at least 1."""
    n_blocks = 1
    while 1 + 2 * (kernel_size - 1) * (2**n_blocks - 1) < length:
        n_blocks += 1
    return n_blocks


def _block(channels: int, units: int, kernel_size: int, dilation: int, share: float) -> Residual:
    """Return two dilated causal convolutions with a shortcut around them."""
    layers = []
    for channels_in in (channels, units):
        layers += [CausalConv1d(channels_in, units, kernel_size, dilation), nn.ReLU(), *_dropout(share)]
    shortcut = None if channels == units else nn.Conv1d(channels, units, 1)
    return Residual(nn.Sequential(*layers), shortcut)


class Autoencoder(_Parts):
    """Squeeze a window through few numbers and write it out again.

    With ``y = X.reshape(n, -1)`` it learns to reconstruct, and what it cannot is an anomaly; with the next rows as
    ``y`` it is a forecaster with a bottleneck.

    Parameters
    ----------
    kind : {"dense", "convolutional"}, default="dense"
        Fully connected layers over the flattened window, or convolutions over time that halve its length each.
    hidden : int or sequence of int, default=None
        Units (dense) or channels (convolutional) of the layers before the bottleneck; those behind it mirror them.
        None: ``(64,)`` or ``(32, 16)``.
    bottleneck : int, default=8
        Numbers that represent a window.
    n_channels, length : int
        Shape of a window.
    n_outputs : int

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Notes
    -----
    Parts: ``encoder`` gives (batch, bottleneck), ``decoder`` the window flattened as the package flattens it, entry
    ``t * n_channels + c``; where ``n_outputs`` is not ``n_channels * length`` a linear ``head`` follows. Inputs of the
    dense kind may also be flat, in the same order.

    References
    ----------
    .. [1] Hinton and Salakhutdinov (2006). Reducing the Dimensionality of Data with Neural Networks. Science 313.

    Examples
    --------
    >>> import torch
    >>> network = Autoencoder(bottleneck=4, n_channels=3, length=24, n_outputs=72)
    >>> network.encoder(torch.zeros(5, 3, 24)).shape, network(torch.zeros(5, 3, 24)).shape
    (torch.Size([5, 4]), torch.Size([5, 72]))
    """

    def __init__(
        self,
        *,
        kind: str = "dense",
        hidden: int | Sequence[int] | None = None,
        bottleneck: int = 8,
        n_channels: int,
        length: int,
        n_outputs: int,
    ) -> None:
        check_choice("kind", kind, ["dense", "convolutional"], "Choose one of these.")
        dense = kind == "dense"
        units = _check_hidden(((64,) if dense else (32, 16)) if hidden is None else hidden)
        check_integer("bottleneck", bottleneck, minimum=1, step="Use e.g. 8.")
        channels, steps, outputs = _check_shape(n_channels, length, n_outputs)
        super().__init__()
        self.encoder, self.decoder = (_dense if dense else _convolutional)(channels, steps, units, bottleneck)
        if outputs != channels * steps:
            self.head = nn.Linear(channels * steps, outputs)


def _dense(channels: int, length: int, units: tuple[int, ...], bottleneck: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Return encoder and decoder of fully connected layers."""
    sizes = (channels * length, *units, bottleneck)
    return (
        nn.Sequential(TimeMajor(), *_linears(sizes)),
        nn.Sequential(*_linears(sizes[::-1])),
    )


def _linears(sizes: tuple[int, ...]) -> list[nn.Module]:
    """Return linear layers with activations between them."""
    layers: list[nn.Module] = []
    for units_in, units_out in pairwise(sizes):
        layers += [nn.Linear(units_in, units_out), nn.ReLU()]
    return layers[:-1]


def _convolutional(
    channels: int, length: int, units: tuple[int, ...], bottleneck: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """Return an encoder whose convolutions halve the length and a decoder that doubles it again."""
    sizes, lengths = (channels, *units), [length]
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    for channels_in, channels_out in zip(sizes[:-1], units, strict=True):
        down += [nn.Conv1d(channels_in, channels_out, 3, stride=2, padding=1), nn.ReLU()]
        up = [nn.ReLU(), Stretch(lengths[-1]), nn.Conv1d(channels_out, channels_in, 3, padding=1), *up]
        lengths.append((lengths[-1] + 1) // 2)
    inner = (sizes[-1], lengths[-1])
    width = inner[0] * inner[1]
    return (
        nn.Sequential(*down, nn.Flatten(-2), nn.Linear(width, bottleneck)),
        nn.Sequential(nn.Linear(bottleneck, width), nn.Unflatten(-1, inner), *up, TimeMajor()),
    )


def _dropout(share: float) -> list[nn.Module]:
    return [Dropout(share)] if share else []


def _check_hidden(hidden: Any) -> tuple[int, ...]:
    return _check_units("hidden", hidden, "Use e.g. 64 or (64, 32).")


def _check_units(name: str, units: Any, step: str) -> tuple[int, ...]:
    """Return one number of units or several as a tuple."""
    listed = list(units) if is_list(units) else [units]
    return tuple(check_integer(name, n_units, minimum=1, step=step) for n_units in listed)


def _check_shape(n_channels: Any, length: Any, n_outputs: Any) -> tuple[int, int, int]:
    return _check_channels(n_channels), _check_length(length), _check_outputs(n_outputs)


def _check_channels(n_channels: Any) -> int:
    return check_integer("n_channels", n_channels, minimum=1, step="Inputs are (batch, n_channels, length).")


def _check_length(length: Any) -> int:
    return check_integer("length", length, minimum=1, step="Inputs are (batch, n_channels, length).")


def _check_outputs(n_outputs: Any) -> int:
    return check_integer("n_outputs", n_outputs, minimum=1, step="Outputs are (batch, n_outputs).")
