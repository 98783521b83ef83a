"""Slurm and Ray before any job: what they are asked for, and what cannot be had is one line."""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from vaebench.errors import UserError
from vaebench.running.launchers import choose, ray
from vaebench.running.launchers.slurm import Slurm
from vaebench.settings.records import RunSettings


@pytest.mark.parametrize("name", ["slurm", "ray"])
def test_an_engine_that_is_not_installed_is_one_line(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"pip install 'vaebench\[{name}\]'"):
        choose(RunSettings(launcher=name), 1, 1)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_of_ray_at_which_nobody_listens_is_known_at_once(scheme):
    # While the server listens, the address is good; afterwards its port is closed.
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        ray._knock(address)

    with pytest.raises(OSError, match="refused"):
        ray._knock(address)


@pytest.mark.parametrize(
    ("address", "connects", "outlives"),
    [
        ("local", ["local"], False),
        (None, ["auto", "local"], False),
        ("10.0.0.1:6379", ["10.0.0.1:6379"], True),
    ],
)
def test_a_cluster_of_its_own_ends_with_the_command(address, connects, outlives, monkeypatch):
    connected = []

    # A Ray that finds no running cluster.
    def init(address, **how):
        connected.append(address)
        if address == "auto":
            raise ConnectionError("none here")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    monkeypatch.setattr(ray, "_knock", lambda address: None)
    engine = ray.Ray(RunSettings(launcher="ray", address=address))

    assert engine.outlives is outlives
    assert connected == connects


@pytest.mark.parametrize(
    ("asked", "lack"),
    [
        ({}, ""),
        ({"cpus": 8, "gpus": 1, "memory": 16}, ""),
        ({"cpus": 9}, "no node has 9 CPUs"),
        ({"gpus": 2}, "no node has 1 CPU and 2 GPUs"),
        ({"cpus": 16, "gpus": 1}, "no node has 16 CPUs and 1 GPU"),  # of one node
        ({"memory": 17}, "no node has 1 CPU and 17 GiB"),
    ],
)
def test_what_no_node_of_ray_has_is_said(asked, lack, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    engine = ray.Ray(RunSettings(launcher="ray", threads=1, **asked))

    # The second node is dead, so the best one has 8 CPUs, 1 GPU and 16 GiB.
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0, "memory": 16.0 * ray.GIB}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0, "memory": 512.0 * ray.GIB}},
        {"Alive": True, "Resources": {"CPU": 8.0, "memory": 16.0 * ray.GIB}},
    ]
    engine._ray = SimpleNamespace(nodes=lambda: nodes)

    assert engine._lack() == lack

    # Of a cluster that the command started itself nobody will add a node: it is refused.
    engine._own = True
    if lack:
        with pytest.raises(UserError, match=f"^Ray: {lack} on this machine"):
            engine.submit(Path(), "batch", [])


def test_what_slurm_is_asked_for(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    settings = RunSettings(
        launcher="slurm", partition="gpu", time_limit=90, grace=60, cpus=4, gpus=1, memory=8,
        parallel=5, sbatch=["account=ml", "exclusive"],
    )  # fmt: skip
    from submitit.slurm.slurm import _make_sbatch_string

    batch_script = _make_sbatch_string(
        "x", tmp_path, map_count=20, **Slurm(settings)._parameters("b", 20)
    )

    for line in (
        *(
            "job-name=vaebench-b",
            "partition=gpu",
            "time=90",
            "signal=USR2@60",
            "cpus-per-task=4",
            "gpus-per-node=1",
        ),
        *("mem=8GB", "array=0-19%5", "account=ml", "exclusive", "requeue"),
    ):
        assert f"#SBATCH --{line}\n" in batch_script

    with pytest.raises(UserError, match=r"run.grace=60: allowed: fewer seconds than the 1 minutes"):
        Slurm(replace(settings, time_limit=1))


def test_the_log_of_a_slurm_job_is_its_own(tmp_path):
    """The names are those of submitit: <array>_<index>_<task>_log.out, and without an index if a
    batch has one job."""
    slurm = Slurm.__new__(Slurm)  # the log needs neither submitit nor the commands of Slurm
    assert slurm.log(tmp_path, 0) == tmp_path, "the folder as long as there is no log"

    for index in (0, 1, 3, 10, 11):
        (tmp_path / f"123_{index}_0_log.out").touch()
    for index in (0, 1, 3, 10, 11):
        assert slurm.log(tmp_path, index).name == f"123_{index}_0_log.out"
    assert slurm.log(tmp_path, 2) == tmp_path, "not that of another job"

    single = tmp_path / "single"
    single.mkdir()
    (single / "124_0_log.out").touch()
    assert slurm.log(single, 0).name == "124_0_log.out"
