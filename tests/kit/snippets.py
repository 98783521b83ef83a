"""Arguments of a real command, and code that it runs first, which makes it slow, notes what it
does, or makes it fail."""

from __future__ import annotations

TWO_CELLS = [
    *(
        "table=nvil_mnist",
        "preset=quick",
        "--only",
        "row=SBN 200",
        "model.dims=[10]",
        "eval.iw_samples=10",
    ),
    *(
        "run.jobs=1",
        "run.device=cpu",
        "run.engine=plain",
        "train.updates=120",
        "train.valid_every=40",
    ),
]
"""Arguments of a command that trains two cells, NVIL and wake-sleep, at two seeds."""

HOLD = """
import os, time, vaebench.training.engines as f
real, calls = f.Pack.advance, []
def advance(self, *a):
    calls.append(1)
    end = time.monotonic() + {seconds}
    while len(calls) > 1 and not ({until}) and time.monotonic() < end:
        time.sleep(0.01)
    return real(self, *a)
f.Pack.advance = advance
"""
"""Code for a command. After the first block of updates of a process it waits until ``{until}`` is
true, for at most ``{seconds}``."""

SPOKEN = "'saving the state' in open('/proc/self/fd/2').read()"
"""A condition for HOLD: the command has said on stderr that it received a signal."""

LOG = """
import os, vaebench.running.session as s, vaebench.running.examination as e
train, evaluate = s.train, e.evaluate
def note(*words):
    with open({path!r}, "a") as f:
        f.write(" ".join(map(str, words)) + "\\n")
def logged_train(config, splits, seeds, *rest):
    for x in seeds:
        note("train", x.folder.parent.name, x.seed, x.update)
    return train(config, splits, seeds, *rest)
def logged_evaluate(model, x, config, data_hash, seed):
    note("evaluate", config["objective"]["name"], seed, config["eval"]["bound_samples"])
    return evaluate(model, x, config, data_hash, seed)
s.train, e.evaluate = logged_train, logged_evaluate
import vaebench.running.tasks
vaebench.running.tasks.WAIT_SECONDS = 0.1
"""
"""Code for a command: it notes in the file ``{path}`` what it trains and evaluates."""

MORE_SAMPLES = """
from dataclasses import replace
from vaebench.config import catalogue
load, options = catalogue.load, catalogue.options
def load_more(name):
    if name != "more_samples":
        return load(name)
    table = load("nvil_autoreg")
    return replace(table, name=name, base=(*table.base, "eval.bound_samples=7"))
catalogue.load = load_more
catalogue.options = lambda group: options(group) + (["more_samples"] if group == "table" else [])
"""
"""Code for a command: the table more_samples has the training of nvil_autoreg, and evaluates it
with another number of samples."""

FULL = """
import errno, os
def full(handle):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
os.fsync = full
"""
"""Code for a command: the disk is full."""

BROKEN = """
import vaebench.running.session as s
real = s.train
def train(config, *rest):
    if config["objective"]["name"] == "nvil":
        raise RuntimeError("a cell is broken")
    return real(config, *rest)
s.train = train
"""
"""Code for a command: the training with NVIL fails."""


def checkpoints(tmp_path):
    """The checkpoints of all runs so far."""
    return list((tmp_path / "runs").glob("*/seed-*/checkpoint.safetensors"))


def times(root):
    """When each file of a results folder was written."""
    return {p: p.stat().st_mtime_ns for p in root.rglob("*.*") if p.is_file() and p.name != ".lock"}
