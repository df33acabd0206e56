"""Tensors drawn from generators of their own."""

import pytest
import torch


@pytest.fixture
def draw():
    """Return a function that draws normal numbers: the same ones for the same shape and seed."""

    def normal(*shape, seed=0, dtype=torch.float64, requires_grad=False):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_(requires_grad)

    return normal
