"""Who imports whom, read off the sources. `python tests/imports.py [REPOSITORY]` draws it, a line for each room."""

import ast
import collections
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
EXPERIMENTS = ("nsl_image_recog", "sa_spherenet")
BENCHMARKS = "benchmarks"
PACKAGE = "neural_similarity"


def imported_modules(source, package):
    """(line, dotted name) of every import in a source, at any depth; `package` is where relative ones start."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from ((node.lineno, arg.value) for arg in node.args if isinstance(arg, ast.Constant))


def rooms(repository=REPOSITORY):
    """The rooms: what lies directly in the package, the experiments' folders and the benchmarks."""
    inside = {path.stem for path in (repository / PACKAGE).iterdir() if path.suffix == ".py" or path.is_dir()}
    return (inside - {"__init__", "__pycache__"}) | {"", *EXPERIMENTS, BENCHMARKS}


def room_of(module, known):
    """The room of a dotted name, or None if it is not ours: `neural_similarity.ops.window` is in `ops`."""
    first, *rest = module.split(".")
    if first in (*EXPERIMENTS, BENCHMARKS):
        return first
    if first != PACKAGE:
        return None
    return rest[0] if rest and rest[0] in known else ""


def sources(repository=REPOSITORY):
    """(path, room, package) of every module of the package, of the experiments and of the benchmarks."""
    for path in sorted((repository / PACKAGE).rglob("*.py")):
        parts = path.relative_to(repository).with_suffix("").parts
        room = "" if parts[1] == "__init__" else parts[1]
        yield path, room, ".".join(parts[:-1])
    for folder in (*EXPERIMENTS, BENCHMARKS):
        for path in sorted((repository / folder).rglob("*.py")):
            yield path, folder, folder


def drawn(repository=REPOSITORY):
    """The lines "room ← who imports it (in how many modules)", the most imported room first."""
    known = rooms(repository)
    importers = collections.defaultdict(collections.Counter)
    for path, room, package in sources(repository):
        modules = imported_modules(path.read_text(encoding="utf-8"), package)
        for imported in {room_of(module, known) for _, module in modules} - {None, room}:
            importers[imported][room] += 1
    for imported, counts in sorted(importers.items(), key=lambda item: (-sum(item[1].values()), item[0])):
        by = ", ".join(f"{room or PACKAGE} ({count})" for room, count in counts.most_common())
        yield f"{imported or PACKAGE} ← {by}"


if __name__ == "__main__":
    for line in drawn(*map(Path, sys.argv[1:2])):
        print(line)
