"""The house rules of the source: who imports whom, who words errors, who seeds, and what an import costs."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pitskd

PACKAGE = Path(pitskd.__file__).parent
ROOMS = [
    *(
        "_validation",
        "_random",
        "_files",
        "_calendars",
        "_series",
        "_plan",
        "windows",
        "parts",
        "datasets",
        "metrics",
        "_lessons",
        "_teaching",
        "_estimator",
    ),
    *(
        "linear",
        "_distiller",
        "distillation",
        "_folds",
        "_candidates",
        "_combination",
        "privileged",
        "models",
        "losses",
        "objective",
        "training",
        "neural",
    ),
    *("lupi", "persistence", "forecasting", "anomaly", "compression", "experiments", "cli"),
]
HEAVY = ("torch", "sklearn", "scipy", "pandas", "matplotlib")
EXPORTED_ROOMS = (
    "windows",
    "parts",
    "datasets",
    "metrics",
    "linear",
    "distillation",
    "privileged",
    "neural",
    "anomaly",
)
MODULES = sorted(PACKAGE.rglob("*.py"))
every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def dotted(node):
    """Return `a.b.c` of an attribute chain, else None."""
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return head and f"{head}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def imported(tree):
    """Yield the dotted names of the package that a module imports or reaches through it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and (name := dotted(node)):
            yield name


def rooms_used(tree):
    for name in imported(tree):
        package, _, rest = name.partition(".")
        first = rest.partition(".")[0]
        if package == "pitskd" and first and not first.startswith("__"):
            yield pitskd._HOME.get(first, first)


@every_module
def test_a_module_imports_only_rooms_above_its_own(path):
    if path == PACKAGE / "__init__.py":
        return
    room = room_of(path)
    assert room in ROOMS, f"room {room} has no place in the order"
    for used in rooms_used(ast.parse(path.read_text())):
        assert used in ROOMS, f"{used} is no room"
        assert used == room or ROOMS.index(used) < ROOMS.index(room), f"{room} imports {used}, which is below it"


@every_module
def test_only_the_validation_room_words_argument_errors(path):
    if path.name == "_validation.py":
        return
    worded = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and dotted(node.exc.func) in ("ValueError", "TypeError")
    ]
    assert not worded, f"lines {worded} word an argument error; use pitskd._validation.wrong"


@every_module
def test_only_the_random_room_seeds_or_draws_from_a_global_generator(path):
    if path.name == "_random.py":
        return
    tree = ast.parse(path.read_text())
    allowed = {"np.random.Generator", "np.random.RandomState"}  # kinds, in annotations
    used = {name for name in imported(tree) if re.match(r"(np|numpy)\.random\.\w", name)} - allowed
    used |= {name for name in imported(tree) if re.match(r"random(\.|$)", name) or "manual_seed" in name}
    assert not used


@every_module
def test_a_module_opens_with_its_one_idea_and_stays_readable(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) < 700


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_package_loads_nothing_heavy_and_yet_every_name_is_reachable():
    code = f"import sys, pitskd; print(*[name for name in {HEAVY} if name in sys.modules])"
    assert run(code) == []
    reach = "import pitskd; print(*[name for name in pitskd.__all__ if getattr(pitskd, name, None) is None])"
    assert run(reach) == []


def test_every_public_name_and_room_is_listed_once_and_can_be_completed():
    assert len(set(pitskd.__all__)) == len(pitskd.__all__)
    assert set(pitskd.__all__) <= set(dir(pitskd))
    for name in pitskd._ROOMS:
        assert getattr(pitskd, name) is importlib.import_module(f"pitskd.{name}")
    for name, room in pitskd._HOME.items():
        assert getattr(pitskd, name) is getattr(importlib.import_module(f"pitskd.{room}"), name)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"has no attribute 'Student'\. It has: .*GeneralizedDistillation"):
        _ = pitskd.Student


def test_names_for_type_checkers_are_the_public_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If) and dotted(node.test) == "TYPE_CHECKING"]
    found = {}
    for node in ast.walk(ast.Module([part for block in blocks for part in block.body], [])):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: node.module for alias in node.names}
    names = {name: module.split(".")[1] for name, module in found.items() if module != "pitskd"}
    rooms = {name for name, module in found.items() if module == "pitskd"}
    assert names == pitskd._HOME
    assert rooms <= set(pitskd._ROOMS)
    for name, module in found.items():
        assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("room", EXPORTED_ROOMS)
def test_every_name_of_a_room_is_exported_by_the_package(room):
    assert set(importlib.import_module(f"pitskd.{room}").__all__) == set(pitskd._ROOMS[room])
