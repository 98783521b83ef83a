"""Tables on real clusters, Slurm and Ray: whatever goes wrong, no run is lost, none trained twice.

The tests of Slurm need submitit. SLURM_CONF must name the configuration of a Slurm in which this
user may submit jobs and set nodes down; two nodes of one core are enough. The tests of Ray need
ray, and start a cluster of two nodes themselves.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kit.repository import ROOT

NO_SLURM = (
    ""
    if os.environ.get("SLURM_CONF") and shutil.which("sbatch")
    else "SLURM_CONF is not set, or no sbatch here"
)
NO_SUBMITIT = "" if importlib.util.find_spec("submitit") else "submitit is not installed"
NO_RAY = "" if importlib.util.find_spec("ray") else "ray is not installed"

slurm = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(NO_SLURM or NO_SUBMITIT), reason=NO_SLURM or NO_SUBMITIT),
]
ray = [pytest.mark.ray, pytest.mark.skipif(bool(NO_RAY), reason=NO_RAY)]
slow = [pytest.mark.slow, pytest.mark.timeout(1500)]

SMALL = [
    *("table=nvil_mnist", "preset=quick", "run.engine=plain", "run.device=cpu", "run.jobs=1"),
    *("train.updates=200", "train.valid_every=50", "eval.iw_samples=3", "eval.bound_samples=2"),
]
ROWS = [
    w
    for row in ("SBN 200", "SBN 500", "SBN 200-200", "SBN 200-200-200")
    for w in ("--only", f"row={row}")
]
FORTY = [*SMALL, *ROWS, "--seeds", "0-4"]
SIX = [*SMALL, "--only", "SBN 200", "--seeds", "0-2", "train.updates=2000"]

HOOK = """
import os, sys
words = " ".join(sys.orig_argv)
if os.environ.get("TRAININGS") and ("submitit" in words or "default_worker" in words):
    import importlib.abc, importlib.util

    class Hook(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "vaebench.running.session":
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            real = spec.loader.exec_module

            def exec_module(module):
                real(module)
                import inspect, time
                train = module.train

                def note(word, seeds):
                    with open(os.environ["TRAININGS"], "a") as f:
                        for s in seeds:
                            f.write(f"{word} {s.folder.parent.name} {s.seed} {s.update}\\n")

                def logged(config, splits, seeds, *rest):
                    given = inspect.signature(train).bind(config, splits, seeds, *rest)
                    report = given.arguments["report"]

                    def slow(*a, **k):
                        if os.path.exists(os.environ["TRAININGS"] + ".slow"):
                            time.sleep(4)
                        return report(*a, **k)

                    given.arguments["report"] = slow
                    note("begins", seeds)
                    train(*given.args, **given.kwargs)
                    note("ends", seeds)

                module.train = logged

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Hook())
"""
"""A sitecustomize.py for every job.

Each training then writes a line when it begins and one when it ends: the word, the run's key, its
seed and its update. It is slow as long as the file ``trainings.slow`` exists.
"""


class Commands:
    """Commands with one results folder, and what their jobs have trained.

    Args:
        place: Folder for the results, the logs and the hook of the jobs.
        launcher: ``slurm`` or ``ray``.
    """

    def __init__(self, place: Path, launcher: str):
        self.place = place
        self.launcher = launcher
        self.results = place / "runs"
        self.log = place / "trainings"

        # Python imports sitecustomize from PYTHONPATH when a job starts.
        (place / "hook").mkdir(parents=True)
        (place / "hook" / "sitecustomize.py").write_text(HOOK)

        self.more = [f"run.launcher={launcher}", "run.time_limit=30", "run.grace=60"]
        self.env = {k: v for k, v in os.environ.items() if k != "VAEBENCH_DEBUG"}
        self.env |= {
            "PYTHONPATH": f"{place / 'hook'}:{ROOT}",
            "OMP_NUM_THREADS": "1",
            "TRAININGS": str(self.log),
        }

        self.started: list[subprocess.Popen] = []
        self.count = 0

    def slow(self, yes: bool) -> None:
        """Make the jobs slow, or no longer."""
        switch = self.place / "trainings.slow"
        switch.touch() if yes else switch.unlink()

    def start(self, *args: str) -> subprocess.Popen:
        """Start ``vaebench run`` in the background; its output goes to numbered files."""
        self.count += 1
        command = [
            sys.executable,
            "-m",
            "vaebench",
            "run",
            *args,
            *self.more,
            f"run.results={self.results}",
        ]

        with (
            (self.place / f"{self.count}.out").open("w") as out,
            (self.place / f"{self.count}.err").open("w") as err,
        ):
            self.started.append(
                subprocess.Popen(command, stdout=out, stderr=err, env=self.env, cwd=self.place)
            )

        return self.started[-1]

    def end(self, process: subprocess.Popen, timeout: float = 900) -> tuple[int, str]:
        """Wait for a command; return its exit code, and what the last command has said."""
        code = process.wait(timeout)
        return code, self.said()

    def said(self) -> str:
        """Return the stderr of the last command."""
        return (self.place / f"{self.count}.err").read_text()

    def trainings(self) -> dict[tuple[str, str], list[tuple[str, int]]]:
        """Return (key, seed) -> the words ``begins`` and ``ends``, each with its update."""
        by_run: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for line in self.log.read_text().splitlines() if self.log.exists() else []:
            word, key, seed, update = line.split()
            by_run.setdefault((key, seed), []).append((word, int(update)))

        return by_run

    def holders(self) -> list[int]:
        """Return the ids of the processes that hold a run which has a checkpoint."""
        processes = []
        for path in self.results.glob("*/seed-*/.lock"):
            if (path.parent / "checkpoint.safetensors").exists():
                try:
                    processes.append(json.loads(path.read_text())["process"])
                except (OSError, ValueError):
                    # The lock was given back, or is being written, at this moment.
                    continue

        return processes


def serial(place: Path, args: list[str]) -> Path:
    """Make the same runs in one process here; return their results folder."""
    command = [sys.executable, "-m", "vaebench", "run", *args, f"run.results={place / 'serial'}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=env, cwd=place, check=True, capture_output=True)

    return place / "serial"


def check_none_twice(commands: Commands) -> None:
    """Assert that no run was begun after its end, and that each went on from where it stood."""
    for run, entries in commands.trainings().items():
        words = [word for word, _ in entries]
        assert words.count("ends") == 1, (run, entries)
        assert words[-1] == "ends", (run, entries)

        # It began at update 0 once, and never behind the update of an earlier beginning.
        begun = [update for word, update in entries if word == "begins"]
        assert begun == sorted(begun), (run, entries)
        assert begun.count(0) == 1, (run, entries)


def sh(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def on_slurm(tmp_path):
    commands = Commands(tmp_path, "slurm")
    yield commands

    # The commands may have gone and left their jobs behind.
    for process in commands.started:
        process.kill()
    for name in {p.name for p in (commands.results / ".jobs" / "slurm").glob("*")}:
        subprocess.run(["scancel", f"--name=vaebench-{name}"], check=False)


@pytest.fixture
def two_nodes(tmp_path, monkeypatch):
    """A cluster of Ray with a head without CPUs and two nodes of one."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'hook'}:{ROOT}")
    monkeypatch.setenv("TRAININGS", str(tmp_path / "trainings"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    # The head has no CPU, so every job runs on one of the nodes, which a test can take away.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]

    yield cluster
    cluster.shutdown()


@pytest.fixture
def on_ray(tmp_path, two_nodes):
    commands = Commands(tmp_path, "ray")
    commands.more.append(f"run.address={two_nodes.address}")
    yield commands
    for process in commands.started:
        process.kill()


# --------------------------------------------------------------------------------------- forty runs


def forty(commands, states_of, tmp_path):
    """Make forty runs on a cluster: none twice, and each equal to that of one process here."""
    code, said = commands.end(commands.start(*FORTY))
    assert code == 0, said
    assert "40 jobs handed to" in said

    ours = states_of(commands.results)
    assert len(ours) == 40

    check_none_twice(commands)
    assert len(commands.trainings()) == 40

    assert ours == states_of(serial(tmp_path, FORTY))


@pytest.mark.parametrize("_", [pytest.param("slurm", marks=[*slurm, *slow])])
def test_forty_runs_on_slurm_equal_the_serial_ones_bit_for_bit(on_slurm, states_of, tmp_path, _):
    forty(on_slurm, states_of, tmp_path)

    # No job was begun a second time.
    starts_per_log = {
        p.read_text().count("Starting with")
        for p in on_slurm.results.glob(".jobs/slurm/*/*_log.out")
    }
    assert starts_per_log == {1}


@pytest.mark.parametrize("_", [pytest.param("ray", marks=[*ray, *slow])])
def test_forty_runs_on_ray_equal_the_serial_ones_bit_for_bit(on_ray, states_of, tmp_path, _):
    forty(on_ray, states_of, tmp_path)


# -------------------------------------------------------------------------- what can go wrong, both


def killed_then_interrupted(cluster, title, until):
    """Kill a command, start it again, which finds its jobs, and interrupt it: the jobs go on.

    Returns what the second command has said.
    """
    cluster.slow(True)
    first = cluster.start(*SIX)
    until(lambda: len(cluster.holders()) >= 2, 240)
    first.send_signal(signal.SIGKILL)
    first.wait()

    second = cluster.start(*SIX)
    until(lambda: f"of an earlier command in {title}: waited for" in cluster.said(), 120)
    second.send_signal(signal.SIGINT)
    code, said = cluster.end(second)

    assert code == 130

    return said


def asked_for_otherwise(cluster, title, unmet, changed, until):
    """Let a job wait for what does not come; a command that asks for less hands it over anew.

    Args:
        cluster: The commands.
        title: Name of the engine in messages.
        unmet: The setting that cannot be met.
        changed: How the message names it.
        until: Waits for a condition.
    """
    one_run = [*SMALL, "--only", "SBN 200", "--only", "column=NVIL", "--seeds", "0"]
    first = cluster.start(*one_run, unmet)
    until(lambda: f"1 job handed to {title}" in cluster.said(), 120)
    first.send_signal(signal.SIGINT)

    assert cluster.end(first)[0] == 130

    code, said = cluster.end(cluster.start(*one_run))

    assert code == 0, said
    assert (
        f"1 job of an earlier command had not begun and asked for {changed}: handed over anew"
        in said
    )
    assert len(cluster.trainings()) == 1

    check_none_twice(cluster)

    # Nothing is noted any more as handed over.
    assert not list(cluster.results.glob(".jobs/*/*/batch.json"))


@pytest.mark.parametrize("_", [pytest.param("slurm", marks=slurm)])
def test_a_job_of_slurm_that_was_asked_for_otherwise(on_slurm, until, _):
    changed = "run.sbatch=['begin=now+1hour'] (now [])"
    asked_for_otherwise(on_slurm, "Slurm", "run.sbatch=[begin=now+1hour]", changed, until)


@pytest.mark.parametrize("_", [pytest.param("ray", marks=ray)])
def test_a_job_of_ray_that_was_asked_for_otherwise(on_ray, until, _):
    asked_for_otherwise(on_ray, "Ray", "run.gpus=8", "run.gpus=8 (now 0)", until)


# ------------------------------------------------------------------------- what can go wrong, Slurm


@pytest.mark.parametrize("_", [pytest.param("slurm", marks=slurm)])
def test_a_run_on_slurm(on_slurm, states_of, tmp_path, _):
    one_run = [*SMALL, "--only", "SBN 200", "--only", "column=NVIL", "--seeds", "0"]

    code, said = on_slurm.end(on_slurm.start(*one_run))
    assert code == 0, said
    assert re.search(r"1 job handed to Slurm \(job \d+\)", said)
    assert states_of(on_slurm.results) == states_of(serial(tmp_path, one_run))


@pytest.mark.parametrize("_", [pytest.param("slurm", marks=slurm)])
def test_trained_on_slurm_and_evaluated_here(on_slurm, states_of, tmp_path, _):
    one_run = [*SMALL, "--only", "SBN 200", "--only", "column=NVIL", "--seeds", "0"]

    code, said = on_slurm.end(on_slurm.start(*one_run, "--no-eval"))
    assert code == 0, said
    assert (
        "trained and not evaluated: 1 run; the same command without --no-eval evaluates it" in said
    )

    (folder,) = on_slurm.results.glob("*/seed-0")
    assert json.loads((folder / "result.json").read_text())["status"] == "trained"

    command = [
        sys.executable,
        "-m",
        "vaebench",
        "eval",
        str(folder),
        "eval.iw_samples=3",
        "eval.bound_samples=2",
    ]
    subprocess.run(command, env=on_slurm.env, cwd=tmp_path, check=True, capture_output=True)

    # As if one process had trained and evaluated.
    assert states_of(on_slurm.results) == states_of(serial(tmp_path, one_run))


@pytest.mark.parametrize("_", [pytest.param("slurm", marks=slurm)])
def test_what_slurm_refuses_is_one_line(on_slurm, _):
    code, said = on_slurm.end(on_slurm.start(*SIX, "run.partition=nowhere"))
    assert code == 2
    assert re.fullmatch(
        r"vaebench: Slurm refuses the jobs: sbatch: error: .*partition.*", said.splitlines()[-1]
    )
    assert not list(on_slurm.results.glob(".jobs/slurm/*"))


@pytest.mark.parametrize("_", [pytest.param("slurm", marks=[*slurm, *slow])])
def test_everything_that_can_go_wrong_on_slurm(on_slurm, states_of, tmp_path, until, _):
    def running():
        return sh("squeue", "--me", "-h", "-t", "R", "-o", "%i %N").split("\n")[:-1]

    def requeued():
        return any(
            "Requeued job" in p.read_text()
            for p in on_slurm.results.glob(".jobs/slurm/*/*_log.out")
        )

    said = killed_then_interrupted(on_slurm, "Slurm", until)

    assert re.search(
        r"6 jobs go on in Slurm; the same command watches again, scancel \d+ ends them", said
    )
    assert len(running()) == 2

    # A job is told to save, as before its limit, and queued again.
    third = on_slurm.start(*SIX)
    until(lambda: len(on_slurm.holders()) >= 2, 240)
    signalling = subprocess.Popen(["scancel", "--signal=USR2", running()[0].split()[0]])
    until(requeued, 120)
    signalling.kill()  # scancel tries again, though the job has long been queued anew
    signalling.wait()

    # A node is taken away: its job goes on when it is back, or on the other one.
    until(lambda: len(on_slurm.holders()) >= 1 and running(), 240)
    node = running()[0].split()[1]
    sh("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    time.sleep(15)
    back = ["scontrol", "update", f"nodename={node}", "state=resume"]
    subprocess.run(back, check=False, capture_output=True)  # it may have come back by itself

    # A job is killed: that is told with its log, and the same command goes on.
    until(lambda: len(on_slurm.holders()) >= 1, 240)
    os.kill(on_slurm.holders()[0], signal.SIGKILL)
    on_slurm.slow(False)
    code, said = on_slurm.end(third)

    assert code == 1
    assert (
        len(re.findall(r"failed: its job ended without a result: FAILED.*; log: \S+_log.out", said))
        >= 1
    )

    code, said = on_slurm.end(on_slurm.start(*SIX))
    assert code == 0, said
    assert "1 job handed to Slurm" in said

    check_none_twice(on_slurm)
    assert states_of(on_slurm.results) == states_of(serial(tmp_path, SIX))


# --------------------------------------------------------------------------- what can go wrong, Ray


@pytest.mark.parametrize("_", [pytest.param("ray", marks=[*ray, *slow])])
def test_everything_that_can_go_wrong_on_ray(on_ray, two_nodes, states_of, tmp_path, until, _):
    said = killed_then_interrupted(on_ray, "Ray", until)
    assert "go on in Ray; the same command watches again" in said
    assert len(on_ray.holders()) >= 1

    # A node is taken away and another one comes; then a job's process is killed: both jobs go on.
    third = on_ray.start(*SIX)
    until(lambda: len(on_ray.holders()) >= 2, 240)
    two_nodes.remove_node(two_nodes.nodes[1], allow_graceful=False)
    two_nodes.add_node(num_cpus=1)
    time.sleep(5)
    until(lambda: len(on_ray.holders()) >= 1, 240)
    os.kill(on_ray.holders()[0], signal.SIGKILL)
    on_ray.slow(False)
    code, said = on_ray.end(third)

    assert code == 0, said

    check_none_twice(on_ray)
    assert states_of(on_ray.results) == states_of(serial(tmp_path, SIX))
