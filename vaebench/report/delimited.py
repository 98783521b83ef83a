"""The aggregated report as CSV, with full precision: one line per row and column of the table."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from vaebench.config import Table
from vaebench.report.summary import ReportRow, summarize

if TYPE_CHECKING:
    import pandas as pd

FIELDS = (
    *("row", "column", "preset", "label", "published", "spread", "ours", "se", "single_error", "n", "difference"),
    *("verdict", "iw_nll", "iw_nll_error", "kl", "updates", "seconds", "device", "status", "source"),
)


def render(table: Table, frame: pd.DataFrame) -> str:
    """CSV text with the columns FIELDS; an unknown number is empty.

    ``spread`` is the standard deviation over the paper's runs, ``se`` the standard error over our seeds,
    ``single_error`` the error of the evaluation where there is one seed.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_record(r) for r in summarize(table, frame))
    return text.getvalue()


def _record(r: ReportRow) -> dict[str, object]:
    plain = ("row", "column", "preset", "label", "published", "spread", "se", "n", "difference", "verdict")
    return {
        **{name: getattr(r, name) for name in (*plain, "updates", "seconds", "device", "status", "source")},
        "ours": r.ours.mean if r.ours else None,
        "single_error": r.ours.own_error if r.ours else None,
        "iw_nll": r.iw_nll.mean if r.iw_nll else None,
        "iw_nll_error": r.iw_nll.error if r.iw_nll else None,
        "kl": r.kl.mean if r.kl else None,
    }
