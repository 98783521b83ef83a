"""What options of the command line may be, one kind each.

Functions that take the same values hold them to the same.
"""

from __future__ import annotations

from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.kinds import MANY, between, choice, either, from_zero, number, share, whole

MINUTES = between(0, 1e6)
"""That ``run`` is given: up to two years."""

TOLERANCE = from_zero("a number of nats from 0")
"""That ``compare`` leaves two results."""

SECONDS = number(above=0)
"""Of a measurement of ``bench``."""

PACK = whole(1, 10_000)
"""Seeds that ``bench`` packs together; more would only fill the memory."""

SEED = whole(0, LARGEST_SEED)
"""Of what is drawn from a model."""

NUMBER = whole(1, 1_000_000)
"""Of cases that are drawn."""

TEST = whole(1, MANY)
"""Of cases of a test set; how many there are is known with the data."""

CODE = choice("mean", "sample")
"""Of a posterior, what a case is passed through."""

WIDTH = whole(1, 1000)
"""Of a beam."""

LONGEST = whole(1, 100_000)
"""Tokens of a document."""

PATH = whole(2, MANY)
"""Codes on the way from one document to another."""

TRAVERSE = whole(1, 100)
"""Latents that are moved one by one."""

STEPS = whole(2, 100)
"""Values of a moved latent."""

AROUND = whole(0, MANY)
"""A test image."""

IMPUTE = either("square", share())
"""Missing pixels."""
