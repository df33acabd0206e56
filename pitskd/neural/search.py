"""Searches over neural students: imitation, temperature and learning rate by held-out loss, a fold as one network."""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin

from pitskd._estimator import Classifying
from pitskd._lessons import Regression, Task
from pitskd.linear.tuned import TunedLogisticRegression, TunedRidge
from pitskd.neural._estimator import NeuralSearch
from pitskd.neural._teachers import OpenClassification
from pitskd.neural.distillation import NeuralDistillationClassifier, NeuralDistillationRegressor

__all__ = ["NeuralDistillationClassifierCV", "NeuralDistillationRegressorCV"]


class NeuralDistillationRegressorCV(RegressorMixin, NeuralSearch):
    """The best of many neural students that forecast, by held-out loss; those of a fold train as one network.

    Parameters
    ----------
    estimator : NeuralDistillationRegressor or None, default=None
        Whose other settings hold. None: the defaults.
    imitations : sequence of float, default=(0.0, 0.25, 0.5, 0.75, 1.0)
        Candidates in [0, 1].
    learning_rates : sequence of float or None, default=None
        Candidates. None: that of `estimator`.
    cv : int, splitter or None, default=None
        Folds. None: twice five contiguous folds without the windows that overlap the rows held out; an int: as in
        scikit-learn, which does not look for overlap.

    Attributes
    ----------
    best_params_ : dict
    best_loss_ : float
        Mean squared error on held-out rows.
    cv_results_ : dict of ndarray
        Settings, mean_test_loss, and split0_test_loss and so on.
    best_estimator_ : NeuralDistillationRegressor
        Fitted to all rows.
    student_, teacher_ : object
        Those of `best_estimator_`.
    n_features_in_ : int
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        As `NeuralDistillationRegressor`, before any training.

    Notes
    -----
    On a tie the candidate listed first wins: the smaller learning rate as given, and the smaller imitation.

    Examples
    --------
    >>> from pitskd import NeuralDistillationRegressor, NeuralDistillationRegressorCV, simulate_linear_chain
    >>> X, Z, y = simulate_linear_chain(100, random_state=0)
    >>> short = NeuralDistillationRegressor(max_epochs=5, random_state=0)
    >>> search = NeuralDistillationRegressorCV(short, imitations=(0.0, 1.0), cv=3).fit(X, y, X_privileged=Z)
    >>> search.cv_results_["mean_test_loss"].shape
    (2,)
    """

    def __init__(
        self,
        estimator: Any = None,
        imitations: Any = (0.0, 0.25, 0.5, 0.75, 1.0),
        learning_rates: Any = None,
        cv: Any = None,
    ) -> None:
        self.estimator = estimator
        self.imitations = imitations
        self.learning_rates = learning_rates
        self.cv = cv

    def _task(self) -> Task:
        return Regression(TunedRidge())

    def _default(self) -> NeuralDistillationRegressor:
        return NeuralDistillationRegressor()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class NeuralDistillationClassifierCV(Classifying, NeuralSearch):
    """The best of many neural students that tell classes, by held-out log-loss; those of a fold train as one network.

    Parameters
    ----------
    estimator : NeuralDistillationClassifier or None, default=None
        Whose other settings hold. None: the defaults.
    imitations : sequence of float, default=(0.0, 0.25, 0.5, 0.75, 1.0)
        Candidates in [0, 1].
    temperatures : sequence of float, default=(1.0, 2.0, 5.0)
        Candidates above 0; at imitation 0 there is no temperature, and it is tried once.
    learning_rates : sequence of float or None, default=None
        Candidates. None: that of `estimator`.
    cv : int, splitter or None, default=None
        Folds. None: twice five folds, stratified, or contiguous without the windows that overlap the rows held out; an
        int: as in scikit-learn, which does not look for overlap.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    best_params_ : dict
    best_loss_ : float
        Log-loss on held-out rows.
    cv_results_ : dict of ndarray
        Settings, mean_test_loss, and split0_test_loss and so on.
    best_estimator_ : NeuralDistillationClassifier
        Fitted to all rows.
    student_, teacher_ : object
        Those of `best_estimator_`.
    n_features_in_ : int
    feature_names_in_, privileged_feature_names_in_ : ndarray of str
        Only for frames.

    Raises
    ------
    ValueError
        As `NeuralDistillationClassifier`, before any training.

    Examples
    --------
    >>> from pitskd import NeuralDistillationClassifier, NeuralDistillationClassifierCV, simulate_clean_labels
    >>> X, Z, y = simulate_clean_labels(100, random_state=0)
    >>> short = NeuralDistillationClassifier(max_epochs=5, random_state=0)
    >>> search = NeuralDistillationClassifierCV(short, imitations=(0.0, 1.0), temperatures=(1.0, 4.0), cv=3)
    >>> search.fit(X, y, X_privileged=Z).cv_results_["temperature"]
    array([1., 1., 4.])
    """

    def __init__(
        self,
        estimator: Any = None,
        imitations: Any = (0.0, 0.25, 0.5, 0.75, 1.0),
        temperatures: Any = (1.0, 2.0, 5.0),
        learning_rates: Any = None,
        cv: Any = None,
    ) -> None:
        self.estimator = estimator
        self.imitations = imitations
        self.temperatures = temperatures
        self.learning_rates = learning_rates
        self.cv = cv

    def _task(self) -> Task:
        return OpenClassification(TunedLogisticRegression(), self._model().classes)

    def _default(self) -> NeuralDistillationClassifier:
        return NeuralDistillationClassifier()

    def _temperatures(self, imitation: float) -> list[dict[str, float]]:
        listed = self._listed("temperatures", self.temperatures)
        return [{"temperature": value} for value in (listed if imitation else [1.0])]
