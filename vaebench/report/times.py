"""Notes on the times in a table.

A time depends on the machine as much as on the method, so it has no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from vaebench.protocol.registry import is_timing
from vaebench.report.summary import ReportRow, Summary


def footnotes(summary: Summary) -> Iterator[str]:
    """Explain what the clock of each column of times counts.

    The ratios of its rows, the paper's and ours, follow.
    """
    for column in summary.table.columns:
        if not is_timing(summary.table.measure_of(column)):
            continue

        rows_of_column = [r for r in summary.rows if r.column == column]
        if any(r.ours for r in rows_of_column):
            yield _clock(column, rows_of_column)
        yield from ratios(column, rows_of_column)


COUNTED = {
    "ms_per_update": (
        "updates with their noise and batches{share}, without validations and checkpoints"
    ),
    "hours": (
        "all updates, inner ones too, and validations{share}, to the end of training by "
        "its rule or its budget"
    ),
}
"""Measure of time -> what its clock counts."""


def _clock(column: str, rows: list[ReportRow]) -> str:
    pack = max((r.pack or 1 for r in rows), default=1)
    share = f", an equal share of what up to {pack} seeds took side by side" if pack > 1 else ""
    return (
        f"{column}: the training's own clock, {COUNTED[rows[0].measure].format(share=share)}; a "
        "time is the machine's too, so it has no verdict and no difference."
    )


def ratios(column: str, rows: list[ReportRow]) -> Iterator[str]:
    """Yield ratios such as ``ms per update, MCMC / DVAE##: 4.7 published, 8.1 ± 0.2 ours``.

    There is one for each row after the first of a setting. Our ratio needs both rows on the same
    kind of device, with as many seeds side by side. Its error is that of the means over seeds.
    """
    # Without any runs the published ratios are still given.
    for setting in dict.fromkeys((row.preset, row.label) for row in rows if row.ours) or [("", "")]:
        # Rows without a preset have no runs: only their published number enters. The first row is
        # the denominator of all ratios.
        compared = [row for row in rows if (row.preset, row.label) == setting or not row.preset]
        for row in compared[1:]:
            parts = [_published(compared[0], row), _ours(compared[0], row)]
            if any(parts):
                yield f"{column}, {row.row} / {compared[0].row}: {', '.join(filter(None, parts))}."


def _published(base: ReportRow, row: ReportRow) -> str:
    return (
        f"{row.published / base.published:.1f} published"
        if base.published and row.published is not None
        else ""
    )


def _ours(base: ReportRow, row: ReportRow) -> str:
    if not (base.ours and row.ours and base.ours.mean > 0 and row.ours.mean > 0):
        return ""
    if (base.device, base.pack) != (row.device, row.pack):
        return "ours not given: other devices, or other numbers of seeds side by side"

    # Of independent errors the relative ones of numerator and denominator add in squares.
    ratio = row.ours.mean / base.ours.mean
    error = ""
    if base.se is not None and row.se is not None:
        error = f" ± {ratio * math.hypot(base.se / base.ours.mean, row.se / row.ours.mean):.1g}"

    return f"{ratio:.1f}{error} ours" + (f" (preset {row.preset})" if row.preset != "paper" else "")
