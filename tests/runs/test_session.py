"""A session: deaths at every write, runs gone on with, evaluations added, what is refused."""

from __future__ import annotations

import json
import types

import pytest
from kit.runs import status

from vaebench import kernels
from vaebench.results import result_file
from vaebench.results.store import Store
from vaebench.running import session
from vaebench.running.session import Session
from vaebench.running.tasks import Task, work
from vaebench.training import bookkeeping, checkpoint, resume
from vaebench.training.programs import NotCompiled
from vaebench.work.events import Advanced, Spared, nobody


class Died(BaseException):
    """As by SIGKILL: nobody handles it."""


VARIANTS = {
    "nvil": {},
    "grey": {},
    "kernel": {"run.engine": "kernel"},
    "wake-sleep, shuffled": {"objective": {"name": "wake_sleep"}, "train.order": "shuffle"},
    "early stopping, last": {"train.patience": 1, "train.select": "last", "train.valid_every": 4},
}


@pytest.fixture
def dying(monkeypatch):
    """Die before the n-th file is written, whatever it is; how many were written is returned by ``count``."""
    real, state = checkpoint.write_atomic, types.SimpleNamespace(at=None, count=0)

    def write(path, content):
        state.count += 1
        if state.count == state.at:
            raise Died
        real(path, content)

    for module in (checkpoint, resume, result_file, bookkeeping):
        monkeypatch.setattr(module, "write_atomic", write)

    def before(n=None):
        state.at, state.count = n, 0
        return state

    return before


@pytest.fixture
def run(store):
    """Run seeds of a cell; the results' statuses."""

    def run(cell, seeds=(0,), **task):
        return [o.status for o in work(Task(cell, tuple(seeds), **task))]

    return run


def after(reports):
    """A ``should_stop`` that lets a task begin and asks to stop when its training has gone on so many times."""
    left = iter(range(reports + 1))
    return lambda: next(left, None) is None


def result_of(store, cell, seed=0):
    return json.loads((store.run_dir(cell.key, seed) / "result.json").read_text())


def measures(result):
    """By their signatures, without times."""
    return {m["signature"]: m["value"] for m in result["measures"] if m["unit"] not in ("ms", "h")}


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


# ------------------------------------------------------------------------------------------------------- engines


needs_numba = pytest.mark.skipif(bool(kernels.missing()), reason="no Numba")


def stopped_once(make_cell, changes):
    """A run of one seed, begun with these settings and stopped on its way."""
    work(Task(make_cell(changes), (0,)), should_stop=after(2))


@needs_numba
def test_a_run_goes_on_with_the_engine_that_it_began_with(make_cell, run, load_bits, store, states_of, tmp_path):
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
    assert "began with the engine kernel, goes on with plain: the same in law, not bit for bit" in caplog.text


def test_a_machine_without_numba_says_so_and_goes_on(make_cell, run, load_bits, store, caplog, monkeypatch):
    monkeypatch.setattr(session.kernels, "missing", lambda: "No module named 'numba'")
    cell = make_cell({"run.engine": "kernel"})
    assert run(cell) == ["done"]
    assert result_of(store, cell)["engine"] == "plain"
    assert caplog.messages == ["no kernel: No module named 'numba'; the engine is plain"]


@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_the_plain_engine_forbids_kernels_everywhere(make_cell, run, load_bits, monkeypatch, engine):
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


# ------------------------------------------------------------------------------------------------------- deaths


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "kernel" or not kernels.missing()])
def test_a_run_killed_before_any_of_its_writes_ends_as_if_nothing_had_been(
    make_cell, run, dying, load_bits, splits, grey, states_of, tmp_path, variant
):
    load_bits(grey if variant == "grey" else splits)
    changes = {"train.updates": 26, "train.valid_every": 12, **VARIANTS[variant]}
    whole = make_cell({"run.results": str(tmp_path / "whole"), **changes})
    seeds = (0,) if variant in ("grey", "wake-sleep, shuffled") else (0, 1)
    written = dying()
    assert set(run(whole, seeds)) == {"done"}
    expected, files = states_of(tmp_path / "whole"), written.count
    assert len(expected) == len(seeds)
    assert files > 6 * len(seeds)
    for n in range(1, files + 1):
        cell = make_cell({"run.results": str(tmp_path / str(n)), **changes})
        dying(n)
        with pytest.raises(Died):
            run(cell, seeds)
        dying()
        assert set(run(cell, seeds)) == {"done"}
        assert states_of(tmp_path / str(n)) == expected


def test_the_variant_that_stops_early_does_so(make_cell, run, load_bits, store):
    cell = make_cell(VARIANTS["early stopping, last"])
    run(cell, (0, 1))
    assert {result_of(store, cell, s)["stopped_early"] for s in (0, 1)} == {True}


def test_a_run_that_is_killed_again_and_again_gets_there(make_cell, run, dying, load_bits, states_of, tmp_path):
    whole = make_cell({"run.results": str(tmp_path / "whole")})
    run(whole, (0, 1))
    dying(5)  # time for a first validation of one seed
    deaths, ended = 0, False
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
    whole = (folder / "curve.csv").read_text()
    (folder / "curve.csv").write_text("".join(whole.splitlines(True)[:-1]))
    (folder / "result.json").unlink()
    run(cell)
    assert (folder / "curve.csv").read_text() == whole


# ------------------------------------------------------------------------------------- more evaluations, no training


def test_other_evaluation_settings_add_measures_without_training(make_cell, run, load_bits, store):
    cell, more = make_cell(), make_cell({"eval": {**make_cell().config["eval"], "iw_samples": 9}})
    assert more.key == cell.key
    run(cell)
    folder = store.run_dir(cell.key, 0)
    files = ["checkpoint.safetensors", "best.safetensors"]
    before = [(folder / f).stat().st_mtime_ns for f in files]
    old = result_of(store, cell)
    assert status(store, more, 0) == "trained"
    assert run(more) == ["done"]
    new = result_of(store, cell)
    assert [(folder / f).stat().st_mtime_ns for f in files] == before
    assert measures(old).items() < measures(new).items()
    assert {m["samples"] for m in new["measures"] if m["name"] == "iw_nll"} == {5, 9}
    assert [status(store, c, 0) for c in (cell, more)] == ["done", "done"]


def test_a_later_evaluation_leaves_what_is_said_of_the_training(make_cell, run, load_bits, store):
    cell, more = make_cell(), make_cell({"eval": {**make_cell().config["eval"], "points": 4}})
    run(cell, (0, 1))
    path = store.run_dir(cell.key, 0) / "result.json"
    edit(path, device="cuda (another machine)", engine="compiled", peak_memory_mb=123.0)
    run(more)
    new = result_of(store, cell)
    assert [new[k] for k in ("pack", "device", "engine", "peak_memory_mb", "updates")] == [
        2, "cuda (another machine)", "compiled", 123.0, 50
    ]  # fmt: skip


def test_the_same_evaluation_replaces_its_measures(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell)
    first = result_of(store, cell)
    edit(store.run_dir(cell.key, 0) / "result.json", measures=first["measures"][1:])
    assert status(store, cell, 0) == "trained"
    run(cell)
    assert measures(result_of(store, cell)) == measures(first)
    assert len(result_of(store, cell)["measures"]) == len(first["measures"])


def test_select_last_evaluates_the_last_parameters(make_cell, run, load_bits, store, monkeypatch):
    values = {"valid_bound": None, "last": None}
    for select in values:
        script = iter([5.0, 6.0, 7.0, 8.0])
        monkeypatch.setattr(bookkeeping, "validation", lambda *a, script=script: {"valid_bound": next(script)})
        cell = make_cell({"train.select": select})
        run(cell)
        values[select] = measures(result_of(store, cell))
        assert result_of(store, cell)["best_update"] == 15
    monkeypatch.undo()
    assert all(f"select:{select}" in s for select, found in values.items() for s in found)
    assert {round(v, 6) for v in values["last"].values()} != {round(v, 6) for v in values["valid_bound"].values()}


def test_evaluating_a_run_in_the_middle_of_its_training_leaves_it_to_be_gone_on_with(
    make_cell, run, load_bits, store, states_of, tmp_path
):
    run(make_cell({"run.results": str(tmp_path / "whole")}))
    cell, stop = make_cell(), after(1)
    assert [o.status for o in work(Task(cell, (0,)), should_stop=stop)] == ["interrupted"]
    with store.lock(cell.key, 0):
        (result,) = Session(cell, store, [0]).evaluate_only(nobody)
    assert (result["status"], result["updates"], len(measures(result))) == ("partial", 20, 5)
    assert status(store, cell, 0) == "partial"
    assert run(cell) == ["done"]
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


# --------------------------------------------------------------------------------------------- a larger budget


@pytest.fixture
def trained_from(monkeypatch):
    """The update at which each call of ``train`` begins."""
    began, real = [], session.train

    def spy(config, splits, seeds, *rest):
        began.append(seeds[0].update)
        return real(config, splits, seeds, *rest)

    monkeypatch.setattr(session, "train", spy)
    return began


def files_in(folder):
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir() if p.name != ".lock"}


@pytest.mark.parametrize("select", ["valid_bound", "last"])
def test_a_larger_budget_goes_on_from_the_smaller_run(
    make_cell, run, load_bits, store, state_of, states_of, trained_from, tmp_path, select
):
    sizes = {n: make_cell({"train.updates": n, "train.select": select}) for n in (30, 60, 90)}
    run(sizes[30], (0, 1))
    small = [files_in(store.run_dir(sizes[30].key, s)) for s in (0, 1)]
    run(sizes[90], (0, 1))
    assert trained_from == [0, 30]
    one_go = make_cell({"train.updates": 90, "train.select": select, "run.results": str(tmp_path / "one go")})
    run(one_go, (0, 1))
    for seed in (0, 1):
        longer, direct = (Store(root).run_dir(one_go.key, seed) for root in (tmp_path / "runs", tmp_path / "one go"))
        assert state_of(longer) == state_of(direct)
    assert [files_in(store.run_dir(sizes[30].key, s)) for s in (0, 1)] == small
    run(sizes[60])
    assert trained_from == [0, 30, 0, 30], "a run that went further is no beginning"


def test_a_larger_budget_goes_on_from_the_run_that_got_furthest(make_cell, run, load_bits, trained_from):
    for n in (15, 45, 30):
        run(make_cell({"train.updates": n}))
    assert trained_from == [0, 15, 15]
    run(make_cell({"train.updates": 60}))
    assert trained_from[-1] == 45


@pytest.mark.parametrize(("first", "then"), [(50, 60), (90, 50)])
def test_another_budget_goes_on_from_a_run_that_is_not_finished(
    make_cell, run, load_bits, store, trained_from, state_of, tmp_path, first, then
):
    """A larger one, and a smaller one that the first run did not reach."""
    cell = make_cell({"train.updates": then})
    work(Task(make_cell({"train.updates": first}), (0,)), should_stop=after(3))
    run(cell)
    assert trained_from == [0, 40]
    run(make_cell({"train.updates": then, "run.results": str(tmp_path / "one go")}))
    one = Store(tmp_path / "one go").run_dir(cell.key, 0)
    assert state_of(store.run_dir(cell.key, 0)) == state_of(one)


def test_a_run_that_ended_between_validations_is_no_beginning(make_cell, run, load_bits, trained_from):
    run(make_cell({"train.updates": 15}))
    run(make_cell({"train.updates": 40}))
    run(make_cell({"train.updates": 60}))
    assert trained_from == [0, 15, 15], "not from 40, where the longer run has no validation"


def test_a_run_that_stopped_early_stands_for_any_larger_budget(make_cell, run, load_bits, store, trained_from):
    changes = VARIANTS["early stopping, last"]
    run(make_cell({**changes, "train.updates": 50}))
    large = make_cell({**changes, "train.updates": 900})
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


def test_where_data_are_looked_for_and_how_it_is_run_make_no_other_run(make_cell, run, load_bits, trained_from):
    data = {"name": "bits", "held_out": None, "held_out_seed": 0, "mirror": "/elsewhere"}
    run(make_cell({"data": data, "run.threads": 1, "run.pack": 1, "train.updates": 30}))
    run(make_cell({"train.updates": 60}))
    assert trained_from == [0, 30]


def test_other_seeds_are_no_beginning(make_cell, run, load_bits, trained_from):
    run(make_cell({"train.updates": 30}), (1,))
    run(make_cell({"train.updates": 60}), (0,))
    assert trained_from == [0, 0]


def spoil(store, cell, how):
    folder = store.run_dir(cell.key, 0)
    if how == "other data":
        edit(folder / "config.json", data_hash="0" * 64)
    elif how == "best of another update":
        best = checkpoint.read(folder / "best.safetensors")
        best.meta["update"] = 1
        checkpoint.write(folder / "best.safetensors", best)
    elif how == "no best":
        (folder / "best.safetensors").unlink()
    else:
        (folder / how).write_bytes(b"{")


@pytest.mark.parametrize(
    "how",
    ["config.json", "checkpoint.safetensors", "best.safetensors", "other data", "best of another update", "no best"],
)
def test_a_smaller_run_that_is_damaged_is_passed_over(make_cell, run, load_bits, store, trained_from, how):
    run(make_cell({"train.updates": 15}))
    run(make_cell({"train.updates": 30}))
    spoil(store, make_cell({"train.updates": 30}), how)
    assert run(make_cell({"train.updates": 60})) == ["done"]
    assert trained_from == [0, 15, 15]


def test_a_smaller_run_in_somebodys_hands_is_passed_over(make_cell, run, load_bits, store, trained_from):
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

    monkeypatch.setattr(OBJECTIVES["nvil"] if part == "objective" else OPTIMS["sgd"], "budget_free", False)
    run(make_cell({"train.updates": 30}))
    run(make_cell({"train.updates": 60}))
    assert trained_from == [0, 0]


def test_evaluating_a_diverged_run_leaves_it_diverged(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell)
    result = store.read_result(cell.key, 0)
    path = store.run_dir(cell.key, 0) / "checkpoint.safetensors"
    state = checkpoint.read(path)
    state.meta.update(update=state.meta["update"] - 1, status="running")
    checkpoint.write(path, state)
    store.write_result(cell.key, 0, {**result, "status": "diverged", "reason": "nan", "measures": []})
    (again,) = Session(cell, store, [0]).evaluate_only(nobody)
    assert again["status"] == "diverged"
    assert again["measures"]


@pytest.mark.parametrize(("select", "expected"), [("valid_bound", 5.0), ("last", 7.0)])
def test_the_validation_bound_is_that_of_the_evaluated_parameters(
    make_cell, run, load_bits, store, monkeypatch, select, expected
):
    values = iter([6.0, 5.0, 7.0, 7.0, 7.0])
    monkeypatch.setattr(bookkeeping, "validation", lambda *args: {"valid_bound": next(values)})
    cell = make_cell({"train.select": select, "train.updates": 45})
    run(cell)
    measures = store.read_result(cell.key, 0)["measures"]
    assert next(m["value"] for m in measures if m["name"] == "valid_bound") == expected


def test_force_does_not_go_on_from_a_smaller_run(make_cell, run, load_bits, trained_from):
    run(make_cell({"train.updates": 30}))
    run(make_cell({"train.updates": 60}), force=True)
    assert trained_from == [0, 0]


# -------------------------------------------------------------------------------------------- refused and damaged


def test_a_run_of_other_data_is_refused_in_one_line_and_left_alone(make_cell, load_bits, store, grey):
    cell = make_cell()
    work(Task(cell, (0,)))
    (store.run_dir(cell.key, 0) / "result.json").unlink()
    before = files_in(store.run_dir(cell.key, 0))
    load_bits(grey)
    (outcome,) = work(Task(cell, (0,)))
    assert outcome.status == "failed"
    assert outcome.reason.startswith(f"{store.run_dir(cell.key, 0)}: trained on other data (")
    assert grey.hash[:8] in outcome.reason
    assert "--force" in outcome.reason
    assert "\n" not in outcome.reason
    assert files_in(store.run_dir(cell.key, 0)) == before
    assert [o.status for o in work(Task(cell, (0,), force=True))] == ["done"]
    assert result_of(store, cell)["data"]["hash"] == grey.hash


@pytest.mark.parametrize("name", ["config.json", "checkpoint.safetensors"])
def test_a_damaged_seed_is_refused_alone_and_force_starts_it_anew(
    make_cell, run, load_bits, store, states_of, tmp_path, name
):
    run(make_cell({"run.results": str(tmp_path / "whole")}), (0, 1))
    cell, stop = make_cell(), after(1)
    work(Task(cell, (0, 1)), should_stop=stop)
    (store.run_dir(cell.key, 0) / name).write_bytes(b"{")
    bad, good = work(Task(cell, (0, 1)))
    assert (bad.status, good.status) == ("failed", "done")
    assert name in bad.reason
    assert "--force" in bad.reason
    assert not (store.run_dir(cell.key, 0) / "result.json").exists()
    assert run(cell, (0,), force=True) == ["done"]
    assert states_of(tmp_path / "runs") == states_of(tmp_path / "whole")


DAMAGED = [b"", b"{", b"[]", b"{}", b'{"status": "done", "measures": [{"name": "bound"}, 3]}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_result_is_made_again_from_the_checkpoint(
    make_cell, run, load_bits, store, state_of, trained_from, content, caplog
):
    cell = make_cell()
    run(cell)
    folder = store.run_dir(cell.key, 0)
    before = state_of(folder)
    (folder / "result.json").write_bytes(content)
    assert status(store, cell, 0) in ("partial", "trained")
    assert run(cell) == ["done"]
    assert state_of(folder) == before
    assert trained_from == [0], "evaluated, not trained again"


def test_a_best_that_is_gone_fails_its_seed_and_no_other(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell, (0, 1))
    for seed in (0, 1):
        (store.run_dir(cell.key, seed) / "result.json").unlink()
    (store.run_dir(cell.key, 0) / "best.safetensors").unlink()
    bad, good = work(Task(cell, (0, 1)))
    assert (bad.status, good.status) == ("failed", "done")
    assert "best.safetensors: not a usable checkpoint (it is missing)" in bad.reason
    assert result_of(store, cell)["status"] == "failed"
    assert result_of(store, cell)["reason"] == bad.reason


# ---------------------------------------------------------------------------------------------------- failures


@pytest.fixture
def evaluation_fails(monkeypatch):
    real = session.evaluate

    def put(bad_seeds):
        def evaluate(model, x, config, data_hash, seed):
            if seed in bad_seeds:
                raise RuntimeError("no\nsuch luck")
            return real(model, x, config, data_hash, seed)

        monkeypatch.setattr(session, "evaluate", evaluate)

    return put


def test_an_evaluation_that_fails_is_recorded_and_made_up_for(
    make_cell, run, load_bits, store, evaluation_fails, trained_from
):
    cell = make_cell()
    evaluation_fails({1})
    outcomes = work(Task(cell, (0, 1, 2)))
    assert [o.status for o in outcomes] == ["done", "failed", "done"]
    assert outcomes[1].reason == result_of(store, cell, 1)["reason"] == "RuntimeError: no such luck"
    assert result_of(store, cell, 1)["status"] == "failed"
    evaluation_fails(set())
    assert run(cell, (0, 1, 2)) == ["done", "done", "done"]
    assert trained_from == [0]


def test_a_new_evaluation_that_fails_leaves_the_finished_result(make_cell, run, load_bits, store, evaluation_fails):
    cell, more = make_cell(), make_cell({"eval": {**make_cell().config["eval"], "iw_samples": 9}})
    run(cell)
    before = result_of(store, cell)
    evaluation_fails({0})
    assert run(more) == ["failed"]
    assert result_of(store, cell) == before


def test_training_that_fails_leaves_the_seeds_beside_it(make_cell, run, load_bits, store, monkeypatch):
    cell = make_cell()
    run(cell, (0,))
    (store.run_dir(cell.key, 0) / "result.json").unlink()

    def broken(*args):
        raise MemoryError

    with monkeypatch.context() as m:
        m.setattr(session, "train", broken)
        done, *bad = work(Task(cell, (0, 1, 2)))
    assert done.status == "done", "trained before: it is evaluated"
    assert [(o.status, o.reason) for o in bad] == [("failed", "MemoryError: MemoryError")] * 2
    assert run(cell, (1, 2)) == ["done", "done"]


@pytest.mark.parametrize(("stop", "status"), [(True, "interrupted"), (False, "failed")])
def test_a_compiler_that_is_stopped_with_the_rest_is_no_failure(make_cell, run, load_bits, monkeypatch, stop, status):
    """Ctrl-C in a terminal reaches the C++ compiler as well."""

    def broken(*args):
        raise NotCompiled("g++ ended")

    with monkeypatch.context() as m:
        m.setattr(session, "train", broken)
        (outcome,) = work(Task(make_cell(), (0,)), should_stop=lambda: stop)
    assert outcome.status == status
    assert run(make_cell(), (0,)) == ["done"]


def test_with_debug_an_unexpected_error_is_raised(make_cell, load_bits, evaluation_fails, monkeypatch):
    monkeypatch.setenv("VAEBENCH_DEBUG", "1")
    evaluation_fails({0})
    with pytest.raises(RuntimeError, match="luck"):
        work(Task(make_cell(), (0,)))


def test_a_stop_after_the_training_leaves_the_evaluation_for_later(make_cell, run, load_bits, store, trained_from):
    cell, stop = make_cell(), []

    def say(event):
        if "evaluating seed 0" in getattr(event, "line", ""):
            stop.append(1)

    outcomes = work(Task(cell, (0, 1)), say, lambda: bool(stop))
    reason = "the evaluation of seed 0 stopped at its beginning; what it has found is kept"
    assert [(o.status, o.reason) for o in outcomes] == [("interrupted", reason)] * 2
    assert run(cell, (0, 1)) == ["done", "done"]
    assert trained_from == [0]


def test_a_run_that_is_not_to_be_evaluated_is_trained_and_told_with_its_validation(make_cell, load_bits, store):
    cell = make_cell()
    (outcome,) = work(Task(cell, (0,), evaluate=False))
    found = result_of(store, cell)
    validation = {m["name"]: m["value"] for m in found["measures"]}["valid_bound"]
    assert (outcome.status, outcome.measure, outcome.value) == ("trained", "valid_bound", validation)
    assert found["status"] == "trained"
    assert {m["name"] for m in found["measures"]} <= {"valid_bound", "ms_per_update", "hours"}
    assert status(store, cell, 0) == "trained"
    written = (store.run_dir(cell.key, 0) / "result.json").read_bytes()
    assert [o.status for o in work(Task(cell, (0,), evaluate=False))] == ["trained"]
    assert (store.run_dir(cell.key, 0) / "result.json").read_bytes() == written, "there was nothing to do"


def test_an_evaluation_some_other_time_ends_in_the_same_bits(
    make_cell, run, load_bits, store, states_of, trained_from, tmp_path
):
    whole = make_cell({"run.results": str(tmp_path / "whole")})
    assert run(whole, (0, 1)) == ["done", "done"]
    assert run(make_cell(), (0, 1), evaluate=False) == ["trained", "trained"]
    trained_from.clear()
    assert run(make_cell(), (0, 1)) == ["done", "done"]
    assert trained_from == []
    assert states_of(store.root) == states_of(tmp_path / "whole")


def test_a_diverged_run_is_so_without_an_evaluation_too(make_cell, run, load_bits, store):
    assert run(make_cell({"optim.rate": 1e30}), evaluate=False) == ["diverged"]


def test_a_run_with_another_evaluation_needs_none(make_cell, run, load_bits, store, state_of):
    run(make_cell())
    folder = store.run_dir(make_cell().key, 0)
    before = state_of(folder)
    assert run(make_cell({"eval.bound_samples": 7}), evaluate=False) == ["trained"]
    assert state_of(folder) == before


def test_what_is_spared_and_what_is_done_add_up(make_cell, load_bits):
    """So that a progress bar ends where it should: after a resume, an early end and for runs that are there."""

    def told(cell, seeds, **hooks):
        total = {"updates": 0, "spared": 0}

        def say(event):
            if isinstance(event, Advanced):
                total["updates"] += event.updates
            if isinstance(event, Spared):
                total["spared"] += event.updates

        work(Task(cell, seeds), say, **hooks)
        return total

    cell, stop = make_cell(), after(1)
    assert told(cell, (0, 1), should_stop=stop) == {"updates": 40, "spared": 0}
    assert told(cell, (0, 1)) == {"updates": 60, "spared": 40}
    assert told(cell, (0, 1)) == {"updates": 0, "spared": 100}
    early = make_cell({**VARIANTS["early stopping, last"]})
    total = told(early, (0,))
    assert 0 < total["updates"] < 50
    assert sum(total.values()) == 50


# ------------------------------------------------------------------------------------------------------- flags


@pytest.fixture
def astray(monkeypatch):
    """Say of the updates whose bound is below a limit that a baseline is far outside the range of its signal."""
    from vaebench.objectives import nvil

    def when(limit):
        monkeypatch.setattr(nvil, "outside", lambda raw, predicted: (raw[0].mean() > limit).to(raw.dtype))

    return when


def test_a_baseline_that_went_astray_marks_the_run(make_cell, run, load_bits, store, astray):
    cell = make_cell()
    astray(-1e9)  # in every update
    assert run(cell) == ["done"]
    result = result_of(store, cell)
    (flag,) = result["flags"]
    assert flag.startswith("baseline: predictions far outside the range of the learning signal")
    assert "validation of update 15," in flag
    frame = store.frame([cell], [0])
    assert all("baseline" in marks for marks in frame["flags"])
    assert [o.flags for o in work(Task(cell, (0,)))] == ["baseline"]  # as it is told when it is met again


def test_a_healthy_run_has_no_flags(make_cell, run, load_bits, store):
    cell = make_cell()
    run(cell)
    assert result_of(store, cell)["flags"] == []
    lines = (store.run_dir(cell.key, 0) / "curve.csv").read_text().splitlines()
    place = lines[0].split(",").index("train_baseline_outside")
    assert {line.split(",")[place] for line in lines[1:]} == {"0.0"}


def test_a_checkpoint_of_an_earlier_version_goes_on_with_what_is_new(make_cell, run, load_bits, store):
    """Its curve lacks the columns that were added since."""
    whole, cell = make_cell(row="whole"), make_cell({"train.updates": 30, "objective.decay": 0.8})
    assert run(cell) == ["done"]
    folder = store.run_dir(cell.key, 0)
    kept = checkpoint.read(folder / "checkpoint.safetensors")
    for point in kept.meta["curve"]:
        del point["train_baseline_outside"]
    checkpoint.write(folder / "checkpoint.safetensors", kept)
    longer = make_cell({"train.updates": 45, "objective.decay": 0.8})
    assert run(longer) == ["done"]
    assert whole.key != longer.key
    header, *lines = (store.run_dir(longer.key, 0) / "curve.csv").read_text().splitlines()
    column = header.split(",").index("train_baseline_outside")
    assert [line.split(",")[column] for line in lines] == ["", "", "0.0"]


def test_an_impossible_validation_is_flagged_where_it_is_stored(make_cell, run, load_bits, store, monkeypatch):
    from vaebench.data import DATA, Digits

    monkeypatch.setitem(DATA, "bits", Digits)  # a name under which binary images are known
    monkeypatch.setattr(bookkeeping, "validation", lambda *args: {"valid_bound": -5.0})
    cell = make_cell()
    run(cell)
    stored = {m["name"]: m["flags"] for m in result_of(store, cell)["measures"]}
    assert stored["bound"] == []
    assert stored["valid_bound"] == ["impossible: -5.00, and of discrete data it is never below 0"]
    assert [o.flags for o in work(Task(cell, (0,)))] == ["kl dead layer, valid_bound impossible"]
