"""Relations between windows, channels and layers against loops that spell them out, and what leaves them unchanged."""

import itertools

import pytest
import torch
from torch.nn import functional

from pitskd.losses.functional import relations, spectra


def gradient(loss, student, teacher):
    student = student.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(student, teacher), student)
    return found


def rotation(draw, size):
    return torch.linalg.qr(draw(size, size, seed=9))[0]


# ---------------------------------------------------------------------------------------------- channels


def broadcast_selectivity(student, teacher):
    """Spell the discrepancy out: one kernel value for every pair of channels."""
    s, t = functional.normalize(student, dim=2), functional.normalize(teacher, dim=2)

    def kernel(a, b):
        return (a.unsqueeze(2) * b.unsqueeze(1)).sum(dim=-1).square().mean(dim=(1, 2))

    return (kernel(s, s) + kernel(t, t) - 2 * kernel(s, t)).mean()


# time steps against channels decide whether a basis is taken
@pytest.mark.parametrize("shapes", [((7, 9), (5, 9)), ((2, 9), (3, 9)), ((1, 4), (6, 4)), ((3, 1), (4, 1))])
def test_selectivity_equals_the_broadcast_form_in_value_and_gradient(shapes, draw):
    student, teacher = draw(4, *shapes[0]), draw(4, *shapes[1], seed=1)
    found, expected = relations.neuron_selectivity(student, teacher), broadcast_selectivity(student, teacher)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)
    found, expected = (gradient(f, student, teacher) for f in (relations.neuron_selectivity, broadcast_selectivity))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("length", [5, 40])
def test_selectivity_of_channels_much_alike_keeps_its_digits_in_float32_and_is_never_negative(length, draw):
    student, teacher = (draw(4, 3, length, seed=s).float() + 1e4 for s in (0, 1))
    exact = broadcast_selectivity(student.double(), teacher.double())
    assert abs(relations.neuron_selectivity(student, teacher) - exact) < 1e-3 * exact  # eps / (1 / 1e4) is 6e-4
    found, expected = (
        gradient(relations.neuron_selectivity, s, t)
        for s, t in ((student, teacher), (student.double(), teacher.double()))
    )
    assert (found - expected).norm() < 1e-2 * expected.norm()
    for scale in (0.0, 1e-7, 1e-3):
        near = student + scale * draw(4, 3, length, seed=2).float()
        assert relations.neuron_selectivity(near, student) >= 0.0


def test_selectivity_of_repeated_and_empty_channels_has_the_gradient_of_the_broadcast_form(draw):
    """The channels span less than there are of them: any basis that holds them will do."""
    student = draw(4, 1, 20).repeat(1, 3, 1)
    student[:, 2] = 0.0
    teacher = draw(4, 2, 20, seed=1)
    found, expected = (gradient(f, student, teacher) for f in (relations.neuron_selectivity, broadcast_selectivity))
    torch.testing.assert_close(found[:, :2], expected[:, :2], rtol=1e-9, atol=1e-14)
    assert (found[:, 2] == 0).all()


@pytest.mark.parametrize("length", [5, 20])
def test_selectivity_ignores_order_scale_and_sign_of_channels(length, draw):
    student, teacher = draw(4, 6, length), draw(4, 3, length, seed=1)
    value = relations.neuron_selectivity(student, teacher)
    scales = torch.tensor([1.0, -1.0, 1e-90, 1e90, 7.0, 1.0], dtype=torch.float64)[:, None]
    permuted = scales * student[:, [4, 1, 5, 0, 2, 3]]
    torch.testing.assert_close(relations.neuron_selectivity(permuted, teacher), value)
    assert relations.neuron_selectivity(student, student.flip(1)).abs() < 1e-15
    doubled = teacher.repeat_interleave(2, dim=1)  # as a distribution of patterns, the same
    torch.testing.assert_close(relations.neuron_selectivity(student, doubled), value)


# ---------------------------------------------------------------------------------------------- layers


def test_fsp_is_the_mean_squared_difference_of_flows(draw):
    (s1, s2), (t1, t2) = [(draw(4, 3, 6, seed=s), draw(4, 2, 6, seed=s + 1)) for s in (0, 2)]
    flows = [torch.einsum("bit,bjt->bij", a, b) / 6 for a, b in ((s1, s2), (t1, t2))]
    torch.testing.assert_close(relations.fsp((s1, s2), (t1, t2)), functional.mse_loss(*flows))


def test_one_permutation_of_time_leaves_the_flow_and_different_ones_do_not(draw):
    maps = [draw(4, 3, 6, seed=s) for s in range(4)]
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    value = relations.fsp((maps[0], maps[1]), (maps[2], maps[3]))
    together = [m[..., order] for m in maps]
    torch.testing.assert_close(relations.fsp((together[0], together[1]), (together[2], together[3])), value)
    assert abs(relations.fsp((together[0], maps[1]), (maps[2], maps[3])) - value) > 1e-3


def test_fsp_pools_all_layers_to_the_shortest_and_reaches_both_layers_of_the_student(draw):
    s1, s2 = draw(4, 3, 12, requires_grad=True), draw(4, 2, 6, seed=1, requires_grad=True)
    t1, t2 = draw(4, 3, 6, seed=2, requires_grad=True), draw(4, 2, 3, seed=3, requires_grad=True)
    value = relations.fsp((s1, s2), (t1, t2))
    pooled = [functional.adaptive_avg_pool1d(m, 3) for m in (s1, s2, t1, t2)]
    torch.testing.assert_close(value, relations.fsp((pooled[0], pooled[1]), (pooled[2], pooled[3])))
    value.backward()
    assert s1.grad.abs().max() > 0
    assert s2.grad.abs().max() > 0
    assert t1.grad is None
    assert t2.grad is None


def test_fsp_keeps_its_digits_far_from_zero(draw):
    maps = [draw(8, 3, 24, seed=s).float() + 1e4 for s in range(4)]
    exact = relations.fsp((maps[0].double(), maps[1].double()), (maps[2].double(), maps[3].double()))
    assert abs(relations.fsp((maps[0], maps[1]), (maps[2], maps[3])).double() - exact) < 1e-5 * exact
    plain = [a @ b.mT / 24 for a, b in ((maps[0], maps[1]), (maps[2], maps[3]))]
    assert abs(functional.mse_loss(*plain).double() - exact) > 1e-5 * exact  # the formula as printed does not


def test_fsp_wants_two_layers_of_equal_channels(draw):
    with pytest.raises(ValueError, match=r"teacher must be a pair of features, got 1 of them\. Pass \(first layer"):
        relations.fsp((draw(2, 3, 4), draw(2, 3, 4)), (draw(2, 3, 4),))
    with pytest.raises(ValueError, match=r"teacher\[1\] must be features of 2 windows, got 3 windows"):
        relations.fsp((draw(2, 3, 4), draw(2, 3, 4)), (draw(2, 3, 4), draw(3, 3, 4)))


# ---------------------------------------------------------------------------------------------- windows


def looped_distance(student, teacher, squared=False, normalise=True):
    def distances(points):
        n = len(points)
        found = [[float((points[i] - points[j]).norm()) for j in range(n)] for i in range(n)]
        found = torch.tensor(found, dtype=torch.float64) ** (2 if squared else 1)
        return found / found[found > 0].mean() if normalise else found

    return functional.smooth_l1_loss(distances(student.flatten(1)), distances(teacher.flatten(1)))


def looped_angle(student, teacher):
    def cosines(points):
        n, found = len(points), []
        for i, j, k in itertools.product(range(n), repeat=3):
            a, b = points[i] - points[j], points[k] - points[j]
            found.append(float(functional.normalize(a, dim=0) @ functional.normalize(b, dim=0)))
        return torch.tensor(found, dtype=torch.float64)

    return functional.smooth_l1_loss(cosines(student.flatten(1)), cosines(teacher.flatten(1)))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_relational_distance_equals_a_loop_over_pairs(squared, normalise, draw):
    student, teacher = draw(6, 3, 2), draw(6, 5, seed=1)
    student[3] = student[1]  # a pair at distance 0 is no positive distance
    found = relations.relational_distance(student, teacher, squared=squared, normalise=normalise)
    torch.testing.assert_close(found, looped_distance(student, teacher, squared, normalise))


def test_relational_angle_equals_a_loop_over_triples(draw):
    student, teacher = draw(6, 3, 2), draw(6, 5, seed=1)
    teacher[4] = teacher[2]
    torch.testing.assert_close(relations.relational_angle(student, teacher), looped_angle(student, teacher))


@pytest.mark.parametrize("loss", [relations.relational_distance, relations.relational_angle])
def test_shift_rotation_and_scale_of_an_embedding_change_nothing(loss, draw):
    student, teacher = draw(6, 4), draw(6, 3, seed=1)
    value = loss(student, teacher)
    moved = 50.0 * student @ rotation(draw, 4) - 7.0
    torch.testing.assert_close(loss(moved, 0.01 * teacher @ rotation(draw, 3) + 3.0), value)
    assert loss(moved, student) < 1e-12


@pytest.mark.parametrize("loss", [relations.relational_distance, relations.relational_angle])
def test_relations_keep_their_digits_in_float32_far_from_zero(loss, draw):
    student, teacher = (draw(24, 16, seed=s).float() + 1e4 for s in (0, 1))
    exact = loss(student.double(), teacher.double())
    assert abs(loss(student, teacher).double() - exact) < 1e-5 * exact
    found, expected = gradient(loss, student, teacher), gradient(loss, student.double(), teacher.double())
    assert (found.double() - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.parametrize("drawn", [None, 60])
@pytest.mark.parametrize("distance", [1e-3, 1e-6])
def test_angles_between_windows_that_are_nearly_the_same_keep_their_digits_in_float32(distance, drawn, draw):
    """Pairs of neighbours among windows far from each other, as overlapping windows of a series are."""
    places = draw(4, 5)
    student = torch.cat([places, places + distance * draw(4, 5, seed=1)]).float()
    teacher = draw(8, 3, seed=2).float()

    def loss(s, t):
        generator = None if drawn is None else torch.Generator().manual_seed(0)
        return relations.relational_angle(s, t, max_triples=drawn, generator=generator)

    exact = loss(student.double(), teacher.double())
    assert abs(loss(student, teacher).double() - exact) < 1e-6 * exact
    found, expected = gradient(loss, student, teacher), gradient(loss, student.double(), teacher.double())
    assert (found.double() - expected).norm() < 1e-5 * expected.norm()


def test_on_a_line_every_cosine_is_one_however_near_two_windows_are(draw):
    places = draw(4, 1)
    line = torch.cat([places, places + 1e-6 * (1 + draw(4, 1, seed=1).abs())]).float()
    assert len(line.unique()) == 8
    n_angles = 8 * 7 * 7  # i and k differ from j
    assert relations.relational_angle(line, torch.zeros(8, 1)) == 0.5 * n_angles / 8**3


@pytest.mark.parametrize("max_triples", [None, 700])
def test_triples_taken_part_by_part_are_those_taken_at_once(max_triples, draw, monkeypatch):
    student, teacher = draw(10, 4), draw(10, 3, seed=1)
    mask = torch.ones(10, 1, dtype=torch.bool)

    def loss(s, t, m=None):
        return relations.relational_angle(
            s, t, max_triples=max_triples, generator=torch.Generator().manual_seed(1), mask=m
        )

    whole, slope = loss(student, teacher), gradient(loss, student, teacher)
    monkeypatch.setattr(relations, "_ENTRIES", 300)
    torch.testing.assert_close(loss(student, teacher), whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(loss(student, teacher, mask), whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(gradient(loss, student, teacher), slope, rtol=1e-10, atol=1e-15)
    students = torch.stack([student, 2 * student.flip(0)])
    if max_triples is None:
        slopes, values = torch.vmap(torch.func.grad_and_value(loss), in_dims=(0, None))(students, teacher)
        torch.testing.assert_close(values, torch.stack([loss(s, teacher) for s in students]))
        torch.testing.assert_close(slopes, torch.stack([gradient(loss, s, teacher) for s in students]))
    with torch.no_grad():
        torch.testing.assert_close(loss(student, teacher), whole, rtol=1e-12, atol=0)


def test_switches_are_bools(draw):
    for name in ("squared", "normalise"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got no"):
            relations.relational_distance(draw(5, 4), draw(5, 4), **{name: "no"})


def test_masked_relations_are_still_invariant_to_shift(draw):
    student, teacher = draw(6, 3, 4), draw(6, 2, 4, seed=1)
    mask = torch.arange(4) < torch.tensor([4, 2, 3, 1, 4, 2])[:, None]
    value = relations.relational_distance(student, teacher, mask=mask)
    torch.testing.assert_close(relations.relational_distance(student + 1e4, teacher - 5.0, mask=mask), value)


def test_coinciding_embeddings_and_one_window_have_gradient_zero(draw):
    same = draw(1, 4).repeat(5, 1)
    for loss in (relations.relational_distance, relations.relational_angle):
        assert (gradient(loss, same, draw(5, 4, seed=1)) == 0).all()
        assert loss(draw(1, 4), draw(1, 3)) == 0.0
        assert (gradient(loss, draw(1, 4), draw(1, 3)) == 0).all()


def test_distances_of_any_ratio_give_finite_angles(draw):
    for near in (1e3, 1e-3, 1e-10, 1e-15, 1e-30):
        student = torch.tensor([[0.0, 0.0], [near, 0.0], [0.0, near], [1e15, 0.0]])
        assert relations.relational_angle(student, draw(4, 3).float()).isfinite()
        assert gradient(relations.relational_angle, student, draw(4, 3).float()).isfinite().all()


def test_drawn_triples_estimate_the_exact_loss_without_bias(draw):
    student, teacher = draw(12, 4), draw(12, 3, seed=1)
    exact = relations.relational_angle(student, teacher)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack(
        [relations.relational_angle(student, teacher, max_triples=400, generator=generator) for _ in range(200)]
    )
    assert drawn.std() > 0
    assert abs(drawn.mean() - exact) < 4 * drawn.std() / 200**0.5


def test_triples_are_all_taken_where_they_are_few_and_repeat_under_one_seed(draw):
    student, teacher = draw(5, 4), draw(5, 3, seed=1)
    every = relations.relational_angle(student, teacher)
    assert relations.relational_angle(student, teacher, max_triples=125) == every

    def drawn(s):
        generator = torch.Generator().manual_seed(3)
        return relations.relational_angle(s, teacher, max_triples=50, generator=generator)

    assert drawn(student) == drawn(student) != every
    assert torch.autograd.gradcheck(drawn, (draw(5, 4, requires_grad=True),))


def test_triples_cannot_be_drawn_without_a_generator(draw):
    with pytest.raises(ValueError, match=r"generator must be a torch\.Generator where triples are drawn, got None"):
        relations.relational_angle(draw(5, 4), draw(5, 4), max_triples=50)
    with pytest.raises(ValueError, match="max_triples must be an integer of at least 1, got 0"):
        relations.relational_angle(draw(5, 4), draw(5, 4), max_triples=0)


# ---------------------------------------------------------------------------------------------- singular values


def projector(maps, n_vectors):
    vectors = torch.linalg.svd(maps.mT, full_matrices=False)[0][..., :n_vectors]
    return vectors @ vectors.mT


@pytest.mark.parametrize("n_vectors", [1, 2])
@pytest.mark.parametrize("channels", [4, 9])
def test_singular_vectors_compare_the_spaces_they_span(n_vectors, channels, draw):
    student, teacher = draw(5, channels, 6), draw(5, 3, 6, seed=1)
    overlap = (projector(student, n_vectors) * projector(teacher, n_vectors)).sum(dim=(1, 2)) / n_vectors
    torch.testing.assert_close(spectra.singular_vectors(student, teacher, n_vectors=n_vectors), (1 - overlap).mean())


def test_patterns_over_time_do_not_depend_on_scale_sign_or_rotation_of_channels(draw):
    student, teacher = draw(5, 4, 6), draw(5, 3, 6, seed=1)
    turned = -1e-80 * (rotation(draw, 4) @ student)
    for loss in (spectra.singular_vectors, spectra.singular_values):
        torch.testing.assert_close(loss(turned, 1e80 * teacher), loss(student, teacher))
        assert loss(turned, student) < 1e-20


def test_gradients_stay_those_of_the_space_where_singular_values_inside_it_repeat(draw):
    """Two equal top values: single vectors have no derivative there, the space they span has."""
    student, teacher = torch.zeros(1, 3, 5, dtype=torch.float64), draw(1, 3, 5, seed=1)
    student[0, 0, 0] = student[0, 1, 1] = 2.0
    student[0, 2, 2] = 0.5
    probe = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: spectra.singular_vectors(s, teacher, n_vectors=2), (probe,), atol=1e-6)


def test_gradients_are_finite_where_values_inside_and_outside_coincide(draw):
    orthonormal = torch.eye(6, dtype=torch.float64)[:4].unsqueeze(0)
    for dtype in (torch.float64, torch.float32):
        for n_vectors in (1, 2, 4, 6):
            student, teacher = orthonormal.to(dtype), draw(1, 4, 6, seed=1).to(dtype)
            found = gradient(lambda s, t, n=n_vectors: spectra.singular_vectors(s, t, n_vectors=n), student, teacher)
            assert found.isfinite().all()
            assert found.abs().max() < 1e3


def test_singular_values_are_shares_of_the_map(draw):
    student, teacher = draw(5, 4, 6), draw(5, 2, 6, seed=1)
    shares = [torch.linalg.svdvals(m) / m.norm(dim=(1, 2))[:, None] for m in (student, teacher)]
    expected = (shares[0][:, :3] - functional.pad(shares[1], (0, 1))).square().mean()
    torch.testing.assert_close(spectra.singular_values(student, teacher, n_values=3), expected)


def test_numbers_of_vectors_and_values_are_checked(draw):
    with pytest.raises(ValueError, match="n_vectors must be an integer of at least 1, got 0"):
        spectra.singular_vectors(draw(2, 3, 4), draw(2, 3, 4), n_vectors=0)
    with pytest.raises(TypeError, match=r"n_values must be an integer of at least 1, got 2\.5"):
        spectra.singular_values(draw(2, 3, 4), draw(2, 3, 4), n_values=2.5)
