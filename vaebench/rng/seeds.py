"""Seeds of random streams: a pure function of (seed, purpose, index).

These seeds are the same on every machine and in every version. The numbers that are drawn from a
stream depend on the generator: a CPU and a GPU draw different ones. torch's CPU generator uses only
the low 32 bits of a seed, so a few pairs coincide among the hundreds of thousands of streams of a
long run. That does no harm, since they belong to different updates.

Since every stream is derived anew from these three, there is no random state to save. A resumed run
draws what the uninterrupted one would have drawn, and a seed in a pack draws what it would have
drawn alone.
"""

from __future__ import annotations

import hashlib

LARGEST_SEED = 2**63 - 1
"""The largest seed of a run: results store seeds as 64-bit integers."""

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
    """Derive the seed of a generator, a number in [0, 2^63).

    Raises:
        ValueError: For a purpose that is not in PURPOSES, so that a typing error cannot make a new
            stream.
    """
    if purpose not in PURPOSES:
        raise ValueError(f"purpose {purpose!r} is not one of {PURPOSES}")

    # A hash of the written numbers: the same everywhere, and streams are unrelated even if their
    # seeds are neighbours. The shift leaves 63 bits, which a signed 64-bit integer holds.
    text = ":".join([str(int(seed)), purpose, *(str(int(i)) for i in index)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
