"""Checks of which options of a report fit together, and which tables and figures they fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vaebench.config.tables import Exhibit, Figure, Table
from vaebench.errors import UserError
from vaebench.report import check_format, plots
from vaebench.report.images import kind_of


def check(
    exhibits: Sequence[Exhibit],
    format: str,
    plot: Path | None = None,
    curves: Path | None = None,
    figure: str | None = None,
    sources: Sequence[str] = (),
) -> None:
    """Refuse what cannot be shown, before anything is read.

    Args:
        exhibits: The tables and figures asked for.
        format: One of ``vaebench.report.FORMATS``.
        plot: The image file asked for.
        curves: The file of points asked for.
        figure: One of ``vaebench.report.plots.PLOTS`` instead of the table's own.
        sources: The results files to be read.

    Raises:
        UserError: If options do not fit together; the line names them.
    """
    check_format(format)
    if plot is not None:
        kind_of(plot)
    if figure is not None:
        plots.plot(figure)
        if not (plot or curves):
            raise UserError(
                "--figure: says what --plot draws and --curves writes; give one of them"
            )

    tables = [e for e in exhibits if isinstance(e, Table)]
    drawn = ", ".join(e.name for e in exhibits if isinstance(e, Figure))
    if drawn and figure is not None:
        raise UserError(
            f"{drawn}: drawn from formulas, there is one figure of it; leave out --figure"
        )
    if drawn and sources:
        raise UserError(f"{drawn}: drawn from formulas, without results to read; leave out --from")

    if len(exhibits) == 1:
        return

    # What several tables or figures cannot have in common.
    if format == "html" or plot:
        raise UserError("--format html and --plot take one table at a time")
    if drawn and (curves or format == "csv"):
        raise UserError(
            f"{drawn}: the CSV of a drawn figure has columns of its own; one table at a time"
        )
    if curves and figure is None and len({t.figure for t in tables}) > 1:
        raise UserError(
            "--curves of tables with different figures: one table at a time, or "
            "say which with --figure"
        )
