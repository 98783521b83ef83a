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


@dataclass(frozen=True)
class Ranked:
    """One entry with its published and its measured rank, 1 for the lowest number; ties share the lowest rank."""

    name: str
    published: float
    ours: float
    published_rank: int
    our_rank: int


@dataclass(frozen=True)
class Ranking:
    """The entries in the paper's order, and Kendall's tau-b of the two orders (None where one of them is all ties)."""

    entries: tuple[Ranked, ...]
    tau: float | None


def ranking(table: Table, frame: pd.DataFrame) -> Ranking | None:
    """Ranks over all trained entries with both numbers and the paper's protocol; None below three of them."""
    return rank(summarize(table, frame))


def rank(rows: list[ReportRow]) -> Ranking | None:
    """As ``ranking``, from a summary."""
    both = [r for r in rows if r.ours and r.published is not None and r.comparable]
    if len(both) < ENOUGH:
        return None
    from scipy.stats import kendalltau, rankdata

    published, ours = [r.published for r in both], [r.ours.mean for r in both]
    several = len({r.preset for r in both}) > 1
    entries = [
        Ranked(f"{r.row} / {r.column}" + (f" ({r.preset})" if several else ""), p, o, int(pr), int(our))
        for r, p, o, pr, our in zip(
            both, published, ours, rankdata(published, "min"), rankdata(ours, "min"), strict=True
        )
    ]
    constant = len(set(published)) == 1 or len(set(ours)) == 1
    tau = math.nan if constant else float(kendalltau(published, ours).statistic)
    return Ranking(tuple(sorted(entries, key=lambda e: e.published_rank)), tau if math.isfinite(tau) else None)
