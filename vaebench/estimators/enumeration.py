"""Exact NLL of models with few binary latents.

Every state is decoded once, whatever the number of examples. With G the logits of all states,
log p(x | z) = x.G_z - sum_i softplus(G_zi) is linear in x: one product for all examples. No part of
it uses a posterior, so it is also a second implementation of what samples estimate.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.dists import boltzmann_exact
from vaebench.models.base import BoltzmannPrior, BoundedModel, ExactModel, Model
from vaebench.models.rbm_target import RBMTarget
from vaebench.work.steps import Box, steps

MAX_UNITS = boltzmann_exact.MAX_UNITS

STATES = 2048
CASES = 1000
"""States and examples that are computed at a time."""


def applies(model: Model) -> bool:
    """Whether the model has a Boltzmann prior over few enough bits.

    Given all of the bits, the pixels of such models are independent.
    """
    return isinstance(model, BoltzmannPrior) and sum(model.sizes[1:]) <= MAX_UNITS


@torch.no_grad()
def log_evidence(model: BoltzmannPrior, x: Tensor) -> Tensor:
    """Return log p(x) of ``x`` (n, d), (n,), nats, for models that ``applies`` accepts.

    The result is float64; it sums products in the model's precision.
    """
    # Two streaming log-sums over all states: of the unnormalised joint for each example, and of
    # exp(-E) for log Z.
    units = sum(model.sizes[1:])
    n = len(x)
    total = torch.full((n,), -torch.inf, dtype=torch.float64, device=x.device)
    log_z = total.new_full((), -torch.inf)
    sums = Box(total=total, log_z=log_z)

    blocks_of_states = -(-(2**units) // STATES)
    parts_of_data = -(-n // CASES)
    decoded = None
    for step in steps("enumeration", blocks_of_states * parts_of_data, sums):
        block, part = divmod(step, parts_of_data)

        # The parts of the data come one after the other within a block of states, so each block is
        # decoded once.
        if block != decoded:
            first = block * STATES
            states = boltzmann_exact.states(units, model.mean, first, min(first + STATES, 2**units))
            z = list(states.split(model.sizes[1:], 1))
            energy = model.prior().negative_energy(*model.sides(z)).double()
            logits = model.decode(z)
            # What does not depend on x: -E(z) - sum_i softplus(G_zi).
            constant = energy - F.softplus(logits).sum(-1, dtype=torch.float64)
            decoded = block

        # log Z needs each block of states once, whatever the number of examples.
        if part == 0:
            sums.log_z = torch.logaddexp(sums.log_z, torch.logsumexp(energy, 0))

        # log p(x, z) + log Z of every example and state, (examples, states): one product, see the
        # module.
        cases = slice(part * CASES, (part + 1) * CASES)
        log_p = (x[cases].to(logits.dtype) @ logits.mT).double() + constant
        sums.total[cases] = torch.logaddexp(sums.total[cases], torch.logsumexp(log_p, -1))

    return sums.total - sums.log_z


@torch.no_grad()
def known(model: Model, x: Tensor) -> Tensor | None:
    """Return log p(x) of ``x`` (n, d), (n,), nats, or None.

    It is known for models that can be enumerated or have no latents, and None for others.
    """
    if isinstance(model, ExactModel):
        return model.score(x).double()
    return log_evidence(model, x) if isinstance(model, BoltzmannPrior) and applies(model) else None


@torch.no_grad()
def exact_value(model: Model, x: Tensor) -> float:
    """Return a model's exact KL, its exact NLL, or its bound without samples, nats.

    It is the KL if the model knows it, the bound if the posterior is fitted to each example, else
    the NLL. Raises ValueError if none of them is known.
    """
    if isinstance(model, RBMTarget):
        return float(model.kl())
    if isinstance(model, BoundedModel):
        return -float(model.evidence_bound(x).mean())

    log_p = known(model, x)
    if log_p is None:
        raise ValueError(
            f"{model.called} has no exact value, and there are no settings for its log Z"
        )
    return -float(log_p.mean())
