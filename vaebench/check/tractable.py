"""Models whose likelihood is exact against sums over every example of four bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebench import models
from vaebench.check.line import Line, mean_line, of_kind, randomize, tiny_models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import exact
from vaebench.models.base import Ancestral, ExactModel
from vaebench.rng import noise

VISIBLE, DRAWS = 4, 40_000

MODELS = tiny_models(lambda cls: cls.facts.exact and Kind.BITS in cls.facts.takes)
"""Tiny models of bits whose likelihood is exact."""


def lines(device: str | torch.device = "cpu") -> Iterator[Line]:
    """All lines, some seconds."""
    for name, config in MODELS.items():
        yield from _densities(name, _tiny(config, device))


def _densities(name: str, model: ExactModel) -> Iterator[Line]:
    """Probabilities sum to one; samples follow them."""
    every = exact.states(VISIBLE).to(model.mean.device)
    p = model.score(every).exp()
    yield Line(f"{name}: sum of p(x)", 1.0, float(p.sum()), 0.0)

    if isinstance(model, Ancestral):
        x, _ = model.sample_joint(_double(noise.fixed(model.joint_noise(DRAWS), 0, "check", device=p.device)))
        probe = torch.randn(len(every), generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(p)
        yield mean_line(f"{name}: ancestral samples", float((p * probe).sum()), probe[_code(x)])


def _code(x: Tensor) -> Tensor:
    """The position in ``exact.states`` of examples (batch, d)."""
    return (x.long() << torch.arange(x.shape[1], device=x.device)).sum(-1)


def _double(draws: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.double() for k, v in draws.items()}


def _tiny(config: dict[str, Any], device: str | torch.device) -> ExactModel:
    model = models.build(config, DataInfo(np.linspace(0.2, 0.7, VISIBLE), shape=(2, 2))).double()
    randomize(model, 10)
    return of_kind(ExactModel, model.to(device).requires_grad_(False))
