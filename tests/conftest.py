"""What every test starts from: one thread, and no width that the environment gives.

Tiny tensors are fastest with one thread, and nothing then depends on how many cores a machine has.
"""

from __future__ import annotations

import os

import torch

torch.set_num_threads(1)
os.environ.pop("COLUMNS", None)  # pytest-xdist gives its workers the terminal's, to which reports would be fitted
