"""Bounds and parameters that are not finite end a run.

They are recorded nowhere, and the last good checkpoint is kept.
"""

from __future__ import annotations

import math
import re

import pytest
import torch
from kit.image_cells import HALF, REFINED
from kit.parameters import equal

from vaebench.training import bookkeeping, checkpoint
from vaebench.training.bookkeeping import _account
from vaebench.training.engines import Pack
from vaebench.training.run_state import RunState, progress_of


def test_a_training_bound_that_is_not_finite_is_the_end_and_keeps_the_last_checkpoint(
    go, poison, params_of, tmp_path
):
    # Stretches end at 15, 20, 30, 40, 45 and 50: the first that begins at 35 or later ends at 45.
    poison(0, after=35)
    (seed,) = go()
    assert seed.status == "diverged"
    assert (
        seed.reason
        == "the training bound is not finite at update 45; the checkpoint is of update 30"
    )
    assert progress_of(tmp_path / "run/seed-0", 0).update == 30
    assert all(bool(torch.isfinite(v).all()) for v in params_of("run").values())


@pytest.mark.parametrize(
    ("objective", "value"),
    [({"name": "vae"}, math.nan), ({"name": "vae"}, 3e38), (REFINED, math.nan)],
    ids=["VAE, NaN", "VAE, overflow", "SA-VAE, NaN"],
)
def test_in_bfloat16_what_is_not_finite_is_found_and_not_saved(
    go, monkeypatch, params_of, tmp_path, objective, value
):
    """A parameter that is NaN, or whose products overflow, is found within its block.

    Nothing of that block is saved. Another try from the checkpoint, without the fault, ends as if
    there had been none.
    """
    changes = {**HALF, "objective": objective}
    go(changes, folder="whole")
    real_advance = Pack.advance

    def advance(self, index, noise, binarize, first, only):
        if first >= 12:
            self.params["model.p.blocks.0.narrow.weight"].fill_(value)

        return real_advance(self, index, noise, binarize, first, only)

    with monkeypatch.context() as during_fault:
        during_fault.setattr(Pack, "advance", advance)
        (seed,) = go(changes)

    assert seed.status == "diverged"
    assert re.fullmatch(
        r"the training bound is not finite at update \d+; the checkpoint is of update 8",
        seed.reason,
    )
    assert progress_of(tmp_path / "run/seed-0", 0).update == 8
    assert all(bool(torch.isfinite(v).all()) for v in params_of("run").values())

    (seed,) = go(changes)
    assert seed.status == "trained"
    assert equal(params_of("run"), params_of("whole"))


def test_an_absurd_rate_diverges_before_there_is_a_checkpoint(go, tmp_path):
    (seed,) = go({"optim.rate": 1e38, "optim.posterior_rate": 1e38})
    assert seed.status == "diverged"
    assert "is not finite at update 15; there is no checkpoint yet" in seed.reason
    assert not seed.last.exists()
    assert not seed.best.exists()


def test_a_parameter_that_is_not_finite_is_found_where_the_bound_hides_it(
    go, monkeypatch, tmp_path
):
    real_seed = Pack.seed

    def seed_of(self, r):
        params, state, opt = real_seed(self, r)
        if spoil.pop(0):
            params["model.p.0.bias"][0] = math.inf

        return params, state, opt

    # Each validation reads the seed once: the second, at update 30, finds the damage.
    spoil = [False, True]
    monkeypatch.setattr(Pack, "seed", seed_of)
    (seed,) = go()

    assert (seed.status, seed.reason) == (
        "diverged", "model.p.0.bias is not finite at update 30; the checkpoint is of update 15"
    )  # fmt: skip
    assert progress_of(tmp_path / "run/seed-0", 0).update == 15


@pytest.mark.parametrize("part", [0, 1])
def test_a_state_that_is_not_finite_is_not_saved_between_validations(
    go, monkeypatch, tmp_path, part
):
    """The last good checkpoint stays, whether a parameter or a running statistic is NaN."""
    real_seed = Pack.seed
    reads = []

    def seed_of(self, r):
        parts = real_seed(self, r)
        reads.append(r)

        # The second save, at update 10.
        if len(reads) == 2:
            next(iter(parts[part].values())).view(-1)[0] = math.nan

        return parts

    monkeypatch.setattr(Pack, "seed", seed_of)
    # Save after every stretch: at 5, 10 and so on.
    monkeypatch.setattr(bookkeeping, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr("vaebench.rng.noise.BLOCK", 5)

    (seed,) = go()

    assert seed.status == "diverged"
    assert seed.reason.endswith("is not finite at update 10; the checkpoint is of update 5")

    saved = checkpoint.read(tmp_path / "run/seed-0/checkpoint.safetensors")
    assert saved.meta["update"] == 5
    assert all(torch.isfinite(v).all() for v in (*saved.params.values(), *saved.state.values()))


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
def test_a_validation_bound_that_is_not_finite_is_the_end(go, scripted, value, tmp_path):
    scripted({0: [5.0, value]})
    (seed,) = go()
    assert (seed.status, seed.best_update) == ("diverged", 15)
    assert (
        seed.reason
        == "the validation bound is not finite at update 30; the checkpoint is of update 15"
    )

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
    """After a kill between the divergence and its result, the run ends again at the same update."""
    real_advance = Pack.advance

    def advance(self, index, noise, binarize, first, only):
        sums = real_advance(self, index, noise, binarize, first, only)

        return {k: v * (math.nan if done[0] >= 30 else 1.0) for k, v in sums.items()}

    done = [0]
    monkeypatch.setattr(Pack, "advance", advance)

    for _ in range(2):
        (seed,) = go(report=lambda update, shown: done.__setitem__(0, update))
        assert (
            seed.reason
            == "the training bound is not finite at update 40; the checkpoint is of update 30"
        )


def test_sums_are_kept_over_updates_until_the_validation(tmp_path):
    state = RunState(0, tmp_path)
    _account(state, {"bound": -8.0, "other": 1.0}, 4, 4, 0.5)
    _account(state, {"bound": -2.0, "other": 3.0}, 2, 6, 0.25)

    assert (state.update, state.count, state.seconds, state.sums) == (
        6,
        6,
        0.75,
        {"bound": -10.0, "other": 4.0},
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_sums_of_a_block_that_diverged_are_not_booked(tmp_path, bad):
    state = RunState(0, tmp_path)
    _account(state, {"bound": -8.0, "other": 1.0}, 4, 4, 0.5)
    _account(state, {"bound": -2.0, "other": bad}, 2, 6, 0.25)

    assert (state.status, state.update, state.count, state.seconds) == ("diverged", 4, 4, 0.5)
    assert state.sums == {"bound": -8.0, "other": 1.0}

    _account(state, {"bound": -1.0, "other": 1.0}, 2, 8, 0.25)
    assert (state.status, state.update, state.sums["bound"]) == ("diverged", 4, -8.0), (
        "and nothing is booked afterwards"
    )


def test_the_mean_of_the_training_bound_is_over_the_interval_alone(go, monkeypatch):
    real_advance = Pack.advance

    def advance(self, index, noise, binarize, first, only):
        sums = real_advance(self, index, noise, binarize, first, only)

        # Update n of the run has the bound -n, whatever it trains.
        return {
            k: torch.full_like(v, -float(sum(range(done[0] + 1, done[0] + len(index) + 1))))
            for k, v in sums.items()
        }

    done = [0]
    monkeypatch.setattr(Pack, "advance", advance)
    (seed,) = go({"train.updates": 45}, report=lambda update, shown: done.__setitem__(0, update))

    # Means of 1..15, 16..30, 31..45.
    assert [p["train_bound"] for p in seed.curve] == [8.0, 23.0, 38.0]
