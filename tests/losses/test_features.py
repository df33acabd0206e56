"""What every loss on maps owes its user, and what those on features, attention and weights compute."""

import pytest
import torch
from torch.nn import functional

from pitskd.losses.functional import attention, features, relations, spectra
from pitskd.losses.functional.maps import matched

# Equal channels suit all of them; `fsp` is given a second layer made from the first.
WINDOWWISE = {
    "hint": features.hint,
    "attention_transfer": attention.attention_transfer,
    "attention_transfer-norm": lambda s, t, mask=None: attention.attention_transfer(s, t, "norm", mask=mask),
    "gradient_attention": attention.gradient_attention,
    "self_attention": attention.self_attention,
    "activation_boundary": features.activation_boundary,
    "factor_transfer": features.factor_transfer,
    "inheritance": features.inheritance,
    "exploration": features.exploration,
    "neuron_selectivity": relations.neuron_selectivity,
    "fsp": lambda s, t, mask=None: relations.fsp((s, 2.0 * s.flip(1)), (t, t.flip(1) + 1.0), mask=mask),
    "singular_values": lambda s, t, mask=None: spectra.singular_values(s, t, n_values=3, mask=mask),
    "singular_vectors": spectra.singular_vectors,
    "singular_vectors-2": lambda s, t, mask=None: spectra.singular_vectors(s, t, n_vectors=2, mask=mask),
}
BATCHWISE = {
    "relational_distance": relations.relational_distance,
    "relational_distance-squared": lambda s, t, mask=None: relations.relational_distance(
        s, t, squared=True, normalise=False, mask=mask
    ),
    "relational_angle": relations.relational_angle,
}
EVERY = WINDOWWISE | BATCHWISE
CHANNELS_DIFFER = [n for n in EVERY if n.startswith(("attention", "gradient", "self", "neuron", "singular", "relat"))]
every_loss = pytest.mark.parametrize("loss", EVERY.values(), ids=EVERY)
windowwise_loss = pytest.mark.parametrize("loss", WINDOWWISE.values(), ids=WINDOWWISE)
batchwise_loss = pytest.mark.parametrize("loss", BATCHWISE.values(), ids=BATCHWISE)


def keyword(loss, mask):
    return lambda s, t: loss(s, t, mask=mask)


def gradient(loss, student, teacher):
    student = student.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(student, teacher), student)
    return found


# ---------------------------------------------------------------------------------------------- the floor


@every_loss
def test_the_loss_is_a_number_whose_gradient_reaches_the_student_only(loss, draw):
    student, teacher = draw(5, 3, 6, requires_grad=True), draw(5, 3, 6, seed=1, requires_grad=True)
    value = loss(student, teacher)
    value.backward()
    assert value.shape == ()
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


@every_loss
@pytest.mark.parametrize("lengths", [(6, 6), (6, 3), (4, 7)])
def test_gradients_are_those_of_finite_differences(loss, lengths, draw):
    student, teacher = draw(4, 3, lengths[0], requires_grad=True), draw(4, 3, lengths[1], seed=1)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), (student,), atol=1e-6)


@every_loss
def test_gradients_are_finite_for_duplicates_zeros_and_one_window(loss, draw):
    zeros, one = torch.zeros(4, 3, 6, dtype=torch.float64), draw(1, 3, 6)
    duplicates = draw(2, 3, 6).repeat(2, 1, 1)
    repeated_channels = draw(4, 1, 6).repeat(1, 3, 1)
    orthonormal = torch.eye(6, dtype=torch.float64)[:3].expand(4, 3, 6)  # singular values repeat
    other = draw(4, 3, 6, seed=1)
    cases = [(zeros, other), (other, zeros), (zeros, zeros), (one, one), (one, draw(1, 3, 6, seed=2)), (other, other)]
    cases += [(duplicates, other), (other, duplicates), (repeated_channels, other), (orthonormal, other)]
    cases += [(orthonormal, orthonormal), (draw(4, 5), draw(4, 5, seed=1)), (zeros[:, :, 0], zeros[:, :, 0])]
    for student, teacher in cases:
        for scale in (1.0, 1e-150, 1e60):
            assert gradient(loss, student * scale, teacher).isfinite().all()
        for scale in (1.0, 1e-30, 1e8):
            assert gradient(loss, (student * scale).float(), teacher.float()).isfinite().all()


@every_loss
def test_float32_far_from_zero_gives_finite_gradients(loss, draw):
    student, teacher = (draw(6, 3, 6, seed=s).float() + 1e4 for s in (0, 1))
    assert gradient(loss, student, teacher).isfinite().all()


@every_loss
def test_students_run_stacked_as_they_run_alone(loss, draw):
    students, teacher = draw(3, 5, 4, 6), draw(5, 4, 3, seed=1)
    teachers = draw(3, 5, 4, 6, seed=2)
    mask = torch.arange(6) < torch.tensor([6, 2, 4, 5, 3])[:, None]
    shared = torch.vmap(torch.func.grad_and_value(loss), in_dims=(0, None))(students, teacher)
    own = torch.vmap(torch.func.grad_and_value(keyword(loss, mask)))(students, teachers)
    for i, student in enumerate(students):
        for (gradients, values), alone, taught in ((shared, loss, teacher), (own, keyword(loss, mask), teachers[i])):
            torch.testing.assert_close(values[i], alone(student, taught), rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(gradients[i], gradient(alone, student, taught), rtol=1e-9, atol=1e-11)


@every_loss
def test_the_order_of_windows_does_not_matter_and_a_repeated_batch_keeps_the_mean(loss, draw):
    student, teacher, order = draw(4, 3, 6), draw(4, 3, 6, seed=1), torch.tensor([2, 0, 3, 1])
    value = loss(student, teacher)
    torch.testing.assert_close(loss(student[order], teacher[order]), value)
    if loss in WINDOWWISE.values():
        torch.testing.assert_close(loss(student.repeat(2, 1, 1), teacher.repeat(2, 1, 1)), value)


@every_loss
def test_what_stands_at_masked_steps_changes_neither_value_nor_gradient(loss, draw):
    student, teacher = draw(4, 3, 6), draw(4, 3, 6, seed=1)
    mask = torch.arange(6) < torch.tensor([6, 2, 4, 3])[:, None]
    masked, padding = keyword(loss, mask), ~mask[:, None, :].expand(4, 3, 6)
    for filler in (1e6, float("nan")):
        filled, taught = student.masked_fill(padding, filler), teacher.masked_fill(padding, -filler)
        torch.testing.assert_close(masked(filled, taught), masked(student, teacher))
        torch.testing.assert_close(gradient(masked, filled, taught), gradient(masked, student, teacher))
    assert (gradient(masked, student, teacher)[padding] == 0).all()


@windowwise_loss
@pytest.mark.parametrize("teacher_length", [8, 4])
def test_a_padded_batch_is_the_mean_of_its_windows_each_alone(loss, teacher_length, draw):
    steps = [8, 2, 4, 6]
    student, teacher, stride = draw(4, 3, 8), draw(4, 3, teacher_length, seed=1), 8 // teacher_length
    mask = torch.arange(8) < torch.tensor(steps)[:, None]
    alone = [loss(student[i : i + 1, :, :n], teacher[i : i + 1, :, : n // stride]) for i, n in enumerate(steps)]
    torch.testing.assert_close(loss(student, teacher, mask=mask), torch.stack(alone).mean())
    absent = torch.cat([mask, torch.zeros(1, 8, dtype=torch.bool)])
    with_absent = loss(torch.cat([student, student[:1]]), torch.cat([teacher, teacher[:1]]), mask=absent)
    torch.testing.assert_close(with_absent, torch.stack(alone).mean())


@batchwise_loss
def test_relations_of_equally_padded_windows_are_those_of_the_shorter_ones(loss, draw):
    student, teacher = draw(4, 3, 6), draw(4, 2, 6, seed=1)
    mask = (torch.arange(6) < 4).expand(4, 6)
    torch.testing.assert_close(loss(student, teacher, mask=mask), loss(student[..., :4], teacher[..., :4]))


POOLED_AS_MAPS = [name for name in WINDOWWISE if not name.startswith(("attention", "gradient", "self"))]


@pytest.mark.parametrize("name", POOLED_AS_MAPS)
@pytest.mark.parametrize("lengths", [(9, 3), (3, 9), (7, 4)])
def test_a_longer_map_is_pooled_to_the_shorter_one(name, lengths, draw):
    student, teacher, shorter = draw(4, 3, lengths[0]), draw(4, 3, lengths[1], seed=1), min(lengths)
    pooled = [functional.adaptive_avg_pool1d(maps, shorter) for maps in (student, teacher)]
    torch.testing.assert_close(EVERY[name](student, teacher), EVERY[name](*pooled))


@every_loss
def test_units_are_a_map_of_one_step(loss, draw):
    student, teacher = draw(4, 3), draw(4, 3, seed=1)
    torch.testing.assert_close(loss(student, teacher), loss(student[..., None], teacher[..., None]))


@pytest.mark.parametrize("name", CHANNELS_DIFFER)
def test_channels_may_differ_where_only_relations_over_time_or_windows_count(name, draw):
    student, teacher = draw(4, 5, 6, requires_grad=True), draw(4, 2, 6, seed=1)
    assert torch.autograd.gradcheck(lambda s: EVERY[name](s, teacher), (student,), atol=1e-6)


@every_loss
def test_a_teacher_of_another_precision_is_read_in_that_of_the_student(loss, draw):
    for own, other in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        for lengths in ((6, 6), (6, 3)):
            student, teacher = draw(4, 3, lengths[0]).to(own), draw(4, 3, lengths[1], seed=1).to(other)
            value = loss(student, teacher)
            assert value.dtype == own
            torch.testing.assert_close(value, loss(student, teacher.to(own)))
            assert gradient(loss, student, teacher).dtype == own


@every_loss
def test_shapes_that_do_not_fit_are_named(loss, draw):
    with pytest.raises(ValueError, match=r"must be features of 4 windows, got 3 windows\. Pass the same windows"):
        loss(draw(4, 3, 6), draw(3, 3, 6))
    with pytest.raises(ValueError, match=r"must be torch\.bool of shape \(4, window\), got torch\.float32"):
        loss(draw(4, 3, 6), draw(4, 3, 6), mask=torch.ones(4, 6))
    with pytest.raises(ValueError, match=r"must be features \(batch, channels, length\) or \(batch, units\)"):
        loss(draw(4, 3, 6, 2), draw(4, 3, 6, 2))


@pytest.mark.parametrize("name", sorted(set(EVERY) - set(CHANNELS_DIFFER)))
def test_unequal_channels_are_sent_to_an_adapter(name, draw):
    with pytest.raises(ValueError, match=r"student must be of 2 channels as the teacher, got 5 channels\. Map them by"):
        EVERY[name](draw(4, 5, 6), draw(4, 2, 6))


# ---------------------------------------------------------------------------------------------- maps


@pytest.mark.parametrize(("length", "shorter"), [(12, 4), (12, 5), (7, 7), (9, 1)])
def test_pooling_is_adaptive_average_pooling(length, shorter, draw):
    long, short = draw(2, 3, length), draw(2, 3, shorter, seed=1)
    torch.testing.assert_close(matched(long, short)[0], functional.adaptive_avg_pool1d(long, shorter))


def test_a_pooled_step_is_the_mean_of_the_steps_that_count_and_counts_if_any_does():
    long = torch.tensor([[[1.0, 3.0, 5.0, 9.0, 9.0, 9.0]]])
    mask = torch.tensor([[True, True, True, False, False, False]])
    pooled, taught, weights = matched(long, torch.ones(1, 1, 3), mask=mask)
    assert pooled.tolist() == [[[2.0, 5.0, 0.0]]]
    assert taught.tolist() == [[[1.0, 1.0, 0.0]]]
    assert weights.tolist() == [[1.0, 1.0, 0.0]]


def test_a_step_counts_only_if_it_does_in_both_maps():
    """Of six steps in four bins, the second bin of the shorter map begins where the mask has ended."""
    mask = torch.tensor([[True, False, False, False, False, False]])
    long, short, weights = matched(torch.ones(1, 1, 6), torch.ones(1, 1, 4), mask=mask)
    assert weights.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert long.tolist() == short.tolist() == [[[1.0, 0.0, 0.0, 0.0]]]
    overlapping = torch.tensor([[True, True, False, False, False, False]])  # bins 0-1, 1-2, 3-4, 4-5
    assert matched(long.new_ones(1, 1, 6), short, mask=overlapping)[2].tolist() == [[1.0, 1.0, 0.0, 0.0]]
    coarse = torch.tensor([[False, True, False]])  # bins of the six steps: 2-3, of the four: 1-2, of six in four: 1-3
    assert matched(torch.ones(1, 1, 6), torch.ones(1, 1, 4), mask=coarse)[2].tolist() == [[0.0, 1.0, 1.0, 0.0]]
    single = torch.tensor([[True, False, False, False]])  # the six: 0, 1; six in four: 0, 1; the four: 0
    assert matched(torch.ones(1, 1, 6), torch.ones(1, 1, 4), mask=single)[2].tolist() == [[1.0, 0.0, 0.0, 0.0]]


# ---------------------------------------------------------------------------------------------- hint, weights


def test_hint_is_the_mean_of_squared_differences(draw):
    student, teacher = draw(4, 3, 6), draw(4, 3, 6, seed=1)
    torch.testing.assert_close(features.hint(student, teacher), functional.mse_loss(student, teacher))
    torch.testing.assert_close(gradient(features.hint, student, teacher), 2 * (student - teacher) / student.numel())


def test_hint_keeps_its_digits_far_from_zero(draw):
    student, teacher = (draw(8, 3, 6, seed=s).float() + 1e4 for s in (0, 1))
    exact = features.hint(student.double(), teacher.double())
    assert abs(features.hint(student, teacher).double() - exact) < 1e-6 * exact


def test_equal_weights_have_no_loss_and_others_their_mean_square(draw):
    own = {"a": draw(2, 3), "b": draw(4)}
    assert features.weight_matching(own, {name: w.clone() for name, w in own.items()}) == 0.0
    taught = {"b": own["b"] + 1.0, "a": own["a"] - 2.0}
    assert features.weight_matching(own, taught) == pytest.approx((6 * 4 + 4 * 1) / 10)
    found = gradient(features.weight_matching, own["a"], taught["a"])
    torch.testing.assert_close(found, 2 * (own["a"] - taught["a"]) / 6)


def test_weights_are_matched_stacked_and_refused_in_other_shapes(draw):
    own, taught = draw(3, 2, 4), draw(2, 4, seed=1)
    stacked = torch.vmap(features.weight_matching, in_dims=(0, None))(own, taught)
    torch.testing.assert_close(stacked, (own - taught).square().mean(dim=(1, 2)))
    with pytest.raises(ValueError, match=r"of shape \(2,\) at 0, got shape \(3,\)\. Leave out layers whose shapes"):
        features.weight_matching([draw(3)], [draw(2)])
    with pytest.raises(ValueError, match=r"student_weights must be named \['0', '1'\], got \['0'\]"):
        features.weight_matching([draw(3)], [draw(3), draw(3)])


# ---------------------------------------------------------------------------------------------- attention


def test_attention_is_the_unit_vector_of_channel_mean_squares(draw):
    maps = draw(2, 3, 5)
    squares = maps.square().sum(dim=1)
    torch.testing.assert_close(attention.temporal_attention(maps), squares / squares.norm(dim=1, keepdim=True))
    mask = torch.tensor([[True, True, True, False, False]] * 2)
    shorter = attention.temporal_attention(maps[..., :3])
    torch.testing.assert_close(attention.temporal_attention(maps, mask=mask), functional.pad(shorter, (0, 2)))


def test_attention_transfer_has_hand_worked_values():
    student = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)  # squares (4, 1), norm sqrt(17)
    teacher = torch.tensor([[[0.0, 3.0]]], dtype=torch.float64)  # attention (0, 1)
    square = 16 / 17 + (1 / 17**0.5 - 1) ** 2
    assert attention.attention_transfer(student, teacher).item() == pytest.approx(square / 2)
    assert attention.attention_transfer(student, teacher, mode="norm").item() == pytest.approx(square**0.5)


@pytest.mark.parametrize("lengths", [(9, 3), (3, 9), (7, 4)])
@pytest.mark.parametrize("loss", [attention.attention_transfer, attention.gradient_attention, attention.self_attention])
def test_attention_is_squared_before_it_is_pooled(loss, lengths, draw):
    student, teacher = draw(4, 3, lengths[0]), draw(4, 2, lengths[1], seed=1)
    pooled = [functional.adaptive_avg_pool1d(m.square().mean(dim=1), min(lengths)) for m in (student, teacher)]
    expected = functional.mse_loss(*(functional.normalize(where, dim=1) for where in pooled))
    torch.testing.assert_close(loss(student, teacher), expected)


def test_opposite_signs_within_a_pooled_step_do_not_cancel():
    student, teacher = torch.tensor([[[3.0, -3.0, 0.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    assert attention.attention_transfer(student, teacher) == 1.0  # (1, 0) against (0, 1)
    assert attention.attention_transfer(student, teacher.flip(2)) == 0.0


@pytest.mark.parametrize("mode", ["mse", "norm"])
def test_attention_does_not_see_the_scale_of_features_nor_the_order_of_channels(mode, draw):
    student, teacher = draw(3, 4, 6), draw(3, 2, 6, seed=1)
    value = attention.attention_transfer(student, teacher, mode)
    for scale in (1e-200, 1e200):  # the squares would leave float64
        torch.testing.assert_close(attention.attention_transfer(scale * student, teacher / scale, mode), value)
    torch.testing.assert_close(attention.attention_transfer(-student.flip(1), teacher, mode), value)


def test_attention_refuses_an_unknown_mode(draw):
    with pytest.raises(ValueError, match="mode must be 'mse' or 'norm', got l1"):
        attention.attention_transfer(draw(2, 3, 4), draw(2, 3, 4), mode="l1")


def test_gradient_attention_teaches_weights_through_the_gradient(draw):
    """Double backward against finite differences of the whole computation."""
    inputs, targets, teacher = draw(3, 2, 5), draw(3, seed=1), draw(3, 2, 5, seed=2)

    def of_weights(weights):
        x = inputs.clone().requires_grad_()
        error = (torch.tanh((x * weights).sum(dim=1)).sum(dim=1) - targets).square().mean()
        return attention.gradient_attention(attention.input_gradient(error, x), teacher, "norm")

    assert torch.autograd.gradcheck(of_weights, (draw(2, 5, seed=3, requires_grad=True),))


@pytest.mark.parametrize("mode", ["mse", "norm"])
def test_attention_transfer_can_be_differentiated_twice(mode, draw):
    student, teacher = draw(2, 3, 4, requires_grad=True), draw(2, 2, 4, seed=1)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda s: attention.attention_transfer(s, teacher, mode), (student,), grad_outputs=(weight,)
    )


def test_input_gradient_is_that_of_the_loss_and_says_what_is_missing(draw):
    x = draw(2, 1, 3, requires_grad=True)
    torch.testing.assert_close(attention.input_gradient(x.pow(3).sum(), x, create_graph=False), 3 * x.square())
    with pytest.raises(ValueError, match=r"got one without\. Call inputs\.requires_grad_\(\) before the network runs"):
        attention.input_gradient(x.sum(), x.detach())
    with pytest.raises(ValueError, match=r"inputs must be .* of which the loss is made, got another tensor"):
        attention.input_gradient(x.sum(), draw(2, requires_grad=True))


def test_self_attention_teaches_the_shallow_layer_only(draw):
    shallow, deep = draw(3, 4, 8, requires_grad=True), draw(3, 6, 4, seed=1, requires_grad=True)
    attention.self_attention(shallow, deep).backward()
    assert shallow.grad.abs().max() > 0
    assert deep.grad is None


# ---------------------------------------------------------------------------------------------- boundaries


def test_activation_boundary_is_its_definition(draw):
    s, t, m = 2 * draw(6, 3, 5), draw(6, 3, 5, seed=1), 0.7
    active, inactive = ((s - m) ** 2 * (s <= m) * (t > 0)).mean(), ((s + m) ** 2 * (s > -m) * (t <= 0)).mean()
    torch.testing.assert_close(features.activation_boundary(s, t, margin=m), active + inactive)


def test_only_the_sign_of_the_teacher_draws_the_boundary(draw):
    s, t = draw(6, 3, 5), draw(6, 3, 5, seed=1)
    value = features.activation_boundary(s, t)
    assert features.activation_boundary(s, 1e3 * t) == value
    assert features.activation_boundary(s, t.sign()) == value
    assert features.activation_boundary(torch.where(t > 0, 1.0, -1.0), t) == 0.0
    assert features.activation_boundary(torch.ones(1, 1), torch.zeros(1, 1)) == 4.0  # 0 is inactive


def test_the_hamming_distance_counts_disagreeing_units_and_has_no_gradient(draw):
    s, t = torch.tensor([[1.0, -1.0, 2.0, 0.0]], requires_grad=True), torch.tensor([[1.0, 1.0, -1.0, -5.0]])
    distance = features.boundary_distance(s, t)
    assert distance.item() == 0.5
    assert not distance.requires_grad
    mask = torch.tensor([[True, False]])
    assert (
        features.boundary_distance(s.reshape(1, 2, 2), t.reshape(1, 2, 2), mask=mask).item() == 0.5
    )  # (1, 2), (1, -1)


def test_gradient_steps_on_the_boundary_loss_bring_the_sparsity_patterns_together(draw):
    student, teacher = draw(4, 3, 5, requires_grad=True), draw(4, 3, 5, seed=1)
    assert features.boundary_distance(student, teacher) > 0.3
    for _ in range(60):
        student = (student - 5.0 * gradient(features.activation_boundary, student, teacher)).detach()
    assert features.boundary_distance(student, teacher) == 0.0


@pytest.mark.parametrize("margin", [0.0, float("nan")])
def test_a_margin_is_above_zero(margin, draw):
    with pytest.raises(ValueError, match=r"margin must be a finite number above 0"):
        features.activation_boundary(draw(2, 3), draw(2, 3), margin=margin)


# ---------------------------------------------------------------------------------------------- factors


def test_factor_transfer_is_the_mean_difference_of_unit_factors(draw):
    s, t = draw(4, 3, 5), draw(4, 3, 5, seed=1)
    expected = (functional.normalize(s.flatten(1)) - functional.normalize(t.flatten(1))).abs().mean()
    torch.testing.assert_close(features.factor_transfer(s, t), expected)
    torch.testing.assert_close(features.factor_transfer(1e200 * s, 1e-200 * t), expected)


def test_inheritance_is_factor_transfer_and_exploration_its_negative_within_its_bound(draw):
    s, t = draw(4, 3, 5), draw(4, 3, 5, seed=1)
    assert features.inheritance(s, t) == features.factor_transfer(s, t) == -features.exploration(s, t)
    assert features.exploration(torch.ones(1, 4), -torch.ones(1, 4)).item() == pytest.approx(-2 / 4**0.5)
    torch.testing.assert_close(gradient(features.exploration, s, t), -gradient(features.inheritance, s, t))
