"""From tables, presets and overrides to cells: which is stronger, and that cells share nothing that
can be changed."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
from kit.tables import SMALL, compose, one

from vaebench.config import catalogue
from vaebench.config import compose as composing
from vaebench.config.cells import GROUPS
from vaebench.config.compose import cells, reevaluated, section
from vaebench.errors import UserError


def test_cells_of_the_paper(table):
    by_entry = compose(table)
    assert list(by_entry) == table.trained()

    cell = by_entry["SBN 200-200", "WS"]
    assert cell.config["model"] == {
        "name": "sbn",
        "dims": [200, 200],
        "posterior": "factorial",
        "init": "normal",
        "init_scale": 0.1,
    }
    assert cell.config["objective"]["name"] == "wake_sleep"
    assert cell.config["optim"]["rate"] == 1e-4
    assert cell.config["recipe"] == 3
    assert by_entry["fDARN 200", "NVIL"].config["model"]["name"] == "fdarn"
    assert by_entry["SBN 200", "NVIL"].published == 113.1
    assert by_entry["SBN 200-200", "WS"].published is None
    assert all(
        c.label == "" and c.paper_protocol and c.preset == "paper" and c.table == "small"
        for c in by_entry.values()
    )
    assert len({c.key for c in by_entry.values()}) == 5


def test_later_overrides_are_stronger(table):
    def rate_batch(cell):
        return cell.config["optim"]["rate"], cell.config["train"]["batch"]

    tuned = compose(table, "tuned")

    assert rate_batch(tuned["SBN 200-200", "NVIL"]) == (1e-3, 30)  # set, over the column's own
    assert rate_batch(tuned["SBN 200-200", "WS"]) == (2e-3, 30)  # columns over set
    assert rate_batch(tuned["SBN 200", "NVIL"]) == (4e-3, 40)  # rows "*" over set
    assert rate_batch(tuned["SBN 200", "WS"]) == (5e-3, 40)  # rows column over rows "*"

    overridden = compose(table, "tuned", ["optim.rate=7e-3", "optim.rate=8e-3"])
    assert {rate_batch(c)[0] for c in overridden.values()} == {8e-3}


def test_an_entry_is_stronger_than_its_row_and_column_and_weaker_than_a_preset_of_the_table(small):
    entry = (
        'SBN 200:     {set: ["model.dims=[200]"], entries: {WS: [optim.rate=6e-4, '
        '"model.dims=[3]", train.batch=7]},'
    )
    (small / "table" / "small.yaml").write_text(
        SMALL.replace('SBN 200:     {set: ["model.dims=[200]"],', entry)
    )
    table = catalogue.load_table("small")

    def rate_dims_batch(cell):
        return (
            cell.config["optim"]["rate"],
            cell.config["model"]["dims"],
            cell.config["train"]["batch"],
        )

    paper = compose(table)
    tuned = compose(table, "tuned")

    assert rate_dims_batch(paper["SBN 200", "WS"]) == (6e-4, [3], 7)
    assert rate_dims_batch(paper["SBN 200", "NVIL"]) == (3e-4, [200], 20)
    assert rate_dims_batch(paper["SBN 200-200", "WS"]) == (1e-4, [200, 200], 20)
    assert rate_dims_batch(tuned["SBN 200", "WS"]) == (5e-3, [3], 40)


def test_a_preset_is_weaker_than_the_table(small):
    (small / "preset" / "mine.yaml").write_text(
        "about: a\nlabel: mine\nset: [optim.rate=9, train.batch=9]\n"
    )
    cell = one(catalogue.load_table("small"), preset="mine")

    assert (cell.config["optim"]["rate"], cell.config["train"]["batch"]) == (3e-4, 9)


def test_only_the_last_choice_of_a_group_counts(table):
    cell = one(table, "model=fdarn", "model=darn", "data=digits")
    assert cell.config["model"]["name"] == "darn"
    assert cell.config["model"]["dims"] == [200]
    assert cell.config["data"]["name"] == "digits"


def test_configs_are_plain_and_not_shared(table):
    first = one(table)
    assert type(first.config["model"]["dims"]) is list

    first.config["model"]["dims"].append(5)
    assert one(table).config["model"]["dims"] == [200]


def test_hydra_is_left_clean(table):
    from hydra.core.global_hydra import GlobalHydra

    one(table, "data=digits")

    assert not GlobalHydra.instance().is_initialized()


def test_importing_does_not_import_hydra():
    code = "import sys, vaebench.config.compose, vaebench.settings.validate\n"
    code += "print({'hydra', 'omegaconf', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


def test_composing_is_quick_enough_to_repeat(table, monkeypatch):
    one(table)
    import hydra

    def refuse(*_, **__):
        raise AssertionError("composed again")

    monkeypatch.setattr(hydra, "compose", refuse)

    assert one(table).config == one(table, "optim.rate=3e-4").config
    assert one(table, "data=digits", "optim=adam").config["optim"]["name"] == "adam"


def test_each_override_is_read_once(table, monkeypatch):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    # ``append`` returns None, so that the call goes on to the parser itself.
    parsed = []
    parse_override = OverridesParser.parse_override
    monkeypatch.setattr(
        OverridesParser,
        "parse_override",
        lambda self, text: parsed.append(text) or parse_override(self, text),
    )

    for batch in (3131, 3132):
        assert {
            c.config["train"]["batch"]
            for c in compose(table, overrides=[f"train.batch={batch}"]).values()
        } == {batch}
    assert [text for text in parsed if text.startswith("train.batch=313")] == [
        "train.batch=3131",
        "train.batch=3132",
    ]
    assert len(parsed) == len(set(parsed))


def test_lists_that_were_read_once_are_not_shared(table):
    first = one(table, "model.dims=[7,8]")
    first.config["model"]["dims"].append(9)

    assert one(table, "model.dims=[7,8]", "train.batch=3").config["model"]["dims"] == [7, 8]

    first.config["optim"]["rate"] = 5.0
    assert (
        one(table).config["optim"]["rate"]
        == one(table, preset="short").config["optim"]["rate"]
        == 3e-4
    )


def test_options_are_what_hydra_composes():
    """The package's own composition of options gives what Hydra's gives, for every option."""
    from hydra import compose as by_hydra
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    from vaebench.config.options import sections

    options = {group: catalogue.options(group) for group in GROUPS}
    folder = str(catalogue.conf_dir())

    # One option of each group at a time, each group in a circle: as many rounds as the longest has.
    for i in range(max(map(len, options.values()))):
        choices = tuple((group, names[i % len(names)]) for group, names in options.items())
        with initialize_config_dir(folder, version_base="1.3"):
            by_hydra_itself = by_hydra("cell", [f"{group}={name}" for group, name in choices])

        assert str(sections(choices, folder)) == str(
            OmegaConf.to_container(by_hydra_itself, resolve=True)
        )


def test_tables_are_shipped():
    assert catalogue.options("table")


SHIPPED = [
    (name, preset)
    for name in catalogue.options("table")
    for preset in catalogue.presets_of(catalogue.load(name))
]


@pytest.mark.parametrize(("name", "preset"), SHIPPED)
def test_every_shipped_table_composes_with_every_preset(name, preset):
    table = catalogue.load_table(name)
    composed = cells(table, catalogue.load_preset(preset), ["run.threads=2"])

    assert [(c.row, c.column) for c in composed] == table.trained()
    assert all(
        c.config["run"]["threads"] == 2 and c.config["recipe"] == table.recipe for c in composed
    )

    if preset == "paper":
        assert all(c.label == "" and c.paper_protocol for c in composed)


def test_own_files_are_looked_at_anew_by_every_call(tmp_path, monkeypatch):
    """A run is named by the content of its own files. So one process must not take an old content
    for the new one, nor a relative path for that of an earlier working directory."""

    # Other ``pixels`` make another content under the same name.
    def bits(folder, pixels):
        folder.mkdir(exist_ok=True)
        images = np.arange(6 * 16).reshape(6, 4, 4) % pixels == 0
        np.savez(folder / "d.npz", train=images, valid=images, test=images)

    def data_section():
        return section("data", "images", ["data.train=d.npz"])

    bits(tmp_path / "a", 2)
    bits(tmp_path / "b", 3)
    monkeypatch.chdir(tmp_path / "a")
    in_a = data_section()
    monkeypatch.chdir(tmp_path / "b")
    in_b = data_section()

    assert (in_a["train"], in_b["train"]) == (
        str(tmp_path / "a" / "d.npz"),
        str(tmp_path / "b" / "d.npz"),
    )
    assert in_a["content"] != in_b["content"]

    bits(tmp_path / "b", 5)
    assert data_section()["content"] != in_b["content"]


def test_a_call_looks_at_own_files_once_for_all_its_cells(table, monkeypatch):
    settled = []
    settle = composing.settle
    monkeypatch.setattr(
        composing, "settle", lambda data: settled.append(data["name"]) or settle(data)
    )
    composed = cells(table, catalogue.load_preset("quick"), ["data=digits"])

    assert len(composed) > 2
    # Once for the user's data, once for the paper's, with which the cells are compared.
    assert sorted(settled) == ["digits", "mnist_static"]


@pytest.mark.parametrize(
    "text",
    ["run.engine=plain", "run.track=[jsonl]", "eval.points=7", "data.mirror=/elsewhere"],
)
def test_a_run_of_an_earlier_version_takes_settings_that_are_newer(table, text):
    key, _, value = text.partition("=")
    group, name = key.split(".")
    config = one(table).config

    # An earlier version, which did not know the setting, wrote a configuration without it.
    older = copy.deepcopy(config)
    del older[group][name]
    new_config = reevaluated(older, [text])

    # A list of words is shown with quotes.
    assert str(new_config[group][name]) in (value, value.replace("[", "['").replace("]", "']"))
    assert reevaluated(config, [text])[group][name] == new_config[group][name]


@pytest.mark.parametrize("text", ["run.enginge=plain", "eval.precison=float32"])
def test_of_an_earlier_run_too_a_key_that_there_is_not_is_refused(table, text):
    with pytest.raises(UserError, match=text.partition("=")[0]):
        reevaluated(one(table).config, [text])


def test_an_evaluation_that_a_model_does_not_allow_is_refused_before_and_after_the_training():
    posterior = catalogue.load("dvae_sharp_sharp_mcmc")
    quick = catalogue.load_preset("quick")
    texts = ["eval.bound_samples=1", "eval.iw_samples=null"]
    cell = next(c for c in cells(posterior, quick) if c.config["model"]["name"] == "rbm_posterior")

    for refused in (
        lambda: cells(posterior, quick, texts),
        lambda: reevaluated(cell.config, texts),
    ):
        with pytest.raises(UserError, match=r"eval\.bound_samples=1: .* at least 2"):
            refused()


def test_a_posterior_that_is_annealed_needs_two_samples_at_a_validation_too():
    posterior = catalogue.load("dvae_sharp_sharp_mcmc")
    with pytest.raises(UserError, match=r"train\.valid_samples=1: .* at least 2"):
        cells(posterior, catalogue.load_preset("quick"), ["train.valid_samples=1"])
