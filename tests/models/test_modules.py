"""Each module against its definition; the masks of dropout against the laws of chance."""

import copy
import zlib
from functools import partial

import pytest
import torch
from torch import nn

from pitskd.models import GRU, MLP, TCN
from pitskd.models.modules import (
    CausalConv1d,
    Dropout,
    LastStep,
    Recurrent,
    Residual,
    Stretch,
    TimeMajor,
    differentiates_data,
    set_noise,
)


def masks(p, *, n=4096, keys=(0, 1, 2, 2**40), steps=range(8), numbers=range(3)):
    """Return one row of kept (1) and dropped (0) elements per key, step and layer."""
    rows = []
    for step in steps:
        for number in numbers:
            layer = Dropout(p)
            layer.step, layer.number = step, number
            rows.append(layer.factors(torch.Size([n]), torch.tensor(keys), torch.zeros((), dtype=torch.float64)))
    return (torch.cat(rows) > 0).double()


def reference_words(key, word, n):
    """The hash in Python's unbounded integers."""
    full = 2**32 - 1
    seed = ((key ^ (key >> 32)) * 0x9E3779B1 + word) & full
    for index in range(n):
        x = index ^ seed
        x = ((x ^ (x >> 16)) * 0x7FEB352D) & full
        x = ((x ^ (x >> 15)) * 0x846CA68B) & full
        yield x - 2**32 if x >= 2**31 else x


@pytest.mark.parametrize("key", [0, 1, 12345, 2**31, 2**32 - 1, 2**63 - 1])
def test_masks_are_the_hash_computed_by_other_means(key):
    layer, n = Dropout(0.25), 300
    layer.step, layer.number = 7, 2
    words = list(reference_words(key, zlib.crc32(b"(7, 2)"), n))
    expected = [0.0 if word < -(2**30) else 4 / 3 for word in words]  # the lowest quarter of signed words
    factors = layer.factors(torch.Size([n]), torch.tensor(key), torch.zeros((), dtype=torch.float64))
    assert factors.tolist() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_dropped_is_p_everywhere(p):
    kept = masks(p)
    score = (kept.mean() - (1 - p)) / (p * (1 - p) / kept.numel()) ** 0.5
    by_place = (kept.mean(dim=0) - (1 - p)) / (p * (1 - p) / len(kept)) ** 0.5
    assert abs(score) < 4  # standard deviations
    assert by_place.abs().max() < 5.5  # the largest of 4096
    assert 0.9 < by_place.std() < 1.1


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_masks_of_keys_steps_and_layers_are_independent(p):
    scores = (masks(p) - (1 - p)) / (p * (1 - p)) ** 0.5
    correlations = scores @ scores.T / scores.shape[1] ** 0.5
    pairs = correlations[torch.ones_like(correlations).triu(1) > 0]  # standard normal if independent
    assert pairs.abs().max() < 5  # the largest of 4560
    assert 0.95 < pairs.std() < 1.05


@pytest.mark.parametrize("lag", [1, 2, 3, 8, 32, 64, 1024])
def test_neighbours_are_dropped_independently(lag):
    scores = 2 * masks(0.5) - 1
    assert abs((scores[:, lag:] * scores[:, :-lag]).mean()) < 4 / scores[:, lag:].numel() ** 0.5


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_dropout_keeps_the_mean_and_scales_the_rest(p):
    layer = Dropout(p)
    set_noise(layer, key=0, step=0)
    outputs = layer(torch.ones(200, 500, dtype=torch.float64))
    assert set(outputs.unique().tolist()) == {0.0, 1.0 / (1.0 - p)}
    assert abs(outputs.mean() - 1) < 4 * (p / (1 - p) / outputs.numel()) ** 0.5


def test_the_gradient_passes_where_the_value_did():
    inputs = torch.randn(50, 20, dtype=torch.float64, requires_grad=True)
    outputs = Dropout(0.3)(inputs)
    (gradient,) = torch.autograd.grad(outputs.sum(), inputs)
    torch.testing.assert_close(gradient * inputs, outputs)


def test_key_and_step_alone_decide_and_layers_differ():
    def run(key, step):
        set_noise(network, key=key, step=step)
        return network(torch.ones(30, 40))

    network = nn.Sequential(Dropout(0.5), Dropout(0.5))
    assert torch.equal(run(3, 4), run(3, 4))
    assert not torch.equal(run(3, 4), run(3, 5))
    assert not torch.equal(run(3, 4), run(4, 4))
    assert not torch.equal(network[0](torch.ones(30, 40)), network[1](torch.ones(30, 40)))


def test_dropout_does_nothing_in_evaluation_or_at_zero():
    inputs = torch.randn(5, 4)
    assert Dropout(0.5).eval()(inputs) is inputs
    assert Dropout(0.0)(inputs) is inputs


def test_masks_do_not_depend_on_the_dtype_of_what_is_dropped():
    layer = Dropout(0.5)
    set_noise(layer, key=0, step=0)
    single, double = layer(torch.ones(9, 9)), layer(torch.ones(9, 9, dtype=torch.float64))
    assert single.dtype == torch.float32
    assert torch.equal(single.double(), double)


def test_with_noise_set_the_global_generator_is_not_used():
    layer, before = Dropout(0.5), torch.get_rng_state()
    set_noise(layer, key=0, step=0)
    layer(torch.ones(9))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [0.2, 0.9])
def test_before_noise_is_set_it_is_the_dropout_of_torch(p):
    inputs = torch.randn(50, 40)
    torch.manual_seed(1)
    ours = [Dropout(p)(inputs) for _ in range(2)]
    torch.manual_seed(1)
    assert torch.equal(ours[0], nn.Dropout(p)(inputs))
    assert torch.equal(ours[1], nn.Dropout(p)(inputs))
    assert not torch.equal(*ours)


@pytest.mark.parametrize(
    "builder",
    [partial(MLP, hidden=64), partial(GRU, hidden=64, n_layers=2), partial(TCN, hidden=16)],
    ids=["mlp", "gru", "tcn"],
)
def test_a_loop_of_torch_drops_other_units_in_each_step(builder):
    network, rows = builder(dropout=0.5, n_channels=2, length=5, n_outputs=3), torch.randn(6, 2, 5)
    said = [network(rows) for _ in range(2)]
    assert not torch.equal(*said)


def test_evaluation_ends_the_masks_of_a_step():
    network, rows = MLP((4, 64, 3), dropout=0.5), torch.randn(6, 4)
    set_noise(network, key=1, step=2)
    network.train()
    assert torch.equal(network(rows), network(rows))
    network.eval()
    network.train()
    assert not torch.equal(network(rows), network(rows))


def test_the_key_is_no_weight_and_is_copied_with_the_network():
    layer = Dropout(0.5)
    set_noise(layer, key=2**62, step=1)
    assert layer.state_dict() == {}
    assert int(copy.deepcopy(layer).key) == 2**62


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"key": -1, "step": 0}, r"key must be an integer of at least 0, got -1"),
        ({"key": 2**63, "step": 0}, r"key must be below 2\*\*63"),
        ({"key": 0, "step": -1}, r"step must be an integer of at least 0, got -1"),
    ],
)
def test_noise_out_of_range_is_refused(noise, message):
    with pytest.raises(ValueError, match=message):
        set_noise(Dropout(0.5), **noise)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan"), None])
def test_dropping_everything_or_less_than_nothing_is_refused(p):
    with pytest.raises(ValueError, match=r"p must be a number b"):
        Dropout(p)


def test_time_major_is_the_flattening_of_the_package():
    windows = torch.randn(4, 6, 3)  # (n_windows, window, n_channels)
    flat = TimeMajor()(windows.mT)
    assert torch.equal(flat, windows.flatten(1))
    assert flat.data_ptr() == windows.data_ptr()  # a view where windows are stored row by row
    assert torch.equal(TimeMajor()(flat), flat)


@pytest.mark.parametrize("shape", [(5, 1), (1, 5)])
def test_one_step_or_one_channel_is_flattened_without_a_copy(shape):
    windows = torch.randn(4, *shape)
    flat = TimeMajor()(windows)
    assert torch.equal(flat, windows.flatten(1))
    assert flat.data_ptr() == windows.data_ptr()


def test_images_are_flattened_row_by_row_with_their_channels_last():
    images = torch.randn(2, 3, 4, 5)
    assert torch.equal(TimeMajor()(images), images.permute(0, 2, 3, 1).flatten(1))
    assert torch.equal(TimeMajor()(images[:, :1]), images[:, :1].flatten(1))


def test_the_last_step_is_the_last_in_time():
    inputs = torch.randn(4, 3, 6)
    assert torch.equal(LastStep()(inputs), inputs[:, :, 5])


@pytest.mark.parametrize(("length", "expected"), [(3, [1, 1, 2]), (4, [1, 1, 2, 2]), (1, [1])])
def test_stretch_says_each_step_twice_from_the_first_on(length, expected):
    steps = torch.tensor([[1, 2]]).expand(3, 2)[:, : (length + 1) // 2]
    assert Stretch(length)(steps).tolist() == [expected] * 3


def test_a_causal_convolution_is_a_sum_over_the_past():
    layer = CausalConv1d(1, 1, kernel_size=3, dilation=2)
    with torch.no_grad():
        layer.convolution.weight.copy_(torch.tensor([[[1.0, 10.0, 100.0]]]))
        layer.convolution.bias.zero_()
    outputs = layer(torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]]))
    assert outputs.tolist() == [[[100, 200, 310, 420, 531, 642]]]


def test_a_recurrent_layer_is_its_equations():
    layer, inputs = Recurrent(2, 3).double(), torch.randn(4, 2, 5, dtype=torch.float64)
    w_input, w_state, b_input, b_state = layer.gru.parameters()
    state, states = torch.zeros(4, 3, dtype=torch.float64), []
    for t in range(5):
        i_reset, i_keep, i_new = (inputs[..., t] @ w_input.T + b_input).split(3, dim=1)
        s_reset, s_keep, s_new = (state @ w_state.T + b_state).split(3, dim=1)
        keep = torch.sigmoid(i_keep + s_keep)
        state = keep * state + (1 - keep) * torch.tanh(i_new + torch.sigmoid(i_reset + s_reset) * s_new)
        states.append(state)
    torch.testing.assert_close(layer(inputs), torch.stack(states, dim=2), rtol=1e-12, atol=1e-14)


def test_data_are_differentiated_if_something_below_is_no_weight():
    data, hidden = torch.randn(4, 2, 5), nn.Sequential(Recurrent(2, 3), nn.Conv1d(3, 3, 1))
    assert not differentiates_data(data)
    assert not differentiates_data(hidden(data))
    assert not differentiates_data(next(hidden.parameters()))
    data.requires_grad_()
    assert differentiates_data(data)
    assert differentiates_data(data.transpose(1, 2))
    assert differentiates_data(hidden(data))
    assert not differentiates_data(hidden(data.detach()))
    assert not differentiates_data(hidden(data).detach())


class OnGPU(torch.Tensor):
    """A tensor that says that it lies on a GPU."""

    is_cuda = True


@pytest.mark.parametrize(("wanted", "enabled"), [(False, True), (True, False)])
def test_on_a_gpu_cudnn_is_left_out_where_data_are_differentiated(wanted, enabled):
    network, rows, seen = GRU(hidden=3, n_layers=2, n_channels=2, length=5, n_outputs=1), torch.randn(4, 2, 5), []
    for layer in network.hidden:
        layer.gru.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    network(rows.as_subclass(OnGPU).requires_grad_(wanted))
    assert seen == [enabled] * 2
    assert torch.backends.cudnn.enabled


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU in this machine")
@pytest.mark.parametrize("training", [True, False])
def test_second_derivatives_of_a_recurrent_network_are_the_same_on_a_gpu(training):
    network = GRU(hidden=3, n_layers=2, n_channels=2, length=5, n_outputs=1).double().train(training)
    rows, found = torch.randn(4, 2, 5, dtype=torch.float64), []
    for device in ("cpu", "cuda"):
        own, seen = copy.deepcopy(network).to(device), rows.to(device).requires_grad_()
        (slope,) = torch.autograd.grad(own(seen).square().sum(), seen, create_graph=True)
        slope.square().sum().backward()
        found.append([weights.grad.cpu() for weights in own.parameters() if weights.grad is not None])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_a_residual_adds_body_and_shortcut():
    inputs = torch.randn(4, 3)
    assert torch.equal(Residual(nn.Tanh())(inputs), torch.relu(inputs + inputs.tanh()))
    assert torch.equal(Residual(nn.Tanh(), nn.Sigmoid())(inputs), torch.relu(inputs.sigmoid() + inputs.tanh()))
