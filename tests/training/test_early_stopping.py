"""When training ends before its budget, and which of its parameters are evaluated."""

from __future__ import annotations

import pytest
from kit.parameters import equal

from vaebench.errors import UserError
from vaebench.training import checkpoint
from vaebench.training.build import load_model
from vaebench.training.run_state import evaluated_checkpoint, progress_of


def test_training_stops_after_so_many_validations_without_improvement(go, scripted, params_of):
    scripted({0: [9.0, 7.0, 8.0, 7.0, 7.5, 1.0]})
    (seed,) = go({"train.updates": 200, "train.patience": 3})
    assert (seed.status, seed.update, seed.best_update, seed.best_bound) == ("trained", 75, 30, 7.0)
    assert seed.reason == "no improvement in 3 validations"

    assert [p["valid_bound"] for p in seed.curve] == [9.0, 7.0, 8.0, 7.0, 7.5]

    # What is evaluated are the parameters of the best update, 30, or of the last one, 75.
    for updates in (30, 75):
        scripted({0: [0.0]})
        go({"train.updates": updates}, folder=f"to {updates}")

    best_params, last_params = (
        evaluated_checkpoint(seed, select).params for select in ("valid_bound", "last")
    )
    assert equal(best_params, params_of("to 30"))
    assert equal(last_params, params_of("to 75"))
    assert not equal(best_params, last_params)


def test_an_improvement_starts_the_patience_anew(go, scripted):
    scripted({0: [9.0, 9.0, 8.0, 8.0, 7.0, 7.0, 7.0]})
    (seed,) = go({"train.updates": 200, "train.patience": 2})

    # The best is the fifth validation, at update 75; two worse ones end the training.
    assert (seed.update, seed.best_update) == (105, 75)


def test_without_patience_training_never_stops_early(go, scripted):
    scripted({0: [1.0, 9.0]})
    (seed,) = go({"train.updates": 120})

    assert (seed.update, seed.best_update, seed.stalled) == (120, 15, 7)


def test_a_seed_that_stopped_stays_as_it_is_while_its_pack_goes_on(
    go, scripted, state_of, tmp_path
):
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

    bytes_before = (tmp_path / "run/seed-0/checkpoint.safetensors").read_bytes()
    (seed,) = go({"train.patience": 1})
    assert seed.update == 30
    assert (tmp_path / "run/seed-0/checkpoint.safetensors").read_bytes() == bytes_before


def test_a_pack_ends_with_its_last_seed(go, scripted):
    scripted({0: [5.0, 6.0], 1: [5.0, 6.0]})
    reported_updates = []
    go(
        {"train.updates": 10_000, "train.patience": 1},
        seeds=(0, 1),
        report=lambda update, shown: reported_updates.append(update),
    )

    assert reported_updates[-1] == 30


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

    # The last parameters are evaluated without the best.
    assert evaluated_checkpoint(seed, "last").meta["update"] == 50


def test_a_checkpoint_that_lacks_a_parameter_is_not_evaluated(make_config, splits, go, params_of):
    go()
    params = params_of("run")
    assert load_model(make_config(), splits.info, checkpoint.Checkpoint(params))

    missing_name = next(k for k in params if k.startswith("model.p"))
    with pytest.raises(
        UserError,
        match=f"does not fit its settings: it lacks {missing_name.removeprefix('model.')}",
    ):
        load_model(
            make_config(),
            splits.info,
            checkpoint.Checkpoint({k: v for k, v in params.items() if k != missing_name}),
        )
