"""What is trained beside a student: adapters, translators and paraphrasers, and the losses that use them."""

from functools import partial

import pytest
import torch

from pitskd.losses.adapters import ChannelAdapter, PairAdapter, Paraphraser, SplitTranslator, Translator
from pitskd.losses.base import Signals
from pitskd.losses.feature import ActivationBoundary, FactorTransfer, FitNetHint, InheritanceExploration
from pitskd.losses.functional import features, relations
from pitskd.losses.relation import FlowOfSolution


def with_grad(net):
    return {name for name, weights in net.named_parameters() if weights.grad is not None}


def step(module, loss, rate):
    for weights, slope in zip(module.parameters(), torch.autograd.grad(loss, list(module.parameters())), strict=True):
        weights.data -= rate * slope


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


def test_weight_decay_has_an_adapter_for_equal_channels_too(network, signals):
    student, teacher = signals(network(1)), signals(network(2))
    loss = FitNetHint("0.1", "0.1", weight_decay=5.0)
    adapter = loss.adapter(student, teacher)
    plain = FitNetHint("0.1", "0.1")(student, teacher, adapter)
    torch.testing.assert_close(loss(student, teacher, adapter), plain + 5.0 * adapter.weight.square().sum())
    with pytest.raises(ValueError, match=r"adapter must be the module made by FitNetHint\.adapter, got None"):
        loss(student, teacher)


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
        adapted = partial(torch.func.functional_call, adapter, weights)
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
