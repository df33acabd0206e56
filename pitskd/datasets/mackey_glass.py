"""The Mackey-Glass delay equation: an accurate simulator, and windows of it with the middle as privileged information.

The equation is linear in x(t) once x(t - tau) is known. A delay interval is therefore advanced at once: it is cut into
`substeps` equal panels, the forcing inside a panel is replaced by the polynomial through its values at eight nodes, and
variation of constants carries that polynomial exactly through the decay. Panels never cross a multiple of tau, where
the solution has a kink. Arrays of one interval are (nodes, panels, series).
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import get_lapack_funcs

from pitskd._random import stage_generator
from pitskd._validation import check_choice, check_integer, check_positive, wrong
from pitskd.windows import PrivilegedWindows, make_windows

__all__ = ["simulate_mackey_glass", "mackey_glass_windows"]

_ORDER = 8
_NODES = (1.0 - np.cos(np.pi * np.arange(_ORDER) / (_ORDER - 1))) / 2.0
_BARYCENTRIC = (-1.0) ** np.arange(_ORDER) * np.where(np.arange(_ORDER) % (_ORDER - 1) == 0, 0.5, 1.0)
# Steps of 1 for the published rates: an error of about 1e-11 after four delays from a constant history.
_RATE_PER_STEP = 0.2
# Numbers held between two samplings of the trajectory: half a MiB, which stays in the cache.
_BUFFER = 2**16
_solve_triangular_band: Any = get_lapack_funcs("tbtrs")


def simulate_mackey_glass(
    n_samples: int,
    tau: float = 17.0,
    beta: float = 0.2,
    gamma: float = 0.1,
    exponent: float = 10.0,
    step: float = 1.0,
    *,
    substeps: int | None = None,
    history: float | ArrayLike | Callable[[np.ndarray], ArrayLike] = 1.2,
    n_series: int | None = None,
    warm_up: float = 1000.0,
    noise: float = 0.0,
    random_state: Any = None,
) -> np.ndarray:
    """Sample x'(t) = beta x(t - tau) / (1 + x(t - tau)^exponent) - gamma x(t).

    A chaotic benchmark whose exact future is known: from tau about 17 on at the default rates. Any `tau` goes with any
    `step`.

    Parameters
    ----------
    n_samples : int
        Number of samples, at least 1. Sample k is x(warm_up + k * step).
    tau : float, default=17.0
        Delay, above 0. Unit: time.
    beta : float, default=0.2
        Production rate, above 0. Unit: 1 / time.
    gamma : float, default=0.1
        Decay rate, at least 0. Unit: 1 / time.
    exponent : float, default=10.0
        Steepness of the feedback, above 0.
    step : float, default=1.0
        Sampling period, above 0. It has no influence on the accuracy. Unit: time.
    substeps : int, optional
        Internal steps per delay, at least 1. The error falls as substeps^-8. By default an internal step is at most
        0.2 / max(beta, gamma), i.e. 17 steps at the default rates and delay; a much steeper exponent or a fast history
        wants more.
    history : float, array of shape (n_series,) or callable, default=1.2
        What x was before t = 0, at least 0: one constant; one constant per series; or a function that maps times of
        shape (n_times,), ascending in [-tau, 0], to values of shape (n_times,) or (n_times, n_series). A function that
        is not smooth inside [-tau, 0] lowers the order.
    n_series : int, optional
        Simulate that many series, each from its own constant history, drawn uniformly between 0.5 and 1.5 times
        `history`, which must be a number then.
    warm_up : float, default=1000.0
        Time before the first sample, at least 0, so that the transient has died out. With 0 the first sample is x(0),
        the last value of the history. Unit: time.
    noise : float, default=0.0
        Standard deviation of Gaussian noise added to the samples; it does not enter the dynamics. Unit: that of x.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        Seed of the noise and of the drawn histories, which are independent; a generator is advanced.

    Returns
    -------
    ndarray of float64, shape (n_samples,) or (n_samples, n_series)
        In units of the half-saturation level (theta in [1]_). One axis if `history` is a number or a function of one
        series.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of the wrong kind.

    Notes
    -----
    Exponential integrator of order 8 in the internal step, at every sample: 8 Chebyshev-Lobatto nodes per step. The
    decay is exact at the nodes, so no step is unstable; between them x is the polynomial of degree 7. The solution
    gains one derivative per delay at multiples of `tau`; no polynomial reaches across them, which keeps the order for a
    history that does not match the equation at 0.

    In a chaotic regime rounding errors grow exponentially, as any error does: runs that agree mathematically (a batch
    and its columns) agree to 1e-12 at first and not at all after some thousand units of time. One run is repeatable.

    Memory is that of the result plus some copies of what falls into one delay interval, or half a MiB if that is more.

    References
    ----------
    .. [1] Mackey, Glass (1977). Oscillation and Chaos in Physiological Control Systems. Science 197, 287-289, eq. (4b).
       doi:10.1126/science.267326.

    Examples
    --------
    >>> simulate_mackey_glass(4, warm_up=0.0).round(6)
    array([1.2     , 1.117562, 1.042969, 0.975475])
    >>> simulate_mackey_glass(1000, tau=16.8, n_series=3, random_state=0).shape
    (1000, 3)
    """
    n_samples = check_integer("n_samples", n_samples, minimum=1, step="Use n_samples=1000.")
    tau = check_positive("tau", tau, "Use tau=17.0, where the series is chaotic.")
    beta = check_positive("beta", beta, "Use beta=0.2.")
    gamma = _check_not_negative("gamma", gamma, "Use gamma=0.1.")
    exponent = check_positive("exponent", exponent, "Use exponent=10.0.")
    step = check_positive("step", step, "Use step=1.0.")
    warm_up = _check_not_negative("warm_up", warm_up, "Use warm_up=0.0 to begin at t = 0.")
    noise = _check_not_negative("noise", noise, "Use noise=0.0 for the exact series.")
    observation = stage_generator(random_state, "noise")
    if substeps is None:
        substeps = int(np.ceil(tau * max(beta, gamma) / _RATE_PER_STEP))
    substeps = check_integer("substeps", substeps, minimum=1, step="Use substeps=None for the default accuracy.")
    if n_series is not None:
        history = _draw_histories(history, n_series, random_state)

    values, single = _history_values(history, tau * _history_phases(substeps))
    past = values.reshape(substeps, _ORDER, -1).swapaxes(0, 1)
    times = warm_up + step * np.arange(n_samples)
    series = _sample(_IntervalMap.build(tau, beta, gamma, exponent, substeps), past, times)
    if noise:
        series += observation.normal(scale=noise, size=series.shape)
    return series[:, 0] if single else series


def mackey_glass_windows(
    n_samples: int = 2000,
    *,
    window: int = 4,
    horizon: int | tuple[int, ...] = 4,
    privileged: Any = "between",
    stride: int = 1,
    threshold: float | str | None = "mean",
    random_state: Any = None,
    **simulation: Any,
) -> PrivilegedWindows:
    """Window a simulated series: will it be above its mean a few steps ahead, the steps between being privileged.

    The defaults are the binary task of [1]_: delay 17, one sample per unit of time, four inputs, four steps ahead.

    Parameters
    ----------
    n_samples : int, default=2000
        Length of the series; ``n_samples - window - horizon + 1`` windows at stride 1.
    window, horizon, privileged, stride
        As in `make_windows`.
    threshold : float, "mean" or None, default="mean"
        The label is ``value > threshold``; "mean" stands for the mean of everything simulated, noise included. None
        keeps the value as the target of a regression.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        Seed of the simulation.
    **simulation
        Further arguments of `simulate_mackey_glass`. Several series are laid end to end, and no window spans two.

    Returns
    -------
    PrivilegedWindows
        One channel, in units of the half-saturation level.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of the wrong kind.

    Notes
    -----
    Source: simulated, hence no licence; sampling period `step`; nothing dropped or filled. The mean is part of the
    definition of the label and uses the whole series, later test windows included.

    References
    ----------
    .. [1] Hayashi et al. (2019). Long-Term Prediction of Small Time-Series Data Using Generalized Distillation. IJCNN.

    Examples
    --------
    >>> w = mackey_glass_windows(500)
    >>> w.X.shape, w.X_privileged.shape, w.y.shape
    ((493, 4, 1), (493, 3, 1), (493,))
    """
    if isinstance(threshold, str):
        check_choice("threshold", threshold, ("mean",), "Pass a number, or None for regression.")
    series = simulate_mackey_glass(n_samples, random_state=random_state, **simulation)
    end_to_end = series.ravel(order="F")
    groups = None if series.ndim == 1 else np.repeat(np.arange(series.shape[1]), n_samples)
    return make_windows(
        end_to_end,
        0,
        window=window,
        horizon=horizon,
        privileged=privileged,
        stride=stride,
        threshold=float(series.mean()) if isinstance(threshold, str) else threshold,
        groups=groups,
    )


@dataclass(frozen=True, eq=False)
class _IntervalMap:
    """What carries the nodes of one delay interval to those of the next."""

    response: np.ndarray  # (nodes, nodes) beta times the answer at one node to a unit forcing at another
    decay: np.ndarray  # (nodes, 1, 1) from the start of the panel
    chain: np.ndarray  # (2, panels + 1) the bands of: value at a panel's end - decay * value at its start = gain
    exponent: float
    panel: float  # length of a panel

    @classmethod
    def build(cls, tau: float, beta: float, gamma: float, exponent: float, substeps: int) -> _IntervalMap:
        panel = tau / substeps
        decay = np.exp(-gamma * panel * _NODES)
        chain = np.asfortranarray(np.repeat([[1.0], [-decay[-1]]], substeps + 1, axis=1))
        return cls(beta * panel * _unit_response(gamma * panel), decay[:, None, None], chain, exponent, panel)

    def advance(self, past: np.ndarray, start: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Write the interval that follows ``past`` and begins at ``start`` into ``nodes``; return its last value."""
        saturation = np.abs(past)  # a coarse step may undershoot 0, where the true solution never is
        saturation **= self.exponent
        saturation += 1.0
        forcing = past / saturation
        np.dot(self.response, forcing.reshape(_ORDER, -1), out=nodes.reshape(_ORDER, -1))
        edges = _solve_triangular_band(self.chain, np.concatenate((start, nodes[-1])), uplo="L", diag="U")[0]
        nodes += self.decay * edges[:-1]
        return edges[-1:]


def _unit_response(decay_per_panel: float) -> np.ndarray:
    """Integrate exp(-decay_per_panel (s_i - u)) l_j(u) over u in [0, s_i] for all nodes s_i and Lagrange basis l_j."""
    # The integrand is entire: 32 Gauss points reach rounding as long as the exponent spans at most 40, and what is
    # older than that weighs less than 1e-17.
    points, weights = _gauss_legendre()
    reach = _NODES * min(1.0, 40.0 / max(decay_per_panel, 40.0))
    ages = reach[:, None] * (points + 1.0) / 2.0
    kernel = reach[:, None] * weights / 2.0 * np.exp(-decay_per_panel * ages)
    return np.einsum("ig,igj->ij", kernel, _lagrange(_NODES[:, None] - ages))


@cache
def _gauss_legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(32)


def _lagrange(positions: np.ndarray) -> np.ndarray:
    """Evaluate the Lagrange basis of the nodes at positions in [0, 1] of a panel: (..., nodes)."""
    distance = positions[..., None] - _NODES
    distance[distance == 0.0] = 1e-300  # all the weight to the node itself
    shares = _BARYCENTRIC / distance
    return shares / shares.sum(axis=-1, keepdims=True)


def _sample(step_on: _IntervalMap, past: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the solution at ``times`` (ascending, at least 0): (n_times, n_series)."""
    n_panels, n_series = past.shape[1:]
    tau = n_panels * step_on.panel
    interval, within = np.divmod(times, tau)
    panel = np.minimum(within // step_on.panel, n_panels - 1).astype(np.int64)
    position = within / step_on.panel - panel

    n_intervals = int(interval[-1]) + 1
    samples_per_interval = int(np.ceil(len(times) / n_intervals))
    n_held = max(1, _BUFFER // (_ORDER * n_series * (n_panels + samples_per_interval)))
    series = np.empty((len(times), n_series))
    for first, nodes in _march(step_on, past, n_intervals, n_held):
        rows = slice(*np.searchsorted(interval, (first, first + len(nodes))))
        at_nodes = nodes[interval[rows].astype(np.int64) - first, :, panel[rows]]
        np.einsum("tn,tns->ts", _lagrange(position[rows]), at_nodes, out=series[rows])
    return series


def _march(step_on: _IntervalMap, past: np.ndarray, n_intervals: int, n_held: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of the first interval and the nodes of up to ``n_held`` intervals at a time."""
    start = past[-1, -1:]
    for first in range(0, n_intervals, n_held):
        block = np.empty((min(n_held, n_intervals - first), *past.shape))
        with np.errstate(over="ignore"):  # beyond the largest number the forcing is 0, as it should be
            for k in range(len(block)):
                start = step_on.advance(past, start, block[k])
                past = block[k]
        yield first, block


def _history_phases(substeps: int) -> np.ndarray:
    """Return the nodes of [-1, 0] cut into panels, ascending, both ends exact."""
    return ((np.arange(substeps)[:, None] + _NODES) / substeps - 1.0).ravel()


def _history_values(history: Any, times: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the history at ``times``, (n_times, n_series), and whether it is that of one series."""
    if callable(history):
        values = _check_history(history(times))
        single = values.ndim == 1
        if values.ndim not in (1, 2) or len(values) != len(times) or values.size == 0:
            expected = f"a function that returns shape ({len(times)},) or ({len(times)}, n_series) for as many times"
            raise wrong("history", expected, f"shape {values.shape}", "Use history=lambda t: 1.2 + 0.1 * np.sin(t).")
        return values.reshape(len(times), -1), single
    values = _check_history(history)
    if values.ndim > 1 or values.size == 0:
        step = "Pass a function for a history that varies in time."
        raise wrong("history", "a number, one number per series, or a function", f"shape {values.shape}", step)
    return np.tile(values, (len(times), 1)), values.ndim == 0


def _check_history(values: Any) -> np.ndarray:
    step = "Use history=1.2, an array of constants, or a function of time."
    try:
        numbers_given = np.asarray(values)
    except ValueError:
        raise wrong("history", "made of numbers", values, step, TypeError) from None
    if numbers_given.dtype.kind not in "fiu":
        raise wrong("history", "made of numbers", values, step, TypeError)
    if not np.all((numbers_given >= 0.0) & (numbers_given < np.inf)):
        raise wrong("history", "finite and at least 0", values, step)
    return numbers_given.astype(np.float64)


def _draw_histories(history: Any, n_series: Any, random_state: Any) -> np.ndarray:
    n_series = check_integer("n_series", n_series, minimum=1, step="Use n_series=None for one series.")
    if callable(history) or np.ndim(history) > 0:
        step = "Leave n_series out: the history says how many series there are."
        raise wrong("history", "a number when n_series is given", history, step)
    centre = float(_check_history(history))
    return stage_generator(random_state, "history").uniform(0.5 * centre, 1.5 * centre, n_series)


def _check_not_negative(name: str, value: Any, step: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0.0 <= float(value) < np.inf:
        raise wrong(name, "a finite number of at least 0", value, step)
    return float(value)
