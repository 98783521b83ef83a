"""A session killed before any of its writes: the same command ends as if nothing had been."""

from __future__ import annotations

import types

import pytest
from kit.sessions import EARLY, Died, result_of

from vaebench import kernels
from vaebench.results import result_file
from vaebench.training import bookkeeping, checkpoint, resume

VARIANTS = {
    "nvil": {},
    "grey": {},
    "kernel": {"run.engine": "kernel"},
    "wake-sleep, shuffled": {"objective": {"name": "wake_sleep"}, "train.order": "shuffle"},
    "early stopping, last": EARLY,
}


@pytest.fixture
def dying(monkeypatch):
    """Function that lets the process die before the n-th file from now on is written, or never.

    Every kind of file counts. What it returns counts the files in ``count``.
    """
    real_write = checkpoint.write_atomic
    state = types.SimpleNamespace(at=None, count=0)

    def write(path, content):
        state.count += 1
        if state.count == state.at:
            raise Died

        real_write(path, content)

    for module in (checkpoint, resume, result_file, bookkeeping):
        monkeypatch.setattr(module, "write_atomic", write)

    def die_before(n=None):
        state.at = n
        state.count = 0
        return state

    return die_before


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "kernel" or not kernels.missing()])
def test_a_run_killed_before_any_of_its_writes_ends_as_if_nothing_had_been(
    make_cell, run, dying, load_bits, splits, grey, states_of, tmp_path, variant
):
    load_bits(grey if variant == "grey" else splits)
    changes = {"train.updates": 26, "train.valid_every": 12, **VARIANTS[variant]}

    # Validations are at 12, 24 and 26 updates.
    whole = make_cell({"run.results": str(tmp_path / "whole"), **changes})
    seeds = (0,) if variant in ("grey", "wake-sleep, shuffled") else (0, 1)

    # Count the writes of a run that nobody kills.
    counter = dying()

    assert set(run(whole, seeds)) == {"done"}

    expected = states_of(tmp_path / "whole")
    number_of_writes = counter.count
    assert len(expected) == len(seeds)
    assert number_of_writes > 6 * len(seeds)

    # Kill the same run before each of them, and start it again.
    for nth in range(1, number_of_writes + 1):
        cell = make_cell({"run.results": str(tmp_path / str(nth)), **changes})
        dying(nth)
        with pytest.raises(Died):
            run(cell, seeds)

        dying()
        assert set(run(cell, seeds)) == {"done"}
        assert states_of(tmp_path / str(nth)) == expected


def test_the_variant_that_stops_early_does_so(make_cell, run, load_bits, store):
    cell = make_cell(EARLY)
    run(cell, (0, 1))
    assert {result_of(store, cell, s)["stopped_early"] for s in (0, 1)} == {True}


def test_a_run_that_is_killed_again_and_again_gets_there(
    make_cell, run, dying, load_bits, states_of, tmp_path
):
    whole = make_cell({"run.results": str(tmp_path / "whole")})
    run(whole, (0, 1))

    dying(5)  # time for a first validation of one seed
    deaths = 0
    ended = False

    while not ended:
        try:
            ended = run(make_cell(), (0, 1)) == ["done", "done"]
        except Died:
            deaths += 1
            assert deaths < 40
            dying(5)

    assert deaths > 4
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


def test_temporary_files_of_a_killed_process_are_swept(make_cell, run, load_bits, store):
    cell = make_cell()
    folder = store.run_dir(cell.key, 0)
    folder.mkdir(parents=True)
    (folder / ".checkpoint.safetensors.1-abcdef01.tmp").write_bytes(b"half")

    run(cell)

    assert sorted(p.name for p in folder.iterdir()) == [
        "best.safetensors", "checkpoint.safetensors", "config.json", "curve.csv", "result.json"
    ]  # fmt: skip


def test_a_curve_that_a_kill_left_behind_is_mended(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell)
    folder = store.run_dir(cell.key, 0)
    whole_curve = (folder / "curve.csv").read_text()

    # As after a kill between a checkpoint and its curve: the last line is missing.
    (folder / "curve.csv").write_text("".join(whole_curve.splitlines(True)[:-1]))
    (folder / "result.json").unlink()

    run(cell)

    assert (folder / "curve.csv").read_text() == whole_curve
