"""What every public class and function keeps, found by walking the package: a new one meets these tests by itself."""

import importlib
import inspect
import pkgutil
import re

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, OutlierMixin, RegressorMixin
from sklearn.utils.estimator_checks import parametrize_with_checks

import pitskd

SKIPPED_MODULES = ("pitskd.__main__",)


def walk():
    """Yield the public names of every room, each once, by the module that lists it."""
    seen = {}
    for found in pkgutil.walk_packages(pitskd.__path__, "pitskd."):
        if found.name in SKIPPED_MODULES or any(part.startswith("_") for part in found.name.split(".")[1:]):
            continue
        module = importlib.import_module(found.name)
        for name in getattr(module, "__all__", ()):
            seen[name] = getattr(module, name)
    return seen


PUBLIC = walk()
EXPORTED = {name: value for name, value in PUBLIC.items() if name in pitskd.__all__}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
# References of a report read one channel of windows, which their constructor must be told: no tables for them.
REFERENCES = ("Persistence", "Autoregression", "EventForecast")
ESTIMATORS = {
    name: value for name, value in CLASSES.items() if issubclass(value, BaseEstimator) and name not in REFERENCES
}
BUILDERS = {name: value for name, value in FUNCTIONS.items() if re.match(r"make_|simulate_|fetch_|\w+_windows$", name)}
DISTILLING = {
    name: value
    for name, value in ESTIMATORS.items()
    if re.search("Distillation|^Privileged", name) and not issubclass(value, OutlierMixin)
}

# Networks learn as long as the checks need, and in double precision: in single precision the last digit of a sum
# differs with the rows beside.
SHORT = {"max_epochs": 40, "learning_rate": 0.02, "precision": "float64"}
BRIEF = {"max_epochs": 15, "learning_rate": 0.05, "precision": "float64", "random_state": 0}
ARGUMENTS = {
    "NeuralDistillationClassifier": SHORT,
    "NeuralDistillationRegressor": SHORT,
    "NeuralDistillationClassifierCV": {
        "estimator": PUBLIC["NeuralDistillationClassifier"](**BRIEF), "imitations": (0.0, 1.0), "cv": 2,
    },
    "NeuralDistillationRegressorCV": {
        "estimator": PUBLIC["NeuralDistillationRegressor"](**BRIEF), "imitations": (0.0, 1.0), "cv": 2,
    },
    "LabelRefineryClassifier": {"estimator": PUBLIC["NeuralDistillationClassifier"](**BRIEF), "max_stages": 1},
}  # fmt: skip
# It corrects a model that is fitted already, and none fits the tables of every check.
CORRECTIONS = ("ClassBiasCorrection",)

# Checks that an estimator can not meet by its purpose, each with the reason.
FOLDS = "the default student chooses its penalty by folds of rows, and a repeated row is a row of its own in them"
SERIES = "the rows of a detector are a series: a row is scored by those before it"
RARE = "one alarm in a hundred rows is asked for and smoothed over ten: the log that it has learnt holds none"
BATCHES = "a repeated row is a row of its own in the batches and in their order, in which a network learns"
EXPECTED_FAILURES = {
    "PrivilegedAnomalyDetector": {
        "check_methods_sample_order_invariance": SERIES,
        "check_methods_subset_invariance": SERIES,
        "check_outliers_train": RARE,
        "check_outliers_fit_predict": RARE,
    },
    "GeneralizedDistillationClassifier": {"check_sample_weight_equivalence_on_dense_data": FOLDS},
    **{name: {"check_sample_weight_equivalence_on_dense_data": BATCHES} for name in ARGUMENTS},
}


def members(values):
    return pytest.mark.parametrize("value", values.values(), ids=values)


def sections(text):
    return set(re.findall(r"^[ ]*([A-Z][A-Za-z ]+)\n[ ]*-{3,}$", text or "", flags=re.MULTILINE))


def section(text, title):
    found = re.search(
        rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-{{3,}}$|\Z)", inspect.cleandoc(text), re.DOTALL | re.MULTILINE
    )
    return found.group(1) if found else ""


def parameters(value):
    if inspect.isclass(value) and issubclass(value, Exception):
        return []
    listed = inspect.signature(value).parameters
    return [name for name in listed if name not in ("self", "args", "kwargs") and not name.startswith("_")]


def undocumented(value):
    """Return parameters that no line of the Parameters section names."""
    heads = re.findall(r"^(\S[^:\n]*?)(?: :.*)?$", section(value.__doc__, "Parameters"), flags=re.MULTILINE)
    named = {name.strip(" *") for head in heads for name in head.split(",")}
    return [name for name in parameters(value) if name not in named]


@parametrize_with_checks(
    [kind(**ARGUMENTS.get(name, {})) for name, kind in ESTIMATORS.items() if name not in CORRECTIONS],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES.get(type(estimator).__name__, {}),
)
@pytest.mark.filterwarnings(
    "ignore:X_privileged is None",
    "ignore:The least populated class",
    "ignore:X is short",
    "ignore:X drifts",
    "ignore:partial_fit starts anew",
)
def test_scikit_learn_accepts_the_estimator(estimator, check):
    state = np.random.get_state(legacy=True)  # some checks of scikit-learn draw from the global generator
    check(estimator)
    np.random.set_state(state)


def test_the_walk_finds_estimators_and_builders():
    assert {"GeneralizedDistillationRegressorCV", "TunedRidge"} <= set(ESTIMATORS)
    assert {"make_windows", "simulate_linear_chain", "fetch_beijing_pm25"} <= set(BUILDERS)


@members({name: value for name, value in CLASSES.items() if name in EXPORTED or name in ESTIMATORS})
def test_a_class_documents_its_parameters_and_what_it_holds(value):
    if issubclass(value, Exception):
        assert value.__doc__
        return
    assert sections(value.__doc__) >= {"Parameters", "Examples"}
    assert not undocumented(value)


@members(ESTIMATORS)
def test_an_estimator_documents_its_fitted_attributes_and_its_methods(value):
    assert "Attributes" in sections(value.__doc__)
    for name, method in inspect.getmembers(value, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("pitskd"):
            assert method.__doc__, f"{name} has no docstring"


@members({name: value for name, value in FUNCTIONS.items() if name in EXPORTED or name in BUILDERS})
def test_a_function_documents_its_parameters_and_its_value(value):
    wanted = {"Parameters"} if parameters(value) else set()
    assert sections(value.__doc__) >= wanted
    returns_nothing = inspect.signature(value).return_annotation in (None, "None")
    assert sections(value.__doc__) & {"Returns", "Yields"} or returns_nothing
    assert not undocumented(value)


@members(BUILDERS)
def test_a_builder_of_data_shows_an_example(value):
    assert "Examples" in sections(value.__doc__)


@members(CLASSES | FUNCTIONS)
def test_no_parameter_is_called_alpha_or_lambda(value):
    callables = [value, *(method for _, method in inspect.getmembers(value, inspect.isfunction))]
    for part in callables:
        if not getattr(part, "__name__", "_").startswith("_"):
            assert not {"alpha", "lambda_", "lam", "lmbda"} & set(parameters(part))


@members(ESTIMATORS)
def test_predicting_takes_no_privilege(value):
    for name, method in inspect.getmembers(value, inspect.isfunction):
        if not name.startswith(("_", "fit", "partial_fit", "set_fit", "set_partial_fit")):
            assert not [argument for argument in parameters(method) if "privileged" in argument.lower()], name


@members(DISTILLING)
def test_privilege_enters_fit_by_keyword_and_by_routing(value):
    assert "sample_weight" in parameters(value.fit)
    check_privilege(value)


def test_a_detector_takes_privilege_as_the_others_do():
    check_privilege(PUBLIC["PrivilegedAnomalyDetector"])


def check_privilege(value):
    argument = inspect.signature(value.fit).parameters["X_privileged"]
    assert argument.kind is inspect.Parameter.KEYWORD_ONLY
    assert argument.default is None
    assert value().get_metadata_routing().fit.requests["X_privileged"] is True


@members(ESTIMATORS)
def test_an_estimator_names_its_task_and_stores_its_parameters_as_given(value):
    assert issubclass(value, ClassifierMixin | RegressorMixin | OutlierMixin)
    sentinels = {name: object() for name in parameters(value)}
    model = value(**sentinels)
    assert all(getattr(model, name) is sentinel for name, sentinel in sentinels.items())
