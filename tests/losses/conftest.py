"""Tensors drawn from generators of their own, and small networks with the signals of one batch."""

import pytest
import torch
from torch import nn

from pitskd.losses.base import Signals
from pitskd.models.taps import tapped


@pytest.fixture
def draw():
    """Return a function that draws normal numbers: the same ones for the same shape and seed."""

    def normal(*shape, seed=0, dtype=torch.float64, requires_grad=False):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_(requires_grad)

    return normal


@pytest.fixture
def network(draw):
    """Return a function that makes a network of two convolutional blocks and a head, its weights drawn by seed."""

    def make(seed, hidden=4, n_channels=2, length=8, n_outputs=3):
        blocks = nn.Sequential(
            nn.Sequential(nn.Conv1d(n_channels, hidden, 3, padding=1, device="meta"), nn.Tanh()),
            nn.Sequential(nn.Conv1d(hidden, hidden, 3, padding=1, device="meta"), nn.Tanh()),
        )
        head = nn.Sequential(nn.Flatten(), nn.Linear(hidden * length, n_outputs, device="meta"))
        made = nn.Sequential(blocks, head)
        for order, (name, weights) in enumerate(list(made.named_parameters())):
            owner, _, last = name.rpartition(".")
            drawn = nn.Parameter(0.5 * draw(*weights.shape, seed=100 * seed + order))
            setattr(made.get_submodule(owner), last, drawn)
        return made

    return make


LAYERS = ("0.0", "0.1", "1")
LABELS = torch.tensor([0, 2, 1, 1, 0])


@pytest.fixture
def signals(draw):
    """Return a function that runs a network on one batch and returns its signals."""

    def run(net, seed=7, n_channels=2, length=8, targets=LABELS, mask=None):
        inputs = draw(len(targets), n_channels, length, seed=seed, requires_grad=True)
        with tapped(net, LAYERS) as found:
            prediction = net(inputs)
        return Signals(
            prediction, dict(found), dict(net.named_parameters()), inputs, mask=mask, network=net, targets=targets
        )

    return run


@pytest.fixture
def pair(network, signals):
    """Return the signals of a student and of a wider teacher that sees more channels."""
    return signals(network(1)), signals(network(2, hidden=6, n_channels=5), n_channels=5)
