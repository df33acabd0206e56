"""A class of which the student has no sample: it learns it from the soft labels of others, and from nothing else."""

from functools import partial

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from pitskd import simulate_frequencies
from pitskd.models import MLP
from pitskd.neural import ClassBiasCorrection, NeuralDistillationClassifier, NeuralDistillationClassifierCV

UNSEEN = 2
X, A, Y = simulate_frequencies(3500, random_state=0)
TRAIN, VALIDATION, TEST = slice(0, 1500), slice(1500, 2000), slice(2000, 3500)
SEEN = np.flatnonzero(Y[TRAIN] != UNSEEN)
TEACHER = FrozenEstimator(LogisticRegression().fit(A[TRAIN], Y[TRAIN]))


def student(imitation, classes=range(4), **settings):
    given = {
        "student": partial(MLP, hidden=64), "max_epochs": 40, "learning_rate": 3e-3, "validation": None,
        "random_state": 0,
    }  # fmt: skip
    return NeuralDistillationClassifier(TEACHER, imitation=imitation, classes=classes, **{**given, **settings})


def small(imitation=1.0, **settings):
    return student(imitation, **{"student": partial(MLP, hidden=4), "max_epochs": 2, **settings})


def recall(model):
    return float((model.predict(X[TEST])[Y[TEST] == UNSEEN] == UNSEEN).mean())


def error(model):
    return float((model.predict(X[TEST]) != Y[TEST]).mean())


@pytest.fixture(scope="module")
def students():
    hard, soft = student(0.0).fit_grid(X[SEEN], Y[SEEN], {"imitation": [0.0, 1.0]}, X_privileged=A[SEEN])
    return hard, soft


def test_a_student_of_labels_never_says_a_class_that_it_has_not_seen(students):
    hard, _ = students
    assert recall(hard) == 0.0


def test_a_student_of_soft_labels_says_it_and_the_bias_correction_makes_it_sure(students):
    _, soft = students
    # Validation rows hold the class; the test rows were never looked at.
    corrected = ClassBiasCorrection(soft).fit(X[VALIDATION], Y[VALIDATION])
    assert recall(corrected) >= 0.9
    assert recall(corrected) > recall(soft) > 0.0
    assert error(corrected) < error(soft)


def test_soft_labels_teach_more_than_the_correction_alone_can(students):
    hard, soft = (ClassBiasCorrection(model).fit(X[VALIDATION], Y[VALIDATION]) for model in students)
    assert error(soft) < error(hard) / 2


def test_the_prior_does_what_labels_of_validation_rows_do(students):
    _, soft = students
    by_prior = ClassBiasCorrection(soft, prior=np.full(4, 0.25)).fit(X[VALIDATION])
    assert recall(by_prior) >= 0.9


def test_digits_of_which_no_image_was_shown_are_read():
    images, digits = load_digits(return_X_y=True)
    train, validation, test = slice(0, 900), slice(900, 1250), slice(1250, None)
    settings = {"student": partial(MLP, hidden=64), "max_epochs": 60, "validation": None, "random_state": 0}
    teacher = NeuralDistillationClassifier(imitation=0.0, **settings).fit(images[train], digits[train])
    own = np.flatnonzero(digits[train] != 3)
    model = NeuralDistillationClassifier(
        FrozenEstimator(teacher), imitation=1.0, temperature=2.0, classes=range(10), **settings
    ).fit(images[own], digits[own], X_privileged=images[own])
    corrected = ClassBiasCorrection(model).fit(images[validation], digits[validation])
    before, after = (one.predict(images[test]) for one in (model, corrected))
    threes = digits[test] == 3
    assert (before[threes] == 3).mean() + 0.15 < (after[threes] == 3).mean()
    assert (after[threes] == 3).mean() > 0.7
    assert (after != digits[test]).mean() < (before != digits[test]).mean()


def test_all_classes_have_a_place_in_what_the_student_says():
    model = small().fit(X[SEEN], Y[SEEN], X_privileged=A[SEEN])
    np.testing.assert_array_equal(model.classes_, range(4))
    assert model.predict_proba(X[:5]).shape == (5, 4)


def test_the_same_classes_listed_or_not_give_the_same_student():
    listed, own = (
        small(classes=classes).fit(X[:200], Y[:200], X_privileged=A[:200]) for classes in ([3, 1, 0, 2], None)
    )
    np.testing.assert_array_equal(listed.predict_proba(X[:50]), own.predict_proba(X[:50]))


def test_labels_may_be_words_and_missing():
    words = np.array(["calm", "gust", "storm", "wind"], dtype=object)
    labels = words[Y[SEEN]]
    labels[:3] = None
    teacher = FrozenEstimator(LogisticRegression().fit(A[TRAIN], words[Y[TRAIN]].astype(str)))
    model = small(classes=list(words)).set_params(teacher=teacher)
    model.fit(X[SEEN], labels, X_privileged=A[SEEN])
    assert list(model.classes_) == ["calm", "gust", "storm", "wind"]
    assert set(model.predict(X[:50])) <= set(words)


@pytest.mark.parametrize("classes", [None, range(3)], ids=["those of y", "too few"])
def test_without_a_place_for_it_a_teacher_that_knows_more_is_refused(classes):
    known = np.flatnonzero(Y[TRAIN] != 3)
    with pytest.raises(ValueError, match=r"teacher must be trained on the classes of y, got class .*3"):
        small(classes=classes).fit(X[known], Y[known], X_privileged=A[known])


def test_a_network_of_the_same_package_teaches_it_too():
    teacher = NeuralDistillationClassifier(imitation=0.0, student=partial(MLP, hidden=8), max_epochs=3, random_state=0)
    model = small().set_params(teacher=FrozenEstimator(teacher.fit(A[TRAIN], Y[TRAIN])), max_epochs=5)
    model.fit(X[SEEN], Y[SEEN], X_privileged=A[SEEN])
    # Its mean soft label holds the unseen class, and the student's mean probability follows it.
    assert model.predict_proba(X[SEEN])[:, UNSEEN].mean() > 0.01


def test_a_torch_module_teaches_as_many_classes_as_are_listed():
    class Sharpened(nn.Module):
        def forward(self, amplitudes):
            return 10.0 * amplitudes.flatten(1)

    model = small().set_params(teacher=Sharpened())
    assert model.fit(X[SEEN], Y[SEEN], X_privileged=A[SEEN]).predict_proba(X[:5]).shape == (5, 4)


def test_a_search_knows_all_classes():
    search = NeuralDistillationClassifierCV(small(), imitations=(0.0, 1.0), temperatures=(2.0,), cv=2)
    search.fit(X[SEEN], Y[SEEN], X_privileged=A[SEEN])
    np.testing.assert_array_equal(search.classes_, range(4))


def test_a_grid_over_classes_reads_the_targets_anew():
    some = SEEN[:200]
    narrow, wide = small(0.0).fit_grid(X[some], Y[some], {"classes": [None, range(4)]}, X_privileged=A[some])
    assert list(narrow.classes_) == [0, 1, 3]
    assert list(wide.classes_) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, 1, 3], "classes must be a list of distinct labels of the kind of y, or None, got"),
        (["a", "b"], "classes must be a list of distinct labels of the kind of y, or None, got"),
        (4, "classes must be a list of distinct labels of the kind of y, or None, got 4"),
        ([], "classes must be a list of distinct labels"),
        ([0, 1, 2], "classes must be all classes, 3 of y among them, got"),
    ],
)
def test_wrong_classes_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        small(classes=classes).fit(X[SEEN], Y[SEEN], X_privileged=A[SEEN])


@pytest.mark.parametrize(("of_teacher", "of_student"), [(2, 32), (32, 2), (8, 8)])
def test_teacher_and_student_may_be_of_any_size(of_teacher, of_student):
    # Reversed distillation: a small teacher of a big student.
    model = NeuralDistillationClassifier(
        partial(MLP, hidden=of_teacher), partial(MLP, hidden=of_student), max_epochs=2, validation=None, random_state=0
    ).fit(X[:60], Y[:60], X_privileged=A[:60])
    sizes = [sum(p.numel() for p in one.network.parameters()) for one in (model.teacher_, model.student_)]
    assert sizes == [
        4 * of_teacher + of_teacher + 4 * of_teacher + 4,
        24 * of_student + of_student + 4 * of_student + 4,
    ]
    assert (model.history_["soft"] > 0).all()
