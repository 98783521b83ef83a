"""PyTorch's uniforms on the CPU, bit for bit, in a tenth of the time.

PyTorch's generator is MT19937, from which it takes one number at a time.

Reference:
    Matsumoto & Nishimura 1998.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vaebench.kernels.compiler import kernel

SIZE, SHIFT = 624, 397
"""Number of words of the state, and how far ahead the word is that each is mixed with."""

LEFT, NEXT, WORDS = 8, 16, 24
"""Where the parts of ``torch.Generator.get_state`` begin, in bytes: how many words are left, plus 1
(int32), the place of the next word (int64), and the words (uint64).
"""


@kernel
def refill(state):
    """Replace the state by the next 624 words, in place."""
    # The constants are those of MT19937. A word is mixed with the one SHIFT places ahead and with
    # the upper bit of the present word beside the lower 31 of the next.
    upper = np.uint32(0x80000000)
    lower = np.uint32(0x7FFFFFFF)
    if_odd = np.uint32(0x9908B0DF)
    one = np.uint32(1)
    zero = np.uint32(0)
    for k in range(SIZE - SHIFT):
        y = np.uint32((state[k] & upper) | (state[k + 1] & lower))
        state[k] = state[k + SHIFT] ^ np.uint32(y >> one) ^ (if_odd if y & one else zero)

    # For the rest the word ahead is one of the new words.
    for k in range(SIZE - SHIFT, SIZE - 1):
        y = np.uint32((state[k] & upper) | (state[k + 1] & lower))
        state[k] = state[k + SHIFT - SIZE] ^ np.uint32(y >> one) ^ (if_odd if y & one else zero)

    # The word after the last one is the first of the new words.
    y = np.uint32((state[SIZE - 1] & upper) | (state[0] & lower))
    state[SIZE - 1] = state[SHIFT - 1] ^ np.uint32(y >> one) ^ (if_odd if y & one else zero)


@kernel
def uniforms(state, at, out, least):
    """Fill ``out`` with the lower 24 bits of every word, as floats on [0, 1).

    Numbers below ``least`` become ``least``. ``at`` is how many words of ``state`` are used up.
    Returns how many are used up afterwards.
    """
    done = 0
    unit = np.float32(2.0**-24)
    while done < len(out):
        if at == SIZE:
            refill(state)
            at = 0

        # A stretch of the state at a time: a loop without a branch, which the compiler turns into
        # vectors. Its body is the tempering of MT19937.
        count = min(SIZE - at, len(out) - done)
        words = state[at : at + count]
        part = out[done : done + count]
        for i in range(count):
            y = words[i]
            y = np.uint32(y ^ np.uint32(y >> np.uint32(11)))
            y = np.uint32(y ^ np.uint32(np.uint32(y << np.uint32(7)) & np.uint32(0x9D2C5680)))
            y = np.uint32(y ^ np.uint32(np.uint32(y << np.uint32(15)) & np.uint32(0xEFC60000)))
            y = np.uint32(y ^ np.uint32(y >> np.uint32(18)))
            u = np.float32(np.int32(y & np.uint32(0xFFFFFF))) * unit
            part[i] = max(u, least)

        at += count
        done += count
    return at


def fill(out: Tensor, generator: torch.Generator, least: float) -> None:
    """Fill ``out`` as ``out.uniform_(generator=generator).clamp_(min=least)`` does, bit for bit.

    ``out`` is contiguous, float32, on the CPU.
    """
    # Views of the parts of the state's bytes, so that writing to them changes ``saved``.
    saved = generator.get_state()
    as_bytes = saved.numpy()
    left = as_bytes[LEFT : LEFT + 4].view(np.int32)
    place = as_bytes[NEXT : NEXT + 8].view(np.int64)
    words = as_bytes[WORDS : WORDS + 8 * SIZE].view(np.uint64)

    # The generator must stand where PyTorch would have left it, since more is drawn from it.
    state = words.astype(np.uint32)
    used = uniforms(state, SIZE + 1 - int(left[0]), out.view(-1).numpy(), np.float32(least))
    words[:] = state
    left[0] = SIZE + 1 - used
    place[0] = used
    generator.set_state(saved)


@lru_cache(maxsize=1)
def equals_torch() -> bool:
    """Whether this version of PyTorch draws the same numbers as ``fill`` does.

    Its state must also stand in the same bytes.
    """
    ours = torch.Generator().manual_seed(5)
    theirs = torch.Generator().manual_seed(5)

    # From the start of a generator and from within a state, each time across a refill. If a version
    # lays out its state otherwise, views and ``set_state`` may raise an error.
    try:
        for count in (SIZE + 1, 3 * SIZE):
            out = torch.empty(count)
            fill(out, ours, 0.0)
            if not torch.equal(out, torch.empty(count).uniform_(generator=theirs)):
                return False
        return torch.equal(ours.get_state(), theirs.get_state())
    except (RuntimeError, ValueError, IndexError):
        return False
