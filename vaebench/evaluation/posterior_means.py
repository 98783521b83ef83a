"""Posterior means of a run: the model's beside the encoder's (He et al. 2019, section 3).

They stand in ``means.csv`` in the run's folder, for a scalar latent, at every snapshot and for the
parameters that are evaluated. See ``means_file`` for the columns.
"""

from __future__ import annotations

import copy
import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaebench.data import examples
from vaebench.data.splits import Splits
from vaebench.errors import UserError
from vaebench.estimators.posterior_mean import encoder_mean, posterior_mean, scalar
from vaebench.files import write_atomic
from vaebench.models.base import Model
from vaebench.results import means_file, run_files
from vaebench.results.means_file import SELECTED, Point
from vaebench.settings.records import EvalSettings
from vaebench.training import checkpoint, snapshots
from vaebench.training.build import put
from vaebench.training.checkpoint import Checkpoint
from vaebench.work.steps import Box, steps

POINTS = 500
"""Number of examples, spread evenly over the split ``eval.means``; as many as in the paper."""


def write_means(
    folder: Path, config: dict[str, Any], splits: Splits, model: Model, update: int
) -> None:
    """Write ``means.csv`` for a run with snapshots and a scalar latent.

    ``model`` is the evaluated one, after ``update`` updates. A file that already has these splits,
    updates and kinds is kept, because the numbers depend on nothing else. Raises UserError for a
    damaged snapshot.
    """
    split = EvalSettings.of(config["eval"]).means
    listed = snapshots.listed(folder)
    if not listed or not scalar(model):
        return

    # (split, update, kind) of all parameters whose means the file shall hold, in its order: every
    # snapshot, then the evaluated model.
    points = [(split, s.update, s.kind) for s in listed] + [(split, update, SELECTED)]
    if _held(folder / run_files.MEANS) == points:
        return

    device = model.mean.device
    places = examples.every_nth(np.arange(len(getattr(splits, split))), POINTS)
    place_numbers = places.tolist()
    x = torch.from_numpy(examples.fixed(splits, split, places)).to(device)

    lines = Box(found=[])
    of_snapshot = copy.deepcopy(model)  # takes the parameters of one snapshot after the other
    for number in steps("posterior means", len(points), lines):
        measured = model
        if number < len(listed):
            measured = of_snapshot
            put(measured, _snapshot(listed[number].path))

        # The model's mean, then the encoder's, of each example.
        means = zip(
            place_numbers,
            posterior_mean(measured, x).tolist(),
            encoder_mean(measured, x).tolist(),
            strict=True,
        )
        lines.found += [
            (*points[number], place, f"{of_model:.6f}", f"{of_encoder:.6f}")
            for place, of_model, of_encoder in means
        ]

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Point._fields)
    writer.writerows(lines.found)
    write_atomic(folder / run_files.MEANS, text.getvalue())


def _held(path: Path) -> list[tuple[str, int, str]]:
    """Return (split, update, kind) of what the file holds, in order.

    If there is no readable file, nothing is returned.
    """
    try:
        return list(dict.fromkeys((p.split, p.update, p.kind) for p in means_file.read(path)))
    except UserError:
        return []


def _snapshot(path: Path) -> Checkpoint:
    """Read a snapshot. Raises UserError, which says what to do, for a damaged one."""
    try:
        return checkpoint.read(path)
    except UserError:
        raise UserError(f"{path}: not a usable snapshot; remove it and run vaebench eval") from None
