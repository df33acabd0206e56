"""Laws of the timeline: no peak and no event is lost, time is true on every index, nothing rests on colour alone."""

import numpy as np
import pandas as pd
import pytest

import pitskd
from pitskd import AnomalyTimelineDisplay, PrivilegedAnomalyDetector

matplotlib = pytest.importorskip("matplotlib", reason="figures need the extra plot")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402  the backend first


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def detections(n, events=(), index=None, peak=9.0):
    """Return quiet rows with events (first, one past last)."""
    score = np.ones(n)
    for first, last in events:
        score[first:last] = peak
    return pd.DataFrame({"score": score, "is_anomaly": score > 3.0}, index=index)


def drawn(ax):
    """Return the data of the first line."""
    return ax.lines[0].get_data()


def bands(ax):
    """Return starts and ends of what is shaded, of each strip."""
    boxes = [np.array([path.get_extents().intervalx for path in one.get_paths()]) for one in ax.collections]
    return [box for box in boxes if len(box)]


LOG = np.random.default_rng(0).normal(size=(600, 3))


@pytest.fixture(scope="module")
def fitted():
    return PrivilegedAnomalyDetector(n_lags=1, smoothing=1).fit(LOG)


@pytest.fixture(scope="module")
def named():
    return PrivilegedAnomalyDetector(n_lags=1, smoothing=1).fit(pd.DataFrame(LOG, columns=["flow", "heat", "score"]))


def test_no_peak_and_no_event_of_a_long_log_is_lost():
    n, places = 100_000, [3, 41_234, 41_300, 99_999]
    said = detections(n, [(place, place + 1) for place in places], peak=50.0)
    signal = np.zeros(n)
    signal[500], signal[77_777] = 5.0, -7.0
    display = AnomalyTimelineDisplay.from_detections(said, threshold=3.0, X=signal)
    x, y = drawn(display.ax_)
    assert len(x) < 5000
    assert np.nanmax(y) == 50.0
    assert np.count_nonzero(y == 50.0) == len(places)
    _, shown = drawn(display.signal_axes_["x0"])
    assert (np.nanmin(shown), np.nanmax(shown)) == (-7.0, 5.0)
    assert len(bands(display.axes_["events"])[0]) == len(places)
    assert (np.ptp(bands(display.axes_["events"])[0], axis=1) > n / 5000).all()  # wide enough to be seen
    assert np.count_nonzero(display.axes_["events"].collections[0].get_paths()) == len(places)


def test_a_short_log_is_drawn_row_by_row():
    said = detections(50, [(10, 13)])
    said["score"] += np.arange(50) * 1e-3
    display = AnomalyTimelineDisplay.from_detections(said, threshold=3.0)
    x, y = drawn(display.ax_)
    np.testing.assert_array_equal(x, np.arange(50))
    np.testing.assert_array_equal(y, said["score"])
    assert bands(display.axes_["events"])[0].tolist() == [[10.0, 13.0]]
    assert bands(display.ax_)[0].tolist() == [[10.0, 13.0]]


TIMES = pd.date_range("2026-03-01 12:00", periods=100, freq="min")


@pytest.mark.parametrize(
    ("index", "first", "step", "label"),
    [
        (None, 0.0, 1.0, "row"),
        (pd.Index(np.arange(100) * 0.5 + 7.0, name="s"), 7.0, 0.5, "s"),
        (TIMES, 20513.5, 1 / 1440, ""),
        (TIMES.tz_localize("UTC").tz_convert("Asia/Tokyo"), 20513.5, 1 / 1440, ""),
        (TIMES.as_unit("s"), 20513.5, 1 / 1440, ""),
        (TIMES.to_period("min"), 20513.5, 1 / 1440, ""),
        (TIMES - TIMES[0], 0.0, 1.0, "time / minutes"),
        (pd.Index([f"r{k}" for k in range(100)]), 0.0, 1.0, "row"),
        (pd.Index(np.arange(100)[::-1]), 0.0, 1.0, "row"),
    ],
    ids=["none", "numbers", "times", "zone", "seconds", "periods", "deltas", "names", "descending"],
)
def test_the_axis_is_true_to_the_index(index, first, step, label):
    display = AnomalyTimelineDisplay.from_detections(detections(100, [(20, 30)], index), threshold=3.0)
    np.testing.assert_allclose(drawn(display.ax_)[0], first + step * np.arange(100), rtol=0, atol=1e-9)
    np.testing.assert_allclose(bands(display.ax_)[0], [[first + 20 * step, first + 30 * step]], rtol=0, atol=1e-9)
    assert display.axes_["events"].get_xlabel() == label
    display.figure_.canvas.draw()


@pytest.mark.parametrize("n", [400, 40_000])
def test_lines_and_heat_break_at_gaps(n):
    index = pd.Index(np.arange(n, dtype=float) + n * (np.arange(n) >= n // 2))
    display = AnomalyTimelineDisplay.from_detections(
        detections(n, index=index), threshold=3.0, X=np.ones((n, 2)), contributions=np.full((n, 2), 0.5)
    )
    for ax in (display.ax_, display.signal_axes_["x0"]):
        x, y = drawn(ax)
        assert np.isnan(y).any()
        assert x[np.isnan(y)].min() >= n // 2 - 1
        assert (np.diff(x) >= 0).all()
    heat = display.axes_["contributions"].collections[0].get_array()
    assert np.ma.getmaskarray(heat).any(axis=1).all()


def test_contributions_are_drawn_in_thresholds_the_loudest_sensor_first(named):
    rows = pd.DataFrame(np.random.default_rng(1).normal(size=(200, 3)), columns=["flow", "heat", "score"])
    rows.loc[100:120, "heat"] += 8.0
    display = AnomalyTimelineDisplay.from_estimator(named, rows, y=rows.index.isin(range(100, 121)), n_signals=2)
    heat = display.axes_["contributions"]
    assert heat.get_yticklabels()[0].get_text() == "heat"
    expected = named.contributions(rows)[:, 1] / named.threshold_
    np.testing.assert_allclose(heat.collections[0].get_array()[0], expected)
    assert next(iter(display.signal_axes_)) == "heat"
    assert len(display.signal_axes_) == 2
    assert display.axes_["score"] is display.ax_  # whatever a sensor is called


def test_true_anomalies_differ_from_alarms_by_place_and_hatching(fitted):
    y = np.zeros(300, dtype=int)
    y[50:60] = 1
    display = AnomalyTimelineDisplay.from_estimator(fitted, np.zeros((300, 3)), y=y)
    ax = display.axes_["events"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["alarm", "true"]
    true = ax.collections[-1]
    assert true.get_hatch()
    assert bands(ax)[-1].tolist() == [[50.0, 60.0]]
    assert true.get_paths()[0].get_extents().y1 < -1.0


@pytest.mark.parametrize(("peak", "scale"), [(9.0, "linear"), (900.0, "log")])
def test_the_score_is_logarithmic_only_if_it_must_be(peak, scale):
    said = detections(100, [(10, 20)], peak=peak)
    said.loc[50, "score"] = 0.0
    display = AnomalyTimelineDisplay.from_detections(said, threshold=3.0)
    assert display.ax_.get_yscale() == scale
    assert (drawn(display.ax_)[1] >= 0).all()
    display.figure_.canvas.draw()


def test_given_axes_are_divided_in_their_place(fitted):
    figure, (left, right) = pyplot.subplots(1, 2)
    display = AnomalyTimelineDisplay.from_estimator(fitted, np.zeros((100, 3)), ax=right)
    assert display.figure_ is figure
    assert not right.axison
    inside = right.get_position()
    assert all(inside.x0 <= ax.get_position().x0 < inside.x1 for ax in display.axes_.values())
    assert left.axison


def test_a_display_can_be_drawn_again_and_with_the_score_alone(fitted):
    display = AnomalyTimelineDisplay.from_estimator(fitted, np.zeros((100, 3)), n_signals=0)
    assert display.signal_axes_ == {}
    before = display.figure_
    assert display.plot() is display
    assert display.figure_ is not before
    alone = AnomalyTimelineDisplay(detections=detections(1), threshold=3.0).plot()
    assert set(alone.axes_) == {"score", "events"}
    assert pitskd.AnomalyTimelineDisplay is AnomalyTimelineDisplay


def test_answers_of_a_live_stream_are_drawn_as_those_of_arrays(fitted):
    rows = np.random.default_rng(3).normal(size=(80, 3))
    rows[40:50] += 6.0
    fitted.reset()
    live = pd.DataFrame([fitted.update(row)._asdict() for row in rows])
    display = AnomalyTimelineDisplay.from_detections(
        live, threshold=fitted.threshold_, contributions=np.stack(live["contributions"])
    )
    from_array = AnomalyTimelineDisplay.from_estimator(fitted, rows)
    np.testing.assert_allclose(drawn(display.ax_)[1], drawn(from_array.ax_)[1])


def test_missing_values_of_a_signal_leave_holes(fitted):
    rows = np.zeros((100, 3))
    rows[30:40, 1] = np.nan
    display = AnomalyTimelineDisplay.from_estimator(fitted, rows, n_signals=3)
    assert np.isnan(drawn(display.signal_axes_["x1"])[1]).sum() == 10


@pytest.mark.parametrize(
    ("changed", "kind", "match"),
    [
        ({"detections": pd.DataFrame({"score": [1.0]})}, ValueError, "detections must be a frame .* is_anomaly"),
        ({"detections": detections(9, index=TIMES[:9][::-1])}, ValueError, "detections must be in order of time"),
        ({"X": np.zeros((5, 2))}, ValueError, "X has 5 rows but detections has 9"),
        ({"y": np.zeros(5)}, ValueError, "y has 5 rows but detections has 9"),
        ({"y": np.full(9, 2)}, ValueError, "y must be 0 or 1"),
        ({"contributions": np.zeros((5, 2))}, ValueError, "contributions has 5 rows but detections has 9"),
        ({"threshold": 0.0}, ValueError, "threshold must be"),
        ({"n_signals": -1}, ValueError, "n_signals must be"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changed, kind, match):
    with pytest.raises(kind, match=match):
        AnomalyTimelineDisplay.from_detections(**({"detections": detections(9), "threshold": 3.0} | changed))


def test_axes_placed_by_hand_cannot_be_divided():
    figure = pyplot.figure()
    with pytest.raises(ValueError, match=r"ax must be axes of a grid"):
        AnomalyTimelineDisplay(detections=detections(9), threshold=3.0).plot(figure.add_axes((0.1, 0.1, 0.8, 0.8)))


def test_only_a_detector_can_be_asked():
    with pytest.raises(TypeError, match="detector must be an object with a method detect, got int"):
        AnomalyTimelineDisplay.from_estimator(3, np.zeros((5, 2)))
