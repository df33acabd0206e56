"""Losses between predictions: closed forms, identities between notations, and gradients."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, mean_pinball_loss
from torch.nn.functional import cross_entropy, kl_div, mse_loss, one_hot

from pitskd.losses import (
    EntropyRegularization,
    LabelSmoothing,
    LogitRegression,
    Pinball,
    SoftCrossEntropy,
    SoftTargets,
    SquaredError,
    TrustedRows,
    VirtualTeacher,
)
from pitskd.losses.functional import (
    entropy_regularized,
    kd,
    label_smoothing,
    logit_regression,
    mutual,
    pinball,
    soft_cross_entropy,
    soft_targets,
    trust_weights,
    virtual_teacher,
)

N, C = 6, 4
TEMPERATURES = (0.5, 1.0, 3.0, 20.0)
LABELS = torch.tensor([0, 1, 2, 3, 3, 0])


def gradient(loss, of):
    return torch.autograd.grad(loss, of, retain_graph=True)[0]


def centred(z):
    return z - z.mean(-1, keepdim=True)


def two_sided():
    """Losses of student and teacher, by name; the teacher is given as logits."""
    return {
        "kd": kd,
        "tempered kd": lambda s, t, **k: kd(s, t, 4.0, **k),
        "soft_cross_entropy": lambda s, t, **k: soft_cross_entropy(s, t.softmax(-1), **k),
        "logit_regression": logit_regression,
        "centred logit_regression": lambda s, t, **k: logit_regression(s, t, centre=True, **k),
        "mutual": lambda s, t, **k: mutual(s, t, 2 * t, **k),
    }


def one_sided():
    """Losses of a student and labels, by name."""
    return {
        "label_smoothing": lambda z, y, **k: label_smoothing(z, y, 0.2, **k),
        "entropy_regularized": lambda z, y, **k: entropy_regularized(z, y, 0.3, **k),
        "virtual_teacher": lambda z, y, **k: virtual_teacher(z, y, 5.0, mass=0.9, **k),
    }


each_two_sided = pytest.mark.parametrize("loss", two_sided().values(), ids=two_sided())
each_one_sided = pytest.mark.parametrize("loss", one_sided().values(), ids=one_sided())
each_temperature = pytest.mark.parametrize("temperature", TEMPERATURES)


# -- softened targets -------------------------------------------------------------------------------------------------


def test_kd_of_odds_worked_by_hand():
    # teacher 3:1, student 1:1 -> 3/4 ln(3/2) + 1/4 ln(1/2); at T = 2 the odds are sqrt(3):1
    student, teacher = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    assert kd(student, teacher).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), abs=1e-15)
    p = math.sqrt(3) / (math.sqrt(3) + 1)
    expected = 4 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    assert kd(student, teacher, 2.0).item() == pytest.approx(expected, abs=1e-14)


@each_temperature
def test_kd_equals_batchmean_divergence_of_torch_times_squared_temperature(draw, temperature):
    s, t = draw(N, C), draw(N, C, seed=1)
    p, q = (s / temperature).log_softmax(-1), (t / temperature).softmax(-1)
    expected = temperature**2 * kl_div(p, q, reduction="batchmean")
    torch.testing.assert_close(kd(s, t, temperature), expected, rtol=0, atol=1e-12)


@each_temperature
def test_gradient_of_kd_is_temperature_times_difference_of_probabilities(draw, temperature):
    s, t = draw(N, C, requires_grad=True), draw(N, C, seed=1)
    expected = temperature * ((s / temperature).softmax(-1) - (t / temperature).softmax(-1)) / N
    torch.testing.assert_close(gradient(kd(s, t, temperature), s), expected, rtol=0, atol=1e-13)


def test_kd_tends_to_half_the_squared_error_of_centred_logits(draw):
    s, t, temperature = draw(N, C, requires_grad=True), draw(N, C, seed=1), 1e4
    loss, limit = kd(s, t, temperature), logit_regression(s, t, centre=True) / 2
    torch.testing.assert_close(limit, centred(s - t).square().sum(-1).mean() / (2 * C), rtol=1e-12, atol=0)
    torch.testing.assert_close(loss, limit, rtol=1e-3, atol=0)  # the next term is of order 1 / T
    torch.testing.assert_close(gradient(loss, s), centred(s - t).detach() / (N * C), rtol=0, atol=1e-4)
    torch.testing.assert_close(gradient(limit, s), centred(s - t).detach() / (N * C), rtol=0, atol=1e-15)


def test_soft_cross_entropy_is_kd_plus_the_entropy_of_the_teacher(draw):
    s, t = draw(N, C, requires_grad=True), draw(N, C, seed=1)
    soft = t.softmax(-1)
    entropy = torch.distributions.Categorical(probs=soft).entropy().mean()
    cross, divergence = soft_cross_entropy(s, soft), kd(s, t)
    torch.testing.assert_close(cross - divergence, entropy, rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient(cross, s), gradient(divergence, s), rtol=0, atol=1e-15)


@pytest.mark.parametrize("imitation", [0.0, 0.3, 1.0])
def test_mixing_cross_entropies_is_mixing_targets(draw, imitation):
    s, soft = draw(N, C, requires_grad=True), draw(N, C, seed=1).softmax(-1)
    mixed = (1 - imitation) * one_hot(LABELS, C).double() + imitation * soft
    apart = (1 - imitation) * cross_entropy(s, LABELS) + imitation * soft_cross_entropy(s, soft)
    together = soft_cross_entropy(s, mixed)
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient(apart, s), gradient(together, s), rtol=0, atol=1e-15)


def test_mixing_squared_errors_is_mixing_targets_up_to_a_constant(draw):
    prediction, y, taught, imitation = draw(N, 3, requires_grad=True), draw(N, 3, seed=1), draw(N, 3, seed=2), 0.3
    hard, soft = logit_regression(prediction, y), logit_regression(prediction, taught)
    apart = (1 - imitation) * hard + imitation * soft
    together = logit_regression(prediction, (1 - imitation) * y + imitation * taught)
    constant = imitation * (1 - imitation) * (y - taught).square().mean()
    torch.testing.assert_close(apart - together, constant, rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient(apart, prediction), gradient(together, prediction), rtol=0, atol=1e-15)


def test_a_constant_per_row_of_teacher_logits_changes_softmax_losses_only(draw):
    s, t, shift = draw(N, C), draw(N, C, seed=1), 3 + draw(N, 1, seed=2)
    for name, loss in two_sided().items():
        moved = (loss(s, t + shift) - loss(s, t)).abs().item()
        assert moved > 0.1 if name == "logit_regression" else moved < 1e-14, name


def test_soft_targets_are_the_tempered_softmax_without_gradient(draw):
    t = draw(N, C, requires_grad=True)
    soft = soft_targets(t, 3.0)
    torch.testing.assert_close(soft, (t / 3.0).softmax(-1).detach(), rtol=0, atol=1e-15)
    assert not soft.requires_grad
    assert soft.sum(-1).allclose(torch.ones(N, dtype=torch.float64))


def test_a_teacher_certain_against_a_class_gives_finite_numbers():
    teacher = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64).log()
    student = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    for temperature in TEMPERATURES:
        loss = kd(student, teacher, temperature)
        assert loss.item() == pytest.approx(temperature**2 * math.log(1.5), rel=1e-14)
        expected = temperature * torch.tensor([[-1.0, -1.0, 2.0]], dtype=torch.float64) / 6
        torch.testing.assert_close(gradient(loss, student), expected, rtol=0, atol=1e-14)


@each_temperature
def test_classes_masked_on_both_sides_do_not_count(draw, temperature):
    s, t = draw(N, C, requires_grad=True), draw(N, C, seed=1)
    masked = torch.tensor([False, True, False, False])
    hidden, taught = s.masked_fill(masked, -math.inf), t.masked_fill(masked, -math.inf)
    for loss in (
        lambda a, b: kd(a, b, temperature),
        lambda a, b: kd(a, b, torch.full((N,), temperature, dtype=torch.float64)),
        lambda a, b: soft_cross_entropy(a, soft_targets(b, temperature)),
        lambda a, b: SoftCrossEntropy().rows(a, b, None, temperature).mean(),
    ):
        value, expected = loss(hidden, taught), loss(s[:, ~masked], t[:, ~masked])
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-13)
        torch.testing.assert_close(gradient(value, s), gradient(expected, s), rtol=0, atol=1e-13)


# -- logits and values ------------------------------------------------------------------------------------------------


def test_logit_regression_is_the_mean_squared_error_and_so_is_its_gradient(draw):
    s, t = draw(N, C, requires_grad=True), draw(N, C, seed=1)
    loss = logit_regression(s, t)
    torch.testing.assert_close(loss, mse_loss(s, t), rtol=0, atol=1e-15)
    torch.testing.assert_close(gradient(loss, s), 2 * (s - t).detach() / (N * C), rtol=0, atol=1e-15)


def test_centred_logit_regression_forgets_constants_per_row_on_both_sides(draw):
    s, t, shift = draw(N, C, requires_grad=True), draw(N, C, seed=1), draw(N, 1, seed=2)
    loss = logit_regression(s + shift, t - 7.0, centre=True)
    torch.testing.assert_close(loss, mse_loss(centred(s), centred(t)), rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient(loss, s), 2 * centred(s - t).detach() / (N * C), rtol=0, atol=1e-14)


# -- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
def test_label_smoothing_is_that_of_torch(draw, eps):
    z = draw(N, C, requires_grad=True)
    loss, expected = label_smoothing(z, LABELS, eps), cross_entropy(z, LABELS, label_smoothing=eps)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-14)
    smooth = (1 - eps) * one_hot(LABELS, C).double() + eps / C
    torch.testing.assert_close(gradient(loss, z), ((z.softmax(-1) - smooth) / N).detach(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
def test_entropy_regularisation_is_rescaled_label_smoothing(draw, strength):
    z = draw(N, C, requires_grad=True)
    regularised = entropy_regularized(z, LABELS, strength)
    smoothed = (1 + strength) * label_smoothing(z, LABELS, strength / (1 + strength))
    torch.testing.assert_close(regularised, smoothed, rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient(regularised, z), gradient(smoothed, z), rtol=0, atol=1e-15)
    by_class = sum(cross_entropy(z, torch.full((N,), c)) for c in range(C))
    torch.testing.assert_close(regularised, cross_entropy(z, LABELS) + strength / C * by_class, rtol=0, atol=1e-14)


def test_entropy_regularisation_makes_the_fitted_classifier_less_sure():
    # The least over free logits is the smoothed label: 1 - eps + eps / C for the true class.
    entropies = []
    for strength in (0.0625, 0.25, 1.0, 4.0):
        z = torch.zeros(1, C, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([z], max_iter=100, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

        def closure(z=z, strength=strength, optimizer=optimizer):
            optimizer.zero_grad()
            loss = entropy_regularized(z, LABELS[:1], strength)
            loss.backward()
            return loss

        optimizer.step(closure)
        eps = strength / (1 + strength)
        assert z.softmax(-1)[0, 0].item() == pytest.approx(1 - eps + eps / C, abs=1e-4)
        entropies.append(torch.distributions.Categorical(logits=z).entropy().item())
    assert entropies == sorted(entropies)
    assert entropies[-1] > entropies[0] + 0.5


@pytest.mark.parametrize("mass", [0.9, 0.99])
def test_virtual_teacher_at_temperature_one_is_label_smoothing_up_to_a_constant(draw, mass):
    z, imitation = draw(N, C, requires_grad=True), 0.4
    distilled = (1 - imitation) * cross_entropy(z, LABELS) + imitation * virtual_teacher(z, LABELS, mass=mass)
    smoothed = label_smoothing(z, LABELS, imitation * (1 - mass) * C / (C - 1))
    torch.testing.assert_close(gradient(distilled, z), gradient(smoothed, z), rtol=0, atol=1e-15)
    other = (1 - mass) / (C - 1)
    entropy = -mass * math.log(mass) - (C - 1) * other * math.log(other)
    assert (smoothed - distilled).item() == pytest.approx(imitation * entropy, abs=1e-14)


@each_temperature
def test_virtual_teacher_is_kd_from_the_made_up_logits(draw, temperature):
    z = draw(N, C, requires_grad=True)
    made_up = torch.full((N, C), 0.1 / 3, dtype=torch.float64).scatter(1, LABELS[:, None], 0.9)
    loss, expected = virtual_teacher(z, LABELS, temperature, mass=0.9), kd(z, made_up.log(), temperature)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-13)
    soft = (made_up.log() / temperature).softmax(-1)
    closed = temperature * ((z / temperature).softmax(-1) - soft) / N
    torch.testing.assert_close(gradient(loss, z), closed.detach(), rtol=0, atol=1e-13)


def test_virtual_teacher_of_full_mass_is_cross_entropy(draw):
    z = draw(N, C, requires_grad=True)
    torch.testing.assert_close(virtual_teacher(z, LABELS, mass=1.0), cross_entropy(z, LABELS), rtol=0, atol=1e-14)


@each_one_sided
def test_class_indices_and_one_hot_rows_are_the_same_targets(draw, loss):
    z = draw(N, C)
    torch.testing.assert_close(loss(z, LABELS), loss(z, one_hot(LABELS, C).double()), rtol=0, atol=1e-14)


# -- peers, quantiles, trust ------------------------------------------------------------------------------------------


def test_identical_peers_leave_the_gradient_of_the_cross_entropy(draw):
    s = draw(N, C, requires_grad=True)
    plain = cross_entropy(s, LABELS)
    taught = plain + mutual(s, s.clone(), s.detach())
    torch.testing.assert_close(gradient(plain, s), gradient(taught, s), rtol=0, atol=1e-16)
    assert mutual(s, s.clone()).item() == 0.0


def test_mutual_is_the_mean_over_peers_and_teaches_none_of_them(draw):
    s, a, b = (draw(N, C, seed=seed, requires_grad=True) for seed in range(3))
    loss = mutual(s, a, b)
    torch.testing.assert_close(loss, (kd(s, a) + kd(s, b)) / 2, rtol=0, atol=1e-15)
    closed = (s.softmax(-1) - (a.softmax(-1) + b.softmax(-1)) / 2) / N
    torch.testing.assert_close(torch.autograd.grad(loss, s)[0], closed.detach(), rtol=0, atol=1e-15)
    mutual(s, a, b).backward()
    assert a.grad is None
    assert b.grad is None


def test_pinball_agrees_with_scikit_learn_for_each_quantile(draw):
    quantiles, y, forecasts = (0.1, 0.5, 0.8), draw(50), draw(50, 3, seed=1)
    rows = pinball(forecasts, y, quantiles, reduction="none")
    single = [mean_pinball_loss(y, forecasts[:, k], alpha=q) for k, q in enumerate(quantiles)]
    assert pinball(forecasts, y, quantiles).item() == pytest.approx(np.mean(single), abs=1e-15)
    assert rows.shape == (50,)
    assert rows.mean().item() == pytest.approx(np.mean(single), abs=1e-15)


def test_gradient_of_pinball_is_the_quantile_below_and_its_complement_above():
    forecasts = torch.tensor([[1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    loss = pinball(forecasts, torch.tensor([2.0], dtype=torch.float64), (0.2, 0.7))
    assert loss.item() == pytest.approx((0.2 * 1 + 0.3 * 1) / 2)
    expected = torch.tensor([[-0.2, 0.3]], dtype=torch.float64) / 2
    torch.testing.assert_close(gradient(loss, forecasts), expected, rtol=0, atol=1e-15)


def test_the_least_pinball_of_a_constant_is_the_empirical_quantile():
    y = torch.arange(11.0, dtype=torch.float64)
    losses = torch.stack([pinball(y.new_full((11, 1), float(c)), y, [0.8]) for c in range(11)])
    assert losses.argmin().item() == 8


def test_trust_goes_to_rows_the_teacher_has_right_and_is_sure_of():
    teacher = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.4, 0.3, 0.3], [0.6, 0.2, 0.2]]).log()
    labels = torch.zeros(4, dtype=torch.long)
    assert trust_weights(teacher, labels).tolist() == [1.0, 0.0, 0.0, 1.0]
    assert trust_weights(teacher, labels, threshold=0.3).tolist() == [1.0, 0.0, 1.0, 1.0]
    assert trust_weights(teacher, labels, threshold=0.8).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert trust_weights(teacher, one_hot(labels, 3).float()).tolist() == [1.0, 0.0, 0.0, 1.0]
    assert trust_weights(torch.zeros(1, 2), labels[:1]).tolist() == [0.0]  # even odds are not sure


def test_rows_without_trust_give_no_soft_gradient(draw):
    s, t = draw(N, C, requires_grad=True), 5 * draw(N, C, seed=1)
    weights = trust_weights(t, LABELS)
    assert 0 < weights.sum() < N
    rows = TrustedRows().rows(s, t, LABELS, 2.0)
    given = gradient(rows.sum(), s)
    plain = gradient(kd(s, t, 2.0, reduction="none").sum(), s)
    assert (given[weights == 0] == 0).all()
    assert torch.equal(given[weights == 1], plain[weights == 1])


def test_what_an_untrusted_teacher_says_is_not_heard_not_even_nan(draw):
    s, t = draw(N, C, requires_grad=True), 5 * draw(N, C, seed=1)
    trusted = trust_weights(t, LABELS) > 0
    assert 0 < trusted.sum() < N
    t[~trusted] = math.nan
    for loss in (None, LogitRegression()):
        rows = TrustedRows(loss).rows(s, t, LABELS, 2.0)
        assert (rows[~trusted] == 0).all()
        assert (gradient(rows.sum(), s)[~trusted] == 0).all()
        assert gradient(rows.sum(), s).isfinite().all()
        assert (gradient(rows.sum(), s)[trusted] != 0).any()


# -- what holds for all -----------------------------------------------------------------------------------------------


@each_two_sided
def test_gradient_reaches_the_student_only(draw, loss):
    s, t = draw(N, C, requires_grad=True), draw(N, C, seed=1, requires_grad=True)
    loss(s, t).backward()
    assert s.grad.abs().min() > 0
    assert t.grad is None


@each_two_sided
def test_gradients_of_pairs_are_those_of_finite_differences(draw, loss):
    s, t = draw(3, C, requires_grad=True), draw(3, C, seed=1)
    assert torch.autograd.gradcheck(lambda z: loss(z, t), s)


@each_one_sided
def test_gradients_of_labelled_losses_are_those_of_finite_differences(draw, loss):
    assert torch.autograd.gradcheck(lambda z: loss(z, LABELS[:3]), draw(3, C, requires_grad=True))


@each_two_sided
def test_the_mean_is_over_rows_and_steps_and_ignores_their_number(draw, loss):
    s, t = draw(N, 7, C), draw(N, 7, C, seed=1)
    rows = loss(s, t, reduction="none")
    assert rows.shape == (N, 7)
    torch.testing.assert_close(loss(s, t), rows.mean(), rtol=0, atol=1e-14)
    longer = loss(s.repeat(1, 5, 1), t.repeat(1, 5, 1))
    torch.testing.assert_close(longer, loss(s, t), rtol=0, atol=1e-14)
    twice = loss(s.repeat(2, 1, 1), t.repeat(2, 1, 1))
    torch.testing.assert_close(twice, loss(s, t), rtol=0, atol=1e-14)


@each_one_sided
def test_per_step_labels_are_averaged_over_steps(draw, loss):
    z, y = draw(N, 7, C), LABELS[:, None].expand(N, 7)
    rows = loss(z, y, reduction="none")
    assert rows.shape == (N, 7)
    torch.testing.assert_close(loss(z.repeat(1, 5, 1), y.repeat(1, 5)), rows.mean(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("loss", [kd, logit_regression, mutual], ids=["kd", "logit_regression", "mutual"])
def test_equal_logits_have_nothing_to_teach(draw, loss):
    s = draw(N, C, requires_grad=True)
    value = loss(s, s.detach())
    assert value.item() == 0.0
    assert gradient(value, s).abs().max() < 1e-15


@each_two_sided
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_batches_of_pairs_have_finite_gradients(loss, dtype):
    for s in (torch.zeros(1, 2, dtype=dtype), torch.zeros(5, C, dtype=dtype), torch.ones(1, 3, 1, C, dtype=dtype)):
        s.requires_grad_()
        value = loss(s, torch.ones_like(s))
        assert value.dtype == dtype
        assert value.isfinite()
        assert gradient(value, s).isfinite().all()
    s = torch.full((2, 2), 300.0, dtype=dtype) * torch.tensor([1.0, -1.0], dtype=dtype)
    s.requires_grad_()
    assert gradient(loss(s, -s.detach()), s).isfinite().all()


@each_one_sided
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_batches_of_labelled_rows_have_finite_gradients(loss, dtype):
    for z in (torch.zeros(1, 2, dtype=dtype), torch.zeros(5, C, dtype=dtype), torch.full((1, 3), 300.0, dtype=dtype)):
        z.requires_grad_()
        value = loss(z, torch.zeros(len(z), dtype=torch.long))
        assert value.dtype == dtype
        assert value.isfinite()
        assert gradient(value, z).isfinite().all()


@each_two_sided
def test_duplicate_rows_get_equal_gradients(draw, loss):
    s, t = draw(1, C).repeat(4, 1).requires_grad_(), draw(1, C, seed=1).repeat(4, 1)
    given = gradient(loss(s, t), s)
    assert torch.equal(given, given[:1].expand_as(given))
    torch.testing.assert_close(loss(s, t), loss(s[:1], t[:1]), rtol=0, atol=1e-15)


@each_two_sided
def test_an_offset_of_ten_thousand_costs_float32_nothing(draw, loss):
    # Multiples of 2**-9 are exact in float32 also behind 1e4, so that only the loss itself can lose digits.
    s, t = ((draw(N, C, seed=seed) * 512).round() / 512 for seed in (0, 1))
    exact_student = s.clone().requires_grad_()
    exact = loss(exact_student, t)
    moved_student = (s + 1e4).float().requires_grad_()
    moved = loss(moved_student, (t + 1e4).float())
    assert moved.item() == pytest.approx(exact.item(), rel=1e-5, abs=1e-5)
    given, expected = gradient(moved, moved_student), gradient(exact, exact_student)
    torch.testing.assert_close(given.double(), expected, rtol=1e-5, atol=1e-6)


@each_one_sided
def test_an_offset_of_ten_thousand_costs_labelled_losses_nothing_in_float32(draw, loss):
    z = (draw(N, C) * 512).round() / 512
    moved = (z + 1e4).float().requires_grad_()
    exact = z.clone().requires_grad_()
    assert loss(moved, LABELS).item() == pytest.approx(loss(exact, LABELS).item(), rel=1e-5, abs=1e-5)
    given, expected = gradient(loss(moved, LABELS), moved), gradient(loss(exact, LABELS), exact)
    torch.testing.assert_close(given.double(), expected, rtol=1e-5, atol=1e-6)


def test_students_of_their_own_temperatures_run_as_one(draw):
    s, t = draw(3, N, C, requires_grad=True), draw(N, C, seed=1)
    temperatures = torch.tensor([0.5, 1.0, 8.0], dtype=torch.float64)
    stacked = kd(s, t, temperatures[:, None], reduction="none").mean(-1)
    mapped = torch.vmap(lambda z, temperature: kd(z, t, temperature))(s, temperatures)
    alone = torch.stack([kd(z, t, float(k)) for z, k in zip(s, temperatures, strict=True)])
    torch.testing.assert_close(stacked, alone, rtol=0, atol=1e-13)
    torch.testing.assert_close(mapped, alone, rtol=0, atol=1e-13)
    torch.testing.assert_close(gradient(stacked.sum(), s), gradient(alone.sum(), s), rtol=0, atol=1e-13)
    torch.testing.assert_close(gradient(mapped.sum(), s), gradient(alone.sum(), s), rtol=0, atol=1e-13)


def test_smoothing_and_strengths_of_their_own_run_as_one(draw):
    z, shares = draw(3, N, C), torch.tensor([0.0, 0.1, 0.5], dtype=torch.float64)
    for loss in (label_smoothing, entropy_regularized):
        rows = loss(z, LABELS, shares[:, None], reduction="none").mean(-1)
        alone = torch.stack([loss(one, LABELS, float(share)) for one, share in zip(z, shares, strict=True)])
        torch.testing.assert_close(rows, alone, rtol=0, atol=1e-14)


@each_two_sided
def test_a_teacher_of_another_precision_is_read_in_that_of_the_student(draw, loss):
    s, t = draw(N, C), draw(N, C, seed=1)
    assert loss(s.float(), t).dtype == torch.float32
    torch.testing.assert_close(loss(s.float(), t), loss(s.float(), t.float()), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(loss(s, t.float()), loss(s, t), rtol=1e-6, atol=1e-7)


@each_two_sided
def test_pairs_run_under_vmap_over_students(draw, loss):
    s, t = draw(3, N, C, requires_grad=True), draw(3, N, C, seed=1)
    mapped, alone = torch.vmap(loss)(s, t), torch.stack([loss(*pair) for pair in zip(s, t, strict=True)])
    torch.testing.assert_close(mapped, alone, rtol=0, atol=1e-13)
    torch.testing.assert_close(gradient(mapped.sum(), s), gradient(alone.sum(), s), rtol=0, atol=1e-13)


@each_one_sided
def test_labelled_losses_run_under_vmap_over_students_and_their_labels(draw, loss):
    z, y = draw(3, N, C, requires_grad=True), torch.stack([LABELS, LABELS.flip(0), LABELS])
    mapped, alone = torch.vmap(loss)(z, y), torch.stack([loss(*pair) for pair in zip(z, y, strict=True)])
    torch.testing.assert_close(mapped, alone, rtol=0, atol=1e-13)
    torch.testing.assert_close(gradient(mapped.sum(), z), gradient(alone.sum(), z), rtol=0, atol=1e-13)


def test_pinball_and_trust_run_under_vmap(draw):
    forecasts, y = draw(3, N, 2), draw(N, seed=1)
    mapped = torch.vmap(lambda f: pinball(f, y, (0.1, 0.9)))(forecasts)
    torch.testing.assert_close(mapped, torch.stack([pinball(f, y, (0.1, 0.9)) for f in forecasts]))
    logits = 5 * draw(3, N, C)
    trusted = torch.vmap(lambda z: trust_weights(z, LABELS))(logits)
    assert torch.equal(trusted, trust_weights(logits, LABELS.expand(3, N)))


# -- the classes ------------------------------------------------------------------------------------------------------


def test_classes_give_the_rows_of_their_functions(draw):
    s, t = draw(N, C), draw(N, C, seed=1)
    expected = {
        SoftTargets(): kd(s, t, 3.0, reduction="none"),
        SoftCrossEntropy(): soft_cross_entropy(s, (t / 3.0).softmax(-1), reduction="none"),
        SquaredError(): (s - t).square().mean(-1),
        LogitRegression(): (s - t).square().mean(-1),
        LogitRegression(centre=True): centred(s - t).square().mean(-1),
        LabelSmoothing(0.2): cross_entropy(s, LABELS, label_smoothing=0.2, reduction="none"),
        EntropyRegularization(0.2): entropy_regularized(s, LABELS, 0.2, reduction="none"),
        VirtualTeacher(0.8): virtual_teacher(s, LABELS, 3.0, mass=0.8, reduction="none"),
        Pinball((0.1, 0.9)): pinball(s.unflatten(-1, (2, 2)), t[:, :2], (0.1, 0.9), reduction="none").mean(-1),
    }
    for loss, rows in expected.items():
        targets = t[:, :2] if isinstance(loss, Pinball) else LABELS
        torch.testing.assert_close(loss.rows(s, t, targets, 3.0), rows, rtol=0, atol=1e-14, msg=repr(loss))


def test_soft_cross_entropy_is_the_log_loss_of_the_untempered_student(draw):
    s, t = draw(N, C), 1e4 * draw(N, C, seed=1)  # a teacher so sure that its soft labels are hard ones
    rows = SoftCrossEntropy().rows(s, t, None, 0.1)
    labels = t.argmax(-1)
    assert rows.mean().item() == pytest.approx(log_loss(labels, s.softmax(-1), labels=range(C)), abs=1e-12)


# -- errors -----------------------------------------------------------------------------------------------------------

z2, z3 = torch.zeros(5, 2), torch.zeros(5, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kd(z2, z3), r"teacher_logits must be of shape \(5, 2\), got shape \(5, 3\)\. Pass"),
        (lambda: kd(z2, torch.zeros(4, 2)), r"teacher_logits must be of shape \(5, 2\), got shape \(4, 2\)"),
        (
            lambda: kd(torch.zeros(5, 1), torch.zeros(5, 1)),
            r"student_logits must be .*n_classes >= 2, got shape \(5, 1",
        ),
        (lambda: kd(z2, z2, 0.0), r"temperature must be a finite number above 0, got 0\.0"),
        (lambda: kd(z2, z2, math.nan), r"temperature must be a finite number above 0, got nan"),
        (lambda: kd(z2, z2, reduction="sum"), r"reduction must be 'mean' or 'none', got sum"),
        (lambda: soft_targets(z2, -1.0), r"temperature must be a finite number above 0, got -1\.0"),
        (lambda: soft_cross_entropy(z2, z3), r"soft_targets must be of shape \(5, 2\)"),
        (lambda: logit_regression(torch.zeros(5, 1), torch.zeros(5)), r"teacher_logits must be of shape \(5, 1\)"),
        (lambda: label_smoothing(z2, torch.zeros(4, dtype=torch.long), 0.1), r"targets must be of shape \(5,\), got"),
        (lambda: label_smoothing(z2, torch.zeros(5), 0.1), r"targets must be of shape \(5, 2\), got shape \(5,\)"),
        (lambda: label_smoothing(z2, z2, 1.5), r"eps must be a number between 0 and 1, got 1\.5"),
        (lambda: entropy_regularized(z2, z2, -1.0), r"strength must be a finite number of at least 0, got -1\.0"),
        (lambda: virtual_teacher(z2, z2, mass=1.1), r"mass must be a number between 0 and 1, got 1\.1"),
        (lambda: mutual(z2), r"peer_logits must be the logits of at least one peer, got None|got none"),
        (
            lambda: pinball(z2, torch.zeros(5), (0.5,)),
            r"predictions must be of shape \(\.\.\., 1\), got shape \(5, 2",
        ),
        (lambda: pinball(z2, torch.zeros(5, 1), (0.1, 0.9)), r"targets must be of shape \(5,\), got shape \(5, 1\)"),
        (lambda: pinball(z2, torch.zeros(5), (0.1, 1.0)), r"quantiles must be numbers above 0 and below 1"),
        (lambda: Pinball(()), r"quantiles must be numbers above 0 and below 1, got \[\]"),
        (
            lambda: trust_weights(z3, LABELS[:5] % 3, threshold=2.0),
            r"threshold must be a number between 0 and 1, got 2\.0",
        ),
        (lambda: SoftTargets().rows(z2, None, None), r"teacher_logits must be the teacher's predictions, got None"),
        (lambda: LabelSmoothing().rows(z2, None, None), r"targets must be the hard targets of the rows, got None"),
        (lambda: Pinball((0.1, 0.9)).rows(z3, None, z2), r"student_logits must be of shape \(\.\.\., n_targets \* 2\)"),
        (lambda: LabelSmoothing(2.0), r"eps must be a number between 0 and 1, got 2\.0"),
        (lambda: EntropyRegularization(-2.0), r"strength must be a finite number of at least 0"),
        (lambda: VirtualTeacher(-2.0), r"mass must be a number between 0 and 1"),
        (lambda: TrustedRows(threshold=-1), r"threshold must be a number between 0 and 1"),
    ],
)
def test_wrong_arguments_are_named_with_what_was_given_and_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("wrong", [3, -1])
def test_classes_that_do_not_exist_are_named(wrong):
    labels, z = torch.tensor([0, 2, wrong]), torch.zeros(3, 3)
    losses = [*one_sided().values(), lambda z, y: trust_weights(z, y), lambda z, y: TrustedRows().rows(z, z, y)]
    for loss in losses:
        with pytest.raises(
            ValueError, match=rf"targets must be class indices from 0 to 2, got {wrong}\. Count classes"
        ):
            loss(z, labels)


def test_switches_are_bools_and_peers_are_tensors():
    for call in (lambda: LogitRegression(centre="no"), lambda: logit_regression(z2, z2, centre="no")):
        with pytest.raises(TypeError, match=r"centre must be True or False, got no\. Pass a bool"):
            call()
    with pytest.raises(TypeError, match=r"peer_logits must be one tensor per peer, got a list\. Unpack several"):
        mutual(z2, [z2, z2])


def test_what_is_no_loss_cannot_be_trusted():
    with pytest.raises(TypeError, match=r"loss must be a ResponseLoss, got kd\. Use e\.g\. SoftTargets\(\)"):
        TrustedRows("kd")
