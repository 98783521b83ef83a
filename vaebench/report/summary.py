"""A table beside what was measured for it: one ReportRow per row and column, literature rows included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vaebench.config.cells import Table
from vaebench.protocol.registry import METRICS, heading, is_descriptive, is_timing
from vaebench.protocol.signature import signature_parts
from vaebench.report.protocol import differing
from vaebench.report.select import CELL, Estimate, estimate, is_lost, measured, taken
from vaebench.results import flags
from vaebench.results.stats import verdict

if TYPE_CHECKING:
    import pandas as pd

BESIDE = tuple(name for name, metric in METRICS.items() if metric.heading)
"""Metrics shown beside the one the paper printed."""

NOT_TRAINED, DIVERGED, NOT_DIVERGED = "not trained here", "diverged too", "not diverged"


@dataclass(frozen=True)
class ReportRow:
    """One row and column of a table: the published number, ours, and what may be said of the two.

    Numbers are in the unit of the measure (nats). ``spread`` is the standard deviation over the paper's runs, where it
    prints one. ``difference`` is ours minus published, None where the two may not be compared; ``measure`` is what both
    are numbers of, ``key`` the runs'. ``updates`` and ``seconds`` are means over the finished seeds; ``status`` tells
    of the other seeds. ``scope`` is the data and the split that the measure is of. ``lost``: metrics without an
    estimate because every value of them was impossible or not finite, and the kinds of their flags.
    """

    row: str
    column: str
    published: float | None = None
    spread: float | None = None
    ours: Estimate | None = None
    difference: float | None = None
    verdict: str = "-"
    beside: dict[str, Estimate] = field(default_factory=dict)
    updates: float | None = None
    seconds: float | None = None
    pack: int | None = None
    device: str = ""
    status: str = ""
    preset: str = ""
    label: str = ""
    comparable: bool = True
    source: str = ""
    footnotes: tuple[str, ...] = ()
    measure: str = ""
    key: str = ""
    scope: str = ""
    lost: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of seeds behind ``ours``."""
        return self.ours.n if self.ours else 0

    @property
    def se(self) -> float | None:
        """Standard error over seeds of ``ours``; None for one seed."""
        return self.ours.se if self.ours else None

    @property
    def iw_nll(self) -> Estimate | None:
        return self.beside.get("iw_nll")

    @property
    def kl(self) -> Estimate | None:
        return self.beside.get("kl")


def summarize(table: Table, frame: pd.DataFrame) -> list[ReportRow]:
    """One ReportRow per row and column, in the order of the table.

    Runs of different presets or training settings are never averaged: where the frame holds several for one row and
    column, each has a ReportRow of its own. Failed, diverged and unfinished seeds are left out of the mean and named
    in ``status``. Where seeds failed or diverged, the verdict says how many stand behind it: ``yes, 3 of 5 seeds``.
    """
    frame = frame[frame["table"] == table.name]
    trained = set(table.trained())
    rows: list[ReportRow] = []
    for name, row in table.rows.items():
        note = (row.note,) if row.note else ()
        for column in [*table.columns, *(c for c in row.published if c not in table.columns)]:
            printed = {"published": row.published.get(column), "spread": row.spread.get(column)}
            if (name, column) in trained:
                runs = list(_settings(frame, name, column))
                rows += [_trained(table, name, column, part) for part in runs]
                if not runs:
                    measure = table.measure_of(column)
                    rows.append(ReportRow(name, column, **printed, status="not run", footnotes=note, measure=measure))
            elif printed["published"] is not None:
                rows.append(ReportRow(name, column, **printed, verdict=NOT_TRAINED, source=row.source, footnotes=note))
    return rows


def _settings(frame: pd.DataFrame, row: str, column: str) -> Iterator[pd.DataFrame]:
    """The rows of one table entry, one frame per preset and training setting."""
    cell = frame[(frame["row"] == row) & (frame["column"] == column)]
    for _, part in cell.groupby(["preset", "label", "key"], sort=False):
        yield part


def _trained(table: Table, row: str, column: str, runs: pd.DataFrame) -> ReportRow:
    measure = table.measure_of(column)
    rows = measured(runs, measure)
    ours = estimate(rows)
    status, notes = _status(measure, runs, rows)
    label, published = runs["label"].iloc[0], table.rows[row].published.get(column)
    comparable = bool(runs["paper_protocol"].all())
    protocols = sorted(set(rows["signature"]))
    if not comparable:
        differs = differing(table, row, column, protocols[0]) if protocols else ""
        unjudged = "no verdict: " if table.printed else ""
        notes.append(f"{unjudged}not the paper's protocol ({differs or 'data or evaluation'})")
    elif len(protocols) > 1:
        comparable = False
        notes.append(f"no verdict: the seeds were measured under different protocols ({' and '.join(protocols)})")
    seeds = runs[runs["status"] == "done"].drop_duplicates("seed")
    comparable = comparable and not is_timing(measure)
    judged = comparable and not is_descriptive(measure)
    if ours and ours.faulty:
        comparable = judged = False
    spread = table.rows[row].spread.get(column)
    values = ours.values if ours else ()
    word = verdict(published, values, table.margin, label, judged, spread, table.published_runs)
    if table.rows[row].diverges and bool(runs["paper_protocol"].all()):
        word = _divergence(runs, label)
    # Selecting rows is slow, so what no run has is not looked for.
    known = set(runs["metric"])
    elsewhere = _in_other_columns(table, row, column)
    shown = [measure, *(m for m in BESIDE if m in known and m not in (measure, *elsewhere))]
    beside = {m: estimate(measured(runs, m)) for m in shown if m != measure}
    missing = {m: _kinds(taken(runs, m)) for m in shown if not (ours if m == measure else beside[m])}
    notes += _flagged(shown, runs)
    return ReportRow(
        row=row,
        column=column,
        published=published,
        spread=spread,
        ours=ours,
        difference=ours.mean - published if ours and published is not None and comparable else None,
        verdict=word if word == "-" or table.rows[row].diverges else word + _survivors(measure, runs),
        beside={m: e for m, e in beside.items() if e is not None},
        updates=_mean(seeds["updates"]),
        seconds=_mean(seeds["seconds"]),
        pack=None if seeds["pack"].isna().all() else int(seeds["pack"].max()),
        device="; ".join(sorted({d for d in seeds["device"] if d})),
        status=status,
        preset=runs["preset"].iloc[0],
        label=label,
        comparable=comparable,
        footnotes=(*([table.rows[row].note] if table.rows[row].note else []), *notes),
        measure=measure,
        key=runs["key"].iloc[0],
        scope=_scope(protocols[0]) if protocols else "",
        lost={m: kinds for m, kinds in missing.items() if kinds},
    )


def _scope(signature: str) -> str:
    """Data and split of a protocol signature: ``mnist_static, test``."""
    parts = signature_parts(signature)
    return ", ".join(p for p in (parts.get("data", "").split("@")[0], parts.get("split", "")) if p)


def _kinds(rows: pd.DataFrame) -> tuple[str, ...]:
    """The kinds of flags by which all these rows are lost."""
    found = flags.kinds(flag for marks in rows["flags"] for flag in flags.split(marks))
    return tuple(kind for kind in found if kind in flags.LOST)


def _flagged(metrics: list[str], runs: pd.DataFrame) -> list[str]:
    """The flags of the runs and of these measures in words, seeds with the same flag together."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for metric in ("", *metrics):
        # A flag of the run stands in all its rows, whatever became of it.
        rows = taken(runs, metric) if metric else runs
        if not any(rows["flags"]):
            continue
        if metric:
            rows = rows.drop_duplicates([*CELL, "key", "seed"], keep="last")
        for seed, marks in zip(rows["seed"], rows["flags"], strict=True):
            for flag in flags.split(marks):
                if (flags.kind_of(flag) in flags.OF_RUNS) == (metric == ""):
                    known = seeds.setdefault((metric, flag), [])
                    known += [] if seed in known else [seed]
    several = runs["seed"].nunique() > 1
    lines = []
    for (metric, flag), found in seeds.items():
        which = f" (seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))})" if several else ""
        lines.append(f"{heading(metric) if metric else 'training'}{which}: {flag}")
    return lines


def _in_other_columns(table: Table, row: str, column: str) -> set[str]:
    """Measures of the same runs, evaluated alike, that have columns of their own, and so need not stand beside this."""
    mine = table.columns[column].set
    here = [c for r, c in table.trained() if r == row and c != column and table.columns[c].set == mine]
    return {table.measure_of(c) for c in here}


def _divergence(runs: pd.DataFrame, label: str) -> str:
    """The verdict where the paper's run diverged: whether every seed that ended did so too."""
    ended = [s for s in runs.drop_duplicates("seed")["status"] if s in ("done", "diverged")]
    if not ended:
        return "-"
    return (DIVERGED if "done" not in ended else NOT_DIVERGED) + (f", {label}" if label else "")


def _survivors(measure: str, runs: pd.DataFrame) -> str:
    """``, k of n seeds`` where some seeds failed or diverged, else nothing: those that are left may be the lucky ones.

    A finished run whose measure is not finite, or impossible, has diverged too; a partial run may yet finish.
    """
    done = runs[runs["status"] == "done"]
    lost = set(runs[runs["status"].isin(("failed", "diverged"))]["seed"]) | _lost_seeds(measure, runs)
    tried = set(done["seed"]) | lost
    return f", {len(tried) - len(lost)} of {len(tried)} seeds" if lost else ""


def _lost_seeds(measure: str, runs: pd.DataFrame) -> set[int]:
    """Finished seeds whose value of the measure enters no mean; the flags say why."""
    numbers = taken(runs, measure)
    return set(numbers[numbers["flags"].map(is_lost).astype(bool)]["seed"])


def _status(measure: str, runs: pd.DataFrame, rows: pd.DataFrame) -> tuple[str, list[str]]:
    """What became of the seeds that are not in the mean, and why, in words."""
    seeds = runs.drop_duplicates("seed")
    parts, notes = [], []
    for status in ("failed", "diverged", "partial"):
        some = seeds[seeds["status"] == status]
        if len(some):
            parts.append(f"{len(some)} {status}")
            notes += [f"seed {s} {status}: {r}" for s, r in zip(some["seed"], some["reason"], strict=True) if r]
    done = seeds[seeds["status"] == "done"]
    without = len(done) - len(rows)
    if without:
        parts.append(f"{without} without a number")
        unflagged = set(done["seed"]) - set(rows["seed"]) - _lost_seeds(measure, runs)
        notes += [_why_without(measure, runs, unflagged)] if unflagged else []
    return ", ".join(parts), notes


def _why_without(measure: str, runs: pd.DataFrame, seeds: set[int]) -> str:
    some = runs[runs["seed"].isin(seeds) & (runs["metric"] == measure)]
    which = f"seed {', '.join(str(s) for s in sorted(seeds))}"
    if not len(some):
        return f"{which}: {measure} was not measured"
    return f"{which}: {measure} was measured under another evaluation than is asked for"


def _mean(column: pd.Series) -> float | None:
    known = column.dropna()
    return float(known.mean()) if len(known) else None
