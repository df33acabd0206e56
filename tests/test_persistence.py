"""Laws of model files: what comes back is what was saved, and nothing foreign is ever built."""

import copy
import hashlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingRegressor, IsolationForest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree._tree import Tree
from torch import nn

import pitskd
from pitskd import (
    AnchoredDistillationRegressor,
    ChainDistillationRegressor,
    NeuralDistillationClassifier,
    NeuralDistillationRegressor,
    NeuralDistillationRegressorCV,
    PrivilegedAnomalyDetector,
    PrivilegedClassifier,
    PrivilegedRegressor,
    TunedRidge,
)
from pitskd.losses import FitNetHint, LogitRegression
from pitskd.models import GRU, MLP, TCN, Autoencoder
from pitskd.persistence import _digest, load, model_facts, save


@pytest.fixture(scope="module")
def log():
    rng = np.random.default_rng(0)
    index = pd.date_range("2024-05-01", periods=800, freq="s")
    return pd.DataFrame(rng.normal(size=(800, 3)), columns=["flow", "level", "lab"], index=index)


@pytest.fixture(scope="module")
def detector(log):
    return PrivilegedAnomalyDetector(horizons=(1, 3)).fit(log[["flow", "level"]], X_privileged=log[["lab"]])


class OwnModel(BaseEstimator):
    def fit(self, X, y):
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_a_detector_comes_back_as_it_was(detector, log, tmp_path):
    save(detector, tmp_path / "m", notes={"unit": "bar"})
    again = load(tmp_path / "m")
    kept = log[["flow", "level"]]
    pd.testing.assert_frame_equal(again.detect(kept), detector.detect(kept), check_exact=True)
    assert np.array_equal(again.contributions(kept), detector.contributions(kept))
    assert repr(again.get_params()) == repr(detector.get_params())
    assert again.achieved_rate_ == detector.achieved_rate_


def test_the_facts_can_be_read_without_building_anything(detector, tmp_path):
    save(detector, tmp_path / "m", notes={"unit": "bar"})
    facts = model_facts(tmp_path / "m")
    assert facts["model"] == "pitskd.anomaly.detector.PrivilegedAnomalyDetector"
    assert facts["columns"] == ["flow", "level"]
    assert facts["privileged_columns"] == ["lab"]
    assert facts["notes"] == {"unit": "bar"}
    assert facts["versions"]["pitskd"] == pitskd.__version__
    assert set(facts["versions"]) == {"pitskd", "numpy", "scipy", "pandas", "scikit-learn"}


def test_a_fresh_process_predicts_the_same(detector, log, tmp_path):
    save(detector, tmp_path / "m")
    rows = log[["flow", "level"]].iloc[:50]
    rows.to_pickle(tmp_path / "rows")
    code = f"""
import pandas as pd
from pitskd.persistence import load
print(load({str(tmp_path / "m")!r}).score_samples(pd.read_pickle({str(tmp_path / "rows")!r})).tobytes().hex())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == detector.score_samples(rows).tobytes().hex()


def test_other_estimators_of_the_package_and_of_scikit_learn_come_back(log, tmp_path):
    X, y = log[["flow"]].to_numpy(), log["level"].to_numpy()
    Z = log[["lab"]].to_numpy()
    models = [
        make_pipeline(StandardScaler(), Ridge()).fit(X, y),
        ChainDistillationRegressor().fit(X, y, X_privileged=Z),
        pitskd.TunedRidge().fit(X, y),
    ]
    for model in models:
        save(model, tmp_path / "m")
        assert np.array_equal(load(tmp_path / "m").predict(X), model.predict(X))


@pytest.mark.parametrize("model", [PrivilegedRegressor(), PrivilegedClassifier(), PrivilegedRegressor(cv=3)])
def test_the_front_door_comes_back_with_its_tables(log, tmp_path, model):
    X, Z = log[["flow", "level"]], log[["lab"]]
    y = log["level"] if isinstance(model, PrivilegedRegressor) else log["level"] > 0
    model = clone(model).fit(X, y, X_privileged=Z)
    before = vars(model).copy()
    save(model, tmp_path / "m")
    assert all(vars(model)[name] is value for name, value in before.items())
    again = load(tmp_path / "m")
    assert np.array_equal(again.predict(X), model.predict(X))
    for name in ("candidates_", "rules_"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(model, name), check_exact=True)
    for name, student in model.candidate_students_.items():
        assert np.array_equal(again.candidate_students_[name].predict(X.to_numpy()), student.predict(X.to_numpy()))
    assert again.weights_ == model.weights_


def test_tables_inside_other_estimators_come_back_too(log, tmp_path):
    X, y = log[["flow"]].to_numpy(), log["level"].to_numpy()
    with pytest.warns(UserWarning, match="X_privileged is None"):
        model = make_pipeline(StandardScaler(), PrivilegedRegressor()).fit(X, y)
    save(model, tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").predict(X), model.predict(X))
    assert load(tmp_path / "m")[-1].candidates_.equals(model[-1].candidates_)


def parts_of(log):
    X = log[["flow", "level"]].to_numpy().reshape(-1, 2, 2)
    Z, y = log["lab"].to_numpy()[1::2, None, None], X[:, 1, 0] + log["lab"].to_numpy()[1::2]
    return [(X[rows], Z[rows], y[rows]) for rows in (slice(0, 150), slice(150, 400))]


@pytest.mark.parametrize("kind", [ChainDistillationRegressor, AnchoredDistillationRegressor, TunedRidge])
def test_a_student_of_sums_goes_on_where_it_was_saved(log, tmp_path, kind):
    def learn(model, part):
        X, Z, y = part
        taught = {} if kind is TunedRidge else {"X_privileged": Z}
        return model.partial_fit(X.reshape(len(X), -1) if kind is TunedRidge else X, y, **taught)

    first, second = parts_of(log)
    model = learn(kind(penalties=[1.0]) if kind is TunedRidge else kind(), first)
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert np.array_equal(again.coef_, model.coef_)
    assert np.array_equal(learn(again, second).coef_, learn(model, second).coef_)
    assert np.array_equal(again.intercept_, model.intercept_)
    save(again, tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").coef_, model.coef_)


@pytest.mark.parametrize("settings", [{"isolation_forest": True}, {"target": {"lab": (None, 1.0)}}])
def test_a_detector_with_trees_comes_back(log, tmp_path, settings):
    kept = log[["flow", "level"]].iloc[:300]
    model = PrivilegedAnomalyDetector(**settings).fit(kept, X_privileged=log[["lab"]].iloc[:300])
    save(model, tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").score_samples(kept), model.score_samples(kept))


def forest_of(log):
    return IsolationForest(n_estimators=3, max_samples=32, random_state=0).fit(log[["flow", "level"]].to_numpy())


def first_tree(model):
    return model.estimators_[0].tree_


def loop(model):
    first_tree(model).children_right[0] = 0


def leave(model):
    first_tree(model).children_left[0] = 10**6


def beyond(model):
    first_tree(model).feature[0] = 2


def shallow(model):
    first_tree(model).max_depth = 1


def narrow(model):
    model.n_features_in_ = 1


@pytest.mark.parametrize("forge", [loop, leave, beyond, shallow, narrow])
def test_trees_that_lead_outside_are_refused(log, tmp_path, forge):
    model = forest_of(log)
    save(model, tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m").score_samples([[0.0, 1.0]]), model.score_samples([[0.0, 1.0]]))
    forge(model)
    save(model, tmp_path / "m", trusted=[Tree])  # trusted: not looked at
    with pytest.raises(ValueError, match=r"got .* with trees"):
        load(tmp_path / "m")


def test_times_among_the_parameters_are_kept_as_text_and_the_model_as_it_is(log, tmp_path):
    gap = pd.Timedelta("5s")
    model = PrivilegedAnomalyDetector(max_gap=gap).fit(log[["flow"]])
    save(model, tmp_path / "m")
    assert model.max_gap is gap
    again = load(tmp_path / "m")
    assert pd.Timedelta(again.max_gap) == gap
    assert again.detect(log[["flow"]]).equals(model.detect(log[["flow"]]))
    assert again.fit(log[["flow"]]).threshold_ == model.threshold_


def test_a_running_stream_travels_with_its_detector(detector, log, tmp_path):
    rows = log[["flow", "level"]].to_numpy()
    detector.reset()
    for row in rows[:20]:
        detector.update(row)
    save(detector, tmp_path / "m")
    again = load(tmp_path / "m")
    assert [again.update(row).score for row in rows[20:40]] == [detector.update(row).score for row in rows[20:40]]
    detector.reset()


def test_a_class_of_the_user_is_refused_until_it_is_trusted(log, tmp_path):
    model = OwnModel().fit(log, log["lab"])
    with pytest.raises(ValueError, match=r"model must be of parts that a model file can hold, got .*OwnModel"):
        save(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())
    save(model, tmp_path / "m", trusted=[OwnModel])
    with pytest.raises(ValueError, match=r"a model file of known classes, got .*OwnModel"):
        load(tmp_path / "m")
    assert load(tmp_path / "m", trusted=[OwnModel]).mean_ == model.mean_


@pytest.mark.parametrize("part", [lambda X: X, HistGradientBoostingRegressor(max_iter=2).fit([[0.0]] * 30, [1.0] * 30)])
def test_what_could_not_be_loaded_is_not_saved_and_the_old_file_stays(part, tmp_path):
    (tmp_path / "m").write_text("old")
    model = Ridge()
    model.part = part
    with pytest.raises(ValueError, match="model must be of parts that a model file can hold"):
        save(model, tmp_path / "m")
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"]


def rewritten(path, change, *, honest=True):
    """Change entries of a model file, and its digest too unless the change shall show."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    facts = json.loads(entries.pop("pitskd.json"))
    change(entries, facts)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        told = {name: value for name, value in facts.items() if name != "digest"}
        facts |= {"digest": _digest(archive, told)} if honest else {}
        archive.writestr("pitskd.json", json.dumps(facts))
    path.write_bytes(file.getvalue())


def test_a_pickle_and_other_foreign_files_are_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    import skops.io

    foreign = {
        "pickle": pickle.dumps(Ridge()),
        "empty": b"",
        "text": b"model",
        "skops without our entry": skops.io.dumps(Ridge()),
    }
    for name, content in foreign.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"path must be a model file, got .* Pass a file that pitskd.save wrote"):
            load(tmp_path / name)
    with pytest.raises(ValueError, match="No such file"):
        load(tmp_path / "none")


def test_a_changed_file_is_refused(tmp_path):
    path = tmp_path / "m"
    save(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]), path)
    whole = path.read_bytes()
    rewritten(path, lambda entries, _: entries.update({"more": b""}), honest=False)
    with pytest.raises(ValueError, match=r"must be a model file as it was written, got .*, which was changed"):
        load(path)
    path.write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="must be a model file, got"):
        load(path)


@pytest.mark.parametrize(
    "change", [{"notes": {"unit": "mbar"}}, {"columns": ["b", "a"]}, {"versions": {"pitskd": pitskd.__version__}}]
)
def test_a_change_of_what_a_file_says_of_itself_is_refused(tmp_path, change):
    save(Ridge(), tmp_path / "m", notes={"unit": "bar", 1: (2.5, None)})
    assert model_facts(tmp_path / "m")["notes"] == {"unit": "bar", "1": [2.5, None]}
    rewritten(tmp_path / "m", lambda _, facts: facts.update(change), honest=False)
    for read in (load, model_facts):
        with pytest.raises(ValueError, match=r"must be a model file as it was written, got .*, which was changed"):
            read(tmp_path / "m")


def test_a_file_of_the_first_format_whose_digest_leaves_out_the_facts_still_loads(tmp_path):
    path = tmp_path / "m"
    save(Ridge(alpha=2.0), path, notes={"unit": "bar"})
    with zipfile.ZipFile(path) as archive:
        digest = hashlib.sha256()
        for name in sorted(set(archive.namelist()) - {"pitskd.json"}):
            digest.update(f"{name} {archive.getinfo(name).file_size} ".encode() + archive.read(name))
    first = {"format": 1, "digest": digest.hexdigest()}
    rewritten(path, lambda _, facts: facts.update(first), honest=False)
    assert load(path).alpha == 2.0
    assert model_facts(path)["notes"] == {"unit": "bar"}


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen"), ("sklearn.utils", "Bunch"),
     ("pitskd.anomaly.stream", "os"), ("pitskd.anomaly.stream", "save_state"), ("pitskd.none", "Thing")],
)  # fmt: skip
def test_a_file_made_by_hand_cannot_name_what_is_no_class_of_ours(tmp_path, module, name):
    path = tmp_path / "m"
    save(Ridge(), path)

    def forge(entries, _):
        schema = json.loads(entries["schema.json"])
        schema |= {"__module__": module, "__class__": name}
        entries["schema.json"] = json.dumps(schema).encode()

    rewritten(path, forge)
    with pytest.raises(ValueError, match=rf"must be a model file of known classes, got .*{module}.{name}"):
        load(path)


@pytest.mark.parametrize(
    ("versions", "said"),
    [({"scikit-learn": "0.1"}, "scikit-learn 0.1"), ({"scikit-learn": "99.1"}, "scikit-learn 99.1"),
     ({"pitskd": "0.0.9"}, "pitskd 0.0.9"), ({"pitskd": pitskd.__version__ + ".dev1"}, r"pitskd .*\.dev1"),
     ({"pitskd": "0.0.9", "scikit-learn": "0.1"}, "pitskd 0.0.9 and scikit-learn 0.1")],
)  # fmt: skip
def test_an_older_pitskd_and_another_scikit_learn_are_warned_of(tmp_path, versions, said):
    path = tmp_path / "m"
    save(Ridge(alpha=2.0), path)
    rewritten(path, lambda _, facts: facts["versions"].update(versions))
    with pytest.warns(UserWarning, match=rf"was written with {said}\. Compare predictions"):
        assert load(path).alpha == 2.0


@pytest.mark.parametrize("version", ["99.0", "0.10.0", pitskd.__version__ + ".post1"])
def test_a_file_of_a_newer_pitskd_is_refused(tmp_path, version):
    path = tmp_path / "m"
    save(Ridge(), path, notes={"unit": "bar"})
    rewritten(path, lambda _, facts: facts["versions"].update(pitskd=version))
    ours = pitskd.__version__
    with pytest.raises(ValueError, match=rf"of pitskd {ours} or older, got .*, written by pitskd {version}\. Update"):
        load(path)
    assert model_facts(path)["notes"] == {"unit": "bar"}  # what a file says of itself can still be read


def test_versions_that_are_none_are_no_model_file(tmp_path):
    path = tmp_path / "m"
    save(Ridge(), path)
    rewritten(path, lambda _, facts: facts["versions"].update(pitskd="newest"))
    with pytest.raises(ValueError, match="path must be a model file, got"):
        load(path)


def test_a_newer_format_is_refused(tmp_path):
    path = tmp_path / "m"
    save(Ridge(), path)
    rewritten(path, lambda _, facts: facts.update(format=3, versions={"pitskd": "9.0"}))
    with pytest.raises(ValueError, match=r"of format 2 or older, got format 3, written by pitskd 9.0\. Update pitskd"):
        load(path)


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        save(object(), tmp_path / "none" / "m")
    with pytest.raises(ValueError, match="it is a folder"):
        save(object(), tmp_path)


def test_skops_is_only_loaded_with_the_first_file_and_torch_not_at_all(tmp_path):
    code = f"""
import sys, pitskd.persistence, pitskd.anomaly
assert "skops" not in sys.modules
pitskd.persistence.save(pitskd.TunedRidge(), {str(tmp_path / "m")!r})
assert "skops" in sys.modules and "torch" not in sys.modules
import torch
assert torch.ones(2).sum() == 2"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- networks

SHORT: dict[str, Any] = {"max_epochs": 2, "random_state": 0}
TINY: dict[str, Any] = {"student": partial(MLP, hidden=4), **SHORT}


class OwnNetwork(nn.Sequential):
    def __init__(self, *, units=4, n_channels, length, n_outputs):
        super().__init__(nn.Flatten(), nn.Linear(n_channels * length, units), nn.Linear(units, n_outputs))


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(1)
    X, Z = rng.normal(size=(60, 4, 2)), rng.normal(size=(60, 3, 2))
    return X, Z, X[:, -1, 0] + Z[:, -1, 0]


@pytest.mark.parametrize(
    "model",
    [
        NeuralDistillationRegressor(max_epochs=2, random_state=0),
        NeuralDistillationRegressor(student=TCN, quantiles=(0.1, 0.5), max_epochs=2, random_state=0),
        NeuralDistillationRegressor(
            [partial(MLP, hidden=(4, 4)), Ridge()],
            partial(GRU, hidden=4, dropout=0.5),
            hints=[(FitNetHint("hidden", "hidden"), 0.5)],
            max_epochs=2,
            random_state=0,
        ),
        NeuralDistillationRegressorCV(NeuralDistillationRegressor(**TINY), imitations=(0.0, 1.0), cv=2),
        NeuralDistillationClassifier(
            student=partial(Autoencoder, kind="convolutional", hidden=4), soft_loss=LogitRegression(), max_epochs=2
        ),
        PrivilegedRegressor(["baseline", NeuralDistillationRegressor(**TINY)], combine="stack", cv=2),
        PrivilegedClassifier(["baseline", NeuralDistillationClassifier(**TINY)], combine="weights", cv=2),
    ],
    ids=["default", "class", "several teachers", "search", "classifier", "front door", "classifying front door"],
)
@pytest.mark.filterwarnings("ignore:The teacher's held-out loss")
def test_neural_students_come_back_with_their_builders(model, windows, tmp_path):
    X, Z, y = windows
    target = y > 0 if hasattr(model, "predict_proba") else y
    model = clone(model).fit(X, target, X_privileged=Z)
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert np.array_equal(again.predict(X), model.predict(X))
    assert repr(again.get_params()) == repr(model.get_params())
    refitted = clone(again).fit(X, target, X_privileged=Z)  # builders build again
    assert refitted.predict(X).shape == model.predict(X).shape
    if hasattr(model, "history_"):
        pd.testing.assert_frame_equal(again.history_, model.history_, check_exact=True)


@pytest.mark.filterwarnings("ignore:The teacher's held-out loss", "ignore:X is short", "ignore:X drifts")
def test_a_detector_with_a_neural_student_goes_on_in_its_stream(log, tmp_path):
    student = NeuralDistillationRegressor(student=partial(GRU, hidden=4), max_epochs=1, random_state=0)
    kept = log[["flow", "level"]].iloc[:200]
    model = PrivilegedAnomalyDetector(student, horizons=(1, 2)).fit(kept, X_privileged=log[["lab"]].iloc[:200])
    for row in kept.to_numpy()[:10]:
        model.update(row)
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.student.student.func is GRU
    pd.testing.assert_frame_equal(again.detect(kept), model.detect(kept), check_exact=True)
    rows = kept.to_numpy()[10:20]
    assert [again.update(row).score for row in rows] == [model.update(row).score for row in rows]


@pytest.mark.parametrize("builder", [OwnNetwork, partial(OwnNetwork, units=3)])
def test_a_network_of_the_user_is_refused_until_it_is_trusted(windows, tmp_path, builder):
    X, _, y = windows
    model = NeuralDistillationRegressor(student=builder, imitation=0.0, **SHORT).fit(X, y)
    with pytest.raises(ValueError, match=r"model must be of parts that a model file can hold, got .*OwnNetwork"):
        save(model, tmp_path / "m")
    save(model, tmp_path / "m", trusted=[OwnNetwork])
    with pytest.raises(ValueError, match=r"a model file of known classes, got .*OwnNetwork"):
        load(tmp_path / "m")
    assert np.array_equal(load(tmp_path / "m", trusted=[OwnNetwork]).predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("part", "said"),
    [(partial(Ridge, alpha=2.0), "functools.partial of Ridge"),
     (partial(FitNetHint, "hidden", "hidden"), "functools.partial of FitNetHint"),
     (partial(np.clip, a_min=0.0), "functools.partial")],
)  # fmt: skip
def test_a_partial_of_anything_but_a_network_is_refused(tmp_path, part, said):
    with pytest.raises(ValueError, match=rf"parts that a model file can hold, got {said}"):
        save(Ridge(alpha=part), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def nodes(schema):
    """Yield every object of a schema."""
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from nodes(part)


@pytest.mark.parametrize("builder", [TCN, partial(TCN, hidden=4)])
@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        ("pitskd.privileged", "PrivilegedRegressor", "a model file"),
        ("sklearn.linear_model._ridge", "Ridge", "a model file"),
        ("posix", "system", "a model file of known classes"),
    ],
)
def test_a_file_made_by_hand_builds_no_other_class_than_a_network(windows, tmp_path, builder, module, name, said):
    X, _, y = windows
    path = tmp_path / "m"
    save(NeuralDistillationRegressor(student=builder, imitation=0.0, **SHORT).fit(X, y), path)

    def forge(entries, _):
        schema = json.loads(entries["schema.json"])
        named = [node for node in nodes(schema) if node.get("__class__") == "TCN"]
        assert len(named) >= 2  # the parameter, and what the student is built by
        for node in named:
            node |= {"__module__": module, "__class__": name}
        entries["schema.json"] = json.dumps(schema).encode()

    rewritten(path, forge)
    with pytest.raises(ValueError, match=rf"path must be {said}"):
        load(path)


class Drawn(nn.Module):
    """A network whose structure is drawn and then edited, with a buffer that `state_dict` leaves out."""

    def __init__(self, *, n_channels, length, n_outputs):
        super().__init__()
        self.order = torch.randperm(n_channels * length).tolist()
        self.register_buffer("shift", torch.randn(1), persistent=False)
        self.head = nn.Linear(n_channels * length, n_outputs)
        self.head.bias.requires_grad_(False)

    def forward(self, windows):
        return self.head(windows.flatten(1)[:, self.order]) + self.shift


class Shifted(nn.Sequential):
    """A network with a buffer that `state_dict` leaves out, and a weight that does not learn."""

    def __init__(self, *, n_channels, length, n_outputs):
        super().__init__(nn.Flatten(), nn.Linear(n_channels * length, n_outputs), nn.Identity())
        self.register_buffer("shift", torch.randn(1), persistent=False)
        self[1].bias.requires_grad_(False)

    def forward(self, windows):
        return super().forward(windows) + self.shift


@pytest.mark.parametrize("again", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy, copy.copy])
def test_pickles_and_copies_hold_the_network_as_it_is(windows, again):
    X, _, y = windows
    model = NeuralDistillationRegressor(student=Drawn, imitation=0.0, **SHORT).fit(X, y)
    model.student_.network.head = nn.Sequential(model.student_.network.head, nn.Tanh())  # edited by hand
    other = again(model)
    assert np.array_equal(other.predict(X), model.predict(X))
    assert [part.requires_grad for part in other.student_.network.parameters()] == [True, False]


def test_a_file_holds_buffers_of_all_kinds_and_what_does_not_learn(windows, tmp_path):
    X, _, y = windows
    model = NeuralDistillationRegressor(student=Shifted, imitation=0.0, **SHORT).fit(X, y)
    save(model, tmp_path / "m", trusted=[Shifted])
    again = load(tmp_path / "m", trusted=[Shifted])
    assert np.array_equal(again.predict(X), model.predict(X))
    assert [part.requires_grad for part in again.student_.network.parameters()] == [True, False]
    assert again.student_.history == model.student_.history


def edited(model):
    model.student_.network[2] = nn.Tanh()
    return model


def wider(model):
    model.student_.network[2] = nn.Linear(1, 1, bias=False)
    return model


@pytest.mark.parametrize(
    ("student", "change", "said"),
    [
        (Drawn, lambda model: model, "a network that says something else"),
        (Shifted, edited, "a network that says something else"),
        (Shifted, wider, "a network with other weights"),
    ],
)
def test_a_network_that_its_builder_would_not_build_again_is_not_saved(windows, tmp_path, student, change, said):
    X, _, y = windows
    with torch.random.fork_rng():
        model = change(NeuralDistillationRegressor(student=student, imitation=0.0, **SHORT).fit(X, y))
    with pytest.raises(ValueError, match=rf"model must be of parts that a model file can hold, got .*{said}"):
        save(model, tmp_path / "m", trusted=[student])
    assert not list(tmp_path.iterdir())


def test_a_student_that_a_model_holds_twice_comes_back_once(windows, tmp_path):
    X, Z, y = windows
    search = NeuralDistillationRegressorCV(NeuralDistillationRegressor(**TINY), imitations=(0.0,), cv=2)
    model = search.fit(X, y, X_privileged=Z)
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.student_ is again.best_estimator_.student_
    assert model.student_ is model.best_estimator_.student_
    save(model.student_, tmp_path / "student")
    rows = X.reshape(len(X), -1)
    assert np.array_equal(load(tmp_path / "student").predict(rows), model.student_.predict(rows))
