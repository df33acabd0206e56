"""Anchored distillation: a student of the target alone, shrunk towards the rule that the middle implies.

What the middle says is a prior, not a constraint: where it is right a strong anchor keeps its low variance, where the
series is not Markov in what is seen a weak one lets the target decide.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin

from pitskd._estimator import Classifying
from pitskd._lessons import Classification, Regression, Task
from pitskd._validation import check_fraction, check_positive, check_strength, wrong
from pitskd.linear._accumulation import Accumulating
from pitskd.linear._anchors import SearchedAnchored, SingleAnchored
from pitskd.linear._evidence import Evidence, chain_links, dynamics_prior, shrunk
from pitskd.linear._states import Walk
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge

__all__ = [
    "AnchoredDistillationClassifier",
    "AnchoredDistillationClassifierCV",
    "AnchoredDistillationRegressor",
    "AnchoredDistillationRegressorCV",
]


class AnchoredDistillationRegressor(RegressorMixin, Accumulating, SingleAnchored):
    """Ridge regression shrunk towards the rule that the values between input and target imply, not towards zero.

    The chain of Karlsson et al. lowers variance and adds bias where the series is not Markov; plain ridge regression
    ignores the middle. This student keeps both: the strength of the anchor says how far it may leave the chain.

    Parameters
    ----------
    anchor : float, default=10.0
        L2 on the departure from the prior rule, in coefficients of standardised features; at least 0. Large: the prior
        with its intercept learnt anew. 0: least squares, the solution nearest to the prior where there are many.
    towards : "chain" or "dynamics", default="chain"
        The prior rule. "chain": the student of `ChainDistillationRegressor` at `imitation` and `penalty`. "dynamics":
        one ridge VAR of all channels, pooled over every transition inside the training windows, input and middle,
        rolled from the end of X to the last privileged step, and from there a ridge link to the target. It needs X
        (n, window, c) and all steps after it, (n, n_steps, c), channels corresponding by name, else by position.
    imitation : float, default=0.8
        Of the chain, in [0, 1]; dynamics have none.
    penalty : float, default=3.0
        L2 of the links and of the dynamics, at least 0, on half the summed squares over standardised features.
    states, static
        Of the chain, as in `ChainDistillationRegressor`.
    order : int, default=1
        Lags of the dynamics, at most the window; the link to the target sees as many rows.
    target_imitation : float, default=0.0
        Weight in [0, 1] of a teacher's soft targets in what the student learns, as in generalized distillation.
    teacher : estimator, default=None
        For `target_imitation`: any regressor, fitted to the standardised privileged rows, or a fitted one inside a
        ``FrozenEstimator``. None is `TunedRidge`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_targets, n_features_in_)
        Of the student, for features as given.
    intercept_ : ndarray of shape (n_targets,)
    prior_coef_, prior_intercept_ : ndarray
        Of the prior rule, likewise.
    student_ : object
        The linear rule; `predict` is its own.
    teacher_ : estimator or None
        Fitted teacher, a pipeline with its scaler; None at ``target_imitation=0``.
    statistics_ : object
        What the rows given to `partial_fit` add up to; not after `fit`.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, rows or an index that differ between `X` and `X_privileged`, channels that do not
        correspond, NaN in `X` or in part of a privileged row.

    Warns
    -----
    UserWarning
        If there are no privileged rows: the prior is then ridge regression at `penalty`.

    Notes
    -----
    With D the standard deviations of the features over the rows that the student learns from,

        minimise over w, b:  1/2 sum_i (y_i - x_i'w - b)^2 + anchor/2 ||D (w - w_prior)||^2,

    which is the ridge regression of what the prior leaves of the target: a generalized ridge estimator with non-zero
    target, or the posterior mean under a normal prior around the chain. The prior and the student are fitted to the
    same rows. [1]_ is the prior at ``imitation=1, penalty=0``.

    References
    ----------
    .. [1] Karlsson, Willbo, Hussain, Krishnan, Sontag, Johansson (2022). Using time-series privileged information for
       provably efficient learning of prediction models. AISTATS. arXiv:2110.14993, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import AnchoredDistillationRegressor, linear_chain_coef, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(50, random_state=0)
    >>> best = linear_chain_coef(random_state=0)
    >>> errors = [
    ...     np.linalg.norm(AnchoredDistillationRegressor(a).fit(X, y, X_privileged=Z).coef_ - best) for a in (0.0, 50.0)
    ... ]
    >>> bool(errors[1] < errors[0])
    True
    """

    def __init__(
        self,
        anchor: float = 10.0,
        towards: str = "chain",
        imitation: float = 0.8,
        penalty: float = 3.0,
        states: str = "steps",
        static: Any = None,
        order: int = 1,
        target_imitation: float = 0.0,
        teacher: Any = None,
    ) -> None:
        self.anchor = anchor
        self.towards = towards
        self.imitation = imitation
        self.penalty = penalty
        self.states = states
        self.static = static
        self.order = order
        self.target_imitation = target_imitation
        self.teacher = teacher

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def _is_taught(self) -> bool:
        return self.towards == "dynamics" or self.imitation > 0.0

    def _check_summable(self) -> None:
        check_fraction("imitation", self.imitation, "Use 1.0 to learn from the link after alone.")
        check_strength("anchor", self.anchor, "Use e.g. 10.0.", above=False)
        check_strength("penalty", self.penalty, "Use e.g. 3.0.", above=False)
        if check_fraction("target_imitation", self.target_imitation, "Use 0.0 for hard targets only.") > 0.0:
            expected, step = "0.0 where rows are added up", "Use fit with all rows in memory."
            raise wrong("target_imitation", expected, self.target_imitation, step)

    def _check_evidence(self, evidence: Evidence) -> None:
        columns = evidence.columns()
        Walk("steps", self.static).check_rows(columns)
        if evidence.privileged and self.towards == "dynamics":
            self._check_dynamics(columns)
        elif self._is_taught():
            Walk(self.states, self.static).check_rows(columns)

    def _learn(self, evidence: Evidence) -> None:
        if evidence.privileged and self.towards == "dynamics":
            prior = dynamics_prior(evidence, self.order, self.penalty)
        else:
            prior = chain_links(evidence, Walk(self.states, self.static), self.imitation, self.penalty)[0]
        self.teacher_, (self.prior_coef_, self.prior_intercept_) = None, prior
        self.coef_, self.intercept_ = shrunk(evidence, prior, self.anchor)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class AnchoredDistillationClassifier(Classifying, SingleAnchored):
    """Logistic regression shrunk towards the rule that the values between input and event imply, not towards zero.

    Parameters
    ----------
    anchor : float, default=10.0
        L2 on the departure from the prior rule, in coefficients of standardised features; above 0. Large: the prior
        with its intercept learnt anew.
    towards : "chain" or "dynamics", default="chain"
        The prior rule. "chain": the student of `ChainDistillationClassifier` at `imitation` and `penalty`. "dynamics":
        one ridge VAR of all channels, pooled over every transition inside the training windows, input and middle,
        rolled from the end of X to the last privileged step, and from there a logistic link to the label. It needs X
        (n, window, c) and all steps after it, (n, n_steps, c), channels corresponding by name, else by position.
    imitation : float, default=0.8
        Of the chain, in [0, 1]; dynamics have none.
    penalty : float, default=3.0
        L2 of the links and of the dynamics, above 0, on the summed loss over standardised features.
    states, static
        Of the chain, as in `ChainDistillationClassifier`.
    order : int, default=1
        Lags of the dynamics, at most the window; the link to the label sees as many rows.
    target_imitation : float, default=0.0
        Weight in [0, 1] of a teacher's soft targets in what the student learns, as in generalized distillation.
    teacher : estimator, default=None
        For `target_imitation`: any classifier with a decision function or probabilities, fitted to the standardised
        privileged rows, or a fitted one inside a ``FrozenEstimator``. None is `TunedLogisticRegression`.
    temperature : float, default=1.0
        Above 0. Divides the teacher's decision values, else its log-probabilities; larger is softer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_logits, n_features_in_)
        Of the student, for features as given; one logit for two classes, else one per class.
    intercept_ : ndarray of shape (n_logits,)
    prior_coef_, prior_intercept_ : ndarray
        Of the calibrated prior rule, likewise.
    student_ : object
        The linear rule; `predict_proba` and `decision_function` are its own.
    teacher_ : estimator or None
        Fitted teacher, a pipeline with its scaler; None at ``target_imitation=0``.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, labels of one class, rows or an index that differ between `X` and `X_privileged`,
        channels that do not correspond, NaN in `X` or in part of a privileged row.
    TypeError
        If the teacher has no decision values or probabilities.

    Warns
    -----
    UserWarning
        If there are no privileged rows: the prior is then logistic regression at `penalty`.

    Notes
    -----
    As `AnchoredDistillationRegressor`, with the summed cross-entropy in place of half the sum of squares. A rolled
    forecast is less spread than what it forecasts, and a chain of soft targets more cautious than the labels: before
    it anchors, the prior's score is calibrated by one slope and free intercepts, a logistic fit to the labelled rows.

    References
    ----------
    .. [1] Karlsson, Willbo, Hussain, Krishnan, Sontag, Johansson (2022). Using time-series privileged information for
       provably efficient learning of prediction models. AISTATS. arXiv:2110.14993, algorithm 1.

    Examples
    --------
    >>> from pitskd import AnchoredDistillationClassifier, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(100, random_state=0)
    >>> model = AnchoredDistillationClassifier().fit(X, y > 0, X_privileged=Z)
    >>> model.coef_.shape, model.predict_proba(X[:2]).shape
    ((1, 5), (2, 2))
    """

    def __init__(
        self,
        anchor: float = 10.0,
        towards: str = "chain",
        imitation: float = 0.8,
        penalty: float = 3.0,
        states: str = "steps",
        static: Any = None,
        order: int = 1,
        target_imitation: float = 0.0,
        teacher: Any = None,
        temperature: float = 1.0,
    ) -> None:
        self.anchor = anchor
        self.towards = towards
        self.imitation = imitation
        self.penalty = penalty
        self.states = states
        self.static = static
        self.order = order
        self.target_imitation = target_imitation
        self.teacher = teacher
        self.temperature = temperature

    def _task(self) -> Task:
        return Classification(TunedLogisticRegression())

    def _temperature(self) -> float:
        return check_positive("temperature", self.temperature, "Use 1.0 for the teacher's own probabilities.")


class AnchoredDistillationRegressorCV(RegressorMixin, SearchedAnchored):
    """Anchored distillation whose strength is chosen by held-out squared error.

    All settings of a fold share their factorisations; nothing is learnt from the rows that a fold holds out.

    Parameters
    ----------
    anchors : sequence of float, default=None
        Candidates for `anchor`, at least 0. None: 1e-4 .. 1e5, ten values.
    imitations : sequence of float, default=(0.8,)
        Candidates for the chain's `imitation`; not used towards dynamics.
    penalties : sequence of float, default=(3.0,)
        Candidates for the prior's `penalty`, at least 0.
    towards, states, static, order, target_imitation, teacher
        As in `AnchoredDistillationRegressor`.
    cv : int, splitter or iterable, default=5
        Folds for the choice, such as ``TimeSeriesSplit(gap=window + horizon - 1)``; an int gives contiguous folds of
        the labelled rows.

    Attributes
    ----------
    best_params_ : dict
        Keys imitation (NaN towards dynamics), penalty and anchor.
    best_loss_ : float
        Held-out mean squared error of the best student.
    cv_results_ : dict of ndarray
        One entry per candidate: imitation, penalty, anchor, mean_test_loss, split0_test_loss, ...
    best_estimator_ : AnchoredDistillationRegressor
        Fitted to all rows; `student_`, `teacher_`, `coef_`, `intercept_`, `prior_coef_` and `prior_intercept_` are its
        own.

    Examples
    --------
    >>> from pitskd import AnchoredDistillationRegressorCV, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(80, random_state=0)
    >>> model = AnchoredDistillationRegressorCV().fit(X, y, X_privileged=Z)
    >>> model.best_params_["anchor"] >= 10
    True
    """

    def __init__(
        self,
        anchors: Any = None,
        imitations: Any = (0.8,),
        penalties: Any = (3.0,),
        towards: str = "chain",
        states: str = "steps",
        static: Any = None,
        order: int = 1,
        target_imitation: float = 0.0,
        teacher: Any = None,
        cv: Any = 5,
    ) -> None:
        self.anchors = anchors
        self.imitations = imitations
        self.penalties = penalties
        self.towards = towards
        self.states = states
        self.static = static
        self.order = order
        self.target_imitation = target_imitation
        self.teacher = teacher
        self.cv = cv

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def _best(self, taught: bool) -> AnchoredDistillationRegressor:
        return AnchoredDistillationRegressor(**self._best_settings(taught))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class AnchoredDistillationClassifierCV(Classifying, SearchedAnchored):
    """Anchored distillation whose strength is chosen by held-out log-loss.

    All settings and folds are solved as one batch; nothing is learnt from the rows that a fold holds out.

    Parameters
    ----------
    anchors : sequence of float, default=None
        Candidates for `anchor`, above 0. None: 1e-4 .. 1e5, ten values.
    imitations : sequence of float, default=(0.8,)
        Candidates for the chain's `imitation`; not used towards dynamics.
    penalties : sequence of float, default=(3.0,)
        Candidates for the prior's `penalty`, above 0.
    towards, states, static, order, target_imitation, teacher, temperature
        As in `AnchoredDistillationClassifier`.
    cv : int, splitter or iterable, default=5
        Folds for the choice, such as ``TimeSeriesSplit(gap=window + horizon - 1)``; an int gives stratified folds of
        the labelled rows, without shuffling.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    best_params_ : dict
        Keys imitation (NaN towards dynamics), penalty and anchor.
    best_loss_ : float
        Held-out log-loss in nats of the best student.
    cv_results_ : dict of ndarray
        One entry per candidate: imitation, penalty, anchor, mean_test_loss, split0_test_loss, ...
    best_estimator_ : AnchoredDistillationClassifier
        Fitted to all rows; `student_`, `teacher_`, `coef_`, `intercept_`, `prior_coef_` and `prior_intercept_` are its
        own.

    Examples
    --------
    >>> from pitskd import AnchoredDistillationClassifierCV, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(80, random_state=0)
    >>> model = AnchoredDistillationClassifierCV(anchors=[1.0, 10.0, 100.0]).fit(X, y > 0, X_privileged=Z)
    >>> sorted(model.best_params_)
    ['anchor', 'imitation', 'penalty']
    """

    def __init__(
        self,
        anchors: Any = None,
        imitations: Any = (0.8,),
        penalties: Any = (3.0,),
        towards: str = "chain",
        states: str = "steps",
        static: Any = None,
        order: int = 1,
        target_imitation: float = 0.0,
        teacher: Any = None,
        temperature: float = 1.0,
        cv: Any = 5,
    ) -> None:
        self.anchors = anchors
        self.imitations = imitations
        self.penalties = penalties
        self.towards = towards
        self.states = states
        self.static = static
        self.order = order
        self.target_imitation = target_imitation
        self.teacher = teacher
        self.temperature = temperature
        self.cv = cv

    def _task(self) -> Task:
        return Classification(TunedLogisticRegression())

    def _temperature(self) -> float:
        return check_positive("temperature", self.temperature, "Use 1.0 for the teacher's own probabilities.")

    def _best(self, taught: bool) -> AnchoredDistillationClassifier:
        return AnchoredDistillationClassifier(**self._best_settings(taught), temperature=self.temperature)
