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
    example = x if model.facts.reads_documents else x.to(model.mean.dtype)
    found = model.programs(example)
    if not found:
        raise UserError(
            f"{model.called} has no programs that run without vaebench, for a Boltzmann "
            "machine takes chains; allowed: its parameters alone (--only parameters)"
        )
    return found


def examples(trained: Trained) -> Tensor:
    """Return two test examples of a run, whose width the programs take."""
    return torch.from_numpy(trained.splits.test[:2])


def exported(model: Model, program: Program) -> torch.export.ExportedProgram:
    """Export the program for batches of any size."""
    inputs = tuple(v.contiguous() for v in program.inputs.values())
    batch = torch.export.Dim("batch", min=1)
    shapes = (tuple({0: batch} for _ in inputs),)
    with kernels.use(False):
        return torch.export.export(Call(model, program.call), inputs, dynamic_shapes=shapes)


def write(model: Model, x: Tensor, folder: Path) -> dict[str, Path]:
    """Write every program of a model to ``folder / (name + ".pt2")``.

    Each file also holds the state that the programs share.

    Raises:
        UserError: If the model has no programs, or a file cannot be written.
    """
    found = programs_of(model, x)
    written: dict[str, Path] = {}
    for name, program in found.items():
        buffer = io.BytesIO()
        torch.export.save(exported(model, program), buffer)
        path = folder / f"{name}{SUFFIX}"
        write_output(path, buffer.getvalue())
        written[name] = path
    return written
