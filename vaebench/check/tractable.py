"""Checks of models with an exact likelihood, by sums over every example of four bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from vaebench.check.line import Line
from vaebench.check.tiny import ancestral_samples, built, of_kind, tiny_models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import exact
from vaebench.models.base import Ancestral, ExactModel

VISIBLE = 4
"""Bits of an example."""

DRAWS = 40_000
"""Samples that are compared with the exact probabilities."""

MEAN = np.linspace(0.2, 0.7, VISIBLE)

MODELS = tiny_models(lambda cls: cls.facts.exact and Kind.BITS in cls.facts.takes)
"""Tiny models of bits whose likelihood is exact."""


def lines(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Yield all lines; this takes some seconds."""
    for name, config in MODELS.items():
        model = of_kind(ExactModel, built(config, DataInfo(MEAN, shape=(2, 2)), 10, 0.8, device))
        yield from _densities(name, model.requires_grad_(False))


def _densities(name: str, model: ExactModel) -> Iterator[Line]:
    """Check that probabilities sum to one and that samples follow them."""
    all_examples = exact.states(VISIBLE).to(model.mean.device)
    p = model.score(all_examples).exp()
    yield Line(f"{name}: sum of p(x)", 1.0, float(p.sum()), 0.0)

    if isinstance(model, Ancestral):
        yield ancestral_samples(name, model, p, DRAWS)
