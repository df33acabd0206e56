"""Simulated samples with privileged features: four published simulations and a linear-Gaussian chain.

Each simulator draws its rule (a direction, a set of columns, transition matrices) anew in every call, so the training
and the test part of one repetition come from *one* call and are cut afterwards. With an integer `random_state` the rule
does not depend on `n_samples`, and a larger sample starts with the rows of a smaller one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pitskd._random import stage_generator
from pitskd._validation import check_choice, check_fraction, check_integer

__all__ = [
    "PrivilegedSample",
    "simulate_clean_labels",
    "simulate_clean_features",
    "simulate_relevant_features",
    "simulate_sample_dependent_features",
    "simulate_linear_chain",
    "linear_chain_coef",
]

FloatArray = NDArray[np.float64]


class PrivilegedSample(NamedTuple):
    """Independent rows of inputs, privileged inputs and targets.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features) or (n_samples, length, n_channels)
        Inputs, available in training and in production. No unit.
    X_privileged : ndarray of shape (n_samples, n_privileged) or (n_samples, n_steps, n_features)
        Inputs available in training only; three axes where they are states in time, ascending. No unit.
    y : ndarray of shape (n_samples,)
        Labels from 0 on as integers, or a real target.

    Examples
    --------
    >>> X, X_privileged, y = PrivilegedSample(np.zeros((4, 2)), np.zeros((4, 1)), np.zeros(4))
    >>> X_privileged.shape
    (4, 1)
    """

    X: NDArray[Any]
    X_privileged: NDArray[Any]
    y: NDArray[Any]


def simulate_clean_labels(n_samples: int, *, n_features: int = 50, random_state: Any = None) -> PrivilegedSample:
    """Give the teacher the noise-free score of a label that was drawn with noise.

    The privileged feature is the distance to the boundary: the case in which a teacher helps most.

    Parameters
    ----------
    n_samples : int
        Rows drawn, at least 1; draw training and test rows together.
    n_features : int, default=50
        Columns of X, at least 1.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        Seed of the direction and of the rows.

    Returns
    -------
    PrivilegedSample
        X (n_samples, n_features) standard normal, X_privileged (n_samples, 1), y (n_samples,) of 0 and 1.

    Raises
    ------
    ValueError
        If n_samples or n_features is below 1; ``TypeError`` if it is no integer.

    Notes
    -----
    a ~ N(0, I), x ~ N(0, I), x* = a'x, y = [x* + e > 0] with e ~ N(0, 1).

    References
    ----------
    .. [1] Lopez-Paz et al. (2016). Unifying distillation and privileged information. ICLR. arXiv:1511.03643,
       "Numerical simulations", synthetic experiment 1.

    Examples
    --------
    >>> X, X_privileged, y = simulate_clean_labels(1000, random_state=0)
    >>> X.shape, X_privileged.shape, round(float(np.mean((X_privileged[:, 0] > 0) == y)), 2)
    ((1000, 50), (1000, 1), 0.96)
    """
    n_samples, n_features = _check_sizes(n_samples, n_features, fewest_features=1)
    a = _normal(random_state, "direction", n_features)
    X = _normal(random_state, "inputs", (n_samples, n_features))
    label_noise = _normal(random_state, "label noise", n_samples)
    score = X @ a
    return PrivilegedSample(X, score[:, None], _positive(score + label_noise))


def simulate_clean_features(n_samples: int, *, n_features: int = 50, random_state: Any = None) -> PrivilegedSample:
    """Give the teacher the features without the noise that the student's carry.

    The noise is not a function of what the student sees, so that no material gain is to be had.

    Parameters
    ----------
    n_samples : int
        Rows drawn, at least 1; draw training and test rows together.
    n_features : int, default=50
        Columns of X and of X_privileged, at least 1.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        Seed of the direction and of the rows.

    Returns
    -------
    PrivilegedSample
        X and X_privileged (n_samples, n_features), variances 2 and 1; y (n_samples,) of 0 and 1.

    Raises
    ------
    ValueError
        If n_samples or n_features is below 1; ``TypeError`` if it is no integer.

    Notes
    -----
    a ~ N(0, I), x* ~ N(0, I), x = x* + e with e ~ N(0, I), y = [a'x* > 0].

    References
    ----------
    .. [1] Lopez-Paz et al. (2016). Unifying distillation and privileged information. ICLR. arXiv:1511.03643,
       "Numerical simulations", synthetic experiment 2.

    Examples
    --------
    >>> X, X_privileged, y = simulate_clean_features(1000, random_state=0)
    >>> X.shape, X_privileged.shape, round(float(np.var(X - X_privileged)), 2)
    ((1000, 50), (1000, 50), 1.0)
    """
    n_samples, n_features = _check_sizes(n_samples, n_features, fewest_features=1)
    a = _normal(random_state, "direction", n_features)
    X_privileged = _normal(random_state, "inputs", (n_samples, n_features))
    X = X_privileged + _normal(random_state, "input noise", (n_samples, n_features))
    return PrivilegedSample(X, X_privileged, _positive(X_privileged @ a))


def simulate_relevant_features(n_samples: int, *, n_features: int = 50, random_state: Any = None) -> PrivilegedSample:
    """Give the teacher the three columns that matter, the same for every row.

    The student has to find them among all the columns; soft targets of a teacher that knows them help.

    Parameters
    ----------
    n_samples : int
        Rows drawn, at least 1; draw training and test rows together.
    n_features : int, default=50
        Columns of X, at least 3.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        Seed of the direction, of the three columns and of the rows.

    Returns
    -------
    PrivilegedSample
        X (n_samples, n_features) standard normal, X_privileged (n_samples, 3) columns of X in their order there,
        y (n_samples,) of 0 and 1.

    Raises
    ------
    ValueError
        If n_samples is below 1 or n_features below 3; ``TypeError`` if it is no integer.

    Notes
    -----
    a ~ N(0, I), x ~ N(0, I), J three columns without replacement, x* = x_J, y = [a_J'x* > 0].

    References
    ----------
    .. [1] Lopez-Paz et al. (2016). Unifying distillation and privileged information. ICLR. arXiv:1511.03643,
       "Numerical simulations", synthetic experiment 3.

    Examples
    --------
    >>> X, X_privileged, y = simulate_relevant_features(1000, random_state=0)
    >>> X.shape, X_privileged.shape, bool(np.isin(X_privileged[0], X[0]).all())
    ((1000, 50), (1000, 3), True)
    """
    n_samples, n_features = _check_sizes(n_samples, n_features, fewest_features=3)
    a = _normal(random_state, "direction", n_features)
    X = _normal(random_state, "inputs", (n_samples, n_features))
    relevant = np.sort(stage_generator(random_state, "relevant columns").choice(n_features, 3, replace=False))
    X_privileged = X[:, relevant]
    return PrivilegedSample(X, X_privileged, _positive(X_privileged @ a[relevant]))


def simulate_sample_dependent_features(
    n_samples: int, *, n_features: int = 50, random_state: Any = None
) -> PrivilegedSample:
    """Give the teacher the three largest values of each row, wherever in the row they stand.

    The relevant columns change from row to row, which a linear student cannot follow: no gain is to be had.

    Parameters
    ----------
    n_samples : int
        Rows drawn, at least 1; draw training and test rows together, they share the threshold.
    n_features : int, default=50
        Columns of X, at least 3.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        Seed of the direction and of the rows.

    Returns
    -------
    PrivilegedSample
        X (n_samples, n_features) standard normal, X_privileged (n_samples, 3) the largest values of each row,
        descending, y (n_samples,) of 0 and 1, half of them 1.

    Raises
    ------
    ValueError
        If n_samples is below 1 or n_features below 3; ``TypeError`` if it is no integer.

    Notes
    -----
    a ~ N(0, I), x ~ N(0, I), x* = the three largest values of x, y = [a_1 x*_1 + a_2 x*_2 + a_3 x*_3 > m], m the median
    of that score *over the rows drawn*. Hence labels of a smaller sample with the same seed may differ near the
    threshold; X and X_privileged do not. Departs from [1], whose formula has the threshold 0 and a direction per row's
    columns: the three values are positive and large, so that most draws of `a` would give nearly one class only.

    References
    ----------
    .. [1] Lopez-Paz et al. (2016). Unifying distillation and privileged information. ICLR. arXiv:1511.03643,
       "Numerical simulations", synthetic experiment 4.

    Examples
    --------
    >>> X, X_privileged, y = simulate_sample_dependent_features(1000, random_state=0)
    >>> X.shape, X_privileged.shape, float(y.mean())
    ((1000, 50), (1000, 3), 0.5)
    """
    n_samples, n_features = _check_sizes(n_samples, n_features, fewest_features=3)
    a = _normal(random_state, "direction", n_features)
    X = _normal(random_state, "inputs", (n_samples, n_features))
    X_privileged = np.sort(X, axis=1)[:, :-4:-1].copy()
    score = X_privileged @ a[:3]
    return PrivilegedSample(X, X_privileged, _positive(score - np.median(score)))


def simulate_linear_chain(
    n_samples: int,
    *,
    n_features: int = 5,
    n_steps: int = 3,
    stationary: bool = True,
    markov_violation: float = 0.0,
    noise: float = 0.2,
    random_state: Any = None,
) -> PrivilegedSample:
    """Draw chains of Gaussian states whose first state is seen and whose later states only the teacher sees.

    The target lies one step after the last privileged state. Without a violation, regression backwards through the
    states (target on the last, that prediction on the one before, ...) is the efficient way to its rule in the first
    state; with one, that chain is biased and plain regression of the target on the first state is not.

    Parameters
    ----------
    n_samples : int
        Chains drawn, at least 1; draw training and test rows together.
    n_features : int, default=5
        Length of a state, at least 1.
    n_steps : int, default=3
        Privileged states, at least 1; the target lies n_steps + 1 steps after the first state.
    stationary : bool, default=True
        One transition for all steps, else a different one for each step.
    markov_violation : float, default=0.0
        In [0, 1]: weight of the state two steps back in each step and in the target, taken from the weight of the
        state before. At 0 the target is independent of X given the last privileged state.
    noise : float, default=0.2
        In [0, 1]: share of a state's and of the target's variance that is new in each step.
    random_state : int, numpy Generator, numpy RandomState or None, default=None
        Seed of the transitions and of the rows.

    Returns
    -------
    PrivilegedSample
        X (n_samples, n_features) the first states, X_privileged (n_samples, n_steps, n_features) the states after
        them, y (n_samples,) a real target. Mean 0 everywhere.

    Raises
    ------
    ValueError
        If a size is below 1, or markov_violation or noise lies outside [0, 1]; ``TypeError`` if a size is no integer.

    See Also
    --------
    linear_chain_coef : The best linear rule in X.

    Notes
    -----
    With v = markov_violation, r = sqrt(1 - noise), random orthogonal matrices Q_t, P_t and random unit vectors c, b:

    x_0 ~ N(0, I), x_1 = r Q_0 x_0 + e_0, x_{t+1} = r ((1 - v) Q_t x_t + v P_t x_{t-1}) + e_t, e_t ~ N(0, noise I),
    y = r ((1 - v) c'x_{n_steps} + v b'x_{n_steps-1}) + e, e ~ N(0, noise).

    Each transition has spectral radius r. At v = 0 every state is N(0, I), whether or not the transitions differ, and
    the target has variance 1. With `stationary=True` a rule that pools the steps is more efficient still than [1].
    The design departs from the simulations of [1] in using orthogonal transitions, which fix the variances.

    References
    ----------
    .. [1] Karlsson et al. (2022). Using time-series privileged information for provably efficient learning of
       prediction models. AISTATS. arXiv:2110.14993, algorithm 1.

    Examples
    --------
    >>> X, X_privileged, y = simulate_linear_chain(1000, random_state=0)
    >>> X.shape, X_privileged.shape, y.shape
    ((1000, 5), (1000, 3, 5), (1000,))
    """
    n_samples, n_features = _check_sizes(n_samples, n_features, fewest_features=1)
    chain = _draw_chain(n_features, n_steps, stationary, markov_violation, noise, random_state)
    X = _normal(random_state, "inputs", (n_samples, n_features))
    state_noise = _normal(random_state, "state noise", (n_samples, n_steps, n_features))
    states, mean = _run_chain(chain, X, np.sqrt(noise) * state_noise)
    y = mean + np.sqrt(noise) * _normal(random_state, "target noise", n_samples)
    return PrivilegedSample(X, states, y)


def linear_chain_coef(
    *,
    n_features: int = 5,
    n_steps: int = 3,
    stationary: bool = True,
    markov_violation: float = 0.0,
    noise: float = 0.2,
    random_state: int = 0,
) -> FloatArray:
    """Compute the best linear rule in the first state of a simulated chain.

    An estimator's coefficients can be compared with it instead of through noisy test targets.

    Parameters
    ----------
    n_features, n_steps, stationary, markov_violation, noise : int, int, bool, float, float
        As given to `simulate_linear_chain`.
    random_state : int, default=0
        As given to `simulate_linear_chain`; an integer, since only that draws the same transitions again.

    Returns
    -------
    ndarray of shape (n_features,)
        w with E[y | X] = X w; there is no intercept.

    Raises
    ------
    ValueError
        As `simulate_linear_chain`, or if random_state is negative; ``TypeError`` if it is no integer.

    Notes
    -----
    The noise-free chain started from each unit vector. At markov_violation = 0, r^(n_steps + 1) Q_0' ... Q_last' c.

    Examples
    --------
    >>> X, _, y = simulate_linear_chain(10_000, random_state=0)
    >>> round(float(np.corrcoef(X @ linear_chain_coef(random_state=0), y)[0, 1] ** 2), 1)  # r ** 8 = 0.41
    0.4
    """
    check_integer("random_state", random_state, minimum=0, step="Pass the integer the chain was simulated with.")
    n_features = _check_n_features(n_features, 1)
    chain = _draw_chain(n_features, n_steps, stationary, markov_violation, noise, random_state)
    return _run_chain(chain, np.eye(n_features), np.zeros((n_features, n_steps, n_features)))[1]


class _Chain(NamedTuple):
    """Weights of the state before and of the one before that, the shares r (1 - v) and r v multiplied in."""

    first: FloatArray  # (n_features, n_features), the step that has no state two steps back
    last: FloatArray  # (n_steps, n_features, n_features), step 0 unused
    before_last: FloatArray  # likewise
    target_last: FloatArray  # (n_features,)
    target_before_last: FloatArray


def _draw_chain(
    n_features: int, n_steps: int, stationary: bool, markov_violation: float, noise: float, random_state: Any
) -> _Chain:
    n_steps = check_integer("n_steps", n_steps, minimum=1, step="Use 1 for a single privileged state.")
    check_choice("stationary", stationary, (True, False), "Use True for one transition in all steps.")
    v = check_fraction("markov_violation", markov_violation, "Use 0.0 for a Markov chain.")
    r = np.sqrt(1 - check_fraction("noise", noise, "Use 0.2 for a fifth of new variance in each step."))
    n_drawn = 1 if stationary else n_steps
    last, before_last = (
        np.broadcast_to(_orthogonal(random_state, stage, n_drawn, n_features), (n_steps, n_features, n_features))
        for stage in ("transitions", "transitions over two steps")
    )
    c, b = (_unit(random_state, stage, n_features) for stage in ("target direction", "target direction over two steps"))
    return _Chain(r * last[0], r * (1 - v) * last, r * v * before_last, r * (1 - v) * c, r * v * b)


def _run_chain(chain: _Chain, X: FloatArray, state_noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the states after X and the mean of the target given them."""
    before_last, last = X, X @ chain.first.T + state_noise[:, 0]
    states = [last]
    for t in range(1, state_noise.shape[1]):
        following = last @ chain.last[t].T + before_last @ chain.before_last[t].T + state_noise[:, t]
        before_last, last = last, following
        states.append(last)
    return np.stack(states, axis=1), last @ chain.target_last + before_last @ chain.target_before_last


def _orthogonal(random_state: Any, stage: str, n_matrices: int, size: int) -> FloatArray:
    q, r = np.linalg.qr(_normal(random_state, stage, (n_matrices, size, size)))
    # QR leaves the signs to LAPACK; positive diagonals of r make the draw uniform over orthogonal matrices
    return q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]


def _unit(random_state: Any, stage: str, size: int) -> FloatArray:
    direction = _normal(random_state, stage, size)
    return direction / np.linalg.norm(direction)


def _normal(random_state: Any, stage: str, shape: int | tuple[int, ...]) -> FloatArray:
    return stage_generator(random_state, stage).standard_normal(shape)


def _positive(score: FloatArray) -> NDArray[np.int64]:
    return (score > 0).astype(np.int64)


def _check_sizes(n_samples: int, n_features: int, *, fewest_features: int) -> tuple[int, int]:
    n_samples = check_integer(
        "n_samples", n_samples, minimum=1, step="Use 10_200 for 200 training and 10,000 test rows."
    )
    return n_samples, _check_n_features(n_features, fewest_features)


def _check_n_features(n_features: int, fewest: int) -> int:
    return check_integer("n_features", n_features, minimum=fewest, step="Use 50 as in the published simulations.")
