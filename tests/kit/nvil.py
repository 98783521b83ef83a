"""NVIL around tiny belief nets, and one step of it."""

from __future__ import annotations

import torch

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.objectives.base import Batch
from vaebench.rng import noise

SWITCHES = ("local_signals", "constant_baseline", "input_baseline", "variance_normalization")
ALL = {name: True for name in SWITCHES}
VISIBLE = 4


def rule_of(dims=(2, 3, 2), seed=0, **settings):
    """NVIL around a net in float64, with every parameter N(0, 0.8^2)."""
    model = models.build(
        {"name": "sbn", "dims": list(dims)}, DataInfo(torch.linspace(0.2, 0.7, VISIBLE))
    )
    rule = objectives.build({"name": "nvil", "baseline_units": 6, **settings}, model).double()
    randomize(rule, seed)
    return rule


def one_step(rule, cases=5, seed=0):
    """(state, batch, noise) of a step, and the layers that the step will sample, x first."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(cases, VISIBLE, generator=generator) < 0.4).double()
    draws = {k: v.double() for k, v in noise.draw(rule.noise(cases), generator).items()}
    n = rule.model.layers
    state = {
        "mean": torch.linspace(-3.0, -1.0, n, dtype=torch.float64),
        "variance": torch.linspace(9.0, 4.0, n, dtype=torch.float64),
    }
    with torch.no_grad():
        layers = [x, *(h[0] for h in rule.model.sample_posterior(x, 1, draws))]
    return (state, Batch(x, rows=torch.arange(cases)), draws), layers
