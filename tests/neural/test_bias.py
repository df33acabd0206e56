"""One bias per class: least log-loss, known frequencies, and what scikit-learn asks of an estimator."""

import pickle

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pitskd.neural.bias import ClassBiasCorrection


class Table(ClassifierMixin, BaseEstimator):
    """A classifier whose probabilities are its inputs."""

    def __init__(self, classes=(0, 1, 2)):
        self.classes = classes

    def fit(self, X, y=None):
        self.classes_ = np.array(self.classes)
        return self

    def predict_proba(self, X):
        return np.asarray(X)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def probabilities(n_rows=300, n_classes=3, seed=0):
    logits = np.random.default_rng(seed).normal(size=(n_rows, n_classes)) * 2
    logits[:, -1] -= 4.0  # a class it hardly ever says
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)


def labels(n_rows=300, seed=1):
    return np.random.default_rng(seed).choice(3, size=n_rows, p=[0.3, 0.3, 0.4])


TABLE = Table().fit(None)
P, Y = probabilities(), labels()


def test_biases_have_the_least_log_loss_of_any():
    corrected = ClassBiasCorrection(TABLE).fit(P, Y)

    def loss(bias):
        q = P * np.exp(np.append(bias, 0.0))
        return log_loss(Y, q / q.sum(axis=1, keepdims=True))

    other = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-14, "maxiter": 2000})
    assert log_loss(Y, corrected.predict_proba(P)) <= other.fun + 1e-12
    assert corrected.bias_[:2] - corrected.bias_[2] == pytest.approx(other.x, abs=1e-5)
    assert corrected.bias_.mean() == pytest.approx(0.0, abs=1e-12)
    assert other.fun < log_loss(Y, P) - 0.1


def test_mean_probabilities_are_the_known_prior_or_the_frequencies_of_the_labels():
    prior = np.array([0.2, 0.7, 0.1])
    assert ClassBiasCorrection(TABLE, prior).fit(P).predict_proba(P).mean(axis=0) == pytest.approx(prior, abs=1e-9)
    frequencies = np.bincount(Y) / len(Y)
    learnt = ClassBiasCorrection(TABLE).fit(P, Y)
    assert learnt.prior_ == pytest.approx(frequencies)
    assert learnt.predict_proba(P).mean(axis=0) == pytest.approx(frequencies, abs=1e-9)
    assert ClassBiasCorrection(TABLE, frequencies).fit(P).bias_ == pytest.approx(learnt.bias_, abs=1e-8)


def test_two_classes_worked_by_hand():
    # Odds of 1:3 everywhere and even frequencies: the bias is ln 3 between the classes.
    two, even = Table((0, 1)).fit(None), [0.5, 0.5]
    corrected = ClassBiasCorrection(two, even).fit(np.tile([0.25, 0.75], (4, 1)))
    assert corrected.bias_ == pytest.approx([np.log(3) / 2, -np.log(3) / 2], abs=1e-9)


def test_a_calibrated_classifier_gets_no_bias():
    matched = np.repeat([[0.2, 0.8], [0.8, 0.2]], 5, axis=0)
    y = [0, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert ClassBiasCorrection(Table((0, 1)).fit(None)).fit(matched, y).bias_ == pytest.approx([0.0, 0.0], abs=1e-9)


def test_a_wrong_bias_of_the_output_layer_is_undone():
    # Shifting a softmax network's last biases and correcting it gives the network that was there.
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    shifted = p * np.exp([0.0, 1.0, -5.0])
    shifted /= shifted.sum(axis=1, keepdims=True)
    corrected = ClassBiasCorrection(TABLE, p.mean(axis=0)).fit(shifted)
    assert corrected.predict_proba(shifted) == pytest.approx(p, abs=1e-8)
    expected = np.array([0.0, -1.0, 5.0])
    assert corrected.bias_ == pytest.approx(expected - expected.mean(), abs=1e-7)


def test_recall_of_a_class_rare_in_training_rises_and_errors_fall():
    # Three blobs on a line of classes; of the last only two rows were seen.
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [4.0, 0.0], [2.0, 3.5]])

    def sample(counts):
        y = np.repeat([0, 1, 2], counts)
        return centres[y] + rng.normal(size=(len(y), 2)), y

    train, validation, test = sample([300, 300, 2]), sample([100] * 3), sample([500] * 3)
    model = LogisticRegression(C=0.01).fit(*train)
    corrected = ClassBiasCorrection(model).fit(*validation)
    recall = [(m.predict(test[0])[test[1] == 2] == 2).mean() for m in (model, corrected)]
    errors = [(m.predict(test[0]) != test[1]).sum() for m in (model, corrected)]
    assert recall[0] < 0.1
    assert recall[1] > 0.75
    assert errors[1] < errors[0] / 2


def test_weights_count_as_repeated_rows():
    weight = np.random.default_rng(2).integers(0, 3, size=len(P))
    weighted = ClassBiasCorrection(TABLE).fit(P, Y, sample_weight=weight)
    repeated = ClassBiasCorrection(TABLE).fit(P.repeat(weight, axis=0), Y.repeat(weight))
    assert weighted.bias_ == pytest.approx(repeated.bias_, abs=1e-8)


def test_order_of_rows_and_names_of_classes_do_not_matter():
    names = np.array(["calm", "fault", "storm"])
    named = ClassBiasCorrection(Table(tuple(names)).fit(None)).fit(P, names[Y])
    order = np.random.default_rng(3).permutation(len(P))
    assert named.bias_ == pytest.approx(ClassBiasCorrection(TABLE).fit(P[order], Y[order]).bias_, abs=1e-8)
    assert set(named.predict(P)) <= set(names)
    by_class = {"storm": 0.5, "calm": 0.2, "fault": 0.3}
    prior = ClassBiasCorrection(Table(tuple(names)).fit(None), by_class).fit(P)
    assert prior.prior_ == pytest.approx([0.2, 0.3, 0.5])
    assert prior.bias_ == pytest.approx(ClassBiasCorrection(TABLE, [0.2, 0.3, 0.5]).fit(P).bias_, abs=1e-9)


def test_rows_the_estimator_is_sure_of_still_meet_the_prior():
    sure = np.eye(3)[labels(seed=5)]
    corrected = ClassBiasCorrection(TABLE, [0.6, 0.3, 0.1]).fit(sure)
    assert np.isfinite(corrected.bias_).all()
    assert corrected.predict_proba(sure).mean(axis=0) == pytest.approx([0.6, 0.3, 0.1], abs=1e-6)


def test_the_estimator_is_left_as_it_was():
    X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3
    model = LogisticRegression().fit(X, y)
    before = pickle.dumps(model)
    corrected = ClassBiasCorrection(model).fit(X, y)
    assert pickle.dumps(model) == before
    assert corrected.n_features_in_ == 2
    assert corrected.get_params(deep=False) == {"estimator": model, "prior": None}


def test_clone_pickle_and_pipelines_keep_the_correction():
    X, y = np.random.default_rng(0).normal(size=(90, 2)), np.arange(90) % 3
    network = make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=2000, random_state=0)).fit(X, y)
    corrected = ClassBiasCorrection(FrozenEstimator(network)).fit(X, y)
    again = clone(corrected)
    assert not hasattr(again, "bias_")
    assert np.array_equal(again.fit(X, y).bias_, corrected.bias_)
    assert np.array_equal(pickle.loads(pickle.dumps(corrected)).predict_proba(X), corrected.predict_proba(X))
    assert corrected.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(90))
    assert np.array_equal(corrected.predict(X), corrected.classes_[corrected.predict_proba(X).argmax(axis=1)])
    assert "LogisticRegression" in repr(ClassBiasCorrection(LogisticRegression()))


def test_an_unfitted_estimator_or_correction_says_so():
    with pytest.raises(NotFittedError, match=r"estimator must be fitted, got an unfitted LogisticRegression.*Frozen"):
        ClassBiasCorrection(LogisticRegression()).fit(P, Y)
    with pytest.raises(NotFittedError, match="ClassBiasCorrection instance is not fitted"):
        ClassBiasCorrection(TABLE).predict(P)


@pytest.mark.parametrize(
    ("prior", "y", "message"),
    [
        (None, None, r"y must be one label per row of X where prior is None, got None\. Pass the labels"),
        (None, np.zeros(300, int), r"y must be labels of every class, got none of class 1"),
        (None, Y + 1, r"y must be among \[0, 1, 2\], got 3\. The estimator has no"),
        (None, Y[:-1], r"y has 299 rows but X has 300"),
        (None, Y[:, None], r"y must be of shape \(n_rows,\), got shape \(300, 1\)"),
        ([0.5, 0.5], None, r"prior must be of shape \(3,\), got shape \(2,\)"),
        ([0.5, 0.5, 0.0], None, r"prior must be frequencies above 0 whose sum is 1"),
        ([0.5, 0.5, 0.5], None, r"prior must be frequencies above 0 whose sum is 1"),
        ([0.5, np.nan, 0.5], None, r"prior must be frequencies above 0 whose sum is 1"),
        ({0: 0.5, 1: 0.5}, None, r"prior must be a frequency of each of \[0, 1, 2\], got \[0, 1\]"),
    ],
)
def test_wrong_labels_and_priors_are_named(prior, y, message):
    with pytest.raises(ValueError, match=message):
        ClassBiasCorrection(TABLE, prior).fit(P, y)


def test_weights_must_leave_a_row_of_each_class():
    with pytest.raises(
        ValueError, match=r"sample_weight must be above 0 in a row of every class, got 0 in all of class 2"
    ):
        ClassBiasCorrection(TABLE).fit(P, Y, sample_weight=(Y != 2).astype(float))


@pytest.mark.parametrize("estimator", [LogisticRegression, "logistic", None])
def test_what_is_no_classifier_is_refused(estimator):
    with pytest.raises(TypeError, match=r"estimator must be a classifier, got .*Pass a fitted one"):
        ClassBiasCorrection(estimator).fit(P, Y)
