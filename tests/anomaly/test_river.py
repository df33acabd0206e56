"""The adaptor for river; the laws need no river, the pipelines do."""

import numpy as np
import pytest

from pitskd.anomaly import PrivilegedAnomalyDetector
from pitskd.anomaly.river import RiverAdapter

NAMES = ("flow", "heat", "load")


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("settings", [{}, {"horizons": (1, 5)}, {"missing": "flag", "alarm_after": 3}])
def test_score_one_then_learn_one_gives_the_scores_of_update(fitted, simulate, dicts, numbers, settings, learn):
    rows = simulate(80, seed=3)
    rows[20:23] += 30.0
    rows[[5, 40], 1] = np.nan
    adapter, plain = RiverAdapter(fitted(**settings), learn=learn), fitted(**settings)
    for x in dicts(rows):
        assert adapter.score_one(x) == plain.update(x, learn=learn).score
        adapter.learn_one(x)
    assert numbers(adapter.detector) == numbers(plain)


def test_learn_one_alone_is_update(fitted, simulate, dicts, numbers):
    adapter, plain = RiverAdapter(fitted()), fitted()
    for x in dicts(simulate(40, seed=4)):
        adapter.learn_one(x)
        plain.update(x, learn=True)
    assert numbers(adapter.detector) == numbers(plain)


def test_score_one_changes_nothing(fitted, simulate, dicts, numbers):
    adapter = RiverAdapter(fitted(horizons=(1, 5)))
    rows = dicts(simulate(60, seed=5))
    adapter.score_one(rows[0])
    assert adapter.detector.stream_ is None
    for x in rows[:40]:
        adapter.learn_one(x)
    before = numbers(adapter.detector)
    for x in rows[40:]:
        assert adapter.score_one(x) == adapter.score_one(x)
    assert numbers(adapter.detector) == before


def test_a_row_that_was_not_the_one_scored_is_taken_as_it_is(fitted, simulate, dicts, numbers):
    adapter, plain = RiverAdapter(fitted()), fitted()
    rows = dicts(simulate(30, seed=6))
    for x in rows:
        adapter.score_one(dict.fromkeys(NAMES, 7.0))
        adapter.learn_one(x)
        plain.update(x, learn=True)
    assert numbers(adapter.detector) == numbers(plain)


def test_a_row_changed_in_place_after_its_score_is_taken_as_changed(fitted, numbers):
    adapter, plain = RiverAdapter(fitted()), fitted()
    x = dict.fromkeys(NAMES, 0.5)
    adapter.score_one(x)
    x["flow"] = 9.0
    adapter.learn_one(x)
    plain.update(x, learn=True)
    assert numbers(adapter.detector) == numbers(plain)


def test_rows_that_others_fed_to_the_detector_count(fitted, simulate, dicts, numbers):
    adapter, plain = RiverAdapter(fitted()), fitted()
    first, second = dicts(simulate(2, seed=7))
    adapter.score_one(second)
    adapter.detector.update(first, learn=True)
    adapter.learn_one(second)
    for x in (first, second):
        plain.update(x, learn=True)
    assert numbers(adapter.detector) == numbers(plain)


def test_times_reach_the_clock(fitted):
    adapter = RiverAdapter(fitted())
    x = dict.fromkeys(NAMES, 0.5)
    adapter.learn_one(x, t="2024-05-02T00:00:01")
    with pytest.raises(ValueError, match="time must be not before"):
        adapter.score_one(x, t="2024-05-02")
    assert adapter.score_one(x, t="2024-05-03") == 1.0  # behind a gap


def test_a_refused_row_is_refused_by_both_and_not_taken(fitted, numbers):
    adapter = RiverAdapter(fitted())
    good = dict.fromkeys(NAMES, 0.5)
    adapter.learn_one(good)
    before = numbers(adapter.detector)
    for bad, message in [({"flow": 1.0}, "no \\['heat', 'load'\\]"), (good | {"flow": np.inf}, "x must be finite")]:
        for method in (adapter.score_one, adapter.learn_one):
            with pytest.raises(ValueError, match=message):
                method(bad)
    assert numbers(adapter.detector) == before


def test_a_clone_starts_afresh_or_goes_on_and_leaves_the_original_alone(fitted, simulate, dicts, numbers):
    adapter = RiverAdapter(fitted())
    rows = dicts(simulate(30, seed=8))
    for x in rows[:20]:
        adapter.learn_one(x)
    before = numbers(adapter.detector)
    afresh, on = adapter.clone(), adapter.clone(include_attributes=True)
    assert afresh.score_one(rows[20]) == 1.0
    assert on.score_one(rows[20]) == adapter.score_one(rows[20])
    assert adapter.clone({"learn": False}).learn is False
    for x in rows[20:]:
        on.learn_one(x)
    assert numbers(adapter.detector) == before


def test_what_is_no_detector_is_refused():
    with pytest.raises(TypeError, match="detector must be a fitted PrivilegedAnomalyDetector"):
        RiverAdapter("detector")
    with pytest.raises(ValueError, match="learn must be True or False"):
        RiverAdapter(PrivilegedAnomalyDetector(), learn="yes")


def test_river_runs_it_in_pipelines_and_filters(fitted, simulate, dicts):
    compose = pytest.importorskip("river.compose", reason="needs river, a peer")
    from river import anomaly, base, evaluate, metrics

    rows, plain = dicts(simulate(60, seed=9)), fitted()
    adapter = RiverAdapter(fitted())
    assert isinstance(adapter, base.AnomalyDetector)
    pipeline = compose.Pipeline(compose.Select(*NAMES), adapter)
    for x in rows:
        assert pipeline.score_one(x | {"unused": 1.0}) == plain.update(x, learn=True).score
        pipeline.learn_one(x | {"unused": 1.0})
    assert pipeline.clone().score_one(rows[0]) == 1.0
    for filtered in (
        anomaly.ThresholdFilter(adapter.clone(), threshold=plain.threshold_, protect_anomaly_detector=False),
        anomaly.QuantileFilter(adapter.clone(), q=0.99, protect_anomaly_detector=False),
    ):
        steps = compose.Select(*NAMES) | filtered
        for x in rows:
            steps.score_one(x)
            steps.learn_one(x)
    labelled = [(x, False) for x in rows] + [(dict.fromkeys(NAMES, 50.0), True)]
    area = evaluate.progressive_val_score(labelled, compose.Select(*NAMES) | adapter.clone(), metrics.RollingROCAUC())
    assert area.get() > 0.95


def test_river_scalers_before_it_are_learnt_in_step(fitted, simulate, dicts):
    compose = pytest.importorskip("river.compose", reason="needs river, a peer")
    from river import preprocessing

    adapter, scaler, plain = RiverAdapter(fitted()), preprocessing.StandardScaler(), fitted()
    pipeline = compose.Pipeline(preprocessing.StandardScaler(), adapter)
    for x in dicts(simulate(30, seed=10)):
        pipeline.score_one(x)
        pipeline.learn_one(x)
        scaler.learn_one(x)
        seen = scaler.transform_one(x)
        plain_score = plain.update(seen, learn=True).score
    assert adapter.detector.stream_.last.score == pytest.approx(plain_score, rel=1e-12)
