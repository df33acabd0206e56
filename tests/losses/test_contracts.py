"""What every loss meets without being named: found by walking subclasses, run on small networks."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections import OrderedDict

import pytest
import torch
from torch import nn

from pitskd import losses
from pitskd.losses import DistillationLoss, ResponseLoss, Signals, functional
from pitskd.models.taps import tapped

# Arguments without a default, by name, for the networks below; a new one belongs here.
ARGUMENTS = {
    "student_layer": "first",
    "teacher_layer": "first",
    "student_layers": ("first", "second"),
    "teacher_layers": ("first", "second"),
    "student_block": "second",
    "teacher_block": "second",
    "teacher_input": "first",
    "quantiles": (0.1, 0.9),
}
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])


def leaves(interface):
    """Return all classes of the package that nobody subclasses, as configured by their defaults."""
    for module in pkgutil.iter_modules(losses.__path__):
        importlib.import_module(f"pitskd.losses.{module.name}")
    found = {}
    waiting = list(interface.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__module__.startswith("pitskd.losses") and not inspect.isabstract(kind):
            needed = (p.name for p in inspect.signature(kind).parameters.values() if p.default is p.empty)
            found[kind.__name__] = kind(**{name: ARGUMENTS[name] for name in needed})
    return [found[name] for name in sorted(found)]


DISTILLATION, RESPONSE = leaves(DistillationLoss), leaves(ResponseLoss)
each_distillation = pytest.mark.parametrize("loss", DISTILLATION, ids=lambda loss: type(loss).__name__)
each_response = pytest.mark.parametrize("loss", RESPONSE, ids=lambda loss: type(loss).__name__)
each_loss = pytest.mark.parametrize("loss", DISTILLATION + RESPONSE, ids=lambda loss: type(loss).__name__)


def network(draw, seed, hidden=4, length=7, dtype=torch.float64):
    """Return a small network of weights drawn by seed."""
    made = nn.Sequential(
        OrderedDict(
            first=nn.utils.skip_init(nn.Conv1d, 2, hidden, 3, padding=1, dtype=dtype),
            between=nn.Tanh(),
            second=nn.utils.skip_init(nn.Conv1d, hidden, hidden, 3, padding=1, dtype=dtype),
            flat=nn.Flatten(),
            head=nn.utils.skip_init(nn.Linear, hidden * length, 2, dtype=dtype),
        )
    )
    with torch.no_grad():
        for order, weights in enumerate(made.parameters()):
            weights.copy_(draw(*weights.shape, seed=100 * seed + order) / 2)
    return made


def signals_of(net, inputs, targets=LABELS):
    """Return everything a network tells on one batch."""
    inputs = inputs.clone().requires_grad_()
    with tapped(net, ["first", "second"]) as features:
        prediction = net(inputs)
    parameters = dict(net.named_parameters())
    return Signals(prediction, dict(features), parameters, inputs, network=net, targets=targets[: len(inputs)])


def compare(loss, student, teacher):
    """Return the loss of one batch as the training would compute it."""
    adapter, paraphraser = loss.adapter(student, teacher), loss.paraphraser(teacher)
    return loss(student, teacher, adapter, paraphraser)


def both(draw, inputs, dtype=torch.float64):
    return network(draw, 1, dtype=dtype), network(draw, 2, dtype=dtype), inputs.to(dtype)


# -- all losses -------------------------------------------------------------------------------------------------------


def test_there_are_losses_of_both_kinds():
    assert len(DISTILLATION) >= 14
    assert len(RESPONSE) >= 8


@each_loss
def test_every_loss_is_exported_by_its_room(loss):
    assert type(loss).__name__ in losses.__all__
    assert getattr(losses, type(loss).__name__) is type(loss)


def test_every_pure_function_is_exported_once():
    names = []
    for module in pkgutil.iter_modules(functional.__path__):
        names += importlib.import_module(f"pitskd.losses.functional.{module.name}").__all__
    assert sorted(names) == sorted(functional.__all__)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", functional.__all__)
def test_settings_that_have_a_default_are_given_by_keyword_but_for_the_well_known_ones(name):
    for parameter in inspect.signature(getattr(functional, name)).parameters.values():
        if parameter.default is not parameter.empty and parameter.name not in ("temperature", "mode", "margin"):
            assert parameter.kind is parameter.KEYWORD_ONLY, parameter


@each_loss
def test_a_loss_is_its_settings_and_survives_pickling_copying_and_typing(loss):
    for again in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), eval(repr(loss), vars(losses))):
        assert again == loss
        assert hash(again) == hash(loss)
        assert repr(again) == repr(loss)
    assert not any(isinstance(value, torch.Tensor | nn.Module) for value in vars(loss).values())


def test_losses_of_other_settings_differ():
    kinds = [type(loss) for loss in DISTILLATION + RESPONSE]
    assert len({*DISTILLATION, *RESPONSE}) == len(kinds)
    assert losses.LabelSmoothing(0.1) != losses.LabelSmoothing(0.2)
    assert losses.LabelSmoothing(0.1) == losses.LabelSmoothing()
    assert repr(losses.LabelSmoothing(0.2)) == "LabelSmoothing(eps=0.2)"


@each_loss
def test_settings_are_documented(loss):
    kind = type(loss)
    documented = inspect.getdoc(kind)
    for name in inspect.signature(kind).parameters:
        assert name in documented
    assert ">>>" in documented


# -- losses on features, gradients, weights ---------------------------------------------------------------------------


@each_distillation
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_reaches_the_student_only(draw, loss, dtype):
    student, teacher, inputs = both(draw, draw(6, 2, 7), dtype)
    value = compare(loss, signals_of(student, inputs), signals_of(teacher, inputs))
    assert value.shape == ()
    assert value.dtype == dtype
    assert value.item() != 0  # exploration rewards, so that a loss may be negative
    value.backward()
    gradients = [weights.grad for weights in student.parameters() if weights.grad is not None]
    assert max(gradient.abs().max() for gradient in gradients) > 1e-6
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(weights.grad is None for weights in teacher.parameters())


@each_distillation
def test_a_step_against_the_gradient_lessens_the_loss(draw, loss):
    student, teacher, inputs = both(draw, draw(6, 2, 7))
    before = compare(loss, signals_of(student, inputs), signals_of(teacher, inputs))
    gradients = torch.autograd.grad(before, list(student.parameters()), allow_unused=True)
    with torch.no_grad():
        for weights, gradient in zip(student.parameters(), gradients, strict=True):
            if gradient is not None:
                weights -= 1e-4 * gradient / gradient.norm().clamp_min(1e-12)
    assert compare(loss, signals_of(student, inputs), signals_of(teacher, inputs)) < before


@each_distillation
@pytest.mark.parametrize("batch", ["one", "duplicates", "zeros"])
def test_degenerate_batches_have_finite_gradients(draw, loss, batch):
    inputs = {"one": draw(1, 2, 7), "duplicates": draw(1, 2, 7).repeat(6, 1, 1), "zeros": torch.zeros(6, 2, 7).double()}
    student, teacher, inputs = both(draw, inputs[batch])
    value = compare(loss, signals_of(student, inputs), signals_of(teacher, inputs))
    assert value.isfinite()
    value.backward()
    assert all(weights.grad is None or weights.grad.isfinite().all() for weights in student.parameters())


@each_distillation
def test_the_order_of_a_batch_does_not_matter(draw, loss):
    student, teacher, inputs = both(draw, draw(6, 2, 7))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    value = compare(loss, signals_of(student, inputs), signals_of(teacher, inputs))
    moved = (signals_of(net, inputs[order], LABELS[order]) for net in (student, teacher))
    torch.testing.assert_close(compare(loss, *moved), value, rtol=1e-10, atol=1e-13)


# Blocks are fed the teacher's features as they are: other widths are refused.
ADAPTING = [loss for loss in DISTILLATION if loss.teacher_layers and not isinstance(loss, losses.BlockImitation)]


@pytest.mark.parametrize("loss", ADAPTING, ids=lambda loss: type(loss).__name__)
def test_adapters_to_other_widths_come_from_shapes_alone_and_are_trained(draw, loss):
    student, teacher = network(draw, 1), network(draw, 2, hidden=6)
    adapters = [
        loss.adapter(signals_of(student, draw(6, 2, 7, seed=seed)), signals_of(teacher, draw(6, 2, 7, seed=seed)))
        for seed in (3, 4)
    ]
    inputs = draw(6, 2, 7)
    own, taught = signals_of(student, inputs), signals_of(teacher, inputs)
    value = loss(own, taught, adapters[0], loss.paraphraser(taught))
    assert value.isfinite()
    if adapters[0] is not None:
        for one, other in zip(adapters[0].parameters(), adapters[1].parameters(), strict=True):
            assert torch.equal(one, other)
        value.backward()
        assert any(weights.grad is not None and weights.grad.any() for weights in adapters[0].parameters())


@each_distillation
def test_a_paraphraser_learns_from_the_teacher_and_teaches_it_nothing(draw, loss):
    teacher = network(draw, 2)
    signals = signals_of(teacher, draw(6, 2, 7))
    paraphraser = loss.paraphraser(signals)
    if paraphraser is None:
        return
    written_back = paraphraser.reconstruction(signals)
    assert written_back.shape == ()
    written_back.backward()
    assert all(weights.grad is not None for weights in paraphraser.parameters())
    assert all(weights.grad is None for weights in teacher.parameters())


@pytest.mark.parametrize("loss", [x for x in DISTILLATION if x.stackable], ids=lambda loss: type(loss).__name__)
def test_stackable_losses_run_under_vmap_over_students(draw, loss):
    inputs = draw(6, 2, 7)
    students, teacher = [network(draw, seed) for seed in (1, 3, 4)], signals_of(network(draw, 2), inputs)
    alone = [signals_of(student, inputs) for student in students]
    adapter, paraphraser = loss.adapter(alone[0], teacher), loss.paraphraser(teacher)

    def of_one(prediction, features, parameters):
        student = Signals(prediction, features, parameters, targets=LABELS)
        return loss(student, teacher, adapter, paraphraser)

    predictions = torch.stack([one.prediction for one in alone])
    features = {name: torch.stack([one.features[name] for one in alone]) for name in alone[0].features}
    parameters = {name: torch.stack([one.parameters[name] for one in alone]) for name in alone[0].parameters}
    stacked = torch.vmap(of_one)(predictions, features, parameters)
    single = torch.stack([loss(one, teacher, adapter, paraphraser) for one in alone])
    torch.testing.assert_close(stacked, single, rtol=1e-9, atol=1e-12)
    weights = [weight for student in students for weight in student.parameters()]
    together = torch.autograd.grad(stacked.sum(), weights, retain_graph=True, allow_unused=True)
    apart = torch.autograd.grad(single.sum(), weights, allow_unused=True)
    for one, other in zip(together, apart, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if one is None else one, zero if other is None else other, atol=1e-10, rtol=1e-8
        )


# -- losses on predictions --------------------------------------------------------------------------------------------


def targets_for(loss, student):
    """Return labels, or one value where outputs are two quantiles of it."""
    return student.detach()[..., :1] + 0.3 if isinstance(loss, losses.Pinball) else LABELS.expand(student.shape[:-1])


@each_response
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_have_the_shape_of_the_leading_axes_and_reach_the_student_only(draw, loss, dtype):
    for shape in [(6, 2), (3, 6, 2)]:
        student = draw(*shape).to(dtype).requires_grad_()
        teacher = (3 * draw(*shape, seed=1)).to(dtype).requires_grad_()
        rows = loss.rows(student, teacher, targets_for(loss, student), 2.0)
        assert rows.shape == shape[:-1]
        assert rows.dtype == dtype
        rows.sum().backward()
        assert student.grad.isfinite().all()
        assert student.grad.abs().max() > 1e-3
        assert teacher.grad is None


@each_response
def test_a_row_depends_on_its_own_prediction_only(draw, loss):
    student, teacher = draw(6, 2), 3 * draw(6, 2, seed=1)
    targets = targets_for(loss, student)
    jacobian = torch.autograd.functional.jacobian(lambda z: loss.rows(z, teacher, targets, 2.0), student)
    others = ~torch.eye(6, dtype=torch.bool)
    assert (jacobian[others] == 0).all()


@each_response
def test_only_losses_that_need_a_teacher_refuse_to_do_without(draw, loss):
    student = draw(6, 2)
    targets = targets_for(loss, student)
    if loss.needs_teacher:
        with pytest.raises(ValueError, match=r"teacher_logits must be the teacher's predictions, got None"):
            loss.rows(student, None, targets)
    else:
        assert torch.equal(loss.rows(student, None, targets), loss.rows(student, draw(6, 2, seed=1), targets))


@each_response
def test_students_of_their_own_temperatures_run_as_one_and_under_vmap(draw, loss):
    students, teacher = draw(3, 6, 2), 3 * draw(6, 2, seed=1)
    temperatures = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    targets = targets_for(loss, students)
    alone = [loss.rows(s, teacher, y, float(t)) for s, y, t in zip(students, targets, temperatures, strict=True)]
    stacked = loss.rows(students, teacher, targets, temperatures[:, None])
    mapped = torch.vmap(lambda s, y, t: loss.rows(s, teacher, y, t))(students, targets, temperatures)
    torch.testing.assert_close(stacked, torch.stack(alone), rtol=0, atol=1e-13)
    torch.testing.assert_close(mapped, torch.stack(alone), rtol=0, atol=1e-13)


@each_response
def test_degenerate_predictions_have_finite_gradients(loss):
    for student in (torch.zeros(1, 2), torch.ones(6, 2), torch.full((6, 2), 80.0) * torch.tensor([1.0, -1.0])):
        student.requires_grad_()
        labels = torch.zeros(len(student), dtype=torch.long)
        targets = torch.zeros(len(student), 1) if isinstance(loss, losses.Pinball) else labels
        rows = loss.rows(student, -student.detach(), targets, 2.0)
        assert rows.isfinite().all()
        assert torch.autograd.grad(rows.sum(), student)[0].isfinite().all()
