"""Losses as configured: what they read of two networks, what is trained with them, and what they refuse."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pitskd.losses._signals import hard_loss
from pitskd.losses.adapters import ChannelAdapter, PairAdapter, Paraphraser, SplitTranslator, Translator
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
    SingularVectors,
)
from pitskd.models.taps import tapped


@pytest.fixture
def network(draw):
    """Return a function that makes a network of two convolutional blocks and a head, its weights drawn by seed."""

    def make(seed, hidden=4, n_channels=2, length=8, n_outputs=3):
        blocks = nn.Sequential(
            nn.Sequential(nn.Conv1d(n_channels, hidden, 3, padding=1, device="meta"), nn.Tanh()),
            nn.Sequential(nn.Conv1d(hidden, hidden, 3, padding=1, device="meta"), nn.Tanh()),
        )
        head = nn.Sequential(nn.Flatten(), nn.Linear(hidden * length, n_outputs, device="meta"))
        made = nn.Sequential(blocks, head)
        for order, (name, weights) in enumerate(list(made.named_parameters())):
            owner, _, last = name.rpartition(".")
            drawn = nn.Parameter(0.5 * draw(*weights.shape, seed=100 * seed + order))
            setattr(made.get_submodule(owner), last, drawn)
        return made

    return make


LAYERS = ("0.0", "0.1", "1")
LABELS = torch.tensor([0, 2, 1, 1, 0])


@pytest.fixture
def signals(draw):
    """Return a function that runs a network on one batch and returns its signals."""

    def run(net, seed=7, n_channels=2, length=8, targets=LABELS, mask=None):
        inputs = draw(len(targets), n_channels, length, seed=seed, requires_grad=True)
        with tapped(net, LAYERS) as found:
            prediction = net(inputs)
        return Signals(
            prediction, dict(found), dict(net.named_parameters()), inputs, mask=mask, network=net, targets=targets
        )

    return run


@pytest.fixture
def pair(network, signals):
    """Return the signals of a student and of a wider teacher that sees more channels."""
    return signals(network(1)), signals(network(2, hidden=6, n_channels=5), n_channels=5)


def with_grad(net):
    return {name for name, weights in net.named_parameters() if weights.grad is not None}


def step(module, loss, rate):
    for weights, slope in zip(module.parameters(), torch.autograd.grad(loss, list(module.parameters())), strict=True):
        weights.data -= rate * slope


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
        SingularVectors("0.1", "0.1", n_vectors=2): spectra.singular_vectors(s, t, 2),
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


# ---------------------------------------------------------------------------------------------- adapters


def test_an_adapter_is_made_where_channels_differ_and_only_there(pair, network, signals):
    student, teacher = pair
    for loss in (FitNetHint("0.1", "0.1"), ActivationBoundary("0.0", "0.0")):
        assert isinstance(loss.adapter(student, teacher), ChannelAdapter)
        assert loss.adapter(student, signals(network(3))) is None
    flow = FlowOfSolution(("0.0", "0.1"), ("0.0", "0.1"))
    assert isinstance(flow.adapter(student, teacher), PairAdapter)
    assert flow.adapter(student, signals(network(3))) is None


def test_an_adapted_loss_is_the_function_of_adapted_features(pair):
    student, teacher = pair
    hint, boundary = FitNetHint("0.1", "0.1"), ActivationBoundary("0.1", "0.1", margin=0.3)
    adapter = hint.adapter(student, teacher)
    adapted, taught = adapter(student.features["0.1"]), teacher.features["0.1"]
    assert adapted.shape == taught.shape
    assert hint(student, teacher, adapter) == features.hint(adapted, taught)
    assert boundary(student, teacher, adapter) == features.activation_boundary(adapted, taught, margin=0.3)
    flow = FlowOfSolution(("0.0", "0.1"), ("0.0", "0.1"))
    both = flow.adapter(student, teacher)
    adapted = both((student.features["0.0"], student.features["0.1"]))
    expected = relations.fsp(adapted, (teacher.features["0.0"], teacher.features["0.1"]))
    assert flow(student, teacher, both) == expected


def test_an_adapter_is_the_same_each_time_semi_orthogonal_and_as_precise_as_the_features(pair):
    student, teacher = pair
    twice = [FitNetHint("0.1", "0.1").adapter(student, teacher) for _ in range(2)]
    assert torch.equal(twice[0].weight, twice[1].weight)
    assert twice[0].weight.dtype == torch.float64
    assert all(weights.requires_grad for weights in twice[0].parameters())
    for n_channels, n_adapted in ((3, 7), (7, 3), (5, 5)):
        weight = ChannelAdapter(n_channels, n_adapted).weight.double()
        gram = weight @ weight.T if n_adapted <= n_channels else weight.T @ weight
        torch.testing.assert_close(gram, torch.eye(len(gram)).double(), atol=1e-6, rtol=0)
        assert (weight.abs() > 1e-4).float().mean() > 0.8


def test_adapters_take_units_and_are_trained_to_a_linear_relation(draw):
    units, exact = draw(40, 3), draw(5, 3, seed=1)
    student = Signals(units, features={"hidden": units})
    teacher = Signals(units, features={"hidden": units @ exact.T + 2.0})
    loss = FitNetHint("hidden", "hidden")
    adapter = loss.adapter(student, teacher)
    for _ in range(300):
        step(adapter, loss(student, teacher, adapter), rate=1.0)
    torch.testing.assert_close(adapter.weight.data, exact, atol=1e-4, rtol=0)
    assert loss(student, teacher, adapter) < 1e-8


def test_weight_decay_counts_the_weights_of_the_adapter_only(pair):
    student, teacher = pair
    plain, decayed = FitNetHint("0.1", "0.1"), FitNetHint("0.1", "0.1", weight_decay=0.5)
    adapter = plain.adapter(student, teacher)
    expected = plain(student, teacher, adapter) + 0.5 * adapter.weight.square().sum()
    torch.testing.assert_close(decayed(student, teacher, adapter), expected)
    assert not decayed.stackable


def test_a_hint_reaches_no_layer_above_the_guided_one_and_the_adapter_is_no_part_of_the_student(pair):
    student, teacher = pair
    loss = FitNetHint("0.0", "0.0")
    adapter = loss.adapter(student, teacher)
    loss(student, teacher, adapter).backward()
    assert with_grad(student.network) == {"0.0.0.weight", "0.0.0.bias"}
    assert with_grad(teacher.network) == set()
    assert with_grad(adapter) == {"weight", "bias"}
    own = {id(weights) for weights in student.network.parameters()}
    assert not own & {id(weights) for weights in adapter.parameters()}


def test_stacked_students_train_stacked_adapters(draw):
    loss, teacher = FitNetHint("a", "a"), Signals(draw(6, 1), features={"a": draw(6, 5, 4, seed=1)})
    hidden = draw(3, 6, 2, 4, seed=2)
    adapter = loss.adapter(Signals(draw(6, 1), features={"a": hidden[0]}), teacher)
    weights = {name: w.detach() + draw(3, *w.shape, seed=3) for name, w in adapter.named_parameters()}

    def of_one(weights, maps):
        adapted = lambda *given: torch.func.functional_call(adapter, weights, given)  # noqa: E731
        return loss(Signals(maps[:, 0], features={"a": maps}), teacher, adapted)

    slopes, values = torch.vmap(torch.func.grad_and_value(of_one))(weights, hidden)
    for i, maps in enumerate(hidden):
        alone, value = torch.func.grad_and_value(of_one)({name: w[i] for name, w in weights.items()}, maps)
        torch.testing.assert_close(values[i], value)
        torch.testing.assert_close(slopes["weight"][i], alone["weight"])


# ---------------------------------------------------------------------------------------------- factors


def test_factor_transfer_compares_translated_with_paraphrased_features(pair):
    student, teacher = pair
    loss = FactorTransfer("0.1", "0.1", paraphrase_rate=0.5)
    translator, paraphraser = loss.adapter(student, teacher), loss.paraphraser(teacher)
    own, taught = translator(student.features["0.1"]), paraphraser(teacher.features["0.1"])
    assert own.shape == taught.shape == (5, 3, 8)  # half of the teacher's six channels
    assert loss(student, teacher, translator, paraphraser) == features.factor_transfer(own, taught)


@pytest.mark.parametrize("kind", [FactorTransfer, InheritanceExploration])
def test_the_paraphraser_is_trained_in_stage_one_and_frozen_in_stage_two(kind, pair):
    student, teacher = pair
    loss = kind("0.1", "0.1")
    adapter, paraphraser = loss.adapter(student, teacher), loss.paraphraser(teacher)
    before = paraphraser.reconstruction(teacher)
    for _ in range(200):
        step(paraphraser, paraphraser.reconstruction(teacher), rate=0.2)
    assert paraphraser.reconstruction(teacher) < 0.5 * before
    loss(student, teacher, adapter, paraphraser).backward()
    assert with_grad(paraphraser) == set()
    assert with_grad(teacher.network) == set()
    assert with_grad(adapter) == {name for name, _ in adapter.named_parameters()}
    assert "0.1.0.weight" in with_grad(student.network)


def test_without_exploration_the_inheriting_half_does_factor_transfer(pair):
    student, teacher = pair
    loss = InheritanceExploration("0.1", "0.1", exploration_weight=0.0)
    halves, paraphraser = loss.adapter(student, teacher), loss.paraphraser(teacher)
    first_half = Signals(student.prediction, features={"0.1": student.features["0.1"][:, :2]})
    expected = FactorTransfer("0.1", "0.1")(first_half, teacher, halves.inheriting, paraphraser)
    assert loss(student, teacher, halves, paraphraser) == expected


def test_exploration_moves_the_other_half_away_from_the_teacher(pair):
    student, teacher = pair
    loss = InheritanceExploration("0.1", "0.1", exploration_weight=2.0)
    halves, paraphraser = loss.adapter(student, teacher), loss.paraphraser(teacher)
    inherited, explored = halves(student.features["0.1"])
    factor = paraphraser(teacher.features["0.1"])
    expected = features.factor_transfer(inherited, factor) - 2.0 * features.factor_transfer(explored, factor)
    torch.testing.assert_close(loss(student, teacher, halves, paraphraser), expected)
    for _ in range(20):
        step(halves, loss(student, teacher, halves, paraphraser), rate=1.0)
    nearer, farther = halves(student.features["0.1"])
    assert features.factor_transfer(nearer, factor) < features.factor_transfer(inherited, factor)
    assert features.factor_transfer(farther, factor) > features.factor_transfer(explored, factor)


@pytest.mark.parametrize("module", [Translator(3, 2), SplitTranslator(3, 2), Paraphraser("a", 3, 2)], ids=repr)
def test_padded_windows_have_the_factors_of_the_shorter_ones(module, draw):
    module.double()
    for order, weights in enumerate(module.parameters()):
        weights.data = draw(*weights.shape, seed=order)
    maps, mask = draw(4, 3, 8, seed=9), (torch.arange(8) < 5).expand(4, 8)
    padded, shorter = module(maps, mask), module(maps[..., :5])
    for found, expected in zip(*((f if isinstance(f, tuple) else (f,)) for f in (padded, shorter)), strict=True):
        torch.testing.assert_close(found[..., :5], expected)
        assert (found[..., 5:] == 0).all()
    if isinstance(module, Paraphraser):
        alone = module.reconstruction(Signals(maps, features={"a": maps[..., :5]}))
        torch.testing.assert_close(module.reconstruction(Signals(maps, features={"a": maps}, mask=mask)), alone)


@pytest.mark.parametrize("kind", [FactorTransfer, InheritanceExploration])
def test_factors_do_not_see_padded_steps_of_either_network(kind, network, signals):
    mask = torch.arange(8) < torch.tensor([8, 3, 5, 2, 6])[:, None]
    student, teacher = signals(network(1), mask=mask), signals(network(2, hidden=6), mask=mask)
    loss = kind("0.1", "0.1")
    modules = loss.adapter(student, teacher), loss.paraphraser(teacher)
    modules[1].get_parameter("encoder.convolution.weight").data += 0.3  # neighbours count, as after training
    value = loss(student, teacher, *modules)
    for given, other in ((student, "student"), (teacher, "teacher")):
        filled = Signals(given.prediction, features={"0.1": given.features["0.1"].masked_fill(~mask[:, None], 1e3)})
        pair = (filled, teacher) if other == "student" else (student, filled)
        masked = [Signals(each.prediction, features=each.features, mask=mask) for each in pair]
        torch.testing.assert_close(loss(*masked, *modules), value)


def test_what_a_loss_cannot_do_without_is_asked_for(pair):
    student, teacher = pair
    loss = FactorTransfer("0.1", "0.1")
    with pytest.raises(ValueError, match=r"adapter must be the module made by FactorTransfer\.adapter, got None"):
        loss(student, teacher)
    with pytest.raises(ValueError, match=r"paraphraser must be the module made by FactorTransfer\.paraphraser"):
        loss(student, teacher, loss.adapter(student, teacher))


def test_one_channel_cannot_be_split_into_halves(draw, pair):
    narrow = Signals(draw(5, 1), features={"0.1": draw(5, 1, 8)})
    with pytest.raises(
        ValueError, match=r"student_layer must be a layer of at least 2 channels.*got 1\. Choose a wider"
    ):
        InheritanceExploration("0.1", "0.1").adapter(narrow, pair[1])


# ---------------------------------------------------------------------------------------------- attention


def test_gradient_attention_compares_the_gradients_of_both_errors_and_trains_the_student_only(pair):
    student, teacher = pair
    loss = GradientAttention(mode="norm")
    value = loss(student, teacher)
    gradients = [
        torch.autograd.grad(nn.functional.cross_entropy(net.prediction, LABELS), net.inputs, create_graph=True)[0]
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


def test_gradient_attention_says_what_is_missing(pair, draw):
    student, teacher = pair
    tree = Signals(draw(5, 3), targets=LABELS)
    with pytest.raises(
        ValueError, match=r"teacher must be a network whose inputs are known, got none\. Pass a network"
    ):
        GradientAttention()(student, tree)
    unlabelled = Signals(student.prediction, inputs=student.inputs)
    with pytest.raises(ValueError, match=r"targets must be class indices or values, got None"):
        GradientAttention()(unlabelled, Signals(teacher.prediction, inputs=teacher.inputs))
    detached = Signals(student.prediction, inputs=student.inputs.detach(), targets=LABELS)
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


def test_weights_are_matched_by_common_names_or_by_pairs(network, signals, draw):
    student, wide = signals(network(1)), signals(network(2, hidden=6))
    common = WeightMatching()(student, wide)
    assert common == features.weight_matching([student.parameters["1.1.bias"]], [wide.parameters["1.1.bias"]])
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
    with pytest.raises(ValueError, match=r"shares a name and shape of weights with the student, got none"):
        WeightMatching().adapter(student, Signals(draw(5, 1), parameters={"w": draw(2)}))
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
