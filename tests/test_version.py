"""The version of an option says what the code computes. It is part of a run's identity, but no
setting."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from vaebench import models, objectives, optim
from vaebench.config import catalogue, completions, compose, options
from vaebench.config.cells import GROUPS, VERSION, run_key
from vaebench.config.compose import cells
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.results.costs import estimate

FILES = {
    "model": "model/sbn",
    "objective": "objective/nvil",
    "optim": "optim/sgd",
    "data": "data/digits",
}


def forget():
    """Clear what was read before, so that files of options are read anew."""
    for cached in (
        options.section_of,
        options.sections,
        options.primary_sections,
        compose._resolved,
    ):
        cached.cache_clear()


@pytest.fixture
def raised(conf):
    """Write ``version: N`` into the file of an option, in a copy of the shipped configuration."""

    def raised(file, number):
        path = conf / f"{file}.yaml"
        kept = [
            line for line in path.read_text().splitlines() if not line.startswith(f"{VERSION}:")
        ]
        path.write_text("\n".join([*kept, f"{VERSION}: {number}", ""]))
        forget()

    yield raised
    forget()


def cell(*overrides):
    table = catalogue.load_table("nvil_mnist")
    return cells(table, catalogue.load_preset("quick"), overrides, ["SBN 200", "column=NVIL"])[0]


@pytest.mark.parametrize("group", FILES)
def test_a_version_above_one_is_part_of_the_key(raised, group):
    raised(FILES[group], 1)
    first = cell().key
    raised(FILES[group], 2)
    second = cell().key
    raised(FILES[group], 3)

    assert len({first, second, cell().key}) == 3
    assert first.rpartition("-")[0] == second.rpartition("-")[0]


@pytest.mark.parametrize("group", [*FILES, "train"])
def test_a_run_without_a_version_is_of_version_one(group):
    config = copy.deepcopy(cell().config)
    config[group].pop(VERSION, None)

    assert run_key({**config, group: {**config[group], VERSION: 1}}) == run_key(config)
    assert run_key({**config, group: {**config[group], VERSION: 2}}) != run_key(config)


def test_what_is_built_does_not_see_it(raised):
    for group in ("model", "objective", "optim"):
        raised(FILES[group], 2)
    config = cell().config

    assert [config[g][VERSION] for g in ("model", "objective", "optim")] == [2, 2, 2]

    model = models.build(config["model"], DataInfo(np.full(5, 0.5)))
    objectives.build(config["objective"], model)
    optim.build(config["optim"])


def test_no_override_changes_it(raised):
    raised("objective/nvil", 2)
    with pytest.raises(
        UserError, match=r"^objective\.version says what the code computes; no override changes it$"
    ):
        cell("objective.version=1")

    # And nothing offers it, neither the suggestions for a misspelt key nor the completions.
    with pytest.raises(UserError) as caught:
        cell("objective.versio=1")
    assert (
        "version" not in str(caught.value).partition("objective.versio")[2].partition("allowed")[2]
    )
    assert "objective.decay=" in completions.overrides("objective.")
    assert "objective.version=" not in completions.overrides("objective.")


def test_the_cost_of_an_earlier_version_is_known(raised):
    raised("objective/nvil", 1)
    before = cell("objective.decay=0.7")
    old = {
        "key": before.key,
        "status": "done",
        "seconds": 10.0,
        "updates": 2500,
        "config": before.config,
    }
    raised("objective/nvil", 2)

    assert estimate([old], cell()) == 10.0


def test_shipped_versions_are_whole_numbers():
    sections = [
        catalogue.load_yaml(group, name) for group in GROUPS for name in catalogue.options(group)
    ]
    assert len(sections) > 40
    assert all(type(s.get(VERSION, 1)) is int and s.get(VERSION, 1) >= 1 for s in sections)
    assert not any(
        VERSION in catalogue.load_yaml("eval", name) for name in catalogue.options("eval")
    )
