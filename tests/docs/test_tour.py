"""docs/tour.ipynb runs from top to bottom, offline, and shows what it says."""

from __future__ import annotations

import json

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from kit.repository import ROOT

NOTEBOOK = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """All names that the cells of the notebook have made, and the figures that they showed."""
    namespace: dict = {}
    figures: list = []
    matplotlib.use("Agg")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tour"))
        patch.delenv("VAEBENCH_MIRROR", raising=False)
        patch.setenv("VAEBENCH_DATA", "data")
        patch.setattr(plt, "show", lambda: figures.append(plt.gcf()))
        for number, cell in enumerate(CELLS, start=1):
            exec(compile(cell, f"cell {number} of docs/tour.ipynb", "exec"), namespace)
        yield namespace, figures

    plt.close("all")


def test_the_cells_run_and_show_what_they_say(tour):
    # The notebook shows two figures.
    namespace, (curve, pictures) = tour
    assert set(namespace["results"]["status"]) == {"done"}

    lines = curve.axes[0].lines
    assert [line.get_label() for line in lines] == ["seed-0", "seed-1"]
    np.testing.assert_array_equal(lines[0].get_ydata(), namespace["runs"][0].curve["valid_bound"])
    assert [place.get_title(loc="left") for place in pictures.axes[::8]] == [
        "samples",
        "test cases",
        "reconstructions",
    ]
    assert namespace["found"].samples == 1000


def test_no_outputs_are_kept():
    assert all(not cell.get("outputs") for cell in NOTEBOOK["cells"])
