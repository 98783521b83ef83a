"""The order of a table's rows, by our numbers and by the paper's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vaebench.protocol.registry import is_descriptive
from vaebench.report.page import Grid, Section
from vaebench.report.summary import ReportRow

ENOUGH = 3
"""Least number of entries; the order of fewer is not worth a number."""


@dataclass(frozen=True)
class Ranked:
    """One entry with its published and its measured rank, 1 for the lowest number.

    Ties share the lowest rank.
    """

    name: str
    published_rank: int
    our_rank: int
    n: int = 1
    """Number of seeds behind our number."""


@dataclass(frozen=True)
class Ranking:
    """The entries in the paper's order, and Kendall's tau-b of the two orders.

    ``tau`` is None if one of the orders has nothing but ties.
    """

    entries: tuple[Ranked, ...]
    tau: float | None
    measure: str = ""
    scope: str = ""
    """Data and split on which all entries are measured."""

    def sentence(self) -> str:
        """Return Kendall's tau in words, of what it is, and what one seed leaves open."""
        tau = "not defined (all ties)" if self.tau is None else f"{self.tau:.2f}"
        subject = ", ".join(w for w in (self.measure, self.scope) if w)

        text = (
            f"Kendall's tau of the two orders of {subject}: {tau} ({len(self.entries)} "
            "entries; 1: the same order)"
        )

        with_one_seed = sum(e.n == 1 for e in self.entries)
        if with_one_seed:
            single_entries = (
                "one seed each"
                if with_one_seed == len(self.entries)
                else f"one seed for {with_one_seed} of the entries"
            )
            text += f"; {single_entries}: the order within the error of the seeds is not known"

        return text

    def section(self) -> Section:
        """Return the two orders beside each other, for a page."""
        lines = tuple((e.name, str(e.published_rank), str(e.our_rank)) for e in self.entries)
        grid = Grid(
            ("order, lowest first", "published", "ours"),
            lines,
            ("left", "right", "right"),
            leading=1,
        )
        return Section(grid, self.sentence())


def rank(rows: list[ReportRow]) -> tuple[Ranking, ...]:
    """Rank the trained entries with both numbers and the paper's protocol.

    There is one ranking for each kind of number. A ranking has entries of one measure on one split
    of one data set, and each run once: the test and the training number of a run rise and fall
    together, and an order of numbers of two data sets is not due to the models.

    A kind of number has no ranking if it has fewer than three entries, or if these have several
    settings (preset and label), because entries trained by different recipes have no common order.
    In this case rank the rows of one setting.
    """
    by_kind: dict[tuple[str, str], list[ReportRow]] = {}
    for row in rows:
        if (
            row.ours
            and row.published is not None
            and row.comparable
            and not is_descriptive(row.measure)
        ):
            by_kind.setdefault((row.measure, row.scope), []).append(row)
    return tuple(ranking for of_kind in by_kind.values() if (ranking := _rank(of_kind)))


def _rank(rows: list[ReportRow]) -> Ranking | None:
    """Return one ranking of ``rows``, which are of one kind."""
    settings = {(r.preset, r.label) for r in rows}

    # If columns show the same run, only the first is kept.
    rows = list({r.key: r for r in reversed(rows)}.values())[::-1]
    if len(rows) < ENOUGH or len(settings) > 1:
        return None

    from scipy.stats import kendalltau, rankdata

    numbers = [(r.published, r.ours.mean) for r in rows if r.published is not None and r.ours]
    published, ours = zip(*numbers, strict=True)

    # "min": tied numbers share the lowest of their ranks.
    ranks = zip(rankdata(published, "min"), rankdata(ours, "min"), strict=True)
    entries = [
        Ranked(f"{row.row} / {row.column}", int(published_rank), int(our_rank), row.n)
        for row, (published_rank, our_rank) in zip(rows, ranks, strict=True)
    ]

    # Tau is not defined for an order of nothing but ties.
    constant = len(set(published)) == 1 or len(set(ours)) == 1
    tau = math.nan if constant else float(kendalltau(published, ours).statistic)
    in_order = tuple(sorted(entries, key=lambda e: e.published_rank))
    return Ranking(in_order, tau if math.isfinite(tau) else None, rows[0].measure, rows[0].scope)
