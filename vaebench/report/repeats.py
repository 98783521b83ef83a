"""Evaluation noise below a table: what repeated evaluations of the same parameters gave (``eval.repeats``)."""

from __future__ import annotations

from vaebench.config.cells import Table
from vaebench.report.summary import ReportRow


def footnotes(table: Table, rows: list[ReportRow]) -> list[str]:
    """``ROW, COLUMN: 10 evaluations, mean 327.98, variance 1e-05`` for every entry that has them.

    Of several seeds the mean of their means, and of their variances, which leave the seeds' own spread out. Where the
    table asks for them, what lacks them is named too.
    """
    lines = []
    asked = any(override.startswith("eval.repeats=") for override in table.base)
    alone = list(dict.fromkeys(r.row for r in rows if asked and r.ours and not r.ours.repeats))
    if alone:
        lines.append(f"evaluated once only, vaebench run makes the other evaluations: {', '.join(alone)}.")
    for r in rows:
        if r.ours and r.ours.repeats:
            count, mean, variance = r.ours.repeats
            seeds = f" of each of {r.ours.n} seeds" if r.ours.n > 1 else ""
            lines.append(f"{r.row}, {r.column}: {count} evaluations{seeds}, mean {mean:.2f}, variance {variance:.1g}.")
    return lines
