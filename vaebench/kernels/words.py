"""Bits of tensors as words of 16, row after row, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaebench.kernels import bits
from vaebench.kernels.vectors import LANES


def words_of(units: int) -> int:
    """Words of 16 bits of so many units."""
    return -(-units // LANES)


def packed(z: Tensor) -> np.ndarray:
    """Zeros and ones (rows, units) as words."""
    rows, units = z.shape
    state = np.empty(rows * words_of(units), np.uint16)
    own = z.detach().to(torch.float32).contiguous().view(-1).numpy()
    bits.pack(own, units, rows, units, words_of(units), state)
    return state


def unpacked(state: np.ndarray, rows: int, units: int) -> Tensor:
    """Words as zeros and ones (rows, units), float32."""
    words = words_of(units)
    out = torch.empty(rows, words * LANES)
    bits.unpack(state, words, rows, out.view(-1).numpy())
    return out[:, :units]
