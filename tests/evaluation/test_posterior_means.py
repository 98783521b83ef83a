"""Posterior means of a run's snapshots: what the file holds, and that it is made once."""

from __future__ import annotations

import csv

import pytest
import torch

from vaebench import data
from vaebench.estimators.posterior_mean import encoder_mean, posterior_mean
from vaebench.evaluation import posterior_means as means
from vaebench.training import checkpoint, snapshots
from vaebench.training.build import load_model
from vaebench.training.loop import train
from vaebench.training.run_state import evaluated_checkpoint, progress_of

CPU = torch.device("cpu")
CONFIG = {
    "data": {"name": "toy_text", "held_out": None, "held_out_seed": 0, "mirror": None},
    "model": {"name": "text_vae", "latents": 1, "embedding": 4, "units": 5, "init": "text",
              "init_scale": 0.3, "init_center": 0.0, "embedding_scale": 0.5,
              "embedding_center": 0.0},
    "objective": {"name": "vae"},
    "optim": {"name": "clipped_sgd", "rate": 1.0},
    "train": {"updates": 4, "batch": 8, "order": "lengths", "valid_every": 2, "valid_samples": 1,
              "patience": None, "select": "last", "snapshots": [0, 3]},
    "eval": {},
}  # fmt: skip


@pytest.fixture
def splits():
    return data.load(CONFIG["data"])


def trained(folder, splits, **model):
    config = {**CONFIG, "model": {**CONFIG["model"], **model}}
    (seed,) = train(config, splits, [progress_of(folder, 0)], CPU, "plain")
    return config, load_model(config, splits.info, evaluated_checkpoint(seed, "last"))


def lines_of(folder):
    with (folder / "means.csv").open(newline="") as f:
        return list(csv.DictReader(f))


def test_means_are_those_of_the_parameters_kept(tmp_path, splits, monkeypatch):
    monkeypatch.setattr(means, "POINTS", 7)
    config, last = trained(tmp_path, splits)
    means.write_means(tmp_path, config, splits, last, 4)
    lines = lines_of(tmp_path)
    stages = [("0", ""), ("3", ""), ("4", "selected")]

    assert [(line["update"], line["kind"]) for line in lines] == [
        stage for stage in stages for _ in range(7)
    ]
    assert [int(line["case"]) for line in lines[:7]] == [
        i * len(splits.valid) // 7 for i in range(7)
    ]

    # The second stage, update 3: its lines are those from 7 to 13.
    snapshot = snapshots.listed(tmp_path)[1]
    model = load_model(config, splits.info, checkpoint.read(snapshot.path))
    x = torch.from_numpy(splits.valid)[[int(line["case"]) for line in lines[:7]]]
    expected = [posterior_mean(model, x, step=0.01), encoder_mean(model, x)]

    for name, values in zip(("model", "encoder"), expected, strict=True):
        assert [float(line[name]) for line in lines[7:14]] == pytest.approx(
            values.tolist(), abs=2e-6
        )


def test_they_are_made_once_and_anew_for_another_split(tmp_path, splits, monkeypatch):
    monkeypatch.setattr(means, "POINTS", 3)
    config, last = trained(tmp_path, splits)
    means.write_means(tmp_path, config, splits, last, 4)
    before = (tmp_path / "means.csv").read_text()

    # From here on, computing any mean fails.
    monkeypatch.setattr(means, "posterior_mean", None)
    means.write_means(tmp_path, config, splits, last, 4)

    assert (tmp_path / "means.csv").read_text() == before
    with pytest.raises(TypeError):
        means.write_means(tmp_path, {**config, "eval": {"means": "train"}}, splits, last, 4)


def test_nothing_for_more_latents_or_without_snapshots(tmp_path, splits):
    config, last = trained(tmp_path, splits, latents=2)
    means.write_means(tmp_path, config, splits, last, 4)

    assert snapshots.listed(tmp_path)
    assert not (tmp_path / "means.csv").exists()

    means.write_means(tmp_path / "none", config, splits, last, 4)
    assert not (tmp_path / "none").exists()
