"""Figures of formulas alone: their points, their short table in every format, their image."""

from __future__ import annotations

import csv
import io
import math

import pytest

from vaebench.config import catalogue
from vaebench.errors import UserError
from vaebench.report import drawn
from vaebench.report.drawn import smoothing

NAMES = [name for name in catalogue.options("table") if catalogue.load_table(name).drawn]


@pytest.fixture(scope="module")
def table():
    return catalogue.load_table("dvae_pp_smoothing")


@pytest.fixture(scope="module")
def points(table):
    return drawn.points(table)


def curve(points, name, temperature):
    return {p["q"]: p["zeta"] for p in points if (p["smoothing"], p["temperature"]) == (name, temperature)}


def test_every_figure_is_drawn_by_a_table_and_every_table_has_its_figure():
    assert {catalogue.load_table(name).drawn for name in NAMES} == set(drawn.FIGURES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("format", "first", "last"),
    [
        ("text", "{title} (", ""),
        ("md", "**{title} (", "- "),
        ("latex", "\\begin{{table}}", "\\end{{table}}"),
        ("html", "<!doctype html>", "</html>"),
    ],
)
def test_pages(name, format, first, last):
    table = catalogue.load_table(name)
    made = drawn.points(table)
    headers, lines = drawn.drawing(table).grid(made)
    page = drawn.render(table, made, format)
    rows = page.splitlines()
    assert page.startswith(first.format(title=table.title))
    assert rows[-1].startswith(last.format()) or rows[-1].endswith(last.format())
    assert page.endswith("\n")
    assert not page.endswith("\n\n")
    for words in (headers, *lines):
        assert any(all(word in row for word in words) for row in rows), words
    for note in (*drawn.drawing(table).notes, *(entry.topic for entry in table.ledger)):
        assert note in " ".join(page.split())


@pytest.mark.parametrize("name", NAMES)
def test_csv_is_the_points(name):
    made = drawn.points(catalogue.load_table(name))
    lines = list(csv.DictReader(io.StringIO(drawn.render(catalogue.load_table(name), made, "csv"))))
    assert lines == [{key: str(value) for key, value in p.items()} for p in made]


def test_unknown_names(table, points):
    with pytest.raises(UserError, match="unknown format 'pdf': allowed: csv, html, latex, md, text"):
        drawn.render(table, points, "pdf")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_images(name, kind, magic):
    table = catalogue.load_table(name)
    made = drawn.points(table)
    image = drawn.image(table, made, kind)
    assert image.startswith(magic)
    if kind == "svg":
        assert image == drawn.image(table, made, kind)  # equal points give equal files
        assert table.title.encode() in image


# -------------------------------------------------------------------------------------------- the smoothings


def test_points_solve_the_equation_of_the_mixtures(points):
    """F(zeta) = rho, the mixture's distribution function written out once more; and its labels are the settings used.

    zeta has 6 decimals, so F is met to 5e-7 times the density, at most about beta or 1 / (4 scale).
    """
    tried = 0
    for p in points:
        q, zeta, t = p["q"], p["zeta"], p["temperature"]
        if p["smoothing"] == "exponential":
            assert p["setting"] == "beta"
            zero = math.expm1(-t * zeta) / math.expm1(-t)
            one = (math.exp(t * (zeta - 1)) - math.exp(-t)) / -math.expm1(-t)
        elif p["smoothing"] == "logistic":
            assert p["setting"] == "scale"
            zero, one = (1 / (1 + math.exp(-(zeta - mean) / t)) for mean in (0, 1))
        else:
            continue
        assert (1 - q) * zero + q * one == pytest.approx(0.25, abs=1e-5)
        tried += 1
    assert tried == 2 * 3 * 199


def test_the_short_table_is_the_points(points):
    headers, lines = smoothing.grid(points)
    assert headers[:2] == ("smoothing", "temperature")
    assert len(lines) == 15
    by_label = {line[:2]: line[2:] for line in lines}
    for i, header in enumerate(headers[2:]):
        q = float(header.removeprefix("q="))
        shown = by_label["spike exponential", "beta 5"][i]
        assert float(shown) == pytest.approx(curve(points, "spike_exponential", 5.0)[q], abs=5.001e-4)
        assert float(by_label["logistic", "scale 0.1"][i]) == pytest.approx(
            curve(points, "logistic", 0.1)[q], abs=5.001e-4
        )
    assert not any(cell == "-0.000" for line in lines for cell in line)


def test_a_panel_for_each_smoothing(points):
    from matplotlib.figure import Figure

    figure = Figure()
    smoothing.draw(figure, points)
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["exponential", "logistic", "spike exponential", "concrete", "piecewise linear"]
    for panel in figure.axes:
        step, *curves = panel.get_lines()
        assert list(step.get_xdata()) == [0.75, 0.75]
        assert len(curves) == 3
        name = panel.get_title().replace(" ", "_")
        for line, text in zip(curves, panel.get_legend().get_texts(), strict=True):
            assert line.get_label() == text.get_text()
            value = float(text.get_text().split()[1])
            assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == curve(points, name, value)
    assert figure.axes[0].get_ylabel() == "zeta"
    assert all(panel.get_xlabel() == "q" for panel in figure.axes)
