"""From rows of the long frame to one estimate.

The rows that count are chosen here, in one place, for all reports.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaebench.protocol.protocol import Protocol
from vaebench.protocol.registry import is_timing
from vaebench.results import flags
from vaebench.results.long_frame import as_asked
from vaebench.results.stats import combine, mean_error, repeats_of
from vaebench.results.status import Status
from vaebench.settings.kinds import is_number

if TYPE_CHECKING:
    import pandas as pd


CELL = ("table", "row", "column", "preset")
"""Columns that name a cell in the long frame. The key alone does not, as cells may share runs."""

Record = Mapping[str, Any]
"""A row of the long frame: column -> value. A missing number is NaN, a missing whole number None.

To pick a few rows out of a frame with so many columns takes a millisecond, out of a list of them
microseconds.
"""


def records(frame: pd.DataFrame) -> list[Record]:
    """Return all rows of the long frame."""
    rows: list[Record] = frame.to_dict("records")
    return rows


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds of one metric.

    Attributes:
        mean: The mean, in ``unit``.
        sd: Standard deviation over seeds; None for one seed, and for times that are equal shares of
            a pack's time.
        se: Standard error over seeds; None if ``sd`` is.
        n: Number of seeds.
        own_error: For one seed, the error of its evaluation; None if it was not measured.
        error_kind: Kind of ``own_error``.
        unit: Nats, or the unit of a time or a count.
        values: One number for each seed.
        samples: Samples for each test example; None if unknown or not the same for all seeds.
        ess: Mean effective sample size of an importance-weighted metric, the smallest of the seeds;
            None if not stored.
        log_z_error: Error of the log Z that enters the value, the largest of the seeds; None if no
            log Z enters.
        cases: Number of test examples, if they are only a part of the set; else None.
        case_error: Standard error, from these examples, of the value for the whole set (stored as
            ``spread``), the largest of the seeds, or None.
        repeats: Number of evaluations of each seed, their mean and their variance, both as means
            over seeds; None if there is one evaluation each.
        layers: Value of each latent layer, the one next to the data first, means over seeds; empty
            if not stored.
        flags: Kinds of flags of its rows; see ``vaebench.results.flags``.
        error_by: Method that estimated the errors of all seeds, if it is stored and the same.
        unknown: Share of the documents' words that the vocabulary lacks, the largest of the seeds;
            None if not stored.
    """

    mean: float
    sd: float | None
    se: float | None
    n: int
    own_error: float | None
    error_kind: str
    unit: str
    values: tuple[float, ...]
    samples: int | None = None
    ess: float | None = None
    log_z_error: float | None = None
    cases: int | None = None
    case_error: float | None = None
    repeats: tuple[int, float, float] | None = None
    layers: tuple[float, ...] = ()
    flags: tuple[str, ...] = ()
    error_by: str = ""
    unknown: float | None = None

    @property
    def faulty(self) -> bool:
        """Whether a flag says that it must not be judged."""
        return any(kind in flags.FAULTS for kind in self.flags)

    @property
    def error(self) -> float | None:
        """The error to compare by.

        It is the one over seeds (each has a log Z of its own), or all errors of the single
        evaluation.
        """
        if self.n > 1:
            return self.se
        return None if self.own_error is None else combine(self.own_error, self.log_z_error)


def only_current(rows: Iterable[Record]) -> list[Record]:
    """Return the rows without those whose evaluation is not the one that the cell asks for."""
    return [row for row in rows if as_asked(row["extra"])]


def measured(frame: pd.DataFrame, metric: str) -> list[Record]:
    """Return the rows that count for a metric, one for each cell and seed.

    Their run is done, their measure is current, and their value is possible.
    """
    return averaged(taken(records(frame), metric))


def averaged(rows: Sequence[Record]) -> list[Record]:
    """Return those rows of ``taken`` that enter the mean.

    They are the last row of each cell and seed that is not lost.
    """
    return last_of_runs([row for row in rows if not is_lost(row["flags"])])


def last_of_runs(rows: Sequence[Record]) -> list[Record]:
    """Return the last row of each cell and seed."""
    # From the end, so that the first one found is the last; then back to the order of the rows.
    last: dict[tuple[Any, ...], Record] = {}
    for row in reversed(rows):
        last.setdefault(tuple(row[name] for name in (*CELL, "key", "seed")), row)
    return list(last.values())[::-1]


def taken(rows: Iterable[Record], metric: str) -> list[Record]:
    """Return a metric's rows of finished runs, measured as the cell asks, whatever their values."""
    return only_current(
        row for row in rows if row["status"] == Status.DONE and row["metric"] == metric
    )


def kinds(rows: Iterable[Record]) -> tuple[str, ...]:
    """Return the kinds of flags of some rows, each once."""
    return flags.kinds(flag for row in rows for flag in flags.split(row["flags"]))


def is_lost(marks: str) -> bool:
    """Whether a row with these flags (the column's text) enters no mean."""
    return any(kind in flags.LOST for kind in flags.kinds(flags.split(marks)))


def estimate(rows: Sequence[Record]) -> Estimate | None:
    """Return the mean over the rows of ``measured``; None if there are none."""
    return estimated(rows) if rows else None


def estimated(rows: Sequence[Record]) -> Estimate:
    """Return the mean over the rows of ``measured``, of which there must be at least one."""
    first = rows[0]
    values = tuple(float(row["value"]) for row in rows)
    mean, sd, se, n = mean_error(values)

    if is_timing(first["metric"]) and any((row["pack"] or 0) > 1 for row in rows):
        sd = se = None  # these are equal shares of one time

    # The error of the evaluation itself is only used for a single seed: of several seeds the spread
    # over seeds is used instead. It is NaN (unequal to itself) if it was not measured.
    evaluation_error = float(first["error"])
    error_kind = str(first["error_kind"])
    has_own_error = n == 1 and error_kind != "none" and evaluation_error == evaluation_error

    sample_counts = {row["samples"] for row in rows}
    extras: list[dict[str, Any]] = [
        json.loads(row["extra"]) if row["extra"] else {} for row in rows
    ]
    methods = {str(extra.get("error_by", "")) for extra in extras}

    return Estimate(
        mean=mean,
        sd=sd,
        se=se,
        n=n,
        own_error=evaluation_error if has_own_error else None,
        error_kind=error_kind if has_own_error else "",
        unit=first["unit"],
        values=values,
        samples=sample_counts.pop() if len(sample_counts) == 1 else None,
        # The worst of the seeds: the smallest effective sample size, the largest of the others.
        ess=min(_numbers(extras, "ess"), default=None),
        unknown=max(_numbers(extras, flags.UNKNOWN), default=None),
        log_z_error=max(_numbers(extras, "log_z_error"), default=None),
        cases=Protocol(first["signature"]).as_taken(points(first)).cases,
        case_error=max(_numbers(extras, "spread"), default=None),
        error_by=methods.pop() if len(methods) == 1 else "",
        repeats=_repeats([repeats_of(extra) for extra in extras]),
        layers=_layers([extra.get("layers") for extra in extras]),
        flags=kinds(rows),
    )


def points(row: Record) -> float:
    """Return the number of data points of a row; NaN if it is not known."""
    return math.nan if row["points"] is None else float(row["points"])


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of the known values; None if none is known."""
    known_values = [value for value in values if value is not None and not math.isnan(value)]
    return math.fsum(known_values) / len(known_values) if known_values else None


def _numbers(extras: list[dict[str, Any]], key: str) -> list[float]:
    return [float(extra[key]) for extra in extras if is_number(extra.get(key))]


def _repeats(repeats: list[dict[str, Any] | None]) -> tuple[int, float, float] | None:
    complete = [r for r in repeats if r and "variance" in r and "mean" in r]
    counts = {len(r["values"]) for r in complete}

    # Seeds that were evaluated once, or another number of times, have no common variance.
    if len(complete) < len(repeats) or len(counts) > 1:
        return None

    mean, variance = (
        math.fsum(r[key] for r in complete) / len(complete) for key in ("mean", "variance")
    )
    return counts.pop(), mean, variance


def _layers(layers_of_seeds: list[Any]) -> tuple[float, ...]:
    """Return the mean of each layer over the seeds, if all have the same number of layers."""
    if not all(
        isinstance(layers, list) and all(map(is_number, layers)) for layers in layers_of_seeds
    ):
        return ()
    if len({len(layers) for layers in layers_of_seeds}) > 1:
        return ()

    # (seeds, layers) -> (layers,)
    return tuple(
        math.fsum(layer) / len(layers_of_seeds) for layer in zip(*layers_of_seeds, strict=True)
    )
