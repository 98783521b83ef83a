"""One thread: tiny tensors are fastest so, and nothing then depends on how many cores a machine has."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
