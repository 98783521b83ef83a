"""Population annealing of a Boltzmann machine whose parameters change.

Hukushima & Iba 2003; Machta 2010. R chains stand for the machine's distribution. When its
parameters change, each chain is reweighted by how much likelier the machine now finds its side 1, w
<- w exp(F_old(z1) - F_new(z1)), F the free energy with side 2 summed out; then it takes its sweeps
under the new parameters, which leave that distribution as it is. So the shares of modes between
which no chain ever passes follow the parameters, where those of persistent chains stay what they
were at the beginning.

Machta resamples at every step. Here weights are carried along until the effective number of chains
falls below half (Del Moral, Doucet & Jasra 2006): training takes very many very small steps, and
what resampling adds in noise to the shares of modes is forgotten only where these mix. Elsewhere
what it does add builds up over a long run.

The sum of the logs of the mean weights would be a running log Z, but a useless one: the parameters
move away from these very chains, which makes every mean weight a little too small, and over a run
that adds up to many nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.dists.resampling import parents
from vaebench.settings import validate

SAMPLERS = ("persistent", "population")
"""How the chains follow the parameters: by their sweeps alone, or reweighted as well."""


def check(sampler: str) -> str:
    """``sampler`` if it is one; raises UserError otherwise."""
    validate.one_of("objective.prior_sampler", sampler, SAMPLERS)
    return sampler


def start(rbm: RBM, chains: int) -> Tensor:
    """The record of chains that are fair random bits, (chains,).

    Samples of a machine whose parameters all are 0.
    """
    n2 = rbm.b2.shape[-1]
    return torch.full((chains,), -n2 * math.log(2.0))


def reweight(rbm: RBM, z1: Tensor, kept: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Chains (R, n1) and their log-weights (R,), mean weight 1, under the present parameters.

    ``z1`` and their record ``kept`` are what the last update left, ``u`` (1,) is uniform on [0, 1),
    for resampling. No gradient passes.
    """
    count = len(z1)
    log_w = torch.log_softmax(kept - rbm.detach().free_energy1(z1), 0)
    # Sum w^2 is one over the effective number of chains.
    due = torch.logsumexp(2 * log_w, 0) > math.log(2 / count)
    chosen = torch.where(due, parents(log_w, u), torch.arange(count, device=z1.device))
    return z1[chosen], torch.where(due, 0.0, log_w + math.log(count))


def record(rbm: RBM, z1: Tensor, log_w: Tensor) -> Tensor:
    """log w + F(z1) of each chain after its sweeps, (R,).

    All that the next update needs of these parameters.
    """
    return log_w + rbm.detach().free_energy1(z1)
