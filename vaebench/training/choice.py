"""Which engine trains a cell: the one that is asked for and possible, or the fastest."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import torch

from vaebench import kernels
from vaebench.data.kinds import Kind
from vaebench.models.belief_net import BeliefNet
from vaebench.objectives.base import Objective
from vaebench.optim import SGD, Optimiser

ENGINES = ("plain", "packed", "compiled", "kernel")

WORTH_COMPILING = 20_000
"""Updates from which compiling saves more time than it takes, which is up to a minute."""


def compiler_found() -> bool:
    """Whether torch.compile can work on the CPU: a C++ compiler and Python's headers."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return any(shutil.which(c) for c in ("g++", "clang++")) and header.is_file()


class Choice:
    """The engines of a training.

    A run keeps the engine that it began with, so that it continues bit for bit, unless the user
    asks for another one.

    Args:
        objective: What is trained.
        optimiser: By what it is trained.
        kind: Kind of the examples.
        asked: ``run.engine``.
        updates: The budget.
        device: Where it is trained.

    Attributes:
        engine: The engine of a run that begins now.
        lack: Why that is not the one asked for or the fastest one; '' if there is nothing to say.
    """

    def __init__(
        self,
        objective: Objective,
        optimiser: Optimiser,
        kind: Kind,
        asked: str,
        updates: int,
        device: torch.device,
    ) -> None:
        layers = objective.model.kernel_layers
        self.asked = asked
        self.device = device
        self.only_plain = only_plain(objective, kind) and not layers
        self.kernel = not self.only_plain and has_kernel(objective, optimiser, kind)

        # Nothing to choose, whatever was asked for.
        if self.only_plain:
            self.engine = self.fastest = "plain"
            self.lack = ""
            return

        def choose(setting: str) -> tuple[str, str]:
            worth = objective.worth_compiling
            return choose_engine(setting, updates, device, worth, self.kernel, layers)

        # A run whose checkpoint, of an earlier version, names no engine began with the fastest.
        self.engine, self.lack = choose(asked)
        self.fastest = choose("auto")[0]

    def began(self, engine: str, update: int) -> str:
        """Return the engine with which a run began.

        Args:
            engine: The one that its checkpoint names; '' for none, as checkpoints that were written
                before there were kernels name none.
            update: Updates made.
        """
        if self.only_plain:
            return "plain"
        return engine or (self.fastest if update else self.engine)

    def goes_on(self, began: str) -> str:
        """Return the engine with which a run that began with ``began`` goes on."""
        if self.asked == "auto" and usable(began, self.device, self.kernel):
            return began
        return self.engine


def choose_engine(
    setting: str,
    updates: int,
    device: torch.device,
    worth: bool = True,
    kernel: bool = False,
    layers: bool = False,
) -> tuple[str, str]:
    """Choose the engine for ``run.engine``.

    Args:
        setting: ``run.engine``: plain, compiled or kernel; auto: the fastest for this budget.
        updates: The budget; short runs do without a compiler.
        device: On a GPU the packed engine takes the place of the plain one.
        worth: Whether torch.compile makes the objective faster.
        kernel: Whether there are kernels for what is trained.
        layers: Whether these are kernels of layers of the model. The only other engine is then the
            plain one, on a GPU too.

    Returns:
        The engine, and why it is not the one asked for or the fastest one; '' if there is nothing
        to say.
    """
    on_cpu = device.type == "cpu"
    plain = "plain" if on_cpu or layers else "packed"
    if setting == "plain":
        return plain, ""
    if setting == "compiled" and not layers:
        return "compiled", ""

    # Kernels of layers work within the plain step, so all that is left to choose is whether it uses
    # them.
    lack = kernels.missing()
    possible = kernel and on_cpu and not lack
    if layers:
        return ("kernel", "") if possible else ("plain", lack if on_cpu else "")

    if setting == "kernel" and possible:
        return "kernel", ""

    # What is left: ``auto``, or a kernel that is asked for and not possible. Kernels are compiled
    # as well, so a short run does without both.
    if updates < WORTH_COMPILING:
        best = plain
    elif possible:
        best = "kernel"
    else:
        best = "compiled" if worth and compiler_found() else plain

    if setting == "kernel":
        return best, lack if lack and kernel and on_cpu else "there is none for this cell"

    # Numba is a requirement, so tell the user if it is missing and that costs speed.
    return best, lack if lack and kernel and on_cpu and updates >= WORTH_COMPILING else ""


def has_kernel(objective: Objective, optimiser: Optimiser, kind: Kind = Kind.BITS) -> bool:
    """Whether there are kernels for what is trained on this kind of examples."""
    if objective.kernel == "all":
        fits = isinstance(objective.model, BeliefNet) and isinstance(optimiser, SGD)
        return fits and kind.seen in (Kind.BITS, Kind.COUNTS) and not objective.weight_decay
    return objective.kernel == "chains" or objective.model.kernel_layers


def only_plain(objective: Objective, kind: Kind = Kind.BITS) -> bool:
    """Whether the plain engine alone can train on this kind of examples.

    Kernels of layers of the model (``kernel_layers``) are allowed even so. Documents in the order
    of their words make batches of different sizes.
    """
    return kind is Kind.TOKENS or objective.alone or objective.plain_only


def usable(engine: str, device: torch.device, kernel: bool) -> bool:
    """Whether a run can go on, on this machine, with the engine with which it began.

    Args:
        engine: One of ENGINES.
        device: Where the run is to go on.
        kernel: Whether there are kernels for what is trained.
    """
    if engine == "kernel":
        return kernel and device.type == "cpu" and not kernels.missing()
    if engine == "compiled":
        return device.type == "cuda" or compiler_found()
    return engine == ("packed" if device.type == "cuda" else "plain")
