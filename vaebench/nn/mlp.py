"""Small multilayer perceptrons."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from vaebench.nn.batch_norm import BatchNorm, Tape


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


class NormalizedTanhNet(nn.Module):
    """Hidden layers (dense, batch normalisation, tanh) of ``units`` each, (..., inputs) -> (..., units or inputs).

    With no hidden layer it is the identity. The nets of the DVAE family (Vahdat et al. 2018, 2020).
    """

    def __init__(self, inputs: int, units: int, layers: int, momentum: float) -> None:
        super().__init__()
        widths = [inputs] + [units] * layers
        self.outputs = widths[-1]
        self.dense = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])
        self.norms = nn.ModuleList([BatchNorm(n, momentum) for n in widths[1:]])

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        for dense, norm in zip(self.dense, self.norms, strict=True):
            x = torch.tanh(norm(dense(x), tape))
        return x
