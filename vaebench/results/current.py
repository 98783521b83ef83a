"""Whether a stored measure is the one that a cell asks for now."""

from __future__ import annotations

from vaebench.config.cells import Cell
from vaebench.protocol.signature import samples_of, signature, turned_off
from vaebench.results.stats import Measure


def is_current(cell: Cell, measure: Measure) -> bool:
    """Whether a measure was taken as the cell's configuration asks for now.

    That is with the same data, split, points and samples. If its setting asks for no samples, no
    number by samples is.
    """
    # Taken with samples at a time when the setting asked for some.
    if "samples" in measure.signature.parts and turned_off(cell.config, measure.name):
        return False
    protocol = signature(cell.config, measure.name, samples_of(cell.config, measure.name))
    return measure.signature.matches(protocol)
