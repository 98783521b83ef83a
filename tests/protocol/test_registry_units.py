"""Every number that is shipped has the unit that the registry says."""

from __future__ import annotations

import csv

from vaebench.protocol.registry import METRICS, unit_of
from vaebench.results import shipped
from vaebench.results.long_frame import lacking


def test_the_units_of_the_shipped_results():
    place = shipped.folder()
    assert place is not None

    pairs = set()
    for path in place.glob("*.csv"):
        with path.open(newline="") as file:
            lines = csv.DictReader(file)
            # Other files hold no measures, such as those of curves.
            if lacking(lines.fieldnames or ()):
                continue
            pairs |= {(line["metric"], line["unit"]) for line in lines if line["metric"]}

    # So that no mistake in reading leaves nothing to compare.
    assert len(pairs) > 20
    assert pairs == {(name, unit_of(name)) for name, _ in pairs}
    assert {METRICS[name].unit for name in ("hours", "perplexity")} == {"h", "per token"}
