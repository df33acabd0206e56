import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from pitskd.models import GRU, MLP, TCN, Autoencoder
from pitskd.models.dense import DenseChain, dense_layers
from pitskd.models.stacking import stack_parameters
from pitskd.objective import Objective
from pitskd.training import Plan, Rows, train

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


@pytest.fixture(autouse=True)
def own_generator():
    """Networks draw their first weights here without any effect on other tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def chains(kind, n_networks=3, sizes=(4, 6, 5, 2)):
    """Return dense networks in float64 with biases that are not 0."""
    generator = torch.Generator().manual_seed(0)
    networks = []
    for _ in range(n_networks):
        layers = [nn.Flatten()]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), kind()]
        network = nn.Sequential(*layers[:-1]).double()
        with torch.no_grad():
            for part in network.parameters():
                part.copy_(torch.randn(part.shape, generator=generator, dtype=torch.float64))
        networks.append(network)
    return networks


def prepared(networks):
    weights = stack_parameters(networks)
    gradients = {name: torch.full_like(part, torch.nan) for name, part in weights.items()}
    return DenseChain(weights, gradients, dense_layers(networks[0])), gradients


def inputs(n_networks=3, batch=7, n_features=4):
    return torch.randn(n_networks, batch, n_features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_gradients_written_out_are_those_of_autograd_to_twelve_digits(kind):
    networks, rows = chains(kind), inputs()
    chain, gradients = prepared(networks)
    outputs = chain.forward(rows)
    received = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    chain.backward(outputs, received)
    for k, network in enumerate(networks):
        said = network(rows[k])
        assert torch.allclose(outputs[-1][k], said, rtol=0, atol=1e-12)
        said.backward(received[k])
        for name, part in network.named_parameters():
            assert torch.allclose(gradients[name][k], part.grad, rtol=1e-12, atol=1e-12), name


def test_each_network_has_gradients_of_its_own_rows_alone():
    networks, rows = chains(nn.ReLU), inputs()
    chain, gradients = prepared(networks)
    received = torch.ones(3, 7, 2, dtype=torch.float64)
    chain.backward(chain.forward(rows), received)
    before = {name: part.clone() for name, part in gradients.items()}
    rows[1] = torch.nan
    chain.backward(chain.forward(rows), received)
    assert gradients["1.weight"][1].isnan().all()
    for name, part in gradients.items():
        assert torch.equal(part[[0, 2]], before[name][[0, 2]]), name


def test_what_was_in_the_gradients_before_is_overwritten():
    networks, rows = chains(nn.Tanh), inputs()
    chain, gradients = prepared(networks)
    received = torch.ones(3, 7, 2, dtype=torch.float64)
    chain.backward(chain.forward(rows), received)
    once = {name: part.clone() for name, part in gradients.items()}
    chain.backward(chain.forward(rows), received)
    assert all(torch.equal(part, once[name]) for name, part in gradients.items())


def test_the_inputs_and_the_received_gradient_are_left_as_they_were():
    networks, rows = chains(nn.ReLU, sizes=(4, 3)), inputs()
    chain, _ = prepared(networks)
    received = torch.ones(3, 7, 3, dtype=torch.float64)
    kept = rows.clone(), received.clone()
    chain.backward(chain.forward(rows), received)
    assert torch.equal(rows, kept[0])
    assert torch.equal(received, kept[1])


def test_the_derivative_of_relu_at_zero_is_that_of_autograd():
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].bias.zero_()
    chain, gradients = prepared([network])
    rows = torch.ones(1, 3, 1, dtype=torch.float64)
    chain.backward(chain.forward(rows), torch.ones(1, 3, 1, dtype=torch.float64))
    network(rows[0]).sum().backward()
    assert torch.equal(gradients["1.weight"][0], network[1].weight.grad)
    assert torch.equal(gradients["1.bias"][0], torch.zeros(2, dtype=torch.float64))


def test_the_layers_of_an_mlp_are_found_in_order_with_their_activations():
    network = MLP((3, 8, 4, 2), activation="tanh")
    found = dense_layers(network)
    assert [name for name, _ in found.layers] == ["hidden.1", "hidden.3", "head"]
    assert [type(activation) for _, activation in found.layers] == [nn.Tanh, nn.Tanh, type(None)]
    assert found.weights == set(network.state_dict())


FLATTENED = {
    "time first": lambda: MLP(hidden=4, n_channels=2, length=3, n_outputs=1),
    "channels first": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)),
    "autoencoder": lambda: Autoencoder(hidden=4, bottleneck=2, n_channels=2, length=3, n_outputs=6),
}


@pytest.mark.parametrize("build", FLATTENED.values(), ids=FLATTENED)
def test_windows_are_flattened_as_the_network_does(build):
    networks = [build().double() for _ in range(3)]
    chain, _ = prepared(networks)
    windows = torch.randn(3, 7, 2, 3, dtype=torch.float64)
    for network, rows, said in zip(networks, windows, chain.forward(windows)[-1], strict=True):
        assert torch.allclose(said, network(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_channels", "length"), [(77, 1), (1, 77)])
@pytest.mark.parametrize("build", [MLP, lambda **_: nn.Sequential(nn.Flatten(), nn.Linear(77, 1))])
def test_windows_of_one_step_or_one_channel_are_not_copied(build, n_channels, length):
    chain, _ = prepared([build(n_channels=n_channels, length=length, n_outputs=1)] * 2)
    windows = torch.randn(2, 7, n_channels, length)
    assert chain.forward(windows)[0].data_ptr() == windows.data_ptr()


class Odd(nn.Sequential):
    def forward(self, rows):
        return super().forward(rows) + 1.0


class ReversedMLP(MLP):
    def forward(self, rows):
        return -super().forward(rows)


def flattened(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


def layer_twice(n=3):
    layer = nn.Linear(n, n)
    return flattened(layer, nn.ReLU(), layer)


def weight_twice(n=3):
    network = flattened(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n))
    network[3].weight = network[1].weight
    return network


def with_weights_beside(network, n):
    for k in range(n):
        network.register_parameter(f"beside_{k}", nn.Parameter(torch.zeros(1)))
    return network


NO_CHAINS = {
    "batch norm": flattened(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    "no bias": flattened(nn.Linear(3, 4, bias=False), nn.Linear(4, 1)),
    "leaky": flattened(nn.Linear(3, 4), nn.LeakyReLU(), nn.Linear(4, 1)),
    "activation first": flattened(nn.ReLU(), nn.Linear(3, 1)),
    "two activations": flattened(nn.Linear(3, 4), nn.ReLU(), nn.Tanh(), nn.Linear(4, 1)),
    "does not flatten": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)),
    "flattens later": nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(4, 1)),
    "flattens batch": nn.Sequential(nn.Flatten(0), nn.Linear(3, 4)),
    "flattens nothing": nn.Sequential(nn.Flatten(1, 1), nn.Linear(3, 4)),
    "a layer twice": layer_twice(),
    "a layer twice and as many weights beside": with_weights_beside(layer_twice(), 2),
    "a weight twice and another beside": with_weights_beside(weight_twice(), 1),
    "weights beside": with_weights_beside(flattened(nn.Linear(3, 1)), 1),
    "a forward of its own": Odd(nn.Flatten(), nn.Linear(3, 1)),
    "an MLP with a forward of its own": ReversedMLP((3, 4, 1)),
    "dropout": MLP((3, 8, 2), dropout=0.5),
    "recurrent": GRU(hidden=4, n_channels=3, length=2, n_outputs=1),
    "convolutional": TCN(hidden=4, n_channels=3, length=2, n_outputs=1),
    "nothing": nn.Sequential(),
}


@pytest.mark.parametrize("network", NO_CHAINS.values(), ids=NO_CHAINS)
def test_what_is_no_chain_of_dense_layers_is_none(network):
    assert dense_layers(network) is None


TRAINED = {
    "time first": lambda: MLP(hidden=4, n_channels=2, length=3, n_outputs=1),
    "channels first": lambda: flattened(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)),
    "a layer twice and as many weights beside": lambda: with_weights_beside(layer_twice(6), 2),
    "a weight twice and another beside": lambda: with_weights_beside(weight_twice(6), 1),
}


@pytest.mark.parametrize("build", TRAINED.values(), ids=TRAINED)
@pytest.mark.parametrize("n_students", [1, 2])
def test_windows_train_chains_as_they_train_the_networks(build, n_students):
    networks = [build().double() for _ in range(n_students)]
    n_outputs = networks[0](torch.zeros(1, 2, 3, dtype=torch.float64)).shape[1]
    alone = copy.deepcopy(networks)
    rows = Rows(torch.randn(8, 2, 3, dtype=torch.float64), torch.randn(n_students, 8, n_outputs, dtype=torch.float64))
    plan = Plan([0.1] * n_students, torch.optim.SGD, max_epochs=3, batch_size=8)

    def lost(said, targets):
        return (said - targets).square().mean(dim=-1)

    outcomes = train(networks, rows, None, Objective(lost), plan, list(range(n_students)))
    for network, targets, outcome in zip(alone, rows.targets, outcomes, strict=True):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        for _ in range(3):  # one batch holds all rows
            optimizer.zero_grad()
            lost(network(rows.inputs), targets).mean().backward()
            optimizer.step()
        for weights, expected in zip(outcome.network.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(weights, expected, rtol=1e-10, atol=1e-12)


def test_a_subclass_of_a_linear_layer_may_do_anything_and_is_no_chain():
    class Scaled(nn.Linear):
        def forward(self, rows):
            return 2.0 * super().forward(rows)

    assert dense_layers(flattened(nn.Linear(3, 1))) is not None
    assert dense_layers(flattened(Scaled(3, 1))) is None
