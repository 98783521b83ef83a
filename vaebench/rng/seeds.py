"""Seeds of random streams.

A pure function of (seed, purpose, index), the same on every machine and version. The numbers drawn
from a stream are the generator's: a CPU and a GPU draw different ones. torch's CPU generator uses
the low 32 bits of a seed, so among the hundred thousands of streams of a long run a few pairs
coincide; they belong to different updates, where that does no harm.

Because every stream is re-derived from these three, there is no random state to save: a resumed run
draws what the uninterrupted one would have drawn, and a seed packed beside others draws what it
would have drawn alone.
"""

from __future__ import annotations

import hashlib

LARGEST_SEED = 2**63 - 1
"""Of a run: results hold seeds as whole numbers of 64 bits."""

PURPOSES = (
    *(
        "init",
        "order",
        "binarize",
        "noise",
        "valid",
        "eval",
        "check",
        "chains",
        "logz",
        "valid_logz",
    ),
    *("inner_order", "inner", "inner_binarize", "refine", "watch", "mi_order"),
    *("hmc", "anneal", "pixel_order", "relaxed"),
    *("missing", "impute"),
    *("made_code", "made_start", "made_chain", "made_case"),
)
"""What randomness is used for. Streams of different purposes are independent."""


def derive(seed: int, purpose: str, *index: int) -> int:
    """A number in [0, 2^63) for a generator's seed.

    Raises ValueError for a purpose that is not in PURPOSES, so that a typing error
    cannot make a new stream.
    """
    if purpose not in PURPOSES:
        raise ValueError(f"purpose {purpose!r} is not one of {PURPOSES}")
    text = ":".join([str(int(seed)), purpose, *(str(int(i)) for i in index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
