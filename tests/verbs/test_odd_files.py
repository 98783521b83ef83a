"""Any JSON of a run and any CSV of results: read, or refused by one line; never a traceback."""

from __future__ import annotations

import copy
import json
import logging
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.results import stored

from vaebench import cli
from vaebench.config import catalogue
from vaebench.config.cells import Cell, run_key
from vaebench.config.compose import cells, reevaluated
from vaebench.errors import UserError
from vaebench.protocol.signature import signature
from vaebench.results import flags
from vaebench.results.costs import estimate
from vaebench.results.long_frame import (
    COLUMNS,
    FLAG,
    FROM_ZERO,
    NUMBER,
    SEED,
    TEXT,
    WHOLE,
    csv_text,
    read_csv,
    typed,
)
from vaebench.results.standing import record
from vaebench.results.stats import Measure
from vaebench.results.status import Status
from vaebench.results.store import Store, read_note
from vaebench.running import tasks as runner

# Always the same examples. Those of a test share one ``tmp_path``, where each replaces the file of
# the one before.
FEW = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

NUMBERS = st.one_of(
    st.integers(),
    st.integers(min_value=10**300, max_value=10**320),
    st.floats(),
    st.sampled_from([True, -1, 0, 2**63]),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.text(max_size=5),
    st.sampled_from(["${x", "${data.name}", "\0"]),
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@pytest.fixture(scope="module")
def cell() -> Cell:
    table = catalogue.load_table("nvil_mnist")
    return cells(table, catalogue.load_preset("quick"), only=["SBN 200", "column=NVIL"])[0]


@pytest.fixture(scope="module")
def result(cell: Cell) -> dict:
    """A sound result of the cell."""
    extra = {
        "ess": 5.0,
        "repeats": {"values": [1.0, 2.0], "mean": 1.5, "variance": 0.5},
        "log_z_error": 0.1,
    }

    measures = [
        Measure(
            name,
            1.0,
            "nats",
            0.1,
            "monte carlo",
            10,
            n,
            signature(cell.config, name, n, "ab"),
            extra,
        ).to_dict()
        for name, n in (("bound", 10), ("iw_nll", 100), ("kl", 10))
    ]

    return {
        "schema": 1, "status": "done", "reason": "", "key": cell.key, "seed": 0,
        "config": cell.config, "updates": 9, "best_update": 5, "stopped_early": False,
        "seconds": 1.5, "pack": 1, "device": "cpu", "engine": "plain",
        "peak_memory_mb": 10.0, "versions": {"torch": "2"},
        "data": {"name": "digits", "hash": "ab", "hashes": {}},
        "updates_per_second": 6.0, "eval_seconds": 0.5, "measures": measures,
    }  # fmt: skip


def refused(call, *arguments) -> tuple[object, str]:
    """What a call returned and '', or None and the one line with which it refused. Any error but a
    UserError is passed on."""
    try:
        return call(*arguments), ""
    except UserError as e:
        line = str(e)

    assert "\n" not in line
    return None, line


def places(content: object, here: tuple = ()) -> list[tuple]:
    """The paths of all values in nested JSON, as keys and indices; the whole has the empty path."""
    inside = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )

    return [here, *(place for key, value in inside for place in places(value, (*here, key)))]


def put(content: object, place: tuple, value: object) -> object:
    """A copy with ``value`` at ``place``."""
    if not place:
        return value

    content = copy.deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]

    inner[place[-1]] = value
    return content


@settings(FEW, max_examples=30)
@given(data=st.data())
def test_any_result_can_be_listed_reported_and_planned_with(cell, result, tmp_path, data):
    odd = put(result, data.draw(st.sampled_from(places(result))), data.draw(JSON))

    store = Store(tmp_path)
    path = store.run_dir(cell.key, 0) / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(odd))

    # Everything that reads a result: the state of the run, CSV, costs, lists and reports.
    logging.disable(logging.CRITICAL)
    try:
        assert record(store, cell, 0).status in Status
        frame = store.frame([cell], [0])
        (tmp_path / "x.csv").write_text(csv_text(frame))
        assert len(read_csv(tmp_path / "x.csv")) == len(frame)
        estimate(stored(store), cell)
        runner._shown(runner.Task(cell, (0,)), store.read_result(cell.key, 0) or {})
        assert cli.main(["ls", "runs", f"run.results={tmp_path}"]) == 0
        words = ["table=nvil_mnist", "preset=quick", "--only", "SBN 200", f"run.results={tmp_path}"]
        assert cli.main(["report", *words]) == 0
    finally:
        logging.disable(logging.NOTSET)


@FEW
@given(data=st.data())
def test_any_note_of_a_run_is_read_or_refused(cell, tmp_path, capsys, data):
    note = {"config": cell.config, "data_hash": "ab", "row": "SBN 200", "column": "NVIL"}
    odd = put(note, data.draw(st.sampled_from(places(note))), data.draw(JSON))

    folder = tmp_path / cell.key / "seed-0"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(odd))

    content, line = refused(read_note, folder)
    # If its settings do not fit its name, it is refused for that.
    if not line and run_key(content[0]["config"]) == cell.key:
        refused(reevaluated, content[0]["config"], [])

    # Nothing is trained there.
    assert cli.main(["eval", str(folder), f"run.results={tmp_path}"]) in (1, 2)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "VAEBENCH_DEBUG" not in message, "an error that nobody foresaw"


# ---------------------------------------------------------------------------------------------- CSV

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)
FROM_0 = st.integers(min_value=0, max_value=2**63 - 1)
VALUES = {
    NUMBER: st.none() | st.floats(),
    WHOLE: st.none() | FROM_0,
    SEED: FROM_0,
    FLAG: st.booleans(),
}
SIZES = st.none() | st.floats(min_value=0) | st.just(math.nan)
FLAGS = st.lists(TEXTS, max_size=2).map(flags.join)
ROWS = st.fixed_dictionaries(
    {name: VALUES.get(kind, TEXTS) for name, kind in COLUMNS.items()}
    | {name: SIZES for name in FROM_ZERO if COLUMNS[name] == NUMBER}
    | {"flags": FLAGS}
)


@FEW
@given(
    rows=st.lists(ROWS, max_size=4),
    extra=st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
def test_any_frame_survives_its_csv(tmp_path, rows, extra):
    from pandas.testing import assert_frame_equal

    frame = typed([{**row, "extra": json.dumps(extra)} for row in rows])

    (tmp_path / "x.csv").write_bytes(csv_text(frame).encode())

    assert_frame_equal(read_csv(tmp_path / "x.csv"), frame, check_exact=True)


@FEW
@given(data=st.data())
def test_any_damage_to_a_csv_is_read_over_or_refused_by_one_line(tmp_path, data):
    frame = typed(
        [
            {"row": "a", "seed": i, "value": 0.5, "paper_protocol": True, "extra": "{}"}
            for i in range(3)
        ]
    )

    whole = csv_text(frame).encode()
    # Replace up to 20 bytes anywhere by up to 10 others; at the very end, append.
    start = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, 20))
    damage = data.draw(
        st.binary(max_size=10) | st.text(max_size=10).map(lambda t: t.encode(errors="replace"))
    )

    path = Path(tmp_path / "x.csv")
    path.write_bytes(whole[:start] + damage + whole[start + length :])

    read, line = refused(read_csv, path)
    assert list(read.columns) == list(COLUMNS) if read is not None else line.startswith(str(path))


@FEW
@given(value=LEAVES | JSON, column=st.sampled_from(list(COLUMNS)))
def test_any_cell_of_a_csv_is_read_or_named(tmp_path, value, column):
    frame = typed(
        [{"row": "a", "seed": 1, "value": 0.5, "paper_protocol": True, "extra": "{}"}]
    ).astype(object)

    frame.loc[0, column] = json.dumps(value)
    (tmp_path / "x.csv").write_text(frame.to_csv(index=False))

    _, line = refused(read_csv, tmp_path / "x.csv")

    # Free text is always read; JSON and flags stand in columns of text and may be refused.
    assert not line or f"record 2: column {column}: " in line
    assert not line or COLUMNS[column] != TEXT or column in ("extra", "flags")
