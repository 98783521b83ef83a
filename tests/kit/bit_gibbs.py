"""The objective of Gibbs sweeps over single bits, around tiny models, and the same sweeps from
tables of all states."""

from __future__ import annotations

import torch
from torch.func import functional_call

from kit.parameters import drawn
from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.estimators import exact
from vaebench.nn.batch_norm import BatchNorm
from vaebench.objectives.base import Batch
from vaebench.rng import noise

VISIBLE = 5
BITS = 4
LIMIT = 5.0
"""Largest |z| of one comparison. One of 100 exceeds it by chance for one seed in 17,000, and seeds
are fixed."""

EVERY = exact.states(BITS)
"""All states, (16, 4)."""


def rule_of(layers=1, seed=0, latents=BITS, scale=1.0, **settings):
    """The objective in float64, with every parameter away from its start.

    The running averages in the module are not those of the state.
    """
    config = {"name": "rbm_generator", "latents": latents, "layers": layers, "units": 3}
    rule = objectives.build(
        {"name": "bit_gibbs", **settings},
        models.build(config, DataInfo(torch.linspace(0.2, 0.7, VISIBLE))),
    ).double()
    return drawn(rule, scale, seed)


def inputs_of(rule, cases=6, seed=1):
    """(state, batch, noise) of one update; the averages in the state are away from their start."""
    generator = torch.Generator().manual_seed(seed)
    state = rule.state(seed, cases)
    for name, v in state.items():
        # All but the chains are running averages of batch normalisation.
        if name != "posterior":
            state[name] = v.double() + torch.linspace(0.4, 1.1, len(v))

    x = (torch.rand(cases, VISIBLE, generator=generator) < 0.4).double()
    batch = Batch(x, rows=torch.arange(cases), update=torch.tensor(0), progress=torch.tensor(0.0))
    return state, batch, noise.draw(rule.noise(cases), generator)


def norms_of(rule):
    """All batch normalisations of the model."""
    return [m for m in rule.model.modules() if isinstance(m, BatchNorm)]


def table(rule, x, statistics):
    """log p(x, z) + log Z of every state, (batch, states), by the model itself.

    ``statistics``: path of a batch normalisation -> (mean, variance), which take the place of the
    averages in its buffers.
    """
    buffers = {
        f"{path}.{n}": v
        for path, pair in statistics.items()
        for n, v in zip(("mean", "variance"), pair, strict=False)
    }
    z = EVERY.unsqueeze(1).expand(-1, len(x), -1)  # (states, batch, bits)

    # ``functional_call`` replaces buffers during ``forward`` only, so log_joint is called in one.
    class Joint(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = rule.model

        def forward(self):
            return self.model.log_joint(x, [z])

    named = {f"model.{k}": v for k, v in buffers.items()}
    return functional_call(Joint(), named, ()).T.detach()


def number(z):
    """The place of each state in a table: sum z_i 2^i."""
    return (z.long() * 2 ** torch.arange(z.shape[-1])).sum(-1)


def literal_sweeps(log_p, z, u):
    """Sweeps one example and one bit at a time; returns the final states by their numbers.

    Each conditional probability is that of the table ``log_p``, (batch, states). ``z``: the first
    states, (batch, bits). ``u``: noise, (sweeps, bits, batch).
    """
    p = torch.softmax(log_p, 1)
    codes = number(z).tolist()

    for sweep in u:
        for i, v in enumerate(sweep):
            for b, code in enumerate(codes):
                # The two states that differ in bit i alone; it becomes 1 if the noise is high.
                on = code | 1 << i
                off = code & ~(1 << i)
                conditional = float(p[b, on] / (p[b, on] + p[b, off]))
                codes[b] = on if float(v[b]) > 1 - conditional else off

    return torch.tensor(codes)
