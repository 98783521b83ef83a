"""The command, called in this process and in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

from kit.repository import ROOT
from vaebench.cli import main


def call(capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command in this process."""
    code = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def python(code, *, conf=None, env=None, **options):
    """A fresh interpreter in which ``main`` is at hand, with another
    configuration folder if given."""
    setup = "import sys; from pathlib import Path; from vaebench.config import catalogue\n"
    setup += "from vaebench.cli import main\n"
    if conf is not None:
        setup += f"catalogue.conf_dir = lambda: Path({str(conf)!r})\n"
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("VAEBENCH_", "PYTHONUNBUFFERED"))
    }
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, "-c", setup + code], env=environment, text=True, timeout=60, **options
    )
