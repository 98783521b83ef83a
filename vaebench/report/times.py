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

        here = [r for r in summary.rows if r.column == column]
        if any(r.ours for r in here):
            yield _clock(column, here)
        yield from ratios(column, here)


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
    for setting in dict.fromkeys((r.preset, r.label) for r in rows if r.ours) or [("", "")]:
        some = [r for r in rows if (r.preset, r.label) == setting or not r.preset]
        for r in some[1:]:
            parts = [_published(some[0], r), _ours(some[0], r)]
            if any(parts):
                yield f"{column}, {r.row} / {some[0].row}: {', '.join(filter(None, parts))}."


def _published(base: ReportRow, r: ReportRow) -> str:
    return (
        f"{r.published / base.published:.1f} published"
        if base.published and r.published is not None
        else ""
    )


def _ours(base: ReportRow, r: ReportRow) -> str:
    if not (base.ours and r.ours and base.ours.mean > 0 and r.ours.mean > 0):
        return ""
    if (base.device, base.pack) != (r.device, r.pack):
        return "ours not given: other devices, or other numbers of seeds side by side"

    ratio = r.ours.mean / base.ours.mean
    error = ""
    if base.se is not None and r.se is not None:
        error = f" ± {ratio * math.hypot(base.se / base.ours.mean, r.se / r.ours.mean):.1g}"

    return f"{ratio:.1f}{error} ours" + (f" (preset {r.preset})" if r.preset != "paper" else "")
