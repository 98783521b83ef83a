"""What is left to do, and how its seeds are packed."""

from __future__ import annotations

import pytest
from kit.runs import pending, put_result

from vaebench.running import tasks as runner
from vaebench.running.tasks import tasks, unit


def test_pending_skips_what_ended_and_keeps_the_order(make_cell, store):
    a, b, c = (make_cell({"train.updates": n}) for n in (30, 40, 50))
    put_result(store, a, 0)
    put_result(store, a, 1, "diverged")
    put_result(store, b, 0, "failed")
    put_result(store, b, 1)

    # ``a`` has ended in both seeds, done and diverged; a seed of ``b`` failed; ``c`` is new.
    assert pending(store, [c, a, b], [1, 0]) == [(c, [1, 0]), (b, [0])]

    assert pending(store, [a, b], [0, 1], force=True) == [(a, [0, 1]), (b, [0, 1])]


def test_cells_that_share_a_run_come_once_unless_they_evaluate_it_in_other_ways(make_cell, store):
    a = make_cell(row="A")
    same = make_cell(row="B")
    more_samples = make_cell({"eval": {**a.config["eval"], "iw_samples": 9}}, row="C")

    assert a.key == same.key == more_samples.key
    assert unit(a) == unit(same) != unit(more_samples)
    assert [c.row for c, _ in pending(store, [a, same, more_samples], [0])] == ["A", "C"]


@pytest.mark.parametrize(
    ("unit", "updates", "share"), [("updates", 60, 0.5), ("updates", 20, 1.0), ("epochs", 8, 0.75)]
)
def test_what_is_behind_a_partial_run_is_read_from_its_curve(
    make_cell, store, unit, updates, share
):
    cell = make_cell({"train.updates": updates, "train.unit": unit, "train.valid_every": 3})
    folder = store.run_dir(cell.key, 0)
    assert runner.share_done(store, cell, 0) == 0

    folder.mkdir(parents=True)

    # No line yet, a header alone, two validations, and a damaged file.
    for curve, expected in (
        ("", 0),
        ("update,seconds\n", 0),
        ("update,seconds\n15,0.1\n30,0.2\n", share),
        ("\0\n", 0),
    ):
        (folder / "curve.csv").write_text(curve)

        assert runner.share_done(store, cell, 0) == expected


@pytest.mark.parametrize(
    ("cells", "seeds", "jobs", "pack", "sizes"),
    [
        (1, 5, 1, 8, [5]),
        (1, 5, 1, 2, [2, 2, 1]),
        (1, 5, 2, 8, [3, 2]),
        (1, 4, 8, 8, [1, 1, 1, 1]),
        (2, 4, 2, 8, [4, 4]),
        (2, 4, 4, 8, [2, 2, 2, 2]),
        (3, 2, 2, 1, [1] * 6),
    ],
)
def test_seeds_are_packed_so_that_every_job_has_work(make_cell, cells, seeds, jobs, pack, sizes):
    todo = [(make_cell({"train.updates": 30 + n}), list(range(seeds))) for n in range(cells)]
    packs = tasks(todo, jobs, pack, force=True)
    assert [len(t.seeds) for t in packs] == sizes
    assert all(t.force and not t.wait for t in packs)

    # No seed is lost, and each cell's seeds stay in their order.
    for cell, _ in todo:
        assert [s for t in packs if t.cell is cell for s in t.seeds] == list(range(seeds))


def test_the_number_of_jobs(monkeypatch):
    """``auto``: one for each core that this process may use, and one alone on a GPU."""
    monkeypatch.setattr(runner.os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)

    assert runner.jobs(3, "cpu") == runner.jobs(3, "cuda") == 3
    assert runner.jobs("auto", "cpu") == 3
    assert runner.jobs("auto", "cuda") == runner.jobs("auto", "cuda:1") == 1

    # MacOS does not say which cores a process may use.
    monkeypatch.delattr(runner.os, "sched_getaffinity")
    assert runner.jobs("auto", "cpu") == 1
