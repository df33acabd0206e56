"""What is trained beside a student to compare its features with the teacher's: adapters, translators, paraphrasers.

They are made from shapes alone and begin at fixed weights, rows or columns of one orthogonal matrix: no random numbers,
so that the student's own seed decides everything. All take (batch, channels, length) or (batch, units).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pitskd.losses.base import Signals
from pitskd.losses.functional.features import hint
from pitskd.losses.functional.maps import as_map, kept, step_weights

__all__ = ["ChannelAdapter", "PairAdapter", "Paraphraser", "SplitTranslator", "Translator"]


class ChannelAdapter(nn.Module):
    """Map channels linearly, step by step: a 1x1 convolution.

    Parameters
    ----------
    n_channels, n_adapted : int
        Channels of the student and of the teacher.

    Examples
    --------
    >>> ChannelAdapter(3, 5)(torch.zeros(2, 3, 7)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, n_channels: int, n_adapted: int):
        super().__init__()
        self.weight = nn.Parameter(_orthogonal(n_adapted, n_channels))
        self.bias = nn.Parameter(torch.zeros(n_adapted))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of shape (batch, n_adapted, length)."""
        return nn.functional.conv1d(as_map("student", features), self.weight.unsqueeze(-1), self.bias)


class PairAdapter(nn.Module):
    """Adapt the features of two layers, each by its own map.

    Parameters
    ----------
    first, later : nn.Module
        Adapters, or ``nn.Identity()``.

    Examples
    --------
    >>> first, later = PairAdapter(nn.Identity(), ChannelAdapter(3, 5))((torch.zeros(2, 3, 7), torch.zeros(2, 3, 7)))
    >>> first.shape[1], later.shape[1]
    (3, 5)
    """

    def __init__(self, first: nn.Module, later: nn.Module):
        super().__init__()
        self.first, self.later = first, later

    def forward(self, features: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return both, adapted."""
        return self.first(features[0]), self.later(features[1])


class Translator(nn.Module):
    """Make a factor of features: a convolution over three steps and a leaky rectifier.

    Parameters
    ----------
    n_channels, n_factors : int
        Channels of features and of factors.

    Examples
    --------
    >>> Translator(3, 5)(torch.zeros(2, 3, 7)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, n_channels: int, n_factors: int):
        super().__init__()
        self.convolution = _Convolution(n_channels, n_factors)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return factors of shape (batch, n_factors, length), zero at steps that do not count."""
        features = _counted(features, mask)
        return _counted(nn.functional.leaky_relu(self.convolution(features), 0.1), mask)


class SplitTranslator(nn.Module):
    """Make one factor of the first half of the channels and another one of the rest.

    Parameters
    ----------
    n_channels, n_factors : int
        Channels of features, at least 2, and of each factor. The first half has one channel more if they are odd.

    Examples
    --------
    >>> inheriting, exploring = SplitTranslator(3, 5)(torch.zeros(2, 3, 7))
    >>> inheriting.shape, exploring.shape
    (torch.Size([2, 5, 7]), torch.Size([2, 5, 7]))
    """

    def __init__(self, n_channels: int, n_factors: int):
        super().__init__()
        self.n_inheriting = (n_channels + 1) // 2
        self.inheriting = Translator(self.n_inheriting, n_factors)
        self.exploring = Translator(n_channels - self.n_inheriting, n_factors)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return both factors, of shape (batch, n_factors, length)."""
        features = as_map("student", features)
        first, rest = features[:, : self.n_inheriting], features[:, self.n_inheriting :]
        return self.inheriting(first, mask), self.exploring(rest, mask)


class Paraphraser(nn.Module):
    """Rewrite a teacher's features in fewer channels, learnt by writing them back: a convolutional autoencoder.

    Parameters
    ----------
    layer : str
        The teacher's layer whose features it rewrites.
    n_channels, n_factors : int
        Channels of features and of factors.

    Examples
    --------
    >>> paraphraser = Paraphraser("hidden", 4, 2)
    >>> paraphraser(torch.zeros(3, 4, 7)).shape
    torch.Size([3, 2, 7])
    """

    def __init__(self, layer: str, n_channels: int, n_factors: int):
        super().__init__()
        self.layer = layer
        self.encoder = Translator(n_channels, n_factors)
        self.decoder = _Convolution(n_factors, n_channels)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the teacher's factor, of shape (batch, n_factors, length)."""
        return self.encoder(features, mask)

    def reconstruction(self, teacher: Signals) -> Tensor:
        """Return the mean squared error with which features can be written back; least of all in stage one."""
        features = teacher.features[self.layer].detach()
        return hint(self.decoder(self(features, teacher.mask)), features, mask=teacher.mask)


class _Convolution(nn.Module):
    """A convolution over three steps that begins as a map of the middle one alone."""

    def __init__(self, n_channels: int, n_outputs: int):
        super().__init__()
        middle = _orthogonal(n_outputs, n_channels)
        self.weight = nn.Parameter(torch.stack([torch.zeros_like(middle), middle, torch.zeros_like(middle)], dim=-1))
        self.bias = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.conv1d(features, self.weight, self.bias, padding=1)


def _counted(features: Tensor, mask: Tensor | None) -> Tensor:
    features = as_map("features", features)
    return features if mask is None else kept(features, step_weights(features, mask))


def _orthogonal(n_rows: int, n_columns: int) -> Tensor:
    """Return a corner of the orthogonal cosine matrix (DCT-II): the shorter side is orthonormal, all channels mix."""
    size = max(n_rows, n_columns)
    order, place = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64) + 0.5
    matrix = torch.cos(torch.pi / size * order * place) * (2.0 / size) ** 0.5
    matrix[0] /= 2.0**0.5
    return matrix[:n_rows, :n_columns].to(torch.get_default_dtype())
