"""What every estimator of log Z returns, and how it draws: one stream of noise per RBM."""

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
    """log Z of every RBM, (*batch), nats, float64, and how far to trust it.

    Attributes:
        value: The estimate.
        error: Standard error of ``value`` (zero if exact).
        method: One line that says what was done.
        ess: Effective number of chains, (sum w)^2 / sum w^2. An estimate with few is worse than its
            error says.
        sd: Standard deviation of log w over the chains.
        chains: Number of chains.
        upper: Estimate that is too large on average, as ``value`` is too small.
        upper_error: Standard error of ``upper``.
        upper_exact: False if ``upper`` rests on samples that are only approximately those of the
            RBM: then it may fail.
        upper_ess: Effective number of chains of ``upper``.
        z1: Final states of side 1, (k, *batch, n1), if asked for.
        z2: Final states of side 2, (k, *batch, n2), if asked for.
        log_w: Log-weights (k, *batch) of these states, if asked for.
        temperatures: Those of tempering, one tensor per RBM in the batch's order.
        swap_rates: Exchange rates of tempering, likewise.
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

    @property
    def trust(self) -> dict[str, float]:
        """Diagnostics of the annealing of a single RBM; empty if log Z is not annealed.

        ``chains`` is the number of chains, ``ess`` the effective number of them, ``log_w_sd`` the
        standard deviation of log w over them. If there is an estimate from above, ``gap`` says how
        far it lies above ``value``, and ``gap_error`` is the error of that.
        """
        if self.ess is None or self.sd is None or self.chains is None:
            return {}
        trust = {"chains": self.chains, "ess": float(self.ess), "log_w_sd": float(self.sd)}
        if self.upper is not None and self.upper_error is not None:
            trust["gap"] = float(self.upper - self.value)
            trust["gap_error"] = math.hypot(float(self.error), float(self.upper_error))
        return trust


def flat(rbm: RBM) -> RBM:
    """Return the RBMs in one row: batch shape (m,), or (1,) for a single one; detached."""
    m = math.prod(rbm.shape)
    return RBM(*(p.detach().reshape(m, *p.shape[len(rbm.shape) :]) for p in rbm))


def groups(rbms: int, floats_each: int, max_floats: int) -> Iterator[slice]:
    """Return slices of RBMs whose states need at most ``max_floats`` floats; one at least."""
    size = max(1, max_floats // floats_each)
    return (slice(start, min(start + size, rbms)) for start in range(0, rbms, size))


def generators(
    positions: range, seed: int, purpose: str, use: int, device: torch.device
) -> list[torch.Generator]:
    """Return a generator for each RBM by its position, so that none depends on its neighbours.

    ``use`` keeps the noise of different estimators apart.
    """
    return [
        torch.Generator(device=device).manual_seed(seeds.derive(seed, purpose, use, 0, p))
        for p in positions
    ]


def fill(noise: Tensor, makers: list[torch.Generator]) -> Tensor:
    """Fill ``noise`` (m, ...) with new uniforms on (0, 1), row i from generator i; return it."""
    for row, generator in zip(noise, makers, strict=True):
        uniform_(row, generator)
    return noise


def log_mean(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log mean w over axis 0, its standard error, and the effective sample size.

    The error is by the jackknife over groups.
    """
    k = log_w.shape[0]

    # Weights relative to the largest: the effective sample size does not depend on their scale, and
    # exp cannot overflow.
    w = torch.exp(log_w - log_w.amax(0))
    error = jackknife.variance(jackknife.group_sums(log_w), k).sqrt()
    return torch.logsumexp(log_w, 0) - math.log(k), error, w.sum(0) ** 2 / (w**2).sum(0)
