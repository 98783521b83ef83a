"""Data, models and estimators from Python, and models that are exported and loaded again."""

from __future__ import annotations

import pytest
import torch

import vaebench as vb
from vaebench.cli import main
from vaebench.models.refinement import Refinement, Steps


def test_an_exported_model_computes_the_same(made, tmp_path):
    run = vb.load_run(made[0].runs()[0])
    module = run.export(tmp_path / "sbn.pt")
    loaded = vb.load_model(tmp_path / "sbn.pt")
    x = torch.from_numpy(run.data.test[:20]).float()

    values = [
        vb.estimators.importance(model, x, samples=20, seed=3).nll
        for model in (run.model, module, loaded)
    ]

    # Not a bit differs: the same parameters and the same noise.
    assert len(set(values)) == 1

    untrained = vb.build_model("sbn", run.data, dims=[200])
    assert vb.estimators.importance(untrained, x, samples=20, seed=3).nll != values[0]

    content = torch.load(tmp_path / "sbn.pt", weights_only=True)
    assert (content["model"]["name"], content["data"]["name"], content["seed"]) == (
        "sbn",
        "digits",
        0,
    )


def test_the_command_exports_the_same(made, tmp_path, capsys):
    folder = made[0].runs()[0]
    assert main(["export", str(folder), "--output", str(tmp_path / "both")]) == 0

    names = sorted(path.name for path in (tmp_path / "both").iterdir())
    assert names == ["decoder.pt2", "encoder.pt2", "model.pt", "sample.pt2"]
    assert capsys.readouterr().err.count("vaebench: wrote ") == 4

    run = vb.load_run(folder)

    # Any latents (3, 200) do.
    z = (torch.rand(3, 200) < 0.5).float()
    logits = torch.export.load(tmp_path / "both" / "decoder.pt2").module()(z)

    torch.testing.assert_close(logits, run.model.p[0].logits(z))

    assert (
        main(["export", str(folder), "--output", str(tmp_path / "one"), "--only", "parameters"])
        == 0
    )

    assert [path.name for path in (tmp_path / "one").iterdir()] == ["model.pt"]

    assert main(["export", str(folder), "--output", str(tmp_path / "none"), "--only", "all"]) == 2
    assert not (tmp_path / "none").exists()


def test_an_exported_model_refines_its_posterior(documents, tmp_path):
    """A semi-amortised model is measured by the same posterior wherever it was loaded from."""
    model = documents.model
    model.refinement = Refinement(Steps(count=2), batch=8, seed=5)
    try:
        module = documents.export(tmp_path / "refined.pt")
        loaded = vb.load_model(tmp_path / "refined.pt")
        x = torch.from_numpy(documents.data.test[:6])

        values = [
            vb.estimators.importance(each, x, samples=5, seed=3).nll
            for each in (model, module, loaded)
        ]
        assert len(set(values)) == 1
    finally:
        # The model of the fixture is left as it was.
        model.refinement = None

    # Without the steps the number is another one, so they count in all three.
    assert vb.estimators.importance(model, x, samples=5, seed=3).nll != values[0]

    assert torch.load(tmp_path / "refined.pt", weights_only=True)["refinement"]["count"] == 2


def test_a_file_that_is_no_model_is_one_line(made, tmp_path):
    path = tmp_path / "model.pt"
    vb.load_run(made[0].runs()[0]).export(path)
    content = torch.load(path, weights_only=True)

    other_sizes = {**content, "model": {**content["model"], "dims": [7]}}
    for wrong, line in (
        (other_sizes, "does not fit"),
        ({**content, "format": 9}, "format 9"),
        ([1], "not a model"),
    ):
        torch.save(wrong, path)
        with pytest.raises(vb.UserError, match=line):
            vb.load_model(path)

    path.write_bytes(b"nothing")

    with pytest.raises(vb.UserError, match="not a model"):
        vb.load_model(path)


def test_a_model_begins_as_its_seed_says():
    data = vb.load_data("digits", held_out=100)
    assert len(data.valid) == 100

    first, again, other_seed = (
        vb.build_model("sbn", data, seed=seed, dims=(5,)).state_dict()["p.0.weight"]
        for seed in (0, 0, 1)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other_seed)


def test_a_log_z_that_is_missing_is_asked_for():
    data = vb.load_data("digits")
    model = vb.build_model("rbm_vae", data, latents=8).eval()

    for estimate in (vb.estimators.importance, vb.estimators.bound):
        with pytest.raises(vb.UserError, match="give its log_z"):
            estimate(model, data.test[:10], samples=10, seed=0)

    log_z = float(vb.estimators.log_z.exact(model.prior()).value)

    iw = vb.estimators.importance(model, data.test[:10], samples=10, seed=0, log_z=log_z)
    bound = vb.estimators.bound(model, data.test[:10], samples=10, seed=0, log_z=log_z)

    assert iw.nll < -bound.value

    # log p(z) has -log Z in it: one nat more of log Z is one nat less of the bound.
    shifted = vb.estimators.bound(model, data.test[:10], samples=10, seed=0, log_z=log_z + 1)
    assert shifted.value == pytest.approx(bound.value - 1)
