"""``--shard 3/8``: shares of a command's runs that any scheduler can hand out."""

from __future__ import annotations

import re

import pytest
from kit.runs import TINY

from vaebench.cli import main
from vaebench.errors import UserError
from vaebench.results.status import Status
from vaebench.running.execute import Shard, plan


@pytest.fixture
def cells(make_cell):
    """Six cells; the last one is the third again, evaluated in another way.

    Another table may ask for it like that.
    """
    trained_apart = [make_cell({"train.updates": n}) for n in range(10, 15)]
    evaluated_otherwise = make_cell(
        {"train.updates": 12, "eval": {**trained_apart[2].config["eval"], "bound_samples": 7}}
    )

    return [*trained_apart, evaluated_otherwise]


def runs(found):
    """Return (cell, seed) of every run of a plan, in its order; the cell by its id."""
    return [(id(asked.cell), asked.seed) for asked in found.asked]


@pytest.mark.parametrize("of", [1, 2, 3, 7, 40])
def test_shares_are_disjoint_and_complete_and_none_is_much_larger(store, cells, of):
    cells_with_seeds = [(cells, [0, 1, 2])]
    whole = runs(plan(store, cells_with_seeds))
    shares = [runs(plan(store, cells_with_seeds, shard=Shard(k + 1, of))) for k in range(of)]

    assert sorted(run for share in shares for run in share) == sorted(whole)
    assert all(share == [run for run in whole if run in share] for share in shares), (
        "in the order of the command"
    )

    # Without the last cell, which has the runs of the third: what is trained is dealt out evenly.
    trainings = [{(c, s) for c, s in share if c != id(cells[-1])} for share in shares]
    assert max(map(len, trainings)) - min(map(len, trainings)) <= 1


def test_a_share_is_the_same_whatever_is_done_already(store, cells):
    cells_with_seeds = [(cells, [0, 1, 2])]

    runs_before = runs(plan(store, cells_with_seeds, shard=Shard(2, 4)))
    for seed in range(3):
        store.write_result(cells[1].key, seed, {"status": "diverged", "measures": []})
    plan_after = plan(store, cells_with_seeds, shard=Shard(2, 4))

    assert runs(plan_after) == runs_before
    assert any(a.known.status is Status.DIVERGED for a in plan_after.asked)


def test_cells_that_share_a_run_are_in_one_share(store, cells):
    for k in range(4):
        evaluations = {(a.cell.key, a.seed, a.cell.config["eval"]["bound_samples"]) for a in plan(
            store, [(cells, range(3))], shard=Shard(k + 1, 4)
        ).asked}  # fmt: skip

        # 7 bound samples are asked for by the last cell alone, 3 by the third, which has the same
        # runs.
        runs_of_last_cell = {(key, seed) for key, seed, samples in evaluations if samples == 7}
        assert all((key, seed, 3) in evaluations for key, seed in runs_of_last_cell)


def test_the_shares_of_a_command_make_the_table(tmp_path, capsys):
    arguments = [*TINY, "--seeds", "0-2", f"run.results={tmp_path}"]
    for k in (1, 2):
        assert main(["run", *arguments, "--shard", f"{k}/2"]) == 0

        # The first share has two of the three runs.
        assert len(list(tmp_path.glob("*/seed-*/result.json"))) == (2, 3)[k - 1]

    capsys.readouterr()
    assert main(["run", *arguments, "--dry-run"]) == 0
    assert re.search(r"3 done", capsys.readouterr().out)


def test_a_share_without_runs_does_nothing(tmp_path, capsys):
    assert main(["run", *TINY, f"run.results={tmp_path / 'runs'}", "--shard", "2/2"]) == 0
    assert not (tmp_path / "runs").exists()

    # The table that it shows has the only run of the command, which is in the other share.
    assert re.search(r"SBN 200 +NVIL .* not run\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "text", ["", "3", "0/8", "9/8", "3/0", "a/b", "3/8/2", "-1/8", "1/99999999999999999999"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(UserError, match="write the number of a share"):
        Shard.read(text)


@pytest.mark.parametrize(("text", "allowed"), [("0/3", "1/3 to 3/3"), ("5", "1/8 to 8/8")])
def test_the_shares_that_there_are_are_named(text, allowed):
    with pytest.raises(UserError, match=f"from {allowed}$"):
        Shard.read(text)
