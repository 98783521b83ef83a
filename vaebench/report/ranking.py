"""Whether our numbers put the rows of a table in the paper's order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaebench.config import Table
from vaebench.report.summary import ReportRow, summarize

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 3
"""Fewer entries have no order worth a number."""


HEADERS = ("order, lowest first", "published", "ours")


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

    def sentence(self) -> str:
        """Kendall's tau in words, and what one seed leaves open."""
        tau = "not defined (all ties)" if self.tau is None else f"{self.tau:.2f}"
        text = f"Kendall's tau of the two orders: {tau} ({len(self.entries)} entries; 1: the same order)"
        single = sum(e.n == 1 for e in self.entries)
        if single:
            which = "one seed each" if single == len(self.entries) else f"one seed for {single} of the entries"
            text += f"; {which}: the order within the error of the seeds is not known"
        return text

    def cells(self) -> tuple[tuple[str, str, str], ...]:
        """Rows for a table under HEADERS."""
        return tuple((e.name, str(e.published_rank), str(e.our_rank)) for e in self.entries)


def ranking(table: Table, frame: pd.DataFrame) -> Ranking | None:
    """Ranks over all trained entries with both numbers and the paper's protocol.

    None below three of them, and where they hold several settings (preset and label): entries trained by different
    recipes have no common order. Rank the rows of one setting then.
    """
    return rank(summarize(table, frame))


def rank(rows: list[ReportRow]) -> Ranking | None:
    """As ``ranking``, from a summary."""
    both = [r for r in rows if r.ours and r.published is not None and r.comparable]
    if len(both) < ENOUGH or len({(r.preset, r.label) for r in both}) > 1:
        return None
    from scipy.stats import kendalltau, rankdata

    published, ours = [r.published for r in both], [r.ours.mean for r in both]
    entries = [
        Ranked(f"{r.row} / {r.column}", p, o, int(pr), int(our), r.n)
        for r, p, o, pr, our in zip(
            both, published, ours, rankdata(published, "min"), rankdata(ours, "min"), strict=True
        )
    ]
    constant = len(set(published)) == 1 or len(set(ours)) == 1
    tau = math.nan if constant else float(kendalltau(published, ours).statistic)
    return Ranking(tuple(sorted(entries, key=lambda e: e.published_rank)), tau if math.isfinite(tau) else None)
