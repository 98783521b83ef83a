"""The layout of the package: who may import whom. The table is the documentation, the test holds it.

A file imports only from lower floors and from its own package. So one may read from the ground up, each file with
nothing unknown in it, and change a file with only the floors above in mind.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vaebench

ROOT = Path(vaebench.__file__).parent

FLOORS: list[list[str]] = [
    ["errors", "files", "seeds", "stats", "words", "streams"],  # errors, whole files, random streams, numbers, output
    ["defaults", "renamed"],  # what settings are where nothing is said; what options were called before
    ["config", "validate"],  # what a table, a cell and a run are; what a setting may be
    ["steps", "status"],  # loops that can be stopped and gone on with; how far work is
    ["protocol", "result_file"],  # what is measured, and how; what a run came to
    ["schema", "kernels"],  # what a file may hold; loops of our own, which know arrays alone
    ["catalogue", "noise", "optim", "nn", "data"],  # what is shipped, drawn, descended, built from, read
    ["flags"],  # what is wrong with a number or a run
    [
        "compose",
        "store",
        "dists",
        "batches",
        "means_file",
    ],  # command lines -> cells; result files; distributions; rows of an update
    [
        "rekey",
        "report",
        "checkpoint",
        "models",
    ],  # folders of other names; results -> pages; tensors -> files; model families
    ["objectives", "metrics", "snapshots", "partial"],  # learning rules; measures; what is kept on the way
    ["kernel_engine"],  # the kernels that train, as an engine
    ["fast", "evaluate", "generation"],  # many seeds at once; model -> measures; model -> cases
    [
        "inner",
        "bench_text",
        "bench_importance",
        "bench_packs",
        "bench_jax",
        "check_line",
    ],  # updates before an update; speed with documents, of an evaluation; a line of a check
    ["run_state", "schedule"],  # where a seed stands; what is due when; settings -> model, rule, optimiser
    ["build", "bookkeeping"],  # what is written down on the way
    ["train", "check_documents", "bench_boltzmann"],  # the loop; estimators against exact answers; speed
    [
        "resume",
        "means",
        "trained",
        "check",
        "bench",
    ],  # where a run stands; posterior means on its way; the model it gave
    ["session"],  # a cell's seeds in one process
    ["runner"],  # cells x seeds
    ["pool", "progress"],  # processes; what a person sees
    ["verbs"],  # one file for each word after `vaebench`
    ["cli"],
    ["__main__"],
]
"""Rooms (files and packages of vaebench) from the ground up."""

NO_TORCH = ["files", "stats", "words", "steps", "status", "defaults", "renamed", "config", "validate", "protocol"]
NO_TORCH += ["result_file", "schema", "catalogue", "flags", "compose", "store", "rekey", "report", "verbs", "cli"]
NO_TORCH += ["data"]
"""Rooms that start without torch, so that the commands that only read answer at once."""


def floor_of(room: str) -> int:
    for floor, rooms in enumerate(FLOORS):
        if room in rooms:
            return floor
    raise LookupError(f"vaebench/{room} has no floor: add it to FLOORS in tests/test_floors.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [
        p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py" and "conf" not in p.relative_to(ROOT).parts
    ]


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(module, line) of every import, wherever it stands; ``from vaebench import x`` counts as vaebench.x."""
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
    """The part that runs when the module is imported: no function bodies, no blocks for the type checker."""

    class Prune(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return None

        visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

        def visit_If(self, node):
            return None if ast.unparse(node.test).endswith("TYPE_CHECKING") else self.generic_visit(node)

    return Prune().visit(tree)


def violations(room: str, source: str) -> list[str]:
    """What a file of ``room`` imports and may not."""
    out = []
    for module, line in imported(ast.parse(source)):
        parts = module.split(".")
        if parts[0] == "vaebench" and len(parts) > 1 and not parts[1].startswith("__version"):
            other = parts[1]
            if other != room and floor_of(other) >= floor_of(room):
                out.append(f"line {line}: {room} (floor {floor_of(room)}) imports {other} (floor {floor_of(other)})")
        if parts[0] in ("hydra", "omegaconf") and room != "compose":
            out.append(f"line {line}: {room} imports {parts[0]}; only compose.py may")
    if room in NO_TORCH:
        heavy = [line for module, line in imported(at_start(ast.parse(source))) if module.split(".")[0] == "torch"]
        out += [f"line {line}: {room} imports torch at its start" for line in heavy]
    return out


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_keeps_to_its_floor(path):
    assert violations(room_of(path), path.read_text(encoding="utf-8")) == []


def test_every_room_stands_once_and_exists():
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == {room_of(p) for p in files()}


def test_objectives_and_metrics_know_nothing_of_each_other():
    for room, other in (("objectives", "metrics"), ("metrics", "objectives")):
        for path in (ROOT / room).glob("*.py"):
            names = [module for module, _ in imported(ast.parse(path.read_text(encoding="utf-8")))]
            assert not [name for name in names if name.startswith(f"vaebench.{other}")], path


def test_the_runner_starts_without_a_session():
    """The runner starts a session inside a function: it lists and skips cells without loading torch."""
    tree = at_start(ast.parse((ROOT / "runner.py").read_text(encoding="utf-8")))
    assert not {"vaebench.session", "vaebench.train", "torch"} & {module for module, _ in imported(tree)}


@pytest.mark.parametrize(
    ("room", "source", "count"),
    [
        ("models", "from vaebench.dists import bernoulli", 0),
        ("models", "from vaebench.models import belief_net", 0),
        ("models", "from vaebench import seeds, __version__", 0),
        ("models", "from vaebench import objectives", 1),
        ("models", "def f():\n    import vaebench.train", 1),
        ("objectives", "from vaebench.metrics.bound import bound", 1),
        ("metrics", "from vaebench.objectives import nvil", 1),
        ("runner", "def f():\n    from vaebench.session import Session", 0),
        ("session", "from vaebench.runner import run", 1),
        ("report", "import hydra.errors", 1),
        ("compose", "from hydra import compose\nfrom omegaconf import OmegaConf", 0),
        ("report", "import torch", 1),
        ("report", "try:\n    from torch import nn\nexcept ImportError:\n    pass", 1),
        ("report", "def f():\n    import torch", 0),
        ("store", "if TYPE_CHECKING:\n    import torch", 0),
        ("train", "import torch", 0),
    ],
)
def test_the_reading_of_imports(room, source, count):
    assert len(violations(room, source)) == count


def test_a_module_without_a_floor_is_named():
    with pytest.raises(LookupError, match="vaebench/cellar has no floor"):
        violations("models", "from vaebench.cellar import wine")


def test_what_must_start_at_once_does():
    """In a fresh interpreter: every module without torch, imported together, brings neither it nor hydra."""
    modules = [
        ".".join(["vaebench", *p.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for p in files()
        if room_of(p) in NO_TORCH and p.parent.name != "data"
    ]
    assert len(modules) > 15
    code = f"import importlib, sys\nfor m in {modules!r}:\n    importlib.import_module(m)\n"
    code += "print(sorted({'torch', 'hydra'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    assert done.stdout.strip() == "[]"
