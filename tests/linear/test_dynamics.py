import numpy as np
import pytest
from sklearn.linear_model import Ridge

from pitskd.linear.dynamics import rolled_forecast

A = np.array([[0.9, 0.2], [-0.1, 0.8]])


def noise_free(n_rows):
    rows = [np.array([1.0, -0.5])]
    for _ in range(n_rows - 1):
        rows.append(A @ rows[-1] + [0.3, 0.1])
    return np.array(rows)


def windows(series, window):
    return np.stack([series[i : i + window] for i in range(len(series) - window + 1)])


@pytest.mark.parametrize("horizon", [1, 3, 8])
@pytest.mark.parametrize("order", [1, 2])
def test_forecast_of_a_noise_free_var_is_exact(horizon, order):
    series = noise_free(25)
    X = windows(series, 4)
    forecast = rolled_forecast(X[:15], X[: len(X) - horizon], horizon=horizon, order=order, penalty=0.0)
    np.testing.assert_allclose(forecast, series[4 - 1 + horizon :], atol=1e-8)


def test_horizon_one_is_a_one_step_regression_on_standardised_rows():
    X = np.random.default_rng(0).normal(3, 2, size=(20, 5, 2))
    mean, scale = X.mean(axis=(0, 1)), X.std(axis=(0, 1))
    scaled = (X - mean) / scale
    model = Ridge(alpha=0.5).fit(scaled[:, :-1].reshape(-1, 2), scaled[:, 1:].reshape(-1, 2))
    expected = model.predict(scaled[:, -1]) * scale + mean
    np.testing.assert_allclose(rolled_forecast(X, X, horizon=1, penalty=0.5), expected, atol=1e-10)


def test_units_of_the_channels_do_not_matter():
    X = np.random.default_rng(1).normal(size=(20, 5, 2))
    units = np.array([1e6, 1e-3])
    expected = rolled_forecast(X, X, horizon=3) * units
    np.testing.assert_allclose(rolled_forecast(X * units, X * units, horizon=3), expected, rtol=1e-9)


def test_only_the_last_rows_of_a_window_move_its_own_forecast():
    train, X = np.random.default_rng(2).normal(size=(2, 20, 5, 2))
    changed = X.copy()
    changed[:, :-2] += 1.0
    changed[3] += 1.0
    before, after = (rolled_forecast(train, part, horizon=4, order=2) for part in (X, changed))
    np.testing.assert_array_equal(np.delete(before, 3, axis=0), np.delete(after, 3, axis=0))
    assert not np.allclose(before[3], after[3])


def test_a_constant_channel_is_forecast_as_itself():
    X = np.random.default_rng(3).normal(size=(10, 4, 2))
    X[..., 1] = 7.0
    np.testing.assert_allclose(rolled_forecast(X, X, horizon=5)[:, 1], 7.0)
