"""Initial values of parameters, drawn in the order of their names so that a seed always gives the same ones."""

from __future__ import annotations

import math

import torch
from torch import nn

from vaebench.errors import UserError, nearest

INITS = ("normal", "glorot")


def initialize(module: nn.Module, generator: torch.Generator, init: str = "normal", scale: float = 0.1) -> None:
    """Set every parameter of ``module`` in place: matrices by ``init``, vectors to zero.

    ``normal``: N(0, scale^2). ``glorot``: uniform on +-sqrt(6 / (rows + columns)). Matrices named ``autoregressive``
    start at zero: a linear connection between units has no symmetry to break, so a net starts as its factorial self.
    Raises UserError for an unknown ``init`` or a scale that is not positive.
    """
    if init not in INITS:
        raise UserError(f"model.init={init!r}: {nearest(str(init), INITS)}")
    if not (isinstance(scale, (int, float)) and 0 < scale < math.inf):
        raise UserError(f"model.init_scale={scale!r}: must be a number above 0")
    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            if p.dim() < 2 or name.endswith("autoregressive"):
                p.zero_()
            elif init == "normal":
                p.normal_(0.0, float(scale), generator=generator)
            else:
                bound = math.sqrt(6.0 / (p.shape[0] + p.shape[1]))
                p.uniform_(-bound, bound, generator=generator)
