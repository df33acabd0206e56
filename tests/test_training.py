"""Laws of the loop that trains networks, below the estimators."""

import copy
import math

import pytest
import torch
from torch import nn

from pitskd.models import GRU, MLP
from pitskd.objective import Objective
from pitskd.training import Plan, Rows, adam, train

SGD = torch.optim.SGD


def squares(said, targets):
    return (said - targets).square().mean(dim=-1)


def data(n=24, n_features=3, n_students=1, seed=0):
    """Return rows in float64: windows of one step, one target per student."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, n_features, 1, generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(n_students, n, 1, generator=generator, dtype=torch.float64)
    return Rows(inputs, inputs.sum(dim=1)[None] + noise)


def network(seed=0, hidden=5):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MLP((3, hidden, 1)).double()


def linear(weight=(0.0, 0.0, 0.0)):
    with torch.random.fork_rng():
        model = nn.Sequential(nn.Flatten(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([weight]))
        model[1].bias.zero_()
    return model


def plan(rate=0.01, optimizer=adam, **changes):
    settings = {"max_epochs": 3, "batch_size": 8, **changes}
    return Plan([rate], optimizer, **settings)


def run(model, rows=None, held_out=None, seed=1, **changes):
    rows = data() if rows is None else rows
    (outcome,) = train([model], rows, held_out, Objective(squares), plan(**changes), [seed])
    return outcome


def state(model):
    return torch.cat([part.detach().reshape(-1) for part in model.parameters()])


def by_hand(model, rows, optimizer, *, seed=1, max_epochs=3, batch_size=8, weight=None, clip=None, rates=None):
    """Train as any textbook does, with torch alone."""
    stepper = optimizer(model.parameters())
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(max_epochs):
        for group in stepper.param_groups:
            group["lr"] = group["lr"] if rates is None else rates[epoch]
        for index in torch.randperm(len(rows.inputs), generator=generator).split(batch_size):
            stepper.zero_grad()
            lost = squares(model(rows.inputs[index]), rows.targets[0, index])
            lost = lost if weight is None else lost * weight[index]
            lost.mean().backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            stepper.step()
    return model


OPTIMIZERS = {
    "sgd": lambda parts, lr=0.05: SGD(parts, lr=lr),
    "momentum": lambda parts, lr=0.05: SGD(parts, lr=lr, momentum=0.9, nesterov=True),
    "adam": lambda parts, lr=0.05: torch.optim.Adam(parts, lr=lr),
    "adamw": lambda parts, lr=0.05: torch.optim.AdamW(parts, lr=lr, weight_decay=0.1),
    "rmsprop": lambda parts, lr=0.05: torch.optim.RMSprop(parts, lr=lr),
    "adagrad": lambda parts, lr=0.05: torch.optim.Adagrad(parts, lr=lr),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("build", [network, lambda: GRU(hidden=3, n_channels=3, length=1, n_outputs=1).double()])
def test_training_is_the_textbook_loop_of_torch(optimizer, build):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = build()
    expected = by_hand(copy.deepcopy(model), data(), optimizer)
    outcome = run(model, rate=0.05, optimizer=optimizer)
    assert torch.allclose(state(outcome.network), state(expected), rtol=1e-9, atol=1e-12)


def test_weights_of_rows_multiply_their_losses():
    weight = torch.linspace(0.0, 2.0, 24, dtype=torch.float64)
    rows = data()
    expected = by_hand(network(), rows, OPTIMIZERS["sgd"], weight=weight)
    outcome = run(network(), Rows(rows.inputs, rows.targets, weight[None], weight[None]), rate=0.05, optimizer=SGD)
    assert torch.allclose(state(outcome.network), state(expected), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("clip", [0.01, 0.5, 1e9])
def test_clipping_is_that_of_torch(clip):
    expected = by_hand(network(), data(), OPTIMIZERS["sgd"], clip=clip)
    outcome = run(network(), rate=0.05, optimizer=SGD, clip=clip)
    # torch divides by the norm plus 1e-6
    assert torch.allclose(state(outcome.network), state(expected), rtol=1e-3, atol=1e-4 * min(clip, 1.0))


@pytest.mark.parametrize("clip", [0.1, 0.01])
def test_clip_bounds_the_step_of_gradient_descent_at_rate_one(clip):
    before = network()
    start = state(before).clone()
    outcome = run(before, rate=1.0, optimizer=SGD, clip=clip, max_epochs=1, batch_size=24)
    assert (state(outcome.network) - start).norm().item() == pytest.approx(clip, rel=1e-6)


def test_a_cosine_schedule_starts_at_the_full_rate_and_falls_by_half_a_cosine():
    outcome = run(network(), rate=0.2, optimizer=SGD, schedule="cosine", max_epochs=4)
    expected = [0.1 * (1.0 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert [entry["learning_rate"] for entry in outcome.history] == pytest.approx(expected, rel=1e-12)


def test_a_callable_schedule_gets_the_epoch_and_multiplies_the_rate_of_every_step():
    asked = []

    def schedule(epoch):
        asked.append(epoch)
        return 1.0 / (1.0 + epoch)

    outcome = run(network(), rate=0.1, optimizer=SGD, schedule=schedule)
    assert asked == [0, 1, 2]
    rates = [entry["learning_rate"] for entry in outcome.history]
    assert rates == pytest.approx([0.1, 0.05, 0.1 / 3.0], rel=1e-12)
    expected = by_hand(network(), data(), OPTIMIZERS["sgd"], rates=rates)
    assert torch.allclose(state(outcome.network), state(expected), rtol=1e-10, atol=1e-13)


def test_a_plateau_halves_the_rate_after_every_third_of_patience_without_progress():
    rows = data()
    # at rate ~0 nothing gets better after the first epoch
    outcome = run(
        linear(), rows, rows, rate=1e-300, optimizer=SGD, schedule="plateau", patience=6, max_epochs=20,
    )  # fmt: skip
    rates = [entry["learning_rate"] / 1e-300 for entry in outcome.history]
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert outcome.ended == "patience"
    assert outcome.best_epoch == 1


def test_patience_counts_epochs_since_the_best():
    rows = data()
    outcome = run(linear(), rows, rows, rate=1e-300, optimizer=SGD, patience=1, max_epochs=20)
    assert len(outcome.history) == 2
    assert (outcome.ended, outcome.best_epoch) == ("patience", 1)


def test_without_rows_to_judge_by_the_last_weights_count():
    outcome = run(network(), rate=5.0, optimizer=SGD, clip=1.0, max_epochs=4)
    longer = run(network(), rate=5.0, optimizer=SGD, clip=1.0, max_epochs=5)
    assert (outcome.best_epoch, longer.best_epoch) == (4, 5)
    assert not torch.equal(state(outcome.network), state(longer.network))
    assert all(math.isnan(entry["validation_loss"]) for entry in outcome.history)


def test_the_best_weights_are_those_of_the_best_epoch_and_shared_with_nothing():
    rows, held_out = data(), data(seed=1)
    settings = {"rate": 0.9, "optimizer": SGD, "max_epochs": 8, "clip": 1.0}
    outcome = run(network(), rows, held_out, **settings)
    scores = [entry["validation_loss"] for entry in outcome.history]
    assert outcome.best_epoch == 1 + scores.index(min(scores)) < 8
    with torch.no_grad():
        found = squares(outcome.network(held_out.inputs), held_out.targets[0]).mean().item()
    assert found == pytest.approx(min(scores), rel=1e-12)
    until = run(network(), rows, **{**settings, "max_epochs": outcome.best_epoch})
    assert torch.equal(state(outcome.network), state(until.network))
    addresses = {part.untyped_storage().data_ptr() for part in outcome.network.parameters()}
    assert len(addresses) == 4
    assert all(part.untyped_storage().nbytes() == part.numel() * 8 for part in outcome.network.parameters())


def test_a_trained_network_has_no_gradient_left_and_is_ready_to_predict():
    outcome = run(network())
    assert not outcome.network.training
    assert all(part.grad is None and part.requires_grad for part in outcome.network.parameters())


def test_the_loss_in_the_history_is_the_mean_over_all_rows_whatever_the_last_batch():
    rows = data(n=25)
    outcome = run(linear((0.5, 0.0, 0.0)), rows, rate=1e-300, optimizer=SGD, batch_size=8, max_epochs=1)
    expected = squares(linear((0.5, 0.0, 0.0))(rows.inputs), rows.targets[0]).mean().item()
    assert outcome.history[0]["loss"] == pytest.approx(expected, rel=1e-12)
    assert outcome.history[0]["hard"] == pytest.approx(expected, rel=1e-12)


def test_buffers_are_restored_with_the_weights():
    def build():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            layers = nn.Flatten(), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)
            return nn.Sequential(*layers).double()

    rows, held_out = data(), data(seed=1)
    settings = {"rate": 1.5, "optimizer": SGD, "max_epochs": 8, "clip": 3.0}
    outcome = run(build(), rows, held_out, **settings)
    scores = [entry["validation_loss"] for entry in outcome.history]
    assert outcome.best_epoch == 1 + scores.index(min(scores)) < 8
    with torch.no_grad():
        found = squares(outcome.network(held_out.inputs), held_out.targets[0]).mean().item()
    assert found == pytest.approx(min(scores), rel=1e-12)


def test_weights_that_the_user_froze_stay_and_the_others_learn():
    model = network()
    model.head.requires_grad_(False)
    before = copy.deepcopy(model)
    outcome = run(model, optimizer=OPTIMIZERS["adamw"])
    assert torch.equal(outcome.network.head.weight, before.head.weight)
    assert not torch.equal(outcome.network.hidden[1].weight, before.hidden[1].weight)
    assert not outcome.network.head.weight.requires_grad
    expected = by_hand(before, data(), lambda parts: OPTIMIZERS["adamw"](parts, lr=0.01))
    assert torch.allclose(state(outcome.network), state(expected), rtol=1e-9, atol=1e-12)


def tied():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(3, 3)
        return nn.Sequential(nn.Flatten(), layer, nn.Tanh(), layer, nn.Linear(3, 1)).double()


def test_a_layer_that_stands_twice_learns_from_both_places():
    outcome = run(tied(), rate=0.05, optimizer=SGD)
    expected = by_hand(tied(), data(), OPTIMIZERS["sgd"])
    assert torch.allclose(state(outcome.network), state(expected), rtol=1e-10, atol=1e-13)
    assert outcome.network[1] is outcome.network[3]


def test_hooks_of_the_user_are_heard():
    def build():
        model = network()
        model.hidden[1].register_forward_hook(lambda module, given, said: 0.5 * said)
        return model

    outcome = run(build(), rate=0.05, optimizer=SGD)
    expected = by_hand(build(), data(), OPTIMIZERS["sgd"])
    assert torch.allclose(state(outcome.network), state(expected), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("build", [network, tied])
def test_a_stack_is_its_students_one_by_one(build):
    def builds():
        return [build() for _ in range(3)]

    rows, held_out = data(n_students=3), data(n_students=3, seed=1)
    seeds, rates = [1, 2, 3], [0.003, 0.1, 0.9]
    settings = {"max_epochs": 12, "batch_size": 8, "patience": 1, "schedule": "plateau", "clip": 1.0}
    together = train(builds(), rows, held_out, Objective(squares), Plan(rates, adam, **settings), seeds)
    lengths = set()
    for k, model in enumerate(builds()):
        own = Rows(rows.inputs, rows.targets[k : k + 1])
        judged = Rows(held_out.inputs, held_out.targets[k : k + 1])
        (alone,) = train([model], own, judged, Objective(squares), Plan([rates[k]], adam, **settings), [seeds[k]])
        assert (together[k].best_epoch, together[k].ended) == (alone.best_epoch, alone.ended)
        assert torch.allclose(state(together[k].network), state(alone.network), rtol=1e-8, atol=1e-10)
        for one, other in zip(together[k].history, alone.history, strict=True):
            assert one == pytest.approx(other, rel=1e-7)
        lengths.add(len(alone.history))
    assert len(lengths) > 1, "some student shall leave the stack before another"


def test_one_student_that_diverges_hurts_no_other():
    rows, rates, settings = data(), [0.05, 1e200, 0.02], {"max_epochs": 4, "batch_size": 8}
    outcomes = train(
        [network(k) for k in range(3)], rows, None, Objective(squares), Plan(rates, SGD, **settings), [1, 2, 3]
    )
    assert [outcome.ended for outcome in outcomes] == ["epochs", "diverged", "epochs"]
    assert torch.isfinite(state(outcomes[1].network)).all()
    assert torch.equal(state(outcomes[1].network), state(network(1)))
    for k in (0, 2):
        (alone,) = train(
            [network(k)], rows, None, Objective(squares), Plan([rates[k]], SGD, **settings), [k + 1]
        )  # fmt: skip
        assert torch.allclose(state(outcomes[k].network), state(alone.network), rtol=1e-10, atol=1e-12)


def test_every_student_of_a_stack_may_diverge():
    settings = {"max_epochs": 4, "batch_size": 8}
    outcomes = train(
        [network(k) for k in range(2)], data(), None, Objective(squares), Plan([1e200, 1e300], SGD, **settings), [1, 2]
    )
    assert [outcome.ended for outcome in outcomes] == ["diverged", "diverged"]
    assert [len(outcome.history) for outcome in outcomes] == [1, 1]
    assert [outcome.best_epoch for outcome in outcomes] == [0, 0]


def interrupting(at):
    def schedule(epoch):
        if epoch == at:
            raise KeyboardInterrupt
        return 1.0

    return schedule


def test_an_interrupted_student_keeps_its_best_weights():
    outcome = run(network(), max_epochs=9, schedule=interrupting(2))
    assert (outcome.ended, outcome.best_epoch, len(outcome.history)) == ("interrupted", 2, 2)
    assert torch.equal(state(outcome.network), state(run(network(), max_epochs=2).network))


def test_an_interruption_in_the_middle_of_an_epoch_loses_that_epoch_alone():
    calls = []

    def augmentation(windows, generator):
        calls.append(1)
        if len(calls) == 8:  # the second batch of the third epoch
            raise KeyboardInterrupt
        return windows

    outcome = run(network(), max_epochs=9, augmentation=augmentation)
    assert (outcome.ended, outcome.best_epoch) == ("interrupted", 2)
    assert torch.allclose(state(outcome.network), state(run(network(), max_epochs=2).network), rtol=1e-12, atol=0)


def test_an_interruption_in_the_first_epoch_goes_through():
    with pytest.raises(KeyboardInterrupt):
        run(network(), schedule=interrupting(0))


def test_any_other_error_goes_through():
    def schedule(epoch):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(network(), schedule=schedule)


def test_the_global_generators_of_torch_are_left_alone():
    with torch.random.fork_rng():
        model = MLP((3, 5, 1), dropout=0.3).double()
    before = torch.get_rng_state()
    run(model)
    assert torch.equal(torch.get_rng_state(), before)
