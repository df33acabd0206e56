"""Laws of references: forecasts that anybody can have, and how a privileged report treats them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import Ridge
from statsmodels.tsa.ar_model import AutoReg

from pitskd import PrivilegedClassifier, PrivilegedRegressor, TunedRidge, make_windows, privileged_report
from pitskd.experiments import Autoregression, EventForecast, Persistence, seasonal_naive, usual_season
from pitskd.experiments._verdict import reference_remark, span, unbeaten


def series(n=400, seed=0, coef=(0.6, 0.25)):
    noise = np.random.default_rng(seed).normal(size=n)
    values = np.zeros(n)
    for t in range(2, n):
        values[t] = 1.0 + coef[0] * values[t - 1] + coef[1] * values[t - 2] + noise[t]
    return values


def windows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(size=(n, 6, 2)), axis=1)
    return path[:, :3], path[:, 3:5], path[:, 5, 0]


# ---------------------------------------------------------------- forecasts


@pytest.mark.parametrize("order", [0, 1, 3, 8])
def test_one_contiguous_window_gives_the_parameters_of_statsmodels(order):
    values = series()
    model = Autoregression(orders=[order]).fit(values[None, :, None], [0.0])
    expected = AutoReg(values, lags=order).fit()
    np.testing.assert_allclose(model.params_, expected.params, rtol=1e-9, atol=1e-12)
    model = Autoregression(horizon=5, orders=[order]).fit(values[None, :, None], [0.0])
    np.testing.assert_allclose(model.predict(values[None, :, None]), expected.forecast(5)[-1:], rtol=1e-9)


def test_the_order_is_the_best_at_the_horizon_and_never_worse_than_another_in_training():
    w = make_windows(series(), 0, window=9, horizon=4, stride=3)
    chosen = Autoregression(horizon=4).fit(w.X, w.y)
    errors = {
        order: np.square(Autoregression(horizon=4, orders=[order]).fit(w.X, w.y).predict(w.X) - w.y).mean()
        for order in (0, 1, 2, 3, 4, 6, 8)
    }
    assert chosen.order_ == min(errors, key=errors.get)
    assert chosen.order_ >= 2


def test_an_autoregression_of_a_noise_free_recurrence_is_exact():
    steps = np.arange(200.0)
    w = make_windows(np.sin(0.3 * steps), 0, window=5, horizon=40)
    model = Autoregression(horizon=40).fit(w.X[:100], w.y[:100])
    np.testing.assert_allclose(model.predict(w.X[100:]), w.y[100:], atol=1e-6)


def test_an_autoregression_sees_its_channel_alone():
    w = make_windows(np.column_stack([series(seed=1), series()]), 1, window=6, horizon=3)
    model = Autoregression(1, horizon=3).fit(w.X, w.y)
    changed = np.array(w.X)
    changed[:, :, 0] = 7.0
    np.testing.assert_array_equal(model.predict(changed), model.predict(w.X))


def test_a_series_gives_the_equations_of_statsmodels_up_to_the_whole_window():
    values = series()
    w = make_windows(values, 0, window=3, horizon=2, stride=5)
    for order in (1, 3):
        model = Autoregression(horizon=2, orders=[order]).fit(w.X, w.y, series=values)
        np.testing.assert_allclose(model.params_, AutoReg(values, lags=order).fit().params, rtol=1e-9)
    assert Autoregression().fit(w.X[:, -1:], w.y, series=values).order_ == 1  # a single row is enough to forecast from
    apart = np.r_[values[:200], np.nan, 50.0 + values[200:]]  # the border is no step of the series
    pooled = np.column_stack([np.r_[apart[1:200], apart[202:]], np.r_[apart[:199], apart[201:-1]]])
    expected = np.polyfit(pooled[:, 1], pooled[:, 0], 1)[::-1]
    np.testing.assert_allclose(Autoregression(orders=[1]).fit(w.X, w.y, series=apart).params_, expected, rtol=1e-9)


def test_a_long_series_is_thinned_without_a_rhythm_and_far_from_zero():
    noise = np.random.default_rng(0).normal(size=60_000)
    values = np.zeros(60_000)
    for t in range(24, 60_000):
        values[t] = 0.9 * values[t - 24] + noise[t]
    w = make_windows(values + 1e6, 0, window=24, horizon=2, stride=240)
    model = Autoregression(horizon=2).fit(w.X, w.y, series=values + 1e6)
    assert model.order_ == 24
    assert model.params_[24] == pytest.approx(0.9, abs=0.02)
    np.testing.assert_allclose(model.params_[1:24], 0.0, atol=0.03)


def test_persistence_is_the_last_observed_value():
    X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan], [np.nan] * 3])[:, :, None]
    np.testing.assert_array_equal(Persistence().fit(X).predict(X), [3.0, 5.0, 3.0])


def test_seasonal_naive_is_exact_on_a_seasonal_series_and_knows_nothing_behind_the_origin():
    clock = np.arange(100) * 10
    values = np.tile(np.arange(7.0), 15)[:100]
    rows = np.arange(21, 80)
    for horizon in (1, 6, 7, 8, 20):
        said = seasonal_naive(clock, values, clock[rows], horizon=horizon, season=70)
        np.testing.assert_array_equal(said, values[rows + horizon])
        for row in (30, 55):
            known = np.where(np.arange(100) <= row, values, np.nan)
            assert seasonal_naive(clock, known, clock[[row]], horizon=horizon, season=70) == values[row + horizon]


def test_seasonal_naive_finds_its_row_by_time_across_a_hole_and_in_its_group():
    clock = np.r_[0:10, 12:30]
    said = seasonal_naive(clock, clock, [15, 16, 17], horizon=1, season=6)
    np.testing.assert_array_equal(said, [np.nan, np.nan, 12.0])
    both, values = np.tile(clock, 2), np.r_[clock, 100.0 + clock]
    groups = np.repeat(["a", "b"], len(clock))
    said = seasonal_naive(both, values, [20, 20], horizon=2, season=6, groups=groups, group=["b", "a"])
    np.testing.assert_array_equal(said, [116.0, 16.0])


def test_a_missing_value_a_season_ago_gives_no_forecast():
    values = np.arange(20.0)
    values[6] = np.nan
    np.testing.assert_array_equal(seasonal_naive(range(20), values, [9, 10], horizon=2, season=5), [np.nan, 7.0])


@pytest.mark.parametrize(
    ("freq", "season"),
    [
        ("min", pd.Timedelta("1D")), ("h", pd.Timedelta("1D")), ("12h", pd.Timedelta("1D")),
        ("D", pd.Timedelta("7D")), ("MS", "12 months"), ("ME", "12 months"), ("s", None), ("W", pd.Timedelta("364D")),
        ("10D", None),
    ],
)  # fmt: skip
def test_the_clock_suggests_a_season_or_says_why_not(freq, season):
    found, reason = usual_season(pd.date_range("2024-01-01", periods=30, freq=freq))
    assert found == season
    assert bool(reason) is (season is None)
    assert usual_season(pd.RangeIndex(9))[1].startswith("the rows carry no times")


def test_events_are_what_a_rule_of_the_forecast_says():
    X = np.random.default_rng(0).normal(size=(200, 3, 1))
    y = X[:, -1, 0] * 0.2 + 3.0  # far from the channel itself: the raw value would never reach the threshold
    model = EventForecast(Persistence(), threshold=3.1).fit(X, y)
    assert (model.predict(X) == (y > 3.1)).mean() > 0.98
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X).argmax(axis=1))
    with pytest.raises(ValueError, match="y must be labels of at least two classes"):
        EventForecast(Persistence(), threshold=9.0).fit(X, y)


@pytest.mark.parametrize(
    ("model", "X", "message"),
    [
        (Autoregression(), np.zeros((4, 1, 1)), "X must be windows of two rows at least, got 1"),
        (Autoregression(orders=[3]), np.zeros((4, 3, 1)), "orders must be numbers of lags below the 3 rows"),
        (Autoregression(orders=[-1]), np.zeros((4, 3, 1)), "orders must be an integer of at least 0"),
        (Autoregression(horizon=0), np.zeros((4, 3, 1)), "horizon must be an integer of at least 1"),
        (Autoregression(), np.full((4, 3, 1), np.nan), "X must be finite, got NaN"),
        (Persistence(2), np.zeros((4, 3, 1)), "channel must be between 0 and 0, got 2"),
        (Persistence(), np.zeros((4, 3)), "X must be of shape"),
    ],
)
def test_wrong_windows_are_named(model, X, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, np.zeros(4))


# ---------------------------------------------------------------- in a report


@pytest.fixture(scope="module")
def reports():
    X, Z, y = windows()
    options = {"X_privileged": Z, "cv": 3}
    references = {"last": Persistence(), "mean": DummyRegressor(), "copied": X[:, -1, 0]}
    model = PrivilegedRegressor(candidates=["baseline", "chain"])
    return tuple(privileged_report(model, X, y, references=given, **options) for given in (None, references))


def test_references_change_nothing_but_are_compared_on_the_same_rows(reports):
    without, beside = reports
    kept = beside.table[beside.table["role"] != "reference"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, without.table, check_exact=True)
    assert beside.verdict == without.verdict
    assert beside.summary == without.summary
    judged = {name: cells[["seed", "block", "n_test"]].to_numpy() for name, cells in beside.cells.groupby("method")}
    for name in ("last", "mean", "copied"):
        np.testing.assert_array_equal(judged[name], judged["student"])


def test_an_estimator_and_the_same_forecasts_as_an_array_score_alike(reports):
    rows = reports[1].table.set_index("method").drop(columns="role")
    pd.testing.assert_series_equal(rows.loc["last"], rows.loc["copied"], check_names=False)
    X, _, y = windows()
    expected = np.abs(X[:, -1, 0] - y)
    cells = reports[1].cells.query("method == 'last'")
    assert cells["mae"].sum() == pytest.approx(expected.sum())
    assert cells["mse"].sum() == pytest.approx(np.square(expected).sum())


def test_a_reference_is_refitted_to_each_training_part_as_given(reports):
    y = windows()[2]
    cells = reports[1].cells.query("method == 'mean' and seed == 0")
    held_out = np.arange(20)  # rows share no time step: three thirds
    assert cells["mse"].sum() == pytest.approx(np.square(y[20:].mean() - y[held_out]).sum())


def test_references_are_no_opponents_of_the_verdict_and_have_a_lead(reports):
    table = reports[1].table.set_index("method")
    references = table[table["role"] == "reference"]
    assert list(references.index) == ["last", "mean", "copied"]
    assert references[["lead", "lead_lower", "lead_upper", "lead_bootstrap_lower"]].notna().all(axis=None)
    assert references["p_holm"].isna().all()
    np.testing.assert_allclose(references["lead"], table.loc["student", "score"] - references["score"])
    assert "3 reference(s)" in reports[1].about
    assert "reference" not in reports[0].about


def test_a_random_walk_is_not_forecast_better_than_by_its_last_value():
    X, Z, y = windows(80, seed=3)
    report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=4, references={"last": Persistence()})
    told = " ".join(str(report).split())
    assert "References: last (student minus it" in told
    assert "not worth deploying" in told


def test_a_reference_far_below_is_said_to_be_beaten():
    X, Z, y = windows(80)
    references = {"zero": np.zeros(80) - 50.0}
    report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=4, references=references)
    assert "References: all are beaten; the hardest is zero" in " ".join(str(report).split())


def test_labels_have_references_too_fitted_to_the_numbers_behind_them():
    X, Z, y = windows(80)
    labels = (y > 0.5).astype(int)
    references = {
        "number": (EventForecast(TunedRidge(), 0.5, cv=4), y),
        "most": DummyClassifier(),
        "last above": (X[:, -1, 0] > 0.5).astype(int),
    }
    flat = X.reshape(80, -1)
    report = privileged_report(PrivilegedClassifier(), flat, labels, X_privileged=Z, cv=3, references=references)
    rows = report.table.set_index("method")
    assert rows.loc["last above", "accuracy"] == pytest.approx(((X[:, -1, 0] > 0.5) == labels).mean(), abs=0.02)
    assert rows.loc["number", "accuracy"] > rows.loc["most", "accuracy"]
    assert rows.loc["number", "log_loss"] < rows.loc["most", "log_loss"]
    assert np.isnan(rows.loc["last above", "log_loss"])
    with pytest.raises(ValueError, match=r"references\['last above'\] must be an estimator with predict_proba"):
        privileged_report(
            PrivilegedClassifier(), flat, labels, X_privileged=Z, cv=3, references=references, metric="log_loss"
        )


def test_models_of_each_split_score_as_the_estimator_that_they_are():
    X, Z, y = windows()
    folds = [(np.arange(20, 60), np.arange(20)), (np.arange(40), np.arange(40, 60))]
    fitted = [Persistence().fit(X[train]) for train, _ in folds]
    options = {"X_privileged": Z, "cv": folds, "references": {"last": Persistence(), "by split": fitted}}
    model = PrivilegedRegressor(candidates=["baseline", "chain"])
    rows = privileged_report(model, X, y, **options).table.set_index("method").drop(columns="role")
    pd.testing.assert_series_equal(rows.loc["last"], rows.loc["by split"], check_names=False)
    options["references"] = {"by split": fitted[:1]}
    with pytest.raises(ValueError, match=r"references\['by split'\] must be .* for each of 2 splits, got 1 models"):
        privileged_report(Untouchable(), X, y, **options)


def rows_of(scores, low, high):
    leads = -np.asarray(scores)
    ends = {"lead_lower": low, "lead_upper": high, "lead_bootstrap_lower": low, "lead_bootstrap_upper": high}
    return pd.DataFrame(
        {"method": list("abc")[: len(scores)], "role": "reference", "score": scores, "lead": leads} | ends
    )


def test_the_best_of_the_unbeaten_references_is_named_not_the_noisiest():
    table = rows_of([-1.2, 0.4, 0.3], [-0.5, -0.1, 0.1], [2.0, 0.2, 0.4])
    assert unbeaten(table)["method"] == "b"
    assert "References: b" in reference_remark(table)
    table = rows_of([-1.2, 0.4], [0.5, 0.1], [2.0, 0.2])
    assert unbeaten(table) is None
    assert "all are beaten; the hardest is b" in reference_remark(table)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.0112, 0.0533, "+0.032 [+0.011, +0.053]"),
        (0.0003, 0.0012, "+0.00075 [+0.00030, +0.00120]"),
        (-0.0012, -0.000034, "-0.000617 [-0.001200, -0.000034]"),
        (-0.0003, 0.0533, "+0.026 [-0.000, +0.053]"),
        (0.0, 0.0, "+0.000 [+0.000, +0.000]"),
    ],
)
def test_an_interval_that_excludes_zero_shows_it(low, high, shown):
    assert span(rows_of([-(low + high) / 2], low, high).iloc[0], "lead") == shown


class Untouchable(PrivilegedRegressor):
    def fit(self, X, y, *, X_privileged=None, sample_weight=None):
        raise AssertionError("fitted before the check")


@pytest.mark.parametrize(
    ("references", "kind", "message"),
    [
        ([Persistence()], TypeError, "references must be a mapping of names, got list"),
        ({"student": Persistence()}, ValueError, "references must be named by texts that no other method has"),
        ({"candidate: chain": Persistence()}, ValueError, "references must be named"),
        ({3: Persistence()}, ValueError, "references must be named"),
        ({"a": Persistence}, TypeError, r"references\['a'\] must be an estimator with fit and predict"),
        ({"a": "persistence"}, TypeError, r"references\['a'\] must be an estimator"),
        ({"a": np.zeros(19)}, ValueError, r"references\['a'\] has 19 rows but X has 20"),
        ({"a": np.zeros((20, 2))}, ValueError, r"references\['a'\] must be of shape \(20, 1\)"),
        ({"a": np.full(20, np.nan)}, ValueError, r"references\['a'\] must be a forecast of every row"),
        ({"a": (Ridge(), np.zeros(19))}, ValueError, r"references\['a'\] has 19 rows but X has 20"),
    ],
)
def test_wrong_references_cost_no_training(references, kind, message):
    X, Z, y = windows(20)
    with pytest.raises(kind, match=message):
        privileged_report(Untouchable(), X, y, X_privileged=Z, cv=2, references=references)
