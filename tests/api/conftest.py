"""A run of a table and a run of a model of documents, made from Python."""

from __future__ import annotations

import pytest
from kit.runs import FEW

import vaebench as vb


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(a table of which one cell was run at one seed, the frame that ``run`` returned)"""
    folder = tmp_path_factory.mktemp("api") / "runs"
    table = vb.table("nvil_mnist", *FEW, f"run.results={folder}", preset="quick")

    return table, table.run("SBN 200", "NVIL", seeds=0)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A run of a model of documents."""
    folder = tmp_path_factory.mktemp("api-text") / "runs"
    few = [
        "train.updates=2",
        "train.valid_every=2",
        "run.engine=plain",
        "data=toy_text",
        "model.units=8",
    ]
    table = vb.table("lagging_yahoo", *few, f"run.results={folder}", preset="quick")

    table.run("VAE + anneal", seeds=0)
    return vb.load_run(table.runs()[0])
