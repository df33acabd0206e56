"""Named layers are read during a forward pass, gradients included, and nothing stays behind."""

import pytest
import torch
from torch import nn

from pitskd.models import GRU, MLP
from pitskd.models.taps import check_layers, layer_names, tapped


def hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


def test_features_are_what_the_layers_gave():
    network, rows = MLP((4, 3, 2)), torch.randn(5, 4)
    with tapped(network, ("hidden", "hidden.1", "head")) as features:
        prediction = network(rows)
    assert list(features) == ["hidden.1", "hidden", "head"]  # as they ran
    assert torch.equal(features["hidden"], network.hidden(rows))
    assert torch.equal(features["hidden.1"].relu(), features["hidden"])
    assert features["head"] is prediction


def test_a_loss_on_a_feature_trains_the_layers_below_alone():
    network = MLP((4, 3, 3, 2))
    with tapped(network, ["hidden.2"]) as features:
        network(torch.randn(5, 4))
    features["hidden.2"].square().sum().backward()
    assert network.hidden[1].weight.grad.any()
    assert network.hidden[3].weight.grad is None
    assert network.head.weight.grad is None


def test_of_a_tuple_the_first_tensor_is_kept():
    network, rows = GRU(hidden=4, n_channels=2, length=6, n_outputs=1), torch.randn(3, 2, 6)
    with tapped(network, ["hidden.0.gru", "hidden"]) as features:
        network(rows)
    assert torch.equal(features["hidden.0.gru"].mT, features["hidden"])


def test_each_pass_replaces_what_was_there():
    network = MLP((4, 3, 2))
    with tapped(network, ["hidden"]) as features:
        network(torch.zeros(5, 4))
        network(torch.ones(2, 4))
    assert torch.equal(features["hidden"], network.hidden(torch.ones(2, 4)))


def test_no_hook_stays_behind():
    network = MLP((4, 3, 2))
    with tapped(network, ["hidden", "hidden", "head"]):
        assert hooks(network) == 2
    assert hooks(network) == 0


def test_no_hook_stays_behind_after_an_error():
    network = MLP((4, 3, 2))
    with pytest.raises(RuntimeError, match="cannot be multiplied"), tapped(network, ["hidden"]):
        network(torch.zeros(5, 7))
    with pytest.raises(ValueError, match="no layer 'encoder'"), tapped(network, ["hidden", "encoder"]):
        pass
    assert hooks(network) == 0


def test_without_names_nothing_is_hooked():
    network = MLP((4, 3, 2))
    with tapped(network, ()) as features:
        assert hooks(network) == 0
        network(torch.zeros(5, 4))
    assert features == {}


@pytest.mark.parametrize("layers", [None, 3])
def test_no_list_of_names_is_refused_in_words(layers):
    with pytest.raises(TypeError, match=rf"layers must be names of layers, got {layers}\. Pass a list"):
        tapped(MLP((4, 3, 2)), layers).__enter__()


class Giving(nn.Module):
    """Gives what it is told beside its input."""

    def __init__(self, give):
        super().__init__()
        self.inner = nn.Identity()
        self.give = give

    def forward(self, inputs):
        return self.give(self.inner(inputs))


@pytest.mark.parametrize(
    ("give", "kind"),
    [(lambda t: {"state": t}, "dict"), (lambda t: ("state", t), "tuple"), (lambda t: (), "tuple"), (str, "str")],
)
def test_a_layer_that_gives_no_tensor_is_refused_in_words(give, kind):
    network = nn.Sequential(Giving(give))
    message = rf"layers must be layers that give a tensor, got '0', which gives {kind}\. Name a layer inside"
    with pytest.raises(TypeError, match=message), tapped(network, ["0"]):
        network(torch.ones(2))
    assert hooks(network) == 0
    with tapped(network, ["0.inner"]) as features:
        network(torch.ones(2))
    assert torch.equal(features["0.inner"], torch.ones(2))


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_what_an_activation_in_place_overwrites_is_kept_as_it_was(context):
    network, rows = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 1)), torch.randn(5, 4)
    with context(), tapped(network, ["0", "1"]) as features:
        network(rows)
    assert torch.equal(features["0"], network[0](rows))
    assert torch.equal(features["1"], network[0](rows).relu())


def test_a_loss_on_what_is_overwritten_has_the_gradient_of_what_was():
    network, rows = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True)), torch.randn(5, 4)
    with tapped(network, ["0"]) as features:
        network(rows)
    (gradient,) = torch.autograd.grad(features["0"].sum(), network[0].weight)
    torch.testing.assert_close(gradient, rows.sum(dim=0).expand(3, -1))


class InPlace(nn.Module):
    """Overwrites what its first layer gave without telling."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, inputs):
        return self.second(self.first(inputs).relu_())


def test_what_is_overwritten_unannounced_is_refused_in_words():
    network, rows = InPlace(), torch.randn(5, 4)
    message = r"layers must be layers whose outputs last, got 'first', overwritten in place\. Use e\.g\. relu instead"
    with pytest.raises(ValueError, match=message), tapped(network, ["first"]):
        network(rows)
    assert hooks(network) == 0
    with tapped(network, ["second"]) as features:
        assert network(rows) is features["second"]
    with tapped(network, ["first"], copies=True) as features:
        network(rows)
    assert torch.equal(features["first"], network.first(rows))


def test_names_are_those_of_named_modules():
    assert layer_names(MLP((4, 3, 2))) == ["head", "hidden", "hidden.0", "hidden.1", "hidden.2"]
    assert layer_names(nn.Identity()) == []


def test_known_layers_are_returned_as_a_tuple():
    assert check_layers("student_layers", MLP((4, 3, 2)), ["head"]) == ("head",)
    assert check_layers("student_layers", MLP((4, 3, 2)), "hidden.1") == ("hidden.1",)


@pytest.mark.parametrize(
    ("network", "layer", "message"),
    [
        (MLP, "encoder", r"hint must be .*, got encoder\. MLP has no layer 'encoder'\. It has: 'head', 'hidden', 'hid"),
        (MLP, "", r"MLP has no layer ''\."),
        (lambda sizes: nn.Identity(), "head", r"Identity has no layer 'head'\. It has none\."),
        (lambda sizes: nn.Sequential(*(nn.ReLU() for _ in range(50))), "head", r"'0', '1', '10', .* and 10 more\."),
    ],
)
def test_an_unknown_layer_lists_the_known_ones(network, layer, message):
    with pytest.raises(ValueError, match=message):
        check_layers("hint", network((4, 3, 2)), [layer])


def test_a_layer_is_named_by_a_string():
    with pytest.raises(TypeError, match=r"hint must be the name of a layer, got 0\. Pass a string such as 'head'\."):
        check_layers("hint", MLP((4, 3, 2)), [0])
