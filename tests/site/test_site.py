"""The folder of pages: what it says of tables, that nothing in it is broken, and that it needs nothing from outside."""

from __future__ import annotations

import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from vaebench.cli import main
from vaebench.config import catalogue
from vaebench.report.summary import DIVERGED, NOT_DIVERGED, ReportRow, summarize
from vaebench.results import shipped, store
from vaebench.running import progress
from vaebench.site import build, figures, leaderboard, sources, states
from vaebench.site.build import slug
from vaebench.site.states import State
from vaebench.verbs import site
from vaebench.work import steps

VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


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
    for preset in shipped.recorded_presets("nvil_recipe", shipped.folder()):
        words = "" if preset == "paper" else f" preset={preset}"
        assert f"vaebench run table=nvil_recipe{words}\n" in text
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
    assert all(trace["line"]["dash"] == "solid" for spec in curves for trace in spec["data"])
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


def test_lines_of_different_names_look_different():
    points = [(1, 1.0), (2, 1.0)]
    many = [sources.Curve(f"row {i}", "c", seed, points) for i in range(20) for seed in (0, 1)]

    drawn = figures.curves(many)["data"]

    looks = {(t["name"], t["line"]["color"], t["line"]["dash"]) for t in drawn}
    assert len(drawn) == 40
    assert len(looks) == len({look[1:] for look in looks}) == 20


@pytest.mark.parametrize("length", [0, 1, 2, 9, 10, 11, 19, 20, 21, 1000])
def test_thinned_curves_keep_their_ends(length):
    points = [(i, 0.0) for i in range(length)]

    found = sources.thinned(points, most=10)

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

    assert main(["site", "table=nvil_mnist", runs, "--output", str(tmp_path / "none")]) == 2
    assert (
        "no results of these tables; 10 runs with other settings or of other tables left out" in capsys.readouterr().err
    )

    assert main(["site", "table=dvae_sharp_sharp_toy,nvil_mnist", runs, "--output", str(tmp_path / "site")]) == 0

    assert "with other settings or of other tables left out" in capsys.readouterr().err
    text = (tmp_path / "site/table/dvae_sharp_sharp_toy.html").read_text()
    assert "quick" in text
    assert list((tmp_path / "site/run").glob("*-seed-0.html"))
    assert (tmp_path / "site/table/nvil_mnist.html").is_file()


def test_a_curve_that_cannot_be_drawn_is_left_out(tmp_path, caplog):
    """Damaged: a warning, and its run has a page all the same. Infinite: these points alone."""
    root = tmp_path / "runs"
    script = [sys.executable, Path(__file__).parents[2] / "scripts/simulated_store.py", root]
    subprocess.run([*script, "--runs", "2", "--seeds", "2", "--validations", "5"], check=True, capture_output=True)
    damaged, infinite = sorted(root.glob("*/seed-*/curve.csv"))
    damaged.write_text(damaged.read_text() + "no number,0,0\n")
    header, *lines = infinite.read_text().splitlines()
    place = header.split(",").index("valid_bound")
    first = lines[0].split(",")
    first[place] = "inf"
    infinite.write_text("\n".join([header, ",".join(first), *lines[1:], ""]))

    name = store.read_note(damaged.parent)[0]["table"]
    results = sources.of_store(catalogue.load(name), root, ["paper"])
    (curve,) = results.curves()["paper"]

    assert f"left out: {damaged}" in caplog.text
    assert curve.seed == 1
    assert len(curve.points) == len(lines) - 1
    pages = build.build(tmp_path / "site", [results])
    assert pages == 5
    with_figure = [path for path in (tmp_path / "site/run").iterdir() if Page(path).specs]
    assert [path.stem[-1] for path in with_figure] == ["1"]


def test_pages_that_would_be_the_same_keep_their_time(tmp_path):
    words = ["site", "table=dvae_sharp_sharp_toy,lagging_yelp", "--from", "reference", "--output", str(tmp_path)]
    assert main(words) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (1000, 1000))
    changed = tmp_path / "table/lagging_yelp.html"
    changed.write_text("of an earlier version")

    assert main(words) == 0

    assert "not run" in changed.read_text()
    assert [path for path in files if path.stat().st_mtime != 1000] == [changed]


def test_tables_that_share_a_run_have_one_page_of_it(tmp_path):
    """Of the last of them, as many pages as there are files."""
    tables = [catalogue.load(name) for name in ("nvil_mnist", "nvil_recipe")]
    results = [sources.of_files(table, ["reference"]) for table in tables]
    shared = {*results[0].runs()} & {*results[1].runs()}
    assert shared

    assert build.build(tmp_path, results) == len(list(tmp_path.rglob("*.html")))

    for run in shared:
        assert "table/nvil_recipe.html" in (tmp_path / build.page_of(run)).read_text()


def test_it_says_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(steps, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)

    assert main(["site", "table=nvil_recipe,lagging_yelp", "--from", "reference", "--output", str(tmp_path)]) == 0

    told = capsys.readouterr().err
    assert "\nsite: tables read 1/2, " in told
    assert "\nsite: tables summed up 1/2, " in told
    assert re.search(r"\nsite: tables written 0/2, runs 3/\d+, [\d.]+ \w+ left\n", told)


def test_without_a_terminal_it_says_so_once_a_minute(tmp_path, capsys):
    assert main(["site", "table=lagging_yelp,nvil_recipe", "--from", "reference", "--output", str(tmp_path)]) == 0

    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("site:")] == [
        "site: tables read 0/2"
    ]


def test_samples_of_a_run_are_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    few = ["preset=quick", "train.updates=2", "train.valid_every=1", "run.engine=plain", "model.dims=[3]"]
    one = ["table=nvil_mnist", "--only", "row=SBN 200", "--only", "column=NVIL", "--seeds", "0"]
    assert main(["run", *one, *few, "eval.iw_samples=2", f"run.results={tmp_path / 'runs'}"]) == 0
    (run,) = (tmp_path / "runs").glob("*/seed-0")

    made = site._samples(run)

    (picture,) = made.pictures
    assert Image.open(io.BytesIO(picture)).size == (8 * 9 * 4 - 4, 2 * 9 * 4 - 4)
    assert not made.documents


def test_samples_of_a_text_model_are_documents_on_its_page(tmp_path):
    runs = f"run.results={tmp_path / 'runs'}"
    one = ["--only", "row=basic, usual start, dropout 0.5", "--only", "column=IW", "--seeds", "0"]
    assert main(["run", "table=lagging_synthetic", "preset=quick", *one, runs]) == 0

    words = ["table=lagging_synthetic", runs, "--samples", "--output", str(tmp_path / "site")]
    assert main(["site", *words]) == 0

    (page,) = (tmp_path / "site/run").glob("*.html")
    (samples,) = re.findall(r"<h2>Samples</h2>\n<ol>(.*?)</ol>", page.read_text(), re.S)
    documents = re.findall(r"<li>(.*?)</li>", samples)
    assert len(documents) == 16
    assert any(len(document.split()) > 1 for document in documents)
    assert Page(page).open == []


def test_names_of_files():
    assert slug("omniglot+28x28 [a]/b") == "omniglot-28x28-a-b"


# --------------------------------------------------------------------------------------------------------- browser

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-logging=stderr"]

PROBE = """
<script>
function tell() {
  const figures = [...document.querySelectorAll("figure.plot")];
  if (figures.some((f) => !f.querySelector(".xtitle"))) return setTimeout(tell, 100);
  parent.postMessage(JSON.stringify((() => { %s })()), "*");
}
addEventListener("load", tell);
</script>
"""
"""Ends a page: when its figures are drawn, it tells the page around it what an expression has found."""

FRAME = """<!doctype html><iframe src="%s" width="%d" height="900"></iframe><pre></pre>
<script>addEventListener("message", (e) => (document.querySelector("pre").textContent = e.data));</script>
"""


def seen(address, tmp_path):
    """The elements and the messages of a page in a browser. Skips where there is none."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom", address],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    return done.stdout


def found_in(page, width, body, tmp_path):
    """What a function body in JavaScript returns on a page of so many pixels."""
    probe, frame = page.with_name(f"probe-{page.name}"), page.with_name(f"frame-{page.name}")
    probe.write_text(page.read_text().replace("</body>", PROBE % body + "</body>"))
    frame.write_text(FRAME % (probe.name, width))
    try:
        (text,) = re.findall(r"<pre>(.*?)</pre>", seen(frame.as_uri(), tmp_path), re.S)
    finally:
        probe.unlink()
        frame.unlink()
    return json.loads(html.unescape(text))


@pytest.mark.slow
def test_a_browser_draws_the_figures(folder, tmp_path):
    drawn = seen((folder / "table/nvil_recipe.html").as_uri(), tmp_path)

    assert drawn.count('class="main-svg"') >= 6
    assert drawn.count("<button") >= 8


@pytest.mark.slow
def test_on_a_phone_figures_are_whole_and_their_names_below_them(folder, tmp_path):
    body = """
    const box = (element) => element.getBoundingClientRect();
    return [...document.querySelectorAll("figure.plot")].map((figure) => {
      const [title, names] = [box(figure.querySelector(".xtitle")), box(figure.querySelector(".names"))];
      const wide = document.documentElement;
      return [title.right <= box(figure).right, title.bottom <= names.top, wide.scrollWidth <= wide.clientWidth];
    });"""

    found = found_in(folder / "table/lagging_synthetic.html", 375, body, tmp_path)

    assert len(found) >= 2
    assert all(map(all, found)), found


@pytest.mark.slow
def test_on_a_phone_the_index_shows_how_tables_stand(folder, tmp_path):
    body = "return [...document.querySelectorAll('.bar')].map((bar) => bar.getBoundingClientRect().right);"

    found = found_in(folder / "index.html", 375, body, tmp_path)

    assert len(found) == 4
    assert all(0 < right <= 375 for right in found), found


@pytest.mark.slow
def test_a_column_of_times_is_sorted_by_time(folder, tmp_path):
    body = """
    const table = document.querySelector("table.sortable");
    const place = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === "time");
    table.tHead.rows[0].cells[place].querySelector("button").click();
    return [...table.tBodies[0].rows].map((row) => row.cells[place].textContent).filter((text) => text);"""
    units = {"s": 1, "min": 60, "h": 3600}

    found = found_in(folder / "table/nvil_recipe.html", 1200, body, tmp_path)

    assert {text.split()[1] for text in found} == {"min", "h"}
    seconds = [float(text.split()[0]) * units[text.split()[1]] for text in found]
    assert seconds == sorted(seconds)


@pytest.mark.slow
def test_a_press_on_a_name_hides_its_lines(folder, tmp_path):
    body = """
    const figure = document.querySelectorAll("figure.plot")[1];
    const lines = () => figure.querySelectorAll(".scatterlayer .trace").length;
    const [before, button] = [lines(), figure.querySelector(".names button")];
    button.click();
    const hidden = [lines(), button.getAttribute("aria-pressed")];
    button.click();
    return [before, ...hidden, lines(), button.getAttribute("aria-pressed")];"""

    before, after, pressed, again, last = found_in(folder / "table/lagging_synthetic.html", 1200, body, tmp_path)

    assert after < before == again
    assert (pressed, last) == ("false", "true")


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_what_is_not_known_of_an_unfinished_run_is_left_out(unknown):
    assert build._count(unknown) == build._time(unknown) == build._shown(unknown) == ""
    assert build._shown(float("inf")) == "inf"
    assert (build._count(10_000_000.0), build._time(90.0), build._shown(0.5)) == ("10,000,000", "90 s", "0.5")
