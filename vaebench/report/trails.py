"""Validation curves of runs in a few characters each, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from vaebench.config.cells import Cell
from vaebench.errors import UserError
from vaebench.report.plots import curve_files
from vaebench.results import run_files
from vaebench.results.curves import share_done
from vaebench.results.store import Store

BLOCKS = "▁▂▃▄▅▆▇█"
"""Characters from the lowest number to the highest."""

LENGTH = 12
"""Most characters of a curve."""

LEGEND = (
    "curve: the validation bound of the first seed, from its first validation to its last; each "
    "on a scale of its own, whose upper end is the upper quartile."
)


class Trail(NamedTuple):
    """The validations of one run.

    Attributes:
        bounds: The bound on the validation examples, positive nats, one number for each validation.
        share: Share of its budget that is used; None if it is not known.
    """

    bounds: tuple[float, ...]
    share: float | None = None


Trails = Mapping[str, Trail]
"""Name of a cell's runs -> the trail of its first seed."""


def stored(store: Store, cells: Iterable[Cell], seeds: Sequence[int]) -> Trails:
    """Return, for each cell, the trail of the first seed that has a curve that can be read."""
    by_key: dict[str, Trail] = {}
    for cell in cells:
        if cell.key in by_key:
            continue

        for seed in seeds:
            trail = _read(store.run_dir(cell.key, seed) / run_files.CURVE, cell)
            if trail is not None:
                by_key[cell.key] = trail
                break
    return by_key


def _read(path: Path, cell: Cell) -> Trail | None:
    try:
        points = curve_files.bounds(path)
    except (UserError, OSError):
        return None
    if not points:
        return None

    share = share_done(cell, [update for update, _ in points])
    return Trail(tuple(bound for _, bound in points), share)


def drawn(trail: Trail) -> str:
    """Draw a trail as ``█▇▄▂▁▁``; for a run that is not finished, ``█▅▂ 40 %``.

    Each character is the mean of as many validations. The lowest block is the lowest number; the
    highest block is the upper quartile and all above it. Otherwise the first validations, tens of
    nats above all others, would make the rest flat.
    """
    curve = _blocks([v for v in trail.bounds if math.isfinite(v)])
    if trail.share is None or trail.share >= 1:
        return curve
    return f"{curve} {math.floor(100 * trail.share)} %".strip()


def _blocks(values: list[float]) -> str:
    if not values:
        return ""

    # Means over ``length`` groups of consecutive validations, whose sizes differ by at most one.
    length = min(LENGTH, len(values))
    edges = [round(i * len(values) / length) for i in range(length + 1)]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in pairwise(edges)]

    # The scale ends at the upper quartile, or at the maximum if the quartile is the minimum.
    lowest = min(means)
    quartile = sorted(means)[math.ceil(3 * (length - 1) / 4)]
    top = quartile if quartile > lowest else max(means)
    if top <= lowest:
        return BLOCKS[0] * length

    last_block = len(BLOCKS) - 1
    heights = (round((v - lowest) / (top - lowest) * last_block) for v in means)
    return "".join(BLOCKS[min(last_block, height)] for height in heights)
