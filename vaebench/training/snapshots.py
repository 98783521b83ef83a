"""Parameters kept for good, after the numbers of updates that ``train.snapshots`` lists.

Each is a file ``snapshots/<updates>.safetensors`` in a run's folder. ``<updates>-inner`` holds the
parameters after the inner loop that follows so many updates, before the next outer update.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from vaebench.results import run_files
from vaebench.training import checkpoint
from vaebench.training.checkpoint import Checkpoint

INNER = "inner"


class Snapshot(NamedTuple):
    """One file of parameters.

    Attributes:
        update: Number of updates done.
        kind: INNER after the inner loop that follows these updates, else ''.
        path: The file.
    """

    update: int
    kind: str
    path: Path


def listed(folder: Path) -> list[Snapshot]:
    """Return the snapshots of the run in ``folder``, in the order in which they were taken."""
    snapshots = []
    for path in (folder / run_files.SNAPSHOTS).glob("*.safetensors"):
        update, _, kind = path.stem.partition("-")
        if update.isdecimal() and kind in ("", INNER):
            snapshots.append(Snapshot(int(update), kind, path))
    return sorted(snapshots)


def write(
    folder: Path, update: int, kind: str, params: dict[str, Tensor], buffers: dict[str, Tensor]
) -> None:
    """Keep what an evaluation needs.

    Raises:
        OSError: If it cannot be written.
    """
    path = folder / run_files.SNAPSHOTS / f"{update:09d}{kind and '-' + kind}.safetensors"
    path.parent.mkdir(exist_ok=True)
    checkpoint.write(path, Checkpoint(params, buffers, meta={"update": update}))
