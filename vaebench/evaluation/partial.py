"""What an evaluation that was stopped has found so far.

It is one file in the run's folder, from which the evaluation is resumed. The file holds the state
of the evaluation's loops (``vaebench.work.steps``) and the signature of what is evaluated: the
protocol, the data, the seed, the parameters, the program. If any of these differs, the file is
treated as missing; so is a damaged one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from vaebench.errors import UserError
from vaebench.results import run_files
from vaebench.training import checkpoint
from vaebench.training.checkpoint import Checkpoint
from vaebench.work.steps import Kept

MAX_BYTES = 2**27
"""Size of the largest state of one loop that is kept. A loop with a larger state starts again:
writing the state would take longer than the steps."""


class Partial:
    """The file in ``folder`` for an evaluation with this ``signature``, which is plain JSON."""

    def __init__(self, folder: Path, signature: dict[str, Any]) -> None:
        self.path = folder / run_files.EVALUATION
        self.signature = json.loads(json.dumps(signature))  # as it would be read back

    def read(self) -> tuple[list[Kept], float]:
        """Return the loops that were kept, and the seconds spent on them.

        If no file fits, there are no loops.
        """
        try:
            stored = checkpoint.read(self.path)
            if stored.meta["signature"] != self.signature:
                return [], 0.0

            tensors = stored.state
            loops = [
                Kept(entry["path"], entry["at"], entry["total"], _unpacked(entry["state"], tensors))
                for entry in stored.meta["loops"]
            ]
            return loops, float(stored.meta["seconds"])
        # Whatever is wrong with the file, the evaluation can begin anew.
        except (UserError, KeyError, TypeError, ValueError, OSError):
            return [], 0.0

    def write(self, loops: list[Kept], seconds: float) -> None:
        """Replace the file. Raises OSError if it cannot be written."""
        tensors: dict[str, Tensor] = {}
        entries: list[dict[str, Any]] = []
        for loop in loops:
            # The number of the entry makes the names of its tensors unique.
            loop_tensors: dict[str, Tensor] = {}
            state = _packed(loop.state, loop_tensors, f"{len(entries)}.")
            if sum(v.numel() * v.element_size() for v in loop_tensors.values()) > MAX_BYTES:
                continue

            entries.append({"path": loop.path, "at": loop.at, "total": loop.total, "state": state})
            tensors |= loop_tensors

        meta = {"signature": self.signature, "seconds": seconds, "loops": entries}
        checkpoint.write(self.path, Checkpoint({}, tensors, meta=meta))

    def remove(self) -> None:
        """Remove the file, after the evaluation has ended."""
        self.path.unlink(missing_ok=True)


# ----------------------------------------------------------------- plain values and tensors as JSON


def _packed(value: Any, tensors: dict[str, Tensor], prefix: str) -> Any:
    """Return ``value`` as JSON that keeps the types.

    A value of a type that JSON lacks becomes an object whose first key is the type. A dict becomes
    pairs under the key ``dict``, so that no dict of the state can be taken for such an object.
    Tensors are put into ``tensors``, with names that begin with ``prefix``, and their objects name
    the device too.
    """

    def inner(v: Any) -> Any:
        return _packed(v, tensors, prefix)

    if isinstance(value, Tensor):
        name = f"{prefix}{len(tensors)}"
        # Views of one storage cannot be saved as they are, so each tensor is copied.
        tensors[name] = value.detach().to("cpu", copy=True)
        return {"tensor": name, "device": str(value.device)}

    if isinstance(value, slice):
        return {"slice": [value.start, value.stop]}
    if isinstance(value, dict):
        return {"dict": [[k, inner(v)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [inner(v) for v in value]}
    if isinstance(value, list):
        return [inner(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return what ``_packed`` was given, each tensor on its old device."""
    if isinstance(value, list):
        return [_unpacked(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]].to(value["device"])
    if "slice" in value:
        return slice(*value["slice"])
    if "tuple" in value:
        return tuple(_unpacked(v, tensors) for v in value["tuple"])
    return {k: _unpacked(v, tensors) for k, v in value["dict"]}
