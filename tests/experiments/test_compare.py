import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pitskd.experiments.compare import (
    Interval,
    compare_methods,
    is_gain,
    paired_interval,
    time_blocks,
    two_way_bootstrap,
)


def tidy(scores, task="b", n_test=100):
    """Rows of results from {method: array (n_seeds, n_blocks) of sums}."""
    return pd.DataFrame(
        [
            (task, seed, method, block, n_test, value)
            for method, sums in scores.items()
            for seed, row in enumerate(np.asarray(sums, dtype=float))
            for block, value in enumerate(row)
        ],
        columns=["task", "seed", "method", "block", "n_test", "sum"],
    )


@pytest.fixture
def results():
    rng = np.random.default_rng(0)
    base = rng.normal(70, 5, (12, 8))
    return tidy(
        {
            "logistic": base,
            "student": base + 3 + rng.normal(0, 1, (12, 8)),
            "control": base + 1 + rng.normal(0, 1, (12, 8)),
            "same": base + rng.normal(0, 4, (12, 8)),
        }
    )


# ---- paired t interval


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_paired_interval_is_that_of_the_paired_t_test(confidence):
    a, b = np.random.default_rng(1).normal(size=(2, 15))
    expected = stats.ttest_rel(a, b).confidence_interval(confidence)
    got = paired_interval(a - b, confidence=confidence)
    np.testing.assert_allclose((got.lower, got.upper), (expected.low, expected.high), rtol=1e-12)
    assert got.n_splits == 15


def test_paired_interval_of_hand_worked_numbers():
    got = paired_interval([1.0, 2.0, 3.0])
    # t_{2, .975} = 4.302653, s = 1
    np.testing.assert_allclose(got[:3], [2, 2 - 4.302653 / np.sqrt(3), 2 + 4.302653 / np.sqrt(3)], rtol=1e-6)


def test_one_split_has_a_mean_and_no_interval():
    mean, lower, upper, n_splits = paired_interval([0.3])
    assert (mean, n_splits) == (0.3, 1)
    assert np.isnan([lower, upper]).all()


def test_equal_differences_have_an_interval_of_width_zero():
    assert paired_interval([0.1] * 7) == Interval(0.1, 0.1, 0.1, 7)


def test_paired_interval_ignores_order_mirrors_the_sign_and_scales():
    d = np.random.default_rng(2).normal(1, 1, 9)
    got = np.array(paired_interval(d)[:3])
    np.testing.assert_allclose(paired_interval(d[::-1])[:3], got, rtol=1e-12)
    np.testing.assert_allclose(paired_interval(-d)[:3], -got[[0, 2, 1]], rtol=1e-12)
    np.testing.assert_allclose(paired_interval(100 * d)[:3], 100 * got, rtol=1e-12)


def test_paired_interval_covers_the_truth_as_often_as_it_says():
    draws = np.random.default_rng(3).normal(0.5, 1, (1000, 6))
    covered = np.mean([i.lower < 0.5 < i.upper for i in map(paired_interval, draws)])
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 1000)


@pytest.mark.parametrize(
    ("differences", "kind", "match"),
    [
        ([], ValueError, r"differences must be a non-empty array with 1 axes, got shape \(0,\)"),
        ([[1.0, 2.0]], ValueError, r"differences must be a non-empty array with 1 axes, got shape \(1, 2\)"),
        ([1.0, np.nan], ValueError, "differences must be finite everywhere, got 1 values that are not"),
        ([1.0, np.inf], ValueError, "differences must be finite everywhere"),
        (["a", "b"], TypeError, "differences must be an array of numbers"),
    ],
)
def test_differences_are_checked(differences, kind, match):
    with pytest.raises(kind, match=match):
        paired_interval(differences)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, np.nan])
def test_confidence_lies_strictly_between_zero_and_one(confidence):
    with pytest.raises(ValueError, match="confidence must be"):
        paired_interval([1.0, 2.0], confidence=confidence)
    with pytest.raises(ValueError, match="confidence must be"):
        two_way_bootstrap(np.eye(2), np.eye(2), confidence=confidence)


# ---- two-way bootstrap


def crossed(rng, n_resamples=20, n_blocks=20, sd=(1.0, 1.0, 1.0)):
    """Cells of a two-way random-effects table with mean 0."""
    rows, columns, noise = (
        rng.normal(size=n_resamples),
        rng.normal(size=n_blocks),
        rng.normal(size=(n_resamples, n_blocks)),
    )
    return sd[0] * rows[:, None] + sd[1] * columns + sd[2] * noise


@pytest.mark.parametrize("sd", [(1, 1, 1), (0, 1, 1), (1, 0, 1), (0, 0, 1)])
def test_two_way_interval_covers_the_truth_at_least_nearly_as_often_as_it_says(sd):
    rng = np.random.default_rng(4)
    counts = np.full((20, 20), 5)
    covered = [
        i.lower < 0 < i.upper
        for i in (two_way_bootstrap(5 * crossed(rng, sd=sd), counts, n_bootstrap=300) for _ in range(300))
    ]
    # percentiles over 20 levels are short by sqrt(19 / 20) and z for t, about .02; 3 standard errors of 300 tables
    assert np.mean(covered) > 0.95 - 0.02 - 3 * np.sqrt(0.95 * 0.05 / 300)


def test_t_interval_over_resamples_misses_where_blocks_differ_and_the_two_way_interval_does_not():
    rng = np.random.default_rng(5)
    tables = [crossed(rng, sd=(0.3, 1, 0.3)) for _ in range(200)]
    t = np.mean([(i := paired_interval(table.mean(axis=1))).lower < 0 < i.upper for table in tables])
    both = np.mean([(i := two_way_bootstrap(table, np.ones((20, 20)))).lower < 0 < i.upper for table in tables])
    assert t < 0.7 < 0.9 < both


def test_noise_of_single_cells_is_counted_about_three_times():
    table = crossed(np.random.default_rng(6), 60, 60, sd=(0, 0, 1))
    interval = two_way_bootstrap(table, np.ones((60, 60)), n_bootstrap=4000)
    variance = ((interval.upper - interval.lower) / (2 * 1.96)) ** 2
    # 2 % for the ends' Monte Carlo error, 2 x 20 % for the chance of row and column means over 60 levels
    assert 2.2 < variance * 60 * 60 < 3.8


def test_point_estimates_of_both_intervals_agree_for_unequal_counts():
    rng = np.random.default_rng(7)
    counts = rng.integers(0, 30, (9, 6)) + np.eye(9, 6, dtype=int)
    sums = rng.normal(size=(9, 6)) * counts
    expected = paired_interval(sums.sum(axis=1) / counts.sum(axis=1))
    np.testing.assert_allclose(two_way_bootstrap(sums, counts).mean, expected.mean, rtol=1e-12)


def test_two_way_bootstrap_equals_drawing_rows_and_columns_one_by_one():
    rng = np.random.default_rng(8)
    counts = rng.integers(1, 9, (6, 5)).astype(float)
    sums = rng.normal(size=(6, 5)) * counts
    draws = []
    for _ in range(20_000):
        r, k = rng.integers(6, size=6), rng.integers(5, size=5)
        draws.append(np.mean(sums[np.ix_(r, k)].sum(axis=1) / counts[np.ix_(r, k)].sum(axis=1)))
    expected = np.quantile(draws, [0.05, 0.95])
    got = two_way_bootstrap(sums, counts, confidence=0.9, n_bootstrap=20_000)
    # Monte Carlo error of a 5 % quantile from 20,000 draws: sqrt(.05 .95 / 20000) / density, about .015 sd; 5 of them
    np.testing.assert_allclose((got.lower, got.upper), expected, atol=0.08 * np.std(draws))


def test_two_way_bootstrap_mirrors_the_sign_scales_and_ignores_untested_blocks():
    rng = np.random.default_rng(9)
    sums, counts = rng.normal(1, 1, (7, 6)), np.full((7, 6), 4.0)
    got = np.array(two_way_bootstrap(sums, counts)[:3])
    np.testing.assert_allclose(two_way_bootstrap(-sums, counts)[:3], -got[[0, 2, 1]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(two_way_bootstrap(3 * sums, counts)[:3], 3 * got, rtol=1e-12)
    np.testing.assert_allclose(two_way_bootstrap(3 * sums, 3 * counts)[:3], got, rtol=1e-12)
    padded = [np.insert(table, 2, 0, axis=1) for table in (sums, counts)]
    np.testing.assert_allclose(two_way_bootstrap(*padded)[:3], got, rtol=1e-12)


def test_order_of_resamples_and_blocks_moves_the_interval_by_monte_carlo_error_only():
    sums = crossed(np.random.default_rng(10), 12, 12)
    first = two_way_bootstrap(sums, np.ones((12, 12)), n_bootstrap=20_000)
    second = two_way_bootstrap(sums[::-1, ::-1], np.ones((12, 12)), n_bootstrap=20_000)
    assert first.mean == pytest.approx(second.mean, abs=1e-12)
    # 5 Monte Carlo standard errors of a 2.5 % quantile (.019 sd), difference of two
    np.testing.assert_allclose(first[1:3], second[1:3], atol=0.14 * (first.upper - first.lower) / 4)


def test_resamples_without_windows_in_the_drawn_blocks_are_left_out_of_the_draw():
    # resample r is tested in block r only: a draw's mean runs over resamples whose block was drawn, each ratio exact
    ratios = np.array([1.0, 2.0, 3.0])
    interval = two_way_bootstrap(np.diag(ratios * 4), np.diag([4, 4, 4]), n_bootstrap=500)
    assert interval.mean == 2
    assert 1 <= interval.lower < interval.upper <= 3


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_one_resample_or_one_block_leaves_the_bounds_undefined(shape):
    interval = two_way_bootstrap(np.full(shape, 2.0), np.full(shape, 4))
    assert interval.mean == 0.5
    assert np.isnan(interval[1:3]).all()


def test_one_tested_block_among_empty_ones_leaves_the_bounds_undefined():
    table = np.zeros((4, 3))
    table[:, 1] = 2
    assert np.isnan(two_way_bootstrap(table, table).lower)


def test_constant_difference_has_a_two_way_interval_of_width_zero():
    interval = two_way_bootstrap(np.full((4, 3), 2.0), np.full((4, 3), 8))
    assert interval == Interval(0.25, 0.25, 0.25, 4)


def test_bootstrap_repeats_with_its_seed_and_leaves_the_global_generator_alone():
    sums, counts = crossed(np.random.default_rng(11)), np.ones((20, 20))
    before = np.random.get_state()[1].copy()
    assert two_way_bootstrap(sums, counts, random_state=3) == two_way_bootstrap(sums, counts, random_state=3)
    assert two_way_bootstrap(sums, counts, random_state=3) != two_way_bootstrap(sums, counts, random_state=4)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    ("sums", "counts", "match"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), r"counts must be of the shape \(2, 3\) of sums, got shape \(3, 2\)"),
        (np.ones(3), np.ones(3), "sums must be a non-empty array with 2 axes"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), "sums must be finite everywhere, got 4 values"),
        (np.ones((2, 2)), -np.ones((2, 2)), r"counts must be at least 0 everywhere, got -1\.0"),
        (np.ones((2, 2)), [[1, 1], [1, 0]], "sums must be 0 where counts is 0"),
        (
            [[1, 1], [0, 0]],
            [[1, 1], [0, 0]],
            "counts must be above 0 somewhere in each resample, got no test window in",
        ),
    ],
)
def test_cells_are_checked(sums, counts, match):
    with pytest.raises(ValueError, match=match):
        two_way_bootstrap(sums, counts)


def test_number_of_draws_is_checked():
    with pytest.raises(ValueError, match="n_bootstrap must be an integer of at least 1, got 0"):
        two_way_bootstrap(np.ones((2, 2)), np.ones((2, 2)), n_bootstrap=0)


def test_a_bootstrap_without_any_usable_draw_asks_for_more():
    def draw_once_with_many_seeds():  # a draw of one resample and of the other's block has probability 1/8
        for seed in range(100):
            two_way_bootstrap(np.eye(2), np.eye(2), n_bootstrap=1, random_state=seed)

    with pytest.raises(ValueError, match="n_bootstrap must be large enough"):
        draw_once_with_many_seeds()


# ---- blocks of time


def test_blocks_of_time_stamps_start_at_midnight_of_the_first_day():
    hours = pd.date_range("2013-03-05 07:00", periods=24 * 3, freq="h")
    blocks = time_blocks(hours.to_numpy(), length="1D")
    np.testing.assert_array_equal(blocks, (hours.normalize() - pd.Timestamp("2013-03-05")).days)
    assert blocks.dtype == np.int64


def test_blocks_do_not_depend_on_order_or_resolution_or_time_zone():
    hours = pd.date_range("2013-03-05 07:00", periods=300, freq="7h")
    blocks = time_blocks(hours.to_numpy(), length="30D")
    np.testing.assert_array_equal(time_blocks(hours.to_numpy()[::-1], length=pd.Timedelta(days=30)), blocks[::-1])
    np.testing.assert_array_equal(time_blocks(hours.to_numpy().astype("M8[s]"), length="30D"), blocks)
    np.testing.assert_array_equal(time_blocks(np.array(hours.tz_localize("UTC")), length="30D"), blocks)


def test_blocks_of_positions_count_rows_from_the_first_origin():
    np.testing.assert_array_equal(time_blocks([104, 100, 103, 109], length=4), [1, 0, 0, 2])
    np.testing.assert_array_equal(time_blocks([104, 100, 103, 109], length=1), [4, 0, 3, 9])


@pytest.mark.parametrize("empty", [np.zeros(0, dtype=int), np.zeros(0, dtype="M8[h]")])
def test_no_origin_has_no_block(empty):
    assert time_blocks(empty, length=3 if empty.dtype.kind == "i" else "3D").shape == (0,)


@pytest.mark.parametrize(
    ("origin", "length", "kind", "match"),
    [
        ([1.5, 2.0], 3, TypeError, "origin must be time stamps or integers, got float64"),
        (["x", "y"], 3, TypeError, "origin must be time stamps or integers"),
        ([True, False], 3, TypeError, "origin must be time stamps or integers, got bool"),
        ([1, 2], "30D", TypeError, "length must be an integer of at least 1, got 30D"),
        ([1, 2], 0, ValueError, "length must be an integer of at least 1, got 0"),
        (np.array(["2014-01-01"], dtype="M8[h]"), 30, ValueError, "length must be a positive time delta, got 30"),
        (np.array(["2014-01-01"], dtype="M8[h]"), "-3D", ValueError, "length must be a positive time delta, got '-3D'"),
        (np.array(["2014-01-01"], dtype="M8[h]"), "month", ValueError, "length must be a positive time delta"),
        (np.array(["2014-01-01", "NaT"], dtype="M8[h]"), "3D", ValueError, "origin must be free of missing time"),
    ],
)
def test_origin_and_length_are_checked(origin, length, kind, match):
    with pytest.raises(kind, match=match):
        time_blocks(origin, length=length)


# ---- tables


def test_table_of_hand_worked_numbers():
    sums = {"logistic": [[6, 8], [7, 7], [5, 9]], "student": [[7, 9], [9, 7], [6, 11]]}
    table = compare_methods(tidy(sums, n_test=10), baseline="logistic")
    assert table["method"].tolist() == ["logistic", "student"]
    assert table["n_splits"].tolist() == [3, 3]
    assert table["n_blocks"].tolist() == [2, 2]
    np.testing.assert_allclose(table["accuracy"], [0.7, 49 / 60])
    # differences .10, .10, .15: mean .35 / 3, standard error .05 / sqrt(3) / sqrt(3)
    half = 4.302653 * 0.05 / 3
    np.testing.assert_allclose(
        table.loc[1, ["difference", "lower", "upper"]].astype(float),
        [0.35 / 3, 0.35 / 3 - half, 0.35 / 3 + half],
        rtol=1e-6,
    )
    # extreme draws: block 0 of seeds with .1, .2, .1 and block 1 with .1, .0, .2
    assert 0.0 <= table.loc[1, "bootstrap_lower"] < 0.35 / 3 < table.loc[1, "bootstrap_upper"] <= 0.2
    np.testing.assert_array_equal(table.loc[0, "difference":].astype(float), 0)


def test_table_agrees_with_the_functions_it_is_made_of(results):
    row = compare_methods(results, baseline="logistic").set_index("method").loc["student"]
    wide = results.pivot_table(index="seed", columns=["method", "block"], values="sum")
    sums = (wide["student"] - wide["logistic"]).to_numpy()
    t, both = paired_interval(sums.mean(axis=1) / 100), two_way_bootstrap(sums, np.full(sums.shape, 100))
    np.testing.assert_allclose(row[["difference", "lower", "upper"]].astype(float), t[:3], rtol=1e-12)
    np.testing.assert_allclose(row[["bootstrap_lower", "bootstrap_upper"]].astype(float), both[1:3], rtol=1e-12)


def test_order_of_rows_is_irrelevant(results):
    shuffled = compare_methods(results.sample(frac=1, random_state=0), baseline="logistic").sort_values("method")
    ordered = compare_methods(results, baseline="logistic").sort_values("method")
    pd.testing.assert_frame_equal(shuffled.reset_index(drop=True), ordered.reset_index(drop=True))


def test_swapping_baseline_and_student_flips_the_signs(results):
    forth = compare_methods(results, baseline="logistic").set_index("method").loc["student"]
    back = compare_methods(results, baseline="student").set_index("method").loc["logistic"]
    for end, other in (("difference", "difference"), ("lower", "upper"), ("bootstrap_lower", "bootstrap_upper")):
        assert forth[end] == pytest.approx(-back[other], abs=1e-12)
        assert forth[other] == pytest.approx(-back[end], abs=1e-12)


def test_difference_is_the_difference_of_the_means(results):
    table = compare_methods(results, baseline="logistic", metric="score").set_index("method")
    np.testing.assert_allclose(table["difference"], table["score"] - table.loc["logistic", "score"], atol=1e-12)


def test_tasks_are_compared_apart(results):
    other = results.assign(task="c", sum=lambda r: -r["sum"])
    both = compare_methods(pd.concat([results, other]), baseline="logistic")
    alone = compare_methods(other, baseline="logistic")
    pd.testing.assert_frame_equal(both[both["task"] == "c"].reset_index(drop=True), alone)


def test_a_resample_need_not_be_tested_in_every_block(results):
    sparse = results[(results["seed"] + results["block"]) % 3 > 0]
    table = compare_methods(sparse, baseline="logistic").set_index("method")
    per_seed = sparse.groupby(["method", "seed"])[["sum", "n_test"]].sum()
    means = (per_seed["sum"] / per_seed["n_test"]).groupby("method").mean()
    np.testing.assert_allclose(table["accuracy"], means[table.index], rtol=1e-12)
    assert table["bootstrap_lower"].notna().all()


def test_categorical_columns_and_surplus_columns_are_welcome(results):
    typed = results.assign(method=pd.Categorical(results["method"], [*results["method"].unique(), "unused"]), note="x")
    pd.testing.assert_frame_equal(
        compare_methods(typed, baseline="logistic"), compare_methods(results, baseline="logistic")
    )


def test_caller_s_frame_is_left_as_it_was(results):
    before = results.copy()
    compare_methods(results, baseline="logistic")
    is_gain(results, student="student", baseline="logistic")
    pd.testing.assert_frame_equal(results, before)


def test_a_seed_that_a_method_lacks_is_named(results):
    short = results[~((results["method"] == "student") & (results["seed"] == 5))]
    with pytest.raises(
        ValueError, match="method 'student' has the seeds and blocks of 'logistic', got no row for seed 5"
    ):
        compare_methods(short, baseline="logistic")
    with pytest.raises(ValueError, match="got an unpaired row for seed 5, block 0"):
        compare_methods(short[short["method"].isin(["student", "logistic"])], baseline="student")


def _with(column, value):
    def change(frame):
        changed = frame.astype({column: object}) if isinstance(value, str) else frame.copy()
        changed.loc[changed.index[-1], column] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (lambda r: r.drop(columns="block"), ValueError, r"results must be a frame with the columns .* Add \['block'\]"),
        (lambda r: r.to_numpy(), TypeError, "results must be a DataFrame, got ndarray"),
        (lambda r: pd.concat([r, r.iloc[:1]]), ValueError, r"results must be one row per .*twice"),
        (lambda r: r.iloc[:0], ValueError, r"results\['n_test'\] must be a non-empty array"),
        (_with("sum", np.nan), ValueError, r"results\['sum'\] must be finite everywhere, got 1 values"),
        (_with("sum", "many"), TypeError, r"results\['sum'\] must be an array of numbers"),
        (_with("n_test", -1), ValueError, r"results\['n_test'\] must be at least 0 everywhere, got -1\.0"),
        (_with("n_test", 99), ValueError, "method 'same' .* and their n_test, got another n_test at seed 11, block 7"),
        (lambda r: r.assign(seed=r["seed"].where(r["seed"] > 0)), ValueError, r"results\['seed'\] must be known"),
        (lambda r: r.assign(n_test=0), ValueError, r"results\['n_test'\] must be above 0 .*, got 0 for seed 0, method"),
    ],
)
def test_results_are_checked(results, change, kind, match):
    with pytest.raises(kind, match=match):
        compare_methods(change(results), baseline="logistic")


def test_baseline_and_metric_are_checked(results):
    with pytest.raises(ValueError, match=r"baseline must be among the methods \['logistic', .* of task 'b', got ridge"):
        compare_methods(results, baseline="ridge")
    with pytest.raises(ValueError, match="metric must be a name that no other column has, got lower"):
        compare_methods(results, baseline="logistic", metric="lower")


# ---- verdicts


def verdict(results, **arguments):
    (row,) = is_gain(results, **{"student": "student", "baseline": "logistic", **arguments}).to_dict("records")
    return row


def test_gain_needs_every_interval_above_zero(results):
    assert verdict(results)["verdict"] == "gain"
    assert verdict(results, controls=["control"])["verdict"] == "gain"
    beaten = verdict(results, student="control", controls=["student"])
    assert (beaten["verdict"], beaten["hardest"]) == ("no evidence", "student")
    assert verdict(results, student="same")["verdict"] == "no evidence"


def test_loss_is_an_interval_below_zero_against_the_baseline_alone(results):
    assert verdict(results, student="logistic", baseline="student")["verdict"] == "loss"
    assert verdict(results, student="logistic", baseline="same", controls=["student"])["verdict"] == "no evidence"


def test_row_holds_the_hardest_comparison(results):
    row = verdict(results, controls=["control"])
    expected = compare_methods(results, baseline="control").set_index("method").loc["student"]
    assert row["hardest"] == "control"
    for column in ("n_splits", "difference", "lower", "upper", "bootstrap_lower", "bootstrap_upper"):
        assert row[column] == pytest.approx(expected[column], abs=1e-12)


def test_t_interval_alone_is_no_evidence_where_the_bootstrap_disagrees():
    blocks = np.array([9.0, -6.0, 5.0, -5.0, 2.0, 1.0])  # the same in all resamples: only time differs
    base = np.full((10, 6), 50.0)
    row = verdict(tidy({"logistic": base, "student": base + blocks + np.linspace(0, 0.1, 10)[:, None]}))
    assert row["lower"] > 0 > row["bootstrap_lower"]
    assert row["verdict"] == "no evidence"


def test_one_block_leaves_the_verdict_to_the_t_interval():
    base = np.random.default_rng(0).normal(70, 5, (10, 1))
    row = verdict(tidy({"logistic": base, "student": base + np.linspace(1, 2, 10)[:, None]}))
    assert np.isnan(row["bootstrap_lower"])
    assert row["verdict"] == "gain"


def test_one_split_is_never_evidence():
    base = np.full((1, 6), 70.0)
    row = verdict(tidy({"logistic": base, "student": base + 20, "control": base + 10}), controls=["control"])
    assert (row["verdict"], row["n_splits"], row["hardest"]) == ("no evidence", 1, "control")


def test_identical_methods_show_no_evidence():
    base = np.full((5, 4), 70.0)
    assert verdict(tidy({"logistic": base, "student": base}))["verdict"] == "no evidence"


def test_every_task_has_its_verdict(results):
    swapped = results.assign(task="c", method=results["method"].replace({"student": "logistic", "logistic": "student"}))
    table = is_gain(pd.concat([results, swapped]), student="student", baseline="logistic")
    assert table[["task", "verdict"]].to_numpy().tolist() == [["b", "gain"], ["c", "loss"]]


def test_a_pure_chance_student_is_seldom_called_a_gain():
    rng = np.random.default_rng(12)
    called = []
    for _ in range(100):
        base = crossed(rng, 10, 10)
        table = tidy({"logistic": base, "student": base + crossed(rng, 10, 10, sd=(0.5, 0.5, 0.5))})
        called.append(verdict(table, n_bootstrap=200)["verdict"] == "gain")
    # one-sided level .025 of each interval; both must agree, 3 standard errors of 100 tables
    assert np.mean(called) <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 100)


@pytest.mark.parametrize(
    ("arguments", "kind", "match"),
    [
        ({"student": "ridge"}, ValueError, "student must be among the methods .* of task 'b', got ridge"),
        ({"baseline": "ridge"}, ValueError, "baseline must be among the methods .* of task 'b', got ridge"),
        ({"controls": ["ridge"]}, ValueError, "controls must be among the methods .* of task 'b', got ridge"),
        ({"controls": "control"}, TypeError, r"controls must be a sequence of methods, got control. Use controls=\["),
        ({"controls": ["student"]}, ValueError, "student must be another method than its baseline and controls"),
    ],
)
def test_players_are_checked(results, arguments, kind, match):
    with pytest.raises(kind, match=match):
        verdict(results, **arguments)


def test_an_unpaired_control_is_named(results):
    short = results[~((results["method"] == "control") & (results["block"] == 2))]
    with pytest.raises(ValueError, match=r"method 'student' .* of 'control', got an unpaired row for seed 0, block 2"):
        verdict(short, controls=["control"])
