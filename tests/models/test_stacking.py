"""A stack of networks is each network run alone: values, gradients, features and masks."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from pitskd.models import GRU, MLP, TCN, Autoencoder
from pitskd.models.modules import CausalConv1d, Dropout, LastStep, Recurrent, Residual, TimeMajor, set_noise
from pitskd.models.stacking import StackedNetwork, can_stack, stack_parameters
from pitskd.models.taps import layer_names, tapped

N, BATCH, CHANNELS, LENGTH = 3, 5, 2, 7
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}  # float64, sums in another order


def stacked_forward(network, *given, **named):
    return StackedNetwork(network)(*given, **named)


def moved(network, by):
    """Return a copy whose weights are larger by a number."""
    own = copy.deepcopy(network)
    with torch.no_grad():
        for weights in own.parameters():
            weights += by
    return own


def _name(builder):
    return next((name for name, known in NETWORKS.items() if known is builder), getattr(builder, "__name__", ""))


NETWORKS = {
    "mlp": partial(MLP, hidden=(6, 4), dropout=0.3),
    "linear": partial(MLP, hidden=()),
    "tanh": partial(MLP, hidden=4, activation="tanh"),
    "gru": partial(GRU, hidden=4, n_layers=2, dropout=0.3),
    "tcn": partial(TCN, hidden=4, dropout=0.3),
    "dense": partial(Autoencoder, hidden=6, bottleneck=3),
    "convolutional": partial(Autoencoder, kind="convolutional", hidden=(4, 3), bottleneck=3),
}


class Mixing(nn.Module):
    """A module of a user's own, without a rule."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(CHANNELS, LENGTH))
        self.norm = nn.LayerNorm(LENGTH)
        self.drop = Dropout(0.4)

    def forward(self, inputs):
        return self.drop(self.norm(inputs * torch.softmax(self.weight, dim=-1)))


def own_network(**shape):
    return nn.Sequential(Mixing(), nn.Flatten(1), nn.Linear(CHANNELS * LENGTH, shape["n_outputs"], bias=False))


class OwnForward(nn.Module):
    """A network of a user's own, whose parts are known but not its forward pass."""

    def __init__(self, n_channels, length, n_outputs):
        super().__init__()
        self.first = nn.Linear(n_channels * length, 4)
        self.drop = Dropout(0.4)
        self.second = nn.Linear(4, n_outputs)

    def forward(self, inputs):
        return self.second(self.drop(torch.sin(self.first(inputs.flatten(1)))))


def shared_parts(n_channels, length, n_outputs):
    """One activation and one layer at two places each."""
    activation, layer, drop = nn.Tanh(), nn.Linear(4, 4), Dropout(0.4)
    first = nn.Linear(n_channels * length, 4)
    inner = nn.Sequential(layer, activation, drop)
    return nn.Sequential(nn.Flatten(), first, activation, inner, layer, activation, drop, nn.Linear(4, n_outputs))


every_network = pytest.mark.parametrize(
    "builder", [*NETWORKS.values(), own_network, OwnForward, shared_parts], ids=_name
)


def networks_of(builder, n=N):
    return [builder(n_channels=CHANNELS, length=LENGTH, n_outputs=2).double().train() for _ in range(n)]


def leaves(networks):
    """Return stacked weights as strided views of one flat tensor, one row per network."""
    stacked = stack_parameters(networks)
    flat = torch.cat([weights.flatten(1) for weights in stacked.values()], dim=1)
    parts = flat.split([weights[0].numel() for weights in stacked.values()], dim=1)
    views = {name: part.view_as(stacked[name]) for part, name in zip(parts, stacked, strict=True)}
    return {name: view.detach().requires_grad_() for name, view in views.items()}


def windows(n=N):
    return torch.randn(n, BATCH, CHANNELS, LENGTH, dtype=torch.float64, requires_grad=True)


@every_network
def test_a_stack_is_each_network_alone_in_values_features_and_gradients(builder):
    networks, inputs, keys = networks_of(builder), windows(), torch.tensor([11, 2**40 + 5, 2**63 - 1])
    template = networks_of(builder, 1)[0]
    parameters, layers = leaves(networks), layer_names(template)
    set_noise(template, key=0, step=9)
    prediction, features = StackedNetwork(template)(parameters, inputs, layers, keys)
    total = prediction.sin().sum() + sum(feature.square().sum() for feature in features.values())
    gradients = torch.autograd.grad(total, [*parameters.values(), inputs])

    assert set(features) == set(layers)
    for i, network in enumerate(networks):
        set_noise(network, key=int(keys[i]), step=9)
        own = inputs[i].detach().requires_grad_()
        with tapped(network, layers) as alone:
            single = network(own)
        torch.testing.assert_close(prediction[i], single, **TOLERANCE)
        for layer in layers:
            torch.testing.assert_close(features[layer][i], alone[layer], **TOLERANCE)
        (single.sin().sum() + sum(feature.square().sum() for feature in alone.values())).backward()
        for stacked, weights in zip(gradients, [*network.parameters(), own], strict=True):
            torch.testing.assert_close(stacked[i], weights.grad, **TOLERANCE)


@every_network
def test_a_stack_in_evaluation_mode_drops_nothing(builder):
    networks = [network.eval() for network in networks_of(builder)]
    inputs = windows()
    prediction, _ = stacked_forward(networks[0], stack_parameters(networks), inputs, keys=torch.arange(N))
    torch.testing.assert_close(
        prediction, torch.stack([f(x) for f, x in zip(networks, inputs, strict=True)]), **TOLERANCE
    )


@pytest.mark.parametrize("builder", NETWORKS.values(), ids=NETWORKS)
def test_our_networks_run_by_rules_alone(builder):
    assert StackedNetwork(networks_of(builder, 1)[0]).mapped == ()


def test_a_module_without_a_rule_is_the_only_one_mapped():
    assert StackedNetwork(networks_of(own_network, 1)[0]).mapped == ("0",)


@every_network
def test_networks_may_see_the_same_rows(builder):
    networks, rows = networks_of(builder), windows(1)
    parameters = stack_parameters(networks)
    set_noise(networks[0], key=5, step=2)
    expanded, _ = stacked_forward(networks[0], parameters, rows.expand(N, -1, -1, -1))
    copied, _ = stacked_forward(networks[0], parameters, rows.repeat(N, 1, 1, 1))
    torch.testing.assert_close(expanded, copied, **TOLERANCE)


@every_network
def test_without_keys_all_networks_have_the_mask_of_the_template(builder):
    network, rows = networks_of(builder, 1)[0], windows(1)
    set_noise(network, key=5, step=2)
    prediction, _ = stacked_forward(network, stack_parameters([network] * 2), rows.expand(2, -1, -1, -1))
    torch.testing.assert_close(prediction, network(rows[0]).expand(2, -1, -1), **TOLERANCE)


def test_without_noise_torch_drops_in_a_stack_too():
    networks, rows = networks_of(NETWORKS["mlp"]), windows(1).expand(2, -1, -1, -1)
    parameters = stack_parameters([networks[0]] * 2)
    first, second = (stacked_forward(networks[0], parameters, rows)[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


def test_the_template_lends_no_weights():
    networks, inputs = networks_of(NETWORKS["gru"]), windows()
    parameters = stack_parameters(networks)
    for i in range(2):
        set_noise(networks[i], key=0, step=0)
    first, second = (stacked_forward(networks[i], parameters, inputs)[0] for i in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(CHANNELS, 4, 3, stride=2, padding=1, dilation=2, groups=2, bias=False),
        nn.Conv1d(CHANNELS, 3, 3, padding="same"),
        nn.Conv1d(CHANNELS, 3, 3, padding=1, padding_mode="circular"),
        nn.Linear(LENGTH, 3),
        CausalConv1d(CHANNELS, 3, 2, dilation=3),
        Recurrent(CHANNELS, 3),
        Residual(nn.Tanh(), nn.Conv1d(CHANNELS, CHANNELS, 1)),
        nn.Sequential(nn.Flatten(1, 2), nn.Unflatten(1, (LENGTH, CHANNELS)), LastStep()),
        TimeMajor(),
        nn.Sequential(nn.utils.parametrize.register_parametrization(nn.Linear(LENGTH, 3), "weight", nn.Softplus())),
    ],
    ids=repr,
)
def test_every_layer_alone_is_as_in_a_stack(layer):
    layers = [moved(layer.double(), i) for i in range(N)]
    inputs = windows()
    outputs, _ = stacked_forward(layer, stack_parameters(layers), inputs)
    torch.testing.assert_close(outputs, torch.stack([f(x) for f, x in zip(layers, inputs, strict=True)]), **TOLERANCE)


def test_hooks_of_a_user_run_in_a_stack_too():
    network, inputs = nn.Sequential(nn.Linear(LENGTH, 3), nn.Tanh()).double(), windows()
    network[1].register_forward_hook(lambda module, args, output: 2 * output)
    outputs, _ = stacked_forward(network, stack_parameters([network] * N), inputs)
    torch.testing.assert_close(outputs, 2 * torch.tanh(network[0](inputs)), **TOLERANCE)


def test_tied_weights_gather_both_gradients():
    def tied(**_):
        first, second = nn.Linear(4, 4), nn.Linear(4, 4)
        second.weight = first.weight
        return nn.Sequential(nn.Flatten(-2), nn.Linear(CHANNELS * LENGTH, 4), first, nn.Tanh(), second)

    networks, inputs = networks_of(tied), windows()
    parameters = leaves(networks)
    stacked_forward(networks[0], parameters, inputs)[0].sin().sum().backward()
    for i, network in enumerate(networks):
        network(inputs[i]).sin().sum().backward()
        for name, weights in network.named_parameters():
            torch.testing.assert_close(parameters[name].grad[i], weights.grad, **TOLERANCE)


def test_gradients_are_added_in_place_to_those_that_are_there():
    networks = networks_of(NETWORKS["mlp"])
    parameters = {name: weights.requires_grad_() for name, weights in stack_parameters(networks).items()}
    held = {name: torch.ones_like(weights) for name, weights in parameters.items()}
    for name, weights in parameters.items():
        weights.grad = held[name]
    prediction, _ = stacked_forward(networks[0], parameters, windows())
    expected = torch.autograd.grad(prediction.sum(), list(parameters.values()), retain_graph=True)
    prediction.sum().backward()
    for weights, gradient, mine in zip(parameters.values(), expected, held.values(), strict=True):
        assert weights.grad is mine
        torch.testing.assert_close(mine, 1 + gradient, **TOLERANCE)


def test_an_unknown_layer_lists_the_known_ones():
    network = MLP((4, 3, 1))
    with pytest.raises(ValueError, match=r"MLP has no layer 'encoder'\. It has: 'head', 'hidden', 'hidden\.0'"):
        stacked_forward(network, stack_parameters([network]), torch.zeros(1, 2, 4), layers=("encoder",))


@every_network
def test_our_networks_and_modules_that_vmap_takes_can_be_stacked(builder):
    network = networks_of(builder, 1)[0].eval()
    state = {name: weights.clone() for name, weights in network.state_dict().items()}
    assert can_stack(network, windows(1)[0])
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(weights, state[name]) for name, weights in network.state_dict().items())


def test_without_an_example_only_known_modules_can_be_stacked():
    assert can_stack(networks_of(NETWORKS["gru"], 1)[0])
    assert not can_stack(networks_of(own_network, 1)[0])


class Branching(nn.Module):
    def forward(self, inputs):
        return inputs if inputs.sum() > 0 else -inputs


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(CHANNELS),
        nn.Dropout(0.5),
        Branching(),
        nn.utils.parametrizations.weight_norm(nn.Linear(LENGTH, LENGTH)),
    ],
    ids=["state beside the weights", "global generator", "branch on values", "run one by one"],
)
def test_what_cannot_be_stacked_is_told(layer):
    assert not can_stack(nn.Sequential(layer, nn.Flatten(), nn.Linear(CHANNELS * LENGTH, 1)).double(), windows(1)[0])


class Ageing(nn.Module):
    """Works, and says that it will not for ever."""

    def forward(self, inputs):
        warnings.warn("of old age", FutureWarning, stacklevel=2)
        return 2.0 * inputs


def test_warnings_of_a_module_do_not_matter():
    network = nn.Sequential(Ageing(), nn.Flatten(), nn.Linear(CHANNELS * LENGTH, 1)).double()
    assert can_stack(network, windows(1)[0])


class Failing(nn.Module):
    def forward(self, inputs):
        raise LookupError("whatever")


def test_what_fails_cannot_be_stacked():
    assert not can_stack(nn.Sequential(Failing(), nn.Linear(LENGTH, 1)).double(), windows(1)[0])


class InPlace(nn.Module):
    """Overwrites what its first layer gave without telling."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(LENGTH, 4), nn.Linear(4, 1)

    def forward(self, inputs):
        return self.second(self.first(inputs).relu_())


def _in_place():
    return nn.Sequential(nn.Linear(LENGTH, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("build", "layer"),
    [(_in_place, "0"), (InPlace, "first"), (lambda: nn.Sequential(InPlace()), "0.first")],
    ids=["by rules", "mapped", "mapped inside"],
)
def test_features_are_not_overwritten_by_what_comes_behind(build, layer):
    networks, inputs = [build().double() for _ in range(N)], windows()
    parameters = leaves(networks)
    _, features = stacked_forward(networks[0], parameters, inputs, [layer])
    features[layer].sum().backward()
    for i, network in enumerate(networks):
        own = network.get_submodule(layer)
        torch.testing.assert_close(features[layer][i], own(inputs[i]), **TOLERANCE)
        own(inputs[i]).sum().backward()
        torch.testing.assert_close(parameters[f"{layer}.weight"].grad[i], own.weight.grad, **TOLERANCE)


def test_second_derivatives_pass_through_a_stack():
    network = networks_of(NETWORKS["tanh"], 1)[0]
    parameters, rows = stack_parameters([network, network]), windows(2)
    stacked = StackedNetwork(network)
    assert torch.autograd.gradgradcheck(lambda rows: stacked(parameters, rows)[0], rows)
