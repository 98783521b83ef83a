"""Binarizing grey evaluation cases once and for all, the same on every machine."""

from __future__ import annotations

import numpy as np

SEED = 1867
"""Of the evaluation noise. Changing it changes the prepared data: raise the version of the data
sets that use it."""

_BLOCK = 1000


def binarize_once(grey: np.ndarray, stream: int, positions: np.ndarray) -> np.ndarray:
    """Binary cases (n, d) uint8 from grey ones (n, d), levels of any dtype from 0 to 255.

    x = 1 where u < grey/255. ``stream`` numbers the file the cases come from and ``positions`` (n,)
    their places in that file. Row p of the noise of a stream belongs to place p, so a case comes
    out the same whichever others are binarized with it. As 0 <= u < 1, grey 0 is never 1 and grey
    255 always is.
    """
    d = grey.shape[1]
    # Generator.random takes the top 53 bits of each number PCG64 yields: exact arithmetic, one
    # number per value, so the stream is the same on every machine and does not depend on the size
    # of the blocks it is drawn in.
    noise = np.random.Generator(np.random.PCG64(np.random.SeedSequence([SEED, stream])))
    out = np.empty(grey.shape, dtype=np.uint8)
    end = int(positions.max()) + 1 if len(positions) else 0
    for start in range(0, end, _BLOCK):
        u = noise.random((min(_BLOCK, end - start), d))
        here = np.flatnonzero((positions >= start) & (positions < start + len(u)))
        out[here] = u[positions[here] - start] < grey[here].astype(np.float64) / 255
    return out
