"""How well a small Boltzmann machine fits a known distribution.

The exact KL and its global minimum are found by enumeration.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import numpy as np
import torch

from vaebench.dists import boltzmann_exact
from vaebench.models.rbm_target import RBMTarget
from vaebench.work.steps import tick

STARTS = 40
"""Random starts of the search for the global minimum, from small parameters to large ones."""

OPTIONS = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-14, "gtol": 1e-9}


def rbm_fit(model: RBMTarget) -> dict[str, float]:
    """Return the exact KL(q || p) of the model's RBM, the least KL, and their difference.

    The keys are ``exact_kl``, ``kl_optimum`` and ``gap``, nats, in float64. The least KL is that of
    the best RBM of this size. It depends on the target alone, and is kept.
    """
    model = copy.deepcopy(model).to("cpu", torch.float64)

    with torch.no_grad():
        rbm = model.rbm()
        z1, z2, _ = boltzmann_exact.log_probs(rbm)
        log_p = model.target(z1, z2).numpy()
        kl = float(model.kl())

    # Bytes can be hashed, so that the search is made once for each target.
    least_kl = optimum(log_p.tobytes(), *rbm.w.shape)
    return {"exact_kl": kl, "kl_optimum": least_kl, "gap": kl - least_kl}


@lru_cache(maxsize=64)
def optimum(log_p: bytes, n1: int, n2: int, starts: int = STARTS) -> float:
    """Return the least KL(q || p), nats, over RBMs q of n1 + n2 units.

    ``log_p``: float64 log-probabilities of all states, in the order of
    ``boltzmann_exact.log_probs``. L-BFGS with exact gradients begins at ``starts`` random
    parameters, always the same ones. The result is the best of the local minima.
    """
    from scipy.optimize import minimize

    target = np.frombuffer(log_p)
    features = statistics(n1, n2)

    def kl(theta: np.ndarray) -> tuple[float, np.ndarray]:
        tick()

        # log q = -E - log Z, by log-sum-exp.
        energy = features @ theta
        largest = energy.max()
        log_q = energy - largest - np.log(np.exp(energy - largest).sum())
        q = np.exp(log_q)

        # KL = E_q[r] with r = log q - log p. Its gradient is Cov_q(r, features), since E_q[d log q]
        # = 0.
        log_ratio = log_q - target
        value = q @ log_ratio
        return value, (q * (log_ratio - value)) @ features

    # From nearly independent units to strong couplings. The seed is fixed, so the optimum is a
    # function of the target.
    generator = np.random.default_rng(0)
    scales = np.geomspace(0.1, 3.0, starts)
    minima = [
        minimize(
            kl,
            scale * generator.standard_normal(features.shape[1]),
            jac=True,
            method="L-BFGS-B",
            options=OPTIONS,
        ).fun
        for scale in scales
    ]

    return float(min(minima))


def statistics(n1: int, n2: int) -> np.ndarray:
    """Return z1, z2 and their products for every state, (states, n1 + n2 + n1 n2).

    -E is linear in them.
    """
    z = boltzmann_exact.states(n1 + n2, torch.zeros((), dtype=torch.float64))
    z1, z2 = z.split([n1, n2], 1)
    return torch.cat([z1, z2, (z1[:, :, None] * z2[:, None, :]).flatten(1)], 1).numpy()
