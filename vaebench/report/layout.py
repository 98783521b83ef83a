"""The report as headers, cells and footnotes in plain text: what every format writes, each with its own escapes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from vaebench.catalogue import load_preset, options
from vaebench.config import Table
from vaebench.protocol import METRICS, is_timing
from vaebench.report import repeats, times
from vaebench.report.select import Estimate
from vaebench.report.summary import NOT_TRAINED, ReportRow
from vaebench.words import duration

VERDICTS = {
    "yes": "within the margin of the published number; two standard errors over seeds are no more than the margin",
    "better": "lower than the published number by more than the margin and more than two standard errors over seeds",
    "no": "higher than the published number by more than the margin and more than two standard errors over seeds",
    "unclear": "the seeds scatter too much for a yes, a better or a no: more seeds are needed",
    "n=1": "one seed, from which no yes or no is given",
    "-": "no verdict: nothing published or measured, not the paper's data or evaluation, or a time",
    NOT_TRAINED: "a number from the literature, for comparison",
}

BESIDE_HEADERS = {name: metric.heading for name, metric in METRICS.items() if metric.heading}

LEFT = ("row", "column", "preset", "verdict", "device", "notes")
"""Columns of words; all others are numbers and stand to the right."""


@dataclass(frozen=True)
class Layout:
    """A title, a grid of text and the notes under it."""

    title: str
    headers: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    footnotes: tuple[str, ...]

    @property
    def alignment(self) -> tuple[str, ...]:
        """``left`` or ``right`` for every column."""
        return tuple("left" if h in LEFT else "right" for h in self.headers)


def lay_out(table: Table, rows: list[ReportRow]) -> Layout:
    """The grid of a summary. Columns that are empty throughout are left out, except those of the verdict."""
    marks: dict[str, int] = {}
    for row in rows:
        for note in row.footnotes:
            marks.setdefault(note, len(marks) + 1)
    several = len({r.preset for r in rows if r.preset}) > 1
    records = [_record(r, marks, _places(table, r.column), one_samples(rows)) for r in rows]
    keep = ("row", "column", "published", "ours", "difference", "verdict")
    headers = [
        h
        for h in (records[0] if records else keep)
        if h in keep or (h == "preset" and several) or (h != "preset" and any(r[h] for r in records))
    ]
    return Layout(
        title=f"{table.title} ({table.where}, {table.paper})",
        headers=tuple(headers),
        cells=tuple(tuple(r[h] for h in headers) for r in records),
        footnotes=tuple([*(f"[{i}] {note}" for note, i in marks.items()), *_footnotes(table, rows)]),
    )


def _places(table: Table, column: str) -> int:
    """Decimals of the published numbers of a column: as many as any of the same measure has."""
    measure = table.measure_of(column)
    every = ((c, v) for row in table.rows.values() for c, v in row.published.items())
    return decimals(v for c, v in every if table.measure_of(c) == measure)


def decimals(published: Iterable[float | None]) -> int:
    """The most decimals among the published numbers, so that 97 stands as 97.0 below 113.1."""
    return max((len(f"{v:g}".partition(".")[2]) for v in published if v is not None), default=0)


def one_samples(rows: Iterable[ReportRow]) -> int | None:
    """The number of importance samples behind every IW-NLL beside the measure; None where the rows do not agree."""
    found = {r.iw_nll.samples for r in rows if r.iw_nll}
    return found.pop() if len(found) == 1 else None


def _record(row: ReportRow, marks: dict[str, int], places: int, samples: int | None) -> dict[str, str]:
    notes = [row.status, row.source, "".join(f"[{marks[n]}]" for n in row.footnotes)]
    return {
        "row": row.row,
        "column": row.column,
        "preset": row.preset,
        "published": "" if row.published is None else f"{row.published:.{places}f}",
        "ours": number(row.ours),
        "seeds": str(row.n) if row.n else "",
        "difference": "" if row.difference is None else f"{row.difference:+.2f}",
        "verdict": row.verdict,
        **_beside(row, samples),
        "updates": "" if row.updates is None else f"{row.updates:,.0f}",
        "time": "" if row.seconds is None else duration(row.seconds),
        "device": "; ".join(dict.fromkeys(d.split()[0] for d in row.device.split(";") if d.strip())),
        "notes": " ".join(n for n in notes if n),
    }


def _beside(row: ReportRow, samples: int | None) -> dict[str, str]:
    """The metrics beside the measure. K of the IW-NLL is in its header, or, where ``samples`` is None, in each cell."""
    cells = {}
    for metric, header in BESIDE_HEADERS.items():
        e = row.beside.get(metric)
        text = number(e)
        if metric == "iw_nll" and samples is not None:
            header = f"{header} (K={samples})"
        elif metric == "iw_nll" and e and e.samples is not None:
            text = f"{text} K={e.samples}"
        cells[header] = text
    return cells


def number(e: Estimate | None) -> str:
    """``113.25 ± 0.12`` over seeds, ``113.25 [0.05]`` for one seed with the error of its evaluation."""
    if e is None:
        return ""
    if e.unit == "units":
        return f"{e.mean:.1f} ± {e.se:.1f}" if e.n > 1 else f"{e.mean:g}"
    if e.se is not None:
        return f"{e.mean:.2f} ± {e.se:.2f}"
    return f"{e.mean:.2f}" if e.error is None else f"{e.mean:.2f} [{e.error:.2f}]"


def _footnotes(table: Table, rows: list[ReportRow]) -> list[str]:
    measured = [r.ours for r in rows if r.ours]
    estimates = [*measured, *(e for r in rows for e in r.beside.values())]
    unit = next((r.ours.unit for r in rows if r.ours and r.measure == table.measure), "nats")
    others = {c: m for c in table.columns if (m := table.measure_of(c)) != table.measure and not is_timing(m)}
    what = f"ours: {table.measure} in {unit}{''.join(f', in column {c} {m}' for c, m in others.items())}"
    lines = [f"{what}, mean over seeds; difference: ours minus published; lower is better."]
    if any(e.se is not None for e in estimates):
        lines.append("±: standard error of the mean over the seeds; it holds no error of the published number.")
    single = {e.error_kind for e in estimates if e.n == 1 and e.own_error is not None}
    if single:
        lines.append(
            f"[..] after a number: one seed; the {' or '.join(sorted(_kind(k) for k in single))} error of its "
            "evaluation, which says nothing about the spread over seeds."
        )
    log_z = max((e.log_z_error or 0.0 for e in estimates), default=0.0)
    if log_z:
        lines.append(
            f"log Z: estimated, with a standard error of at most {_significant(log_z)} nats that all test cases of a "
            "run share: it does not average out over them, and is part of [..]."
        )
    lines += _effective_samples(rows) + times.footnotes(table, rows) + repeats.footnotes(rows)
    words = {r.verdict.split(", ")[0] for r in rows}
    lines.append(f"margin: {table.margin:g} {unit}: {table.margin_why}")
    lines += [f"{word}: {meaning}." for word, meaning in VERDICTS.items() if word in words]
    if any(r.verdict.endswith(" seeds") for r in rows):
        lines.append("k of n seeds: the others failed or diverged; the mean is over the k that finished.")
    lines += [_preset(table, p, label) for p, label in sorted({(r.preset, r.label) for r in rows if r.preset})]
    packs = max((r.pack or 1 for r in rows), default=1)
    if any(r.seconds is not None for r in rows):
        devices = "; ".join(sorted({r.device for r in rows if r.device}))
        beside = f"; up to {packs} seeds ran side by side" if packs > 1 else ""
        lines.append(f"time: recorded seconds per run, mean over seeds{beside}{f' ({devices})' if devices else ''}.")
    lines += table.notes
    if table.ledger:
        lines.append(f"where the paper is silent or differs (vaebench show table={table.name} says why):")
        lines += [f"{entry.topic}: {entry.here}" for entry in table.ledger]
    return lines


def _effective_samples(rows: list[ReportRow]) -> list[str]:
    """How far the error of the importance-weighted NLL may be trusted, where one is shown."""
    shown = [r.ours if r.measure == "iw_nll" else r.iw_nll for r in rows]
    known = [e for e in shown if e and e.ess is not None]
    if not known:
        return []
    worst = min(known, key=lambda e: e.ess)
    k = "" if worst.samples is None else f" of K={worst.samples}"
    return [
        f"IW-NLL: the smallest mean effective sample size of a row is {worst.ess:.1f}{k}; where it is low, the Monte "
        "Carlo error is too small."
    ]


def _significant(error: float) -> str:
    """An error with two significant digits, as a plain number."""
    return f"{error:.{max(2, 1 - math.floor(math.log10(error)))}f}"


def _kind(error_kind: str) -> str:
    return {"monte carlo": "Monte Carlo"}.get(error_kind, error_kind)


def _preset(table: Table, name: str, label: str) -> str:
    about = load_preset(name).about if name in options("preset") else ""
    extra = table.presets[name].note if name in table.presets else ""
    recipe = f"not the paper's recipe, so a verdict says {label!r}" if label else ""
    return f"preset {name}: {'; '.join(p for p in (about, extra, recipe) if p) or 'see its file'}."
