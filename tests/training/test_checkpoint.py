"""Checkpoints: exact, whole or not at all, and never executed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from vaebench.errors import UserError
from vaebench.training import checkpoint
from vaebench.training.checkpoint import Checkpoint
from vaebench.training.run_state import progress_of

STATE = Checkpoint(
    {"model.p.w": torch.arange(6.0).reshape(2, 3) / 7, "baseline.0.b": torch.tensor(1 / 3)},
    {"mean": torch.tensor([1e-30, -0.0])},
    {"step": torch.tensor(3)},
    {
        "update": 7,
        "best_bound": -1 / 3,
        "curve": [{"valid_bound": -0.1 - 0.2}],
        "sums": {"bound": 1e300},
    },
)


class Trap:
    """When it is unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "seed-0" / "checkpoint.safetensors"
    checkpoint.write(path, STATE)
    return path


def test_what_is_read_is_what_was_written_bit_for_bit(path):
    restored = checkpoint.read(path)
    for part in ("params", "state", "opt"):
        written = getattr(STATE, part)
        read = getattr(restored, part)
        assert written.keys() == read.keys()

        for name, tensor in written.items():
            assert read[name].dtype == tensor.dtype
            assert read[name].shape == tensor.shape
            assert read[name].numpy().tobytes() == tensor.numpy().tobytes()

    assert restored.meta == STATE.meta


def test_a_tensor_on_the_way_through_autograd_can_be_saved(tmp_path):
    # A parameter, and a result of it that is also not contiguous.
    live = torch.ones(3, 4, requires_grad=True)
    checkpoint.write(tmp_path / "c", Checkpoint({"w": live, "t": (live * 2).T}))

    restored = checkpoint.read(tmp_path / "c").params

    assert restored["t"].shape == (4, 3)
    assert not restored["w"].requires_grad


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch, call):
    bytes_before = path.read_bytes()

    def raise_disk_full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, raise_disk_full)

    with pytest.raises(OSError, match="No space left"):
        checkpoint.write(path, Checkpoint({"other": torch.zeros(2)}))
    assert path.read_bytes() == bytes_before
    assert os.listdir(path.parent) == [path.name]


CONTENT = {"empty": b"", "garbage": b"\xff\n\0" * 999, "text": b"update: 7\n"}


def damage(path, kind):
    """Damage a checkpoint; a number is where it is cut off, as the end of a slice."""
    whole = path.read_bytes()

    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(path.parent / "executed")))
    elif kind == "torch pickle":
        torch.save({"params": Trap(path.parent / "executed")}, path)
    elif kind == "another program's":
        save_file({"params/w": torch.zeros(2)}, path)
    elif kind == "odd names":
        save_file({"w": torch.zeros(2)}, path, {"vaebench": "{}"})
    elif kind == "odd part":
        save_file({"weights/w": torch.zeros(2)}, path, {"vaebench": "{}"})
    elif kind == "damaged meta":
        save_file({"params/w": torch.zeros(2)}, path, {"vaebench": '{"update": 7'})
    elif kind == "missing":
        path.unlink()
    else:
        path.write_bytes(whole[:kind] if isinstance(kind, int) else CONTENT[kind])


KINDS = [
    *CONTENT,
    "pickle",
    "torch pickle",
    "another program's",
    "odd names",
    "odd part",
    "damaged meta",
]


@pytest.mark.parametrize("kind", [*KINDS, "missing", 1, 8, 100, -1])
def test_a_damaged_file_is_one_clear_line_and_runs_nothing(path, kind):
    damage(path, kind)
    with pytest.raises(UserError) as caught:
        checkpoint.read(path)

    line = str(caught.value)
    assert line.startswith(f"{path}: not a usable checkpoint (")
    assert "--force" in line
    assert "\n" not in line
    assert not (path.parent / "executed").exists()


def test_the_traps_would_run_if_they_were_unpickled(path):
    damage(path, "pickle")
    pickle.loads(path.read_bytes()).close()

    assert (path.parent / "executed").exists()


@pytest.mark.parametrize("lacking", ["update", "curve", "best_bound", "stalled"])
def test_a_checkpoint_without_a_part_of_its_progress_is_damaged(tmp_path, lacking):
    meta = {
        "update": 7, "seconds": 1.0, "status": "running", "reason": "", "curve": [], "sums": {},
        "count": 0,
        "best_update": None, "best_bound": None, "stalled": 0, "seed": 0,
    }  # fmt: skip
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.write(path, Checkpoint({}, meta=meta))

    # Whole, it is read.
    assert progress_of(tmp_path, 0).update == 7

    checkpoint.write(path, Checkpoint({}, meta={k: v for k, v in meta.items() if k != lacking}))
    with pytest.raises(UserError, match=rf"not a usable checkpoint \(no {lacking} in it\)"):
        progress_of(tmp_path, 0)

    checkpoint.write(path, Checkpoint({}, meta={**meta, "status": "paused"}))
    with pytest.raises(UserError, match=r"not a usable checkpoint .*'paused' is not a valid"):
        progress_of(tmp_path, 0)


def test_equal_states_are_equal_files(path):
    file_bytes = path.read_bytes()
    for _ in range(20):
        checkpoint.write(path, STATE)
        assert path.read_bytes() == file_bytes


def test_a_flipped_bit_of_any_byte_is_noticed(tmp_path):
    path = tmp_path / "c.safetensors"
    tensors = {"w": torch.tensor([1.5, -2.0])}, {"n": torch.tensor(3)}, {"m": torch.zeros(2, 1)}
    checkpoint.write(path, Checkpoint(*tensors, {"update": 7, "best_bound": -1 / 3}))
    file_bytes = path.read_bytes()

    # (position of the byte, number of the bit) of every change with which the file is still read.
    unnoticed = []

    for position in range(len(file_bytes)):
        for bit in {5, position % 8}:  # bit 5 is the case of a letter
            flipped = bytearray(file_bytes)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)

            with contextlib.suppress(UserError):
                checkpoint.read(path)
                unnoticed.append((position, bit))

    assert unnoticed == []


def test_a_file_without_a_checksum_is_of_an_earlier_version_and_is_read(path):
    current = checkpoint.read(path)

    # As an earlier version wrote it.
    tensors = {f"params/{k}": v for k, v in current.params.items()}
    save_file(tensors, path, {"vaebench": json.dumps(current.meta)})

    restored = checkpoint.read(path)

    assert restored.meta == STATE.meta
    assert torch.equal(restored.params["model.p.w"], STATE.params["model.p.w"])


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float64, torch.int16, torch.uint8, torch.bool]
)
def test_the_checksum_knows_every_type_and_shape(tmp_path, dtype):
    for n, shape in enumerate([(), (0,), (2, 3)]):
        path = tmp_path / f"{n}.safetensors"
        checkpoint.write(path, Checkpoint({"w": torch.ones(shape, dtype=dtype)}))
        assert checkpoint.read(path).params["w"].shape == shape

    # Another name, another shape or another text gives another checksum.
    ones = torch.ones(4, dtype=dtype)
    digests = {checkpoint.checksum({name: v}, m) for name, v, m in [
        ("w", ones, "{}"), ("v", ones, "{}"), ("w", ones.reshape(2, 2), "{}"), ("w", ones, "{} "),
    ]}  # fmt: skip

    assert len(digests) == 4


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path):
    (tmp_path / "c.safetensors").mkdir()
    with pytest.raises(UserError) as caught:
        checkpoint.read(tmp_path / "c.safetensors")
    assert "cannot be read" in str(caught.value)
    assert "--force" not in str(caught.value)
