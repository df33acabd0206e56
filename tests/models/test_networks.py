"""Networks have the shapes and sizes they promise, see the past only, and refuse what they cannot be."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from pitskd.models import GRU, MLP, TCN, Autoencoder

BUILDERS = {
    "mlp": MLP,
    "gru": GRU,
    "tcn": TCN,
    "dense": Autoencoder,
    "convolutional": partial(Autoencoder, kind="convolutional"),
}
every_builder = pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)


def size(network):
    return sum(weights.numel() for weights in network.parameters())


@every_builder
@pytest.mark.parametrize(
    ("channels", "length", "outputs"), [(3, 10, 2), (1, 1, 1), (77, 1, 1), (2, 7, 14), (1, 2, 5), (4, 1, 4)]
)
def test_windows_give_one_row_of_outputs_each(builder, channels, length, outputs):
    network = builder(n_channels=channels, length=length, n_outputs=outputs)
    assert network(torch.randn(5, channels, length)).shape == (5, outputs)
    assert network(torch.randn(1, channels, length)).shape == (1, outputs)


@every_builder
def test_every_weight_learns(builder):
    network = builder(n_channels=3, length=9, n_outputs=2)
    network(torch.randn(64, 3, 9)).square().sum().backward()
    for name, weights in network.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.any(), name


@every_builder
def test_rows_do_not_know_of_each_other(builder):
    network, rows = builder(n_channels=3, length=9, n_outputs=2).double(), torch.randn(6, 3, 9, dtype=torch.float64)
    together, alone = network(rows), torch.cat([network(row[None]) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-14)


@every_builder
def test_networks_are_pickled_and_copied_whole(builder):
    network, rows = builder(n_channels=3, length=9, n_outputs=2), torch.randn(6, 3, 9)
    for other in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert torch.equal(other(rows), network(rows))


@every_builder
def test_the_same_seed_gives_the_same_network(builder):
    first, second = (_seeded(builder) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def _seeded(builder):
    torch.manual_seed(3)
    return builder(n_channels=3, length=9, n_outputs=2)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: MLP((784, 1200, 1200, 10)), 2_395_210),
        (lambda: MLP((784, 800, 800, 10)), 1_276_810),
        (lambda: MLP(n_channels=11, length=7, n_outputs=1), (77 + 1) * 64 + 65 * 32 + 33),
        (lambda: MLP(hidden=(), n_channels=11, length=7, n_outputs=2), 78 * 2),
        # three gates, each with a bias on either side
        (lambda: GRU(hidden=8, n_channels=3, length=9, n_outputs=2), 3 * 8 * (3 + 8 + 2) + 9 * 2),
        (lambda: GRU(hidden=8, n_layers=2, n_channels=3, length=9, n_outputs=2), 24 * (3 + 8 + 2 + 8 + 8 + 2) + 18),
        # two convolutions and a shortcut of one tap; then two convolutions
        (
            lambda: TCN(hidden=8, n_blocks=2, n_channels=3, length=9, n_outputs=2),
            (3 * 3 + 1) * 8 + (8 * 3 + 1) * 8 + (3 + 1) * 8 + 2 * (8 * 3 + 1) * 8 + 9 * 2,
        ),
        (
            lambda: Autoencoder(hidden=6, bottleneck=4, n_channels=3, length=9, n_outputs=27),
            28 * 6 + 7 * 4 + 5 * 6 + 7 * 27,
        ),
        (
            lambda: Autoencoder(hidden=6, bottleneck=4, n_channels=3, length=9, n_outputs=2),
            28 * 6 + 7 * 4 + 5 * 6 + 7 * 27 + 28 * 2,
        ),
        # length 9 -> 5 -> 3 and back
        (
            lambda: Autoencoder(
                kind="convolutional", hidden=(6, 5), bottleneck=4, n_channels=3, length=9, n_outputs=27
            ),
            (3 * 3 + 1) * 6 + (6 * 3 + 1) * 5 + 16 * 4 + 5 * 15 + (5 * 3 + 1) * 6 + (6 * 3 + 1) * 3,
        ),
    ],
)
def test_parameter_counts_are_exact(network, expected):
    assert size(network()) == expected


def test_sizes_and_keywords_build_the_same_network():
    listed, built = MLP((6, 4, 2)), MLP(hidden=4, n_channels=2, length=3, n_outputs=2)
    assert repr(listed) == repr(built) == repr(MLP(np.array([6, 4, 2]), n_channels=2, length=3, n_outputs=2))
    assert repr(listed) == repr(MLP((6, 4, 2), hidden=[4]))
    assert repr(MLP((6, 64, 32, 2))) == repr(MLP(n_channels=6, n_outputs=2))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"])
def test_activations_are_as_named(name):
    network, rows = MLP((2, 5, 3), activation=name), torch.randn(4, 2)
    expected = network.head(getattr(nn.functional, name)(network.hidden[1](rows)))
    assert torch.equal(network(rows), expected)


@pytest.mark.parametrize(
    ("builder", "layer"),
    [(partial(GRU, n_layers=2), "hidden"), (partial(TCN, n_blocks=2), "blocks")],
    ids=["gru", "tcn"],
)
def test_states_know_nothing_of_later_inputs(builder, layer):
    network = builder(n_channels=3, length=12, n_outputs=2).double()
    states = getattr(network, layer)
    rows = torch.randn(4, 3, 12, dtype=torch.float64, requires_grad=True)
    changed = torch.cat([rows[..., :7], torch.randn(4, 3, 5, dtype=torch.float64)], dim=-1)
    assert torch.equal(states(rows)[..., :7], states(changed)[..., :7])
    assert not torch.equal(states(rows)[..., 7:], states(changed)[..., 7:])
    (gradient,) = torch.autograd.grad(states(rows)[..., 6].sum(), rows)
    assert not gradient[..., 7:].any()
    assert gradient[..., 6].any()


@pytest.mark.parametrize("kernel_size", [2, 3, 5])
@pytest.mark.parametrize("length", [1, 2, 5, 6, 24, 100])
def test_the_last_step_of_a_tcn_sees_the_whole_window(kernel_size, length):
    network = TCN(hidden=8, kernel_size=kernel_size, n_channels=2, length=length, n_outputs=1)
    rows = torch.randn(64, 2, length, requires_grad=True)  # so many that no path is off in every row
    (gradient,) = torch.autograd.grad(network(rows).sum(), rows)
    assert gradient.abs().sum(dim=(0, 1)).all()


@pytest.mark.parametrize(("length", "n_blocks"), [(1, 1), (5, 1), (6, 2), (13, 2), (14, 3), (29, 3), (30, 4)])
def test_a_tcn_has_no_more_blocks_than_it_needs(length, n_blocks):
    assert len(TCN(n_channels=1, length=length, n_outputs=1).blocks) == n_blocks


def test_a_tcn_sees_as_far_as_its_blocks_reach_and_no_further():
    network = TCN(hidden=8, n_blocks=2, n_channels=2, length=20, n_outputs=1)
    rows = torch.randn(64, 2, 20, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(rows).sum(), rows)
    seen = gradient.abs().sum(dim=(0, 1)) > 0
    assert seen.tolist() == [False] * (20 - 13) + [True] * 13  # 1 + 2 * 2 * (2**2 - 1)


def test_a_block_is_relu_of_input_and_two_convolutions():
    network = TCN(hidden=3, n_blocks=1, kernel_size=2, n_channels=3, length=5, n_outputs=1).double()
    rows = torch.randn(4, 3, 5, dtype=torch.float64)
    first, second = (network.blocks[0].body[i].convolution for i in (0, 2))
    inner = rows
    for layer in (first, second):
        before = torch.cat([torch.zeros(4, 3, 1, dtype=torch.float64), inner[..., :-1]], dim=-1)
        taps = torch.einsum("oc,bct->bot", layer.weight[..., 0], before)
        inner = torch.relu(taps + torch.einsum("oc,bct->bot", layer.weight[..., 1], inner) + layer.bias[:, None])
    torch.testing.assert_close(network.blocks(rows), torch.relu(rows + inner), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("builder", [MLP, Autoencoder], ids=["mlp", "dense"])
def test_windows_may_be_flat_as_the_package_flattens_them(builder):
    windows = torch.randn(4, 6, 3)  # (n_windows, window, n_channels)
    network = builder(n_channels=3, length=6, n_outputs=18)
    assert torch.equal(network(windows.mT), network(windows.flatten(1)))


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_an_autoencoder_writes_in_the_order_in_which_it_reads(kind):
    """Swapping two channels of everything, or two steps of the dense kind, is swapping the entries of flat windows."""
    network = Autoencoder(kind=kind, hidden=(), bottleneck=4, n_channels=2, length=3, n_outputs=6).double()
    windows = torch.randn(4, 3, 2, dtype=torch.float64)
    with torch.no_grad():  # code and outputs are sums of entries (t, c): the first two steps of channel 1
        read, write = (part[i] for part, i in ((network.encoder, -1), (network.decoder, 0)))
        for weights in network.parameters():
            weights.zero_()
        if kind == "dense":
            read.weight[:2] = torch.eye(6, dtype=torch.float64)[[1, 3]]
        else:  # behind the convolutions windows are still (channels, length)
            read.weight[:2] = torch.eye(6, dtype=torch.float64)[[3, 4]]
        write.weight.copy_(read.weight.mT)
    expected = torch.zeros_like(windows)
    expected[:, :2, 1] = windows[:, :2, 1]
    assert torch.equal(network(windows.mT), expected.flatten(1))


@every_builder
def test_a_slice_is_a_chain_of_the_same_parts(builder):
    network, rows = builder(n_channels=3, length=9, n_outputs=2), torch.randn(4, 3, 9)
    inner = network[:-1]
    assert type(inner) is nn.Sequential
    assert [name for name, _ in inner.named_children()] == [name for name, _ in network.named_children()][:-1]
    assert torch.equal(network[-1](inner(rows)), network(rows))
    assert network[0] is inner[0]


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_an_autoencoder_without_a_squeeze_learns_windows_as_the_package_flattens_them(kind):
    windows = torch.randn(16, 6, 2)  # (n_windows, window, n_channels)
    network = Autoencoder(kind=kind, hidden=(24,), bottleneck=16, n_channels=2, length=6, n_outputs=12)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        loss = (network(windows.mT) - windows.flatten(1)).square().mean()
        loss.backward()
        optimizer.step()
    assert loss < 0.1 * windows.var()


def test_the_convolutional_decoder_writes_time_first():
    network = Autoencoder(kind="convolutional", n_channels=2, length=6, n_outputs=12)
    rows = torch.randn(3, 2, 6)
    inner = network.decoder[:-1](network.encoder(rows))  # (batch, channels, length)
    assert torch.equal(network(rows), inner.permute(0, 2, 1).reshape(3, 12))


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_the_bottleneck_is_all_the_decoder_sees(kind):
    network = Autoencoder(kind=kind, bottleneck=3, n_channels=2, length=6, n_outputs=1)
    code = network.encoder(torch.randn(5, 2, 6))
    assert code.shape == (5, 3)
    assert network.decoder(code).shape == (5, 12)
    assert network.head(network.decoder(code)).shape == (5, 1)


@pytest.mark.parametrize("builder", [MLP, GRU, TCN])
def test_dropout_works_while_training_only(builder):
    network = builder(n_channels=2, length=6, n_outputs=1, dropout=0.5)
    plain = builder(n_channels=2, length=6, n_outputs=1)
    rows, own = torch.randn(8, 2, 6), iter(network.parameters())
    with torch.no_grad():
        for weights in plain.parameters():
            weights.copy_(next(own))
    assert not torch.equal(network.train()(rows), plain(rows))
    assert torch.equal(network.eval()(rows), plain(rows))


def test_dropout_stands_between_the_layers_and_before_the_head():
    network = GRU(n_channels=2, length=6, n_outputs=1, n_layers=3, dropout=0.5)
    kinds = [type(module).__name__ for module in (*network.hidden, *list(network)[1:])]
    assert kinds == ["Recurrent", "Dropout", "Recurrent", "Dropout", "Recurrent", "LastStep", "Dropout", "Linear"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(MLP, (3,)), r"sizes must be at least two numbers, got \(3,\)"),
        (partial(MLP, (3, 0, 1)), r"sizes must be an integer of at least 1, got 0"),
        (partial(MLP, (3, 4, 1), n_channels=2, length=2), r"sizes\[0\] must be n_channels \* length = 4, got 3"),
        (partial(MLP, (3, 4, 1), hidden=5), r"hidden must be sizes\[1:-1\] = \(4,\), got 5\. Leave out one"),
        (partial(MLP, (3, 64, 1), hidden=(64, 32)), r"hidden must be sizes\[1:-1\] = \(64,\), got \(64, 32\)"),
        (partial(MLP, (3, 4, 1), n_outputs=2), r"sizes\[-1\] must be n_outputs = 2, got 1"),
        (partial(MLP, n_channels=3), r"n_outputs must be an integer where sizes is None, got None"),
        (partial(MLP, n_outputs=3), r"n_channels must be an integer where sizes is None, got None"),
        (partial(MLP, (3, 1), activation="Relu"), r"activation must be 'relu' or .* got Relu"),
        (partial(MLP, (3, 1), dropout=1.0), r"dropout must be a number below 1, got 1\.0"),
        (partial(MLP, (3, 1), dropout=float("nan")), r"dropout must be a number between 0 and 1, got nan"),
        (partial(MLP, hidden=-1, n_channels=3, n_outputs=1), r"hidden must be an integer of at least 1, got -1"),
        (partial(GRU, hidden=0, n_channels=3, length=4, n_outputs=1), r"hidden must be an integer of at least 1"),
        (partial(GRU, n_layers=0, n_channels=3, length=4, n_outputs=1), r"n_layers must be an integer of at least 1"),
        (partial(GRU, n_channels=0, length=4, n_outputs=1), r"n_channels must be an integer of at least 1, got 0"),
        (partial(TCN, kernel_size=1, n_channels=3, length=4, n_outputs=1), r"kernel_size must be .* at least 2, got 1"),
        (partial(TCN, n_blocks=0, n_channels=3, length=4, n_outputs=1), r"n_blocks must be .* at least 1, got 0"),
        (partial(TCN, n_channels=3, length=0, n_outputs=1), r"length must be an integer of at least 1, got 0"),
        (partial(Autoencoder, kind="conv", n_channels=3, length=4, n_outputs=1), r"kind must be 'dense' or 'convol"),
        (partial(Autoencoder, bottleneck=0, n_channels=3, length=4, n_outputs=1), r"bottleneck must be .* got 0"),
        (partial(Autoencoder, n_channels=3, length=4, n_outputs=0), r"n_outputs must be an integer of at least 1"),
    ],
)
def test_impossible_networks_are_refused_in_words(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("hidden", [6.5, "64", (64, None), True])
def test_units_are_integers(hidden):
    with pytest.raises(TypeError, match=r"hidden must be an integer of at least 1, got .* Use e\.g\. 64 or \(64, 32\)"):
        MLP(hidden=hidden, n_channels=3, n_outputs=1)
