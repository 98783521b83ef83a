"""Bits of tensors as words of 16, row after row, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaebench.kernels import bits
from vaebench.kernels.vectors import LANES


def words_of(units: int) -> int:
    """Return the number of words of 16 bits for so many units."""
    return -(-units // LANES)


def packed(z: Tensor) -> np.ndarray:
    """Pack zeros and ones (rows, units) into words."""
    rows, units = z.shape
    state = np.empty(rows * words_of(units), np.uint16)
    values = z.detach().to(torch.float32).contiguous().view(-1).numpy()
    bits.pack(values, units, rows, units, words_of(units), state)
    return state


def unpacked(state: np.ndarray, rows: int, units: int) -> Tensor:
    """Unpack words into zeros and ones (rows, units), float32."""
    words = words_of(units)
    out = torch.empty(rows, words * LANES)
    bits.unpack(state, words, rows, out.view(-1).numpy())
    return out[:, :units]
