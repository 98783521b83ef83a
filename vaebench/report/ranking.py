"""Whether our numbers put the rows of a table in the paper's order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaebench.config.cells import Table
from vaebench.protocol.registry import is_descriptive
from vaebench.report.page import Grid, Section
from vaebench.report.summary import ReportRow, summarize

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 3
"""Fewer entries have no order worth a number."""


@dataclass(frozen=True)
class Ranked:
    """One entry with its published and its measured rank, 1 for the lowest number; ties share the lowest rank."""

    name: str
    published: float
    ours: float
    published_rank: int
    our_rank: int
    n: int = 1
    """Number of seeds behind ``ours``."""


@dataclass(frozen=True)
class Ranking:
    """The entries in the paper's order, and Kendall's tau-b of the two orders (None where one of them is all ties)."""

    entries: tuple[Ranked, ...]
    tau: float | None
    measure: str = ""
    scope: str = ""
    """Data and split on which all entries are measured."""

    def sentence(self) -> str:
        """Kendall's tau in words, of what, and what one seed leaves open."""
        tau = "not defined (all ties)" if self.tau is None else f"{self.tau:.2f}"
        what = ", ".join(w for w in (self.measure, self.scope) if w)
        text = f"Kendall's tau of the two orders of {what}: {tau} ({len(self.entries)} entries; 1: the same order)"
        single = sum(e.n == 1 for e in self.entries)
        if single:
            which = "one seed each" if single == len(self.entries) else f"one seed for {single} of the entries"
            text += f"; {which}: the order within the error of the seeds is not known"
        return text

    def section(self) -> Section:
        """The two orders beside each other, for a page."""
        lines = tuple((e.name, str(e.published_rank), str(e.our_rank)) for e in self.entries)
        grid = Grid(("order, lowest first", "published", "ours"), lines, ("left", "right", "right"), leading=1)
        return Section(grid, self.sentence())


def rankings(table: Table, frame: pd.DataFrame) -> tuple[Ranking, ...]:
    """Ranks over the trained entries with both numbers and the paper's protocol, one ranking per kind of number.

    A ranking holds entries of one measure on one split of one data set, and each run once: the test and the training
    number of a run rise and fall together, and numbers of two data sets have an order that no model made.

    None below three entries, and where they hold several settings (preset and label): entries trained by different
    recipes have no common order. Rank the rows of one setting then.
    """
    return rank(summarize(table, frame))


def rank(rows: list[ReportRow]) -> tuple[Ranking, ...]:
    """As ``rankings``, from a summary."""
    kinds: dict[tuple[str, str], list[ReportRow]] = {}
    for row in rows:
        if not row.ours or row.published is None or not row.comparable or is_descriptive(row.measure):
            continue
        kinds.setdefault((row.measure, row.scope), []).append(row)

    found = [_rank(same) for same in kinds.values()]
    return tuple(r for r in found if r is not None)


def _rank(rows: list[ReportRow]) -> Ranking | None:
    """One ranking of ``rows``, which are of one kind."""
    settings = {(r.preset, r.label) for r in rows}
    rows = list({r.key: r for r in reversed(rows)}.values())[::-1]  # of columns that show one run, the first
    if len(rows) < ENOUGH or len(settings) > 1:
        return None
    from scipy.stats import kendalltau, rankdata

    published = [r.published for r in rows]
    ours = [r.ours.mean for r in rows]
    ranks = zip(rankdata(published, "min"), rankdata(ours, "min"), strict=True)
    entries = [
        Ranked(f"{row.row} / {row.column}", row.published, row.ours.mean, int(theirs), int(mine), row.n)
        for row, (theirs, mine) in zip(rows, ranks, strict=True)
    ]

    constant = len(set(published)) == 1 or len(set(ours)) == 1
    tau = math.nan if constant else float(kendalltau(published, ours).statistic)
    return Ranking(
        tuple(sorted(entries, key=lambda e: e.published_rank)),
        tau if math.isfinite(tau) else None,
        rows[0].measure,
        rows[0].scope,
    )
