"""A table beside what was measured for it.

There is one ReportRow for each row and column, also for rows of the literature.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from vaebench.config.tables import Table
from vaebench.protocol.protocol import Protocol
from vaebench.protocol.registry import METRICS, heading, is_descriptive, is_timing, unit_of
from vaebench.report.protocol import differing, unlike
from vaebench.report.select import (
    Estimate,
    Record,
    averaged,
    estimate,
    kinds,
    last_of_runs,
    mean_of,
    points,
    records,
    taken,
)
from vaebench.results import flags
from vaebench.results.stats import verdict
from vaebench.results.status import Status

if TYPE_CHECKING:
    import pandas as pd

BESIDE = tuple(name for name, metric in METRICS.items() if metric.heading)
"""Metrics that are shown beside the one that the paper printed."""

NOT_RUN = "not run"
"""Status of an entry without runs."""

NOT_TRAINED = "not trained here"
DIVERGED = "diverged too"
NOT_DIVERGED = "not diverged"


@dataclass(frozen=True)
class ReportRow:
    """One row and column of a table: the published number, ours, and the verdict on the two.

    Numbers are in the unit of the measure, nats if nothing else is said.

    Attributes:
        row: Its row of the table.
        column: Its column of the table.
        published: The number that the paper printed.
        published_sd: The standard deviation over the paper's runs, if it prints one.
        ours: What was measured.
        difference: Ours minus published; None if the two may not be compared.
        verdict: A word of ``vaebench.report.footnotes.VERDICTS``, then the label and the count of
            seeds.
        beside: Other metrics of the same runs.
        updates: Mean number of updates over the finished seeds.
        seconds: Mean time over the finished seeds; if some were timed by the processor's clock,
            over these only.
        clock: The clock of ``seconds``; see ``training.clock``.
        pack: Most seeds that were trained side by side.
        device: The device that trained them.
        status: What became of the other seeds.
        preset: Preset of the runs.
        label: How the training differs from the paper's; empty if it does not.
        of_paper: Whether the number was measured as the paper's, on the same data.
        comparable: Whether the two numbers may be compared: ``of_paper`` holds, the number is no
            time, its seeds have the same protocol, and no flag forbids it.
        source: Source of a number of the literature.
        footnotes: Remarks on this row alone.
        measure: Name of the measure of both numbers.
        key: The name of the runs.
        scope: The data and the split of the measure.
        lost: Metrics of which every value is impossible or not finite -> the kinds of their flags.
    """

    row: str
    column: str
    published: float | None = None
    published_sd: float | None = None
    ours: Estimate | None = None
    difference: float | None = None
    verdict: str = "-"
    beside: dict[str, Estimate] = field(default_factory=dict)
    updates: float | None = None
    seconds: float | None = None
    clock: str = ""
    pack: int | None = None
    device: str = ""
    status: str = ""
    preset: str = ""
    label: str = ""
    of_paper: bool = True
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


@dataclass(frozen=True)
class Summary:
    """A table and its rows, from which the notes below it are made."""

    table: Table
    rows: list[ReportRow]

    @cached_property
    def estimates(self) -> list[Estimate]:
        """All numbers in the table."""
        return [e for r in self.rows for e in (r.ours, *r.beside.values()) if e]

    @property
    def importance_weighted(self) -> list[Estimate]:
        """The importance-weighted NLLs in the table."""
        return [e for r in self.rows if (e := r.ours if r.measure == "iw_nll" else r.iw_nll)]

    @property
    def unit(self) -> str:
        """The unit of the table's measure."""
        return unit_of(self.table.measure)


def summarize(table: Table, frame: pd.DataFrame) -> list[ReportRow]:
    """Return one ReportRow for each row and column, in the order of the table.

    Runs of different presets or training settings are never averaged: if the frame has several for
    a row and column, each has a ReportRow of its own. Failed, diverged and unfinished seeds are
    left out of the mean and named in ``status``. If seeds failed or diverged, the verdict says how
    many are behind it: ``yes, 3 of 5 seeds``.
    """
    runs_of_entry = _by_setting(records(frame[frame["table"] == table.name]))
    trained = set(table.trained())

    rows: list[ReportRow] = []
    for row_name, row in table.rows.items():
        note = (row.note,) if row.note else ()

        # A paper may also print columns that no cell of the table has, those of the literature.
        for column in [*table.columns, *(c for c in row.published if c not in table.columns)]:
            unmeasured = ReportRow(
                row_name, column, row.published.get(column), row.spread.get(column), footnotes=note
            )

            # The frame may also have runs of entries that this table does not train (any more).
            settings = (
                runs_of_entry.get((row_name, column), []) if (row_name, column) in trained else []
            )
            if settings:
                rows += [_trained(table, row_name, column, runs) for runs in settings]
            elif (row_name, column) in trained:
                rows.append(replace(unmeasured, status=NOT_RUN, measure=table.measure_of(column)))
            elif unmeasured.published is not None:
                rows.append(replace(unmeasured, verdict=NOT_TRAINED, source=row.source))
    return rows


def _by_setting(rows: Iterable[Record]) -> dict[tuple[str, str], list[list[Record]]]:
    """Return (row, column) -> the rows of that entry, one list for each preset and setting."""
    # (row, column) -> (preset, label, key) -> rows. The key of a run is made from all settings that
    # decide its training, so runs of one preset with changed settings stay apart.
    by_entry: dict[tuple[str, str], dict[tuple[str, ...], list[Record]]] = {}
    for row in rows:
        settings = by_entry.setdefault((row["row"], row["column"]), {})
        settings.setdefault((row["preset"], row["label"], row["key"]), []).append(row)
    return {entry: list(settings.values()) for entry, settings in by_entry.items()}


def _trained(table: Table, row: str, column: str, runs: Sequence[Record]) -> ReportRow:
    """Make the ReportRow of one table entry at one preset and training setting."""
    # All runs have the same preset, label and key.
    any_run = runs[0]
    measure = table.measure_of(column)
    printed_row = table.rows[row]
    published = printed_row.published.get(column)
    numbers = _numbers(table, row, column, runs)
    ours = numbers.estimates.get(measure)
    averaged = numbers.averaged[measure]

    # Whether the two numbers may be compared. An indicative number is shown beside ours, but
    # it compares with none of them; ``Column.indicative`` says why.
    protocol_is_papers = all(run["paper_protocol"] for run in runs)
    indicative = table.columns[column].indicative if published is not None else ""
    of_paper = protocol_is_papers and not indicative
    comparable = (
        of_paper
        and measure not in numbers.mixed
        and not is_timing(measure)
        and not (ours and ours.faulty)
    )

    # Finished seeds whose value is impossible or not finite: measured, but in no mean.
    lost = _seeds(numbers.taken[measure]) - _seeds(averaged)

    # The verdict. If the paper's own run diverged, there is no number to compare with: the question
    # is only whether ours diverge too.
    if printed_row.diverges:
        word = _divergence(runs, any_run["label"]) if of_paper else "-"
    else:
        # Of a description of the model, such as a KL, less is no better than more.
        judged = comparable and not is_descriptive(measure)
        values = ours.values if ours else ()
        published_sd = printed_row.spread.get(column)
        word = verdict(
            published,
            values,
            table.margin,
            any_run["label"],
            judged,
            published_sd,
            table.published_runs,
        )
        word += _survivors(runs, lost) if word != "-" else ""

    # Remarks on this row alone.
    status, reasons = _status(measure, runs, averaged, lost)
    signatures = sorted({Protocol(number["signature"]) for number in averaged})
    notes = [printed_row.note, _kind(signatures), *reasons]
    notes += _unlike(table, measure, numbers, protocol_is_papers, indicative)
    notes += _flagged(runs, numbers.taken)

    return ReportRow(
        row=row,
        column=column,
        published=published,
        published_sd=printed_row.spread.get(column),
        ours=ours,
        difference=ours.mean - published if ours and published is not None and comparable else None,
        verdict=word,
        beside={m: e for m, e in numbers.estimates.items() if m != measure},
        **_cost(runs)._asdict(),
        status=status,
        preset=any_run["preset"],
        label=any_run["label"],
        of_paper=of_paper,
        comparable=comparable,
        footnotes=tuple(filter(None, notes)),
        measure=measure,
        key=any_run["key"],
        scope=_scope(signatures[0]) if signatures else "",
        # Only if a metric has no number at all; a single lost seed is a remark.
        lost={
            m: flag_kinds
            for m, rows in numbers.taken.items()
            if m not in numbers.estimates and (flag_kinds := _lost(rows))
        },
    )


class _Numbers(NamedTuple):
    """What was measured of the runs of one table entry; each attribute is a dictionary by metric.

    Attributes:
        taken: The rows that were measured as the cell asks.
        averaged: Those of them that are in the mean.
        estimates: The mean, if there is one.
        mixed: The parts in which the protocols of the rows differ, if they do.
    """

    taken: dict[str, list[Record]]
    averaged: dict[str, list[Record]]
    estimates: dict[str, Estimate]
    mixed: dict[str, str]


def _numbers(table: Table, row: str, column: str, runs: Sequence[Record]) -> _Numbers:
    """Estimate the entry's own measure, and the metrics shown beside it.

    Metrics that have a column of their own are not shown beside it.
    """
    measure = table.measure_of(column)
    stored = {run["metric"] for run in runs} - _in_other_columns(table, row, column)
    shown = [measure, *(m for m in BESIDE if m in stored and m != measure)]

    # Each is by metric. The first two have the entry's own measure even if it has no rows.
    rows_of = {m: taken(runs, m) for m in shown}
    averaged_rows = {m: averaged(rows) for m, rows in rows_of.items()}
    estimates = {m: e for m, rows in averaged_rows.items() if (e := estimate(rows))}
    mixed = {
        m: difference
        for m, rows in rows_of.items()
        if (difference := unlike(r["signature"] for r in rows))
    }
    return _Numbers(rows_of, averaged_rows, estimates, mixed)


class _Cost(NamedTuple):
    """Cost of the finished runs of a table entry; see ``ReportRow``."""

    updates: float | None
    seconds: float | None
    clock: str
    pack: int | None
    device: str


def _cost(runs: Sequence[Record]) -> _Cost:
    # Each row of a run has the run's cost, whatever its metric, so one row a seed is enough.
    finished = [run for run in _first_of_seeds(runs) if run["status"] == Status.DONE]

    # Seconds by the processor's clock and seconds that passed are different things: never mix them.
    timed = [run for run in finished if run["clock"]] or finished

    packs = [run["pack"] for run in finished if run["pack"] is not None]
    return _Cost(
        updates=mean_of(run["updates"] for run in finished),
        seconds=mean_of(run["seconds"] for run in timed),
        clock=timed[0]["clock"] if timed else "",
        pack=max(packs, default=None),
        device="; ".join(sorted({run["device"] for run in finished if run["device"]})),
    )


def _unlike(
    table: Table, measure: str, numbers: _Numbers, all_by_papers_protocol: bool, indicative: str
) -> Iterator[str]:
    """Yield why numbers of an entry do not compare with the printed one, or with one another.

    Args:
        table: The table.
        measure: What the paper printed there.
        numbers: What was measured.
        all_by_papers_protocol: Whether all runs have the paper's protocol.
        indicative: Why the printed number compares with none of ours; empty if it does.
    """
    unjudged = "no verdict: " if table.printed else ""
    if not all_by_papers_protocol:
        yield f"{unjudged}{_unlike_the_papers(numbers.averaged[measure])}"
    if indicative:
        yield f"the printed number is indicative, no verdict: {indicative}"

    for m, difference in numbers.mixed.items():
        whose = unjudged if m == measure else f"{heading(m)}: "
        yield f"{whose}measured under different protocols ({difference})"


def _unlike_the_papers(rows: Sequence[Record]) -> str:
    """Say in what the protocol of some rows is not the paper's, as far as it is known."""
    # A protocol that asks for more examples than there are means all of them.
    ours = sorted({Protocol(row["signature"]).as_taken(points(row)) for row in rows})

    # Results files of earlier versions lack the paper's protocol: there it is empty.
    papers = Protocol(max((row["paper_signature"] for row in rows), default=""))
    differs = differing(ours[0], papers) if ours else ""
    return f"not the paper's protocol ({differs or 'data or evaluation'})"


def _kind(signatures: list[Protocol]) -> str:
    """Return a remark on numbers that are no likelihoods; '' if they are."""
    if not any(s.parts.get("likelihood") == "cross_entropy" for s in signatures):
        return ""
    return (
        "cross-entropy of grey levels: no likelihood, comparable to no NLL of these data "
        "or of binarized ones"
    )


def _scope(signature: Protocol) -> str:
    """Return data and split of a protocol signature: ``mnist_static, test``."""
    return ", ".join(part for part in (signature.data, signature.parts.get("split", "")) if part)


def _lost(rows: Iterable[Record]) -> tuple[str, ...]:
    """Return the kinds of flags by which all these rows are lost."""
    return tuple(kind for kind in kinds(rows) if kind in flags.LOST)


def _flagged(runs: Sequence[Record], rows_of: Mapping[str, Sequence[Record]]) -> list[str]:
    """Return the flags of the runs and of their measures in words.

    Seeds with the same flag share a line.

    Args:
        runs: All rows of a table entry. Each row of a run has the run's own flags, whatever became
            of the run.
        rows_of: Metric -> its rows, for each metric that is shown.
    """
    # (metric, flag) -> seeds. The metric "" stands for the training: flags of a run are repeated in
    # the rows of all its metrics, so they are taken from there alone and left out of the metrics.
    seeds: dict[tuple[str, str], list[int]] = {}
    for metric, rows in {"": runs, **rows_of}.items():
        # An earlier measurement of a seed does not count any more, nor do its flags.
        for row in last_of_runs(rows) if metric else rows:
            for flag in flags.split(row["flags"]):
                if (flags.kind_of(flag) in flags.OF_RUNS) == (metric == ""):
                    seeds.setdefault((metric, flag), []).append(row["seed"])

    several = len(_seeds(runs)) > 1
    lines = []
    for (metric, flag), seeds_with_flag in seeds.items():
        distinct_seeds = list(dict.fromkeys(seeds_with_flag))
        which = (
            f" (seed{'s' if len(distinct_seeds) > 1 else ''} {', '.join(map(str, distinct_seeds))})"
            if several
            else ""
        )
        lines.append(f"{heading(metric) if metric else 'training'}{which}: {flag}")
    return lines


def _in_other_columns(table: Table, row: str, column: str) -> set[str]:
    """Return the measures that other columns of the table show of the same runs and evaluation.

    They need not be shown beside this column.
    """
    own_settings = table.columns[column].set
    same_evaluation = [
        c
        for r, c in table.trained()
        if r == row and c != column and table.columns[c].set == own_settings
    ]
    return {table.measure_of(c) for c in same_evaluation}


def _divergence(runs: Sequence[Record], label: str) -> str:
    """Return the verdict on a run that diverged in the paper: did every seed that ended, too?"""
    # Seeds that failed or are unfinished say nothing about divergence.
    ended = [
        s for run in _first_of_seeds(runs) if (s := run["status"]) in (Status.DONE, Status.DIVERGED)
    ]
    if not ended:
        return "-"

    # One seed that finished is enough for "not diverged".
    return (DIVERGED if Status.DONE not in ended else NOT_DIVERGED) + (
        f", {label}" if label else ""
    )


def _survivors(runs: Iterable[Record], lost: set[int]) -> str:
    """Return ``, k of n seeds`` if some seeds failed or diverged, else ''.

    Those that are left may be the lucky ones. A partial run may still finish. ``lost`` has finished
    seeds whose measure is not finite or impossible; they count as diverged.
    """
    done = {run["seed"] for run in runs if run["status"] == Status.DONE}
    without_number = {
        run["seed"] for run in runs if run["status"] in (Status.FAILED, Status.DIVERGED)
    } | lost
    tried = done | without_number  # lost seeds are in both sets
    return f", {len(tried) - len(without_number)} of {len(tried)} seeds" if without_number else ""


def _status(
    measure: str, runs: Sequence[Record], numbers: Sequence[Record], lost: set[int]
) -> tuple[str, list[str]]:
    """Say what became of the seeds that are not in the mean, and why.

    Args:
        measure: What the paper printed.
        runs: All rows of a table entry.
        numbers: Those that are in the mean.
        lost: Seeds whose value is not finite or impossible. Their flags say why.
    """
    seeds = _first_of_seeds(runs)
    parts = []
    reasons = []

    # Seeds that did not finish.
    for status in (Status.FAILED, Status.DIVERGED, Status.PARTIAL, Status.TRAINED):
        with_status = [run for run in seeds if run["status"] == status]
        if with_status:
            parts.append(f"{len(with_status)} {status}")
            reasons += [
                f"seed {run['seed']} {status}: {run['reason']}"
                for run in with_status
                if run["reason"]
            ]

    # Seeds that finished but are not in the mean. If a flag already says why, no reason is added.
    done = [run for run in seeds if run["status"] == Status.DONE]
    missing = len(done) - len(numbers)
    if missing:
        parts.append(f"{missing} without a number")
        unflagged = _seeds(done) - _seeds(numbers) - lost
        reasons += [_why_without(measure, runs, unflagged)] if unflagged else []
    return ", ".join(parts), reasons


def _why_without(measure: str, runs: Iterable[Record], seeds: set[int]) -> str:
    was_measured = any(run["seed"] in seeds and run["metric"] == measure for run in runs)
    which = f"seed {', '.join(str(s) for s in sorted(seeds))}"

    if not was_measured:
        return f"{which}: {measure} was not measured"
    return f"{which}: {measure} was measured under another evaluation than is asked for"


def _first_of_seeds(runs: Iterable[Record]) -> list[Record]:
    """Return the first row of each seed."""
    by_seed: dict[int, Record] = {}
    for run in runs:
        by_seed.setdefault(run["seed"], run)
    return list(by_seed.values())


def _seeds(rows: Iterable[Record]) -> set[int]:
    return {row["seed"] for row in rows}
