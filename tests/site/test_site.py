"""The folder of pages: what it says of tables, that nothing in it is broken, and that it needs nothing from outside."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from vaebench.cli import main
from vaebench.config import catalogue
from vaebench.report.summary import DIVERGED, NOT_DIVERGED, ReportRow, summarize
from vaebench.results import shipped, store
from vaebench.site import build, figures, leaderboard, sources, states
from vaebench.site.build import slug
from vaebench.site.states import State
from vaebench.verbs import site

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that elements are closed in order, and gathers what pages must be careful with."""

    def __init__(self, path):
        super().__init__()
        self.open, self.links, self.ids, self.specs, self.heads = [], [], [], [], []
        self._script = None
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs[k] for k in ("href", "src") if k in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "th":
            assert "scope" in attrs
        if tag == "img":
            assert attrs["alt"]
        if attrs.get("role") in ("img", "region"):
            assert attrs["aria-label"]
        if attrs.get("type") == "application/json":
            self._script = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "script" and self._script is not None:
            self.specs.append(json.loads(self._script))
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self._script += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The site of the shipped results of three tables."""
    out = tmp_path_factory.mktemp("site")
    tables = "table=nvil_recipe,lagging_synthetic,dvae_sharp_sharp_toy,lagging_yelp"
    assert main(["site", tables, "--from", "reference", "--output", str(out)]) == 0
    return out


def test_all_links_lead_to_files_of_the_folder(folder):
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        for link in Page(path).links:
            if link.startswith("#"):
                continue
            assert not re.match(r"\w+:|//", link), f"{path}: {link}"
            assert (path.parent / link).resolve().is_file(), f"{path}: {link}"


def test_elements_are_closed_and_named(folder):
    for path in folder.rglob("*.html"):
        page = Page(path)
        assert len(page.ids) == len(set(page.ids))


def test_a_table_page_has_its_numbers_findings_ledger_and_commands(folder):
    text = (folder / "table/nvil_recipe.html").read_text()
    table = catalogue.load("nvil_recipe")
    assert "115.29 [0.02]" in text
    assert "vaebench run table=nvil_recipe" in text
    for part in (*table.findings, *table.ledger):
        assert part.topic in text


def test_the_figures_of_a_table(folder):
    dots, *curves = Page(folder / "table/nvil_recipe.html").specs
    published, ours = dots["data"]
    frame = store.read_csv(shipped.folder() / "nvil_recipe-paper.csv")
    (value,) = frame[(frame["row"] == "SBN 200") & (frame["column"] == "equal") & (frame["metric"] == "bound")]["value"]

    place = ours["y"].index("SBN 200 / equal (paper)")
    assert ours["x"][place] == pytest.approx(value - 113.1, abs=1e-3)
    assert published["y"] == ours["y"]
    assert [dots["layout"]["shapes"][0][k] for k in ("x0", "x1")] == [-0.5, 0.5]
    assert len(curves) == len(shipped.recorded_presets("nvil_recipe", shipped.folder()))
    assert curves[0]["data"][0]["x"][-1] == 10_000_000


def test_a_table_without_results_has_a_page(folder):
    text = (folder / "table/lagging_yelp.html").read_text()
    assert Page(folder / "table/lagging_yelp.html").specs == []
    assert "not run" in text


def test_a_run_page(folder):
    text = (folder / "run/mnist_static-sbn200-nvil-230cf4d306-seed-0.html").read_text()
    assert "--only &#39;row=SBN 200&#39; --only column=equal --seeds 0" in text
    assert "bound|data:mnist_static@bd72f988|split:test" in text
    assert "optim.posterior_rate" in text


# ---------------------------------------------------------------------------------------------------------- states


def row(verdict="-", n=3, label="", comparable=True):
    ours = SimpleNamespace(n=n) if n else None
    return ReportRow("r", "c", ours=ours, verdict=verdict, label=label, comparable=comparable)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (row("yes"), State.REPRODUCED),
        (row("yes, 3 of 5 seeds"), State.REPRODUCED),
        (row("better"), State.REPRODUCED),
        (row("no"), State.MISSED),
        (row("unclear"), State.UNCLEAR),
        (row("-"), State.UNCLEAR),
        (row("n=1", n=1), State.ONE_SEED),
        (row("yes, short", label="short"), State.OTHER),
        (row("no, tuned", label="tuned"), State.OTHER),
        (row("-", comparable=False), State.OTHER),
        (row("-", n=0), State.NOT_RUN),
        (row("-", n=0, label="short"), State.NOT_RUN),
        (row(DIVERGED, n=0), State.REPRODUCED),
        (row(NOT_DIVERGED), State.MISSED),
    ],
)
def test_the_state_of_an_entry(found, wanted):
    assert states.state(found) is wanted


def test_the_best_preset_decides_and_every_trained_entry_has_a_state():
    table = catalogue.load("nvil_recipe")
    frame = sources.of_files(table, ["reference"]).frame

    found = states.states(table, summarize(table, frame))

    assert list(found) == table.trained()
    assert found["SBN 200-200", "equal"] is State.ONE_SEED  # by paper; short stands beside it
    assert sum(states.counts(found).values()) == len(table.trained())


# --------------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("length", [0, 1, 2, 9, 10, 11, 19, 20, 21, 1000])
def test_thinned_curves_keep_their_ends(length):
    points = [[i, 0.0] for i in range(length)]

    found = figures.thinned(points, most=10)

    assert len(found) <= 10
    assert found == [] if not length else found[0] == points[0] and found[-1] == points[-1]
    if length <= 10:
        assert found == points


def test_names_cannot_become_markup(folder):
    for path in folder.rglob("*.html"):
        for script in re.findall(r'<script type="application/json">(.*?)</script>', path.read_text(), re.S):
            assert "<" not in script


# ----------------------------------------------------------------------------------------------------- leaderboard


def test_a_board_has_one_kind_of_number_and_each_model_once():
    results = [sources.of_files(catalogue.load(name), ["reference"]) for name in ("nvil_mnist", "nvil_recipe")]

    boards = leaderboard.boards(results)

    kinds = [(board.data, board.kind) for board in boards]
    assert len(kinds) == len(set(kinds)) > 2
    for board in boards:
        assert len({p.key for p in board.places}) == len(board.places)
        means = [p.number.mean for p in board.places]
        assert means == sorted(means)
    bounds = [b for b in boards if b.data.startswith("mnist_static@") and b.kind.startswith("bound,")]
    apart = [p.key for b in bounds for p in b.places if "samples 10" not in b.kind]
    assert apart
    assert all("-mdl-" in key for key in apart)  # deterministic codes, of which one sample is exact
    assert not any(b.kind.startswith(("kl", "active")) for b in boards)


# ------------------------------------------------------------------------------------------------------------ verb


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["table=nvil_recip", "--from", "reference"], "table=nvil_recip: did you mean 'nvil_recipe'?"),
        (["run.results=nowhere"], "nowhere: no results of these tables; --from reference shows those shipped"),
        (["--from", "reference", "--samples"], "site --from: there are no runs to read; leave out --samples"),
        (["--from", "gone.csv"], "gone.csv"),
        (["preset=short"], "site does not take 'preset=short'"),
        (["--from", "reference", "--output", "file"], "--output file: not a folder"),
    ],
)
def test_bad_input(words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")

    assert main(["site", *words]) == 2

    assert line in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_the_runs_of_a_folder(tmp_path, capsys):
    runs = f"run.results={tmp_path / 'runs'}"
    only = ["--only", "row=mixture 1", "--seeds", "0"]
    assert main(["run", "table=dvae_sharp_sharp_toy", "preset=quick", *only, runs]) == 0

    other = ["train.updates=5", *only, runs]
    assert main(["run", "table=dvae_sharp_sharp_toy", "preset=quick", *other]) == 0
    capsys.readouterr()

    assert main(["site", "table=dvae_sharp_sharp_toy,nvil_mnist", runs, "--output", str(tmp_path / "site")]) == 0

    assert "with other settings or of other tables left out" in capsys.readouterr().err
    text = (tmp_path / "site/table/dvae_sharp_sharp_toy.html").read_text()
    assert "quick" in text
    assert list((tmp_path / "site/run").glob("*-seed-0.html"))
    assert (tmp_path / "site/table/nvil_mnist.html").is_file()


def test_samples_of_a_run_are_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    few = ["preset=quick", "train.updates=2", "train.valid_every=1", "run.engine=plain", "model.dims=[3]"]
    one = ["table=nvil_mnist", "--only", "row=SBN 200", "--only", "column=NVIL", "--seeds", "0"]
    assert main(["run", *one, *few, "eval.iw_samples=2", f"run.results={tmp_path / 'runs'}"]) == 0
    (run,) = (tmp_path / "runs").glob("*/seed-0")

    (picture,) = site._samples(run)

    assert Image.open(io.BytesIO(picture)).size == (8 * 9 * 4 - 4, 2 * 9 * 4 - 4)


def test_names_of_files():
    assert slug("omniglot+28x28 [a]/b") == "omniglot-28x28-a-b"


@pytest.mark.slow
def test_a_browser_draws_the_figures(folder, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--enable-logging=stderr",
    ]
    page = (folder / "table/nvil_recipe.html").as_uri()

    done = subprocess.run(
        [browser, *flags, f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom", page],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip

    assert done.stdout.count('class="main-svg"') >= 6
    assert done.stdout.count("<button") >= 8
    assert "CONSOLE" not in done.stderr


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_what_is_not_known_of_an_unfinished_run_is_left_out(unknown):
    assert build._count(unknown) == build._time(unknown) == build._shown(unknown) == ""
    assert (build._count(10_000_000.0), build._time(90.0), build._shown(0.5)) == ("10,000,000", "90 s", "0.5")
