"""log Z of restricted Boltzmann machines.

It is found exactly, by annealed importance sampling, or by parallel tempering.
"""

from __future__ import annotations

import torch

from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.estimators.log_z.annealing import ais
from vaebench.estimators.log_z.partition import LogZ
from vaebench.estimators.log_z.tempering import parallel_tempering

__all__ = ["LogZ", "ais", "exact", "parallel_tempering"]


@torch.no_grad()
def exact(rbm: RBM) -> LogZ:
    """Return log Z by enumerating the smaller side in float64.

    Raises ValueError if that side has more than MAX_SIDE (20) units.
    """
    value = boltzmann_exact.log_z(rbm.to(torch.float64))
    return LogZ(
        value,
        torch.zeros_like(value),
        "enumeration",
        upper=value,
        upper_error=torch.zeros_like(value),
    )
