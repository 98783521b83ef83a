"""What ``vaebench run`` shows, and where: stdout, stderr, a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios

import pytest
from kit.repository import ROOT
from kit.snippets import HOLD, TWO_CELLS, checkpoints


def test_the_table_goes_to_stdout_and_all_else_to_stderr(whole):
    _, _, out, err = whole
    assert out.startswith("Belief nets on binarized MNIST")
    assert "[1/2]" not in out

    lines = err.splitlines()
    assert len(lines) == 4, (
        "a line when a cell begins and one when it ends, and no bar where there is no terminal"
    )

    assert lines[0] == "SBN 200 / NVIL seeds 0,1: training, update 0 of 120"
    assert lines[1].startswith("[1/2] nvil_mnist: SBN 200 / NVIL: done (seeds 0,1) bound ")
    assert lines[2] == "SBN 200 / WS seeds 0,1: training, update 0 of 120"
    assert lines[3].startswith("[2/2] nvil_mnist: SBN 200 / WS: done (seeds 0,1) bound ")
    # No characters of a progress bar.
    assert not {"\r", "\x1b", "|"} & set(out + err)


class Terminal:
    """A pseudo-terminal for a command; ``shown`` is what the command has written to it."""

    def __init__(self):
        self.master, slave = pty.openpty()

        self.name = os.ttyname(slave)
        self.shown = ""
        self._slave = slave

        termios.tcsetwinsize(slave, (24, 120))

    def read(self):
        """Read what is there, without waiting."""
        os.set_blocking(self.master, False)
        try:
            while data := os.read(self.master, 65536):
                self.shown += data.decode()
        except OSError:
            pass

        return self.shown

    def watch(self, command):
        """Read until a command has ended, and return its exit code."""
        while command.running():
            self.read()

        self.read()
        return command.wait()[0]

    def type(self, text):
        os.write(self.master, text)

    def close(self):
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_on_a_terminal_there_is_one_bar_and_it_goes(vaebench, terminal, results):
    command = vaebench("run", *TWO_CELLS, results, tty=terminal.name)

    assert terminal.watch(command) == 0
    shown = terminal.shown

    assert "updates/s" in shown
    assert re.search(r"SBN 200 / NVIL seeds 0,1 valid_bound \d", shown)
    assert "\x1b[A" not in shown, "one bar: the cursor never has to go up"
    assert "[2/2] nvil_mnist: SBN 200 / WS: done (seeds 0,1)" in shown
    assert shown.rpartition("\r")[2].strip() == "", "nothing is left of it"
    assert "\r" not in command.out


def test_ctrl_c_on_a_terminal(vaebench, terminal, results, until, tmp_path):
    command = vaebench(
        "run", *TWO_CELLS, results, tty=terminal.name, code=HOLD.format(until=False, seconds=2)
    )
    until(lambda: len(checkpoints(tmp_path)) == 2)

    # Ctrl-C as a key: the terminal makes a signal of it.
    terminal.type(b"\x03")
    assert terminal.watch(command) == 130

    shown = terminal.shown
    assert "vaebench: saving the state and stopping; once more to end at once\r\n" in shown
    assert shown.endswith(
        "vaebench: interrupted; the state is saved, the same command goes on from here\r\n"
    )
    assert "Traceback" not in shown


def test_it_runs_as_a_module_in_a_fresh_interpreter(results, tmp_path):
    """The one test that pays for its own imports."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env["VAEBENCH_DATA"] = str(tmp_path / "data")
    command = [
        sys.executable,
        "-m",
        "vaebench",
        "run",
        *TWO_CELLS,
        results,
        "--only",
        "column=NVIL",
    ]

    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Belief nets on binarized MNIST")
    assert len(ended.stderr.splitlines()) == 2
