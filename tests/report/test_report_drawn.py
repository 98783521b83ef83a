"""Figures of formulas alone: their points, their short table in every format, their image."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pytest

from vaebench.config import catalogue
from vaebench.config.tables import Figure
from vaebench.errors import UserError
from vaebench.report import Look, written
from vaebench.report.drawn import DRAWINGS, Drawn, smoothing

FIGURES = [f for f in map(catalogue.load, catalogue.options("table")) if isinstance(f, Figure)]


@pytest.fixture(scope="module")
def points():
    return smoothing.points()


def curve(points, name, temperature):
    return {
        p["q"]: p["zeta"]
        for p in points
        if (p["smoothing"], p["temperature"]) == (name, temperature)
    }


def test_every_figure_is_drawn_by_a_table_and_every_table_has_its_figure():
    assert {figure.drawn for figure in FIGURES} == set(DRAWINGS)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f.name)
@pytest.mark.parametrize(
    ("format", "first", "last"),
    [
        ("text", "{title} (", "{note}"),
        ("md", "**{title} (", "- {note}"),
        ("latex", "\\begin{{table}}", "\\end{{table}}"),
        ("html", "<!doctype html>", "</html>"),
    ],
)
def test_pages(figure, format, first, last):
    drawn = Drawn(figure)
    grid = drawn.page().grid
    page = written([drawn], format)
    rows = page.splitlines()

    assert page.startswith(first.format(title=figure.title))
    # The last note is the last entry of the ledger; in text it may be broken into several lines.
    last_entry = figure.ledger[-1]
    last_note = f"{last_entry.topic}: {last_entry.here}"
    assert " ".join(rows).endswith(last.format(note=last_note))
    assert page.endswith("\n")
    assert not page.endswith("\n\n")

    # Every line of the grid is one line of the page, in each format.
    for words in (grid.headers, *grid.lines):
        assert any(all(word in row for word in words) for row in rows), words

    brief = " ".join(written([drawn], format, Look(brief=True)).split())
    # A brief page keeps the notes of the drawing, and leaves out the ledger.
    for note in drawn.drawing.notes:
        assert note in brief
    for entry in figure.ledger:
        assert entry.topic in " ".join(page.split())
        assert entry.topic not in brief


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f.name)
def test_csv_is_the_points(figure):
    drawn = Drawn(figure)
    lines = list(csv.DictReader(io.StringIO(written([drawn], "csv"))))
    assert lines == [{key: str(value) for key, value in p.items()} for p in drawn.lines]


def test_unknown_names():
    with pytest.raises(
        UserError, match="unknown format 'pdf': allowed: csv, html, latex, md, text"
    ):
        written([Drawn(FIGURES[0])], "pdf")
    with pytest.raises(UserError, match="unknown figure 'smooting': did you mean 'smoothing'"):
        Drawn(replace(FIGURES[0], drawn="smooting")).page()


@pytest.mark.parametrize("figure", FIGURES, ids=lambda f: f.name)
@pytest.mark.parametrize(
    ("kind", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_images(figure, kind, magic):
    drawn = Drawn(figure)
    image = drawn.image(kind)

    assert image.startswith(magic)

    if kind == "svg":
        assert image == drawn.image(kind)  # equal points give equal files
        assert figure.title.encode() in image


# ----------------------------------------------------------------------------------- the smoothings


def test_points_solve_the_equation_of_the_mixtures(points):
    """F(zeta) = rho, with the mixture's distribution function F written out once more; the labels
    are the settings used.

    zeta has 6 decimals, so F is met to 5e-7 times the density, at most about beta or 1 / (4 scale).
    """
    tried = 0
    for p in points:
        q = p["q"]
        zeta = p["zeta"]
        t = p["temperature"]

        if p["smoothing"] == "exponential":
            assert p["setting"] == "beta"
            cdf_of_zero = math.expm1(-t * zeta) / math.expm1(-t)
            cdf_of_one = (math.exp(t * (zeta - 1)) - math.exp(-t)) / -math.expm1(-t)
        elif p["smoothing"] == "logistic":
            assert p["setting"] == "scale"
            cdf_of_zero, cdf_of_one = (1 / (1 + math.exp(-(zeta - mean) / t)) for mean in (0, 1))
        else:
            continue

        # rho is 0.25 in the figure.
        assert (1 - q) * cdf_of_zero + q * cdf_of_one == pytest.approx(0.25, abs=1e-5)

        tried += 1

    # Two smoothings, three temperatures each, 199 values of q.
    assert tried == 2 * 3 * 199


def test_the_short_table_is_the_points(points):
    grid = smoothing.grid(points)
    assert grid.headers[:2] == ("smoothing", "temperature")
    assert len(grid.lines) == 15

    by_label = {line[:2]: line[2:] for line in grid.lines}
    # Its numbers have 3 decimals: half of the last one, and a little for rounding.
    for i, header in enumerate(grid.headers[2:]):
        q = float(header.removeprefix("q="))
        spike_exponential = by_label["spike exponential", "beta 5"][i]

        assert float(spike_exponential) == pytest.approx(
            curve(points, "spike_exponential", 5.0)[q], abs=5.001e-4
        )
        assert float(by_label["logistic", "scale 0.1"][i]) == pytest.approx(
            curve(points, "logistic", 0.1)[q], abs=5.001e-4
        )

    assert not any(cell == "-0.000" for line in grid.lines for cell in line)


def test_a_panel_for_each_smoothing(points):
    from matplotlib.figure import Figure

    figure = Figure()
    smoothing.draw(figure, points)
    titles = [panel.get_title() for panel in figure.axes]

    assert titles == [
        "exponential",
        "logistic",
        "spike exponential",
        "concrete",
        "piecewise linear",
    ]

    for panel in figure.axes:
        # The step is the limit without smoothing, at q = 1 - rho.
        step, *curves = panel.get_lines()
        assert list(step.get_xdata()) == [0.75, 0.75]
        assert len(curves) == 3

        name = panel.get_title().replace(" ", "_")
        for line, text in zip(curves, panel.get_legend().get_texts(), strict=True):
            assert line.get_label() == text.get_text()

            value = float(text.get_text().split()[1])
            assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == curve(
                points, name, value
            )

    assert figure.axes[0].get_ylabel() == "zeta"
    assert all(panel.get_xlabel() == "q" for panel in figure.axes)
