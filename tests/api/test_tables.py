"""A table from Python: its runs, results and reports are those of the command, and what is refused
is one clear line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch
from kit.runs import FEW

import vaebench as vb
from vaebench.cli import main
from vaebench.results.status import Status


def test_a_run_is_the_command_s(made, capsys):
    table, results = made

    folder = table.runs()[0].parents[1]
    arguments = [
        "table=nvil_mnist",
        "preset=quick",
        *FEW,
        f"run.results={folder}",
        "--only",
        "SBN 200",
        "--only",
    ]

    assert main(["run", *arguments, "column=NVIL", "--seeds", "0", "--dry-run"]) == 0
    assert "to do: nothing" in capsys.readouterr().out

    assert (
        main(
            [
                "report",
                *arguments,
                "column=NVIL",
                "--format",
                "csv",
                "--output",
                str(folder / "x.csv"),
            ]
        )
        == 0
    )

    pd.testing.assert_frame_equal(
        vb.table("nvil_mnist", *FEW, f"run.results={folder}", preset="quick").results(), results
    )
    assert main(["report", *arguments, "column=NVIL", "--format", "md"]) == 0
    assert capsys.readouterr().out.strip() == table.report("md", "SBN 200", "NVIL").strip()


def test_what_is_finished_is_not_run_again(made):
    table, results = made

    pd.testing.assert_frame_equal(table.run("SBN 200", "NVIL", seeds=[0]), results)
    assert len(table.runs()) == 1
    assert (table.rows[0], table.columns[:2]) == ("SBN 200", ["NVIL", "WS"])


def test_it_runs_in_a_thread_of_the_user_s(made):
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(made[0].run, "SBN 200", "NVIL", 0, force=True).result()

    before = made[1]
    assert list(again["value"][again["metric"] == "bound"]) == list(
        before["value"][before["metric"] == "bound"]
    )


def test_a_run_that_fails_is_a_line_with_its_reason(made, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("vaebench.running.session.train", fail)

    results = made[0].run("SBN 200", "NVIL", seeds=7)

    assert list(results["status"]) == ["failed"]
    assert "out of luck" in results["reason"].item()
    assert "seed 7 failed" in caplog.text


def test_a_run_that_is_stopped_raises_keyboard_interrupt(made, monkeypatch):
    from vaebench.running import execute
    from vaebench.running.launchers import Launched

    monkeypatch.setattr(execute, "execute", lambda todo, force, until: Launched([], True))

    with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
        made[0].run("SBN 200", "NVIL", seeds=8)


def test_training_now_and_evaluating_later_is_the_same_run(made, tmp_path, caplog):
    table = vb.table("nvil_mnist", *FEW, f"run.results={tmp_path}", preset="quick")

    trained = table.run("SBN 200", "NVIL", seeds=0, evaluate=False)

    assert set(trained["status"]) == {"trained"}
    assert "bound" not in set(trained["metric"])

    line = "trained and not evaluated: 1 run; the same call with evaluate=True evaluates it"
    assert [record.getMessage() for record in caplog.records] == [line]

    caplog.clear()
    again = table.run("SBN 200", "NVIL", seeds=0)
    assert not caplog.records
    assert list(zip(again["metric"], again["value"], strict=True)) == measured(made[1], again)


def test_a_call_whose_time_is_over_saves_and_the_same_call_goes_on(made, tmp_path, caplog):
    table = vb.table("nvil_mnist", *FEW, f"run.results={tmp_path}", preset="quick")

    assert not len(table.run("SBN 200", "NVIL", seeds=0, minutes=1e-9))

    over = (
        "1e-09 minutes are over, the state is saved: 1 of 1 runs left; the same "
        "call goes on from here"
    )
    assert [record.getMessage() for record in caplog.records] == [over]

    caplog.clear()
    again = table.run("SBN 200", "NVIL", seeds=0, minutes=90)
    assert not caplog.records
    assert list(zip(again["metric"], again["value"], strict=True)) == measured(made[1], again)


def measured(results, others):
    """(metric, value) of each result. Times are those of ``others``: no two runs take the same."""
    lines = zip(results["metric"], results["value"], others["value"], strict=True)
    return [
        (metric, others_value if metric in ("ms_per_update", "hours") else value)
        for metric, value, others_value in lines
    ]


@pytest.mark.parametrize("minutes", [0, -1.5, float("nan"), float("inf"), 1e6, "90", True])
def test_a_time_that_is_none_is_refused(tmp_path, minutes):
    table = vb.table("nvil_mnist", *FEW, f"run.results={tmp_path / 'runs'}", preset="quick")
    with pytest.raises(
        vb.UserError, match=r"^--minutes .*: allowed: a number above 0 and below 1,000,000$"
    ):
        table.run("SBN 200", "NVIL", seeds=0, minutes=minutes)
    assert not (tmp_path / "runs").exists()


def test_a_time_is_of_this_machine_alone(tmp_path):
    table = vb.table(
        "nvil_mnist", "run.launcher=slurm", f"run.results={tmp_path / 'runs'}", preset="quick"
    )
    with pytest.raises(vb.UserError, match="--minutes: for runs on this machine"):
        table.run("SBN 200", "NVIL", seeds=0, minutes=1)
    assert not (tmp_path / "runs").exists()


def test_the_number_of_threads_stays(made):
    before = torch.get_num_threads()

    torch.set_num_threads(2)
    try:
        made[0].run("SBN 200", "NVIL", seeds=0, force=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda t: vb.table("nvil_mnits"), "did you mean 'nvil_mnist'"),
        (lambda t: vb.table("nvil_mnist,nvil_rates"), "one table at one preset"),
        (lambda t: vb.table("nvil_mnist", preset="quik"), "unknown preset 'quik'"),
        (lambda t: vb.table("nvil_mnist", "optim.rat=1"), "optim.rat"),
        (lambda t: t.run(rows=["SBN 20"]), "no row 'SBN 20'"),
        (lambda t: t.run(columns="NVI"), "no column 'NVI'"),
        (lambda t: t.run(seeds=[-1]), "whole numbers"),
        (lambda t: t.report("docx"), "unknown format 'docx'"),
        (
            lambda t: vb.reference("nvil_mnist", "quick"),
            "no results of nvil_mnist with preset=quick",
        ),
        (lambda t: vb.reference("nvil"), "nvil"),
        (lambda t: vb.table("dvae_pp_smoothing").run(), "drawn from formulas"),
        (lambda t: vb.table("dvae_pp_smoothing", "optim.rate=1"), "without settings"),
        (lambda t: t.run(rows=3), "rows or columns 3: allowed: a name"),
        (lambda t: t.run(evaluate="no"), "evaluate='no': allowed: True or False"),
        (lambda t: t.run(force=1), "force=1: allowed: True or False"),
        (lambda t: vb.load_run("nowhere"), "not a run of vaebench"),
        (
            lambda t: vb.load_run("nvil_mnits"),
            "'nvil_mnits' is neither a run nor a table: did you mean 'nvil_mnist'?",
        ),
        (lambda t: vb.load_run("nvil_mnist", None), "entry=None: allowed: a name"),
        (lambda t: vb.load_run(None), "folder=None: allowed: a name or a Path"),
        (
            lambda t: vb.load_run("lagging_yahoo"),
            "lagging_yahoo: no shipped model of that name: allowed: ",
        ),
        (lambda t: vb.load_data("digit"), "did you mean 'digits'"),
        (lambda t: vb.load_data("digits", held_out=-1), "data.held_out"),
        (lambda t: vb.build_model("sbn", vb.load_data("digits"), dims=[0]), "model.dims"),
        (lambda t: vb.build_model("text_vae", vb.load_data("digits")), "no documents"),
        (lambda t: vb.load_model("nowhere.pt"), "cannot be read"),
    ],
)
def test_bad_input_is_one_line(made, call, line):
    with pytest.raises(vb.UserError) as caught:
        call(made[0])

    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shipped_results():
    frame = vb.reference("nvil_mnist", "short")
    assert set(frame["preset"]) == {"short"}
    assert vb.table("nvil_mnist", preset="short").reference().equals(frame)
    assert {"short", "paper"} <= set(vb.reference("nvil_mnist")["preset"])


def test_a_figure_of_formulas():
    figure = vb.table("dvae_pp_smoothing")
    assert len(figure.results()) == len(figure.reference()) > 100
    assert "|" in figure.report("md")


def test_a_divergence_that_the_paper_had_too_is_nothing_to_warn_of(tmp_path, monkeypatch, caplog):
    """As in the command, a diverged run is only reported if the paper's did not diverge."""
    from vaebench.running import execute
    from vaebench.running.launchers import Launched
    from vaebench.running.tasks import Outcome, Task

    table = vb.table("lagging_rates", f"run.results={tmp_path}", preset="quick")

    reported = {}
    for cell in table.cells():
        ended = Outcome(Task(cell, (0,)), 0, Status.DIVERGED, "at update 3")

        monkeypatch.setattr(
            execute, "execute", lambda *_, ended=ended, **__: Launched([ended], False)
        )
        caplog.clear()
        table.run(cell.row, cell.column, seeds=0)
        reported[cell.row] = "at update 3" in caplog.text

    assert reported == {name: not row.diverges for name, row in table.table.rows.items()}
    assert set(reported.values()) == {True, False}
