"""The training loop: stopping and going on bit for bit, early stopping, divergence, packs."""

from __future__ import annotations

import math
import re

import pytest
import torch

from vaebench.errors import Interrupted, UserError
from vaebench.results.store import BOUNDS
from vaebench.training import bookkeeping, checkpoint
from vaebench.training import loop as train
from vaebench.training.bookkeeping import _account
from vaebench.training.build import load_model
from vaebench.training.engines import Pack
from vaebench.training.run_state import RunState, evaluated_checkpoint, progress_of

CPU = torch.device("cpu")

IMAGES = {
    "model": {
        "name": "image_vae", "latents": 2, "channels": 4, "kernels": [3, 3], "encoder_channels": [3], "features": 4,
        "init": "glorot", "init_scale": 0.1,
    },
    "objective": {"name": "vae"},
    "optim": {"name": "clipped_adam", "rate": 1e-2},
}  # fmt: skip
HALF = {**IMAGES, "train.precision": "bfloat16", "train.updates": 20, "train.valid_every": 8}
REFINED = {"name": "semi_amortised", "svi_steps": 2, "svi_rate": 1.0, "svi_momentum": 0.5, "svi_clip": 5.0}

VARIANTS = {
    "nvil": {},
    "shuffle": {"train.order": "shuffle"},
    "wake-sleep": {"objective": {"name": "wake_sleep"}, "train.order": "shuffle"},
    "two layers, autoregressive": {"model.dims": [3, 2], "model.posterior": "autoregressive"},
}


class Died(BaseException):
    """As by SIGKILL: nobody handles it."""


@pytest.fixture
def go(make_config, splits, tmp_path):
    """Train ``seeds`` in a folder as a session would: each from its checkpoint, those at one update together."""

    def go(changes=None, seeds=(0,), folder="run", data=splits, engine="plain", **hooks):
        config = make_config(changes)
        stand = [progress_of(tmp_path / folder / f"seed-{s}", s) for s in seeds]
        able = [s for s in stand if s.status == "running" and s.update < config["train"]["updates"]]
        for start in sorted({s.update for s in able}):
            train.train(config, data, [s for s in able if s.update == start], CPU, engine, **hooks)
        return stand

    return go


@pytest.fixture
def params_of(tmp_path):
    """The tensors of a checkpoint, by folder, seed and file."""

    def read(folder, seed=0, file="checkpoint"):
        return checkpoint.read(tmp_path / folder / f"seed-{seed}" / f"{file}.safetensors").params

    return read


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def scripted(monkeypatch):
    """Validation bounds that follow a script per seed; its last value is repeated."""

    def put(script):
        left = {seed: list(values) for seed, values in script.items()}

        def found(model, x, samples, seed, update, settings):
            values = left[seed]
            return {"valid_bound": values.pop(0) if len(values) > 1 else values[0]}

        monkeypatch.setattr(bookkeeping, "validation", found)

    return put


@pytest.fixture
def poison(monkeypatch):
    """Make one seed's parameters NaN when its pack has made so many updates."""

    def put(seed_row, after):
        real, done = Pack.advance, 0

        def advance(self, index, noise, binarize, first, only):
            nonlocal done
            if done >= after and seed_row < self.size:
                for v in self.params.values():
                    v[seed_row] = math.nan
            done += len(index)
            return real(self, index, noise, binarize, first, only)

        monkeypatch.setattr(Pack, "advance", advance)

    return put


# ------------------------------------------------------------------------------------------ stopping, going on


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_stopped_anywhere_goes_on_bit_for_bit(go, state_of, tmp_path, variant):
    changes = VARIANTS[variant]
    go(changes, seeds=(0, 1), folder="whole")
    for stop_at in (1, 3, 4, 6):
        folder, calls = f"stopped {stop_at}", iter(range(1, 100))
        with pytest.raises(Interrupted, match=r"stopped at update \d+; the state is saved") as caught:
            go(changes, seeds=(0, 1), folder=folder, should_stop=lambda calls=calls, n=stop_at: next(calls) >= n)
        for seed in (0, 1):
            saved = progress_of(tmp_path / folder / f"seed-{seed}", seed).update
            assert f"stopped at update {saved};" in str(caught.value)
        go(changes, seeds=(0, 1), folder=folder)
        for seed in ("seed-0", "seed-1"):
            assert state_of(tmp_path / folder / seed) == state_of(tmp_path / "whole" / seed)


@pytest.mark.parametrize("objective", [{"name": "vae"}, REFINED], ids=lambda v: v["name"])
def test_in_bfloat16_too(go, state_of, tmp_path, objective):
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
    go(seeds=(0, 1))
    go({"train.order": "shuffle"}, folder="shuffled")
    states = [state_of(tmp_path / p) for p in ("run/seed-0", "run/seed-1", "shuffled/seed-0")]
    key = next(k for k in states[0] if k.startswith("checkpoint/params/model.q"))
    assert len({s[key] for s in states}) == 3


def test_between_validations_the_state_is_saved_and_goes_on_bit_for_bit(go, state_of, tmp_path, monkeypatch):
    changes = {"train.updates": 90, "train.valid_every": 45}
    go(changes, folder="whole")
    monkeypatch.setattr(bookkeeping, "SAVE_SECONDS", -1.0)
    at = []

    def die(update, shown):
        at.append(update)
        if update == 60:
            raise Died

    with pytest.raises(Died):
        go(changes, report=die)
    assert at == [20, 40, 45, 60]
    saved = progress_of(tmp_path / "run/seed-0", 0)
    assert (saved.update, saved.count) == (60, 15), "saved within an interval, with what is being averaged"
    assert saved.sums["bound"] < 0
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
    order, real = [], checkpoint.write

    def write(path, content):
        order.append((path.parent.name, path.name))
        real(path, content)

    monkeypatch.setattr(checkpoint, "write", write)
    go({"train.updates": 15}, seeds=(0, 1))
    assert order == [(f"seed-{s}", f"{kind}.safetensors") for s in (0, 1) for kind in ("best", "checkpoint")]


def test_stopping_does_not_wait_for_the_end_of_a_block(go, tmp_path):
    with pytest.raises(Interrupted, match="stopped at update 3;"):
        go({"train.valid_every": 3}, should_stop=lambda: True)
    assert progress_of(tmp_path / "run/seed-0", 0).update == 3


def test_progress_is_reported_as_updates_done(go):
    seen = []
    go({"train.updates": 33}, report=lambda update, shown: seen.append((update, sorted(shown))))
    assert seen == [(n, ["valid_bound"]) for n in (15, 20, 30, 33)]


# ------------------------------------------------------------------------------------------------------- packs


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_a_seed_does_not_depend_on_its_pack(go, params_of, engine):
    go(seeds=(0, 1, 2), folder="pack", engine=engine)
    for seed in (0, 1, 2):
        go(seeds=(seed,), folder="solo")
        ours, theirs = (params_of(f, seed) for f in ("pack", "solo"))
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)


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
    """The checkpoint as version 1 wrote it: bounds of the other sign, and no version."""
    found = checkpoint.read(path)
    del found.meta["version"]
    found.meta["best_bound"] = -found.meta["best_bound"]
    found.meta["curve"] = [{k: -v if k in BOUNDS else v for k, v in p.items()} for p in found.meta["curve"]]
    checkpoint.write(path, found)


@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_run_of_an_older_version_goes_on_bit_for_bit(go, state_of, tmp_path, stop_at):
    """Stopped with something summed up since the last validation as well: what is summed has the objective's sign."""
    go({"train.patience": 2}, folder="whole")
    calls = iter(range(1, 100))
    with pytest.raises(Interrupted):
        go({"train.patience": 2}, folder="stopped", should_stop=lambda: next(calls) > stop_at)
    folder = tmp_path / "stopped" / "seed-0"
    old(folder / "checkpoint.safetensors")
    old(folder / "best.safetensors")
    assert progress_of(folder, 0).best_bound > 0
    go({"train.patience": 2}, folder="stopped")
    ours, whole = state_of(folder), state_of(tmp_path / "whole" / "seed-0")
    for state in (ours, whole):
        assert state.pop("best meta")["update"] == 15  # written before the stop, and of it the update alone is read
    assert ours == whole


# ----------------------------------------------------------------------------------------------- early stopping


def test_training_stops_after_so_many_validations_without_improvement(go, scripted, params_of):
    scripted({0: [9.0, 7.0, 8.0, 7.0, 7.5, 1.0]})
    (seed,) = go({"train.updates": 200, "train.patience": 3})
    assert (seed.status, seed.update, seed.best_update, seed.best_bound) == ("trained", 75, 30, 7.0)
    assert seed.reason == "no improvement in 3 validations"
    assert [p["valid_bound"] for p in seed.curve] == [9.0, 7.0, 8.0, 7.0, 7.5]
    for updates in (30, 75):
        scripted({0: [0.0]})
        go({"train.updates": updates}, folder=f"to {updates}")
    best, last = (evaluated_checkpoint(seed, select).params for select in ("valid_bound", "last"))
    assert equal(best, params_of("to 30"))
    assert equal(last, params_of("to 75"))
    assert not equal(best, last)


def test_an_improvement_starts_the_patience_anew(go, scripted):
    scripted({0: [9.0, 9.0, 8.0, 8.0, 7.0, 7.0, 7.0]})
    (seed,) = go({"train.updates": 200, "train.patience": 2})
    assert (seed.update, seed.best_update) == (105, 75)


def test_without_patience_training_never_stops_early(go, scripted):
    scripted({0: [1.0, 9.0]})
    (seed,) = go({"train.updates": 120})
    assert (seed.update, seed.best_update, seed.stalled) == (120, 15, 7)


def test_a_seed_that_stopped_stays_as_it_is_while_its_pack_goes_on(go, scripted, state_of, tmp_path):
    changes = {"train.updates": 90, "train.patience": 1}
    script = {0: [5.0, 6.0], 1: [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]}
    scripted(script)
    early, late = go(changes, seeds=(0, 1), folder="pack")
    assert (early.update, late.update) == (30, 90)
    assert (early.status, late.status) == ("trained", "trained")
    scripted(script)
    go(changes, seeds=(0,), folder="solo")
    assert state_of(tmp_path / "pack/seed-0") == state_of(tmp_path / "solo/seed-0")


def test_a_run_that_stopped_early_is_not_gone_on_with(go, scripted, tmp_path):
    scripted({0: [5.0, 6.0]})
    go({"train.patience": 1})
    assert progress_of(tmp_path / "run/seed-0", 0).status == "trained"
    before = (tmp_path / "run/seed-0/checkpoint.safetensors").read_bytes()
    (seed,) = go({"train.patience": 1})
    assert seed.update == 30
    assert (tmp_path / "run/seed-0/checkpoint.safetensors").read_bytes() == before


def test_a_pack_ends_with_its_last_seed(go, scripted):
    scripted({0: [5.0, 6.0], 1: [5.0, 6.0]})
    seen = []
    go({"train.updates": 10_000, "train.patience": 1}, seeds=(0, 1), report=lambda update, shown: seen.append(update))
    assert seen[-1] == 30


def test_a_best_of_another_update_than_the_checkpoint_says_is_not_evaluated(go, tmp_path):
    go()
    path = tmp_path / "run/seed-0/best.safetensors"
    best = checkpoint.read(path)
    checkpoint.write(path, checkpoint.Checkpoint(best.params, meta={**best.meta, "update": 1}))
    seed = progress_of(tmp_path / "run/seed-0", 0)
    with pytest.raises(UserError, match="of update 1, but the best by the checkpoint is"):
        evaluated_checkpoint(seed, "valid_bound")
    path.unlink()
    with pytest.raises(UserError, match="it is missing"):
        evaluated_checkpoint(seed, "valid_bound")
    assert evaluated_checkpoint(seed, "last").meta["update"] == 50


def test_a_checkpoint_that_lacks_a_parameter_is_not_evaluated(make_config, splits, go, params_of):
    go()
    params = params_of("run")
    assert load_model(make_config(), splits.info, checkpoint.Checkpoint(params))
    gone = next(k for k in params if k.startswith("model.p"))
    with pytest.raises(UserError, match=f"does not fit its settings: it lacks {gone.removeprefix('model.')}"):
        load_model(make_config(), splits.info, checkpoint.Checkpoint({k: v for k, v in params.items() if k != gone}))


# -------------------------------------------------------------------------------------------------- divergence


def test_a_training_bound_that_is_not_finite_is_the_end_and_keeps_the_last_checkpoint(go, poison, params_of, tmp_path):
    poison(0, after=35)
    (seed,) = go()
    assert seed.status == "diverged"
    assert seed.reason == "the training bound is not finite at update 45; the checkpoint is of update 30"
    assert progress_of(tmp_path / "run/seed-0", 0).update == 30
    assert all(bool(torch.isfinite(v).all()) for v in params_of("run").values())


@pytest.mark.parametrize(
    ("objective", "value"),
    [({"name": "vae"}, math.nan), ({"name": "vae"}, 3e38), (REFINED, math.nan)],
    ids=["VAE, NaN", "VAE, overflow", "SA-VAE, NaN"],
)
def test_in_bfloat16_as_well(go, monkeypatch, params_of, tmp_path, objective, value):
    """A parameter that is none, or whose products overflow: found in the block, and nothing of it is saved.

    Another try from the checkpoint, without the fault, ends as if there had been none.
    """
    changes = {**HALF, "objective": objective}
    go(changes, folder="whole")
    real = Pack.advance

    def advance(self, index, noise, binarize, first, only):
        if first >= 12:
            self.params["model.p.blocks.0.narrow.weight"].fill_(value)
        return real(self, index, noise, binarize, first, only)

    with monkeypatch.context() as m:
        m.setattr(Pack, "advance", advance)
        (seed,) = go(changes)
    assert seed.status == "diverged"
    assert re.fullmatch(r"the training bound is not finite at update \d+; the checkpoint is of update 8", seed.reason)
    assert progress_of(tmp_path / "run/seed-0", 0).update == 8
    assert all(bool(torch.isfinite(v).all()) for v in params_of("run").values())
    (seed,) = go(changes)
    assert seed.status == "trained"
    assert equal(params_of("run"), params_of("whole"))


def test_bfloat16_trains_otherwise(go, params_of):
    """What is stopped and gone on with above is rounded, and stays so: no run of float32."""
    go(HALF)
    go(IMAGES, folder="exact")
    assert not equal(params_of("run"), params_of("exact"))


def test_an_absurd_rate_diverges_before_there_is_a_checkpoint(go, tmp_path):
    (seed,) = go({"optim.rate": 1e38, "optim.posterior_rate": 1e38})
    assert seed.status == "diverged"
    assert "is not finite at update 15; there is no checkpoint yet" in seed.reason
    assert not seed.last.exists()
    assert not seed.best.exists()


def test_a_parameter_that_is_not_finite_is_found_where_the_bound_hides_it(go, monkeypatch, tmp_path):
    real = Pack.seed

    def seed_of(self, r):
        params, state, opt = real(self, r)
        if calls.pop(0):
            params["model.p.0.bias"][0] = math.inf
        return params, state, opt

    calls = [False, True]
    monkeypatch.setattr(Pack, "seed", seed_of)
    (seed,) = go()
    assert (seed.status, seed.reason) == (
        "diverged", "model.p.0.bias is not finite at update 30; the checkpoint is of update 15"
    )  # fmt: skip
    assert progress_of(tmp_path / "run/seed-0", 0).update == 15


@pytest.mark.parametrize("part", [0, 1])
def test_a_state_that_is_not_finite_is_not_saved_between_validations(go, monkeypatch, tmp_path, part):
    """The last good checkpoint stays, in the parameters' case and in the running statistics'."""
    real, calls = Pack.seed, []

    def seed_of(self, r):
        parts = real(self, r)
        calls.append(r)
        if len(calls) == 2:
            next(iter(parts[part].values())).view(-1)[0] = math.nan
        return parts

    monkeypatch.setattr(Pack, "seed", seed_of)
    monkeypatch.setattr(bookkeeping, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("vaebench.rng.noise.BLOCK", 5)
    (seed,) = go()
    assert seed.status == "diverged"
    assert seed.reason.endswith("is not finite at update 10; the checkpoint is of update 5")
    kept = checkpoint.read(tmp_path / "run/seed-0/checkpoint.safetensors")
    assert kept.meta["update"] == 5
    assert all(torch.isfinite(v).all() for v in (*kept.params.values(), *kept.state.values()))


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
def test_a_validation_bound_that_is_not_finite_is_the_end(go, scripted, value, tmp_path):
    scripted({0: [5.0, value]})
    (seed,) = go()
    assert (seed.status, seed.best_update) == ("diverged", 15)
    assert seed.reason == "the validation bound is not finite at update 30; the checkpoint is of update 15"
    assert progress_of(tmp_path / "run/seed-0", 0).curve == seed.curve
    assert len(seed.curve) == 1


def test_a_seed_that_diverges_does_not_touch_its_neighbours(go, poison, state_of, tmp_path):
    poison(1, after=17)
    first, bad, last = go(seeds=(0, 1, 2), folder="pack")
    assert [s.status for s in (first, bad, last)] == ["trained", "diverged", "trained"]
    for seed in (0, 2):
        go(seeds=(seed,), folder="solo")
        assert state_of(tmp_path / f"pack/seed-{seed}") == state_of(tmp_path / f"solo/seed-{seed}")


def test_a_diverged_seed_diverges_again_from_its_checkpoint(go, monkeypatch):
    """What a kill after the divergence and before its result leaves: the same end at the same update."""
    real = Pack.advance

    def advance(self, index, noise, binarize, first, only):
        sums = real(self, index, noise, binarize, first, only)
        return {k: v * (math.nan if at[0] >= 30 else 1.0) for k, v in sums.items()}

    at = [0]
    monkeypatch.setattr(Pack, "advance", advance)
    for _ in range(2):
        (seed,) = go(report=lambda update, shown: at.__setitem__(0, update))
        assert seed.reason == "the training bound is not finite at update 40; the checkpoint is of update 30"


# -------------------------------------------------------------------------------------------------- accounting


def test_sums_are_kept_over_updates_until_the_validation(tmp_path):
    s = RunState(0, tmp_path)
    _account(s, {"bound": -8.0, "other": 1.0}, 4, 4, 0.5)
    _account(s, {"bound": -2.0, "other": 3.0}, 2, 6, 0.25)
    assert (s.update, s.count, s.seconds, s.sums) == (6, 6, 0.75, {"bound": -10.0, "other": 4.0})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_sums_of_a_block_that_diverged_are_not_booked(tmp_path, bad):
    s = RunState(0, tmp_path)
    _account(s, {"bound": -8.0, "other": 1.0}, 4, 4, 0.5)
    _account(s, {"bound": -2.0, "other": bad}, 2, 6, 0.25)
    assert (s.status, s.update, s.count, s.seconds) == ("diverged", 4, 4, 0.5)
    assert s.sums == {"bound": -8.0, "other": 1.0}
    _account(s, {"bound": -1.0, "other": 1.0}, 2, 8, 0.25)
    assert (s.status, s.update, s.sums["bound"]) == ("diverged", 4, -8.0), "and nothing is booked afterwards"


def test_the_mean_of_the_training_bound_is_over_the_interval_alone(go, monkeypatch):
    real = Pack.advance

    def advance(self, index, noise, binarize, first, only):
        sums = real(self, index, noise, binarize, first, only)
        return {k: torch.full_like(v, -float(sum(range(at[0] + 1, at[0] + len(index) + 1)))) for k, v in sums.items()}

    at = [0]
    monkeypatch.setattr(Pack, "advance", advance)
    (seed,) = go({"train.updates": 45}, report=lambda update, shown: at.__setitem__(0, update))
    assert [p["train_bound"] for p in seed.curve] == [8.0, 23.0, 38.0]  # means of 1..15, 16..30, 31..45
