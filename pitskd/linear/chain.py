"""Chain distillation: regress backwards through the middle times, each link taught by the link after it.

Time-series privileged information as stations on the way from input to target: Karlsson et al. (2022) with a penalty
in every link and hard targets mixed into every target.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin

from pitskd._estimator import Classifying
from pitskd._lessons import Classification, Regression, Task
from pitskd._validation import check_fraction, check_strength, wrong
from pitskd.linear._accumulation import Accumulating
from pitskd.linear._evidence import Evidence, RegressionRule, chain_links
from pitskd.linear._links import SearchedChain, SingleChain
from pitskd.linear._states import Walk
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__ = [
    "ChainDistillationClassifier",
    "ChainDistillationClassifierCV",
    "ChainDistillationRegressor",
    "ChainDistillationRegressorCV",
]


class ChainDistillationRegressor(RegressorMixin, Accumulating, SingleChain):
    """Regression student that learns backwards through the values between input and target.

    The last link learns the target from the last privileged step; every link before it learns a mix of the target and
    of what the next link says of the next step; the first is the student, which sees the input alone. The middle steps
    are so used as stations on the way from input to target, which lowers the variance of a long-horizon rule.

    Parameters
    ----------
    imitation : float, default=0.9
        Weight of the next link's prediction in every target, in [0, 1]. At 1 with ``penalty=0`` the student is the
        product of least-squares links of [1]_ (LuPTS), at 0 it is the link fitted to X and y.
    penalty : float, default=1.0
        L2 of every default link, at least 0, on half the summed squares over standardised features; with `stationary`
        also that of the pooled dynamics.
    stationary : bool, default=False
        Whether one map from each state to the next is pooled over all transitions, from X to the last step, and links
        are asked at its forecast of the next state rather than at the state observed. States must have equal columns.
    link : estimator, default=None
        Any regressor, cloned for every link; None is ridge regression on standardised features.
    states : "steps" or "windows", default="steps"
        What a link sees: one privileged step, or the input window shifted through the middle, which needs X of shape
        (n, window, c) and all steps after it, (n, n_steps, c), channels corresponding by name, else by position.
    static : sequence of int or str, default=None
        Positions or names of columns of X that do not change with time and that each privileged step is given, too.

    Attributes
    ----------
    links_ : list of estimator
        Fitted links in order of time, the student first.
    student_ : estimator
        ``links_[0]``.
    teacher_ : estimator or None
        ``links_[1]``; None where nothing was taught.
    coef_ : ndarray of shape (n_targets, n_features_in_)
        Of the student for features as given, where its link has any.
    intercept_ : ndarray of shape (n_targets,)
    statistics_ : object
        What the rows given to `partial_fit` add up to; not after `fit`. Such rows leave `links_` that are plain rules.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, rows or an index that differ between `X` and `X_privileged`, states that do not fit
        each other, NaN where not allowed.
    TypeError
        If the link can take no weights where the fit needs them.

    Warns
    -----
    UserWarning
        If there are no privileged rows: the student is then the plain link. If ``penalty=0`` lets a link reproduce its
        targets (as many columns as rows): the chain is then cut there.

    Notes
    -----
    With states x_0 = X, x_1 .. x_S and links g_t,

        g_S ~ y on x_S,    g_t ~ (1 - imitation) y + imitation g_{t+1}(x_{t+1}) on x_t,    student = g_0.

    This is bootstrapping as in temporal-difference learning [2]_: the target y is the Monte-Carlo return of an episode
    that pays once, at its end, and g_{t+1}(x_{t+1}) is the value of the next state. ``imitation=0`` is TD(1), which
    learns from returns alone, ``imitation=1`` is TD(0), which learns from the next value alone; between them TD(lambda)
    mixes the returns over all numbers of steps, the chain only these two. Here the horizon is finite and known, so one
    backward pass over all rows reaches exactly what temporal differences approach by iteration: no step size, no
    discount, a value function of its own for every time. As there, bootstrapping lowers the variance, and is biased
    where a state does not tell all of the past that matters to the target (the series is not Markov in it), which is
    what an imitation below 1 is for. [1]_ has neither the mix nor a penalty. A link with as many columns as
    rows and no penalty reproduces its targets, and the chain teaches nothing; keep a penalty.

    References
    ----------
    .. [1] Karlsson, Willbo, Hussain, Krishnan, Sontag, Johansson (2022). Using time-series privileged information for
       provably efficient learning of prediction models. AISTATS. arXiv:2110.14993, algorithm 1.
    .. [2] Sutton (1988). Learning to predict by the methods of temporal differences. Machine Learning 3, 9-44.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import ChainDistillationRegressor, linear_chain_coef, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(50, random_state=0)
    >>> best = linear_chain_coef(random_state=0)
    >>> chain = ChainDistillationRegressor(imitation=1.0).fit(X, y, X_privileged=Z)
    >>> plain = ChainDistillationRegressor(imitation=0.0).fit(X, y)
    >>> bool(np.linalg.norm(chain.coef_ - best) < np.linalg.norm(plain.coef_ - best))
    True
    """

    def __init__(
        self,
        imitation: float = 0.9,
        penalty: float = 1.0,
        stationary: bool = False,
        link: Any = None,
        states: str = "steps",
        static: Any = None,
    ) -> None:
        self.imitation = imitation
        self.penalty = penalty
        self.stationary = stationary
        self.link = link
        self.states = states
        self.static = static

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def _is_taught(self) -> bool:
        return self.imitation > 0.0

    def _check_summable(self) -> None:
        check_fraction("imitation", self.imitation, "Use 1.0 to learn from the link after alone.")
        check_strength("penalty", self.penalty, "Use e.g. 1.0.", above=False)
        if self.link is not None:
            raise wrong("link", "None where rows are added up", self.link, "Use fit with all rows in memory.")

    def _check_evidence(self, evidence: Evidence) -> None:
        columns = evidence.columns()
        Walk(static=self.static).check_rows(columns)
        if self._is_taught():
            self._walk().check_rows(columns)

    def _learn(self, evidence: Evidence) -> None:
        links = chain_links(evidence, self._walk(), self.imitation, self.penalty)
        self.links_ = [RegressionRule(*link, evidence.one_target) for link in links]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class ChainDistillationClassifier(Classifying, SingleChain):
    """Classification student that learns backwards through the values between input and event.

    The last link learns the label from the last privileged step; every link before it learns a mix of the label and of
    the probabilities that the next link gives the next step; the first is the student, which sees the input alone.

    Parameters
    ----------
    imitation : float, default=0.9
        Weight of the next link's probabilities in every target, in [0, 1]. At 0 the student is the link fitted to X
        and y.
    penalty : float, default=1.0
        L2 of every default link, above 0, on the summed cross-entropy over standardised features; with `stationary`
        also that of the pooled dynamics.
    stationary : bool, default=False
        Whether one map from each state to the next is pooled over all transitions, from X to the last step, and links
        are asked at its forecast of the next state rather than at the state observed. States must have equal columns.
    link : estimator, default=None
        Any classifier with a decision function or probabilities whose `fit` takes `sample_weight` or `soft_targets`,
        cloned for every link; None is L2-logistic regression on standardised features.
    states : "steps" or "windows", default="steps"
        What a link sees: one privileged step, or the input window shifted through the middle, which needs X of shape
        (n, window, c) and all steps after it, (n, n_steps, c), channels corresponding by name, else by position.
    static : sequence of int or str, default=None
        Positions or names of columns of X that do not change with time and that each privileged step is given, too.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    links_ : list of estimator
        Fitted links in order of time, the student first.
    student_ : estimator
        ``links_[0]``.
    teacher_ : estimator or None
        ``links_[1]``; None where nothing was taught.
    coef_ : ndarray of shape (n_logits, n_features_in_)
        Of the student for features as given, where its link has any.
    intercept_ : ndarray of shape (n_logits,)
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, labels of one class, rows or an index that differ between `X` and `X_privileged`,
        states that do not fit each other, NaN where not allowed.
    TypeError
        If the link takes neither soft targets nor weights, or has neither decision values nor probabilities.

    Warns
    -----
    UserWarning
        If there are no privileged rows: the student is then the plain link.

    Notes
    -----
    As `ChainDistillationRegressor`, whose notes tell what this shares with temporal-difference learning, for
    cross-entropy with soft targets. The published method [1]_ is for regression; with logistic links their product has
    no closed form, and neither end of `imitation` is published.

    References
    ----------
    .. [1] Karlsson, Willbo, Hussain, Krishnan, Sontag, Johansson (2022). Using time-series privileged information for
       provably efficient learning of prediction models. AISTATS. arXiv:2110.14993, algorithm 1.

    Examples
    --------
    >>> from pitskd import ChainDistillationClassifier, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(100, random_state=0)
    >>> model = ChainDistillationClassifier().fit(X, y > 0, X_privileged=Z)
    >>> len(model.links_), model.predict_proba(X[:2]).shape
    (4, (2, 2))
    """

    def __init__(
        self,
        imitation: float = 0.9,
        penalty: float = 1.0,
        stationary: bool = False,
        link: Any = None,
        states: str = "steps",
        static: Any = None,
    ) -> None:
        self.imitation = imitation
        self.penalty = penalty
        self.stationary = stationary
        self.link = link
        self.states = states
        self.static = static

    def _task(self) -> Task:
        return Classification(TunedLogisticRegression())


class ChainDistillationRegressorCV(RegressorMixin, SearchedChain):
    """Chain distillation whose imitation and penalty are chosen by held-out squared error.

    Imitation 0, the link without a chain, is always among the candidates. Chains of default links share their
    factorisations over all imitations, penalties and folds.

    Parameters
    ----------
    imitations : sequence of float, default=(0.0, 0.5, 0.8, 0.9, 1.0)
        Candidates in [0, 1].
    penalties : sequence of float, default=None
        Candidates for `penalty`, at least 0. None: 1e-4 .. 1e4, nine values; for links that are given, whose own
        penalties are left alone, 1.0 if `stationary`, else none.
    stationary, link, states, static
        As in `ChainDistillationRegressor`.
    cv : int, splitter or iterable, default=5
        Folds for the choice, such as ``TimeSeriesSplit(gap=window + horizon - 1)``; an int gives contiguous folds of
        the labelled rows.

    Attributes
    ----------
    best_params_ : dict
        Keys imitation and penalty (NaN where there was no search).
    best_loss_ : float
        Held-out mean squared error of the best chain.
    cv_results_ : dict of ndarray
        One entry per candidate: imitation, penalty, mean_test_loss, split0_test_loss, ...
    best_estimator_ : ChainDistillationRegressor
        Fitted to all rows; `links_`, `student_`, `teacher_`, `coef_` and `intercept_` are its own.

    Examples
    --------
    >>> from sklearn.model_selection import TimeSeriesSplit
    >>> from pitskd import ChainDistillationRegressorCV, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(60, random_state=0)
    >>> model = ChainDistillationRegressorCV(cv=TimeSeriesSplit(4, gap=4)).fit(X, y, X_privileged=Z)
    >>> model.best_params_["imitation"] > 0
    True
    """

    def __init__(
        self,
        imitations: Any = (0.0, 0.5, 0.8, 0.9, 1.0),
        penalties: Any = None,
        stationary: bool = False,
        link: Any = None,
        states: str = "steps",
        static: Any = None,
        cv: Any = 5,
    ) -> None:
        self.imitations = imitations
        self.penalties = penalties
        self.stationary = stationary
        self.link = link
        self.states = states
        self.static = static
        self.cv = cv

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def _best(self, taught: bool) -> ChainDistillationRegressor:
        return ChainDistillationRegressor(**self._best_settings())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class ChainDistillationClassifierCV(Classifying, SearchedChain):
    """Chain distillation whose imitation and penalty are chosen by held-out log-loss.

    Imitation 0, the link without a chain, is always among the candidates. Default links are solved for all imitations
    and folds as one batch.

    Parameters
    ----------
    imitations : sequence of float, default=(0.0, 0.5, 0.8, 0.9, 1.0)
        Candidates in [0, 1].
    penalties : sequence of float, default=None
        Candidates for `penalty`, above 0. None: 1e-4 .. 1e4, nine values; for links that are given, whose own
        penalties are left alone, 1.0 if `stationary`, else none.
    stationary, link, states, static
        As in `ChainDistillationClassifier`.
    cv : int, splitter or iterable, default=5
        Folds for the choice, such as ``TimeSeriesSplit(gap=window + horizon - 1)``; an int gives stratified folds of
        the labelled rows, without shuffling.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    best_params_ : dict
        Keys imitation and penalty (NaN where there was no search).
    best_loss_ : float
        Held-out log-loss in nats of the best chain.
    cv_results_ : dict of ndarray
        One entry per candidate: imitation, penalty, mean_test_loss, split0_test_loss, ...
    best_estimator_ : ChainDistillationClassifier
        Fitted to all rows; `links_`, `student_`, `teacher_`, `coef_` and `intercept_` are its own.

    Examples
    --------
    >>> from pitskd import ChainDistillationClassifierCV, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(60, random_state=0)
    >>> model = ChainDistillationClassifierCV(penalties=[0.1, 1.0, 10.0]).fit(X, y > 0, X_privileged=Z)
    >>> sorted(model.best_params_)
    ['imitation', 'penalty']
    """

    def __init__(
        self,
        imitations: Any = (0.0, 0.5, 0.8, 0.9, 1.0),
        penalties: Any = None,
        stationary: bool = False,
        link: Any = None,
        states: str = "steps",
        static: Any = None,
        cv: Any = 5,
    ) -> None:
        self.imitations = imitations
        self.penalties = penalties
        self.stationary = stationary
        self.link = link
        self.states = states
        self.static = static
        self.cv = cv

    def _task(self) -> Task:
        return Classification(TunedLogisticRegression())

    def _best(self, taught: bool) -> ChainDistillationClassifier:
        return ChainDistillationClassifier(**self._best_settings())
