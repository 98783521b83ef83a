"""The layout of the package is what docs/architecture.md says: which rooms it has, and which may
import which."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vaebench

ROOT = Path(vaebench.__file__).parent
PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"


def floors() -> list[list[str]]:
    """The rooms of each line of the import list, from the ground up."""
    block = re.search(
        r"<!-- imports: begin -->\n+```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S
    )
    assert block, f"{PAGE} has no import list"

    return [line.split("#")[0].replace(",", " ").split() for line in block[1].splitlines()]


FLOORS = floors()
WITHOUT_TORCH = [
    "errors",
    "files",
    "formatting",
    "work",
    "data",
    "settings",
    "protocol",
    "config",
    "results",
]
WITHOUT_TORCH += ["report", "verbs", "cli"]
"""Rooms that do not import torch at their start, so that commands that only read answer at once."""


def floor_of(room: str) -> int:
    for floor, rooms in enumerate(FLOORS):
        if room in rooms:
            return floor
    raise LookupError(f"vaebench/{room} is not in the import list of docs/architecture.md")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [
        p
        for p in sorted(ROOT.rglob("*.py"))
        if p != ROOT / "__init__.py" and "conf" not in p.relative_to(ROOT).parts
    ]


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(module, line) of every import, wherever it stands.

    ``from vaebench import x`` counts as an import of vaebench.x.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            if node.module == "vaebench":
                yield from ((f"vaebench.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def at_start(tree: ast.Module) -> ast.Module:
    """The part that runs when the module is imported, without function bodies and blocks for the
    type checker."""

    class Prune(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return None

        visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

        def visit_If(self, node):
            return (
                None
                if ast.unparse(node.test).endswith("TYPE_CHECKING")
                else self.generic_visit(node)
            )

    return Prune().visit(tree)


def violations(room: str, source: str) -> list[str]:
    """The imports that a file of ``room`` must not have, whether at its start, in a function or for
    the type checker."""
    out = []
    for module, line in imported(ast.parse(source)):
        parts = module.split(".")
        if parts[0] == "vaebench" and len(parts) > 1 and not parts[1].startswith("__version"):
            imported_room = parts[1]
            if imported_room != room and floor_of(imported_room) >= floor_of(room):
                out.append(
                    f"line {line}: {room} (floor {floor_of(room)}) imports {imported_room} "
                    f"(floor {floor_of(imported_room)})"
                )
        if parts[0] in ("hydra", "omegaconf") and room != "config":
            out.append(f"line {line}: {room} imports {parts[0]}; only config may")

    if room in WITHOUT_TORCH:
        heavy = [
            line
            for module, line in imported(at_start(ast.parse(source)))
            if module.split(".")[0] == "torch"
        ]
        out += [f"line {line}: {room} imports torch at its start" for line in heavy]

    return out


def module_of(path: Path) -> str:
    return ".".join(["vaebench", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(
        ".__init__"
    )


def imports_among(sources: dict[str, str]) -> dict[str, set[str]]:
    """Module -> the others that it imports, wherever in it the import stands.

    ``sources``: module -> its text.
    """
    imports: dict[str, set[str]] = {}
    for name, source in sources.items():
        used = imports.setdefault(name, set())
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                # ``from vaebench.dists import rbm`` imports the file rbm, and is not counted as an
                # import of the package's __init__.
                parts = {f"{node.module}.{alias.name}" for alias in node.names}
                used |= parts if parts <= sources.keys() else parts | {node.module}

        imports[name] = used & sources.keys()

    return imports


@pytest.mark.parametrize("room", sorted({room_of(p) for p in files()}))
def test_every_file_imports_from_lower_floors_alone(room):
    by_file = {
        str(p.relative_to(ROOT)): violations(room, p.read_text("utf-8"))
        for p in files()
        if room_of(p) == room
    }
    assert {name: lines for name, lines in by_file.items() if lines} == {}


def test_imports_have_no_circle():
    """Files of one room have no circle of imports either. Imports in functions or for the type
    checker count, since they would only hide one."""
    sources = {module_of(p): p.read_text("utf-8") for p in files()}
    TopologicalSorter(imports_among(sources)).prepare()  # raises CycleError, with the files


@pytest.mark.parametrize(
    "back",
    [
        "def f():\n    from vaebench.dists import rbm",
        "if TYPE_CHECKING:\n    import vaebench.dists.rbm",
    ],
)
def test_a_circle_is_found(back):
    sources = {
        "vaebench.dists.rbm": "from vaebench.dists.exact import log_z",
        "vaebench.dists.exact": back,
    }
    with pytest.raises(CycleError, match="cycle"):
        TopologicalSorter(imports_among({**sources, "vaebench.dists": ""})).prepare()


def test_every_room_stands_once_in_the_import_list_and_in_the_tree():
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == {room_of(p) for p in files()}

    tree = re.search(r"```\nvaebench/\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]
    # Rooms stand in the tree without indentation or with little; the files in them deeper.
    named = {
        name
        for line in tree.splitlines()
        if not line.startswith("   ")
        for name in re.findall(r"(\w+)[/.]", line)
    }

    assert set(rooms) <= named


def test_the_root_is_small():
    assert len([p for p in ROOT.glob("*.py")]) <= 6


def test_objectives_and_metrics_know_nothing_of_each_other():
    for room, forbidden in (("objectives", "metrics"), ("metrics", "objectives")):
        for path in (ROOT / room).rglob("*.py"):
            names = [module for module, _ in imported(ast.parse(path.read_text(encoding="utf-8")))]
            assert not [name for name in names if name.startswith(f"vaebench.{forbidden}")], path


def test_the_report_composes_nothing():
    """Not even inside a function. There is no need: the protocol of the paper's number stands in
    the cell and in the CSV."""
    for path in (ROOT / "report").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {module for module, _ in imported(tree)}
        names |= {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

        assert not {"compose", "vaebench.config.compose"} & names, path


def test_tasks_start_without_a_session():
    """They import the session inside a function, so that cells are listed and skipped without
    torch."""
    tree = at_start(ast.parse((ROOT / "running" / "tasks.py").read_text(encoding="utf-8")))
    assert not {"vaebench.running.session", "vaebench.training.loop", "torch"} & {
        module for module, _ in imported(tree)
    }


@pytest.mark.parametrize(
    ("room", "source", "count"),
    [
        ("models", "from vaebench.dists import bernoulli", 0),
        ("models", "from vaebench.models import belief_net", 0),
        ("models", "from vaebench import rng, __version__", 0),
        ("models", "from vaebench import objectives", 1),
        ("models", "def f():\n    import vaebench.training.loop", 1),
        ("objectives", "from vaebench.metrics.bound import bound", 1),
        ("estimators", "from vaebench.objectives import nvil", 1),
        ("training", "def f():\n    from vaebench.running.session import Session", 1),
        ("running", "from vaebench.running.tasks import run", 0),
        ("nn", "if TYPE_CHECKING:\n    from vaebench.dists import rbm", 1),
        ("report", "import hydra.errors", 1),
        ("config", "from hydra import compose\nfrom omegaconf import OmegaConf", 0),
        ("report", "import torch", 1),
        ("report", "try:\n    from torch import nn\nexcept ImportError:\n    pass", 1),
        ("report", "def f():\n    import torch", 0),
        ("results", "if TYPE_CHECKING:\n    import torch", 0),
        ("training", "import torch", 0),
    ],
)
def test_the_reading_of_imports(room, source, count):
    assert len(violations(room, source)) == count


def test_a_module_without_a_floor_is_named():
    with pytest.raises(LookupError, match="vaebench/cellar is not in the import list"):
        violations("models", "from vaebench.cellar import wine")


def test_what_must_start_at_once_does():
    """In a fresh interpreter, all modules that must start without torch are imported together. They
    bring neither torch nor hydra."""
    modules = [
        module_of(p)
        for p in files()
        if room_of(p) in WITHOUT_TORCH and p.relative_to(ROOT).parts[0] != "data"
    ]
    assert len(modules) > 15

    code = f"import importlib, sys\nfor m in {modules!r}:\n    importlib.import_module(m)\n"
    code += "print(sorted({'torch', 'hydra'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True
    )

    assert done.stdout.strip() == "[]"


def test_the_tests_have_the_rooms_of_the_package():
    """Folders of tests are named after rooms, but for three: what holds for every option
    (contract), the documentation and the scripts."""
    rooms = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    test_rooms = {p.parent.name for p in Path(__file__).parent.glob("*/test_*.py")}

    assert test_rooms - rooms == {"contract", "docs", "scripts"}
