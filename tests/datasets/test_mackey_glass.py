import tracemalloc

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pitskd.datasets.mackey_glass import mackey_glass_windows, simulate_mackey_glass


def simulate(n_samples, **settings):
    return simulate_mackey_glass(n_samples, **{"warm_up": 0.0, **settings})


def wave(times):
    return 1.0 + 0.3 * np.sin(0.4 * times)


def by_steps(history, times, tau, beta=0.2, gamma=0.1, exponent=10.0):
    """Another route: one adaptive Runge-Kutta run per delay interval, the delayed value from the run before."""
    past, start, values = history, float(history(0.0)), np.empty(len(times))
    for k in range(int(times[-1] // tau) + 1):

        def slope(t, x, past=past):
            delayed = past(t - tau)
            return beta * delayed / (1.0 + delayed**exponent) - gamma * x

        ends = (k * tau, (k + 1) * tau)
        run = solve_ivp(slope, ends, [start], method="DOP853", dense_output=True, rtol=1e-12, atol=1e-13, max_step=0.5)
        inside = (times >= ends[0]) & (times < ends[1])
        values[inside] = run.sol(times[inside])[0]
        past, start = lambda t, sol=run.sol: sol(t)[0], run.y[0, -1]
    return values


def observed_order(**settings):
    """Slope of log error against log substeps, errors from 1e-8 to 1e-13 against a run with far less."""
    n_steps = np.array([10, 12, 14, 17, 20, 24])
    exact = simulate(1000, substeps=200, **settings)
    errors = [np.abs(simulate(1000, substeps=n, **settings) - exact).max() for n in n_steps]
    return -np.polyfit(np.log(n_steps), np.log(errors), 1)[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"tau": 17.0, "step": 0.05},
        {"tau": 16.83, "step": 0.05},
        {"tau": 17.0, "step": 0.053, "history": wave},
        {"tau": 17.0, "step": 0.05, "gamma": 0.0, "beta": 0.5},
        {"tau": 30.0, "step": 0.11, "exponent": 6.5, "history": 1.4},
    ],
    ids=["constant", "any delay", "varying", "no decay", "other exponent"],
)
def test_error_falls_with_order_eight(settings):
    # The error at the nodes has another phase at each number of steps: slopes scatter by some tenths about 8.
    assert observed_order(**settings) > 7.5


@pytest.mark.parametrize("gamma", [0.1, 0.0, 1e-9, 1.3])
@pytest.mark.parametrize("substeps", [None, 7])
def test_first_delay_of_a_constant_history_is_an_exponential_relaxation(gamma, substeps):
    step, inflow = 0.41, 0.2 * 1.3 / (1.0 + 1.3**10)
    times = step * np.arange(24)
    relaxed = 1.3 * np.exp(-gamma * times) + inflow * (-np.expm1(-gamma * times) / gamma if gamma else times)
    # Between the nodes a polynomial of degree 7 follows the fastest decay to 1e-7 over steps of 10 / 7.
    tolerance = 1e-12 if gamma < 1.0 else 1e-6
    series = simulate(24, tau=10.0, step=step, gamma=gamma, history=1.3, substeps=substeps)
    np.testing.assert_allclose(series, relaxed, rtol=0, atol=tolerance)


def test_decay_of_any_speed_is_exact_at_the_ends_of_the_steps():
    gamma, inflow = 500.0, 0.2 * 1.3 / (1.0 + 1.3**10)
    series = simulate(5, tau=10.0, step=2.5, gamma=gamma, history=1.3, substeps=4)
    np.testing.assert_allclose(series, [1.3] + [inflow / gamma] * 4, rtol=1e-12)


@pytest.mark.parametrize("tau", [17.0, 15.3])
@pytest.mark.parametrize("history", [lambda t: 1.2 + 0.0 * np.asarray(t), wave], ids=["constant", "varying"])
def test_agrees_with_an_adaptive_solver_delay_by_delay(tau, history):
    times = 0.9 * np.arange(50)
    # The adaptive solver is run at 1e-12 per step and interpolates its own past.
    np.testing.assert_allclose(
        simulate(50, tau=tau, step=0.9, history=history, substeps=60), by_steps(history, times, tau), rtol=0, atol=1e-9
    )


def test_default_accuracy_is_far_below_a_millionth():
    times = 1.0 * np.arange(51)
    exact = by_steps(lambda t: 1.2 + 0.0 * t, times, 17.0)
    assert np.abs(simulate(51) - exact).max() < 1e-9


@pytest.mark.parametrize(("beta", "gamma", "exponent"), [(0.2, 0.1, 10.0), (0.3, 0.1, 7.5), (0.5, 0.2, 3.0)])
def test_fixed_point_stays_put(beta, gamma, exponent):
    rest = (beta / gamma - 1.0) ** (1.0 / exponent)
    series = simulate(60, beta=beta, gamma=gamma, exponent=exponent, history=rest)
    np.testing.assert_allclose(series, rest, rtol=0, atol=1e-12)


def test_zero_stays_zero():
    assert not simulate(50, history=0.0).any()


def test_values_too_large_for_the_power_decay_without_production():
    np.testing.assert_allclose(simulate(3, history=1e40), 1e40 * np.exp(-0.1 * np.arange(3)), rtol=1e-12)


def test_unit_of_time_is_irrelevant():
    slow = simulate(150)
    fast = simulate(150, tau=1.7, beta=2.0, gamma=1.0, step=0.1)
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-11)  # rounding of the steps, grown by chaos


def test_long_series_is_chaotic_and_bounded():
    series = simulate_mackey_glass(5000)
    assert 0.2 < series.min() < 0.5
    assert 1.2 < series.max() < 1.5
    nearby = simulate_mackey_glass(5000, history=1.2 + 1e-9)
    assert np.abs(series - nearby).max() > 0.1


def test_column_of_a_batch_is_the_single_run():
    histories = np.array([0.5, 0.9, 1.2])
    batch = simulate(200, tau=17.3, history=histories)
    single = [simulate(200, tau=17.3, history=h) for h in histories]
    np.testing.assert_allclose(batch, np.stack(single, axis=1), rtol=0, atol=1e-12)


def test_column_of_a_batch_of_functions_is_the_single_run():
    batch = simulate(100, history=lambda t: np.stack([wave(t), 0.5 + 0.0 * t], axis=1))
    np.testing.assert_allclose(batch[:, 0], simulate(100, history=wave), rtol=0, atol=1e-12)
    np.testing.assert_allclose(batch[:, 1], simulate(100, history=0.5), rtol=0, atol=1e-12)


def test_constant_function_is_the_constant():
    np.testing.assert_array_equal(simulate(100, history=lambda t: np.full(len(t), 1.2)), simulate(100))


def test_history_function_is_asked_inside_the_last_delay_in_order():
    asked = []
    simulate(3, tau=17.3, history=lambda t: asked.append(t) or np.ones(len(t)))
    assert len(asked) == 1
    assert asked[0][0] == -17.3
    assert asked[0][-1] == 0.0
    assert np.all(np.diff(asked[0]) >= 0.0)


def test_number_of_axes_follows_the_history():
    assert simulate(5).shape == (5,)
    assert simulate(5, history=np.float32(1.2)).shape == (5,)
    assert simulate(5, history=[1.2]).shape == (5, 1)
    assert simulate(5, history=[1, 2]).shape == (5, 2)
    assert simulate(5, n_series=1).shape == (5, 1)
    assert simulate(5, history=wave).shape == (5,)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("tau", [17.0, 0.3])
def test_longer_run_begins_with_the_shorter(noise, tau):
    settings = {"tau": tau, "step": 0.7, "noise": noise, "n_series": 2, "random_state": 3, "warm_up": 20.0}
    np.testing.assert_array_equal(simulate(300, **settings)[:77], simulate(77, **settings))


def test_sampling_period_does_not_change_what_is_sampled():
    np.testing.assert_allclose(simulate(60, step=2.0), simulate(120)[::2], rtol=0, atol=1e-13)
    np.testing.assert_allclose(simulate(5, step=40.0), simulate(1601, step=0.1)[::400], rtol=0, atol=1e-13)


def test_warm_up_drops_the_first_samples():
    np.testing.assert_allclose(simulate(50, warm_up=30.0), simulate(80)[30:], rtol=0, atol=1e-13)


def test_first_sample_without_warm_up_is_the_end_of_the_history():
    assert simulate(1, history=0.7)[0] == 0.7
    assert simulate(1, history=wave)[0] == 1.0


def test_noise_is_added_to_the_samples_only():
    settings = {"n_series": 4, "random_state": 1}
    noise = simulate(4000, noise=0.05, **settings) - simulate(4000, **settings)
    # 16,000 draws: the standard errors are 0.6 % of the deviation, 0.8 % of a correlation and 0.0004 of the mean.
    assert noise.std() == pytest.approx(0.05, rel=0.025)
    assert abs(noise.mean()) < 0.0016
    assert abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < 0.03
    assert np.abs(np.corrcoef(noise.T) - np.eye(4)).max() < 0.07


def test_seed_repeats_noise_and_histories():
    def run(seed):
        return simulate(50, noise=0.1, n_series=2, random_state=seed)

    np.testing.assert_array_equal(run(7), run(7))
    np.testing.assert_array_equal(run(np.random.default_rng(7)), run(np.random.default_rng(7)))
    assert not np.allclose(run(7), run(8))
    assert not np.allclose(run(None), run(None))


def test_drawn_histories_lie_around_the_given_one():
    first = simulate(1, history=0.8, n_series=2000, random_state=0)[0]
    assert 0.4 <= first.min() < 0.41
    assert 1.19 < first.max() <= 1.2
    assert len(np.unique(first)) == 2000


def test_global_generators_are_left_alone():
    before = np.random.get_state()[1].copy()
    simulate(10, noise=0.1, n_series=2, random_state=None)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_given_history_is_left_as_it_was():
    histories = np.array([0.5, 0.9])
    simulate(50, history=histories)
    np.testing.assert_array_equal(histories, [0.5, 0.9])


def test_memory_is_that_of_the_result():
    simulate(10)
    tracemalloc.start()
    series = simulate(8000, n_series=50, substeps=60, random_state=0)  # all nodes at once would be 28 times the result
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * series.nbytes


ERRORS = [
    ({"n_samples": 0}, ValueError, r"n_samples must be an integer of at least 1, got 0\. Use"),
    ({"n_samples": 10.0}, TypeError, r"n_samples must be an integer of at least 1, got 10\.0"),
    ({"n_samples": True}, TypeError, "n_samples must be an integer"),
    ({"substeps": 0}, ValueError, "substeps must be an integer of at least 1, got 0"),
    ({"substeps": 2.5}, TypeError, "substeps must be an integer"),
    ({"n_series": 0}, ValueError, "n_series must be an integer of at least 1, got 0"),
    ({"n_series": "3"}, TypeError, "n_series must be an integer"),
    ({"n_series": 3, "history": [1.0, 2.0]}, ValueError, "history must be a number when n_series is given"),
    ({"n_series": 3, "history": wave}, ValueError, "history must be a number when n_series is given"),
    ({"n_series": 3, "history": -1.0}, ValueError, "history must be finite and at least 0"),
    ({"history": -0.1}, ValueError, r"history must be finite and at least 0, got -0\.1\. Use history=1\.2"),
    ({"history": np.nan}, ValueError, "history must be finite and at least 0, got nan"),
    ({"history": [1.0, np.inf]}, ValueError, "history must be finite and at least 0"),
    ({"history": "1.2"}, TypeError, r"history must be made of numbers, got 1\.2"),
    ({"history": True}, TypeError, "history must be made of numbers, got True"),
    ({"history": None}, TypeError, "history must be made of numbers, got None"),
    ({"history": [[1.0], [1.0, 2.0]]}, TypeError, "history must be made of numbers"),
    ({"history": 1.0 + 0.0j}, TypeError, "history must be made of numbers"),
    ({"history": np.ones((2, 2))}, ValueError, r"history must be a number, .* got shape \(2, 2\)\. Pass a function"),
    ({"history": []}, ValueError, r"history must be a number, .* got shape \(0,\)"),
    ({"history": lambda t: 1.0}, ValueError, r"history must be a function that returns shape .* got shape \(\)"),
    ({"history": lambda t: t[1:] + 20.0}, ValueError, r"returns shape \(136,\) or .* got shape \(135,\)"),
    ({"history": lambda t: t}, ValueError, "history must be finite and at least 0"),
    ({"history": lambda t: ["a"] * len(t)}, TypeError, "history must be made of numbers"),
    ({"random_state": -1}, ValueError, "random_state must be a non-negative integer"),
    ({"random_state": "0"}, ValueError, "random_state must be a non-negative integer"),
]


@pytest.mark.parametrize(("settings", "kind", "message"), ERRORS)
def test_wrong_argument_is_named_with_the_next_step(settings, kind, message):
    with pytest.raises(kind, match=message):
        simulate_mackey_glass(**{"n_samples": 10, **settings})


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, "2", True, None, [1.0]], ids=repr)
@pytest.mark.parametrize("name", ["tau", "beta", "gamma", "exponent", "step", "warm_up", "noise"])
def test_numbers_out_of_range_are_refused(name, value):
    expected = "a finite number (above|of at least) 0"
    with pytest.raises(ValueError, match=rf"^{name} must be {expected}, got .*\. Use {name}=\d"):
        simulate_mackey_glass(10, **{name: value})


@pytest.mark.parametrize("name", ["tau", "beta", "exponent", "step"])
def test_zero_is_refused_where_it_has_no_meaning(name):
    with pytest.raises(ValueError, match=rf"{name} must be a finite number above 0, got 0"):
        simulate_mackey_glass(10, **{name: 0})


def test_windows_are_those_of_the_simulated_series():
    series = simulate_mackey_glass(300)
    w = mackey_glass_windows(300)
    np.testing.assert_array_equal(w.origin, np.arange(3, 296))
    np.testing.assert_array_equal(w.X[:, :, 0], [series[o - 3 : o + 1] for o in w.origin])
    np.testing.assert_array_equal(w.X_privileged[:, :, 0], [series[o + 1 : o + 4] for o in w.origin])
    np.testing.assert_array_equal(w.y, series[w.origin + 4] > series.mean())


def test_windows_take_the_arguments_of_both_functions():
    settings = {"tau": 20.0, "noise": 0.1, "random_state": 5}
    series = simulate_mackey_glass(200, **settings)
    w = mackey_glass_windows(200, window=3, horizon=(2, 5), privileged=2, stride=7, threshold=None, **settings)
    np.testing.assert_array_equal(w.origin, np.arange(2, 195, 7))
    np.testing.assert_array_equal(w.y, np.stack([series[w.origin + 2], series[w.origin + 5]], axis=1))
    np.testing.assert_array_equal(w.X_privileged[:, :, 0], np.stack([series[w.origin + k] for k in (3, 4)], axis=1))


def test_threshold_may_be_a_number():
    w = mackey_glass_windows(200, threshold=1.1)
    np.testing.assert_array_equal(w.y, simulate_mackey_glass(200)[w.origin + 4] > 1.1)


def test_no_window_spans_two_series():
    series = simulate_mackey_glass(60, n_series=3, random_state=2)
    w = mackey_glass_windows(60, n_series=3, random_state=2)
    assert len(w.y) == 3 * (60 - 7)
    column, row = np.divmod(w.origin, 60)
    assert row.min() == 3
    assert row.max() == 55
    np.testing.assert_array_equal(w.X[:, -1, 0], series[row, column])
    np.testing.assert_array_equal(w.y, series[row + 4, column] > series.mean())


def test_unknown_threshold_is_refused():
    with pytest.raises(ValueError, match=r"threshold must be 'mean', got median\. Pass a number, or None"):
        mackey_glass_windows(100, threshold="median")
