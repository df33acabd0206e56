"""The few modules that torch lacks, each written so that a stack of networks can run it as one.

Windows are (batch, channels, length), time last. Modules that act on the last axes only say so: they take any number
of leading axes.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

from pitskd._validation import check_fraction, check_integer, wrong

__all__ = ["CausalConv1d", "Dropout", "LastStep", "Recurrent", "Residual", "Stretch", "TimeMajor", "set_noise"]

_SPREAD = 0x9E3779B1 - 2**32  # 2**32 over the golden ratio: keys 0, 1, 2, ... come to lie far apart


class TimeMajor(nn.Module):
    """Flatten windows as the package does: row by row in time, index ``t * n_channels + c``.

    Inputs (batch, channels, length) give (batch, length * channels); rows that are flat already stay as they are.
    Further axes, as of images, are kept in their order: the channels become the last axis.

    Examples
    --------
    >>> window = torch.tensor([[[0, 2, 4], [1, 3, 5]]])  # two channels, three steps
    >>> TimeMajor()(window).tolist()
    [[0, 1, 2, 3, 4, 5]]
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Flatten the axes behind the batch."""
        return flat_rows(inputs, axis=1)


def flat_rows(inputs: Tensor, axis: int) -> Tensor:
    """Flatten the axes from ``axis`` on, channels last. No copy if stored so, or of one channel or one step."""
    return inputs if inputs.dim() <= axis + 1 else inputs.movedim(axis, -1).flatten(axis)


class LastStep(nn.Module):
    """Keep the last time step: (..., channels, length) gives (..., channels).

    Examples
    --------
    >>> LastStep()(torch.arange(6).view(1, 2, 3)).tolist()
    [[2, 5]]
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop the time axis."""
        return inputs[..., -1]


class Stretch(nn.Module):
    """Say each time step twice and cut to a length: the way back of a convolution of stride two.

    Parameters
    ----------
    length : int
        Steps to keep, at most twice those of the input.

    Examples
    --------
    >>> Stretch(5)(torch.tensor([[1, 2, 3]])).tolist()
    [[1, 1, 2, 2, 3]]
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, inputs: Tensor) -> Tensor:
        """Stretch the last axis."""
        return inputs.repeat_interleave(2, dim=-1)[..., : self.length]

    def extra_repr(self) -> str:
        """Return what the representation shows."""
        return str(self.length)


class CausalConv1d(nn.Module):
    """Convolve over past and present only: (batch, in_channels, length) gives (batch, out_channels, length).

    Zeros stand for what was before the window, so that the length stays.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int
    dilation : int, default=1
        Steps between two taps of the kernel. The last tap is the present.

    Examples
    --------
    >>> layer = CausalConv1d(1, 1, kernel_size=2, dilation=2)
    >>> layer(torch.zeros(4, 1, 7)).shape
    torch.Size([4, 1, 7])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        self.past = (kernel_size - 1) * dilation
        self.convolution = nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation)

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve along the last axis."""
        return self.convolution(nn.functional.pad(inputs, (self.past, 0)))


class Residual(nn.Module):
    """Add what a block gives to what it was given: ``relu(shortcut(x) + body(x))``.

    Parameters
    ----------
    body : torch.nn.Module
    shortcut : torch.nn.Module, default=None
        Brings the input to the shape of the body's output. None: the input itself.

    Examples
    --------
    >>> Residual(nn.Identity())(torch.tensor([-1.0, 2.0])).tolist()
    [0.0, 4.0]
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        """Add shortcut and body."""
        return torch.relu(self.shortcut(inputs) + self.body(inputs))


class Recurrent(nn.Module):
    """Run one layer of gated recurrent units along time: (batch, channels, length) to (batch, hidden, length).

    Parameters
    ----------
    in_channels : int
    hidden : int
        Units of the state.

    Notes
    -----
    CuDNN cannot differentiate a backward pass, nor pass gradients through a network in evaluation mode. Where more
    than the weights is differentiated, as by :class:`~pitskd.losses.GradientAttention`, torch's own loop runs instead.

    Examples
    --------
    >>> Recurrent(3, 8)(torch.zeros(4, 3, 7)).shape
    torch.Size([4, 8, 7])
    """

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(in_channels, hidden, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the states of all times."""
        rows = inputs.transpose(1, 2)
        if inputs.is_cuda and differentiates_data(inputs):
            with torch.backends.cudnn.flags(enabled=False):
                return self.gru(rows)[0].transpose(1, 2)
        return self.gru(rows)[0].transpose(1, 2)


def differentiates_data(values: Tensor) -> bool:
    """Tell whether gradients will pass through values to something that is no weight, such as a window."""
    if values.grad_fn is None:
        return values.requires_grad and not isinstance(values, nn.Parameter)
    nodes, seen = [values.grad_fn], set()
    while nodes:
        node = nodes.pop()
        leaf = getattr(node, "variable", None)  # of the nodes that gather a gradient
        if leaf is not None and not isinstance(leaf, nn.Parameter):
            return True
        later = [node for node, _ in node.next_functions if node is not None and node not in seen]
        seen.update(later)
        nodes += later
    return False


class Dropout(nn.Module):
    """Zero a share of the elements while training, at places that are computed and not drawn.

    The mask is a hash of (key of the network, step of the training, number of the layer, index of the element). There
    is no generator whose state depends on what else was trained: a network alone and the same network in a stack have
    the same masks, on any device. :func:`set_noise` sets key and step before each step of training.

    Without it, as in a loop of your own, this is :class:`torch.nn.Dropout`, which draws new places each time from
    torch's generator. It is so again after ``eval()``: the masks of a step end with it.

    Parameters
    ----------
    p : float
        Share of elements to drop, in [0, 1). The rest is multiplied by ``1 / (1 - p)``, so that the mean stays.

    Raises
    ------
    ValueError
        If ``p`` is not in [0, 1).

    Notes
    -----
    The hash is a permutation of 32 bits by two rounds of xor-shift and multiplication, that of [1]_ without its last
    shift, which leaves the leading bits alone. An element is dropped if its word is among the lowest share ``p``.

    References
    ----------
    .. [1] C. Wellons (2018). Prospecting for hash functions ("lowbias32"). Public domain.

    Examples
    --------
    >>> layer = Dropout(0.5)
    >>> set_noise(layer, key=1, step=3)
    >>> torch.equal(layer(torch.ones(4, 8)), layer(torch.ones(4, 8)))
    True
    """

    key: Tensor

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = check_share("p", p)
        self.step: int | None = None  # None: torch draws
        self.number = 0
        self.register_buffer("key", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop elements in training mode; do nothing otherwise."""
        return self.dropped(inputs, inputs.shape, self.key)

    def dropped(self, inputs: Tensor, shape: torch.Size, keys: Tensor) -> Tensor:
        """Drop elements of (*keys.shape, *shape), what several networks gave, each by its own key."""
        if not (self.training and self.p):
            return inputs
        if self.step is None:
            return nn.functional.dropout(inputs, self.p)
        return inputs * self.factors(shape, keys, inputs)

    def train(self, mode: bool = True) -> Dropout:
        """Set the mode. Evaluation forgets the step, or a loop that came later would drop the same units for ever."""
        self.step = self.step if mode else None
        return super().train(mode)

    def factors(self, shape: torch.Size, keys: Tensor, like: Tensor) -> Tensor:
        """Return 0 where an element is dropped and ``1 / (1 - p)`` elsewhere.

        Parameters
        ----------
        shape : torch.Size
            Shape of what one network gives.
        keys : Tensor of shape () or (n_networks,), int64
        like : Tensor
            Has the dtype and device of the result.

        Returns
        -------
        factors : Tensor of shape (*keys.shape, *shape)
        """
        assert self.step is not None
        index = torch.arange(shape.numel(), dtype=torch.int32, device=like.device).view(shape)
        seeds = (keys ^ (keys >> 32)).to(torch.int32) * _SPREAD + _word(self.step, self.number)
        words = _scrambled(index ^ seeds.view(*keys.shape, *[1] * len(shape)))
        lowest_kept = min(round(self.p * 2**31), 2**31 - 1) - 2**30
        dropped = ((words >> 1) - lowest_kept) >> 31  # the sign: -1 or 0, three times faster than by way of booleans
        return dropped.to(like.dtype).add_(1).mul_(1.0 / (1.0 - self.p))

    def extra_repr(self) -> str:
        """Return what the representation shows."""
        return f"p={self.p:g}"


def check_share(name: str, value: float) -> float:
    """Return a share to drop as a float in [0, 1)."""
    if check_fraction(name, value, "Use e.g. 0.1; 0 drops nothing.") == 1.0:
        raise wrong(name, "a number below 1", value, "At 1 nothing would be left to learn from.")
    return float(value)


def set_noise(network: nn.Module, *, key: int, step: int) -> None:
    """Tell every :class:`Dropout` of a network whose it is and which step of training this is.

    Parameters
    ----------
    network : torch.nn.Module
    key : int
        Of the network, e.g. drawn from its seed; at least 0 and below ``2**63``.
    step : int
        Of the training, at least 0. The same step gives the same masks.

    Raises
    ------
    TypeError, ValueError
        If key or step is no integer of at least 0.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(3, 2), Dropout(0.5))
    >>> set_noise(network, key=7, step=0)
    >>> int(network[1].key)
    7
    """
    check_integer("step", step, minimum=0, step="Count the batches seen.")
    if check_integer("key", key, minimum=0, step="Draw one per network.") >= 2**63:
        raise wrong("key", "below 2**63", key, "Draw one per network.")
    for layer in numbered_dropouts(network):
        layer.step = step
        layer.key.fill_(key)


def numbered_dropouts(network: nn.Module) -> list[Dropout]:
    """Return the network's dropout layers, each told its place among them."""
    layers = [module for module in network.modules() if isinstance(module, Dropout)]
    for number, layer in enumerate(layers):
        layer.number = number
    return layers


def _word(*numbers: int) -> int:
    """Return a signed word of 32 bits for some numbers."""
    word = zlib.crc32(repr(numbers).encode())
    return word - 2**32 if word >= 2**31 else word


def _scrambled(words: Tensor) -> Tensor:
    """Permute int32 words in place so that neighbours have nothing in common in their leading bits.

    Products wrap; a mask makes a shift one of unsigned words.
    """
    words ^= (words >> 16).bitwise_and_(0xFFFF)
    words *= 0x7FEB352D
    words ^= (words >> 15).bitwise_and_(0x1FFFF)
    words *= 0x846CA68B - 2**32
    return words
