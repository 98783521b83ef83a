"""The folder of pages: what it says of tables, that nothing in it is broken, and that it needs
nothing from outside."""

from __future__ import annotations

import re

import pytest
from kit.pages import Page

from vaebench.config import catalogue
from vaebench.results import long_frame, shipped
from vaebench.site import build
from vaebench.site.build import slug


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
    # The first figure shows our numbers less the printed ones, the others the curves of a preset
    # each.
    dots, *curves = Page(folder / "table/nvil_recipe.html").specs
    published, ours = dots["data"]

    frame = long_frame.read_csv(shipped.folder() / "nvil_recipe-paper.csv")
    (value,) = frame[
        (frame["row"] == "SBN 200") & (frame["column"] == "equal") & (frame["metric"] == "bound")
    ]["value"]

    position = ours["y"].index("SBN 200 / equal (paper)")
    # 113.1 is printed.
    assert ours["x"][position] == pytest.approx(value - 113.1, abs=1e-3)
    assert published["y"] == ours["y"]
    # The margin of the table, 0.5 nat either way.
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


def test_names_cannot_become_markup(folder):
    for path in folder.rglob("*.html"):
        for script in re.findall(
            r'<script type="application/json">(.*?)</script>', path.read_text(), re.S
        ):
            assert "<" not in script


def test_names_of_files():
    assert slug("omniglot+28x28 [a]/b") == "omniglot-28x28-a-b"


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_what_is_not_known_of_an_unfinished_run_is_left_out(unknown):
    assert build._count(unknown) == build._time(unknown) == build._shown(unknown) == ""
    assert build._shown(float("inf")) == "inf"
    assert (build._count(10_000_000.0), build._time(90.0), build._shown(0.5)) == (
        "10,000,000",
        "90 s",
        "0.5",
    )
