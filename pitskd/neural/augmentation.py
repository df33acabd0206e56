"""Random changes of windows that keep their class: what `augmentation` of neural students may be.

Each takes ``(windows, generator)``, windows of shape (batch, n_channels, length) as the network sees them, scaled to
mean 0 and deviation 1, and draws from this generator alone. Any callable of that form will do as well. A teacher never
sees them changed (the noisy student of Xie et al. 2020, arXiv:1911.04252, algorithm 1), but for the stages of a label
refinery, where that is the point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pitskd._validation import check_choice, check_integer, check_positive, wrong

__all__ = ["Composed", "Crop", "Jitter", "Scaling"]


@dataclass(frozen=True)
class Jitter:
    """Add noise to every value.

    Parameters
    ----------
    scale : float
        Deviation of the noise, above 0, in deviations of the channel.

    Notes
    -----
    x + scale e with e ~ N(0, 1), drawn for every row, channel and step; the mean over draws is the window.

    References
    ----------
    .. [1] Um et al. (2017). Data augmentation of wearable sensor data for Parkinson's disease monitoring using
       convolutional neural networks. ICMI. arXiv:1706.00527.

    Examples
    --------
    >>> noisy = Jitter(0.1)(torch.zeros(2000, 1, 24), torch.Generator().manual_seed(0))
    >>> noisy.shape, round(noisy.std().item(), 2)
    (torch.Size([2000, 1, 24]), 0.1)
    """

    scale: float

    def __post_init__(self) -> None:
        check_positive("scale", self.scale, "Use e.g. 0.1.")

    def __call__(self, windows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return changed windows of the same shape."""
        return windows + self.scale * _normal(windows, windows.shape, generator)


@dataclass(frozen=True)
class Scaling:
    """Multiply every channel of a window by a number near 1: a sensor of another gain.

    Parameters
    ----------
    scale : float
        Deviation of the factor, above 0.

    Notes
    -----
    (1 + scale e) x with one e ~ N(0, 1) per row and channel; the mean over draws is the window, and its shape in time
    stays.

    References
    ----------
    .. [1] Um et al. (2017). Data augmentation of wearable sensor data for Parkinson's disease monitoring using
       convolutional neural networks. ICMI. arXiv:1706.00527.

    Examples
    --------
    >>> louder = Scaling(0.1)(torch.ones(1, 1, 3), torch.Generator().manual_seed(0))
    >>> bool((louder == louder[0, 0, 0]).all())
    True
    """

    scale: float

    def __post_init__(self) -> None:
        check_positive("scale", self.scale, "Use e.g. 0.1.")

    def __call__(self, windows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return changed windows of the same shape."""
        return windows * (1.0 + self.scale * _normal(windows, (*windows.shape[:2], 1), generator))


@dataclass(frozen=True)
class Crop:
    """Keep some steps in a row of every window, wherever they lie.

    Parameters
    ----------
    length : int
        Steps that are kept, at least 2; at most those of the windows.
    restore : "resize" or "pad", default="resize"
        How windows get their length back: the crop is stretched, by linear interpolation; or it stays where it is and
        the steps around it become 0, the mean of a channel.

    Raises
    ------
    ValueError
        If windows are shorter, when they come.

    Notes
    -----
    The first step kept is uniform over all places, one draw per row; channels are cut alike. The stretched crop begins
    and ends with the values that the crop begins and ends with.

    Examples
    --------
    >>> window = torch.arange(1.0, 7.0).view(1, 1, 6)
    >>> Crop(3, "pad")(window, torch.Generator().manual_seed(0)).tolist()
    [[[1.0, 2.0, 3.0, 0.0, 0.0, 0.0]]]
    """

    length: int
    restore: str = "resize"

    def __post_init__(self) -> None:
        check_integer("length", self.length, minimum=2, step="Use e.g. three quarters of the window.")
        check_choice("restore", self.restore, ("resize", "pad"), 'Use "resize" to stretch what is kept.')

    def __call__(self, windows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return changed windows of the same shape."""
        batch, n_channels, n_steps = windows.shape
        if self.length > n_steps:
            raise wrong("length", f"at most {n_steps}, the steps of a window", self.length, "Use a shorter crop.")
        device = windows.device
        start = torch.randint(n_steps - self.length + 1, (batch, 1), generator=generator, device=device)
        if self.restore == "pad":
            after = torch.arange(n_steps, device=device) - start
            return windows * ((after >= 0) & (after < self.length))[:, None]
        kept = start + torch.arange(self.length, device=device)
        crop = windows.gather(2, kept[:, None].expand(-1, n_channels, -1))
        return functional.interpolate(crop, size=n_steps, mode="linear", align_corners=True)


@dataclass(frozen=True)
class Composed:
    """One change after the other.

    Parameters
    ----------
    changes : tuple of callables
        Each takes windows and a generator, and returns windows.

    Examples
    --------
    >>> both = Composed((Crop(18), Jitter(0.1)))
    >>> both(torch.zeros(4, 2, 24), torch.Generator().manual_seed(0)).shape
    torch.Size([4, 2, 24])
    """

    changes: tuple[Callable[[Tensor, torch.Generator | None], Tensor], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.changes, tuple) or not all(callable(change) for change in self.changes):
            step = "Use e.g. Composed((Crop(18), Jitter(0.1)))."
            raise wrong("changes", "a tuple of callables", self.changes, step, TypeError)

    def __call__(self, windows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return changed windows."""
        for change in self.changes:
            windows = change(windows, generator)
        return windows


def _normal(windows: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=windows.dtype, device=windows.device)
