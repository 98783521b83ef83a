"""Small multilayer perceptrons."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TanhNet(nn.Module):
    """One hidden layer of tanh units and a linear scalar output: (..., inputs) -> (...).

    NVIL's input-dependent baseline (Mnih & Gregor 2014, section 4.1: 100 units).
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, units)
        self.output = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.tanh(self.hidden(x))).squeeze(-1)
