"""What every estimator of log Z gives back, and how it draws: one stream of noise per machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.estimators import jackknife
from vaebench.rng import seeds
from vaebench.rng.noise import uniform_


@dataclass(frozen=True)
class LogZ:
    """log Z of every machine, (*batch), nats, float64, and how far to trust it.

    ``error``: standard error of ``value`` (zero if exact). ``method``: one line saying what was
    done. ``ess``: effective number of chains, (sum w)^2 / sum w^2; an estimate with few is worse
    than its error says. ``sd``: standard deviation of log w over the chains, whose number is
    ``chains``.
    ``upper``: estimate that is too large on average where ``value`` is too small, ``upper_error``
    its standard error; ``upper_exact`` is False if it rests on samples that are only approximately
    the machine's: then it may fail; ``upper_ess`` is its effective number of chains.
    ``z1``, ``z2``: final states (k, *batch, n), ``log_w`` (k, *batch) the log-weights they come
    with, if asked for. ``temperatures``, ``swap_rates``: of tempering, one tensor per machine in
    the batch's order.
    """

    value: Tensor
    error: Tensor
    method: str
    ess: Tensor | None = None
    sd: Tensor | None = None
    chains: int | None = None
    upper: Tensor | None = None
    upper_error: Tensor | None = None
    upper_exact: bool | None = None
    upper_ess: Tensor | None = None
    z1: Tensor | None = None
    z2: Tensor | None = None
    log_w: Tensor | None = None
    temperatures: list[Tensor] = field(default_factory=list)
    swap_rates: list[Tensor] = field(default_factory=list)


def flat(rbm: RBM) -> RBM:
    """The machines in one row: batch shape (m,), a single one as (1,), detached."""
    m = math.prod(rbm.shape)
    return RBM(*(p.detach().reshape(m, *p.shape[len(rbm.shape) :]) for p in rbm))


def groups(machines: int, floats_each: int, max_floats: int) -> Iterator[slice]:
    """Slices of at least one machine whose states need at most ``max_floats`` floats at a time."""
    size = max(1, max_floats // floats_each)
    return (slice(start, min(start + size, machines)) for start in range(0, machines, size))


def generators(
    positions: range, seed: int, purpose: str, use: int, device: torch.device
) -> list[torch.Generator]:
    """A generator for each machine by its position, so that none depends on what runs beside it.

    ``use`` keeps the different estimators apart.
    """
    return [
        torch.Generator(device=device).manual_seed(seeds.derive(seed, purpose, use, 0, p))
        for p in positions
    ]


def fill(noise: Tensor, makers: list[torch.Generator]) -> Tensor:
    """Draws ``noise`` (m, ...) anew, uniform on (0, 1), row i from generator i."""
    for row, generator in zip(noise, makers, strict=True):
        uniform_(row, generator)
    return noise


def log_mean(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over axis 0: log mean w, its standard error, and the effective sample size.

    The error is by the jackknife over groups.
    """
    k = log_w.shape[0]
    w = torch.exp(log_w - log_w.amax(0))
    error = jackknife.variance(jackknife.group_sums(log_w), k).sqrt()
    return torch.logsumexp(log_w, 0) - math.log(k), error, w.sum(0) ** 2 / (w**2).sum(0)
