"""A run from Python: its numbers, further evaluations, images and documents."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import vaebench as vb
from vaebench.results import shipped_models


def test_a_run_knows_its_numbers(made):
    run = vb.load_run(made[0].runs()[0])
    assert (run.row, run.column, run.seed, run.status) == ("SBN 200", "NVIL", 0, "done")

    bound = next(m for m in run.measures if m.name == "bound")
    results = made[1]

    assert bound.value == results[results["metric"] == "bound"]["value"].item()
    assert list(run.curve["update"]) == [10, 20]
    assert run.config["train"]["updates"] == 20


def test_an_evaluation_is_kept(made):
    run = vb.load_run(made[0].runs()[0])
    measures = {m.name: m for m in run.evaluate("run.device=cpu", iw_samples=30)}

    assert measures["iw_nll"].samples == 30
    assert {m.samples for m in run.measures if m.name == "iw_nll"} == {20, 30}

    x = run.data.test
    # With the seed of the run the noise is the same.
    again = vb.estimators.importance(run.model, x, samples=30, seed=0)
    assert again.nll == pytest.approx(measures["iw_nll"].value, rel=1e-6)

    with pytest.raises(vb.UserError, match=r"eval\.iw_samples"):
        run.evaluate(iw_samples=0)
    with pytest.raises(vb.UserError, match="keeps its training"):
        run.evaluate("optim.rate=1")


def test_a_shipped_model(made, tmp_path, monkeypatch):
    """It is loaded by table and row. It is only read: an evaluation goes to a copy of it."""
    (folder,) = made[0].runs()[:1]
    shipped = tmp_path / "models" / folder.parent.name / folder.name
    shutil.copytree(folder, shipped)
    monkeypatch.setattr(shipped_models, "folder", lambda: tmp_path / "models")

    run = vb.load_run("nvil_mnist", "SBN 200")

    assert run.folder == shipped
    assert vb.load_run("nvil_mnist").folder == shipped, "the only one of its table"
    assert run.sample(2).shape == (2, 64)

    # The copy is made in ``run.results``.
    before = {path.name: path.read_bytes() for path in shipped.iterdir()}

    measures = run.evaluate(f"run.results={tmp_path / 'mine'}", iw_samples=3)

    assert {m.samples for m in measures if m.name == "iw_nll"} == {3}
    assert run.folder == tmp_path / "mine" / folder.parent.name / folder.name
    assert {path.name: path.read_bytes() for path in shipped.iterdir()} == before

    with pytest.raises(
        vb.UserError, match="no shipped model of that name: allowed: nvil_mnist 'SBN 200' NVIL"
    ):
        vb.load_run("nvil_mnist", "SBN 20")


def test_images(made):
    run = vb.load_run(made[0].runs()[0])
    x = run.data.test[:3]
    # Samples and reconstructions, of arrays and of tensors.
    for images in (
        run.sample(3, seed=1),
        run.reconstruct(x),
        run.reconstruct(torch.from_numpy(x).float()),
    ):
        assert images.shape == (3, 64)
        assert images.dtype == np.uint8
        assert set(np.unique(images)) <= {0, 1}

    assert (run.sample(3, seed=1) == run.sample(3, seed=1)).all()
    assert (run.sample(3, seed=1) != run.sample(3, seed=2)).any()

    for wrong, line in ((x[0], "shape"), (x[:, :5], "5 dimensions"), (x + 1, "zeros and ones")):
        with pytest.raises(vb.UserError, match=line):
            run.reconstruct(wrong)
    for n in (0, 1.5, 1_000_001):
        with pytest.raises(vb.UserError, match="a whole number"):
            run.sample(n)


def test_documents(documents):
    assert all(isinstance(text, str) for text in documents.sample(3))

    texts = [" ".join(documents.data.vocabulary[4:7]), documents.data.vocabulary[5]]

    assert len(documents.reconstruct(texts)) == 2
    assert len(documents.reconstruct(documents.data.test[:4])) == 4
    assert documents.reconstruct(texts) == documents.reconstruct(texts)
