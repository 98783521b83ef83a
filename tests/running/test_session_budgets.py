"""A larger budget goes on from a smaller run of the same settings, and from no other."""

from __future__ import annotations

import pytest
from kit.sessions import EARLY, after, edit, files_in, result_of

from vaebench.results.store import Store
from vaebench.running.tasks import Task, work
from vaebench.training import checkpoint, snapshots
from vaebench.work.events import Advanced, Spared


@pytest.mark.parametrize("select", ["valid_bound", "last"])
def test_a_larger_budget_goes_on_from_the_smaller_run(
    make_cell, run, load_bits, store, state_of, trained_from, tmp_path, select
):
    cell_by_updates = {
        n: make_cell({"train.updates": n, "train.select": select}) for n in (30, 60, 90)
    }
    run(cell_by_updates[30], (0, 1))
    small_files = [files_in(store.run_dir(cell_by_updates[30].key, s)) for s in (0, 1)]
    run(cell_by_updates[90], (0, 1))

    assert trained_from == [0, 30]

    one_go = make_cell(
        {"train.updates": 90, "train.select": select, "run.results": str(tmp_path / "one go")}
    )
    run(one_go, (0, 1))

    for seed in (0, 1):
        extended, direct = (
            Store(root).run_dir(one_go.key, seed)
            for root in (tmp_path / "runs", tmp_path / "one go")
        )
        assert state_of(extended) == state_of(direct)

    # The smaller run was only read.
    assert [files_in(store.run_dir(cell_by_updates[30].key, s)) for s in (0, 1)] == small_files

    run(cell_by_updates[60])
    assert trained_from == [0, 30, 0, 30], "a run that went further is no beginning"


def test_a_larger_budget_goes_on_from_the_run_that_got_furthest(
    make_cell, run, load_bits, trained_from
):
    for n in (15, 45, 30):
        run(make_cell({"train.updates": n}))

    # The last one goes on from 15, as 45 is beyond its budget.
    assert trained_from == [0, 15, 15]

    run(make_cell({"train.updates": 60}))
    assert trained_from[-1] == 45


def test_a_larger_budget_takes_over_the_snapshots_of_the_smaller_run(
    make_cell, run, load_bits, store, trained_from
):
    """This includes the snapshot at the very update from which the larger run goes on."""
    cells = [make_cell({"train.updates": n, "train.snapshots": [0, 15, 30]}) for n in (30, 60)]
    for cell in cells:
        run(cell)

    assert trained_from == [0, 30]

    small_snapshots, large_snapshots = (
        snapshots.listed(store.run_dir(cell.key, 0)) for cell in cells
    )
    assert [kept.update for kept in large_snapshots] == [0, 15, 30]
    assert [kept.path.read_bytes() for kept in large_snapshots] == [
        kept.path.read_bytes() for kept in small_snapshots
    ]


@pytest.mark.parametrize(("first", "then"), [(50, 60), (90, 50)])
def test_another_budget_goes_on_from_a_run_that_is_not_finished(
    make_cell, run, load_bits, store, trained_from, state_of, tmp_path, first, then
):
    """The other budget is larger, or smaller but not yet reached by the first run."""
    cell = make_cell({"train.updates": then})
    work(Task(make_cell({"train.updates": first}), (0,)), should_stop=after(3))
    run(cell)

    # Stopped at the fourth report. Reports are at validations (15, 30) and at ends of blocks (20,
    # 40).
    assert trained_from == [0, 40]

    run(make_cell({"train.updates": then, "run.results": str(tmp_path / "one go")}))
    one_go = Store(tmp_path / "one go").run_dir(cell.key, 0)
    assert state_of(store.run_dir(cell.key, 0)) == state_of(one_go)


def test_a_run_that_ended_between_validations_is_no_beginning(
    make_cell, run, load_bits, trained_from
):
    run(make_cell({"train.updates": 15}))
    run(make_cell({"train.updates": 40}))
    run(make_cell({"train.updates": 60}))

    assert trained_from == [0, 15, 15], "not from 40, where the longer run has no validation"


def test_a_run_that_stopped_early_stands_for_any_larger_budget(
    make_cell, run, load_bits, store, trained_from
):
    run(make_cell({**EARLY, "train.updates": 50}))
    large = make_cell({**EARLY, "train.updates": 900})
    assert run(large) == ["done"]
    assert trained_from == [0]
    assert result_of(store, large)["stopped_early"] is True


@pytest.mark.parametrize(
    "other",
    [
        {"optim.rate": 0.02},
        {"train.batch": 6},
        {"train.valid_every": 30},
        {"train.valid_samples": 3},
        {"train.order": "shuffle"},
        {"train.select": "last"},
        {"train.patience": 5},
        {"recipe": 2},
        {"objective": {"name": "nvil", "baseline_units": 3, "decay": 0.5}},
        {"model.posterior": "autoregressive"},
        {"data": {"name": "bits", "held_out": 3, "held_out_seed": 0, "mirror": None}},
    ],
    ids=str,
)
def test_runs_of_other_settings_are_never_mixed(make_cell, run, load_bits, trained_from, other):
    run(make_cell({**other, "train.updates": 30}))
    run(make_cell({"train.updates": 60}))
    assert trained_from == [0, 0]


def test_where_data_are_looked_for_and_how_it_is_run_make_no_other_run(
    make_cell, run, load_bits, trained_from
):
    data = {"name": "bits", "held_out": None, "held_out_seed": 0, "mirror": "/elsewhere"}
    run(make_cell({"data": data, "run.threads": 1, "run.pack": 1, "train.updates": 30}))
    run(make_cell({"train.updates": 60}))

    assert trained_from == [0, 30]


def test_other_seeds_are_no_beginning(make_cell, run, load_bits, trained_from):
    run(make_cell({"train.updates": 30}), (1,))
    run(make_cell({"train.updates": 60}), (0,))
    assert trained_from == [0, 0]


def spoil(store, cell, how):
    """Damage the run of seed 0 of a cell; ``how`` is a kind of damage or the name of a file."""
    folder = store.run_dir(cell.key, 0)

    if how == "other data":
        # As if it were trained on other data.
        edit(folder / "config.json", data_hash="0" * 64)
    elif how == "best of another update":
        # As if the process was killed between the two files.
        best = checkpoint.read(folder / "best.safetensors")
        best.meta["update"] = 1
        checkpoint.write(folder / "best.safetensors", best)
    elif how == "no best":
        (folder / "best.safetensors").unlink()
    else:
        (folder / how).write_bytes(b"{")


@pytest.mark.parametrize(
    "how",
    [
        "config.json",
        "checkpoint.safetensors",
        "best.safetensors",
        "other data",
        "best of another update",
        "no best",
    ],
)
def test_a_smaller_run_that_is_damaged_is_passed_over(
    make_cell, run, load_bits, store, trained_from, how
):
    run(make_cell({"train.updates": 15}))
    run(make_cell({"train.updates": 30}))
    spoil(store, make_cell({"train.updates": 30}), how)

    assert run(make_cell({"train.updates": 60})) == ["done"]
    # The second run went on from the first, and so did the third, past the damaged one.
    assert trained_from == [0, 15, 15]


def test_a_smaller_run_in_somebodys_hands_is_passed_over(
    make_cell, run, load_bits, store, trained_from
):
    small = make_cell({"train.updates": 30})
    run(small)
    with store.lock(small.key, 0):
        assert run(make_cell({"train.updates": 60})) == ["done"]

    assert trained_from == [0, 0]


@pytest.mark.parametrize("part", ["objective", "optimiser"])
def test_what_looks_at_its_budget_never_goes_on_from_a_smaller_one(
    make_cell, run, load_bits, trained_from, monkeypatch, part
):
    from vaebench.objectives import OBJECTIVES
    from vaebench.optim import OPTIMS

    monkeypatch.setattr(
        OBJECTIVES["nvil"] if part == "objective" else OPTIMS["sgd"], "budget_free", False
    )
    run(make_cell({"train.updates": 30}))
    run(make_cell({"train.updates": 60}))

    assert trained_from == [0, 0]


@pytest.mark.parametrize(
    ("settings", "began"), [({}, [0, 30]), ({"weight_noise_from": 0.5}, [0, 0])], ids=str
)
def test_whether_it_looks_at_its_budget_may_depend_on_its_settings(
    make_cell, run, load_bits, trained_from, settings, began
):
    noisy = {"objective": {"name": "mdl", "weight_noise": 0.1, **settings}}
    for updates in (30, 60):
        assert run(make_cell({**noisy, "train.updates": updates})) == ["done"]
    assert trained_from == began


def test_force_does_not_go_on_from_a_smaller_run(make_cell, run, load_bits, trained_from):
    run(make_cell({"train.updates": 30}))
    run(make_cell({"train.updates": 60}), force=True)
    assert trained_from == [0, 0]


def test_what_is_spared_and_what_is_done_add_up(make_cell, load_bits):
    """So that a progress bar ends at its end: after a resume, an early stop, for finished runs."""

    def counted(cell, seeds, **hooks):
        total = {"updates": 0, "spared": 0}

        def count(event):
            if isinstance(event, Advanced):
                total["updates"] += event.updates
            if isinstance(event, Spared):
                total["spared"] += event.updates

        work(Task(cell, seeds), count, **hooks)
        return total

    cell = make_cell()

    # Stopped at the second report: at update 20 of 50, in a pack of two seeds.
    stop = after(1)

    assert counted(cell, (0, 1), should_stop=stop) == {"updates": 40, "spared": 0}
    assert counted(cell, (0, 1)) == {"updates": 60, "spared": 40}
    assert counted(cell, (0, 1)) == {"updates": 0, "spared": 100}

    early = make_cell(EARLY)
    total = counted(early, (0,))
    assert 0 < total["updates"] < 50
    assert sum(total.values()) == 50


def test_a_checkpoint_of_an_earlier_version_goes_on_with_what_is_new(
    make_cell, run, load_bits, store
):
    """Its curve lacks the columns that were added since."""
    cell = make_cell({"train.updates": 30, "objective.decay": 0.8})
    assert run(cell) == ["done"]

    folder = store.run_dir(cell.key, 0)
    old_checkpoint = checkpoint.read(folder / "checkpoint.safetensors")

    # As an earlier version wrote it, without a column.
    for point in old_checkpoint.meta["curve"]:
        del point["train_baseline_outside"]
    checkpoint.write(folder / "checkpoint.safetensors", old_checkpoint)

    longer = make_cell({"train.updates": 45, "objective.decay": 0.8})

    assert run(longer) == ["done"]

    header, *lines = (store.run_dir(longer.key, 0) / "curve.csv").read_text().splitlines()
    place = header.split(",").index("train_baseline_outside")
    # Of the three validations the first two are from the old checkpoint.
    assert [line.split(",")[place] for line in lines] == ["", "", "0.0"]
