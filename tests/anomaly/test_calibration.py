"""Laws of the calibration: p-values, thresholds for the rate asked for, events, and the rate achieved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pitskd.anomaly.calibration import (
    AchievedRate,
    Debounce,
    Level,
    Tail,
    achieved_rate,
    calibrate,
    event_peaks,
    over_running_median,
    rate_of,
)

FEW = st.integers(1, 4)


def of_rows(scores, rate, method="conformal", debounce=None, **settings):
    runs = [scores] if isinstance(scores, np.ndarray) else scores
    return calibrate(runs, rate, debounce or Debounce(), method=method, rows_per_day=None, **settings)


def of_events(runs, per_day, rows_per_day, method="conformal", debounce=None):
    return calibrate(runs, per_day, debounce or Debounce(), method=method, rows_per_day=rows_per_day)


# --- debouncing


@settings(deadline=None, max_examples=200)
@given(st.lists(st.booleans(), min_size=1, max_size=60), FEW, FEW)
def test_debouncing_an_array_is_debouncing_its_rows(over, alarm_after, clear_after):
    debounce = Debounce(alarm_after, clear_after)
    above, below, lasting, said = 0, 0, False, []
    for row in over:
        above, below, lasting = debounce.step(row, above, below, lasting)
        said.append(bool(lasting))
    assert debounce.alarms(np.array(over)).tolist() == said


@settings(deadline=None, max_examples=100)
@given(st.lists(st.booleans(), min_size=1, max_size=40), FEW, FEW)
def test_an_alarm_starts_after_rows_above_and_ends_after_rows_below(over, alarm_after, clear_after):
    said, lasting = [], False
    for row in range(len(over)):
        if row + 1 >= alarm_after and all(over[row + 1 - alarm_after : row + 1]):
            lasting = True
        elif lasting and row + 1 >= clear_after and not any(over[row + 1 - clear_after : row + 1]):
            lasting = False
        said.append(lasting)
    assert Debounce(alarm_after, clear_after).alarms(np.array(over)).tolist() == said


def test_debouncing_many_streams_is_debouncing_each():
    rng, debounce = np.random.default_rng(0), Debounce(2, 3)
    over = rng.random((40, 5)) < 0.5
    above = below = np.zeros(5, dtype=int)
    lasting, said = np.zeros(5, dtype=bool), []
    for row in over:
        above, below, lasting = debounce.step(row, above, below, lasting)
        said.append(lasting)
    expected = np.array([debounce.alarms(stream) for stream in over.T]).T
    assert np.array_equal(np.array(said), expected)


def test_an_event_has_the_largest_score_of_its_rows():
    run = np.array([0.0, 3, 5, 1, 0, 4, 4, 0])
    assert event_peaks([run], 2.0, Debounce()).tolist() == [5, 4]
    assert event_peaks([run], 2.0, Debounce(1, 3)).tolist() == [5]  # two rows below do not end it
    assert event_peaks([run, run[:3]], 4.5, Debounce()).tolist() == [5, 5]
    assert event_peaks([run], 9.0, Debounce()).tolist() == []


# --- p-values and thresholds for a share of rows


def test_conformal_by_hand():
    calibration = of_rows(np.arange(1.0, 100.0), 0.05)  # 99 held-out rows: 5 of 100 may be above
    assert calibration.threshold == pytest.approx(95.0, rel=1e-8)
    assert calibration.p_values(np.array([0.0, 50.5, 95.5, 96.0, 99.0, 1e9])).tolist() == pytest.approx(
        [1.0, 0.5, 0.05, 0.05, 0.02, 0.01]
    )
    assert calibration.p_value(96.0) == pytest.approx(0.05)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(20, 300), st.floats(0.05, 0.5), st.booleans())
def test_a_score_is_above_the_threshold_where_its_p_value_is_at_most_the_rate(seed, n, rate, ties):
    rng = np.random.default_rng(seed)
    scores, new = rng.exponential(size=n), rng.exponential(size=200)
    if ties:
        scores, new = np.round(scores, 1), np.round(new, 1)
    calibration = of_rows(scores, rate)
    assert np.array_equal(new > calibration.threshold, calibration.p_values(new) <= rate + 1e-9)


@pytest.mark.parametrize("method", ["conformal", "pot"])
def test_one_p_value_is_that_of_many_and_falls_with_the_score(method):
    rng = np.random.default_rng(0)
    calibration = of_rows(rng.exponential(size=500), 0.01, method)
    new = np.sort(np.r_[rng.exponential(size=300), 20.0, 1e6])
    together = calibration.p_values(new)
    assert together.tolist() == [calibration.p_value(score) for score in new]
    assert (np.diff(together) <= 0).all()
    assert (together > 0).all()
    assert together.max() <= 1


def test_a_score_that_differs_from_a_held_out_one_by_rounding_counts_as_equal():
    scores = np.random.default_rng(0).exponential(size=99)
    calibration = of_rows(scores, 0.05)
    shaken = scores * (1 + 1e-14 * np.random.default_rng(1).choice([-1, 1], size=99))
    np.testing.assert_array_equal(calibration.p_values(shaken), calibration.p_values(scores))


def test_conformal_p_values_of_exchangeable_scores_are_uniform():
    rng = np.random.default_rng(0)
    scores = rng.exponential(size=(4000, 20))
    p = np.array([of_rows(row[:19], 0.1).p_value(row[19]) for row in scores])
    for rate in (0.05, 0.1, 0.5):
        # Exactly binomial: four standard deviations.
        assert (p <= rate + 1e-9).mean() == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / 4000))


@pytest.mark.parametrize(("n", "rate", "needed"), [(98, 0.01, 99), (18, 0.05, 19), (3, 0.2, 4)])
def test_conformal_says_how_many_rows_it_needs(n, rate, needed):
    scores = np.arange(float(n))
    with pytest.raises(ValueError, match=f"hold out {needed} normal rows for a rate of {rate}, got {n} held-out"):
        of_rows(scores, rate)
    of_rows(np.arange(float(needed)), rate)


@pytest.mark.parametrize("method", ["conformal", "pot"])
@pytest.mark.parametrize("shape", [0.0, 0.25])
def test_a_known_tail_is_recovered(method, shape):
    known = stats.genpareto(shape) if shape else stats.expon()
    scores = known.rvs(size=20_000, random_state=np.random.default_rng(1))
    for rate in (0.05, 0.01, 0.001):
        threshold = of_rows(scores, rate, method).threshold
        # The share above has a standard deviation of sqrt(rate / n): 22 % at the smallest rate.
        assert known.sf(threshold) == pytest.approx(rate, rel=0.6 if rate < 0.01 else 0.15)


def test_peaks_over_threshold_reach_beyond_the_held_out_rows():
    scores = np.random.default_rng(2).exponential(size=400)
    thresholds = [of_rows(scores, rate, "pot").threshold for rate in (0.05, 0.01, 1e-3, 1e-5)]
    assert thresholds == sorted(thresholds)
    assert thresholds[-1] > scores.max()
    assert 1e-3 / 4 < stats.expon().sf(thresholds[2]) < 4e-3


def test_the_tail_continues_the_share_at_its_level():
    tail = Tail.fit(2.0, 0.1, np.random.default_rng(3).exponential(size=200))
    assert tail.share_above(2.0) == pytest.approx(0.1, rel=1e-12)
    for share in (0.1, 0.03, 1e-6):
        assert tail.share_above(tail.score_at(share)) == pytest.approx(share, rel=1e-9)
    assert Tail(2.0, 0.1, 0.0, 3.0).score_at(0.1 / np.e) == pytest.approx(5.0)
    assert Tail(2.0, 0.1, 0.5, 3.0).score_at(0.025) == pytest.approx(2.0 + 6.0 * (4**0.5 - 1))


def test_a_tail_with_an_end_is_not_believed():
    excesses = np.random.default_rng(4).uniform(size=300)
    tail = Tail.fit(0.0, 0.1, excesses)
    assert tail.shape == 0.0
    assert tail.scale == pytest.approx(excesses.mean())
    assert tail.share_above(50.0) > 0


def test_the_p_value_of_the_threshold_is_the_rate_in_the_tail():
    scores = np.random.default_rng(5).exponential(size=1000)
    calibration = of_rows(scores, 0.003, "pot")
    assert calibration.p_value(calibration.threshold) == pytest.approx(0.003, rel=1e-9)


@pytest.mark.parametrize("method", ["conformal", "pot"])
def test_scores_that_are_all_equal_raise_no_alarm_on_themselves(method):
    calibration = of_rows(np.full(200, 0.7), 0.01, method)
    assert not (np.full(5, 0.7) > calibration.threshold).any()
    assert (np.full(5, 0.8) > calibration.threshold).all()
    assert calibration.p_value(0.7) == 1.0
    assert np.isfinite(calibration.p_value(0.8))


def test_where_the_runs_are_cut_does_not_matter_to_rows():
    scores = np.random.default_rng(6).exponential(size=300)
    whole, parts = of_rows(scores, 0.02, "pot"), of_rows([scores[200:], scores[:200]], 0.02, "pot")
    assert whole.threshold == pytest.approx(parts.threshold, rel=1e-12)


# --- thresholds for events per day


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), FEW, FEW)
def test_no_threshold_from_the_one_chosen_on_gives_more_events_than_asked(seed, n_events, alarm_after, clear_after):
    rng, debounce = np.random.default_rng(seed), Debounce(alarm_after, clear_after)
    runs = [rng.exponential(size=60).round(2), rng.exponential(size=40).round(2)]
    candidates = np.unique(np.concatenate(runs))
    counts = {level: len(event_peaks(runs, level, debounce)) for level in candidates}
    if max(counts.values()) < n_events:
        with pytest.raises(ValueError, match=f"false_alarms_per_day must be at most {max(counts.values())}, what any"):
            of_events(runs, n_events, 100.0, debounce=debounce)
        return
    threshold = of_events(runs, n_events, 100.0, debounce=debounce).threshold  # the log is one day long
    fine = [level for level in candidates if all(counts[above] <= n_events for above in candidates if above >= level)]
    assert threshold >= min(fine) - 1e-8
    if min(fine) > np.median(np.concatenate(runs)):  # below, an event may swallow its neighbours
        assert threshold == pytest.approx(min(fine), rel=1e-8)


def test_events_per_day_by_hand():
    day = np.array([1.0, 9, 9, 1, 7, 1, 5, 5, 5, 1, 3, 1])  # peaks 9, 7, 5, 3
    runs = [day, day + 0.25]
    assert of_events(runs, 1, 12.0).threshold == pytest.approx(7.25)  # two days: two events above, those of 9
    assert of_events(runs, 2, 12.0).threshold == pytest.approx(5.25)
    assert of_events(runs, 1.5, 12.0).threshold == pytest.approx(7.0)
    assert of_events(runs, 1, 12.0, debounce=Debounce(3, 1)).threshold < 5  # three rows of 5 a day


def test_too_short_a_log_for_one_event_says_so_and_the_tail_reaches_beyond():
    scores = np.random.default_rng(7).exponential(size=2000)
    with pytest.raises(ValueError, match=r"long enough to see one false alarm at 0.5 a day, got 1 days"):
        of_events([scores], 0.5, 2000.0)
    rare, rarer = (of_events([scores], rate, 2000.0, "pot").threshold for rate in (0.5, 0.05))
    assert rarer > rare
    # Independent rows: as many events as rows above, 2,000 a day.
    assert 0.1 < stats.expon().sf(rare) * 2000 < 2.5


# --- the rate achieved


def test_the_rate_counts_rows_or_starts_of_events():
    alarms = [np.array([0, 1, 1, 0, 1], bool), np.array([1, 0, 0, 0, 0], bool)]
    rows = rate_of(alarms, rows_per_day=None, block=2, random_state=0)
    assert (rows.rate, rows.n_rows, rows.unit) == (0.4, 10, "share of rows")
    assert rows.lower <= rows.rate <= rows.upper
    events = rate_of(alarms, rows_per_day=20.0, block=2, random_state=0)
    assert (events.rate, events.n_rows, events.unit) == (pytest.approx(6.0), 10, "per day")


def test_no_alarm_at_all_leaves_an_upper_end():
    nothing = [np.zeros(100, dtype=bool)]
    found = rate_of(nothing, rows_per_day=None, block=10, random_state=0)
    assert found[:2] == (0.0, 0.0)
    assert (1 - found.upper) ** 10 == pytest.approx(0.025)  # ten blocks without an alarm
    daily = rate_of(nothing, rows_per_day=50.0, block=10, random_state=0)
    assert daily.upper == pytest.approx(found.upper * 50.0 / 10)


def test_the_interval_depends_on_the_random_state_only():
    alarms = [np.random.default_rng(0).random(500) < 0.1]
    first, again, other = (rate_of(alarms, rows_per_day=None, block=20, random_state=s) for s in (0, 0, 1))
    assert first == again
    assert (first.lower, first.upper) != (other.lower, other.upper)


def test_the_interval_covers_the_rate_asked_for():
    covered = []
    for seed in range(60):
        scores = np.random.default_rng(seed).exponential(size=500)
        found = achieved_rate(
            [scores], 0.05, Debounce(), method="conformal", rows_per_day=None, block=10, random_state=0
        )
        assert isinstance(found, AchievedRate)
        assert found.n_rows == 500
        covered.append(found.lower <= 0.05 <= found.upper)
    assert np.mean(covered) > 0.85  # 95 % promised; 60 logs leave three standard deviations of 3 %


def test_the_rate_achieved_is_that_of_thresholds_that_had_not_seen_the_rows():
    scores = np.concatenate([np.random.default_rng(s).exponential(size=100) for s in range(4)] + [np.full(100, 50.0)])
    found = achieved_rate([scores], 0.1, Debounce(), method="conformal", rows_per_day=None, block=10, random_state=0)
    alarms = [scores[first : first + 100] > of_rows(np.delete(scores, np.s_[first : first + 100]), 0.1).threshold
              for first in range(0, 500, 100)]  # fmt: skip
    assert found.rate == pytest.approx(np.mean(alarms))
    assert found.rate >= 0.2  # the last block is another world, and all of it alarms


def test_too_few_rows_to_measure_give_nan_not_an_error():
    scores = np.random.default_rng(0).exponential(size=100)
    found = achieved_rate([scores], 0.01, Debounce(), method="conformal", rows_per_day=None, block=10, random_state=0)
    assert np.isnan(found.rate)
    assert found.n_rows == 0


# --- the running median


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_the_level_is_the_median_of_the_last_scores(length, n_start, seed):
    scores = np.random.default_rng(seed).exponential(size=n_start + 40).round(1) + 0.1
    level = Level(length, scores[:n_start])
    for row in range(n_start, len(scores)):
        assert level.median() == pytest.approx(np.median(scores[max(0, row - length) : row]), rel=1e-12)
        level.push(scores[row])
    assert len(level.recent) == len(level.ordered) <= length


def test_held_out_scores_are_divided_by_the_median_of_those_before():
    scores = np.random.default_rng(1).exponential(size=100)
    ratios = np.concatenate(over_running_median([scores[:50], scores[50:]], 30))
    expected = [scores[row] / np.median(scores[max(0, row - 30) : row]) for row in range(20, 100)]
    np.testing.assert_allclose(ratios, expected, rtol=1e-12)


def test_with_drift_the_threshold_is_on_ratios_and_the_units_of_scores_cancel():
    scores = 1 + np.random.default_rng(2).exponential(size=400)
    one, other = (of_rows(scores * unit, 0.02, drift=50) for unit in (1.0, 1000.0))
    assert one.threshold == pytest.approx(other.threshold, rel=1e-12)
    assert one.level().median() * 1000 == pytest.approx(other.level().median(), rel=1e-12)


def test_following_freezes_the_level_during_an_alarm_until_patience_ends():
    calibration = of_rows(1 + 0.1 * np.random.default_rng(3).random(400), 0.01, "conformal", drift=20, patience=15)
    scores = np.r_[np.full(30, 1.05), np.full(60, 5.0)]
    levels, alarms = calibration.follow(scores, np.zeros(90, dtype=bool))
    assert not alarms[:30].any()
    assert alarms[30:45].all()
    assert np.ptp(levels[31:46]) == 0  # frozen
    assert levels[-1] == 5.0  # taken for what is usual
    assert not alarms[-10:].any()
