"""Declarations of settings: they are what conf/, the constructors and the data sets say."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import types
import typing

import pytest

from vaebench import models, objectives, optim
from vaebench.config import catalogue
from vaebench.config.cells import settings_of
from vaebench.data.counts.corpus import COUNTS
from vaebench.data.images.own import GREY
from vaebench.nn.init import TEXT_KEYS
from vaebench.settings import defaults
from vaebench.settings.records import KINDS, SECTIONS, EvalSettings
from vaebench.settings.whole_cell import NULLABLE


@pytest.mark.parametrize("name", SECTIONS)
def test_a_record_has_what_its_section_says_and_the_rest_by_default(cell, name):
    """The defaults of the records are those of conf/, as far as its options have them."""
    record = SECTIONS[name]
    section = {
        k: tuple(v) if isinstance(v, list) else v for k, v in cell[name].items() if k != "name"
    }

    assert set(section) <= {f.name for f in dataclasses.fields(record)} | {"content"}
    assert (
        dataclasses.asdict(record.of({})).items()
        >= {k: v for k, v in section.items() if k != "iw_samples"}.items()
    )

    changed = {
        "train": {"batch": 7},
        "data": {"mirror": "x"},
        "eval": {"points": 7},
        "run": {"pack": 2},
    }[name]

    assert record.of({**section, **changed, "name": "x"}) == record(**{**section, **changed})


CLASSES = {
    "model": models.model_class,
    "objective": objectives.OBJECTIVES.get,
    "optim": optim.OPTIMS.get,
}


def options():
    return [(group, name) for group in CLASSES for name in catalogue.options(group)]


@pytest.mark.parametrize(("group", "name"), options())
def test_settings_of_a_component_are_the_arguments_of_its_constructor_with_their_types(group, name):
    """What a setting may be is read off its default in conf/, without torch: it must be what the
    constructor takes."""
    hints = {}
    for cls in reversed(CLASSES[group](name).__mro__):  # one may pass on what its parents take
        hints |= typing.get_type_hints(vars(cls).get("__init__", object.__init__))

    for key, default in settings_of(defaults.of_option(group, name)).items():
        # These say how the model's parameters begin; no constructor takes them.
        if group == "model" and key in ("init", "init_scale", *TEXT_KEYS):
            continue

        assert key in hints, key

        hint = hints[key]
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if default is not None:
            # list[int] counts as list, since no value is an instance of list[int].
            plain = [typing.get_origin(kind) or kind for kind in kinds]
            assert any(issubclass(type(default), kind) for kind in plain), (key, hint, default)
            assert (type(None) in kinds) == (f"{group}.{key}" in NULLABLE), (key, hint)
        else:
            assert type(None) in kinds, (key, hint)


def test_grey_images_are_read_in_the_ways_that_their_data_set_has():
    assert KINDS["data.grey"].words == " or ".join(GREY)
    assert KINDS["data.counts"].words == " or ".join(COUNTS)
    assert SECTIONS["data"]().grey == GREY[0]


def test_the_declarations_load_no_data_sets():
    """They are read by every command, ``ls`` among them."""
    code = "import sys, vaebench.settings.validate; print('vaebench.data' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_null_that_nothing_allows_any_more_is_the_default():
    """As results of earlier versions have it."""
    ev = EvalSettings.of({"mi_batch": None, "orders": None, "points": None, "repeats": 2})
    assert (ev.mi_batch, ev.orders, ev.points, ev.repeats) == (32, 1, None, 2)
