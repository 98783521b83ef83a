"""Comparison of two sets of results, row by row, within a tolerance or within their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from vaebench.config import catalogue
from vaebench.errors import UserError
from vaebench.protocol.registry import is_descriptive, is_timing, unit_of
from vaebench.report import text
from vaebench.report.cells import number
from vaebench.report.page import Grid
from vaebench.report.protocol import unlike
from vaebench.report.select import (
    Estimate,
    Record,
    averaged,
    estimated,
    kinds,
    only_current,
    records,
)
from vaebench.results.stats import combine, half_width
from vaebench.results.status import Status
from vaebench.settings import options

if TYPE_CHECKING:
    import pandas as pd

LEVEL = math.erf(3 / math.sqrt(2))
"""Level of the interval within which two means agree if no tolerance is given. It is three standard
errors if these are known, and more, by Student's t, if they come from few seeds. It is higher than
that of a verdict, because many rows are compared at once."""

FLOOR = 1e-6
"""Two means always agree within this much, because the last digits of a sum depend on
the order of its terms."""


T = TypeVar("T")

Name = tuple[str, ...]
"""Table, row, column, preset if an entry has several, metric."""


@dataclass(frozen=True)
class ComparedRow:
    """One metric of one table entry on both sides; a side without it is None.

    Attributes:
        name: Name of the entry, as a reader sees it.
        metric: The metric that is compared.
        a: The first side.
        b: The second side.
        difference: b minus a.
        error: Standard error of the difference; None if neither side has one.
        allowed: The largest difference that counts as agreement. None if the row is not judged: it
            is a time, or neither a tolerance, nor an error, nor a margin is known for it.
        by: What ``allowed`` is: the ``tolerance``, the ``errors`` or the ``margin``; '' without it.
        protocols: Different protocols that were compared anyway.
        settings: Different presets, labels or training settings.
        flagged: The kinds of flags of both sides.
    """

    name: str
    metric: str
    a: Estimate | None
    b: Estimate | None
    difference: float | None = None
    error: float | None = None
    allowed: float | None = None
    by: str = ""
    protocols: str = ""
    settings: str = ""
    flagged: str = ""

    @property
    def judged(self) -> bool:
        """Whether the row counts. A row of one side counts, and differs; a time never counts."""
        return not is_timing(self.metric) and (self.difference is None or self.allowed is not None)

    @property
    def within(self) -> bool:
        """Whether both sides have the row, it is judged, and they agree."""
        if is_timing(self.metric) or self.difference is None or self.allowed is None:
            return False
        return abs(self.difference) <= self.allowed


@dataclass(frozen=True)
class Comparison:
    """All rows of both sides, in the order in which they first appear."""

    rows: tuple[ComparedRow, ...]
    tol: float | None
    left_out: int = 0
    """Number of rows in one side only that were not to be compared."""

    @property
    def differs(self) -> bool:
        """Whether any judged row disagrees or is in one side only.

        The command then exits with 1.
        """
        return not all(r.within for r in self.rows if r.judged)


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    tol: float | None = None,
    ignore_protocol: bool = False,
    common: bool = False,
) -> Comparison:
    """Compare two long frames by (table, row, column, metric).

    Each is aggregated over its finished seeds. A row in nats agrees if the means differ by at most
    ``tol``. Without ``tol``, and in other units, a row agrees within the interval of ``LEVEL`` by
    Welch's t, and always within ``FLOOR``.

    The errors are those over seeds; for a single seed it is that of its evaluation, which counts as
    known. If one side has a single seed, the spread over seeds is unknown: a row in the unit of
    its table's margin then also agrees within that margin. So does an exact number, which has no
    error, if it is what the paper printed. If a side has several presets of a table entry, the
    preset is part of the row.

    Args:
        a: The first side.
        b: The second side.
        tol: The tolerance in nats; None for the interval.
        ignore_protocol: Also compare numbers of different protocols.
        common: Leave out what is in one side only, and count it.

    Raises:
        UserError: If ``tol`` is bad, no row is in both sides, one side has several training
            settings of a row, or protocols differ and are not ignored.
    """
    if tol is not None:
        tol = options.TOLERANCE.check("tolerance", tol, f"tolerance {tol}")

    # The preset names a row only if a side has several of an entry. Otherwise a tuned recipe can
    # be compared with the paper's.
    entry = ["table", "row", "column"]
    several = any((frame.groupby(entry)["preset"].nunique() > 1).any() for frame in (a, b))
    name_columns = [*entry, "preset"] if several else entry

    # All rows of each side, by name. Then only those that are in a mean.
    by_side = {"first": _parts(a, name_columns), "second": _parts(b, name_columns)}
    first_numbers, second_numbers = (
        _numbers(rows_of_side, side) for side, rows_of_side in by_side.items()
    )

    names = list(dict.fromkeys([*first_numbers, *second_numbers]))
    if not names:
        raise UserError("nothing to compare: neither side has a finished run with a number")
    shared = [name for name in names if name in first_numbers and name in second_numbers]

    # If the sides have an entry in common but no metric, each metric is listed as being in one side
    # only. With ``common`` such rows are left out, and then nothing remains.
    entries_of_sides = [set(frame[entry].itertuples(index=False, name=None)) for frame in (a, b)]
    if not entries_of_sides[0] & entries_of_sides[1] or (common and not shared):
        raise UserError(
            f"nothing to compare: no row is in both sides; the first has {_known(a)}, "
            f"the second {_known(b)}"
        )

    rows = []
    for name in shared if common else names:
        row = _row(name, first_numbers.get(name), second_numbers.get(name), tol, ignore_protocol)

        # Flags of all rows of a side, also of lost values, which are not in its mean.
        flags_of_sides = {
            side: kinds(rows_of_side[name])
            for side, rows_of_side in by_side.items()
            if name in rows_of_side
        }
        marks = [
            f"{side}: {', '.join(flag_kinds)}"
            for side, flag_kinds in flags_of_sides.items()
            if flag_kinds
        ]
        rows.append(replace(row, flagged="; ".join(marks)))
    return Comparison(tuple(rows), tol, left_out=len(names) - len(rows))


def _parts(frame: pd.DataFrame, name_columns: list[str]) -> dict[Name, list[Record]]:
    """Return the rows of each metric of each entry that were measured as the cell asks.

    They are in the order of the entries, then of the metrics.
    """
    rows = records(frame)

    by_name: dict[Name, list[Record]] = {}
    for row in only_current(rows):
        if row["status"] == Status.DONE and row["metric"]:
            by_name.setdefault(
                (*(str(row[name]) for name in name_columns), row["metric"]), []
            ).append(row)

    # Rows of the frame stand by run. The comparison shows an entry's metrics together.
    entries = _places(tuple(str(row[name]) for name in name_columns) for row in rows)
    metrics = _places(row["metric"] for row in rows)

    # A name is that of the entry, then the metric.
    return dict(
        sorted(
            by_name.items(),
            key=lambda named_rows: (entries[named_rows[0][:-1]], metrics[named_rows[0][-1]]),
        )
    )


def _places(names: Iterable[T]) -> dict[T, int]:
    """Return name -> its place, in the order in which the names first appear."""
    return {name: i for i, name in enumerate(dict.fromkeys(names))}


def _numbers(rows_of_name: dict[Name, list[Record]], side: str) -> dict[Name, list[Record]]:
    """Return, for each name, the rows that are in its mean; names without any are left out.

    Raises UserError if the rows of a name are of several training settings: these are not averaged.
    """
    averaged_rows = {
        name: rows for name, all_rows in rows_of_name.items() if (rows := averaged(all_rows))
    }

    for name, rows in averaged_rows.items():
        keys = list(dict.fromkeys(row["key"] for row in rows))
        if len(keys) > 1:
            raise UserError(
                f"{_name(name[:-1])}: the {side} side holds {len(keys)} training settings of this "
                f"row ({', '.join(keys)}); allowed: one"
            )
    return averaged_rows


def _row(
    name: Name,
    a: list[Record] | None,
    b: list[Record] | None,
    tol: float | None,
    ignore_protocol: bool,
) -> ComparedRow:
    *cell, metric = name

    # A row in one side only is listed without a difference.
    if a is None or b is None:
        estimates = [None if side is None else estimated(side) for side in (a, b)]
        return ComparedRow(_name(cell), metric, a=estimates[0], b=estimates[1])

    protocols = unlike(row["signature"] for row in [*a, *b])
    if protocols and not ignore_protocol:
        raise UserError(
            f"{_name(cell)}, {metric}: the protocols differ: {protocols}; "
            "compare like with like, or ignore the protocol (--ignore-protocol)"
        )

    mean_a = estimated(a)
    mean_b = estimated(b)
    error = combine(mean_a.error, mean_b.error)
    unit = mean_a.unit if mean_a.unit == mean_b.unit else ""

    # One seed says nothing about the spread over seeds, so the table's margin stands in for it.
    has_single_seed = 1 in (mean_a.n, mean_b.n)
    margin = _margin(cell[0], cell[2], metric, unit) if has_single_seed else _Margin(0.0, False)

    # Rule -> the largest difference that it allows; the widest rule counts. If neither side has an
    # error, the numbers are exact or their errors unknown: only the margin may judge them.
    limits: dict[str, float] = {}
    if tol is not None and unit == "nats":
        limits["tolerance"] = tol
    elif error is not None and not is_timing(metric):
        limits["errors"] = max(FLOOR, _width(mean_a, mean_b))
        limits["margin"] = margin.size
    elif margin.size and margin.of_exact:
        limits["margin"] = margin.size

    judged_by = max(limits, key=lambda name: limits[name], default="")

    difference = mean_b.mean - mean_a.mean
    return ComparedRow(
        _name(cell),
        metric,
        mean_a,
        mean_b,
        difference,
        error,
        limits.get(judged_by),
        judged_by,
        protocols,
        _settings(a, b),
    )


def _width(*sides: Estimate) -> float:
    """Return the half-width of the interval of the difference.

    The error of a single evaluation counts as known.
    """
    # (standard error, degrees of freedom) of each side
    errors = [(e.error, e.n - 1 if e.n > 1 else math.inf) for e in sides if e.error is not None]
    return half_width(errors, LEVEL)


class _Margin(NamedTuple):
    """What a table's margin allows of a metric.

    Attributes:
        size: The margin; 0 if it is of another unit, or the table has none.
        of_exact: Whether it also judges a number without an error. It does if the metric is what
            the paper printed in that column, and no description, as a KL is.
    """

    size: float
    of_exact: bool


@lru_cache
def _margin(name: str, column: str, metric: str, unit: str) -> _Margin:
    """Return what the margin of a table allows; nothing if there is no such table (any more).

    ``unit`` is that of both numbers.
    """
    if name not in catalogue.options("table") or is_timing(metric):
        return _Margin(0.0, False)

    # The margin of a table is in the unit of its own measure, and means nothing in another one.
    table = catalogue.load_table(name)
    margin = table.margin if unit == unit_of(table.measure) else 0.0
    return _Margin(margin, metric == table.measure_of(column) and not is_descriptive(metric))


def _settings(a: list[Record], b: list[Record]) -> str:
    """Say in what the settings of the sides differ; '' if in nothing.

    Presets are compared first, then labels, then keys: ``presets: paper against tuned``,
    ``labels: none against modified``. Only the first difference is named.
    """
    for column in ("preset", "label"):
        settings_of_a, settings_of_b = (
            " and ".join(sorted({row[column] or "none" for row in side})) for side in (a, b)
        )
        if settings_of_a != settings_of_b:
            return f"{column}s: {settings_of_a} against {settings_of_b}"

    # Each side has one key only: ``_numbers`` refuses others.
    settings_of_a = a[0]["key"]
    settings_of_b = b[0]["key"]
    return (
        f"trained otherwise: {settings_of_a} against {settings_of_b}"
        if settings_of_a != settings_of_b
        else ""
    )


def _known(frame: pd.DataFrame) -> str:
    """Return the tables and presets of a side."""
    pairs = frame[["table", "preset"]].drop_duplicates().itertuples(index=False, name=None)
    return ", ".join(f"{table} preset={preset}" for table, preset in pairs) or "nothing"


def _name(cell: Sequence[str]) -> str:
    table, row, column, *preset = cell
    return f"{table}: {row} / {column}" + "".join(f" ({p})" for p in preset)


def render(comparison: Comparison, width: int | None = None) -> str:
    """Return a text table of all rows, then how many agree.

    ``width`` is that of the terminal, None for no limit.
    """
    numbers = ("first", "n", "second", "n", "difference", "error", "allowed")
    headers = ("row", "metric", *numbers, "result")
    lines = tuple(_line(row) for row in comparison.rows)
    sides = ("left", "left", *["right"] * len(numbers), "left")
    verdict = f"{_count(comparison)}: {_rule(comparison)}"
    return (
        f"{text.grid(Grid(headers, lines, sides, leading=2), width)}\n"
        "\n"
        f"{text.filled(verdict, width)}\n"
    )


def _line(r: ComparedRow) -> tuple[str, ...]:
    """Return the cells of one row."""
    counts = [str(e.n) if e else "" for e in (r.a, r.b)]

    numbers = ((r.difference, "+.3f"), (r.error, ".3f"), (r.allowed, ".3g"))
    values = [f"{value:{spec}}" if value is not None else "" for value, spec in numbers]

    if r.difference is None:
        side_with_it = f"only in the {'first' if r.b is None else 'second'}"
        result = side_with_it if r.judged else f"not judged: {side_with_it}"
    else:
        result = f"within {r.by}" if r.within else "DIFFERS" if r.judged else "not judged"

    if r.protocols:
        result += f" (protocols: {r.protocols})"
    if r.settings:
        result += f" ({r.settings})"
    if r.flagged:
        result += f" (flagged, {r.flagged})"

    # The protocols agree, unless they are ignored, so both sides have the same number of examples.
    test_cases = next((e.cases for e in (r.a, r.b) if e is not None and e.cases is not None), None)
    metric = r.metric if test_cases is None else f"{r.metric} of {test_cases:,} cases"
    return (r.name, metric, number(r.a), counts[0], number(r.b), counts[1], *values, result)


def _count(comparison: Comparison) -> str:
    on_both_sides = [r for r in comparison.rows if r.difference is not None]
    unjudged = sum(not r.judged for r in on_both_sides)
    times = sum(is_timing(r.metric) for r in on_both_sides)
    on_one_side = len(comparison.rows) - len(on_both_sides)

    # Rows of times are never judged. Any others that are not judged lack an error and a margin.
    reasons = ["times"] * bool(times) + ["no error is known, and no margin applies"] * (
        unjudged > times
    )
    unknown = f", {unjudged} not judged ({'; '.join(reasons)})" if unjudged else ""
    missing = f", {on_one_side} more in one side only" if on_one_side else ""
    if comparison.left_out:  # then no row of one side is listed
        missing = f", {comparison.left_out} in one side only left out"
    within = sum(r.within for r in on_both_sides)
    return f"{within} of {len(on_both_sides)} rows within what is allowed{unknown}{missing}"


def _rule(comparison: Comparison) -> str:
    """Say by what the rows were judged, as far as it applied to any of them."""
    errors = (
        f"the {LEVEL:.1%} interval, by Student's t (±: over seeds; [..]: of the "
        "evaluation of a single seed)"
    )
    pairs = [(r.a, r.b) for r in comparison.rows if r.a and r.b and not is_timing(r.metric)]

    if comparison.tol is not None:
        # A tolerance is in nats. Rows in other units are judged by their errors.
        other_units = any(a.unit != "nats" or b.unit != "nats" for a, b in pairs)
        return f"|difference| <= {comparison.tol:g}" + (
            f" nats; in other units {errors}" if other_units else ""
        )

    by_margin = any(row.by == "margin" for row in comparison.rows)
    margin = (
        (
            "; with a single seed on a side at least the table's margin, because the spread "
            "over seeds is unknown"
        )
        if by_margin
        else ""
    )
    return f"|difference| <= {errors}{margin}"
