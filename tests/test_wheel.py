"""A wheel works in an environment of its own, without a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "vaebench",
    "conf",
    "results/reference",
    "results/published",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """An interpreter in an environment with the wheel; all other packages are borrowed from this
    one."""
    pytest.importorskip("setuptools", minversion="77")
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"

    # The wheel is built from a copy, because a build leaves files in its folder.
    for part in PARTS:
        target = source / part
        target.parent.mkdir(parents=True, exist_ok=True)

        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, target)

    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    wheels = place / "wheels"
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source], place)

    venv.create(place / "env", symlinks=True)
    libraries = sysconfig.get_path("purelib", vars={"base": str(place / "env")})
    run(
        [*pip, "install", "--no-deps", "--no-index", "--target", libraries, *wheels.glob("*.whl")],
        place,
    )

    # A .pth file puts the site-packages of this interpreter behind those of the environment.
    borrowed = [p for p in sys.path if p.endswith("site-packages")]
    (Path(libraries) / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return place / "env" / "bin" / "python"


def run(command: list, folder: Path, code: int = 0) -> str:
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VAEBENCH", "COLUMNS"))
    }
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, env=env, capture_output=True, text=True
    )

    assert done.returncode == code, done.stderr

    return done.stdout


def test_the_package_is_the_wheel_s(python, tmp_path):
    where = run([python, "-c", "import vaebench; print(vaebench.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(python.parents[1])


def test_reports_and_comparisons_with_the_reference(python, tmp_path):
    words = ["table=nvil_mnist", "preset=short", "--from", "reference"]
    run(
        [python, "-m", "vaebench", "report", *words, "--format", "csv", "--output", "mine.csv"],
        tmp_path,
    )

    assert "rows within what is allowed" in run(
        [python, "-m", "vaebench", "compare", "mine.csv", "reference"], tmp_path
    )


def test_from_python(python, tmp_path):
    code = (
        "import vaebench as vb; print(len(vb.reference('nvil_mnist', 'short')), "
        "len(vb.load_data('digits').test))"
    )
    results, cases = map(int, run([python, "-c", code], tmp_path).split())

    assert results > 50
    assert cases == 300


def test_a_dry_run_knows_its_cost(python, tmp_path):
    out = run(
        [python, "-m", "vaebench", "run", "table=nvil_mnist", "preset=short", "--dry-run"], tmp_path
    )
    assert "of unknown cost" not in out
    assert "to do: about" in out


def test_the_paper_s_numbers_are_there(python, tmp_path):
    line = next(
        n
        for n in run([python, "-m", "vaebench", "show", "table=nvil_mnist"], tmp_path).splitlines()
        if "as published" in n
    )
    assert Path(line.split()[1].rstrip(",")).is_file()
