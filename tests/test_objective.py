"""Gradients of terms that are written out equal those of the losses themselves."""

from functools import partial

import pytest
import torch

from pitskd.losses import LogitRegression, SoftTargets, SquaredError
from pitskd.objective import Batch, Objective, cross_entropy, squared_error


@pytest.fixture
def draw():
    return partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def classes(draw, *shape):
    return torch.nn.functional.one_hot(draw(*shape, 3).argmax(dim=-1), 3).to(torch.float64)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [None, SquaredError(), SoftTargets(), LogitRegression()], ids=repr)
@pytest.mark.parametrize("hard", [squared_error, cross_entropy])
def test_slopes_are_the_gradients_of_the_terms(hard, soft, weighted, draw):
    said, heat = draw(4, 7, 3), torch.tensor([[0.5], [1.0], [3.0], [20.0]], dtype=torch.float64)
    targets = classes(draw, 4, 7) if hard is cross_entropy else draw(4, 7, 3)
    weights = draw(2, 4, 7).abs()
    batch = Batch(draw(4, 7, 1, 1), targets, weights[0] if weighted else None, draw(4, 7, 3) * 4, weights[1])
    objective, students = Objective(hard, soft, heat), torch.tensor([3, 0, 1, 2])
    terms, slope = objective.slopes(said, batch, students)
    known = said.clone().requires_grad_()
    expected = objective.targets(known, batch, students)
    torch.stack(list(expected.values())).sum().backward()
    assert terms.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(terms[name], term.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(slope, known.grad, rtol=1e-12, atol=1e-14)


def test_slopes_of_softened_classes_keep_their_digits_at_a_large_offset(draw):
    said, told = draw(1, 5, 3), draw(1, 5, 3)
    weight, heat = torch.ones(1, 5), torch.ones(1, 1) * 2.0
    objective = Objective(cross_entropy, SoftTargets(), heat)
    near = Batch(draw(1, 5, 1, 1), classes(draw, 1, 5).float(), None, told.float(), weight)
    exact = objective.slopes(said.float(), near)[1]
    far = Batch(near.inputs, near.targets, None, told.float() + 1e4, weight)
    shifted = objective.slopes(said.float() + 1e4, far)[1]
    torch.testing.assert_close(shifted, exact, rtol=0.0, atol=1e-3)  # 1e4 leaves logits three decimals in float32
