"""Which engine a session trains with, and where kernels are allowed."""

from __future__ import annotations

import pytest
from kit.sessions import after, result_of

from vaebench import kernels
from vaebench.config import compose
from vaebench.errors import UserError
from vaebench.running import examination, session
from vaebench.running.tasks import Task, work

needs_numba = pytest.mark.skipif(bool(kernels.missing()), reason="no Numba")


def stopped_once(make_cell, changes):
    """Begin a run of one seed with these settings, and stop it on its way."""
    work(Task(make_cell(changes), (0,)), should_stop=after(2))


@needs_numba
def test_a_run_goes_on_with_the_engine_that_it_began_with(
    make_cell, run, load_bits, store, states_of, tmp_path
):
    stopped_once(make_cell, {"run.engine": "kernel"})
    # A new run of so few updates would take the plain engine.
    cell = make_cell({"run.engine": "auto"})
    assert run(cell) == ["done"]
    assert result_of(store, cell)["engine"] == "kernel"

    run(make_cell({"run.engine": "kernel", "run.results": str(tmp_path / "whole")}))
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("gradient", "engine"), [("exact", "compiled"), ("finite_difference", "plain")]
)
def test_settings_of_the_objective_decide_which_engines_can_train_it(
    make_cell, run, load_bits, store, monkeypatch, gradient, engine
):
    """No compiler is needed: nothing is trained, only the choice of the engine is looked at."""
    chosen = []
    # (number of seeds, engine) of each call.
    monkeypatch.setattr(session, "train", lambda *args: chosen.append((len(args[2]), args[4])))
    cell = make_cell(
        {
            "model": {"name": "gaussian_vae", "init": "normal", "init_scale": 0.1},
            "objective": compose.section(
                "objective", "semi_amortised", [f"objective.gradient={gradient}"]
            ),
            "optim": {"name": "sgd", "rate": 0.01},
            "run.engine": "compiled",
        }
    )

    run(cell, seeds=(0, 1), evaluate=False)

    # The plain engine alone can train by finite differences, seed after seed.
    together = [(2, engine)] if gradient == "exact" else [(1, engine)] * 2

    assert chosen == together


def test_a_begun_run_whose_settings_cannot_be_built_any_more_fails_in_one_line(
    make_cell, load_bits, store, monkeypatch
):
    stopped_once(make_cell, {})
    cell = make_cell({})

    def refuse(*args):
        raise UserError("objective nvil: no longer known")

    monkeypatch.setattr(session, "trio", refuse)
    (outcome,) = work(Task(cell, (0,)))

    assert (outcome.status, outcome.reason) == ("failed", "objective nvil: no longer known")


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
    allowed_in = {}

    def watch(module, name):
        real = getattr(module, name)

        def watching(*args, **more):
            allowed_in[name] = kernels.allowed()
            return real(*args, **more)

        monkeypatch.setattr(module, name, watching)

    monkeypatch.setattr(session.kernels, "missing", lambda: "")

    watch(session, "train")
    watch(examination, "evaluate")

    assert run(make_cell({"run.engine": engine})) == ["done"]

    assert allowed_in == dict.fromkeys(("train", "evaluate"), engine != "plain")
    # Outside of the session they are allowed as before.
    assert kernels.allowed()
