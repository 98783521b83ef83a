"""Whether a stored measure is what a cell asks for now."""

from __future__ import annotations

from vaebench.config.cells import Cell
from vaebench.protocol.signature import of_other_data, samples_of, signature, signature_parts
from vaebench.results.stats import Measure


def is_current(cell: Cell, measure: Measure) -> bool:
    """Whether a measure was taken the way the cell's configuration asks for now (data, split, points, samples)."""
    wanted = signature_parts(signature(cell.config, measure.name, samples_of(cell.config, measure.name)))
    found = signature_parts(measure.signature)
    found["data"] = found.get("data", "").split("@")[0]  # a configuration does not know the hash of the data
    # Signatures did not always say it. All measures of a run have the batch of its training.
    found.setdefault("svi_batch", wanted.get("svi_batch", ""))
    if found.get("precision") != wanted.get("precision"):  # of which float32 goes without saying
        return False
    if of_other_data(measure.signature):
        return False
    return all(found.get(k) == v for k, v in wanted.items())
