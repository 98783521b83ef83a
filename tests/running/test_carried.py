"""One job: queued again it goes on bit for bit, and its progress is counted anew."""

from __future__ import annotations

from kit.cluster import Listed, launch

from vaebench.results.standing import record
from vaebench.running import tasks as runner
from vaebench.running.launchers import carried
from vaebench.running.tasks import Task
from vaebench.work.events import Advanced, Spared


def stops(turns):
    """Return the ``should_stop`` of the next turn.

    The first two turns are stopped when they ask for the fourth time, later ones never.
    """
    questions = []

    def stop():
        questions.append(1)

        return len(questions) > 3

    return stop if len(turns) < 2 else lambda: False


def test_a_job_that_is_queued_again_goes_on_bit_for_bit(make_cell, load_bits, tmp_path, states_of):
    whole = make_cell({"run.results": str(tmp_path / "whole")})
    runner.work(Task(whole, (0, 1)))

    task = Task(make_cell(), (0, 1), force=True)
    turns = []

    # Force throws earlier runs away in the first turn only. A turn that is stopped has no outcomes
    # yet.
    while not carried.carry_out(tmp_path, 0, task, stops(turns)):
        assert carried.read_outcomes(tmp_path, 0, task) is None
        turns.append(record(runner.Store(tmp_path / "runs"), task.cell, 0).status)

    assert turns == ["partial", "partial"]
    assert [str(o.status) for o in carried.read_outcomes(tmp_path, 0, task)] == ["done", "done"]
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


def test_progress_is_counted_anew_in_every_turn(make_cell, load_bits, said, cluster):
    cell = make_cell()
    turns = []

    def in_turns(cluster):
        (job,) = cluster.known
        if cluster.known[job].live:
            turns.append(cluster.work(job, stops(turns)))

    launch(Listed(cluster, in_turns), [Task(cell, (0,))], said)

    assert turns == [False, False, True]

    advanced, spared = (
        sum(e.updates for e in said if isinstance(e, kind)) for kind in (Advanced, Spared)
    )

    # Updates of earlier turns were advanced then and are spared now, so each is counted once.
    assert advanced + spared == cell.train.updates
    assert {e.updates > 0 for e in said if isinstance(e, Advanced) and e.updates} == {
        True,
        False,
    }, "taken back"
