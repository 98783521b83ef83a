"""A trained model in a file of its own.

The file holds plain values and tensors. ``torch.load`` reads it without vaebench.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch

from vaebench import __version__
from vaebench.evaluation.trained_run import Trained
from vaebench.files import write_output
from vaebench.models.base import GaussianPosterior
from vaebench.models.refinement import Refinement

FORMAT = 1
"""Version of the file format; it is raised when the meaning of the file's content changes."""


def write(path: Path, trained: Trained, folder: Path) -> None:
    """Write a model's settings and state, for the CPU, and what it was trained on.

    Args:
        path: The file, which is replaced as a whole.
        trained: The run.
        folder: The run's folder, ``.../NAME/seed-<n>``.

    Raises:
        UserError: If the file cannot be written.
    """
    # Plain types only, so that ``torch.load`` reads the file with ``weights_only``.
    model = trained.model
    splits = trained.splits
    content = {
        "format": FORMAT,
        "vaebench": __version__,
        "model": trained.config["model"],
        "data": {
            "name": splits.name,
            "hash": splits.hash,
            "kind": str(splits.kind),
            "shape": list(splits.shape),
        },
        "run": folder.resolve().parent.name,
        "seed": int(folder.resolve().name.removeprefix("seed-")),
        "update": trained.update,
        "state_dict": {
            name: value.detach().cpu().clone() for name, value in model.state_dict().items()
        },
    }

    # A refined posterior belongs to the model, but not to its state.
    if isinstance(model, GaussianPosterior) and isinstance(model.refinement, Refinement):
        content["refinement"] = model.refinement.plain()

    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_output(path, buffer.getvalue())
