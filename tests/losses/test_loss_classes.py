"""Losses as configured: what they read of two networks, what is trained with them, and what they refuse."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pitskd.losses._signals import hard_loss
from pitskd.losses.attention import AttentionTransfer, GradientAttention, SelfAttention
from pitskd.losses.base import Signals
from pitskd.losses.blocks import BlockImitation, WeightMatching
from pitskd.losses.feature import ActivationBoundary, FactorTransfer, FitNetHint, InheritanceExploration
from pitskd.losses.functional import attention, features, relations, spectra
from pitskd.losses.relation import (
    FlowOfSolution,
    NeuronSelectivity,
    RelationalAngle,
    RelationalDistance,
    SingularValues,
    SingularVectors,
)


def with_grad(net):
    return {name for name, weights in net.named_parameters() if weights.grad is not None}


# ---------------------------------------------------------------------------------------------- against functions


def test_losses_without_an_adapter_are_their_functions(pair):
    student, teacher = pair
    s, t = student.features["0.1"], teacher.features["0.1"]
    expected = {
        AttentionTransfer("0.1", "0.1", mode="norm"): attention.attention_transfer(s, t, "norm"),
        NeuronSelectivity("0.1", "0.1"): relations.neuron_selectivity(s, t),
        RelationalDistance("0.1", "0.1", squared=True): relations.relational_distance(s, t, squared=True),
        RelationalDistance("0.1", "0.1", normalise=False): relations.relational_distance(s, t, normalise=False),
        RelationalAngle("0.1", "0.1"): relations.relational_angle(s, t),
        SingularVectors("0.1", "0.1", n_vectors=2): spectra.singular_vectors(s, t, n_vectors=2),
        SingularValues("0.1", "0.1", n_values=3): spectra.singular_values(s, t, n_values=3),
    }
    for loss, value in expected.items():
        assert loss.adapter(student, teacher) is None
        assert loss.paraphraser(teacher) is None
        assert loss(student, teacher) == value
        assert (loss.student_layers, loss.teacher_layers) == (("0.1",), ("0.1",))


def test_drawn_triples_use_the_generator_of_the_training(pair):
    student, teacher = pair
    loss = RelationalAngle("0.1", "0.1", max_triples=20)
    values = [loss(student, teacher, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert not loss.stackable
    assert RelationalAngle("0.1", "0.1").stackable


@pytest.mark.parametrize("owner", ["student", "teacher"])
def test_the_mask_of_either_network_reaches_the_function(owner, network, signals):
    mask = torch.arange(8) < torch.tensor([8, 3, 5, 2, 6])[:, None]
    masks = {"student": None, "teacher": None} | {owner: mask}
    student, teacher = signals(network(1), mask=masks["student"]), signals(network(2), mask=masks["teacher"])
    found = AttentionTransfer("0.1", "0.1")(student, teacher)
    s, t = student.features["0.1"], teacher.features["0.1"]
    assert found == attention.attention_transfer(s, t, mask=mask)
    assert found != attention.attention_transfer(s, t)


# ---------------------------------------------------------------------------------------------- attention


def test_gradient_attention_compares_the_gradients_of_both_errors_and_trains_the_student_only(pair):
    student, teacher = pair
    loss = GradientAttention(mode="norm")
    value = loss(student, teacher)
    gradients = [
        torch.autograd.grad(nn.functional.cross_entropy(net.prediction, net.targets), net.inputs, create_graph=True)[0]
        for net in (student, teacher)
    ]
    torch.testing.assert_close(value, attention.attention_transfer(*gradients, mode="norm"))
    value.backward()
    assert "0.0.0.weight" in with_grad(student.network)
    assert with_grad(teacher.network) == set()
    assert not loss.stackable


def test_gradient_attention_has_the_derivatives_of_finite_differences(network, signals):
    net, teacher = network(1), signals(network(2))
    weights = net.get_parameter("0.0.0.weight")

    def of_weights(changed):
        student = signals(SubstitutedNetwork(net, "0.0.0.weight", changed))
        return GradientAttention()(student, teacher)

    assert torch.autograd.gradcheck(of_weights, (weights.detach().clone().requires_grad_(),))


class SubstitutedNetwork(nn.Module):
    """A network with one weight replaced, so that it can be differentiated with respect to it."""

    def __init__(self, net, name, weight):
        super().__init__()
        self.inner = [net, name, weight]
        for layer in ("0", "1"):
            self.add_module(layer, net.get_submodule(layer))

    def forward(self, inputs):
        net, name, weight = self.inner
        return torch.func.functional_call(net, {name: weight}, (inputs,))


def test_the_error_of_a_regression_counts_known_targets_only():
    prediction = torch.tensor([[1.0], [2.0], [5.0]], requires_grad=True)
    hard_loss(prediction, torch.tensor([0.0, float("nan"), 6.0])).backward()
    torch.testing.assert_close(prediction.grad[:, 0], torch.tensor([2.0, 0.0, -2.0]) / 3)


def test_networks_whose_outputs_have_no_plain_error_are_refused_before_training(draw):
    targets = draw(5, 2)
    quantiles, values = Signals(draw(5, 6), targets=targets), Signals(draw(5, 2), targets=targets)
    with pytest.raises(ValueError, match=r"student must be a network of 2 outputs, as many as the teacher.*got 6"):
        GradientAttention().adapter(Signals(quantiles.prediction), Signals(values.prediction))
    misfit = r"targets must be of shape \(5, 6\), got shape \(5, 2\)\. Give the network one"
    with pytest.raises(ValueError, match=misfit):
        GradientAttention().adapter(quantiles, Signals(quantiles.prediction))
    with pytest.raises(ValueError, match=misfit):
        hard_loss(quantiles.prediction, targets)
    for fits in (values, Signals(draw(5, 1), targets=draw(5)), Signals(draw(5, 3), targets=torch.arange(5) % 3)):
        assert GradientAttention().adapter(fits, Signals(fits.prediction)) is None


def test_gradient_attention_says_what_is_missing(pair, draw):
    student, teacher = pair
    tree = Signals(draw(5, 3), targets=student.targets)
    with pytest.raises(
        ValueError, match=r"teacher must be a network whose inputs are known, got none\. Pass a network"
    ):
        GradientAttention()(student, tree)
    unlabelled = Signals(student.prediction, inputs=student.inputs)
    with pytest.raises(ValueError, match=r"targets must be class indices or values, got None"):
        GradientAttention()(unlabelled, Signals(teacher.prediction, inputs=teacher.inputs))
    detached = Signals(student.prediction, inputs=student.inputs.detach(), targets=student.targets)
    with pytest.raises(ValueError, match=r"inputs must be a tensor with requires_grad=True"):
        GradientAttention()(detached, teacher)


def test_self_attention_is_the_mean_over_successive_layers_and_needs_no_teacher(draw):
    maps = {name: draw(5, 2 + i, 8, seed=i, requires_grad=True) for i, name in enumerate("abc")}
    student = Signals(draw(5, 1), features=maps)
    loss = SelfAttention(["a", "b", "c"])
    expected = [attention.self_attention(maps[s], maps[d]) for s, d in ("ab", "bc")]
    torch.testing.assert_close(loss(student), torch.stack(expected).mean())
    loss(student).backward()
    assert maps["a"].grad is not None
    assert maps["c"].grad is None  # the deepest layer only teaches
    assert not loss.needs_teacher
    assert loss.teacher_layers == ()


# ---------------------------------------------------------------------------------------------- blocks and weights


def test_a_block_is_fed_by_the_teacher_and_learns_alone(network, signals):
    student, teacher = signals(network(1)), signals(network(2))
    loss = BlockImitation("0.1", teacher_block="0.1", teacher_input="0.0")
    assert loss.adapter(student, teacher) is None
    value = loss(student, teacher)
    block = student.network.get_submodule("0.1")
    expected = features.hint(block(teacher.features["0.0"].detach()), teacher.features["0.1"])
    assert value == expected
    value.backward()
    assert with_grad(student.network) == {"0.1.0.weight", "0.1.0.bias"}
    assert with_grad(teacher.network) == set()


def test_a_block_keeps_its_statistics_while_it_is_fed_by_the_teacher(network, signals):
    nets = [network(seed) for seed in (1, 2)]
    for net in nets:
        net[0][1].append(nn.BatchNorm1d(4, dtype=torch.float64))
    student, teacher = (signals(net) for net in nets)
    before = {name: buffer.clone() for name, buffer in student.network.named_buffers()}
    value = BlockImitation("0.1", "0.1", "0.0")(student, teacher)
    assert len(before) == 3
    for name, buffer in student.network.named_buffers():
        assert torch.equal(buffer, before[name])
    expected = features.hint(student.network.get_submodule("0.1")(teacher.features["0.0"]), teacher.features["0.1"])
    torch.testing.assert_close(value, expected)  # it is normalised by the batch all the same
    value.backward()
    assert with_grad(student.network) == {"0.1.0.weight", "0.1.0.bias", "0.1.2.weight", "0.1.2.bias"}


def test_a_copy_of_the_teachers_block_has_no_loss(network, signals):
    net = network(2)
    assert BlockImitation("0.1", "0.1", "0.0")(signals(net), signals(net)) == 0.0


def test_blocks_that_do_not_take_or_give_the_teachers_shapes_are_refused(pair, network, signals):
    student, teacher = pair
    with pytest.raises(
        ValueError, match=r"student_block must be a block that takes the output of '0\.0', got one that f"
    ):
        BlockImitation("0.1", "0.1", "0.0").adapter(student, teacher)
    with pytest.raises(ValueError, match=r"with output of shape \(5, 3\) as '1' gives, got shape \(5, 4, 8\)"):
        BlockImitation("0.1", "1", "0.0").adapter(student, signals(network(3)))
    with pytest.raises(ValueError, match=r"Sequential has no layer '0\.7'\. It has: '0'"):
        BlockImitation("0.7", "0.1", "0.0")(student, teacher)
    with pytest.raises(ValueError, match=r"student must be signals with their network, got None"):
        BlockImitation("0.1", "0.1", "0.0")(Signals(student.prediction), teacher)


def test_weights_are_matched_by_name_or_by_pairs(network, signals, draw):
    student, teacher = signals(network(1)), signals(network(2))
    assert WeightMatching()(student, teacher) == features.weight_matching(student.parameters, teacher.parameters)
    deeper = Signals(draw(5, 1), parameters={**teacher.parameters, "more": draw(3)})
    assert WeightMatching()(student, deeper) == WeightMatching()(student, teacher)
    named = WeightMatching(("0.0.0.bias", "1.1.bias"), ("0.1.0.bias", "1.1.bias"))
    assert named(student, student) == features.weight_matching(
        [student.parameters["0.0.0.bias"], student.parameters["1.1.bias"]],
        [student.parameters["0.1.0.bias"], student.parameters["1.1.bias"]],
    )
    assert WeightMatching()(student, student) == 0.0


def test_weights_that_cannot_be_paired_are_refused(network, signals, draw):
    student, wide = signals(network(1)), signals(network(2, hidden=6))
    with pytest.raises(ValueError, match=r"of shape \(6, 2, 3\) at 0, got shape \(4, 2, 3\)"):
        WeightMatching(["0.0.0.weight"], ["0.0.0.weight"]).adapter(student, wide)
    with pytest.raises(
        ValueError, match=r"student_parameters must be names of .* got nose\. The network has: '0\.0\.0"
    ):
        WeightMatching(["nose"], ["0.0.0.weight"]).adapter(student, wide)
    without = (
        r"got one without '0\.0\.0\.weight', '0\.0\.0\.bias', .*'1\.1\.weight'\. Name pairs"  # but the head's bias
    )
    with pytest.raises(ValueError, match=without):
        WeightMatching().adapter(student, wide)
    with pytest.raises(ValueError, match=r"every weight of the student, by name and shape, got one without 'v'\."):
        WeightMatching()(Signals(draw(5, 1), parameters={"v": draw(2)}), Signals(draw(5, 1), parameters={"w": draw(2)}))
    with pytest.raises(ValueError, match=r"every weight of the student.*got a student without weights"):
        WeightMatching()(Signals(draw(5, 1)), student)
    with pytest.raises(ValueError, match=r"teacher_parameters must be 2 names, one per student parameter"):
        WeightMatching(["a", "b"], ["a"])
    with pytest.raises(ValueError, match=r"teacher_parameters must be None as student_parameters"):
        WeightMatching(teacher_parameters=["a"])


# ---------------------------------------------------------------------------------------------- wrong settings


def test_a_teacher_without_features_is_told_from_an_unknown_layer(pair, draw):
    student, teacher = pair
    loss = FitNetHint("0.1", "0.1")
    with pytest.raises(
        ValueError, match=r"teacher must be a network with features of layer '0\.1', got features of none"
    ):
        loss(student, Signals(draw(5, 3)))
    with pytest.raises(
        ValueError, match=r"student must be .* layer 'encoder', got features of '0\.0', '0\.1', '1'\. Pass"
    ):
        FitNetHint("encoder", "0.1").adapter(student, teacher)


def test_features_of_other_axes_or_windows_cannot_be_matched(pair, draw):
    student, _ = pair
    images = Signals(draw(5, 3), features={"0.1": draw(5, 3, 8, 8)})
    with pytest.raises(
        ValueError, match=r"teacher must be features \(batch, channels, length\).*got shape \(5, 3, 8, 8\)"
    ):
        FitNetHint("0.1", "0.1").adapter(student, images)
    fewer = Signals(draw(4, 3), features={"0.1": draw(4, 4, 8)})
    with pytest.raises(ValueError, match=r"teacher must be features of 5 windows, got 4 windows"):
        FitNetHint("0.1", "0.1")(student, fewer)


WRONG = [
    (
        lambda: FitNetHint("a", "a", weight_decay=-1.0),
        ValueError,
        r"weight_decay must be a finite number of at least 0",
    ),
    (
        lambda: FitNetHint("", "a"),
        ValueError,
        r"student_layer must be the name of a layer, got ''\. Take one of network",
    ),
    (lambda: FitNetHint("a", None), TypeError, r"teacher_layer must be the name of a layer, got None"),
    (lambda: ActivationBoundary("a", "a", margin=0.0), ValueError, r"margin must be a finite number above 0"),
    (lambda: AttentionTransfer("a", "a", mode="l1"), ValueError, r"mode must be 'mse' or 'norm', got l1"),
    (lambda: GradientAttention("l1"), ValueError, r"mode must be 'mse' or 'norm', got l1"),
    (
        lambda: SelfAttention(("a",)),
        ValueError,
        r"student_layers must be a sequence of two layers or more.*got 1 names",
    ),
    (lambda: SelfAttention(("a", 3)), TypeError, r"student_layers\[1\] must be the name of a layer, got 3"),
    (lambda: FlowOfSolution("ab", ("a", "b")), TypeError, r"student_layers must be a pair of layers.*got 'ab'"),
    (lambda: FlowOfSolution(("a", "b"), ("a", "b", "c")), ValueError, r"teacher_layers must be a pair of layers"),
    (
        lambda: FactorTransfer("a", "a", paraphrase_rate=0.0),
        ValueError,
        r"paraphrase_rate must be a finite number above",
    ),
    (lambda: FactorTransfer("a", "a", paraphrase_rate=1.5), ValueError, r"paraphrase_rate must be a number between 0"),
    (
        lambda: InheritanceExploration("a", "a", exploration_weight=float("nan")),
        ValueError,
        "exploration_weight must be",
    ),
    (lambda: RelationalDistance("a", "a", squared="no"), TypeError, r"squared must be True or False, got no"),
    (lambda: RelationalAngle("a", "a", max_triples=0), ValueError, r"max_triples must be an integer of at least 1"),
    (lambda: SingularVectors("a", "a", n_vectors=1.0), TypeError, r"n_vectors must be an integer of at least 1"),
    (
        lambda: WeightMatching("ab", "ab"),
        TypeError,
        r"student_parameters must be a sequence of names of weights, got 'ab'",
    ),
]


@pytest.mark.parametrize("case", [SimpleNamespace(make=m, kind=k, words=w) for m, k, w in WRONG], ids=lambda c: c.words)
def test_wrong_settings_are_refused_when_they_are_made(case):
    with pytest.raises(case.kind, match=case.words):
        case.make()
