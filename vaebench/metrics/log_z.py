"""How an evaluation finds, by its settings, the log Z that a model's densities lack."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.log_z.annealing import Base
from vaebench.estimators.log_z.partition import LogZ
from vaebench.estimators.log_z.spacing import SPACINGS
from vaebench.models.base import BoltzmannPrior, EnergyModel
from vaebench.models.dbn import DBN
from vaebench.models.rbm import BinaryRBM
from vaebench.protocol.log_z import log_z_method
from vaebench.settings.records import EvalSettings


def estimate(
    rbm: RBM,
    settings: EvalSettings,
    seed: int,
    *,
    reverse: bool | Tensor = False,
    purpose: str = "logz",
    base: Base = "uniform",
    side: int | None = None,
) -> LogZ:
    """Return log Z of one RBM, by ``logz_method`` and the other settings.

    Args:
        rbm: The RBM.
        settings: The ``eval`` settings.
        seed: Seed of the noise.
        reverse: Anneal from above too.
        purpose: Purpose of the noise; nothing else draws noise of it.
        base: Where annealing and tempering begin. For a prior it is the uniform distribution: an
            RBM whose biases favour states that its couplings forbid is far from the RBM with these
            biases alone.
        side: The number of units by which ``auto`` decides; None: those of the smaller side.

    Raises:
        UserError: If the method is 'exact' and the RBM is too large for it.
    """
    method = log_z_method(settings, min(rbm.w.shape[-2:]) if side is None else side)
    chains = settings.logz_chains

    if method == "ais":
        times = SPACINGS[settings.logz_spacing](settings.logz_temperatures)
        return logz.ais(rbm, times, chains, seed, base=base, reverse=reverse, purpose=purpose)
    if method == "tempering":
        return logz.parallel_tempering(
            rbm, settings.logz_sweeps, chains, seed, base=base, purpose=purpose
        )

    try:
        return logz.exact(rbm)
    except ValueError as e:
        raise UserError(
            f"eval.logz_method={settings.logz_method}: {e}; allowed: auto, ais, tempering"
        ) from None


CASES = 1000
"""Examples that are computed at a time."""

SMOOTHING = 0.05
"""Pseudo-ones for each training example, as counted by Salakhutdinov & Murray (2008): 5 in a batch
of 100."""


@torch.no_grad()
def free_energies(model: EnergyModel, x: Tensor) -> Tensor:
    """Return F of the examples ``x`` (n, d), (n,), float64, nats."""
    return torch.cat(
        [model.free_energy(part.to(model.mean.dtype)).double() for part in x.split(CASES)]
    )


def of_data(
    model: BinaryRBM,
    settings: EvalSettings,
    seed: int,
    *,
    reverse: bool | Tensor = False,
    purpose: str = "logz",
) -> LogZ:
    """Return log Z of an RBM over the data, by the settings.

    By ``logz_base``, annealing begins at the uniform distribution or at that of the base rates. The
    latter has no hidden biases, and visible biases by which every pixel is on as often as in the
    training data: with the probability (mean + a) / (1 + a), a = SMOOTHING. RBMs of up to
    MAX_SIDE hidden units are enumerated, unless the settings say otherwise.
    """
    rbm = model.rbm().detach()
    base = _base(model.mean, settings)
    side = rbm.b2.shape[-1]
    return estimate(rbm, settings, seed, reverse=reverse, purpose=purpose, base=base, side=side)


@torch.no_grad()
def of_prior(
    model: BoltzmannPrior,
    x: Tensor,
    settings: EvalSettings,
    seed: int,
    *,
    reverse: bool = False,
    purpose: str = "logz",
) -> LogZ:
    """Return log Z of a model's prior.

    Annealing begins at the uniform distribution. For a deep belief net it may begin at base rates,
    which are those of q(h1 | x) over the examples ``x``.
    """
    base: Base = "uniform"
    if isinstance(model, DBN):
        # Base rates of h1, side 1 of the prior: means of q(h1 | x) over the examples.
        parts = x.split(CASES)
        mean = torch.stack(
            [torch.sigmoid(model.encode(part.to(model.mean.dtype))).sum(0) for part in parts]
        ).sum(0)
        base = _base(mean / len(x), settings)
    return estimate(model.prior(), settings, seed, reverse=reverse, purpose=purpose, base=base)


def _base(mean: Tensor, settings: EvalSettings) -> Base:
    """Return where annealing begins for an RBM whose side 1 is on as often as ``mean`` (n1,)."""
    if settings.logz_base != "base_rate":
        return "uniform"

    # The logits of 0 and 1 are infinite. Pseudo-ones keep rates off 0, and ``logit`` clips them at
    # 1 - 1e-6. Side 2 has no biases: a scalar 0 broadcasts.
    share = (mean.double() + SMOOTHING) / (1 + SMOOTHING)
    return torch.logit(share, 1e-6), torch.zeros((), dtype=torch.float64, device=mean.device)
