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
        f"{part}/{name}": tensor.detach().cpu().contiguous()
        for part, of_part in parts.items()
        for name, tensor in of_part.items()
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
    # ``tensors`` has all tensors under their names in the file, for the checksum.
    checkpoint = Checkpoint({})
    tensors: Tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            entry = (file.metadata() or {}).get(META, "null")
            # Earlier versions wrote only the JSON, which begins with a brace; ``null`` stands for a
            # file without the entry. A hex checksum begins with neither character.
            stored_checksum, _, meta = (
                ("", "", entry) if entry[:1] in "{n" else entry.partition(" ")
            )
            checkpoint.meta = parse_json(meta)

            # A key is "params/name", "state/name" or "opt/name": a field of Checkpoint.
            for key in file.keys():  # noqa: SIM118 - not a mapping
                part, name = key.split("/", 1)
                getattr(checkpoint, part)[name] = tensors[key] = file.get_tensor(key)
    except FileNotFoundError:
        raise damaged(path, "it is missing") from None
    except SafetensorError:
        raise damaged(path, "cut short, or another file") from None
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise damaged(path, " ".join(str(error).split()) or type(error).__name__) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None

    if not isinstance(checkpoint.meta, dict):
        raise damaged(path, "it says nothing of the training")
    if stored_checksum and stored_checksum != checksum(tensors, meta):
        raise damaged(path, "its content does not fit its checksum")
    return checkpoint


def damaged(path: Path, why: str) -> UserError:
    """Return the error for a checkpoint that cannot be used; it says what to do about it."""
    return UserError(f"{path}: not a usable checkpoint ({why}); vaebench run --force starts anew")
