"""Posterior means of a run, the model's beside the encoder's (He et al. 2019, section 3): ``means.csv`` in its folder.

Of one scalar latent, at every snapshot and of the parameters that are evaluated; see ``means_file`` for the columns.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import torch

from vaebench import checkpoint, means_file, snapshots
from vaebench.checkpoint import Checkpoint
from vaebench.data.splits import Splits
from vaebench.errors import UserError
from vaebench.means_file import SELECTED, Point
from vaebench.metrics.posterior_mean import encoder_mean, posterior_mean
from vaebench.metrics.validation import spread
from vaebench.metrics.weights import gaussian_posterior
from vaebench.store import write_atomic
from vaebench.train import load_model

POINTS = 500
"""Cases, spread evenly over the split ``eval.means``, as many as in the paper."""


def write_means(
    folder: Path, config: dict[str, Any], splits: Splits, selected: Checkpoint, device: torch.device
) -> None:
    """Write ``means.csv`` for a run with snapshots and a scalar latent; nothing for others.

    It is left as it is where it holds just these parameters: the numbers depend on nothing else. Raises UserError for a
    damaged snapshot.
    """
    split = config["eval"].get("means", "valid")
    kept = [(s.update, s.kind, s.path) for s in snapshots.listed(folder)]
    if not kept or not _scalar(config, splits, selected):
        return
    wanted = [(split, update, kind) for update, kind, _ in kept] + [(split, selected.meta["update"], SELECTED)]
    if _held(folder / "means.csv") == wanted:
        return
    every = torch.from_numpy(getattr(splits, split))
    cases = spread(torch.arange(len(every)), POINTS).tolist()
    x = every[cases].to(device)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Point._fields)
    for where, (_, _, path) in zip(wanted, [*kept, (0, "", None)], strict=True):
        model = load_model(config, splits.mean, selected if path is None else _snapshot(path)).to(device)
        means = zip(cases, posterior_mean(model, x).tolist(), encoder_mean(model, x).tolist(), strict=True)
        writer.writerows((*where, case, f"{a:.6f}", f"{b:.6f}") for case, a, b in means)
    write_atomic(folder / "means.csv", text.getvalue())


def _scalar(config: dict[str, Any], splits: Splits, selected: Checkpoint) -> bool:
    model = load_model(config, splits.mean, selected)
    return gaussian_posterior(model) and model.sizes[1:] == [1]


def _held(path: Path) -> list[tuple[str, int, str]]:
    """(split, update, kind) of what the file holds, in order; nothing where there is none, or it cannot be read."""
    try:
        return list(dict.fromkeys((p.split, p.update, p.kind) for p in means_file.read(path)))
    except UserError:
        return []


def _snapshot(path: Path) -> Checkpoint:
    try:
        return checkpoint.read(path)
    except UserError:
        raise UserError(f"{path}: not a usable snapshot; remove it and run vaebench eval") from None
