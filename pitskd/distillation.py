"""Generalized distillation: a teacher on privileged features gives soft targets to a student that runs without them.

Lopez-Paz, Bottou, Schoelkopf and Vapnik (2016). Any scikit-learn estimator can be teacher or student. The searches
choose imitation, temperature and penalty by held-out loss.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin

from pitskd._distiller import Classifier, Search, Student
from pitskd._lessons import Regression, Task
from pitskd._validation import check_positive, is_list, wrong
from pitskd.linear.tuned import TunedRidge

__all__ = [
    "GeneralizedDistillationClassifier",
    "GeneralizedDistillationClassifierCV",
    "GeneralizedDistillationRegressor",
    "GeneralizedDistillationRegressorCV",
]


class GeneralizedDistillationRegressor(RegressorMixin, Student):
    """Regression student that learns from targets and from a teacher on privileged features.

    The student minimises ``(1 - imitation) loss(y, f(x)) + imitation loss(s, f(x))`` with the teacher's predictions s.
    It runs without the privileged part: `predict` has no such argument.

    Parameters
    ----------
    teacher : estimator, default=None
        Any regressor; None is `TunedRidge`. A fitted one is used as it is with ``cross_fit="prefit"``, or inside a
        ``FrozenEstimator``; it then sees unscaled features.
    student : estimator, default=None
        Any regressor; None is `TunedRidge`.
    imitation : float, default=0.5
        Weight of the soft targets in [0, 1], lambda in [1]_. At 0 the fit is ``clone(student).fit(X, y)``.
    teacher_sees : "privileged" or "both", default="privileged"
        Whether the teacher sees `X_privileged` alone or ``[X, X_privileged]``.
    cross_fit : int, splitter, "prefit" or None, default=None
        Folds of the rows with target and privileged part, whose soft targets come from a teacher that has not seen
        them; None: one teacher, in-sample. Rows in no test fold keep their hard targets. "prefit" uses the teacher as
        it is; inside a ``GridSearchCV``, which clones, wrap it in a ``FrozenEstimator`` instead.
    privileged_transformer : transformer, "passthrough" or None, default=None
        Scales what the teacher sees, inside `fit`; None is ``StandardScaler``.

    Attributes
    ----------
    teacher_ : estimator or None
        Fitted teacher, a pipeline with its scaler; None where nothing was taught.
    student_ : estimator
        Fitted student.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, rows or an index that differ between `X` and `X_privileged`, NaN where not allowed.
    TypeError
        If the student can take no weights where the fit needs them.
    NotFittedError
        If a teacher that is to be used as it is has not been fitted.

    Notes
    -----
    For squared error the mix of losses equals, up to a constant, the loss on the mix of targets, which is what the
    student gets; for other losses the mix of targets is a definition. A row without label weighs `imitation`, a row
    without privileged part 1. An unpenalised least-squares teacher on both, in-sample, cannot change a least-squares or
    ridge student and warns.

    References
    ----------
    .. [1] Lopez-Paz, Bottou, Schoelkopf, Vapnik (2016). Unifying distillation and privileged information. ICLR.
       arXiv:1511.03643, section 4, eq. (6).

    Examples
    --------
    >>> import numpy as np
    >>> from pitskd import GeneralizedDistillationRegressor, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(200, random_state=0)
    >>> model = GeneralizedDistillationRegressor().fit(X[:100], y[:100], X_privileged=Z[:100])
    >>> model.predict(X[100:]).shape
    (100,)
    """

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        imitation: float = 0.5,
        teacher_sees: str = "privileged",
        cross_fit: Any = None,
        privileged_transformer: Any = None,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.imitation = imitation
        self.teacher_sees = teacher_sees
        self.cross_fit = cross_fit
        self.privileged_transformer = privileged_transformer

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class GeneralizedDistillationClassifier(Classifier, Student):
    """Classification student that learns from labels and from a teacher on privileged features.

    The student minimises ``(1 - imitation) loss(y, f(x)) + imitation loss(s, f(x))`` with soft targets
    ``s = sigma(f_t / temperature)``. It runs without the privileged part: `predict` has no such argument.

    Parameters
    ----------
    teacher : estimator, default=None
        Any classifier with a decision function (one value per class) or probabilities; None is
        `TunedLogisticRegression`. A fitted one is used as it is with ``cross_fit="prefit"``, or inside a
        ``FrozenEstimator``; it then sees unscaled features.
    student : estimator, default=None
        Any classifier whose `fit` takes `soft_targets` or `sample_weight`; None is `TunedLogisticRegression`.
    imitation : float, default=0.5
        Weight of the soft targets in [0, 1], lambda in [1]_. At 0 the fit is ``clone(student).fit(X, y)``.
    temperature : float, default=1.0
        Above 0. Divides the teacher's decision values, else its log-probabilities; larger is softer. The student is not
        tempered.
    teacher_sees : "privileged" or "both", default="privileged"
        Whether the teacher sees `X_privileged` alone or ``[X, X_privileged]``.
    cross_fit : int, splitter, "prefit" or None, default=None
        Folds of the rows with target and privileged part, whose soft targets come from a teacher that has not seen
        them; None: one teacher, in-sample. Rows in no test fold keep their hard targets. "prefit" uses the teacher as
        it is; inside a ``GridSearchCV``, which clones, wrap it in a ``FrozenEstimator`` instead.
    privileged_transformer : transformer, "passthrough" or None, default=None
        Scales what the teacher sees, inside `fit`; None is ``StandardScaler``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    teacher_ : estimator or None
        Fitted teacher, a pipeline with its scaler; None where nothing was taught.
    student_ : estimator
        Fitted student.
    n_features_in_ : int
        ``window * n_channels`` for windows.
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        For values out of range, labels of one class, rows or an index that differ between `X` and `X_privileged`, NaN
        where not allowed.
    TypeError
        If the student takes neither soft targets nor weights, or the teacher has no decision values or probabilities.
    NotFittedError
        If a teacher that is to be used as it is has not been fitted.

    Notes
    -----
    A student that takes no soft targets gets every row once per class, weighted by the soft target: the same
    cross-entropy. A row without label weighs `imitation`, a row without privileged part 1.

    References
    ----------
    .. [1] Lopez-Paz, Bottou, Schoelkopf, Vapnik (2016). Unifying distillation and privileged information. ICLR.
       arXiv:1511.03643, section 4, eq. (6).

    Examples
    --------
    >>> from pitskd import GeneralizedDistillationClassifier, simulate_clean_labels
    >>> X, Z, y = simulate_clean_labels(1200, random_state=0)
    >>> model = GeneralizedDistillationClassifier(imitation=1.0).fit(X[:200], y[:200], X_privileged=Z[:200])
    >>> plain = GeneralizedDistillationClassifier(imitation=0.0).fit(X[:200], y[:200])
    >>> bool(model.score(X[200:], y[200:]) > plain.score(X[200:], y[200:]))
    True
    """

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        imitation: float = 0.5,
        temperature: float = 1.0,
        teacher_sees: str = "privileged",
        cross_fit: Any = None,
        privileged_transformer: Any = None,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.imitation = imitation
        self.temperature = temperature
        self.teacher_sees = teacher_sees
        self.cross_fit = cross_fit
        self.privileged_transformer = privileged_transformer

    def _check_temperature(self) -> float:
        return check_positive("temperature", self.temperature, "Use 1.0 for the teacher's own probabilities.")


class GeneralizedDistillationRegressorCV(RegressorMixin, Search):
    """Generalized distillation whose imitation and penalty are chosen by held-out squared error.

    Imitation 0, the student without a teacher, is always among the candidates. The teacher is fitted once per fold, and
    with the default student all candidates of a fold share one factorisation.

    Parameters
    ----------
    teacher, student, teacher_sees, cross_fit, privileged_transformer
        As in `GeneralizedDistillationRegressor`.
    imitations : sequence of float, default=(0.0, 0.25, 0.5, 0.75, 1.0)
        Candidates in [0, 1].
    penalties : sequence of float, default=None
        Candidates for the student's penalty, set as its ``alpha`` or ``1 / C``. None: the nine of `TunedRidge` for the
        default student, no search for others.
    cv : int, splitter or iterable, default=5
        Folds for the choice, such as ``TimeSeriesSplit(gap=window + horizon - 1)``; an int gives contiguous folds of
        the labelled rows.

    Attributes
    ----------
    best_params_ : dict
        Keys imitation, temperature (1) and penalty (NaN where there was no search).
    best_loss_, teacher_loss_ : float
        Held-out mean squared error of the best student, and of the teacher on rows with a privileged part (NaN without
        a teacher).
    cv_results_ : dict of ndarray
        One entry per candidate: imitation, temperature, penalty, mean_test_loss, split0_test_loss, ...
    best_estimator_ : GeneralizedDistillationRegressor
        Fitted to all rows; `student_` and `teacher_` are its own.

    Examples
    --------
    >>> from sklearn.model_selection import TimeSeriesSplit
    >>> from pitskd import GeneralizedDistillationRegressorCV, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(100, random_state=0)
    >>> model = GeneralizedDistillationRegressorCV(cv=TimeSeriesSplit(3, gap=2)).fit(X, y, X_privileged=Z)
    >>> sorted(model.best_params_)
    ['imitation', 'penalty', 'temperature']
    """

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        imitations: Any = (0.0, 0.25, 0.5, 0.75, 1.0),
        penalties: Any = None,
        teacher_sees: str = "privileged",
        cross_fit: Any = None,
        privileged_transformer: Any = None,
        cv: Any = 5,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.imitations = imitations
        self.penalties = penalties
        self.teacher_sees = teacher_sees
        self.cross_fit = cross_fit
        self.privileged_transformer = privileged_transformer
        self.cv = cv

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _best(self, task: Task) -> GeneralizedDistillationRegressor:
        return GeneralizedDistillationRegressor(**self._best_settings(task))


class GeneralizedDistillationClassifierCV(Classifier, Search):
    """Generalized distillation whose imitation, temperature and penalty are chosen by held-out log-loss.

    Imitation 0, the student without a teacher, is always among the candidates and counted once. The teacher is fitted
    once per fold, and with the default student all candidates of a fold are solved as one batch.

    Parameters
    ----------
    teacher, student, teacher_sees, cross_fit, privileged_transformer
        As in `GeneralizedDistillationClassifier`; students other than the default need probabilities.
    imitations : sequence of float, default=(0.0, 0.25, 0.5, 0.75, 1.0)
        Candidates in [0, 1].
    temperatures : sequence of float, default=(1.0, 2.0, 5.0)
        Candidates above 0.
    penalties : sequence of float, default=None
        Candidates for the student's penalty, set as its ``alpha`` or ``1 / C``. None: the nine of
        `TunedLogisticRegression` for the default student, no search for others.
    cv : int, splitter or iterable, default=5
        Folds for the choice, such as ``TimeSeriesSplit(gap=window + horizon - 1)``; an int gives stratified folds of
        the labelled rows, without shuffling.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    best_params_ : dict
        Keys imitation, temperature and penalty (NaN where there was no search).
    best_loss_, teacher_loss_ : float
        Held-out log-loss in nats of the best student, and of the teacher at temperature 1 on rows with a privileged
        part (NaN without a teacher).
    cv_results_ : dict of ndarray
        One entry per candidate: imitation, temperature, penalty, mean_test_loss, split0_test_loss, ...
    best_estimator_ : GeneralizedDistillationClassifier
        Fitted to all rows; `student_` and `teacher_` are its own.

    Examples
    --------
    >>> from pitskd import GeneralizedDistillationClassifierCV, simulate_clean_labels
    >>> X, Z, y = simulate_clean_labels(200, random_state=0)
    >>> model = GeneralizedDistillationClassifierCV(temperatures=[1.0]).fit(X, y, X_privileged=Z)
    >>> model.best_params_["imitation"] > 0
    True
    """

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        imitations: Any = (0.0, 0.25, 0.5, 0.75, 1.0),
        temperatures: Any = (1.0, 2.0, 5.0),
        penalties: Any = None,
        teacher_sees: str = "privileged",
        cross_fit: Any = None,
        privileged_transformer: Any = None,
        cv: Any = 5,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.imitations = imitations
        self.temperatures = temperatures
        self.penalties = penalties
        self.teacher_sees = teacher_sees
        self.cross_fit = cross_fit
        self.privileged_transformer = privileged_transformer
        self.cv = cv

    def _temperature_candidates(self) -> list[float]:
        listed = list(self.temperatures) if is_list(self.temperatures) else [self.temperatures]
        if not listed:
            raise wrong("temperatures", "at least one number above 0", self.temperatures, "Use (1.0,).")
        advice = "Use e.g. (1.0, 2.0, 5.0)."
        return list(dict.fromkeys(check_positive("temperatures", value, advice) for value in listed))

    def _best(self, task: Task) -> GeneralizedDistillationClassifier:
        return GeneralizedDistillationClassifier(
            **self._best_settings(task), temperature=self.best_params_["temperature"]
        )
