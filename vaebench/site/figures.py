"""Interactive figures as plain dictionaries that Plotly's script draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vaebench.config.tables import Table
from vaebench.report.summary import ReportRow
from vaebench.site.sources import Curve

Spec = dict[str, Any]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#7f7f7f")
"""Colours of Okabe and Ito. People with any colour vision tell them apart on white and black."""

DASHES = ("solid", "dash", "dot", "dashdot")
"""Line styles; the next one is used each time all colours are taken."""


def curves(runs: Sequence[Curve]) -> Spec | None:
    """Draw curves against updates: one line for each run, one look for each row and column.

    None if there is nothing to draw.
    """
    traces = []
    look_of_entry: dict[tuple[str, str], int] = {}
    for row, column, seed, points in runs:
        # The n-th entry has the n-th colour; after a round of all colours the next line style.
        # An entry without points takes its look too, so those of the others do not depend on it.
        round_of_colours, colour = divmod(
            look_of_entry.setdefault((row, column), len(look_of_entry)), len(COLOURS)
        )
        if not points:
            continue

        name = f"{row} / {column}"
        traces.append(
            {
                "x": [x for x, _ in points],
                "y": [round(y, 4) for _, y in points],
                "name": name,
                "mode": "lines",
                "line": {
                    "width": 1.5,
                    "color": COLOURS[colour],
                    "dash": DASHES[round_of_colours % len(DASHES)],
                },
                "hovertemplate": (
                    f"{_plain(name)}, seed {seed}<br>update %{{x:,}}: %{{y:.2f}}<extra></extra>"
                ),
            }
        )

    if not traces:
        return None
    layout = {
        "xaxis": {"title": {"text": "parameter updates"}},
        "yaxis": {"title": {"text": "validation bound (nats)"}},
    }
    return {"data": traces, "layout": {**layout, "height": 380}}


def differences(table: Table, rows: Iterable[ReportRow]) -> Spec | None:
    """Draw ours minus the published number, a line for each entry, with the margin as a band.

    The bar of ours is its standard error over seeds, or the error of its evaluation if there is one
    seed. The bar of the published number is the standard deviation over the paper's runs, if it is
    printed. None if nothing can be compared.
    """
    compared = [r for r in rows if r.difference is not None and r.ours is not None]
    if not compared:
        return None

    names = [_entry(r) for r in compared]

    # Everything is drawn relative to the published number, which is at 0.
    ours: Spec = {
        "x": [round(r.difference, 4) for r in compared if r.difference is not None],
        "y": names,
        "name": "ours",
        "mode": "markers",
        "marker": {"size": 9, "color": COLOURS[0]},
        "error_x": {
            "type": "data",
            "array": [r.ours.error or 0.0 for r in compared if r.ours],
            "color": COLOURS[0],
        },
        "text": [_beside(r) for r in compared],
        "hovertemplate": "%{y}<br>%{text}<extra></extra>",
    }

    published: Spec = {
        "x": [0.0] * len(compared),
        "y": names,
        "name": "published",
        "mode": "markers",
        "marker": {"size": 9, "symbol": "diamond-open", "color": COLOURS[1]},
        "error_x": {
            "type": "data",
            "array": [r.published_sd or 0.0 for r in compared],
            "color": COLOURS[1],
        },
        "text": [f"published {r.published:g}" for r in compared],
        "hovertemplate": "%{y}<br>%{text}<extra></extra>",
    }

    # The margin, over the whole height: ``paper`` coordinates go from 0 to 1.
    band = {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": -table.margin,
        "x1": table.margin,
        "y0": 0,
        "y1": 1,
        "fillcolor": COLOURS[2],
        "opacity": 0.15,
        "line": {"width": 0},
        "layer": "below",
    }

    layout = {
        "xaxis": {"title": {"text": "ours minus published"}, "zeroline": True},
        # Plotly counts from below; a table is read from above.
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"},
        "shapes": [band],
        "height": 70 + 28 * len(compared),
    }
    return {"data": [published, ours], "layout": layout}


def _entry(row: ReportRow) -> str:
    label = f" ({row.preset})" if row.preset else ""
    return _plain(f"{row.row} / {row.column}{label}")


def _beside(row: ReportRow) -> str:
    assert row.ours is not None
    error = row.ours.error
    seeds = f"{row.n} seeds" if row.n > 1 else "one seed; bar: error of its evaluation"
    return (
        f"ours {row.ours.mean:.4g}{f' ± {error:.2g}' if error else ''} ({seeds}), "
        f"published {row.published:g}"
    )


def _plain(text: str) -> str:
    """Return a name as Plotly shows it, with its markup escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")
