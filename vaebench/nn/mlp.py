"""Small multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaebench.nn.batch_norm import BatchNorm, Tape
from vaebench.nn.layers import layer_dict, layer_list
from vaebench.nn.products import linear

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "softplus": nn.functional.softplus,
    "sigmoid": torch.sigmoid,
}
"""Of hidden units, by name."""


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
    """Hidden layers (dense, batch normalisation, tanh) of ``units`` each.

    (..., inputs) -> (..., units or inputs). With no hidden layer it is the identity. The nets of
    the DVAE family (Vahdat et al. 2018, 2020).
    """

    def __init__(self, inputs: int, units: int, depth: int, momentum: float) -> None:
        super().__init__()
        widths = [inputs] + [units] * depth
        self.outputs = widths[-1]
        self.dense = layer_list([nn.Linear(a, b) for a, b in pairwise(widths)])
        self.norms = layer_list([BatchNorm(n, momentum) for n in widths[1:]])

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        for dense, norm in zip(self.dense, self.norms, strict=True):
            x = torch.tanh(norm(dense(x), tape))
        return x


class Heads(nn.Module):
    """Hidden layers, and linear outputs of the last of them.

    (..., inputs) -> one (..., units) for each head.

    Args:
        inputs: Numbers of an input.
        hidden: Units of each hidden layer, the first next to the input; empty: the heads
            are linear in the input.
        heads: Name -> units.
        nonlinearity: Of the hidden units, one of ``NONLINEARITIES``.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], heads: dict[str, int], nonlinearity: str
    ) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        self.hidden = layer_list([nn.Linear(a, b) for a, b in pairwise(widths)])
        self.heads = layer_dict(
            {name: nn.Linear(widths[-1], units) for name, units in heads.items()}
        )
        self.nonlinearity = NONLINEARITIES[nonlinearity]

    def forward(self, x: Tensor) -> list[Tensor]:
        for layer in self.hidden:
            x = self.nonlinearity(linear(x, layer.weight, layer.bias))
        return [linear(x, head.weight, head.bias) for head in self.heads.values()]
