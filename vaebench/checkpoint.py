"""Checkpoints: one safetensors file each, replaced whole. Loading one cannot run code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vaebench.errors import UserError
from vaebench.files import write_atomic

Tensors = dict[str, Tensor]


@dataclass
class Checkpoint:
    """A seed's whole training state: tensors, and ``meta`` (JSON): update, curve, best, what was being averaged."""

    params: Tensors
    state: Tensors = field(default_factory=dict)
    opt: Tensors = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Save atomically. OSError (a full disk) leaves the old file intact."""
    parts = {"params": checkpoint.params, "state": checkpoint.state, "opt": checkpoint.opt}
    tensors = {f"{part}/{k}": v.detach().cpu().contiguous() for part, vs in parts.items() for k, v in vs.items()}
    write_atomic(path, save(tensors, {"vaebench": json.dumps(checkpoint.meta)}))


def read(path: Path) -> Checkpoint:
    """Load to the CPU. UserError when the file is missing, damaged or not a checkpoint of vaebench."""
    out = Checkpoint({})
    try:
        with safe_open(path, framework="pt") as f:
            out.meta = json.loads((f.metadata() or {}).get("vaebench", "null"))
            for key in f.keys():  # noqa: SIM118 - not a mapping
                part, name = key.split("/", 1)
                getattr(out, part)[name] = f.get_tensor(key)
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except (SafetensorError, KeyError, ValueError, AttributeError, TypeError) as e:
        raise damaged(path, " ".join(str(e).split()) or type(e).__name__) from None
    if not isinstance(out.meta, dict):
        raise damaged(path, "it says nothing of the training")
    return out


def damaged(path: Path, why: str) -> UserError:
    """The error for a checkpoint that cannot be used, and what to do about it."""
    return UserError(f"{path}: not a usable checkpoint ({why}); vaebench run --force starts anew")
