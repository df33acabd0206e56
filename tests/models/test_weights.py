import pytest
import torch

from pitskd.models.weights import Weights


def named(n_networks=3, dtype=torch.float64):
    """Return weights of awkward sizes, one of them a single number and one longer than a cache line."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"first.weight": (5, 7), "first.bias": (5,), "scalar": (), "last.weight": (1, 5)}
    return {name: torch.randn(n_networks, *shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}


def test_views_hold_the_weights_and_are_the_flat_vector():
    given = named()
    weights = Weights(given)
    assert weights.n_networks == 3
    for name, value in given.items():
        assert torch.equal(weights.views[name], value)
        assert weights.views[name].data_ptr() != value.data_ptr()
    weights.flat.zero_()
    assert all(not view.any() for view in weights.views.values())
    weights.grad.fill_(2.0)
    assert all((part == 2.0).all() for part in weights.gradients.values())


def test_no_two_views_share_a_number():
    weights = Weights(named())
    for number, view in enumerate(weights.views.values()):
        view.fill_(float(number))
    for number, view in enumerate(weights.views.values()):
        assert (view == float(number)).all()


def test_every_weight_starts_on_a_cache_line_of_its_own():
    weights = Weights(named(dtype=torch.float32))
    assert all(view.storage_offset() * 4 % 64 == 0 for view in weights.views.values())


def test_changing_the_views_leaves_what_was_given_alone():
    given = named()
    kept = {name: value.clone() for name, value in given.items()}
    Weights(given).flat.fill_(1.0)
    assert all(torch.equal(given[name], value) for name, value in kept.items())


def test_weights_that_require_gradients_are_copied_without_a_graph():
    given = {name: value.requires_grad_() for name, value in named().items()}
    weights = Weights(given)
    assert not weights.flat.requires_grad
    assert weights.flat.grad_fn is None


def test_like_reads_another_vector_in_the_same_layout():
    weights = Weights(named())
    other = weights.flat * 10.0
    for name, part in weights.like(other).items():
        assert torch.equal(part, weights.views[name] * 10.0)


def test_spread_repeats_one_number_per_network_and_gives_padding_none():
    weights = Weights(named())
    rates = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    flat = weights.spread(rates)
    for part in weights.like(flat).values():
        for k in range(3):
            assert (part[k] == rates[k]).all()
    n_numbers = sum(view.numel() for view in weights.views.values())
    assert int((flat != 0.0).sum()) == n_numbers


def test_norms_are_those_of_each_networks_gradient_over_all_its_weights():
    weights = Weights(named())
    for number, part in enumerate(weights.gradients.values()):
        part.copy_(torch.randn(part.shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64))
    for k in range(3):
        every = torch.cat([part[k].reshape(-1) for part in weights.gradients.values()])
        assert weights.norms()[k] == pytest.approx(every.norm().item(), rel=1e-12)
