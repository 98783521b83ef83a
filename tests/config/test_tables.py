"""Every shipped table: its published numbers are the paper's, and it runs offline, as far as a test
has time for."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.repository import REFERENCE, ROOT

from vaebench import cli
from vaebench.config import catalogue
from vaebench.config.compose import cells
from vaebench.config.tables import Figure, Table, short_paper

TABLES = catalogue.options("table")
DRAWN = [name for name in TABLES if isinstance(catalogue.load(name), Figure)]
TRAINED = [name for name in TABLES if name not in DRAWN]
ALL_ENTRIES = 12
"""Of a table with more trained entries than this, only the first row and the first column are
run."""


def _context(r: dict[str, str]) -> tuple[str, str]:
    """``MNIST``, ``DVAE#``, ``L=1; RBM 100+100; no shared context`` -> ("MNIST
    100+100 L=1", "DVAE# own")."""
    groups, prior, context = r["variant"].split("; ")
    context_name = {"no shared context": "own", "shared context": "shared"}[context]
    return f"{r['dataset']} {prior.removeprefix('RBM ')} {groups}", f"{r['model']} {context_name}"


def _sweeps(r: dict[str, str]) -> tuple[str, str]:
    """``s=1; t=1; RBM 100+100; K=1`` -> ("s=1", "t=1")."""
    discrete, relaxed, *same = r["variant"].split("; ")
    assert (r["dataset"], r["model"], same) == ("MNIST", "DVAE##", ["RBM 100+100", "K=1"])

    return discrete, relaxed


def _documents(r: dict[str, str]) -> tuple[str, str]:
    """The row, and the column of its data as log counts."""
    columns = {"20 Newsgroups (2K vocab)": "20 News log", "Reuters RCV1-v2 (10K vocab)": "RCV1 log"}
    return r["model"], columns[r["dataset"]]


PLACES: dict[str, Callable[[dict[str, str]], tuple[str, str]]] = {
    "dvae_sharp_sharp_table5.csv": _context,
    "dvae_sharp_sharp_table6.csv": _sweeps,
    "nvil_table3.csv": _documents,
}
"""A paper's CSV -> the function that gives (row, column) of the table here for one of its lines. In
the other CSVs, row and column are the model and the variant."""


def _place(table: Table, row: str, column: str) -> tuple[str, str]:
    """(row, variant): what the paper's CSV calls an entry of the table."""
    return row, table.columns[column].published or column if column in table.columns else column


def printed(table: Table, what: str) -> dict[tuple[str, str], float]:
    """(row, variant) -> the number in the paper's CSV, or its standard deviation if printed.

    ``what``: the column of the CSV. Numbers printed as a bound ("<0.01") are left out.
    """
    place = PLACES.get(table.published_csv, lambda r: (r["model"], r["variant"]))
    with open(
        ROOT / "results" / "published" / table.published_csv, newline="", encoding="utf-8"
    ) as f:
        lines = list(csv.DictReader(f))

    assert len({place(r) for r in lines}) == len(lines), (
        "two lines of the CSV have one place in the table"
    )

    return {place(r): float(r[what]) for r in lines if r[what] and not r[what].startswith("<")}


@pytest.mark.parametrize(("ours", "papers"), [("published", "value"), ("spread", "std")])
@pytest.mark.parametrize("name", [n for n in TRAINED if catalogue.load_table(n).published_csv])
def test_published_numbers_and_their_spreads_are_those_of_the_paper(
    name: str, ours: str, papers: str
) -> None:
    table = catalogue.load_table(name)
    of_table = {
        _place(table, r, c): v
        for r, row in table.rows.items()
        for c, v in getattr(row, ours).items()
    }

    assert of_table == printed(table, papers)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_it_must(name: str) -> None:
    assert catalogue.load(name).ledger
    assert name in DRAWN or catalogue.load_table(name).margin_why

    text = (catalogue.conf_dir() / "table" / f"{name}.yaml").read_text()
    assert text.startswith(f"# vaebench run table={name}\n# cost"), (
        "a table file starts with its command and its cost"
    )


@pytest.mark.parametrize("name", TABLES)
def test_the_evidence_of_a_finding_is_there(name: str) -> None:
    for finding in catalogue.load(name).findings:
        files = re.findall(r"[\w\-]+\.(?:csv|png)", finding.evidence)
        assert files, finding.topic
        for file in files:
            path = REFERENCE / file
            assert path.exists() or (path.parent / f"{name}{file}").exists(), file


def tried(table: Table) -> list[tuple[list[str], list[tuple[str, str]]]]:
    """(arguments of --only, the entries that are then run), for each command that tries a table.

    One command runs all, or one runs the first row and another the first column.
    """
    every = table.trained()
    if len(every) <= ALL_ENTRIES:
        return [([], every)]
    row, column = every[0]
    return [
        ([f"row={row}"], [(r, c) for r, c in every if r == row]),
        ([f"column={column}"], [(r, c) for r, c in every if c == column]),
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """One folder for data and runs of all tables: a run that tables share is trained once."""
    return tmp_path_factory.mktemp("tables")


@pytest.mark.parametrize("name", TRAINED)
def test_a_table_runs_offline(
    name: str, place: Path, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    """Every cell is trained for a few updates on the embedded digits, evaluated and shown. Of a
    large table these are enough cells to try every row and every column."""
    monkeypatch.setenv("VAEBENCH_DATA", str(place / "data"))
    monkeypatch.setattr("vaebench.evaluation.posterior_means.POINTS", 5)
    few = [
        "train.updates=3",
        "train.valid_every=3",
        "train.valid_samples=2",
        "eval.iw_samples=4",
        "eval.points=20",
    ]
    where = [f"run.results={place / 'runs'}", "run.jobs=1", "run.engine=plain"]
    # Runs of tables that were tried before, in the same folder.
    keys_before = {p.parents[1].name for p in place.glob("runs/*/seed-0/result.json")}
    entries_run = set()
    for only, entries in tried(catalogue.load_table(name)):
        picked = [word for text in only for word in ("--only", text)]
        assert (
            cli.main(
                ["run", f"table={name}", "preset=quick", "--seeds", "0", *picked, *few, *where]
            )
            == 0
        )

        output = capsys.readouterr().out
        # On other data than the paper's, rows of the literature are left out.
        for row in {r for r, _ in entries}:
            assert row in output

        entries_run |= set(entries)

    preset = catalogue.load_preset("quick")
    key_of = {
        (c.row, c.column): c.key for c in cells(catalogue.load_table(name), preset, [*few, *where])
    }
    # On the digits, rows may be one and the same, and share a key.
    expected_keys = {key_of[entry] for entry in entries_run}
    results = {
        p.parents[1].name: json.loads(p.read_text())
        for p in place.glob("runs/*/seed-0/result.json")
    }

    assert set(results) - keys_before <= expected_keys <= set(results)
    assert {(results[key]["status"], results[key]["updates"]) for key in expected_keys} == {
        ("done", 3)
    }


def test_a_large_table_is_tried_in_every_row_and_column() -> None:
    sizes = {name: len(catalogue.load_table(name).trained()) for name in TRAINED}
    assert min(sizes.values()) <= ALL_ENTRIES < max(sizes.values())

    for name, size in sizes.items():
        table = catalogue.load_table(name)
        entries = [entry for _, entries_of_command in tried(table) for entry in entries_of_command]

        assert {r for r, _ in entries} >= {
            r for r, c in table.trained() if c == table.trained()[0][1]
        }
        assert {c for _, c in entries} >= {
            c for r, c in table.trained() if r == table.trained()[0][0]
        }
        assert len(tried(table)) == (1 if size <= ALL_ENTRIES else 2)


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_figure_needs_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    """A figure of formulas needs neither data nor training. It gives a table on stdout, and beside
    the folder of the runs a CSV and an image."""
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    assert (
        cli.main(["run", f"table={name}", "preset=quick", f"run.results={tmp_path / 'runs'}"]) == 0
    )
    assert catalogue.load(name).title in capsys.readouterr().out

    files = [p.relative_to(tmp_path) for p in sorted(tmp_path.rglob("*")) if p.is_file()]
    assert files == [Path("figures") / f"{name}.csv", Path("figures") / f"{name}.png"]


@pytest.mark.parametrize("name", DRAWN)
def test_the_reference_of_a_drawn_figure_is_what_is_drawn(name: str) -> None:
    """The recorded numbers are drawn to the last decimal but one; libraries round the last one
    differently."""
    from vaebench.report.drawn import Drawn

    with open(REFERENCE / f"{name}.csv", newline="", encoding="utf-8") as f:
        stored = list(csv.DictReader(f))
    points = Drawn(catalogue.load(name)).lines

    assert len(stored) == len(points)
    for line, point in zip(stored, points, strict=True):
        assert list(line) == list(point)
        for key, value in point.items():
            assert (
                line[key] == value
                if isinstance(value, str)
                else abs(float(line[key]) - value) < 1e-5
            )
    assert (REFERENCE / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_two_tables_that_train_the_same_cell_share_its_run() -> None:
    def key(table: str, row: str, column: str, preset: str = "paper") -> str:
        one_cell = cells(
            catalogue.load_table(table),
            catalogue.load_preset(preset),
            (),
            [f"row={row}", f"column={column}"],
        )
        return one_cell[0].key

    assert key("nvil_mnist", "SBN 500", "NVIL") == key("nvil_autoreg", "SBN 500", "factorial")
    assert key("nvil_mnist", "SBN 200", "NVIL") == key("nvil_recipe", "SBN 200", "literal", "twice")
    assert key("nvil_mnist", "SBN 200", "NVIL", "tenth") == key(
        "nvil_variance", "SBN 200", "baseline, IDB, VN"
    )
    assert key("nvil_mnist", "SBN 200", "NVIL") != key("nvil_mnist", "SBN 200", "WS")


_NUMBER = r"(?:NLLs?|(?:log-)?likelihoods?|perplexit(?:y|ies)|bounds?|errors?|scores?|bits)"
_TEST_DATA = (
    rf"\btest (?:(?:log|negative) )?(?:{_NUMBER}|numbers?|values?|results?|sets?|split|data|files?"
    r"|cases?|examples?|images?|documents?|sentences?)\b"
)
_CHOSEN = (
    r"(?<!preset=)\b(?:chosen|chose|picked|selected|tuned|decided|determined|settled"
    r"|optimi[sz]ed)\b"
)
_NOT_BY_IT = r"(?:(?!\bvalidation\b|\bnot\b|\bno\b|\bnor\b|\bnever\b|\bbefore\b).)*?"
"""Words between a choice and the test data, none of which says that the choice was another one."""

CHOSEN_ON_TEST = re.compile(
    # Chosen by the test NLL; tuned on validation and test cases.
    rf"{_CHOSEN}{_NOT_BY_IT}\b(?:by|on|with|from|for|after|against|to)\b{_NOT_BY_IT}{_TEST_DATA}"
    rf"|{_CHOSEN}.* validation (?:and|or) (?:on )?{_TEST_DATA}"
    # By the test bound 1e-3 was chosen; the test documents chose the rate.
    rf"|{_TEST_DATA}{_NOT_BY_IT}{_CHOSEN}"
    # It has the lowest test NLL; of the rates tried, 4e-3 has the best perplexity on the test set.
    rf"|\b(?:best|lowest|least|smallest|highest) (?:[\w-]+ ){{0,2}}?{_TEST_DATA}"
    rf"|\b(?:best|lowest|least|smallest|highest) {_NUMBER} (?:of|on|over) {_NOT_BY_IT}{_TEST_DATA}"
    # The NLL of 1,000 test cases was 90 with 1e-3, 91 with 3e-3; the test NLL was lower.
    rf"|{_NUMBER} (?:of|on) (?:the )?(?:[\d,]+ )?{_TEST_DATA} (?:was|were)\b"
    rf"|\btest {_NUMBER} (?:was|were)\b",
    re.IGNORECASE,
)
"""A clause that says that a setting was chosen on test data."""


def chosen_on_test(text: str) -> list[str]:
    """The clauses of a text that say so, but not those about a paper's authors."""
    clauses = re.split(r"[.;:]\s", text)
    return [
        clause
        for clause in clauses
        if CHOSEN_ON_TEST.search(clause) and not re.search(r"\b(authors|their|paper's)\b", clause)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "chosen by the test NLL",
        "the rate was tuned on 1,000 test images",
        "picked from 1e-3, 3e-3 and 1e-2 after a look at the test set",
        "selected on validation and test cases",
        "by the test bound 3e-3 was chosen",
        "of three rates it has the lowest test NLL",
        "it has the best perplexity on the test documents",
        "the test documents decided between the two",
        "the NLL of 1,000 test cases was 90.1 with 1e-3 and 91.3 with 3e-3",
        "not known. The test perplexity was 783 with 1e-3, 825 with 4e-3",
    ],
)
def test_a_choice_on_test_cases_is_recognised(text: str) -> None:
    assert chosen_on_test(text)


@pytest.mark.parametrize(
    "text",
    [
        "chosen on validation. The test set has no part in the choice",
        "selected by the validation bound, not by the test NLL",
        "the rate was chosen before any test case was seen",
        "the checkpoint is chosen on 100 validation cases, and the test NLL is reported",
        "validation perplexity on raw counts was 909 (1e-3), 825 (4e-3)",
        "the perplexity of the test documents under their own word frequencies is 1190",
        "the authors' settings have the test file in its place, so their test documents chose it",
        "the rates of preset=tuned have been run with three seeds, for a test NLL of 90.1",
        "1,000 images were selected at random. The test uses other noise",
    ],
)
def test_a_choice_on_other_cases_is_no_alarm(text: str) -> None:
    assert chosen_on_test(text) == []


@pytest.mark.parametrize("name", TABLES)
def test_no_setting_was_chosen_on_test_cases(name: str) -> None:
    """Neither by the ledger nor by the note of a preset. What the ledger says of the paper is the
    paper's choice."""
    table = catalogue.load(name)
    notes = [preset.note for preset in getattr(table, "presets", {}).values()]
    reasons = [text for entry in table.ledger for text in (entry.topic, entry.here, entry.why)]

    assert [clause for text in [*notes, *reasons] for clause in chosen_on_test(str(text))] == []


def _keys(table: str) -> set[str]:
    """The keys of a table's runs at preset=paper."""
    return {c.key for c in cells(catalogue.load_table(table), catalogue.load_preset("paper"))}


def test_tables_share_as_many_runs_as_they_say() -> None:
    noise, likelihoods, imputation = (
        _keys(f"dlgm_{name}") for name in ("noise", "mnist", "imputation")
    )
    assert (len(noise), len(noise & likelihoods)) == (8, 4)
    assert "8 runs" in _comment("dlgm_noise")
    assert "four of them shared with table=dlgm_mnist" in _comment("dlgm_noise")

    flips = cells(
        catalogue.load_table("dlgm_mnist"), catalogue.load_preset("paper"), (), ["column=bit flips"]
    )
    assert imputation == {c.key for c in flips}
    assert "one column of table=dlgm_mnist (bit flips)" in _comment("dlgm_imputation")


def _comment(table: str) -> str:
    """The comment lines of a table's file, in one line."""
    lines = (ROOT / "conf" / "table" / f"{table}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.strip("# ") for line in lines if line.startswith("#"))


TRAINING_DOCUMENTS = {"news20": 11_168, "rcv1": 794_314}
"""Documents that the data sets train on."""


@pytest.mark.parametrize("column", catalogue.load_table("nvil_documents").columns)
def test_passes_over_documents_are_those_of_the_data(column: str) -> None:
    """Within the budget, the chains of Replicated Softmax grow to their full length. DocNADE is
    validated after each pass."""

    def config(row: str) -> dict:
        table = catalogue.load_table("nvil_documents")
        paper = catalogue.load_preset("paper")
        return cells(table, paper, (), [f"row={row}", f"column={column}"])[0].config

    replicated_softmax = config("RepSoftMax 50")
    train = replicated_softmax["train"]
    objective = replicated_softmax["objective"]
    documents = TRAINING_DOCUMENTS[replicated_softmax["data"]["name"]]

    # Chains have ceil(passes / grow) steps, at most ``steps``.
    last_step = train["updates"] * train["batch"] / documents / objective["grow"]

    assert objective["steps"] - 1 < last_step < objective["steps"] + 1

    train = config("DocNADE 50")["train"]
    assert train["batch"] == 1

    if train["patience"] is not None:
        assert train["valid_every"] == documents
        assert train["updates"] > train["patience"] * documents


def test_log_z_of_a_failed_annealing_is_flagged() -> None:
    """An annealing that failed gave numbers 73 nats too small with excellent errors of their own.
    They and the NLLs that rest on them are flagged."""
    with open(REFERENCE / "rbm_logz-short.csv", newline="", encoding="utf-8") as f:
        failed = [r for r in csv.DictReader(f) if r["row"].startswith("uniform")]
    nll_and_log_z = [r for r in failed if r["metric"] in ("annealed_nll", "log_z")]

    assert len(nll_and_log_z) == 2 * 12
    assert all("from below and from above log Z differs by" in r["flags"] for r in nll_and_log_z)


@pytest.mark.parametrize(
    ("paper", "short"),
    [
        (
            "Vahdat, Macready & Bian 2018, DVAE++: Discrete Variational Autoencoders",
            "Vahdat et al. 2018, DVAE++",
        ),
        ("Vahdat, Andriyash & Macready 2020, Undirected Graphical Models", "Vahdat et al. 2020"),
        ("Mnih & Gregor 2014, Neural Variational Inference", "Mnih & Gregor 2014"),
        ("He et al. 2019, Lagging Inference Networks", "He et al. 2019"),
        ("someone2018", "someone2018"),
    ],
)
def test_short_papers(paper, short):
    assert short_paper(paper) == short
