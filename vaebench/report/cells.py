"""The content of one cell of a report, in plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable

from vaebench.config.tables import Table
from vaebench.formatting import duration
from vaebench.protocol.registry import heading
from vaebench.report.select import Estimate
from vaebench.report.summary import BESIDE, ReportRow
from vaebench.results import flags

MARK = "!"
"""Mark behind a flagged number, or behind the kind of flag in its place."""


def places(table: Table, column: str) -> int:
    """Return the decimals of the published numbers of a column.

    They are the most that any number of the same measure has.
    """
    measure = table.measure_of(column)

    # Numbers as printed, and their standard deviations: (column, number), row by row.
    numbers_by_column = (
        (c, v)
        for row in table.rows.values()
        for c, v in (*row.published.items(), *row.spread.items())
    )
    return decimals(v for c, v in numbers_by_column if table.measure_of(c) == measure)


def published(table: Table, row: ReportRow) -> str:
    """Return the published number with the decimals of its measure.

    If it has a standard deviation, the form is ``84.11 ± 0.04``.
    """
    if row.published is None:
        return ""

    digits = places(table, row.column)
    sd = "" if row.published_sd is None else f" ± {row.published_sd:.{digits}f}"
    return f"{row.published:.{digits}f}{sd}"


def decimals(published: Iterable[float | None]) -> int:
    """Return the most decimals of all published numbers, so that 97 becomes 97.0 below 113.1."""
    return max((len(f"{v:g}".partition(".")[2]) for v in published if v is not None), default=0)


def one_samples(rows: Iterable[ReportRow]) -> int | None:
    """Return the number of importance samples that the IW-NLLs of all rows have in common.

    None if they differ.
    """
    sample_counts = {r.iw_nll.samples for r in rows if r.iw_nll}
    return sample_counts.pop() if len(sample_counts) == 1 else None


def beside(row: ReportRow, samples: int | None) -> dict[str, str]:
    """Return the metrics beside the measure, header -> text.

    K of the IW-NLL is in its header or, if ``samples`` is None, in each cell.
    """
    cells = {}
    for metric in BESIDE:
        header = heading(metric)
        e = row.beside.get(metric)

        # A metric of several latent layers is shown by layer, not as their sum.
        text = _by_layer(metric, e) if e and len(e.layers) > 1 else number(e) or lost(row, metric)

        # An importance-weighted NLL means little without its number of samples.
        if metric == "iw_nll" and samples is not None:
            header = f"{header} (K={samples})"
        elif metric == "iw_nll" and e and e.samples is not None:
            text = f"{text} K={e.samples}"

        cells[header] = text
    return cells


def number(e: Estimate | None) -> str:
    """Write a number with its error: ``113.25 ± 0.12`` over seeds, ``113.25 [0.05]`` for one seed.

    In brackets is the error of its evaluation. There are no more digits than the error supports,
    and at most two decimals. A ``!`` follows if the number is flagged.
    """
    if e is None:
        return ""
    return _plain(e) + (MARK if flags.DEAD_LAYER in e.flags or e.faulty else "")


def lost(row: ReportRow, metric: str) -> str:
    """Return why a metric has no number, such as ``impossible!`` if all its values were that."""
    return "".join(f"{kind}{MARK}" for kind in row.lost.get(metric, ())[:1])


def _by_layer(metric: str, e: Estimate) -> str:
    """Write a number for each latent layer: ``31.1 / 13.3 / 0.06!``.

    The layer next to the data is the first. Dead layers are marked.
    """
    # Active units are counts, or means of counts over seeds: a whole number has no decimals.
    if metric != "kl":
        return " / ".join(f"{v:g}" if v == round(v) else f"{v:.1f}" for v in e.layers)

    # Each layer's KL has its own digits, and a mark if that layer is dead. Adding 0.0 removes the
    # minus of -0.00.
    parts = [f"{v:.1f}" if abs(v) >= 10 else f"{round(v, 2) + 0.0:.2f}" for v in e.layers]
    marks = [MARK if flags.is_dead(v) else "" for v in e.layers]
    return " / ".join(f"{part}{mark}" for part, mark in zip(parts, marks, strict=True)) + (
        MARK if e.faulty else ""
    )


def _plain(e: Estimate) -> str:
    # Active units are counted, so a single seed has a number without an error.
    if e.unit == "units":
        return f"{e.mean:.1f} ± {e.se:.1f}" if e.n > 1 else f"{e.mean:g}"

    digits = supported(e.error)
    mean = rounded(e.mean, digits)
    if e.error is None:
        return mean

    # A small error must not look like none: 0.004 becomes <0.01.
    error = rounded(e.error, digits) if e.error >= 0.005 or e.error == 0 else "<0.01"
    return f"{mean} ± {error}" if e.se is not None else f"{mean} [{error}]"


def difference(row: ReportRow) -> str:
    """Return ours minus published, with its sign and the digits of ours.

    It is empty if the two may not be compared.
    """
    if row.difference is None or row.ours is None:
        return ""
    text = rounded(row.difference, supported(row.ours.error))
    return text if text.startswith("-") else f"+{text}"


PLACES = 2
"""Most decimals of a number, and the decimals of one without a known error."""


def supported(error: float | None) -> int:
    """Return the decimals that a standard error supports, negative for tens and hundreds.

    This is the rule of the Particle Data Group. The error keeps two digits if its three leading
    ones are 100 to 354, and one if they are 355 to 949. From 950 on it becomes 1000 and keeps two.
    So 0.35 has two decimals, 0.36 one, 3.6 none, and 36 is rounded to tens.
    """
    if not error:
        return PLACES

    # error = leading / 100 * 10^exponent; ``leading`` has three digits, or is 1000 by rounding.
    exponent = math.floor(math.log10(error))
    leading = round(error / 10.0**exponent * 100)
    digits = 1 if 355 <= leading < 950 else 2

    if leading >= 950:  # it is written as the next power of ten
        exponent += 1
    return min(PLACES, digits - 1 - exponent)


def rounded(value: float, digits: int) -> str:
    """Round to ``digits`` decimals, in plain notation, without a minus before zero."""
    # Negative digits round to tens and hundreds, and print none. Adding 0.0 turns -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:.{max(digits, 0)}f}"


def cost(row: ReportRow) -> dict[str, str]:
    """Return what the runs of a row took: updates, time and device."""
    return {
        "updates": "" if row.updates is None else f"{row.updates:,.0f}",
        "time": "" if row.seconds is None else duration(row.seconds),
        # The first word of each device, such as ``cpu``; the note on times has it in full.
        "device": "; ".join(
            dict.fromkeys(d.split()[0] for d in row.device.split(";") if d.strip())
        ),
    }


def notes(row: ReportRow, marks: dict[str, int]) -> str:
    """Return status, source, and the marks of the notes below."""
    parts = [row.status, row.source, "".join(f"[{marks[n]}]" for n in row.footnotes)]
    return " ".join(p for p in parts if p)
