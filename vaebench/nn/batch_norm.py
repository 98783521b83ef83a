"""Batch normalisation whose running statistics are handed out instead of written.

Ioffe & Szegedy 2015.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Tape = dict[str, tuple[Tensor, Tensor]]
"""Path of a layer -> mean and variance of the batch it has just seen, (n,)
each, without gradient."""


class BatchNorm(nn.Module):
    """(..., n) -> (..., n): standardised, then scaled and shifted.

    In training by the batch, else by running averages. A step must be pure, so in training the
    layer writes the batch's statistics on a tape that its caller brings, and ``running`` makes the
    new averages of them; without a tape the layer uses the averages in its buffers. Both kinds of
    statistics run over all leading dimensions; the variance has no degrees-of-freedom correction.
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
        """Initial parameters: scale 1, shift 0."""
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.shift)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        mean = self.mean
        variance = self.variance
        if tape is not None:
            over = tuple(range(x.dim() - 1))
            mean = x.mean(over)
            variance = ((x - mean) ** 2).mean(over)
            tape[self.path] = (mean.detach(), variance.detach())
        return (x - mean) * (self.scale * torch.rsqrt(variance + self.epsilon)) + self.shift


def name_norms(model: nn.Module) -> None:
    """Tell every normalisation layer of ``model`` where it stands.

    Call it when the model is built.
    """
    for path, module in model.named_modules():
        if isinstance(module, BatchNorm):
            module.path = path


def layers(model: nn.Module) -> list[BatchNorm]:
    """The normalisation layers of ``model``."""
    return [m for m in model.modules() if isinstance(m, BatchNorm)]


def initial(model: nn.Module, prefix: str) -> dict[str, Tensor]:
    """State of an objective for all layers of ``model``.

    Names of their buffers behind ``prefix`` -> start values.
    """
    return {
        f"{prefix}{m.path}.{name}": torch.full_like(m.scale.detach(), value)
        for m in layers(model)
        for name, value in (("mean", 0.0), ("variance", 1.0))
    }


def running(
    model: nn.Module, prefix: str, state: dict[str, Tensor], tape: Tape
) -> dict[str, Tensor]:
    """The entries of ``initial`` after the batch on the tape.

    Momentum * old + (1 - momentum) * batch's. Layers that have written nothing on the tape are left
    out: they have not been used.
    """
    out = {}
    for m in layers(model):
        if m.path in tape:
            for name, value in zip(("mean", "variance"), tape[m.path], strict=True):
                key = f"{prefix}{m.path}.{name}"
                out[key] = m.momentum * state[key] + (1 - m.momentum) * value
    return out
