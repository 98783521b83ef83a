"""What a person sees: one line per cell, one bar on a terminal and none elsewhere."""

from __future__ import annotations

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from vaebench import models, objectives
from vaebench.config.catalogue import load, load_preset, options
from vaebench.config.compose import cells
from vaebench.config.tables import Table
from vaebench.data.info import DataInfo
from vaebench.models.base import BoltzmannPrior, BoundedModel, EnergyModel
from vaebench.models.rbm_target import RBMTarget
from vaebench.protocol.validated import validated_by
from vaebench.results.status import Status
from vaebench.running import progress as progress_module
from vaebench.running.progress import Progress, summary
from vaebench.running.tasks import Outcome, Task
from vaebench.work.events import Advanced, Spared, Working, training


@pytest.fixture
def outcome(make_cell):
    """Function that makes an outcome of a tiny cell; one second long, without a value."""

    def make(seed, status="done", reason="", seconds=1.0, value=None, cell=None):
        return Outcome(
            Task(cell or make_cell(), (seed,)), seed, Status(status), reason, seconds, value
        )

    return make


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


def test_a_cell_in_a_line(outcome):
    mixed = [
        outcome(2, value=100.5, seconds=50), outcome(0, value=99.0, seconds=50),
        outcome(1, "diverged", "at update 3"),
        outcome(3, "failed", "no room"), outcome(4, "failed", "no room"),
    ]  # fmt: skip

    # The mean is over the seeds that are done; the time is that of all five, 103 s.
    assert summary(mixed) == (
        "done (seeds 0,2) bound 99.75; diverged (seed 1): at update 3; failed (seeds "
        "3,4): no room (1.7 min)"
    )


def test_a_flagged_run_is_told_with_its_flags(outcome):
    outcomes = [outcome(0, value=99.0), replace(outcome(1, value=101.0), flags="iw_nll impossible")]
    assert (
        summary(outcomes) == "done (seeds 0,1) bound 100.00 (flagged: iw_nll impossible) in 2.0 s"
    )


def test_the_measure_of_a_cell_has_its_name(outcome, make_cell):
    cell = make_cell()
    outcomes = [
        replace(outcome(s, value=v, cell=cell), measure=m)
        for s, v, m in ((0, 90.0, "iw_nll"), (1, 92.0, "iw_nll"))
    ]

    assert summary(outcomes) == "done (seeds 0,1) IW-NLL 91.00 in 2.0 s"

    mixed = [*outcomes, replace(outcome(2, value=500.0, cell=cell), measure="bound")]

    assert "IW-NLL 91.00" in summary(mixed), "unlike numbers have no mean"
    assert "exact NLL 90.00" in summary([replace(outcomes[0], measure="nll")])
    assert "validation bound 90.00" in summary([replace(outcomes[0], measure="valid_bound")])
    assert "ms_per_update 90.00" in summary([replace(outcomes[0], measure="ms_per_update")])


def test_what_validates_is_named_as_it_is():
    """For every model and objective of the shipped tables, against what a validation looks at."""
    seen = set()
    expected_names = set()

    for table in map(load, options("table")):
        for cell in cells(table, load_preset("paper")) if isinstance(table, Table) else ():
            pair = cell.config["model"]["name"], cell.config["objective"]["name"]
            if pair in seen:
                continue
            seen.add(pair)

            # On the device meta a model of any size takes no memory.
            with torch.device("meta"):
                model = models.build(cell.config["model"], DataInfo(np.zeros(784), shape=(28, 28)))
                objective = objectives.build(cell.config["objective"], model)

            model = objective.model
            settings = objective.validation

            # A Boltzmann prior: its log Z is unknown, unless it is computed exactly.
            without_log_z = isinstance(model, BoltzmannPrior)

            if isinstance(model, BoundedModel):
                expected = "bound"
            elif settings.get("exact") or (without_log_z and not settings):
                expected = "exact KL" if isinstance(model, RBMTarget) else "exact NLL"
            elif isinstance(model, EnergyModel):
                expected = "annealed NLL"
            else:
                expected = "IW-NLL" if without_log_z else "bound"

            assert validated_by(cell.config) == expected, pair
            expected_names.add(expected)

    # Each of the five kinds has occurred.
    assert expected_names == {"bound", "IW-NLL", "annealed NLL", "exact NLL", "exact KL"}


def test_a_cell_is_told_once_when_its_last_seed_ended(outcome, make_cell, capsys):
    a = make_cell(row="A")
    b = make_cell({"train.updates": 9}, row="B")
    progress = Progress([(a, [0, 1]), (b, [0])], 100)
    progress(outcome(0, cell=a))
    progress(Advanced(50))

    assert capsys.readouterr().err == ""

    progress(outcome(0, cell=b))
    progress(outcome(1, cell=a, value=3.0))

    # Told again, when the cell is finished already.
    progress(outcome(1, cell=a))
    progress.close()
    out, err = capsys.readouterr()

    assert err.splitlines() == [
        "[1/2] bits_table: B / NVIL: done (seed 0) in 1.0 s",
        "[2/2] bits_table: A / NVIL: done (seeds 0,1) bound 3.00 in 2.0 s",
    ]
    assert out == ""


def test_a_busy_run_is_not_over(outcome, make_cell, capsys):
    progress = Progress([(make_cell(), [0])], 100)
    progress(outcome(0, "busy", "another process works on it"))
    assert capsys.readouterr().err == ""

    progress(outcome(0))
    assert capsys.readouterr().err.startswith("[1/1] ")


def test_cells_that_share_a_run_and_evaluate_it_in_other_ways_are_two(outcome, make_cell, capsys):
    a = make_cell(row="A")
    b = make_cell({"eval": {**a.config["eval"], "iw_samples": 9}}, row="B")
    progress = Progress([(a, [0]), (b, [0])], 100)
    progress(outcome(0, cell=b))

    assert capsys.readouterr().err == "[1/2] bits_table: B / NVIL: done (seed 0) in 1.0 s\n"


def test_there_is_no_bar_where_there_is_no_terminal(make_cell, capsys):
    progress = Progress([(make_cell(), [0])], 100)
    assert progress.bar is None

    progress(Advanced(5))
    progress(Spared(5))
    progress.line("a line")
    progress.close()

    assert capsys.readouterr() == ("", "a line\n")


def test_where_there_is_no_terminal_a_line_tells_of_each_cell_when_it_begins_and_every_minute(
    make_cell, monkeypatch, capsys
):
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])

    progress = Progress([(make_cell(), [0])], 100)
    progress(training("A", 0, 50_000, {}, None))
    progress(training("B", 0, 20, {}, None))

    # A was told at 100, so its next line is at 160, 60 s later, and then one at 220.
    for now[0], update in ((130.0, 1000), (159.0, 2000), (160.0, 3000), (200.0, 4000)):
        progress(training("A", update, 50_000, {"valid": 97.123}, 100.0))

    now[0] = 220.0
    progress(Working("A", "evaluating seed 0: posterior samples 3/20, 42 s left"))
    progress(training("A", 30, 50_000, {}, 0.5))
    progress.close()

    assert capsys.readouterr().err.splitlines() == [
        "A: training, update 0 of 50,000",
        "B: training, update 0 of 20",
        "A: training, update 3,000 of 50,000, valid 97.12, 100 updates/s, 7.8 min left",
        "A: evaluating seed 0: posterior samples 3/20, 42 s left",
    ]


def test_an_evaluation_alone_has_a_line_that_is_replaced_and_disappears(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress([], None)
    progress(Working("A seed 0", "evaluating: posterior samples 3/20"))
    progress.close()
    shown = sys.stderr.getvalue()

    assert "A seed 0 evaluating: posterior samples 3/20" in shown
    assert "updates" not in shown
    assert "\n" not in shown
    assert shown.rpartition("\r")[2].strip() == ""


def test_the_bar_counts_what_is_left_and_disappears(make_cell, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress([(make_cell(), [0, 1])], 100)
    progress(Spared(40))
    progress(Advanced(15))
    progress(training("SBN 4 / NVIL seeds 0,1", 15, 50, {"valid_bound": 3.0}, 7.5))

    assert (progress.bar.n, progress.bar.total) == (15, 60)

    # Of 100 updates 15 were made and 85 need not be.
    progress(Spared(45))
    assert progress.bar.total == progress.bar.n == 15

    progress.line("a line")
    progress.close()

    # What is left on the line behind the last carriage return is blank.
    shown = sys.stderr.getvalue()

    assert "SBN 4 / NVIL seeds 0,1 valid_bound 3.00" in shown
    assert "7.50 updates/s" not in shown, "the bar has its own"
    assert "a line\n" in shown
    assert shown.rpartition("\r")[2].strip() == ""


def test_without_a_terminal_work_that_says_nothing_has_no_line(capsys):
    progress = Progress([], None)
    progress(Working("site", ""))
    progress(Working("site", "tables read 3/20"))

    assert capsys.readouterr().err == "site: tables read 3/20\n"
