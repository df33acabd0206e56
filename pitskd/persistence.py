"""Fitted models in files that hold numbers and names, never code: a file can be opened without trusting its sender.

A model file is what skops writes, a zip of a description and of arrays, with one more entry, ``pitskd.json``: versions,
columns, and a digest of the whole. It is not a pickle. Only classes of this package and estimators of scikit-learn are
built from it; any other class in it is refused by name before anything is built.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib
import io
import json
import operator
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import sklearn
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import Bunch
from sklearn.utils.fixes import parse_version

import pitskd
from pitskd._files import check_writable, replacing
from pitskd._validation import shorten, wrong

__all__ = ["load", "model_facts", "save"]

_FORMAT = 2  # of the entry `pitskd.json` and of what stands beside it
_ENTRY = "pitskd.json"
_STEP = "Pass a file that pitskd.save wrote."
_TREE = "sklearn.tree._tree.Tree"
_PLAIN = ("datetime.timedelta", "datetime.datetime", "datetime.timezone", "builtins.range", "builtins.slice")


def save(model: Any, path: Any, *, notes: Mapping[str, Any] | None = None, trusted: Sequence[type] = ()) -> None:
    """Write a fitted model to a file, whole or not at all.

    Parameters
    ----------
    model : estimator
        Of this package or of scikit-learn. `pandas.Timedelta` parameters are written as their text, tables of results
        as their columns.
    path : str or path
        Written beside and renamed, so that a stop leaves the old file or the new one.
    notes : mapping, default=None
        Whatever JSON can hold and shall travel with the model, e.g. units; `model_facts` returns it.
    trusted : sequence of types, default=()
        Further classes that `model` may hold, e.g. a student of your own; `load` must be given them too.

    Raises
    ------
    ValueError
        If a part of the model cannot be written, is of a class that `load` would refuse, or would not come back; or if
        the file cannot be written. Nothing is written then.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.linear_model import Ridge
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "ridge.pitskd"
    >>> save(Ridge().fit([[0.0], [1.0]], [0.0, 3.0]), path, notes={"unit": "bar"})
    >>> load(path).coef_.tolist()
    [1.0]
    >>> model_facts(path)["notes"]
    {'unit': 'bar'}
    >>> folder.cleanup()
    """
    check_writable("path", Path(path))
    try:
        content = _skops().dumps(_without_pandas(model))
        _build(content, trusted)
    except Exception as error:  # a part of a model can fail in any way of its own
        shown = error.args[0] if isinstance(error, _UnknownClasses) else f"{type(error).__name__}: {error}"
        step = "Use other parts, or name their classes in trusted."
        raise wrong("model", "of parts that a model file can hold", shorten(str(shown), 200), step) from None
    facts = {"format": _FORMAT, "versions": _versions(), **_described(model), "notes": dict(notes or {})}
    with replacing(Path(path)) as file:
        file.write(_with_facts(content, facts))


def load(path: Any, *, trusted: Sequence[type] = ()) -> Any:
    """Return the model of a file that `save` wrote.

    Parameters
    ----------
    path : str or path
    trusted : sequence of types, default=()
        Further classes that may be built.

    Returns
    -------
    estimator

    Raises
    ------
    ValueError
        If there is no such file, or it is no model file, is damaged, was written in a newer format or by a newer
        pitskd, or holds a class that is not trusted.

    Warns
    -----
    UserWarning
        If pitskd was older or scikit-learn of another version when the file was written.
    """
    facts, content = _open(path)
    written = facts["versions"]["pitskd"]
    if parse_version(written) > parse_version(pitskd.__version__):
        expected = f"a model file of pitskd {pitskd.__version__} or older"
        raise wrong("path", expected, f"{path}, written by pitskd {written}", "Update pitskd.")
    others = [f"{name} {facts['versions'].get(name)}" for name in ("pitskd", "scikit-learn")
              if facts["versions"].get(name) != _versions()[name]]  # fmt: skip
    if others:
        warnings.warn(
            f"{path} was written with {' and '.join(others)}. Compare predictions.", UserWarning, stacklevel=2
        )
    try:
        return _build(content, trusted)
    except _UnknownClasses as error:
        raise wrong("path", "a model file of known classes", f"{path} with {error.args[0]}", _STEP) from None
    except Exception as error:  # whatever a file made by hand may lead to
        raise wrong("path", "a model file", f"{path} ({type(error).__name__})", _STEP) from None


def model_facts(path: Any) -> dict[str, Any]:
    """Return what a model file says of itself, without building the model.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    dict
        ``format``, ``versions``, ``model`` (its class), ``columns`` and ``privileged_columns`` (None where fitted to
        arrays), ``notes``.

    Raises
    ------
    ValueError
        If there is no such file, or it is no model file, is damaged or was written in a newer format.
    """
    return _open(path)[0]


def _skops() -> Any:
    """Import skops, which takes seconds as it looks at every module of scikit-learn, without torch.

    One of those modules would load torch, for 180 MiB and seconds more, though nothing of it is wanted.
    """
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]  makes its import fail
    try:
        from skops import io
    finally:
        if hidden:
            del sys.modules["torch"]
    return io


class _UnknownClasses(Exception):  # noqa: N818  caught where it is worded
    """Name classes that may not be built."""


def _build(content: bytes, trusted: Iterable[type]) -> Any:
    skops = _skops()
    named = {f"{kind.__module__}.{kind.__qualname__}" for kind in trusted}
    found = skops.get_untrusted_types(data=content)
    unknown = [name for name in found if name not in named and not _is_known(name)]
    if unknown:
        raise _UnknownClasses(", ".join(unknown))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)  # `load` has said so of the whole file
        model = skops.loads(content, trusted=found)
    if _TREE in found and _TREE not in named:
        _check_trees(model)
    return _with_tables(model)


def _is_known(name: str) -> bool:
    """Tell whether a name is a class of this package or an estimator of scikit-learn, defined where it says."""
    module, _, label = name.rpartition(".")
    if name in _PLAIN or name == _TREE:
        return True
    if module.split(".")[0] not in ("pitskd", "sklearn"):
        return False
    try:
        kind = getattr(importlib.import_module(module), label)
    except (ImportError, AttributeError):
        return False
    if not isinstance(kind, type) or kind.__module__ != module:
        return False
    return module.startswith("pitskd.") or issubclass(kind, BaseEstimator | Bunch)


def _check_trees(model: Any) -> None:
    """Refuse trees whose nodes lead outside: scikit-learn walks them without a look at their bounds."""
    for part in _parts(model):
        for one in getattr(part, "estimators_", ()) if isinstance(part, BaseEstimator) else ():
            if hasattr(one, "tree_") and one.n_features_in_ != part.n_features_in_:
                raise _UnknownClasses("trees of other columns than their forest")
        tree: Any = getattr(part, "tree_", None)
        foreign = type(tree).__name__ != "Tree"
        if not (foreign or (tree.n_features == part.n_features_in_ and _is_sound(tree))):
            raise _UnknownClasses("trees whose nodes lead outside")


def _is_sound(tree: Any) -> bool:
    """Tell whether every branch leads onwards to a node that exists, by a column that exists, as deep as it says."""
    if not 0 < tree.node_count <= tree.capacity:
        return False
    left, right = tree.children_left, tree.children_right
    nodes = np.arange(tree.node_count)
    inner = nodes[left != -1]
    children = np.stack([left[inner], right[inner]])
    if not ((children > inner) & (children < tree.node_count)).all():
        return False
    if not ((tree.feature[inner] >= 0) & (tree.feature[inner] < tree.n_features)).all():
        return False
    level, depth = np.zeros(1, dtype=np.int64), 0
    while len(level := level[left[level] != -1]):
        level = np.unique(np.concatenate([left[level], right[level]]))
        depth += 1
    return depth <= tree.max_depth


def _parts(model: Any) -> Iterator[Any]:
    """Yield every object of classes that a model is made of, once."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            waiting += part.values()
        elif isinstance(part, list | tuple | set) or (isinstance(part, np.ndarray) and part.dtype == object):
            waiting += list(part.ravel()) if isinstance(part, np.ndarray) else part
        elif hasattr(part, "__dict__") and not isinstance(part, type):
            yield part
            waiting += vars(part).values()


class Frame:
    """A table of results as a model file holds it: columns of numbers or of text, and labels of text or numbers."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.label = table.index.name
        self.index = table.index.tolist()
        self.columns = {str(name): _plain_column(column) for name, column in table.items()}

    def from_file(self) -> pd.DataFrame:
        """Return the table again."""
        return pd.DataFrame(self.columns, index=pd.Index(self.index, name=self.label))


def _plain_column(column: pd.Series) -> Any:
    return column.to_numpy() if column.dtype.kind in "biuf" else column.tolist()


class Partial:
    """A class and what it will be called with, as a model file holds a `functools.partial`, e.g. a network's builder.

    Only networks of this package are made while a file is read, and classes that the reader has named.
    """

    def __init__(self, given: functools.partial[Any]) -> None:
        self.kind, self.arguments, self.keywords = given.func, given.args, given.keywords

    def from_file(self) -> functools.partial[Any]:
        """Return the partial again."""
        kind = self.kind
        room = getattr(kind, "__module__", "").partition(".")[0]
        if not isinstance(kind, type) or (room in ("pitskd", "sklearn") and not _is_network(kind)):
            raise _UnknownClasses(f"functools.partial of {getattr(kind, '__qualname__', kind)}")
        return functools.partial(kind, *self.arguments, **self.keywords)

    def __call__(self, **sizes: int) -> Any:
        """Build a network."""
        return self.from_file()(**sizes)


def _is_network(kind: type) -> bool:
    return kind.__module__.startswith("pitskd.models.")


def _without_pandas(model: Any) -> Any:
    """Return the model without pandas: tables as `Frame`, and times among its parameters as text.

    Every parameter that takes times takes their text too.
    """
    times = {name: str(value) for name, value in vars(model).items() if isinstance(value, pd.Timedelta)}
    return _replaced(_framed(model, {}), times)


def _framed(part: Any, known: dict[int, Any]) -> Any:
    """Return a part of a model with tables as `Frame`, partials as `Partial`, networks as arrays; else the same."""
    if isinstance(part, pd.DataFrame):
        return Frame(part)
    if type(part) is functools.partial and isinstance(part.func, type):
        return Partial(part)
    if id(part) not in known:
        known[id(part)] = part  # also where a part holds itself
        write: Any = getattr(part, "for_file", None)
        filed = None if write is None or isinstance(part, type) else write()
        known[id(part)] = _refilled(part if filed is None else filed, known)
    return known[id(part)]


def _refilled(part: Any, known: dict[int, Any]) -> Any:
    if type(part) in (list, tuple):
        entries = [_framed(entry, known) for entry in part]
        return part if all(map(operator.is_, entries, part)) else type(part)(entries)
    if type(part) is dict:
        values = [_framed(value, known) for value in part.values()]
        return part if all(map(operator.is_, values, part.values())) else dict(zip(part, values, strict=True))
    if not hasattr(part, "__dict__") or isinstance(part, type):
        return part
    values = {name: _framed(value, known) for name, value in vars(part).items()}
    return _replaced(part, {name: value for name, value in values.items() if value is not vars(part)[name]})


def _replaced(part: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy with other values of some attributes; without any, the part itself."""
    if not values:
        return part
    changed = copy.copy(part)
    vars(changed).update(values)
    return changed


def _with_tables(model: Any) -> Any:
    """Return a model with its tables, partials and networks again."""
    known: dict[int, Any] = {}
    for part in list(_parts(model)):
        given = {name: _given(value, known) for name, value in vars(part).items()}
        vars(part).update({name: value for name, value in given.items() if value is not vars(part)[name]})
    return _given(model, known)


def _given(value: Any, known: dict[int, Any]) -> Any:
    """Return a value as it was before it was written; one that holds no table and no partial is the same object."""
    if hasattr(type(value), "from_file"):
        if id(value) not in known:
            vars(value).update({name: _given(inner, known) for name, inner in vars(value).items()})
            known[id(value)] = value, value.from_file()  # beside what it was, whose id must not be used again
        return known[id(value)][1]
    if type(value) in (list, tuple):
        entries = [_given(entry, known) for entry in value]
        return value if all(map(operator.is_, entries, value)) else type(value)(entries)
    if type(value) is dict:
        entries = [_given(entry, known) for entry in value.values()]
        return value if all(map(operator.is_, entries, value.values())) else dict(zip(value, entries, strict=True))
    return value


def _described(model: Any) -> dict[str, Any]:
    columns = getattr(model, "feature_names_in_", None)
    privileged = getattr(model, "privileged_feature_names_in_", None)
    kind = type(model)
    return {
        "model": f"{kind.__module__}.{kind.__qualname__}",
        "columns": None if columns is None else list(map(str, columns)),
        "privileged_columns": None if privileged is None else list(map(str, privileged)),
    }


def _versions() -> dict[str, str]:
    modules = {"numpy": np, "scipy": scipy, "pandas": pd, "scikit-learn": sklearn, "pitskd": pitskd}
    return {name: module.__version__ for name, module in modules.items()}


def _with_facts(content: bytes, facts: dict[str, Any]) -> bytes:
    """Return the zip with the entry of its own."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        entry = json.dumps({**facts, "digest": _digest(archive, facts)}, indent=1, allow_nan=False)
        archive.writestr(_ENTRY, entry)
    return file.getvalue()


def _open(path: Any) -> tuple[dict[str, Any], bytes]:
    """Return the facts and the bytes of a whole model file of a known format."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise wrong("path", "a file that can be read", f"{path} ({error.strerror})", "Check the path.") from None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            facts = json.loads(archive.read(_ENTRY))
            newest, told = int(facts["format"]), facts.pop("digest", None)
            whole = told == _digest(archive, facts)
            versions = facts["versions"]["pitskd"]
            parse_version(versions)
    except Exception:  # zipfile and json fail in a dozen ways on what is no model file
        raise wrong("path", "a model file", str(path), _STEP) from None
    if newest > _FORMAT:
        found = f"format {newest}, written by pitskd {versions}"
        raise wrong("path", f"a model file of format {_FORMAT} or older", found, "Update pitskd.")
    if not whole:
        raise wrong("path", "a model file as it was written", f"{path}, which was changed", "Save the model again.")
    return facts, content


def _digest(archive: zipfile.ZipFile, facts: Mapping[str, Any]) -> str:
    """Return a digest of all entries and, from format 2 on, of the facts; it tells damage, not intent."""
    digest = hashlib.sha256()
    if facts["format"] != 1:
        plain = json.loads(json.dumps(facts))  # as a file gives them back
        digest.update(json.dumps(plain, sort_keys=True).encode())
    for name in sorted(set(archive.namelist()) - {_ENTRY}):
        digest.update(f"{name} {archive.getinfo(name).file_size} ".encode() + archive.read(name))
    return digest.hexdigest()
