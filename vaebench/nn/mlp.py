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
"""Nonlinearities of hidden units, by name."""


class TanhNet(nn.Module):
    """One hidden layer of tanh units and a linear scalar output: (..., inputs) -> (...).

    It is NVIL's input-dependent baseline (Mnih & Gregor 2014, section 4.1, there with 100 units).
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, units)
        self.output = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.tanh(self.hidden(x))).squeeze(-1)


class NormalizedTanhNet(nn.Module):
    """Hidden layers (dense, batch normalisation, tanh): (..., inputs) -> (..., units).

    The DVAE family uses these nets (Vahdat et al. 2018, 2020). Without hidden layers the net is the
    identity.

    Args:
        inputs: Length of an input.
        units: Units of each hidden layer.
        depth: Number of hidden layers.
        momentum: Of the batch normalisation.
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
    """Hidden layers with several linear outputs: (..., inputs) -> one (..., units) for each head.

    Args:
        inputs: Length of an input.
        hidden: Units of each hidden layer, from the input on; empty: the heads are linear in the
            input.
        heads: Name -> units.
        nonlinearity: Nonlinearity of the hidden units, one of ``NONLINEARITIES``.
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
