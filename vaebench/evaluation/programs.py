"""Functions of a trained model as programs of PyTorch.

They run where vaebench is not installed (``torch.export``).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from vaebench import kernels
from vaebench.errors import UserError
from vaebench.evaluation.trained_run import Trained
from vaebench.files import write_output
from vaebench.models.base import Model, Program

SUFFIX = ".pt2"


class Call(nn.Module):
    """A module that is one function of a model."""

    def __init__(self, model: Model, call: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.model = model
        self._call = call

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return what the function returns."""
        return self._call(*inputs)


def programs_of(model: Model, x: Tensor) -> dict[str, Program]:
    """Return the programs of a model on the CPU, by name.

    Args:
        model: A trained model.
        x: Some examples, (n, d), at least two.

    Raises:
        UserError: If the model has no programs.
    """
    # Token numbers stay whole numbers.
    example = x if model.facts.reads_documents else x.to(model.mean.dtype)
    programs = model.programs(example)
    if not programs:
        raise UserError(
            f"{model.called} has no programs that run without vaebench, for a Boltzmann "
            "machine takes chains; allowed: its parameters alone (--only parameters)"
        )
    return programs


def examples(trained: Trained) -> Tensor:
    """Return two test examples of a run, whose width the programs take."""
    return torch.from_numpy(trained.splits.test[:2])


def exported(model: Model, program: Program) -> torch.export.ExportedProgram:
    """Export the program for batches of any size."""
    inputs = tuple(v.contiguous() for v in program.inputs.values())
    # Axis 0 of every input is the batch, of the same unknown size. There is one tuple in the other,
    # since ``Call.forward`` takes all inputs as ``*inputs``.
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} for _ in inputs),)
    # Kernels of vaebench do not exist where the program runs.
    with kernels.use(False):
        return torch.export.export(Call(model, program.call), inputs, dynamic_shapes=shapes)


def write(model: Model, x: Tensor, folder: Path) -> dict[str, Path]:
    """Write every program of a model to ``folder / (name + ".pt2")``.

    Each file also holds the state that the programs share.

    Raises:
        UserError: If the model has no programs, or a file cannot be written.
    """
    programs = programs_of(model, x)
    written: dict[str, Path] = {}
    for name, program in programs.items():
        buffer = io.BytesIO()
        torch.export.save(exported(model, program), buffer)
        path = folder / f"{name}{SUFFIX}"
        write_output(path, buffer.getvalue())
        written[name] = path
    return written
