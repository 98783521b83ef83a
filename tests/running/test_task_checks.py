"""What is refused or told before anything runs.

These are cells that cannot be built, data that do not fit, and budgets that end too early.
"""

from __future__ import annotations

import copy
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from vaebench import data, models
from vaebench.config.catalogue import load_preset, load_table
from vaebench.config.cells import Cell
from vaebench.config.compose import cells, section
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import DataError, UserError
from vaebench.running.tasks import check, check_built, preflight
from vaebench.training.batches import Batches
from vaebench.training.build import too_short


def test_a_device_or_data_that_are_not_there_stop_everything_before_it_runs(
    make_cell, load_bits, monkeypatch
):
    with pytest.raises(UserError, match="cuda:99"):
        preflight([make_cell(), make_cell({"run.device": "cuda:99"})])

    def load(config, **kw):
        raise DataError("nothing there")

    monkeypatch.setattr(data, "load", load)

    with pytest.raises(DataError, match="nothing there"):
        preflight([make_cell()])


LADDER = {"objective": {"name": "greedy", "lower": 3}, "model": {"name": "dbn", "dims": [3, 2]}}
EONADE = {
    "objective": {"name": "order_agnostic", "pretraining": 20},
    "model": {"name": "eonade", "units": 3, "layers": 3},
}


@pytest.mark.parametrize(
    ("settings", "updates", "unit", "said"),
    [
        (
            LADDER,
            3,
            "epochs",
            "objective.lower=3: the first 3 epochs train a part .*, and there are 3 epochs",
        ),
        (LADDER, 4, "epochs", ""),
        (LADDER, 9, "updates", "objective.lower=3: the first 3 epochs .* 9 updates"),
        (LADDER, 10, "updates", ""),
        (
            EONADE,
            40,
            "updates",
            r"objective.pretraining=20: the first 40 updates .* 40 updates \(train",
        ),
        (EONADE, 41, "updates", ""),
        (EONADE, 13, "epochs", "objective.pretraining=20: the first 40 updates .* 13 epochs"),
        (EONADE, 14, "epochs", ""),
    ],
)
def test_a_budget_that_ends_before_the_last_part_is_told(
    make_cell, load_bits, caplog, settings, updates, unit, said
):
    """A pass has three updates: 30 cases in batches of 10."""
    cell = make_cell({**settings, "train.updates": updates, "train.unit": unit, "train.batch": 10})
    preflight([make_cell(), cell])
    assert re.search(said, caplog.text) if said else not caplog.text


@pytest.mark.parametrize("name", ["rbm_mnist", "nade_orders"])
def test_shipped_budgets_end_after_the_last_part_has_begun(name):
    table = load_table(name)

    # Number of training cases of each preset's data: MNIST, and the embedded digits.
    for preset, cases in {"paper": 59_900, "short": 59_900, "quick": 1_400}.items():
        for cell in cells(table, load_preset(preset)):
            assert not too_short(cell.config, Batches(cases, 100, "shuffle"))


def test_data_that_the_model_cannot_read_stop_everything_before_it_runs(make_cell, load_bits):
    with pytest.raises(
        UserError, match=r"data=bits has no documents, which model=text_vae needs; allowed.*: sbn"
    ):
        preflight([make_cell(), make_cell({"model": {"name": "text_vae"}})])

    with pytest.raises(
        UserError, match=r"train\.order=lengths: for documents only, and data=bits has none"
    ):
        preflight([make_cell({"train.order": "lengths"})])

    with pytest.raises(
        UserError,
        match=r"data=text has documents, which model=sbn cannot read; allowed.*: text_vae",
    ):
        models.check_data("sbn", "text", Kind.TOKENS)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("model.dims", [4, 0], "model.dims"),
        ("model.init", "zeros", "model.init='zeros'"),
        ("model.init_scale", -1.0, "model.init_scale"),
        ("objective.baseline_units", 0, "objective.baseline_units=0"),
        ("objective", {"name": "iw_bound"}, "iw_bound cannot train model=sbn"),
        ("optim.rate", -1.0, "the rate of group 'model' is -1.0"),
        ("model.dims", [10**12, 10**12], "these settings cannot be built"),
        ("optim", {"name": "clipped_adam", "rate": 1e-3}, "clipped_adam has no rate for the"),
    ],
    ids=str,
)
def test_a_cell_that_cannot_be_built_is_named_without_any_data(
    make_cell, monkeypatch, setting, value, words
):
    def load(config, **kw):
        raise DataError("nothing there")

    monkeypatch.setattr(data, "load", load)
    good = make_cell(row="good")
    bad = make_cell({setting: value}, row="bad")
    check([good])

    with pytest.raises(UserError) as caught:
        check([good, bad])
    assert str(caught.value).startswith("bad / NVIL: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checking_builds_what_is_distinct_once_and_as_wide_as_the_data(make_cell, monkeypatch):
    built = []
    real_build = models.build
    monkeypatch.setattr(
        models,
        "build",
        lambda config, info: built.append((config["dims"], info.size)) or real_build(config, info),
    )
    asked_cells = [
        make_cell(),
        make_cell({"train.updates": 9}),
        make_cell({"model.dims": [5]}),
        make_cell({"data.name": "digits"}),
    ]

    # Another budget is no other model. The data set ``bits`` is unknown here and taken to have 100
    # pixels.
    check(asked_cells)

    assert built == [([4], 100), ([5], 100), ([4], 64)]


def test_checking_takes_no_memory(make_cell):
    with pytest.raises(
        UserError,
        match=r"a model of 200,002,070,000,414 parameters .*; allowed: at most 1,000,000,000",
    ):
        check([make_cell({"model.dims": [10**7, 10**7]})])  # 400 terabytes

    with torch.device("meta"):
        model = models.build({"name": "rbm_vae"}, DataInfo(np.full(3, 0.5)))
    assert {p.device.type for p in model.parameters()} == {"meta"}
    # Functions of the mean have values: torch takes two seconds to find the shape
    # of a logit without them.
    assert {model.mean.device.type, model.p.decoder.offset.device.type} == {"cpu"}


def test_nothing_to_check_is_known_without_torch():
    code = (
        "import sys; from vaebench.running import tasks as runner; runner.check([]); "
        "print('torch' in sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "False\n"


@pytest.mark.parametrize("first", [True, False])
def test_a_cell_is_checked_on_its_own_kind_of_data(first):
    """Settings and shapes are the same on both data sets, but the model can read only the first."""

    def on(data):
        config = copy.deepcopy(cells(load_table("nvil_mnist"), load_preset("quick"))[0].config)
        config["data"] = section("data", data)
        config["model"] = section("model", "gaussian_vae", ["model.likelihood=bernoulli"])
        config["objective"] = section("objective", "vae")
        config["optim"] = section("optim", "adam", ["optim.rate=1e-3"])
        return Cell("nvil_mnist", "row", data, "quick", config)

    check_built([on("digits")])
    both = [on("digits"), on("digits_grey")]

    with pytest.raises(UserError, match="row / digits_grey: "):
        check_built(both if first else reversed(both))
