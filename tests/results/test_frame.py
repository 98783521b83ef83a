"""The frame of results: a row for every measure and every failure, and
which measures are current."""

from __future__ import annotations

import json

import pytest
from kit.results import cell, measure, result

from vaebench.results.current import is_current
from vaebench.results.long_frame import COLUMNS
from vaebench.results.stats import Measure
from vaebench.results.store import Store


def test_frame_has_a_row_per_metric_and_one_per_failure(tmp_path):
    store = Store(tmp_path)
    sbn200 = cell(published=113.1, label="quick", paper_protocol=False)
    store.write_result(sbn200.key, 0, result())
    failed = {
        "status": "failed",
        "reason": "RuntimeError:\n  out of memory",
        "measures": [],
        "seconds": None,
    }
    store.write_result(sbn200.key, 1, result(1, **failed))
    # Seed 2 is in training and has no result yet; seed 3 has not begun.
    store.run_dir(sbn200.key, 2).mkdir()
    (store.run_dir(sbn200.key, 2) / "checkpoint.safetensors").touch()
    frame = store.frame([sbn200], [0, 1, 2, 3])

    assert list(frame.columns) == list(COLUMNS)
    assert list(zip(frame["seed"], frame["status"], frame["metric"], strict=True)) == [
        (0, "done", "bound"),
        (0, "done", "iw_nll"),
        (1, "failed", ""),
        (2, "partial", ""),
    ]

    first_row = frame.iloc[0]
    assert (first_row["value"], first_row["error"], first_row["points"], first_row["samples"]) == (
        30.5,
        0.05,
        297,
        10,
    )
    assert (first_row["data_hash"], first_row["torch"], first_row["commit"]) == (
        "8f3a12cdef",
        "2.13",
        "abc",
    )
    assert (
        first_row["published"],
        first_row["paper_protocol"],
        first_row["label"],
        first_row["pack"],
    ) == (
        113.1,
        False,
        "quick",
        2,
    )
    # The curve of the importance-weighted NLL, and a reason put into one line.
    assert json.loads(frame["extra"][1]) == {"1": 30.5, "10": 29.5}
    assert frame["reason"][2] == "RuntimeError: out of memory"
    assert frame["value"].isna().tolist() == [False, False, True, True]


def test_a_run_without_the_measure_of_its_cell_has_the_papers_signature_once(tmp_path):
    """Trained and not evaluated: the validation bound alone must not hide
    which data the paper has."""
    store = Store(tmp_path)
    sbn200 = cell(
        published=113.1, paper_protocol=False, paper_signature="data:mnist_static|split:test"
    )
    # Seed 0 lacks the bound, which is the cell's measure; seed 1 has it.
    bound_and_nll = result()["measures"]
    without_bound = [
        {**m, "name": name}
        for m, name in zip(bound_and_nll, ("valid_bound", "iw_nll"), strict=True)
    ]
    store.write_result(sbn200.key, 0, result(measures=without_bound))
    store.write_result(sbn200.key, 1, result(1))
    frame = store.frame([sbn200], [0, 1])

    assert list(zip(frame["metric"], frame["paper_signature"], strict=True)) == [
        ("valid_bound", "data:mnist_static|split:test"),
        ("iw_nll", ""),
        ("bound", "data:mnist_static|split:test"),
        ("iw_nll", ""),
    ]
    assert frame["published"].isna().tolist() == [True, True, False, True]


def test_frame_of_nothing_still_has_its_columns(tmp_path):
    frame = Store(tmp_path).frame([cell()], [0])
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 0


def test_measure_of_another_evaluation_is_there_but_not_current(tmp_path):
    store = Store(tmp_path)
    sbn200 = cell()
    of_100_cases = measure(value=28.0, points=100)
    store.write_result(sbn200.key, 0, result(measures=[of_100_cases, measure(value=31.0)]))
    frame = store.frame([sbn200], [0])

    assert frame["value"].tolist() == [28.0, 31.0]
    assert frame["extra"].tolist() == ['{"current": false}', ""]


@pytest.mark.parametrize(
    ("name", "samples", "old", "new", "current"),
    [
        ("bound", 10, "", "", True),
        ("bound", 5, "", "", False),
        ("kl", 5, "", "", False),
        ("iw_nll", 100, "", "", True),
        ("surprise", 5, "", "", True),  # no setting to differ from
        ("bound", 10, "points:all", "points:100", False),
        ("bound", 10, "data:digits", "data:mnist_static", False),
        ("bound", 10, "split:test", "split:valid", False),
        ("valid_bound", 10, "split:test", "split:valid", True),
        ("bound", 10, "recipe:1", "recipe:2", False),
        ("bound", 10, "|select", "|precision:bfloat16|select", False),
    ],
)
def test_is_current(name, samples, old, new, current):
    stored = measure(name, samples=samples)
    stored["signature"] = stored["signature"].replace(old, new)
    assert is_current(cell(), Measure.from_dict(stored)) is current


def test_damaged_measure_is_left_out_with_a_warning(tmp_path, caplog):
    store = Store(tmp_path)
    sbn200 = cell()
    store.write_result(sbn200.key, 0, result(measures=[{"name": "bound"}, measure()]))

    assert store.frame([sbn200], [0])["metric"].tolist() == ["bound"]
    assert "a measure is left out" in caplog.text


def test_a_number_by_samples_is_not_current_where_none_are_asked_for():
    """Otherwise a report would average numbers by 1 and by 1,000 samples."""
    without_iw_nll = cell()
    without_iw_nll.config["eval"]["iw_samples"] = None

    assert not is_current(without_iw_nll, Measure.from_dict(measure("iw_nll", samples=1)))
    assert not is_current(without_iw_nll, Measure.from_dict(measure("iw_nll", samples=1000)))
    assert is_current(without_iw_nll, Measure.from_dict(measure("bound", samples=10)))
