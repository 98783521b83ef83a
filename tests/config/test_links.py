"""A table may show entries that other tables train: settings and runs are those of the other table,
names are its own."""

from __future__ import annotations

import copy

import pandas as pd
import pytest

from vaebench.config import catalogue, schema
from vaebench.config.compose import cells
from vaebench.errors import UserError
from vaebench.report.recorded import under_own_names
from vaebench.results import shipped

NAME = "combined_mnist"


def source(table, entry):
    return cells(
        catalogue.load_table(entry.table),
        catalogue.load_preset(table),
        ["optim.rate=1e-3"],
        [f"row={entry.row}", f"column={entry.column}"],
    )[0]


@pytest.mark.parametrize("preset", ["paper", "short", "quick"])
def test_a_linked_entry_is_the_other_tables_run(preset):
    table = catalogue.load_table(NAME)
    assert len(table.links) >= 6

    for cell in cells(table, catalogue.load_preset(preset), ["optim.rate=1e-3"]):
        source_cell = source(preset, table.links[cell.row, cell.column])
        assert cell.key == source_cell.key
        assert cell.config == source_cell.config
        assert (cell.table, cell.measure, cell.label) == (
            NAME,
            source_cell.measure,
            source_cell.label,
        )
        assert (cell.paper_protocol, cell.paper_signature) == (
            source_cell.paper_protocol,
            source_cell.paper_signature,
        )


def test_the_presets_are_those_of_the_sources_too():
    presets = catalogue.presets_of(catalogue.load_table(NAME))
    assert {"paper", "short", "quick", "tuned"} <= set(presets)
    assert "small" not in presets


def test_results_of_the_sources_stand_under_the_tables_own_names():
    table = catalogue.load_table(NAME)
    files = [path.name for path in shipped.files([NAME], ["short"])]

    assert "nvil_autoreg-short.csv" in files

    # An entry of the source with a link to it, and one without.
    (row, column), entry = next(
        (at, e) for at, e in table.links.items() if e.table == "nvil_autoreg"
    )
    source_lines = [
        (entry.table, entry.row, entry.column, 1.0),
        (entry.table, "another", entry.column, 2.0),
    ]
    frame = pd.DataFrame(source_lines, columns=["table", "row", "column", "value"])

    assert under_own_names(frame, table).values.tolist() == [[NAME, row, column, 1.0]]

    # A result that the table has of its own goes before the source's.
    own_line = pd.DataFrame([(NAME, row, column, 3.0)], columns=frame.columns)
    assert under_own_names(pd.concat([frame, own_line]), table).values.tolist() == [
        [NAME, row, column, 3.0]
    ]


def changed(**row):
    content = copy.deepcopy(catalogue.load_yaml("table", NAME))
    content["rows"] = {"NVIL 200": {**content["rows"]["NVIL 200"], **row}}
    return content


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"set": ["optim.rate=1"]}, r"trained_by\.bound: settings are those of the other table"),
        (
            {"entries": {"bound": ["optim.rate=1"]}},
            r"trained_by\.bound: settings are those of the other table",
        ),
        ({"columns": ["exact"]}, r"trained_by\.bound: not trained here"),
        (
            {"trained_by": {"bound": {"table": "nvil_autoreg", "row": "SBN 200"}}},
            r"trained_by\.bound: missing .*column",
        ),
        (
            {"trained_by": {"bound": {"table": "nvil_autoreg", "row": "SBN 200", "column": 3}}},
            "expected a name, found 3",
        ),
        ({"trained_by": ["nvil_autoreg"]}, r"trained_by: expected a mapping"),
    ],
)
def test_a_bad_link_is_refused(row, message):
    with pytest.raises(UserError, match=rf"table {NAME}: rows\.NVIL 200.*{message}") as e:
        schema.exhibit(NAME, changed(**row))
    assert "\n" not in str(e.value)


def linked_to(table, row, column, monkeypatch):
    link = {"bound": {"table": table, "row": row, "column": column}}
    content = {NAME: changed(**{"trained_by": link}), "other": changed()}
    load_yaml = catalogue.load_yaml
    monkeypatch.setattr(
        catalogue, "load_yaml", lambda group, name: content.get(name) or load_yaml(group, name)
    )
    return catalogue.load(NAME)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("no_such_table", "SBN 200", "autoregressive"), "no_such_table"),
        (("nvil_autoreg", "SBN 201", "autoregressive"), "nvil_autoreg trains no 'SBN 201'"),
        (("dvae_pp_smoothing", "SBN 200", "autoregressive"), "dvae_pp_smoothing trains no"),
        (("dlgm_mnist", "diagonal", "bit flips"), "is of the measure iw_nll, this column of bound"),
        (
            ("other", "NVIL 200", "bound"),
            "is itself trained by nvil_autoreg: SBN 200 / autoregressive",
        ),
    ],
)
def test_a_link_to_what_is_not_there_is_refused(place, message, monkeypatch):
    with pytest.raises(UserError, match=message):
        linked_to(*place, monkeypatch)


def test_a_right_link_is_not(monkeypatch):
    assert linked_to("nvil_autoreg", "SBN 500", "factorial", monkeypatch).links
