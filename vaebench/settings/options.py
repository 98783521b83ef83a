"""What options of the command line may be, one kind for each.

Functions that take the same values check them by the same kinds.
"""

from __future__ import annotations

from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.kinds import MANY, between, choice, either, from_zero, number, share, whole

MINUTES = between(0, 1e6)
"""Minutes that ``run`` may take: up to two years."""

TOLERANCE = from_zero("a number of nats from 0")
"""Difference that ``compare`` allows between two results."""

SECONDS = number(above=0)
"""Seconds of one measurement of ``bench``."""

PACK = whole(1, 10_000)
"""Seeds that ``bench`` packs together; more would only fill the memory."""

SEED = whole(0, LARGEST_SEED)
"""Seed of what is drawn from a model."""

NUMBER = whole(1, 1_000_000)
"""Number of examples that are drawn."""

TEST = whole(1, MANY)
"""Number of test examples; how many there are is only known with the data."""

CODE = choice("mean", "sample")
"""Which code of its posterior an example is passed through: the mean or a sample."""

WIDTH = whole(1, 1000)
"""Width of a beam."""

LONGEST = whole(1, 100_000)
"""Most tokens of a document."""

PATH = whole(2, MANY)
"""Number of codes on the way from one document to another."""

TRAVERSE = whole(1, 100)
"""Number of latents that are moved one by one."""

STEPS = whole(2, 100)
"""Number of values that a moved latent takes."""

AROUND = whole(0, MANY)
"""Place of a test image."""

IMPUTE = either("square", share())
"""Missing pixels: a square, or a share of all."""
