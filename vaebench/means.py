"""Posterior means of a run, the model's beside the encoder's (He et al. 2019, section 3): ``means.csv`` in its folder.

Of one scalar latent, at every snapshot and of the parameters that are evaluated. Columns: ``split``; ``update``, how
many were done; ``kind``, that of a snapshot, or 'selected'; ``case``, its row in the split; ``model`` and ``encoder``.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import torch

from vaebench import checkpoint, snapshots
from vaebench.checkpoint import Checkpoint
from vaebench.data.splits import Splits
from vaebench.metrics.posterior_mean import encoder_mean, posterior_mean
from vaebench.metrics.validation import spread
from vaebench.metrics.weights import gaussian_posterior
from vaebench.store import write_atomic
from vaebench.train import load_model

POINTS = 500
"""Cases, spread evenly over the split ``eval.means``, as many as in the paper."""

COLUMNS = ("split", "update", "kind", "case", "model", "encoder")
SELECTED = "selected"


def write_means(
    folder: Path, config: dict[str, Any], splits: Splits, selected: Checkpoint, device: torch.device
) -> None:
    """Write ``means.csv`` for a run with snapshots and a scalar latent; nothing for others.

    It is left as it is where it holds just these parameters: the numbers depend on nothing else.
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
    writer.writerow(COLUMNS)
    for where, (_, _, path) in zip(wanted, [*kept, (0, "", None)], strict=True):
        model = load_model(config, splits.mean, selected if path is None else checkpoint.read(path)).to(device)
        means = zip(cases, posterior_mean(model, x).tolist(), encoder_mean(model, x).tolist(), strict=True)
        writer.writerows((*where, case, f"{a:.6f}", f"{b:.6f}") for case, a, b in means)
    write_atomic(folder / "means.csv", text.getvalue())


def _scalar(config: dict[str, Any], splits: Splits, selected: Checkpoint) -> bool:
    model = load_model(config, splits.mean, selected)
    return gaussian_posterior(model) and model.sizes[1:] == [1]


def _held(path: Path) -> list[tuple[str, int, str]]:
    """(split, update, kind) of what the file holds, in order; nothing where there is none, or it cannot be read."""
    try:
        with path.open(newline="") as f:
            return list(dict.fromkeys((line["split"], int(line["update"]), line["kind"]) for line in csv.DictReader(f)))
    except (OSError, KeyError, ValueError, TypeError):
        return []
