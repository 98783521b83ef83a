"""Population annealing of a Boltzmann machine whose parameters change.

R chains represent the distribution of the RBM (Hukushima & Iba 2003; Machta 2010). When the
parameters change, each chain is reweighted by w <- w exp(F_old(z1) - F_new(z1)), where F is the
free energy of side 1, with side 2 summed out. Then the chain makes its sweeps under the new
parameters, which leave the new distribution unchanged. So even if no chain passes between two
modes, their shares follow the parameters. The shares of persistent chains would stay as they were
at the beginning.

Machta resamples at every step. Here the weights are kept until the effective number of chains falls
below half (Del Moral, Doucet & Jasra 2006). Resampling adds noise to the shares of modes, and
training makes very many very small steps. If the modes mix, that noise is forgotten; if not, it
would build up over a long run.

The sum of the logs of the mean weights would be a running log Z, but a useless one. The parameters
move away from just these chains, which makes every mean weight a little too small. Over a run that
adds up to many nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.dists.resampling import parents
from vaebench.settings import validate

SAMPLERS = ("persistent", "population")
"""How the chains follow the parameters: by their sweeps only, or also by weights."""


def check(sampler: str) -> str:
    """Return ``sampler`` if it is one of SAMPLERS, else raise a UserError."""
    validate.one_of("objective.prior_sampler", sampler, SAMPLERS)
    return sampler


def start(rbm: RBM, chains: int) -> Tensor:
    """Return the record of chains of fair random bits, (chains,).

    Such bits are samples of an RBM whose parameters are all 0.
    """
    # F(z1) of that RBM is -sum log(1 + e^0), over the units of side 2; all weights are 1.
    n2 = rbm.b2.shape[-1]
    return torch.full((chains,), -n2 * math.log(2.0))


def reweight(rbm: RBM, z1: Tensor, kept: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Reweight the chains to the present parameters, and resample them if that is due.

    No gradient passes.

    Args:
        rbm: The RBM with the present parameters.
        z1: Side 1 of the chains after the last update, (R, n1).
        kept: Their record, (R,).
        u: A uniform number on [0, 1) for resampling, (1,).

    Returns:
        The chains, (R, n1), and their log-weights, (R,), with mean weight 1.
    """
    # log w + F_old - F_new, normalised to sum w = 1.
    count = len(z1)
    log_w = torch.log_softmax(kept - rbm.detach().free_energy1(z1), 0)

    # The sum of w^2 is one over the effective number of chains. Resampling is due if that number is
    # below count / 2. A choice by ``where`` instead of ``if`` can be captured in a graph.
    due = torch.logsumexp(2 * log_w, 0) > math.log(2 / count)
    chosen = torch.where(due, parents(log_w, u), torch.arange(count, device=z1.device))
    return z1[chosen], torch.where(due, 0.0, log_w + math.log(count))


def record(rbm: RBM, z1: Tensor, log_w: Tensor) -> Tensor:
    """Return log w + F(z1) of each chain after its sweeps, (R,).

    The next update needs nothing else of these parameters.
    """
    return log_w + rbm.detach().free_energy1(z1)
