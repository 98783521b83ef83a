"""Any text at all, as an override, a seed or a choice, gives a configuration or one line that says
what is wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebench.config import catalogue
from vaebench.config.cells import canonical
from vaebench.config.compose import cells
from vaebench.config.selection import parse, seeds
from vaebench.errors import UserError
from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.kinds import shown

# Derandomised, so that every run tries the same examples.
MANY = settings(max_examples=150, deadline=None, derandomize=True, database=None)

ONLY = ["SBN 200", "column=NVIL"]
# Characters that mean something to Hydra, YAML or Python's numbers, and an Arabic zero.
SIGNS = st.text(
    st.sampled_from("[]{}(),:'\"\\$=+-~.#*& \t0123456789eEinfaultrdc\u00e9\u0660"), max_size=12
)
WORDS = st.sampled_from(
    [
        "null",
        "true",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e-400",
        "9" * 400,
        "9" * 5000,
        "0x1f",
        "1_000",
    ]
)
WORDS |= st.sampled_from(
    ["${train.batch}", "${nothing.here}", "${oc.env:HOME}", "choice(1,2)", "range(1,3)", "[" * 50]
)
VALUES = SIGNS | WORDS | st.text(max_size=6) | st.integers().map(str) | st.floats().map(str)


@pytest.fixture(scope="module")
def table():
    return catalogue.load_table("nvil_mnist")


@pytest.fixture(scope="module")
def keys(table) -> list[str]:
    """Every setting of a cell, and a few keys that do not exist."""
    config = cells(table, catalogue.load_preset("paper"), only=ONLY)[0].config
    settings_of_cell = [
        f"{g}.{k}" for g, section in config.items() if isinstance(section, dict) for k in section
    ]
    return [
        *settings_of_cell,
        "recipe",
        "data",
        "model",
        "optim",
        "",
        "nothing",
        "optim.",
        ".rate",
        "hydra.run.dir",
        "+a",
        "~b",
    ]


def refused(call, *arguments, **more) -> tuple[object, str]:
    """(result, '') of a call, or (None, line) if it refused with one line.

    Any other exception passes, and fails the test.
    """
    try:
        return call(*arguments, **more), ""
    except UserError as e:
        line = str(e)

    assert "\n" not in line
    assert line

    return None, line


@MANY
@given(data=st.data())
def test_any_override_is_a_setting_or_one_line(table, keys, data):
    text = f"{data.draw(st.sampled_from(keys))}={data.draw(VALUES)}"
    refused(parse, ["table=nvil_mnist", text])
    composed, _ = refused(cells, table, catalogue.load_preset("paper"), [text], only=ONLY)

    for cell in composed or ():
        assert cell.key  # it can be named, so it can be stored


@MANY
@given(text=st.text(max_size=20) | SIGNS)
def test_any_word_at_all_is_refused_or_composes(table, text):
    refused(parse, ["table=nvil_mnist", text])
    refused(cells, table, catalogue.load_preset("paper"), [text], only=ONLY)
    refused(cells, table, catalogue.load_preset("paper"), [], only=[text])


NUMBERS = st.integers(1, 10**9) | st.floats(1e-300, 1e300).filter(
    lambda v: v == v and not math.isinf(v)
)


@MANY
@given(rate=NUMBERS)
def test_a_number_that_is_written_is_the_number_that_is_read(table, rate):
    (cell,) = cells(table, catalogue.load_preset("paper"), [f"optim.rate={shown(rate)}"], only=ONLY)
    assert cell.config["optim"]["rate"] == rate
    assert type(cell.config["optim"]["rate"]) is float
    assert canonical(cell.config)


@MANY
@given(text=st.text(st.sampled_from("0123456789-, ²٣x"), max_size=12) | st.integers().map(str))
def test_any_seeds_are_a_list_or_one_line(table, text):
    chosen_seeds, line = refused(seeds, table, catalogue.load_preset("paper"), text)
    if line:
        assert line.startswith(f"--seeds {text!r}: ")
    else:
        assert chosen_seeds == list(dict.fromkeys(chosen_seeds))
        assert all(0 <= seed <= LARGEST_SEED for seed in chosen_seeds)
