"""Binarization of grey evaluation examples, once and for all and the same on every machine."""

from __future__ import annotations

import numpy as np

SEED = 1867
"""Seed of the evaluation noise. Changing it changes the prepared data: raise the version of the
data sets that use it."""

_BLOCK = 1000


def binarize_once(grey: np.ndarray, stream: int, positions: np.ndarray) -> np.ndarray:
    """Binarize grey examples: a pixel is 1 if its noise u < grey/255.

    Row p of a stream's noise belongs to place p of the file, so an example comes out the same
    whichever others are binarized with it. As 0 <= u < 1, grey 0 is never 1 and grey 255 always is.

    Args:
        grey: Grey levels (n, d) of any dtype, from 0 to 255.
        stream: Number of the noise stream, one for each file.
        positions: Places of the examples in their file, (n,).

    Returns:
        (n, d) uint8 of 0 and 1.
    """
    width = grey.shape[1]
    # Generator.random takes the top 53 bits of each number of PCG64: exact arithmetic, one number
    # for each value. So the stream is the same on every machine, whatever the size of the blocks
    # it is drawn in.
    noise = np.random.Generator(np.random.PCG64(np.random.SeedSequence([SEED, stream])))
    out = np.empty(grey.shape, dtype=np.uint8)
    # The noise of all places up to the last one is drawn, block by block, so that row p is always
    # the same.
    end = int(positions.max()) + 1 if len(positions) else 0
    for start in range(0, end, _BLOCK):
        uniform = noise.random((min(_BLOCK, end - start), width))
        in_block = np.flatnonzero((positions >= start) & (positions < start + len(uniform)))
        out[in_block] = (
            uniform[positions[in_block] - start] < grey[in_block].astype(np.float64) / 255
        )
    return out
