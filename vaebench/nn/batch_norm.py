"""Batch normalisation (Ioffe & Szegedy 2015) that returns its batch statistics.

A step must be pure, so no layer changes its running averages by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Tape = dict[str, tuple[Tensor, Tensor]]
"""Batch statistics: path of a layer -> mean and variance of the batch that it has just seen, (n,)
each, without gradient."""


class BatchNorm(nn.Module):
    """Batch normalisation, (..., n) -> (..., n): standardise, then scale and shift.

    In training the layer uses the statistics of the batch, and writes them to the ``tape`` that its
    caller passes; ``running`` makes new running averages of them. Without a tape the layer uses the
    averages in its buffers. Statistics are taken over all leading dimensions. The variance has no
    degrees-of-freedom correction.

    Args:
        units: n.
        momentum: Weight of the old value in a running average.
        epsilon: Added to the variance.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, units: int, momentum: float = 0.99, epsilon: float = 1e-2) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(units))
        self.shift = nn.Parameter(torch.zeros(units))
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("variance", torch.ones(units))
        self.path = ""

    def start(self, generator: torch.Generator) -> None:
        """Set the initial parameters: scale 1, shift 0."""
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.shift)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        mean = self.mean
        variance = self.variance
        # In training the gradient passes through the batch's own mean and variance too. Only what
        # is written to the tape is cut off.
        if tape is not None:
            over = tuple(range(x.dim() - 1))
            mean = x.mean(over)
            variance = ((x - mean) ** 2).mean(over)
            tape[self.path] = (mean.detach(), variance.detach())
        return (x - mean) * (self.scale * torch.rsqrt(variance + self.epsilon)) + self.shift


def name_norms(model: nn.Module) -> None:
    """Tell every normalisation layer its path in ``model``; call this once the model is built."""
    for path, module in model.named_modules():
        if isinstance(module, BatchNorm):
            module.path = path


def layers(model: nn.Module) -> list[BatchNorm]:
    """Return the normalisation layers of ``model``."""
    return [m for m in model.modules() if isinstance(m, BatchNorm)]


def initial(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Return the first running averages of all layers of ``model``, for an objective's state.

    Returns:
        Name of a buffer, after ``prefix`` -> mean 0 or variance 1, (n,).
    """
    return {
        f"{prefix}{layer.path}.{name}": torch.full_like(layer.scale.detach(), value)
        for layer in layers(model)
        for name, value in (("mean", 0.0), ("variance", 1.0))
    }


def running(
    model: nn.Module, prefix: str, state: dict[str, Tensor], tape: Tape
) -> dict[str, Tensor]:
    """Return the running averages, with the batch statistics of ``tape`` entered.

    An average becomes momentum * old value + (1 - momentum) * value of the batch. Layers that wrote
    nothing to the tape were not used, and are left out.
    """
    averages = {}
    for layer in layers(model):
        if layer.path in tape:
            for name, of_batch in zip(("mean", "variance"), tape[layer.path], strict=True):
                key = f"{prefix}{layer.path}.{name}"
                averages[key] = layer.momentum * state[key] + (1 - layer.momentum) * of_batch
    return averages
