"""Checkpoints: one safetensors file each, replaced whole, with a checksum.

Loading a checkpoint cannot run code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vaebench.errors import UserError
from vaebench.files import parse_json, write_atomic

Tensors = dict[str, Tensor]

META = "vaebench"
"""The only entry of the file's metadata: checksum, a blank, and ``Checkpoint.meta`` as JSON. There
is only one, since safetensors writes several in any order, and equal content must give equal files.
Two trainings of the same states have equal tensors, but not equal files: the curve in ``meta`` has
seconds."""


@dataclass
class Checkpoint:
    """The whole training state of a seed.

    Attributes:
        params: Parameters of the objective, which include the model's.
        state: State of the objective.
        opt: State of the optimiser.
        meta: What JSON can hold: the update, the curve, the best bound, sums of metrics.
    """

    params: Tensors
    state: Tensors = field(default_factory=dict)
    opt: Tensors = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Save atomically: an OSError, as from a full disk, leaves the old file intact."""
    parts = {"params": checkpoint.params, "state": checkpoint.state, "opt": checkpoint.opt}
    tensors = {
        f"{part}/{k}": v.detach().cpu().contiguous()
        for part, vs in parts.items()
        for k, v in vs.items()
    }
    meta = json.dumps(checkpoint.meta)
    write_atomic(path, save(tensors, {META: f"{checksum(tensors, meta)} {meta}"}))


def checksum(tensors: Tensors, meta: str = "") -> str:
    """Return the hex SHA-256 of ``meta`` and of name, type, shape and bytes of every tensor.

    The tensors are taken in the order of their names. They must be contiguous and on the CPU, as
    those of a checkpoint that was read are.
    """
    digest = hashlib.sha256(f"{len(meta.encode())}\n{meta}\n".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}\n{tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read(path: Path) -> Checkpoint:
    """Load a checkpoint to the CPU, and compare its content with its checksum.

    Files without a checksum were written by earlier versions, and are taken as they are.

    Raises:
        UserError: If the file is missing, cannot be read, is damaged, or is not a
            checkpoint of vaebench.
    """
    out = Checkpoint({})
    tensors: Tensors = {}
    try:
        with safe_open(path, framework="pt") as f:
            kept = (f.metadata() or {}).get(META, "null")
            # Earlier versions wrote only the JSON.
            known, _, meta = ("", "", kept) if kept[:1] in "{n" else kept.partition(" ")
            out.meta = parse_json(meta)

            for key in f.keys():  # noqa: SIM118 - not a mapping
                part, name = key.split("/", 1)
                getattr(out, part)[name] = tensors[key] = f.get_tensor(key)
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except SafetensorError:
        raise damaged(path, "cut short, or another file") from None
    except (KeyError, ValueError, AttributeError, TypeError) as e:
        raise damaged(path, " ".join(str(e).split()) or type(e).__name__) from None
    except OSError as e:
        raise UserError(f"{path}: cannot be read: {e.strerror or e}") from None

    if not isinstance(out.meta, dict):
        raise damaged(path, "it says nothing of the training")
    if known and known != checksum(tensors, meta):
        raise damaged(path, "its content does not fit its checksum")
    return out


def damaged(path: Path, why: str) -> UserError:
    """Return the error for a checkpoint that cannot be used; it says what to do about it."""
    return UserError(f"{path}: not a usable checkpoint ({why}); vaebench run --force starts anew")
