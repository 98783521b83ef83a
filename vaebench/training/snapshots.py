"""Parameters kept on the way: those after the numbers of updates that ``train.snapshots`` lists.

Each is a file ``snapshots/<updates>.safetensors`` in a run's folder, ``<updates>-inner`` for what
the inner loop that follows so many updates has made of them, before the next update proper.
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
    """``update``: how many were done.

    ``kind``: '', or INNER after the inner loop that follows them.
    """

    update: int
    kind: str
    path: Path


def listed(folder: Path) -> list[Snapshot]:
    """The snapshots of the run in ``folder``, in the order in which they were taken."""
    found = []
    for path in (folder / run_files.SNAPSHOTS).glob("*.safetensors"):
        update, _, kind = path.stem.partition("-")
        if update.isdecimal() and kind in ("", INNER):
            found.append(Snapshot(int(update), kind, path))
    return sorted(found)


def write(
    folder: Path, update: int, kind: str, params: dict[str, Tensor], buffers: dict[str, Tensor]
) -> None:
    """Keep what an evaluation needs. OSError where it cannot be written."""
    path = folder / run_files.SNAPSHOTS / f"{update:09d}{kind and '-' + kind}.safetensors"
    path.parent.mkdir(exist_ok=True)
    checkpoint.write(path, Checkpoint(params, buffers, meta={"update": update}))
