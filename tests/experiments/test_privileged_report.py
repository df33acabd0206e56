"""Laws of the privileged report: whom a student is judged against, that nothing leaks, and what a verdict needs."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.model_selection import TimeSeriesSplit
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor
from statsmodels.stats.multitest import multipletests

import pitskd
from pitskd import (
    AnchoredDistillationRegressorCV,
    ChainDistillationRegressor,
    GeneralizedDistillationClassifier,
    GeneralizedDistillationRegressor,
    ImitationPathDisplay,
    PrivilegedClassifier,
    PrivilegedGainDisplay,
    PrivilegedRegressor,
    TunedRidge,
    make_windows,
    privileged_report,
    simulate_linear_chain,
)
from pitskd.experiments import PrivilegedReport, compare_methods, is_gain, paired_interval

matplotlib = pytest.importorskip("matplotlib", reason="figures need the extra plot")
matplotlib.use("agg")


def windows(n=80, window=3, middle=2, channels=3, seed=0, classes=False):
    """Independent stretches of a stable VAR: windows, what follows, and the first channel a row later."""
    rng = np.random.default_rng(seed)
    step = 0.9 * np.linalg.qr(rng.normal(size=(channels, channels)))[0]
    rows = [rng.normal(size=(n, channels))]
    for _ in range(window + middle):
        rows.append(rows[-1] @ step.T + 0.4 * rng.normal(size=(n, channels)))
    path = np.stack(rows, axis=1)
    y = path[:, -1, 0]
    return path[:, :window], path[:, window:-1], (y > 0).astype(int) if classes else y


def chain(n=40, **options):
    return tuple(simulate_linear_chain(n, random_state=0, **options))


@pytest.fixture(scope="module")
def report():
    X, Z, y = windows()
    return privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, learning_curve=[30, 0.5, 1.0])


@pytest.fixture(scope="module")
def labels():
    X, Z, y = windows(60, classes=True)
    return privileged_report(PrivilegedClassifier(), X, y, X_privileged=Z, cv=4, metric="log_loss")


def by_split(cells, method, column="sum"):
    sums = cells[cells["method"] == method].groupby("seed")[[column, "n_test"]].sum()
    return (sums[column] / sums["n_test"]).to_numpy()


@pytest.mark.parametrize("seed", range(3))
def test_noise_never_helps(seed):
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(60, 4)), rng.normal(size=(60, 2, 3))
    y = X[:, 0] + rng.normal(size=60)
    assert privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z).verdict != "helps"
    once = privileged_report(PrivilegedClassifier(), X, y > 0, X_privileged=Z, cv=4)
    assert once.verdict != "helps"


def test_a_long_chain_seen_in_few_rows_helps():
    X, Z, y = chain(60, n_features=20)
    report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z)
    assert report.verdict == "helps"
    opponents = report.table[report.table["lead"].notna()]
    assert (opponents[["lead_lower", "lead_bootstrap_lower"]] > 0).all(axis=None)
    assert str(report).startswith("HELPS: held-out R2 of the student")
    assert report.imitation_path["loss"].idxmin() > 0


def test_imitating_noise_alone_hurts():
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(80, 4)), rng.normal(size=(80, 3))
    y = X[:, 0] + 0.5 * rng.normal(size=80)
    report = privileged_report(GeneralizedDistillationRegressor(imitation=1.0), X, y, X_privileged=Z)
    assert report.verdict == "hurts"
    assert report.summary.endswith("Use the tuned baseline.")


def test_a_strong_student_is_no_merit_of_privileged_rows():
    rng = np.random.default_rng(0)
    X, Z = rng.uniform(-1, 1, size=(120, 2)), rng.normal(size=(120, 2))
    y = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
    tree = DecisionTreeRegressor(max_depth=4, random_state=0)
    taught = GeneralizedDistillationRegressor(student=tree, imitation=0.1)
    report = privileged_report(taught, X, y, X_privileged=Z)
    rows = report.table.set_index("method")
    assert rows.loc["tuned baseline", "lead_lower"] > 0
    assert rows.loc["same-loss control", "score"] > rows.loc["tuned baseline", "score"] + 0.3
    assert report.verdict == "no evidence"
    assert "beats the baseline, but not the" in report.summary


def test_all_controls_candidates_and_the_bound_are_there(report):
    roles = report.table.groupby("role")["method"].agg(list)
    assert roles["baseline"] == ["tuned baseline"]
    assert roles["control"] == ["same-loss control", "no-middle control", "permuted-x* control"]
    assert roles["candidate"] == ["candidate: generalized", "candidate: chain", "candidate: dynamics"]
    assert roles["student"] + roles["bound"] == ["student", "teacher"]
    assert (report.table["n_splits"] == 20).all()
    assert report.table.set_index("method")["score"].idxmax() == "teacher"


def test_differences_are_those_of_the_cells(report):
    cells = report.cells
    rows = report.table.set_index("method")
    for method in rows.index:
        assert rows.loc[method, "score"] == pytest.approx(by_split(cells, method).mean(), abs=1e-12)
        gain = paired_interval(by_split(cells, method) - by_split(cells, "tuned baseline"))
        assert tuple(rows.loc[method, ["difference", "lower", "upper"]]) == pytest.approx(gain[:3], abs=1e-12)
    for opponent in rows.index[rows["lead"].notna()]:
        lead = paired_interval(by_split(cells, "student") - by_split(cells, opponent))
        assert tuple(rows.loc[opponent, ["lead", "lead_lower", "lead_upper"]]) == pytest.approx(lead[:3], abs=1e-12)
    assert rows["lead"].notna().sum() == 4
    assert set(compare_methods(cells, baseline="tuned baseline")["method"]) == set(rows.index)


def test_p_values_are_paired_t_tests_corrected_by_holm(report):
    opponents = report.table[report.table["lead"].notna()]
    student = by_split(report.cells, "student")
    raw = [stats.ttest_rel(student, by_split(report.cells, method)).pvalue for method in opponents["method"]]
    np.testing.assert_allclose(opponents["p_value"], raw, rtol=1e-9)
    np.testing.assert_allclose(opponents["p_holm"], multipletests(raw, method="holm")[1], rtol=1e-9)


def test_the_verdict_is_that_of_is_gain(report):
    opponents = report.table.loc[report.table["lead"].notna(), "method"].tolist()
    decided = is_gain(report.cells, student="student", baseline=opponents[0], controls=opponents[1:])
    allowed = {"gain": {"helps", "no evidence"}, "loss": {"hurts"}, "no evidence": {"no evidence"}}
    assert report.verdict in allowed[decided["verdict"][0]]


def test_the_score_is_one_minus_squared_error_over_variance(report):
    _, _, y = windows()
    expected = 1 - report.table["mse"] / y.var()
    np.testing.assert_allclose(report.table["r2"], expected, rtol=1e-9)
    np.testing.assert_allclose(report.table["score"], report.table["r2"])


def test_log_loss_is_scored_by_its_negative(labels):
    np.testing.assert_allclose(labels.table["score"], -labels.table["log_loss"])
    assert labels.table["accuracy"].between(0, 1).all()
    assert "log-loss" in str(labels)


def test_the_student_is_the_estimator_fitted_to_the_training_part():
    X, Z, y = windows(40)
    train, test = np.arange(30), np.arange(30, 40)
    model = ChainDistillationRegressor()
    report = privileged_report(model, X, y, X_privileged=Z, cv=[(train, test)])
    said = model.fit(X[train], y[train], X_privileged=Z[train]).predict(X[test])
    plain = ChainDistillationRegressor(imitation=0.0).fit(X[train], y[train]).predict(X[test])
    mse = report.table.set_index("method")["mse"]
    assert mse["student"] == pytest.approx(np.square(said - y[test]).mean(), rel=1e-12)
    assert mse["same-loss control"] == pytest.approx(np.square(plain - y[test]).mean(), rel=1e-12)
    assert report.verdict == "no evidence"
    assert report.table["lower"].isna().all()
    assert "One split gives no interval" in report.summary


def test_a_held_out_privileged_row_changes_nothing_but_the_bound():
    X, Z, y = windows(40)
    cv = [(np.arange(30), np.arange(30, 40))]
    before = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=cv)
    Z = Z.copy()
    Z[30:] = np.random.default_rng(1).normal(size=Z[30:].shape)
    after = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=cv)
    bound = before.table["role"] == "bound"
    pd.testing.assert_frame_equal(before.table[~bound], after.table[~bound])
    assert not before.table[bound].equals(after.table[bound])
    pd.testing.assert_frame_equal(before.imitation_path, after.imitation_path)


def test_held_out_rows_share_no_step_with_training_rows(monkeypatch):
    series = np.random.default_rng(0).normal(size=(140, 2)).cumsum(axis=0)
    w = make_windows(series, 0, window=3, horizon=3)
    seen = []

    class Watching(ChainDistillationRegressor):
        def fit(self, X, y, *, X_privileged=None, sample_weight=None):
            seen.append(X[:, -1, 0])
            return super().fit(X, y, X_privileged=X_privileged)

    report = privileged_report(Watching(), w.X, w.y, X_privileged=w.X_privileged, cv=3)
    place = {value: row for row, value in enumerate(w.X[:, -1, 0])}
    first = np.array([place[value] for value in seen[0]])  # the first third is held out
    held_out = report.cells.query("seed == 0 and method == 'student'")["n_test"].sum()
    assert first.min() >= held_out + 5  # a window of three rows, the target three rows on


def test_a_default_split_holds_out_blocks_each_about_equally_often(report):
    cells = report.cells.query("method == 'student'")
    held_out = cells.groupby("seed")["n_test"].sum() / 80
    assert held_out.between(0.15, 0.35).all()
    assert cells["block"].nunique() == 16
    times = cells.groupby("block").size()
    assert times.min() >= 4
    assert times.max() <= 6


def test_the_same_seed_gives_the_same_report_in_any_number_of_processes():
    X, Z, y = windows(36)
    options = {"X_privileged": Z, "cv": 3, "learning_curve": [0.6]}
    one, two = (privileged_report(PrivilegedRegressor(), X, y, n_jobs=n, **options) for n in (None, 2))
    pd.testing.assert_frame_equal(one.cells, two.cells, check_exact=True)
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)
    assert str(one) == str(two)
    other = privileged_report(PrivilegedRegressor(), X, y, random_state=1, **options)
    rows = one.table["method"] == "permuted-x* control"
    assert not one.table[rows].equals(other.table[rows])
    kept = one.table["method"].isin(["student", "same-loss control", "teacher"])
    pd.testing.assert_series_equal(one.table.loc[kept, "score"], other.table.loc[kept, "score"])


def test_leaving_out_idle_candidates_does_not_change_the_permuted_control():
    X, Z, y = windows(40)
    named = PrivilegedRegressor(["baseline", "generalized", "chain", "dynamics"])
    lean, whole = (privileged_report(m, X, y, X_privileged=Z, cv=2) for m in (PrivilegedRegressor(), named))
    pd.testing.assert_frame_equal(lean.table, whole.table, check_exact=False, rtol=1e-9)


def test_the_learning_curve_ends_at_the_report(report):
    curve = report.learning_curve.set_index("size")
    assert curve.index.tolist() == [30, 0.5, 1.0]
    assert curve.loc[30, "n_train"] == 30
    rows = report.table.set_index("method")
    assert curve.loc[1.0, "student"] == pytest.approx(rows.loc["student", "r2"])
    assert curve.loc[1.0, "difference"] == pytest.approx(rows.loc["student", "difference"])
    np.testing.assert_allclose(curve["difference"], curve["student"] - curve["baseline"], atol=1e-12)
    assert curve.loc[0.5, "baseline"] < curve.loc[1.0, "baseline"]


def test_the_imitation_path_starts_at_plain_ridge():
    X, Z, y = windows(40)
    cv = [(np.arange(30), np.arange(30, 40)), (np.arange(10, 40), np.arange(10))]
    path = privileged_report(ChainDistillationRegressor(), X, y, X_privileged=Z, cv=cv).imitation_path
    flat, penalty = X.reshape(40, -1), path["penalty"][0]
    losses = []
    for train, test in cv:
        mean, scale = flat[train].mean(axis=0), flat[train].std(axis=0)
        model = Ridge(alpha=penalty).fit((flat[train] - mean) / scale, y[train])
        losses.append(np.square(model.predict((flat[test] - mean) / scale) - y[test]).mean())
    assert path["loss"][0] == pytest.approx(np.mean(losses), rel=1e-9)
    np.testing.assert_allclose(path["percent"], 100 * path["loss"] / y.var())
    np.testing.assert_allclose(path["gain"], path["percent"][0] - path["percent"], atol=1e-9)
    assert path["imitation"].tolist() == [0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0]


def test_indicators_give_two_baselines_to_beat():
    X, Z, y = windows(48)
    X = np.concatenate([X.reshape(48, -1), (np.arange(48) % 7 == 0)[:, None]], axis=1)
    report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z.reshape(48, -1), cv=3)
    rows = report.table.set_index("method")
    both = rows.loc[["baseline, standardised", "baseline, indicators kept"]]
    assert both["lead"].notna().all()
    assert rows.loc["tuned baseline", "score"] >= both["score"].min() - 1e-12


def test_missing_targets_and_privilege_are_taken_as_they_are():
    X, Z, y = windows(48)
    y[::11] = np.nan
    Z[5] = np.nan
    report = privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, cv=3)
    assert report.cells.query("method == 'student'")["n_test"].sum() == np.isfinite(y).sum()
    assert report.left_out["teacher"] == "some held-out rows have no privileged part"
    assert "teacher" not in set(report.table["method"])


def test_frames_weights_and_a_search_are_accepted():
    X, Z, y = windows(42, window=1, middle=1)
    frame, privileged = pd.DataFrame(X[:, 0], columns=list("abc")), pd.DataFrame(Z[:, 0], columns=list("abc"))
    weight = np.ones(42)
    weight[:5] = 0.0
    model = AnchoredDistillationRegressorCV(cv=3)
    report = privileged_report(model, frame, y, X_privileged=privileged, sample_weight=weight, cv=3)
    assert report.cells.query("method == 'student'")["n_test"].sum() == 37
    assert report.left_out["no-middle control"].startswith("X has a single row")


def test_a_classifier_without_probabilities_is_judged_by_accuracy():
    X, Z, y = windows(60, classes=True)
    model = GeneralizedDistillationClassifier(student=SVC(random_state=0))
    report = privileged_report(model, X, y, X_privileged=Z, cv=3)
    rows = report.table.set_index("method")
    assert np.isnan(rows.loc["student", "log_loss"])
    assert 0 <= rows.loc["student", "accuracy"] <= 1
    with pytest.raises(ValueError, match='metric must be "accuracy" for a classifier without predict_proba'):
        privileged_report(model, X, y, X_privileged=Z, metric="log_loss")


def test_three_classes_are_judged():
    X, Z, y = windows(60)
    y = np.array(["low", "mid", "top"])[np.digitize(y, [-0.4, 0.4])]
    report = privileged_report(PrivilegedClassifier(), X, y, X_privileged=Z, cv=3)
    assert report.table.set_index("method").loc["teacher", "accuracy"] > 0.5


def test_a_warning_of_the_student_is_passed_on_once():
    X, Z, y = windows(30)

    class Warning(ChainDistillationRegressor):
        def fit(self, X, y, *, X_privileged=None, sample_weight=None):
            import warnings

            warnings.warn("look here", UserWarning, stacklevel=2)
            return super().fit(X, y, X_privileged=X_privileged)

    with pytest.warns(UserWarning, match="In 3 of 3 splits: look here") as caught:
        privileged_report(Warning(), X, y, X_privileged=Z, cv=3)
    assert len(caught) == 1


def test_warnings_that_differ_in_numbers_alone_are_one():
    X, Z, y = windows(30)

    class Warning(ChainDistillationRegressor):
        def fit(self, X, y, *, X_privileged=None, sample_weight=None):
            import warnings

            warnings.warn(f"{len(X)} rows with mean {X.mean():.4g} are few", UserWarning, stacklevel=2)
            return super().fit(X, y, X_privileged=X_privileged)

    with pytest.warns(UserWarning, match=r"In 3 of 3 splits, for example: \d+ rows with mean") as caught:
        privileged_report(Warning(), X, y, X_privileged=Z, cv=3)
    assert len(caught) == 1


@pytest.mark.parametrize(("n_jobs", "kind"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_number_of_processes_is_checked_before_any_training(n_jobs, kind):
    X, Z, y = windows(30)
    with pytest.raises(kind, match="n_jobs must be None or a whole number other than 0, got"):
        privileged_report(PrivilegedRegressor(), X, y, X_privileged=Z, n_jobs=n_jobs)


def test_the_text_fits_a_hundred_columns_and_tells_everything(report, labels):
    for one in (report, labels):
        text = str(one)
        assert max(map(len, text.splitlines())) <= 100
        for method in one.table["method"]:
            assert method in text
        assert one.verdict.upper() in text
        assert "splits" in text
        assert "Middle: Chains" in text
    assert "20 splits" in report.about
    assert "8 variants were run and 4 are its opponents" in report.about


def test_html_escapes_what_it_is_given(report):
    fields = {name: getattr(report, name) for name in report.__dataclass_fields__}
    table = report.table.replace({"candidate: chain": "candidate: <b>chain</b>"})
    shown = PrivilegedReport(**fields | {"left_out": {"<i>": "a < b"}, "table": table})._repr_html_()
    assert "<b>" not in shown
    assert "&lt;b&gt;chain&lt;/b&gt;" in shown
    assert "&lt;i&gt;: a &lt; b" in shown
    assert "<table" in shown


def test_to_frame_is_a_copy(report):
    frame = report.to_frame()
    frame["score"] = 0.0
    assert report.table["score"].any()


def test_the_gain_display_draws_the_table(report):
    display = PrivilegedGainDisplay.from_report(report)
    opponents = report.table[report.table["lead"].notna()]
    thin, thick = display.ax_.collections[:2]
    drawn = [np.array(part.get_segments())[:, :, 0] for part in (thick, thin)]
    np.testing.assert_allclose(drawn[0], opponents[["lead_lower", "lead_upper"]])
    np.testing.assert_allclose(drawn[1], opponents[["lead_bootstrap_lower", "lead_bootstrap_upper"]])
    np.testing.assert_allclose(display.ax_.collections[2].get_offsets()[:, 0], opponents["lead"])
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == opponents["method"].tolist()
    assert report.verdict in display.ax_.get_title()
    assert display.ax_.lines[0].get_xdata() == [0.0, 0.0]
    assert display.figure_ is display.ax_.figure
    figure = matplotlib.figure.Figure()
    assert display.plot(figure.subplots()).figure_ is figure
    matplotlib.pyplot.close("all")


def test_the_path_display_draws_the_path_and_marks_the_best(report):
    display = ImitationPathDisplay.from_report(report)
    path = report.imitation_path
    lines = {line.get_label(): line for line in display.ax_.lines}
    np.testing.assert_allclose(lines["chain"].get_xydata(), path[["imitation", "percent"]])
    best = path.loc[path["percent"].idxmin()]
    np.testing.assert_allclose(lines["best"].get_xydata()[0], best[["imitation", "percent"]].astype(float))
    assert display.ax_.get_title() == report.markov
    matplotlib.pyplot.close("all")


def test_displays_from_an_estimator_equal_those_from_its_report():
    X, Z, y = windows(30)
    options = {"X_privileged": Z, "cv": 2}
    report = privileged_report(ChainDistillationRegressor(), X, y, **options)
    gain = PrivilegedGainDisplay.from_estimator(ChainDistillationRegressor(), X, y, **options)
    path = ImitationPathDisplay.from_estimator(ChainDistillationRegressor(), X, y, **options)
    pd.testing.assert_frame_equal(gain.table, report.table)
    pd.testing.assert_frame_equal(path.imitation_path, report.imitation_path)
    matplotlib.pyplot.close("all")


def test_without_matplotlib_the_display_names_the_extra(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pitskd\[plot\]"):
        PrivilegedGainDisplay.from_report(report)


class Untouchable(ChainDistillationRegressor):
    """Fails the test if anything is fitted before the arguments are checked."""

    def fit(self, X, y, *, X_privileged=None, sample_weight=None):
        raise AssertionError("fitted before the check")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X_privileged": None}, "X_privileged must be what lies between input and target, got None"),
        ({"X_privileged": np.empty((20, 0, 3))}, "X_privileged must be present in some rows"),
        ({"X_privileged": np.full((20, 2, 3), np.nan)}, "X_privileged must be present in some rows"),
        ({"X_privileged": np.zeros((19, 2, 3))}, "X_privileged has 19 rows but X has 20"),
        ({"y": np.zeros(19)}, "y has 19 rows but X has 20"),
        ({"y": np.zeros(20)}, "y must be of more than one value"),
        ({"X": np.full((20, 3, 3), np.nan)}, "X must be finite, got NaN in row 0"),
        ({"cv": 1}, "cv must be an integer of at least 2"),
        ({"cv": 21}, "cv must be at most the number of rows, 20"),
        ({"cv": TimeSeriesSplit(30)}, "Cannot have number of folds=31"),
        ({"cv": [(np.arange(1), np.arange(1, 20))]}, "cv must be a splitter whose training parts"),
        ({"cv": []}, "cv must be a splitter with at least one split"),
        ({"metric": "accuracy"}, "metric must be 'r2', got accuracy"),
        ({"learning_curve": [0.0]}, "learning_curve must be fractions"),
        ({"learning_curve": [5, 5]}, "learning_curve must be distinct"),
        ({"confidence": 1.0}, "confidence must be above 0 and below 1"),
        ({"random_state": -1}, "random_state must be a non-negative integer"),
        ({"sample_weight": -np.ones(20)}, "sample_weight must be at least 0"),
    ],
)
def test_wrong_arguments_cost_no_training(options, message):
    X, Z, y = windows(20)
    given = {"X": X, "y": y, "X_privileged": Z} | options
    with pytest.raises(ValueError, match=message):
        privileged_report(Untouchable(), given.pop("X"), given.pop("y"), **given)


def test_too_few_rows_are_refused():
    X, Z, y = windows(7)
    with pytest.raises(ValueError, match="X must be of at least 8 rows, got 7"):
        privileged_report(Untouchable(), X, y, X_privileged=Z)


@pytest.mark.parametrize("estimator", [TunedRidge(), PrivilegedRegressor, None, "student"])
def test_only_estimators_taught_by_privilege_are_judged(estimator):
    X, Z, y = windows(20)
    with pytest.raises(TypeError, match="estimator must be"):
        privileged_report(estimator, X, y, X_privileged=Z)


def test_a_training_part_of_one_class_is_refused():
    X, Z, y = windows(20, classes=True)
    y[:] = np.arange(20) < 10
    with pytest.raises(ValueError, match="of two classes"):
        privileged_report(PrivilegedClassifier(), X, y, X_privileged=Z, cv=2)


def test_the_names_are_public():
    assert pitskd.privileged_report is privileged_report
    assert {"PrivilegedGainDisplay", "ImitationPathDisplay", "privileged_report"} <= set(dir(pitskd))
