"""docs/extending.md tells the truth: its files work in a copy of the repository, and its commands
run there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kit.repository import ROOT

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.models import base

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
# A block with a file: `path`: and then a fence with its language.
BLOCK = re.compile(r"`([\w./]+)`:\n\n```(\w+)\n(.*?)```", re.S)
FENCES = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.S | re.M)
COMMANDS = [line for language, block in FENCES if not language for line in block.splitlines()]
AFTER = COMMANDS[-3:]
"""The last commands of the page, which work on the whole repository and are not run here."""

FEW = [
    "train.updates=4",
    "train.valid_every=2",
    "run.engine=plain",
    "run.jobs=1",
    "model.dims=[3]",
    "eval.iw_samples=2",
]
"""Settings that make runs short; a command gets those that it does not set itself."""

DRIVER = """
import json, shlex, sys, pytest
from pathlib import Path
from vaebench.cli import main

few = {few!r}
for command in json.loads(sys.argv[1]):
    words = shlex.split(command)
    print("$", command, flush=True)
    if words[0] == "pytest":
        quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = pytest.main([*quiet, *words[1:]])
    else:
        run = next(iter(sorted(Path("results/runs").glob("digits-*wake*/seed-0"))), "RUN")
        words = [str(run) if word == "RUN" else word for word in words]
        given = [word.partition("=")[0] for word in words]
        more = [text for text in few if text.partition("=")[0] not in given]
        more = more if words[1] in ("run", "report") and "--dry-run" not in words else []
        code = main([*words[1:], *more])
    if code:
        sys.exit(f"{{command}}: exit code {{code}}")
"""


def inserted(text: str, diff: str) -> str:
    """``text`` with the ``+`` lines of a diff, each after the line above it in the diff.

    Lines without ``+`` must stand exactly once in ``text``.
    """
    place = ""
    for line in diff.splitlines():
        if line.startswith(" "):
            place = line[1:]
            assert text.count(f"{place}\n") == 1, (
                f"the page speaks of a line that is not there: {place}"
            )
        else:
            assert line.startswith("+")

            text = text.replace(f"{place}\n", f"{place}\n{line[1:]}\n")
            place = line[1:]  # the next line follows the inserted one

    return text


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the repository into which all files of the page are put."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("vaebench", "conf", "tests/contract", "tests/kit"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "tests" / "objectives").mkdir()

    # A diff changes a file of the repository; every other block is a new file.
    blocks = BLOCK.findall(PAGE)

    assert len(blocks) == 13

    for path, language, content in blocks:
        file = folder / path
        if language == "diff":
            content = inserted(file.read_text(encoding="utf-8"), content)
        else:
            assert not file.exists(), path

        file.write_text(content, encoding="utf-8")

    return folder


@pytest.mark.timeout(600)
def test_everything_works(copy):
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "VAEBENCH_DATA": str(copy / "data"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("VAEBENCH_MIRROR", None)
    commands = COMMANDS[: -len(AFTER)]

    assert len(commands) == 12

    driver = [sys.executable, "-c", DRIVER.format(few=FEW), json.dumps(commands)]
    done = subprocess.run(driver, cwd=copy, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    outputs = done.stdout.split("$ ")
    assert "stripes" in outputs[4]
    assert (
        "logistic_pca"
        in (copy / "results" / "runs").glob("stripes-logistic_pca3-iw_bound-*").__next__().name
    )
    assert "reconstruction" in outputs[-1]


def test_the_style_is_that_of_the_repository(copy):
    files = [path for path, language, _ in BLOCK.findall(PAGE) if language != "yaml"]
    ruff = Path(sys.executable).with_name("ruff")

    for check in (["check"], ["format", "--check"]):
        done = subprocess.run([ruff, *check, *files], cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_a_model_has_what_the_page_says():
    part = PAGE.split("which objectives can train it", 1)[1].split("\n\nAn objective", 1)[0]

    # A row of the page's table has one or more base classes, and the names that they ask for.
    rows = re.findall(r"^\| (`.*?`) \| (`.*?`) \|", part, re.M)

    assert len(rows) > 5

    named = {
        name: re.findall(r"`(\w+)`", has)
        for kinds, has in rows
        for name in re.findall(r"`(\w+)`", kinds)
    }
    # The base classes of the module itself.
    classes = [
        v
        for v in vars(base).values()
        if isinstance(v, type) and v.__module__ == base.__name__ and not issubclass(v, tuple)
    ]
    kinds = {kind.__name__: kind for kind in classes if not kind.__name__.startswith("_")}

    assert set(named) == set(kinds)

    # ``Model`` has attributes that only an instance has; the others are looked up in the classes.
    model = models.build({"name": "sbn", "dims": [2]}, DataInfo([0.5] * 4))
    assert [name for name in named["Model"] if not hasattr(model, name)] == []
    for name in set(named) - {"Model"}:
        assert [
            word for word in named[name] if not any(hasattr(kind, word) for kind in classes)
        ] == []

        abstract = {
            word
            for word, v in vars(kinds[name]).items()
            if getattr(v, "__isabstractmethod__", False)
        }
        assert abstract <= set(named[name]), name


def test_what_follows_anything_new_is_there():
    for command in AFTER:
        assert all((ROOT / word).exists() for word in command.split() if "/" in word), command


def test_a_line_that_is_gone_is_noticed():
    assert inserted("a\nb\n", " a\n+x\n+y\n b\n+z\n") == "a\nx\ny\nb\nz\n"
    with pytest.raises(AssertionError, match="not there: c"):
        inserted("a\nb\n", " c\n+x\n")
