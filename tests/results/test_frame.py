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
    s = Store(tmp_path)
    c = cell(published=113.1, label="quick", paper_protocol=False)
    s.write_result(c.key, 0, result())
    failed = {
        "status": "failed",
        "reason": "RuntimeError:\n  out of memory",
        "measures": [],
        "seconds": None,
    }
    s.write_result(c.key, 1, result(1, **failed))
    s.run_dir(c.key, 2).mkdir()
    (s.run_dir(c.key, 2) / "checkpoint.safetensors").touch()
    f = s.frame([c], [0, 1, 2, 3])
    assert list(f.columns) == list(COLUMNS)
    assert list(zip(f["seed"], f["status"], f["metric"], strict=True)) == [
        (0, "done", "bound"),
        (0, "done", "iw_nll"),
        (1, "failed", ""),
        (2, "partial", ""),
    ]
    first = f.iloc[0]
    assert (first["value"], first["error"], first["points"], first["samples"]) == (
        30.5,
        0.05,
        297,
        10,
    )
    assert (first["data_hash"], first["torch"], first["commit"]) == ("8f3a12cdef", "2.13", "abc")
    assert (first["published"], first["paper_protocol"], first["label"], first["pack"]) == (
        113.1,
        False,
        "quick",
        2,
    )
    assert json.loads(f["extra"][1]) == {"1": 30.5, "10": 29.5}
    assert f["reason"][2] == "RuntimeError: out of memory"
    assert f["value"].isna().tolist() == [False, False, True, True]


def test_a_run_without_the_measure_of_its_cell_has_the_papers_signature_once(tmp_path):
    """Trained and not evaluated: the validation bound alone must not hide
    which data the paper has."""
    s = Store(tmp_path)
    c = cell(published=113.1, paper_protocol=False, paper_signature="data:mnist_static|split:test")
    both = result()["measures"]
    others = [{**m, "name": name} for m, name in zip(both, ("valid_bound", "iw_nll"), strict=True)]
    s.write_result(c.key, 0, result(measures=others))
    s.write_result(c.key, 1, result(1))
    f = s.frame([c], [0, 1])
    assert list(zip(f["metric"], f["paper_signature"], strict=True)) == [
        ("valid_bound", "data:mnist_static|split:test"),
        ("iw_nll", ""),
        ("bound", "data:mnist_static|split:test"),
        ("iw_nll", ""),
    ]
    assert f["published"].isna().tolist() == [True, True, False, True]


def test_frame_of_nothing_still_has_its_columns(tmp_path):
    f = Store(tmp_path).frame([cell()], [0])
    assert list(f.columns) == list(COLUMNS)
    assert len(f) == 0


def test_measure_of_another_evaluation_is_there_but_not_current(tmp_path):
    s = Store(tmp_path)
    c = cell()
    old = measure(value=28.0, points=100)
    s.write_result(c.key, 0, result(measures=[old, measure(value=31.0)]))
    f = s.frame([c], [0])
    assert f["value"].tolist() == [28.0, 31.0]
    assert f["extra"].tolist() == ['{"current": false}', ""]


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
    content = measure(name, samples=samples)
    content["signature"] = content["signature"].replace(old, new)
    assert is_current(cell(), Measure.from_dict(content)) is current


def test_damaged_measure_is_left_out_with_a_warning(tmp_path, caplog):
    s = Store(tmp_path)
    c = cell()
    s.write_result(c.key, 0, result(measures=[{"name": "bound"}, measure()]))
    assert s.frame([c], [0])["metric"].tolist() == ["bound"]
    assert "a measure is left out" in caplog.text


def test_a_number_by_samples_is_not_current_where_none_are_asked_for(tmp_path):
    """Otherwise a report would average numbers by 1 and by 1,000 samples."""
    c = cell()
    c.config["eval"]["iw_samples"] = None
    assert not is_current(c, Measure.from_dict(measure("iw_nll", samples=1)))
    assert not is_current(c, Measure.from_dict(measure("iw_nll", samples=1000)))
    assert is_current(c, Measure.from_dict(measure("bound", samples=10)))
