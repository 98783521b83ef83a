"""Training stopped anywhere goes on bit for bit, and a pack is its seeds."""

from __future__ import annotations

import pytest
import torch
from kit.image_cells import HALF, IMAGES, REFINED
from kit.parameters import equal
from kit.sessions import Died

from vaebench.errors import Interrupted
from vaebench.results.curves import BOUNDS
from vaebench.training import bookkeeping, checkpoint
from vaebench.training.run_state import progress_of

VARIANTS = {
    "nvil": {},
    "shuffle": {"train.order": "shuffle"},
    "wake-sleep": {"objective": {"name": "wake_sleep"}, "train.order": "shuffle"},
    "two layers, autoregressive": {"model.dims": [3, 2], "model.posterior": "autoregressive"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_stopped_anywhere_goes_on_bit_for_bit(go, state_of, tmp_path, variant):
    changes = VARIANTS[variant]
    go(changes, seeds=(0, 1), folder="whole")

    # The training asks after each stretch of updates: at 15, 20, 30, 40, 45 and 50.
    for stop_at in (1, 3, 4, 6):
        folder = f"stopped {stop_at}"
        calls = iter(range(1, 100))
        with pytest.raises(
            Interrupted, match=r"stopped at update \d+; the state is saved"
        ) as caught:
            go(
                changes,
                seeds=(0, 1),
                folder=folder,
                should_stop=lambda calls=calls, n=stop_at: next(calls) >= n,
            )

        # The message tells the update of the checkpoints.
        for seed in (0, 1):
            saved = progress_of(tmp_path / folder / f"seed-{seed}", seed).update
            assert f"stopped at update {saved};" in str(caught.value)

        go(changes, seeds=(0, 1), folder=folder)
        for seed in ("seed-0", "seed-1"):
            assert state_of(tmp_path / folder / seed) == state_of(tmp_path / "whole" / seed)


@pytest.mark.parametrize("objective", [{"name": "vae"}, REFINED], ids=lambda v: v["name"])
def test_in_bfloat16_a_stopped_run_goes_on_bit_for_bit(go, state_of, tmp_path, objective):
    changes = {**HALF, "objective": objective}
    go(changes, folder="whole")
    calls = iter(range(1, 100))

    with pytest.raises(Interrupted):
        go(changes, should_stop=lambda: next(calls) >= 12)
    assert 0 < progress_of(tmp_path / "run/seed-0", 0).update < 20

    go(changes)
    assert state_of(tmp_path / "run/seed-0") == state_of(tmp_path / "whole/seed-0")


def test_grey_data_are_binarized_alike_after_a_stop(go, state_of, tmp_path, grey):
    go(data=grey, folder="whole")
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        go(data=grey, should_stop=lambda: next(calls) == 2)

    go(data=grey)
    assert state_of(tmp_path / "run/seed-0") == state_of(tmp_path / "whole/seed-0")


def test_what_is_compared_depends_on_the_noise(go, state_of, tmp_path):
    """Equal bits mean something: another seed or another order gives other parameters."""
    go(seeds=(0, 1))
    go({"train.order": "shuffle"}, folder="shuffled")

    states = [state_of(tmp_path / p) for p in ("run/seed-0", "run/seed-1", "shuffled/seed-0")]
    key = next(k for k in states[0] if k.startswith("checkpoint/params/model.q"))

    assert len({s[key] for s in states}) == 3


def test_between_validations_the_state_is_saved_and_goes_on_bit_for_bit(
    go, state_of, tmp_path, monkeypatch
):
    changes = {"train.updates": 90, "train.valid_every": 45}
    go(changes, folder="whole")

    # Save after every stretch.
    monkeypatch.setattr(bookkeeping, "SAVE_SECONDS", -1.0)
    reported_updates = []

    def die(update, shown):
        reported_updates.append(update)
        if update == 60:
            raise Died

    with pytest.raises(Died):
        go(changes, report=die)
    assert reported_updates == [20, 40, 45, 60]

    state = progress_of(tmp_path / "run/seed-0", 0)
    assert (state.update, state.count) == (60, 15), (
        "saved within an interval, with what is being averaged"
    )
    assert state.sums["bound"] < 0

    go(changes)
    assert state_of(tmp_path / "run/seed-0") == state_of(tmp_path / "whole/seed-0")


def test_between_validations_nothing_is_saved_before_its_time(go, tmp_path):
    def die(update, shown):
        if update == 20:
            raise Died

    with pytest.raises(Died):
        go({"train.valid_every": 45}, report=die)
    assert not (tmp_path / "run/seed-0/checkpoint.safetensors").exists()


def test_the_best_is_written_before_the_checkpoint_that_speaks_of_it(go, monkeypatch, tmp_path):
    written = []
    real_write = checkpoint.write

    def write(path, content):
        written.append((path.parent.name, path.name))
        real_write(path, content)

    monkeypatch.setattr(checkpoint, "write", write)

    go({"train.updates": 15}, seeds=(0, 1))

    assert written == [
        (f"seed-{s}", f"{kind}.safetensors") for s in (0, 1) for kind in ("best", "checkpoint")
    ]


def test_stopping_does_not_wait_for_the_end_of_a_block(go, tmp_path):
    with pytest.raises(Interrupted, match="stopped at update 3;"):
        go({"train.valid_every": 3}, should_stop=lambda: True)
    assert progress_of(tmp_path / "run/seed-0", 0).update == 3


def test_progress_is_reported_as_updates_done(go):
    reports = []
    go({"train.updates": 33}, report=lambda update, shown: reports.append((update, sorted(shown))))

    # Validations at 15, 30 and 33, and the end of a block at 20.
    assert reports == [(n, ["valid_bound"]) for n in (15, 20, 30, 33)]


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_a_seed_does_not_depend_on_its_pack(go, params_of, engine):
    go(seeds=(0, 1, 2), folder="pack", engine=engine)
    for seed in (0, 1, 2):
        go(seeds=(seed,), folder="solo")
        in_pack, alone = (params_of(f, seed) for f in ("pack", "solo"))

        if engine == "plain":
            assert equal(in_pack, alone)
            continue

        # The packed engine rounds otherwise than the plain one, which trains the seeds alone: its
        # products are of all seeds at once. After 50 updates that is about 1e-7 in float32.
        for name in in_pack:
            torch.testing.assert_close(in_pack[name], alone[name], rtol=1e-5, atol=1e-6)


def test_the_curve_is_a_view_of_the_checkpoint(go, tmp_path):
    (seed,) = go()
    lines = (tmp_path / "run/seed-0/curve.csv").read_text().splitlines()
    assert lines[0] == "update,seconds,train_bound,train_baseline_outside,valid_bound,unit"

    *numbers, unit = lines[-1].split(",")
    assert [float(v) for v in numbers] == list(seed.curve[-1].values())
    assert unit == "nats"
    assert [point["update"] for point in seed.curve] == [15, 30, 45, 50]
    assert progress_of(seed.folder, 0).curve == seed.curve


def old(path):
    """Rewrite a checkpoint as version 1 wrote it: bounds of the other sign, and no version."""
    current = checkpoint.read(path)
    del current.meta["version"]
    current.meta["best_bound"] = -current.meta["best_bound"]
    current.meta["curve"] = [
        {k: -v if k in BOUNDS else v for k, v in p.items()} for p in current.meta["curve"]
    ]
    checkpoint.write(path, current)


@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_run_of_an_older_version_goes_on_bit_for_bit(go, state_of, tmp_path, stop_at):
    """Also if metrics were summed since the last validation: sums have the objective's sign."""
    go({"train.patience": 2}, folder="whole")
    calls = iter(range(1, 100))
    with pytest.raises(Interrupted):
        go({"train.patience": 2}, folder="stopped", should_stop=lambda: next(calls) > stop_at)

    folder = tmp_path / "stopped" / "seed-0"
    old(folder / "checkpoint.safetensors")
    old(folder / "best.safetensors")

    assert progress_of(folder, 0).best_bound > 0

    go({"train.patience": 2}, folder="stopped")
    continued = state_of(folder)
    whole = state_of(tmp_path / "whole" / "seed-0")

    for state in (continued, whole):
        # The best was written before the stop, by the older version; only its update is read.
        assert state.pop("best meta")["update"] == 15
    assert continued == whole


def test_bfloat16_trains_otherwise(go, params_of):
    """The runs in bfloat16 above do round: they differ from those in float32."""
    go(HALF)
    go(IMAGES, folder="exact")
    assert not equal(params_of("run"), params_of("exact"))
