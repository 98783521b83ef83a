"""Exact answers for tiny models with binary latents, by enumerating every state.

All values are in float64 and nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.dists import boltzmann_exact
from vaebench.models.base import BoltzmannPosterior, BoltzmannPrior, LatentModel
from vaebench.models.posterior import total

MAX_UNITS = boltzmann_exact.MAX_UNITS


def states(units: int) -> Tensor:
    """Return all 2^units vectors of zeros and ones, (2^units, units), float64.

    Raises ValueError for no unit, or for more than MAX_UNITS.
    """
    if not 0 < units <= MAX_UNITS:
        raise ValueError(f"{units} units cannot be enumerated; allowed: 1 to {MAX_UNITS}")
    return boltzmann_exact.states(units, torch.empty((), dtype=torch.float64))


def latent_states(model: LatentModel) -> list[Tensor]:
    """Return every joint state of all latent layers, as layers (states, 1, n)."""
    sizes = model.sizes[1:]
    parts = states(sum(sizes)).split(sizes, dim=1)
    return [p.unsqueeze(1) for p in parts]


def _everywhere(model: LatentModel, x: Tensor) -> list[Tensor]:
    """Return every joint state of the latents, repeated for every example of ``x``.

    The layers are (states, batch, n) on its device.
    """
    return [h.to(x.device).expand(-1, len(x), -1) for h in latent_states(model)]


def _tables(model: LatentModel, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return log P(x, h) and log Q(h | x) of every state, (states, batch), and the states.

    ``x`` is (batch, d), float64.
    """
    z = _everywhere(model, x)
    prior, posterior = log_z(model, x)
    return model.log_joint(x, z) - prior, model.log_posterior(z, x) - posterior, z


def _mean(weight: Tensor, values: Tensor) -> Tensor:
    """Return sum_h weight(h) values(h), (batch,), from (states, batch).

    Infinite values without weight count for nothing.
    """
    return torch.where(weight > 0, weight * values, 0.0).sum(0)


def log_z(model: LatentModel, x: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """Return the log-normalisers that log P(x, h) and log Q(h | x) lack, () and (batch,).

    They are exact and differentiable. A normalised density has 0.
    """
    prior = boltzmann_exact.log_z(model.prior()) if isinstance(model, BoltzmannPrior) else 0.0
    return prior, boltzmann_exact.log_z(model.posterior(x)) if isinstance(
        model, BoltzmannPosterior
    ) else 0.0


def log_evidence(model: LatentModel, x: Tensor) -> Tensor:
    """Return log p(x) = log sum_h P(x, h), (batch,). The model must be in float64."""
    return torch.logsumexp(_tables(model, x)[0], 0)


def elbo(model: LatentModel, x: Tensor) -> Tensor:
    """Return E_Q[log P(x, h) - log Q(h | x)], (batch,); differentiable in every parameter."""
    log_p, log_q, _ = _tables(model, x)
    return _mean(log_q.exp(), log_p - log_q)


def expected_log_joint(model: LatentModel, x: Tensor) -> Tensor:
    """Return E_Q[log P(x, h)] with Q held fixed, (batch,): the objective of the wake phase."""
    log_p, log_q, _ = _tables(model, x)
    return (log_q.detach().exp() * log_p).sum(0)


def expected_log_posterior(model: LatentModel) -> Tensor:
    """Return E_P(x,h)[log Q(h | x)] with P held fixed, a scalar: the sleep phase's objective."""
    x = states(model.sizes[0]).to(model.mean.device)
    log_p, log_q, _ = _tables(model, x)
    return (log_p.detach().exp() * log_q).sum()


def layer_kl(model: LatentModel, x: Tensor) -> list[Tensor]:
    """Return E_Q[log Q(h_i | h_{i-1}) - log P(h_i | h_{i+1})] of each layer, (batch,) each.

    If the prior is a single term, there is one entry for all layers.
    """
    z = _everywhere(model, x)
    log_p = model.log_joint_terms(x, z)
    log_q = model.log_posterior_terms(z, x)
    prior, posterior = log_z(model, x)

    # Weights Q(h | x), (states, batch). log P lacks -log Z of the prior and log Q that of the
    # posterior; the last entry corrects both.
    weight = (total(log_q) - posterior).exp()
    kl = [_mean(weight, q - p) for p, q in zip(log_p[1:], log_q, strict=True)]
    return [*kl[:-1], kl[-1] + prior - posterior]
