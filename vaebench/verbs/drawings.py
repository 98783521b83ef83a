"""Figures of formulas as ``run`` draws them.

Each is an image and its points, in the folder ``figures`` beside the runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config.tables import Figure
from vaebench.verbs import looks, write

if TYPE_CHECKING:
    from vaebench.report.shown import Shown


def draw_only(figures: Sequence[Figure], results: Path, dry: bool) -> int:
    """Draw figures and print their tables; with ``dry`` only print what would be drawn."""
    from vaebench.report import written

    if dry:
        would_draw(figures, results)
    else:
        sys.stdout.write(written(list(draw(figures, results).values()), look=looks()))
    return 0


def draw(figures: Sequence[Figure], results: Path) -> dict[str, Shown]:
    """Write the CSV and the image of each figure, and return the figures by name.

    Raises UserError if one cannot be written.
    """
    from vaebench.report.drawn import Drawn
    from vaebench.report.shown import points_text

    by_name: dict[str, Shown] = {}
    for figure in figures:
        drawn = Drawn(figure)
        path = _image(results, figure)
        write(path.with_suffix(".csv"), points_text([drawn]))
        write(path, drawn.image("png"))
        by_name[figure.name] = drawn
    return by_name


def would_draw(figures: Sequence[Figure], results: Path) -> None:
    """Print what ``draw`` would write."""
    for figure in figures:
        path = _image(results, figure)
        print(
            f"{figure.name}: drawn from formulas, nothing to train; writes {path} and "
            f"{path.stem}.csv beside it"
        )


def _image(results: Path, figure: Figure) -> Path:
    """Return the path of a figure's image; its CSV is put beside it."""
    return results.parent / "figures" / f"{figure.name}.png"
