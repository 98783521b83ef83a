"""A run is named by the settings that differ from their defaults, so defaults must stay as they
are."""

from __future__ import annotations

import copy
import inspect
import json
import subprocess
import sys

import pytest
from kit.repository import ROOT, load_script
from omegaconf import OmegaConf

from vaebench import objectives, optim
from vaebench.config import catalogue
from vaebench.config.cells import (
    GROUPS,
    VERSION,
    canonical,
    identity,
    readable,
    run_key,
    settings_of,
)
from vaebench.config.compose import cells
from vaebench.models import model_class
from vaebench.protocol.families import FAMILIES
from vaebench.results import rekey
from vaebench.settings import defaults

RECORD = json.loads((ROOT / "tests" / "identity_defaults.json").read_text())
IN_ORDER = [
    (group, name) for group in GROUPS if group != "eval" for name in catalogue.options(group)
]


def shipped():
    """What scripts/record_defaults.py would record."""
    return load_script("record_defaults").shipped()


def cell(*overrides, table="nvil_mnist", only=("SBN 200", "column=NVIL")):
    return cells(catalogue.load_table(table), catalogue.load_preset("paper"), overrides, only)[0]


@pytest.fixture
def config():
    return copy.deepcopy(cell().config)


# ----------------------------------------------------------------------------------------- the rule


def test_a_new_setting_with_a_default_changes_no_key(config, monkeypatch):
    before = run_key(config)
    # An option gets a setting that it did not have.
    of_option = defaults.of_option

    def with_new(group, name):
        return (
            {**of_option(group, name), "later": 3}
            if (group, name) == ("objective", "nvil")
            else of_option(group, name)
        )

    monkeypatch.setattr(defaults, "of_option", with_new)
    config["objective"]["later"] = 3

    assert run_key(config) == before

    config["objective"]["later"] = 4
    assert run_key(config) != before

    # So does the training.
    train_defaults = defaults.of_section("train")
    monkeypatch.setattr(defaults, "of_section", lambda name: {**train_defaults, "later": None})

    assert run_key({**config, "train": {**config["train"], "later": None}}) == run_key(config)


def test_a_stored_run_that_lacks_a_setting_has_its_default(config):
    before = run_key(config)
    for section, settings in (
        ("train", ("unit", "snapshots", "cases")),
        ("objective", ("decay",)),
        ("data", ("mirror",)),
    ):
        for name in settings:
            del config[section][name]

    del config["recipe"]

    assert run_key(config) == before


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("optim", "rate", 0.1),
        ("optim", "posterior_rate", 6.0e-5),
        ("objective", "decay", 0.7),
        ("objective", "input_baseline", False),
        ("objective", "input_baseline", 1),
        ("model", "dims", [200, 200]),
        ("model", "dims", []),
        ("data", "held_out_seed", 1),
        ("data", "held_out", None),
        ("train", "updates", 3),
        ("train", "snapshots", [3]),
        ("train", "patience", 1),
        ("recipe", None, 2),
    ],
)
def test_every_other_value_changes_the_key(config, section, name, value):
    before = run_key(config)
    if name is None:
        config[section] = value
    else:
        # 1 == True, so that the type counts as well.
        assert config[section][name] != value or type(config[section][name]) is not type(value)
        config[section][name] = value

    assert run_key(config) != before


def test_a_key_is_never_too_long_for_a_folder(config):
    """A key has at most 255 characters. Only the list of sizes is cut, and only if the key would be
    longer."""

    def of(count, objective="nvil"):
        config["model"]["dims"] = [200] * count
        config["objective"]["name"] = objective
        return run_key(config)

    # 56 layers just fit.
    fits = [of(n) for n in range(1, 57)]
    for n, key in enumerate(fits, 1):
        assert readable(key) == "mnist_static-sbn" + "-".join(["200"] * n) + "-nvil"
    assert len(fits[-1]) == 255

    long = [of(n) for n in (57, 100, 1000)]
    assert len(set(long)) == len(long)
    assert all(len(key) <= 255 and rekey.KEY.fullmatch(key) for key in long)
    assert {readable(key) for key in long} == {readable(fits[-1])}
    assert readable(of(57, "wake_sleep")).endswith("-2-wake_sleep")


def test_equal_settings_are_equal_however_they_are_written():
    key = cell().key
    other_spellings = [
        "optim.rate=0.0003",
        "optim.rate=3e-4",
        "train.batch=20.0",
        "model.dims=[200.0]",
        "train.snapshots=[]",
    ]

    assert {cell(text).key for text in other_spellings} == {key}
    assert cell("train.cases=null", "objective.decay=8e-1", "data.held_out=100").key == key

    settings = cell().config
    with_floats = {
        **settings,
        "objective": {**settings["objective"], "baseline_units": 100.0},
        "recipe": 1.0,
    }

    assert run_key(with_floats) == key
    assert run_key({**settings, "model": {**settings["model"], "dims": (200,)}}) == key


def test_only_what_differs_is_in_it():
    named_by = identity(cell("optim.rate=0.5", "train.cases=9").config)
    for section in named_by.values():
        section.pop(VERSION, None)

    assert named_by == {
        "data": {"name": "mnist_static", "held_out": 100},
        "model": {"name": "sbn"},
        "objective": {"name": "nvil"},
        "optim": {"name": "sgd", "rate": 0.5},
        "train": {"updates": 20_000_000, "cases": 9},
    }


def test_two_options_with_the_same_settings_are_two(config):
    as_fdarn = {**config, "model": {**config["model"], "name": "fdarn"}}
    assert identity(as_fdarn)["model"] == {"name": "fdarn"}
    assert run_key(as_fdarn) != run_key(config)


def test_an_option_that_is_not_shipped_has_no_defaults(config):
    """If an option is not shipped, or its name is none at all, every setting counts."""
    config["model"] = {"name": "../preset/quick", "label": "quick"}
    assert identity(config)["model"] == config["model"]


def test_no_two_cells_of_different_settings_share_a_key():
    settings_by_key: dict[str, str] = {}
    for table in map(catalogue.load, catalogue.options("table")):
        for preset in ("paper", "quick"):
            for c in (
                cells(table, catalogue.load_preset(preset))
                if preset in catalogue.presets_of(table)
                else ()
            ):
                trained_settings = {k: v for k, v in c.config.items() if k not in ("eval", "run")}
                trained_settings["data"] = {
                    k: v for k, v in trained_settings["data"].items() if k != "mirror"
                }

                # The first cell of a key sets what all others of that key must have.
                assert settings_by_key.setdefault(c.key, canonical(trained_settings)) == canonical(
                    trained_settings
                )
    assert len(settings_by_key) > 200


def test_a_key_needs_neither_torch_nor_hydra_and_little_time():
    text = json.dumps(cell().config)
    code = (
        "import sys, time, json\n"
        "from vaebench.config.cells import run_key\n"
        f"config = json.loads({text!r})\n"
        "key = run_key(config)\n"
        "began = time.perf_counter()\n"
        "[run_key(config) for _ in range(200)]\n"
        "print(key, bool({'torch', 'hydra', 'pandas'} & set(sys.modules)), time.perf_counter() - "
        "began)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    key, heavy, seconds = done.stdout.split()

    assert (key, heavy) == (cell().key, "False")
    assert float(seconds) / 200 < 0.005


# -------------------------------------------------------------------------------- the defaults stay


@pytest.mark.parametrize("name", RECORD)
def test_a_recorded_default_is_never_changed(name):
    current = shipped()
    assert name in current, (
        f"conf/{name}.yaml is gone, and with it the names of its runs: keep the file, or add its "
        "new name to vaebench/settings/renamed.py and rename its entry in "
        "tests/identity_defaults.json"
    )
    for setting, value in RECORD[name].items():
        default = current[name].get(setting, "(no such setting)")
        assert canonical(default) == canonical(value), (
            f"{name}: the default of {setting} was {value!r} and is {default!r}. A run is named by "
            "what differs from the defaults, so runs of the old one would be taken for runs of "
            "the new one. Put it back. Then set the new value in the tables that want it, or make "
            "a new option of it. Where the same settings compute something else now, raise the "
            "option's version instead (docs/results.md)"
        )


def test_every_default_is_recorded():
    new = [
        f"{name}: {s}"
        for name, all_ in shipped().items()
        for s in all_
        if s not in RECORD.get(name, {})
    ]
    assert not new, (
        f"new settings: {', '.join(new)}; run python scripts/record_defaults.py "
        "and commit the record"
    )


@pytest.mark.parametrize(("group", "name"), IN_ORDER)
def test_a_file_reads_alike_with_and_without_hydra(group, name):
    """Defaults are read by plain YAML, which takes 1e-4 for a word, and cells by Hydra. Both must
    give the same values."""
    composed = OmegaConf.to_container(OmegaConf.load(catalogue.conf_dir() / group / f"{name}.yaml"))
    assert canonical(composed) == canonical(defaults.of_option(group, name))
    assert composed["name"] == name


def test_the_training_reads_alike_with_and_without_hydra():
    composed = OmegaConf.to_container(OmegaConf.load(catalogue.conf_dir() / "cell.yaml"))["train"]
    assert canonical(composed) == canonical(defaults.of_section("train"))


@pytest.mark.parametrize(
    ("group", "name", "cls"),
    [
        (group, name, cls)
        for group, registry in (
            ("model", {name: model_class(name) for name in FAMILIES}),
            ("objective", objectives.OBJECTIVES),
            ("optim", optim.OPTIMS),
        )
        for name, cls in registry.items()
    ],
)
def test_a_class_has_the_defaults_of_its_file(group, name, cls):
    file_defaults = settings_of(defaults.of_option(group, name))
    class_defaults = {
        k: p.default
        for k, p in inspect.signature(cls).parameters.items()
        if p.default is not p.empty
    }
    differing = {
        k: (v, file_defaults[k])
        for k, v in class_defaults.items()
        if k in file_defaults and canonical(v) != canonical(file_defaults[k])
    }

    assert differing == {}, "(of the class, of the file)"
