"""A small table, and long frames made by hand."""

from __future__ import annotations

import json

import pytest

from vaebench.config.tables import Column, Ledger, Row, Table, TablePreset

SIGNATURE = (
    "{metric}|data:{data}@8f3a12cd|split:test|points:{points}|samples:{samples}|"
    "select:valid_bound|recipe:1"
)

PAPERS = "bound|data:mnist_static|split:test|points:all|samples:10|select:valid_bound|recipe:1"


@pytest.fixture
def table():
    """Three trained rows (the last in one column only) and one from the
    literature; margin 0.5 nats."""
    return Table(
        name="nvil_mnist",
        title="Binarized MNIST",
        paper="mnih2014nvil",
        where="Table 1",
        recipe=1,
        measure="bound",
        margin=0.5,
        margin_why="seeds differ by 0.2 nats",
        seeds=(0, 1, 2),
        base=("data=mnist_static", "model=sbn", "eval=bound10"),
        columns={
            "NVIL": Column(set=("objective=nvil",)),
            "WS": Column(set=("objective=wake_sleep",)),
        },
        rows={
            "SBN 200": Row(published={"NVIL": 113.1, "WS": 120.8}),
            "SBN 500": Row(
                published={"NVIL": 112.8}, columns=("NVIL",), note="the paper's bold entry"
            ),
            "fDARN 200": Row(published={"NVIL": 92.5}, columns=("NVIL",)),
            "NADE_500 | 100%": Row(
                published={"NLL": 88.9}, columns=(), source="Larochelle & Murray 2011"
            ),
        },
        presets={"tuned": TablePreset(note="rates for this table")},
        ledger=(Ledger("summed or averaged gradients", "silent", "summed", "learns"),),
        notes=("The paper lists the deepest layer first.",),
    )


@pytest.fixture
def frame():
    """A function from entries (see ``entry``) to the long frame, by way of
    the store's own types."""
    from vaebench.results.long_frame import typed

    def make(*entries):
        return typed([row for rows in entries for row in rows])

    return make


@pytest.fixture
def entry():
    """A function that gives the frame rows of one table entry: one per seed in
    ``values`` for one metric."""

    def make(
        row,
        values,
        column="NVIL",
        metric="bound",
        data="mnist_static",
        points="all",
        samples=10,
        first=0,
        **other,
    ):
        extra = other.pop("extra", None)
        base = {
            **{
                "table": "nvil_mnist",
                "row": row,
                "column": column,
                "preset": "paper",
                "label": "",
                "status": "done",
            },
            **{
                "unit": "nats",
                "error": 0.05,
                "error_kind": "monte carlo",
                "points": 10000,
                "samples": samples,
            },
            **{
                "paper_protocol": True,
                "updates": 200000,
                "best_update": 190000,
                "seconds": 600.0,
                "pack": 1,
            },
            **{"device": "cpu", "key": f"{data}-{row}-{column}", "metric": metric},
            "signature": SIGNATURE.format(metric=metric, data=data, points=points, samples=samples),
            "paper_signature": PAPERS,
            "extra": json.dumps(extra) if extra else "",
        }
        return [{**base, "seed": first + i, "value": v, **other} for i, v in enumerate(values)]

    return make


@pytest.fixture
def failed(entry):
    """A function that gives the row of one run without measures."""

    def make(row, seed, status="failed", reason="RuntimeError: out of memory", **other):
        empty = {
            "metric": "",
            "unit": "",
            "error": None,
            "error_kind": "",
            "points": None,
            "samples": None,
        }
        return entry(
            row,
            [None],
            first=seed,
            status=status,
            reason=reason,
            signature="",
            **{**empty, **other},
        )

    return make
