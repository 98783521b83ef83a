"""The command with streams that are closed, full or ASCII alone, and with Ctrl-C at the wrong
moment: one line each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kit.commands import python
from kit.repository import REFERENCE, ROOT

from vaebench.verbs import streams

COMMAND = f"{sys.executable} -m vaebench"
MESSAGES = "vaebench: cannot write to the standard output: "


def shell(line: str, **env: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a line of shell, with the ``vaebench`` of this checkout."""
    environment = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("VAEBENCH_", "PYTHON", "LC_", "LANG"))
    }
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env}

    line = line.replace("vaebench", COMMAND, 1)

    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("vaebench ls presets >&-", 1, "", f"{MESSAGES}it is closed\n"),
        ("vaebench --help >&-", 1, "", f"{MESSAGES}it is closed\n"),
        pytest.param(
            "vaebench ls presets >/dev/full",
            1,
            "",
            f"{MESSAGES}No space left on device\n",
            marks=FULL,
        ),
        ("vaebench ls nothing 2>&-", 2, "", ""),  # and nothing of the message among the results
        pytest.param("vaebench ls nothing 2>/dev/full", 2, "", "", marks=FULL),
        ("vaebench ls presets >&- 2>&- <&-", 1, "", ""),
    ],
)
def test_a_stream_that_takes_nothing_is_one_line_at_most(
    line: str, code: int, out: str, err: str
) -> None:
    assert shell(line) == (code, out, err)


def test_a_closed_input_is_an_empty_one() -> None:
    code, out, err = shell("vaebench ls presets <&-")

    assert (code, err) == (0, "")
    assert "tuned" in out


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Otherwise what a library writes to descriptor 1 would land in a results file."""
    # The exit code is the number that the first opened file was given.
    code = f"""
import os, sys
from vaebench import cli; from vaebench.verbs import streams
with streams.safe():
    file = open({str(tmp_path / "a")!r}, "w")
    os._exit(file.fileno())
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", code], close_fds=True, preexec_fn=_close_all
        ).returncode
        > 2
    )


def _close_all() -> None:
    for number in (0, 1, 2):
        os.close(number)


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_ascii_output_has_the_nearest_characters(env: dict[str, str]) -> None:
    """The report has standard errors over seeds, each printed after a ±."""
    source = REFERENCE / "dvae_sharp_sharp_mcmc-short.csv"
    env |= {"PYTHONCOERCECLOCALE": "0"}

    code, out, err = shell(f"vaebench report table=dvae_sharp_sharp_mcmc --from {source}", **env)

    assert (code, err) == (0, "")
    assert " +- " in out
    assert out.isascii()


@pytest.mark.parametrize(
    ("text", "plain"),
    [("1 ± 2", "1 +- 2"), ("Pérez", "Perez"), ("中", "\\u4e2d"), ("\udcff", "\\udcff")],
)
def test_nearest_characters(text: str, plain: str) -> None:
    with streams.safe():
        assert text.encode("ascii", streams.HANDLER).decode() == plain


def test_the_streams_are_given_back() -> None:
    before = sys.stdin, sys.stdout, sys.stderr, sys.stdout.errors

    with pytest.raises(KeyboardInterrupt), streams.safe():
        raise KeyboardInterrupt

    assert (sys.stdin, sys.stdout, sys.stderr, sys.stdout.errors) == before


@pytest.mark.parametrize("moment", ["vaebench.cli", "argparse", "logging"])
def test_an_interrupt_during_an_import_is_one_line(moment: str) -> None:
    """Before the command is imported, in the middle of it, and when its first parts are loaded."""
    code = f"""
import sys
class Stop:
    def find_spec(self, name, *rest):
        if name == {moment!r}:
            raise KeyboardInterrupt
sys.modules.pop({moment!r}, None)
sys.meta_path.insert(0, Stop())
sys.argv = ["vaebench", "ls"]
from vaebench.__main__ import main
sys.exit(main())
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "vaebench: interrupted\n")


BENCH = """
import types
def run(args):
    print("result")
    {}
m = types.ModuleType("bench"); m.HELP, m.configure, m.run = "", lambda p: None, run
sys.modules["vaebench.verbs.bench"] = m
sys.exit(main(["bench"]))
"""


@pytest.mark.parametrize(
    ("then", "code", "line"),
    [
        ("pass", 1, ""),
        ("raise KeyboardInterrupt", 130, "vaebench: interrupted\n"),
        ("print('x' * 10**6)", 1, ""),
    ],
)
def test_a_closed_pipe_is_silent(then, code, line):
    reading, writing = os.pipe()
    os.close(reading)

    done = python(BENCH.format(then), stdout=writing)

    os.close(writing)

    assert (done.returncode, done.stderr) == (code, line)


@FULL
@pytest.mark.parametrize(
    ("then", "code", "word"), [("pass", 1, "No space left"), ("raise ValueError(7)", 1, "7")]
)
def test_a_full_disk_under_stdout_is_one_line(then, code, word):
    with open("/dev/full", "w") as full:
        done = python(BENCH.format(then), stdout=full)

    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert word in done.stderr
