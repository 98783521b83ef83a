"""What a command line asks for: tables, a preset, seeds, rows and columns."""

from __future__ import annotations

import pytest
from kit.tables import SMALL, compose

from vaebench.config import catalogue
from vaebench.config.compose import cells
from vaebench.config.selection import Selection, parse, seeds
from vaebench.errors import UserError


def test_parse(small):
    selection = parse(
        ["optim.rate=1", "table=small", "preset=quick", "model.dims=[1,2]", "run.results=a=b"]
    )
    assert selection == Selection(
        ("small",), "quick", ("optim.rate=1", "model.dims=[1,2]", "run.results=a=b")
    )
    assert parse(["table=small"]).preset == "paper"


def test_parse_takes_several_tables(small):
    (small / "table" / "other.yaml").write_text(SMALL)
    assert parse(["table=small,other,small"]).tables == ("small", "other")
    assert parse(["table=other", "table=small"]).tables == ("other", "small")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no table", "table=NAME", "small"]),
        (["table="], ["no table", "small"]),
        (["table=smal"], ["unknown table 'smal'", "did you mean 'small'"]),
        (["table=small", "preset=quikc"], ["unknown preset", "did you mean 'quick'"]),
        (["table=small", "quick"], ["'quick'", "key=value"]),
        (["table=small", "=3"], ["'=3'", "key=value"]),
        (["table=small", "+a=3"], ["+a=3", "prefixes"]),
        (["table=small", "++a=3"], ["++a=3", "prefixes"]),
        (["table=small", "~train.batch"], ["~train.batch", "prefixes"]),
        (["table=small", "hydra.run.dir=x"], ["hydra.run.dir", "Hydra's own"]),
    ],
)
def test_parse_says_what_is_wrong(small, arguments, words):
    with pytest.raises(UserError) as caught:
        parse(arguments)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0-4", [0, 1, 2, 3, 4]),
        ("0,2,5", [0, 2, 5]),
        ("0-2,7", [0, 1, 2, 7]),
        ("3", [3]),
        ("5,1-2,2", [5, 1, 2]),
    ],
)
def test_seeds_as_given(table, text, found):
    assert seeds(table, catalogue.load_preset("quick"), text) == found


def test_seeds_of_the_nearest_source(table):
    # From the nearest to the farthest: the table's for that preset, the preset's, the table's.
    assert seeds(table, catalogue.load_preset("tuned"), None) == [4, 5]
    assert seeds(table, catalogue.load_preset("quick"), None) == [0, 1]
    assert seeds(table, catalogue.load_preset("paper"), None) == [0, 1, 2]


TOO_LARGE = [str(2**63), f"{2**63 - 1}-{2**63}", "9" * 22, "9" * 5000]


def test_the_largest_seed(table):
    assert seeds(table, catalogue.load_preset("paper"), str(2**63 - 1)) == [2**63 - 1]


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "1-", "4-0", "1.5", "0,,1", "0-1-2", "0-99999999999", "²", *TOO_LARGE]
)
def test_seeds_that_cannot_be_read(table, text):
    with pytest.raises(UserError, match="--seeds") as caught:
        seeds(table, catalogue.load_preset("paper"), text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (["SBN 200"], [("SBN 200", "NVIL"), ("SBN 200", "WS")]),
        (["row=SBN 200"], [("SBN 200", "NVIL"), ("SBN 200", "WS")]),
        (["column=WS"], [("SBN 200", "WS"), ("SBN 200-200", "WS")]),
        (["row=fDARN 200", "SBN 200", "column=NVIL"], [("SBN 200", "NVIL"), ("fDARN 200", "NVIL")]),
        (["column=WS", "column=NVIL", "SBN 200"], [("SBN 200", "NVIL"), ("SBN 200", "WS")]),
    ],
)
def test_only(table, only, found):
    assert list(compose(table, only=only)) == found


def test_only_knows_rows_with_an_equals_sign(small):
    (small / "table" / "small.yaml").write_text(
        SMALL.replace("fDARN 200: ", "row=5: ").replace(", row=5: ", ", SBN 200-200: ")
    )
    assert list(compose(catalogue.load_table("small"), only=["row=5"])) == [("row=5", "NVIL")]


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (["row=SBN 20"], ["no row 'SBN 20'", "did you mean 'SBN 200'"]),
        (["column=NVLI"], ["no column 'NVLI'", "did you mean 'NVIL'"]),
        (["SBN 300"], ["no row 'SBN 300'", "did you mean"]),
        (["NADE 500"], ["nothing is trained", "NADE 500"]),
        (["rwo=SBN 200"], ["'rwo=SBN 200'", "row"]),
        (["fDARN 200", "column=WS"], ["nothing is trained"]),
    ],
)
def test_only_says_what_is_wrong(table, only, words):
    with pytest.raises(UserError) as caught:
        compose(table, only=only)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_preset_that_means_nothing_for_a_table_is_refused():
    table = catalogue.load_table("nvil_variance")
    assert "tuned" not in catalogue.presets_of(table)
    with pytest.raises(UserError, match=r"nothing of preset=tuned; allowed: paper, quick, short"):
        cells(table, catalogue.load_preset("tuned"))
