import pytest
import torch
from torch import nn

from pitskd.models import GRU, MLP, TCN
from pitskd.models.dense import DenseChain, dense_layers
from pitskd.models.stacking import stack_parameters

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def chains(kind, n_networks=3, sizes=(4, 6, 5, 2)):
    """Return dense networks in float64 with biases that are not 0."""
    generator = torch.Generator().manual_seed(0)
    networks = []
    for _ in range(n_networks):
        layers = [nn.Flatten()]
        for n_in, n_out in zip(sizes, sizes[1:], strict=False):
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
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.zero_()
    chain, gradients = prepared([network])
    rows = torch.ones(1, 3, 1, dtype=torch.float64)
    chain.backward(chain.forward(rows), torch.ones(1, 3, 1, dtype=torch.float64))
    network(rows[0]).sum().backward()
    assert torch.equal(gradients["0.weight"][0], network[0].weight.grad)
    assert torch.equal(gradients["0.bias"][0], torch.zeros(2, dtype=torch.float64))


def test_the_layers_of_an_mlp_are_found_in_order_with_their_activations():
    found = dense_layers(MLP((3, 8, 4, 2), activation="tanh"))
    assert [name for name, _ in found][-1] == "head"
    assert len(found) == 3
    assert [type(activation) for _, activation in found] == [nn.Tanh, nn.Tanh, type(None)]


class Odd(nn.Sequential):
    def forward(self, rows):
        return super().forward(rows) + 1.0


class ReversedMLP(MLP):
    def forward(self, rows):
        return -super().forward(rows)


NO_CHAINS = {
    "batch norm": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    "no bias": nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 1)),
    "leaky": nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU(), nn.Linear(4, 1)),
    "activation first": nn.Sequential(nn.ReLU(), nn.Linear(3, 1)),
    "two activations": nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Tanh(), nn.Linear(4, 1)),
    "flattens later": nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(4, 1)),
    "flattens batch": nn.Sequential(nn.Flatten(0), nn.Linear(3, 4)),
    "a forward of its own": Odd(nn.Linear(3, 1)),
    "an MLP with a forward of its own": ReversedMLP((3, 4, 1)),
    "dropout": MLP((3, 8, 2), dropout=0.5),
    "recurrent": GRU(hidden=4, n_channels=3, length=2, n_outputs=1),
    "convolutional": TCN(hidden=4, n_channels=3, length=2, n_outputs=1),
    "nothing": nn.Sequential(),
}


@pytest.mark.parametrize("network", NO_CHAINS.values(), ids=NO_CHAINS)
def test_what_is_no_chain_of_dense_layers_is_none(network):
    assert dense_layers(network) is None


def test_a_subclass_of_a_linear_layer_may_do_anything_and_is_no_chain():
    class Scaled(nn.Linear):
        def forward(self, rows):
            return 2.0 * super().forward(rows)

    assert dense_layers(nn.Sequential(Scaled(3, 1))) is None
