"""Fixtures of real commands, each in a process of its own, that can be interrupted and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kit.repository import ROOT


class Command:
    """One ``vaebench`` process, the leader of its own session."""

    def __init__(self, zygote, pid, out, err):
        self.zygote = zygote
        self.pid = pid
        self._out = out
        self._err = err

    def wait(self, timeout=90.0):
        """(exit code, stdout, stderr)"""
        code = self.zygote.ask({"do": "wait", "pid": self.pid, "timeout": timeout})["code"]
        if code is None:
            os.killpg(self.pid, signal.SIGKILL)
            pytest.fail(f"the command did not end; its stderr: {self.err}")

        return code, self.out, self.err

    @property
    def out(self):
        return self._out.read_text()

    @property
    def err(self):
        return self._err.read_text() if self._err.is_file() else ""

    def running(self):
        return self.zygote.ask({"do": "wait", "pid": self.pid, "timeout": 0})["code"] is None

    def signal(self, number):
        """Send a signal to the process itself, as ``kill`` does."""
        os.kill(self.pid, number)

    def signal_all(self, number):
        """Send a signal to the process and its children, as a terminal or a batch system does."""
        os.killpg(self.pid, number)

    def survivors(self):
        """Processes of its session that still run (its own, or its children's)."""
        pids = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                # Behind the name, which may hold anything: state, parent, group, session.
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.pid and fields[0] != "Z":
                pids.append(int(place.name))

        return pids


class Zygote:
    """The process of ``zygote.py``, which starts the commands."""

    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        env = {k: v for k, v in os.environ.items() if not k.startswith("VAEBENCH_")}
        env |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        env |= {"VAEBENCH_DATA": str(folder / "data")}
        # -P: the command must not find the modules beside the script.
        command = [sys.executable, "-P", str(Path(__file__).with_name("zygote.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=env, cwd=folder, **pipes)
        self.process.stdout.readline()  # "ready"

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, args, code="", child="", tty=None):
        self.count += 1
        out, err = (self.folder / f"{self.count}.{kind}" for kind in ("out", "err"))
        err = Path(tty) if tty else err
        request = {"do": "fork", "args": args, "code": code, "child": child}
        request |= {"out": str(out), "err": str(err), "tty": bool(tty)}
        return Command(self, self.ask(request)["pid"], out, err)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


@pytest.fixture
def vaebench(zygote):
    """Start ``vaebench ARGUMENTS...`` in a process of its own: a Command.

    ``code`` runs in it first, ``child`` in each of its children; ``tty``: the path of a terminal
    for its stderr.
    """
    started = []

    def start(*args, **how):
        started.append(zygote.start(list(args), **how))
        return started[-1]

    yield start

    for command in started:
        if command.running():
            command.signal_all(signal.SIGKILL)
            command.wait()


@pytest.fixture
def until():
    """Wait for something to become true."""

    def wait(condition, timeout=60.0):
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.02)

    return wait
