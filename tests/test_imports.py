"""Who may import whom, read off the sources; and the two lists of dependencies."""

import ast
import importlib
import sys

import pytest
from imports import BENCHMARKS, EXPERIMENTS, drawn, imported_modules, room_of, rooms, sources
from packaging.requirements import Requirement

from neural_similarity.config import REPOSITORY

TOOLS = {"arrays", "backend", "command", "errors", "files", "version", "quiet"}
METRIC_LEARNING = {"distances", "potentials", "estimators", "miners", "losses", "metrics"}
BELOW_FAMILIES = {"ops", "layers", "few_shot", "models", "data", "config", "training"} | METRIC_LEARNING | TOOLS
ABOVE_FAMILIES = {"interop", "interpret", "predict", "pretrained", "quickstart", "reporting"}
MAY_IMPORT = {  # room → rooms; itself always
    "": {"version"},
    **{tool: set() for tool in TOOLS},
    "arguments": set(),
    "arrays": {"files"},
    "backend": {"errors"},
    "quiet": {"backend", "errors"},
    "command": {"data", "errors"},
    "launch": {"data", "errors"},
    "__main__": TOOLS | {"data", "launch"} | ABOVE_FAMILIES,
    "config": {"data", "errors", "files", "version"},
    "ops": set(),
    "layers": {"ops", "backend"},
    "distances": {"ops", "potentials", "backend", "errors"},
    "miners": {"ops", "arguments"},
    "potentials": {"ops", "arguments", "backend"},
    "losses": {"ops", "distances", "miners", "arguments", "backend"},
    "metrics": {"distances", "errors"},
    "few_shot": {"ops"},
    "estimators": {"potentials", "distances", "losses", "miners", "arguments", "backend"},
    "models": {"ops", "layers", "backend"},
    "data": TOOLS - {"arrays", "command"},
    "training": {"config"} | TOOLS,
    "families": BELOW_FAMILIES,
    **dict.fromkeys(ABOVE_FAMILIES, BELOW_FAMILIES | {"families"} | ABOVE_FAMILIES),
    **dict.fromkeys(EXPERIMENTS, BELOW_FAMILIES | {"families"}),
    BENCHMARKS: BELOW_FAMILIES | {"families", "interop", "interpret", "reporting"},
}


def offences(source, room, package="neural_similarity"):
    return [
        f"{line}: `{room or 'neural_similarity'}` imports {module}"
        for line, module in imported_modules(source, package)
        if room_of(module, MAY_IMPORT) not in (None, room, *MAY_IMPORT[room])
    ]


def test_every_room_is_known():
    """A new room: put it into MAY_IMPORT, below or above `families`."""
    assert rooms() == set(MAY_IMPORT)
    assert {room for _, room, _ in sources()} <= rooms()


def test_no_room_imports_upwards():
    found = [
        f"{path.relative_to(REPOSITORY)}:{offence}"
        for path, room, package in sources()
        for offence in offences(path.read_text(encoding="utf-8"), room, package)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("source", "room", "count"),
    [
        ("from neural_similarity.layers import X", "ops", 1),
        ("from neural_similarity import layers, ops", "ops", 1),
        ("import neural_similarity.training.main as main", "models", 1),
        ("def f():\n    from neural_similarity.interop.merge import merge", "training", 1),
        ("import importlib\nimportlib.import_module('neural_similarity.training')", "layers", 1),
        ("from neural_similarity import config", "losses", 1),
        ("from neural_similarity import load_run", "training", 1),
        ("from neural_similarity.families import load_run", "training", 1),
        ("from neural_similarity.models import cnn9", "training", 1),
        ("from ..training import main", "ops", 1),
        ("from . import window\nfrom .window import Window", "ops", 0),
        ("from nsl_image_recog.static import train", "training", 1),
        ("from neural_similarity.reporting import tables", EXPERIMENTS[0], 1),
        ("from nsl_image_recog.static import train", "sa_spherenet", 1),
        ("from benchmarks import measure", "training", 1),
        ("from neural_similarity.ops import Window\nimport keras", "layers", 0),
        ("from neural_similarity.training.runs import load_run", "interop", 0),
    ],
)
def test_offences_are_seen(source, room, count):
    assert len(offences(source, room, f"neural_similarity.{room}")) == count


def test_order_of_the_rooms():
    """What the table above has to say, whatever else is added to it."""
    below = [("ops", "layers"), ("layers", "models"), ("models", "families"), ("data", "families")]
    for lower, upper in [*below, ("training", "families")]:
        assert lower in MAY_IMPORT[upper]
        assert upper not in MAY_IMPORT[lower]
    importers = {room for room, rooms in MAY_IMPORT.items() if "config" in rooms}
    assert importers == {"training", "families", *EXPERIMENTS, BENCHMARKS} | ABOVE_FAMILIES
    above = {room for room, rooms in MAY_IMPORT.items() if rooms & ABOVE_FAMILIES}
    assert above == ABOVE_FAMILIES | {BENCHMARKS, "__main__"}
    assert not any({*EXPERIMENTS, BENCHMARKS} & rooms for rooms in MAY_IMPORT.values())


def test_experiments_are_train_files():
    for folder in EXPERIMENTS:
        assert {path.name for path in (REPOSITORY / folder).rglob("*.py")} == {"train.py"}


def test_nothing_touches_the_search_path():
    for path in [*(path for path, *_ in sources()), *(REPOSITORY / "tests").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            touched = isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
            taken = isinstance(node, ast.ImportFrom) and node.module == "sys" and "path" in [a.name for a in node.names]
            assert not touched, f"{path}:{node.lineno}"
            assert not taken, f"{path}:{node.lineno}"


def test_both_lists_of_dependencies_are_the_same():
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # pytest brings tomli along
    project = toml.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    lines = (line.partition("#")[0].strip() for line in (REPOSITORY / "requirements.txt").read_text().splitlines())
    requirements = [line for line in lines if line and line != "-e ."]
    assert sorted(map(str, map(Requirement, requirements))) == sorted(map(str, map(Requirement, project)))
    assert len(requirements) >= 8
    assert all(Requirement(line).specifier for line in requirements)


def test_the_drawing_names_who_imports():
    lines = list(drawn())
    (layers,) = (line for line in lines if line.startswith("layers ← "))
    assert "models (" in layers
    assert "ops (" not in layers
    assert {line.split(" ← ")[0] for line in lines} <= rooms() | {"neural_similarity"}
