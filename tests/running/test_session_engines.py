"""Which engine a session trains with, and where kernels are allowed."""

from __future__ import annotations

import pytest
from kit.sessions import after, result_of

from vaebench import kernels
from vaebench.running import session
from vaebench.running.tasks import Task, work

needs_numba = pytest.mark.skipif(bool(kernels.missing()), reason="no Numba")


def stopped_once(make_cell, changes):
    """A run of one seed, begun with these settings and stopped on its way."""
    work(Task(make_cell(changes), (0,)), should_stop=after(2))


@needs_numba
def test_a_run_goes_on_with_the_engine_that_it_began_with(
    make_cell, run, load_bits, store, states_of, tmp_path
):
    stopped_once(make_cell, {"run.engine": "kernel"})
    cell = make_cell({"run.engine": "auto"})  # which takes the plain engine for so few updates
    assert run(cell) == ["done"]
    assert result_of(store, cell)["engine"] == "kernel"
    run(make_cell({"run.engine": "kernel", "run.results": str(tmp_path / "whole")}))
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


@needs_numba
def test_another_engine_that_is_asked_for_is_said(make_cell, run, load_bits, store, caplog):
    stopped_once(make_cell, {"run.engine": "kernel"})
    cell = make_cell({"run.engine": "plain"})
    assert run(cell) == ["done"]
    assert result_of(store, cell)["engine"] == "plain"
    assert (
        "began with the engine kernel, goes on with plain: the same in law, not bit for bit"
        in caplog.text
    )


def test_a_machine_without_numba_says_so_and_goes_on(
    make_cell, run, load_bits, store, caplog, monkeypatch
):
    monkeypatch.setattr(session.kernels, "missing", lambda: "No module named 'numba'")
    cell = make_cell({"run.engine": "kernel"})
    assert run(cell) == ["done"]
    assert result_of(store, cell)["engine"] == "plain"
    assert caplog.messages == ["no kernel: No module named 'numba'; the engine is plain"]


@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_the_plain_engine_forbids_kernels_everywhere(
    make_cell, run, load_bits, monkeypatch, engine
):
    seen = {}

    def watched(name):
        work = getattr(session, name)

        def wrapped(*args, **more):
            seen[name] = kernels.allowed()
            return work(*args, **more)

        return wrapped

    monkeypatch.setattr(session.kernels, "missing", lambda: "")
    for name in ("train", "evaluate"):
        monkeypatch.setattr(session, name, watched(name))
    assert run(make_cell({"run.engine": engine})) == ["done"]
    assert seen == dict.fromkeys(("train", "evaluate"), engine != "plain")
    assert kernels.allowed()
