"""Smoothing transformations: continuous zeta in the place of bits z.

Gradients pass through zeta to the logits of the bits.

A smoothing takes logits l, with q = sigmoid(l) = P(z = 1), and uniform noise u
(uniforms, *shape of the result):

- ``uniforms``: the noise values per unit;
- ``support``: the least and the greatest zeta;
- ``sample(logit, u)``: zeta, differentiable in the logit at fixed noise;
- ``bits(logit, u)``: hard bits, z = 1[u[0] > 1 - q], the limit of every smoothing.

Overlapping smoothings (``isinstance(s, Overlapping)``) also have densities of zeta given z:
``log_r0``, ``log_r1``, ``log_ratio``, ``cdf0``, ``cdf1``, ``cdf``, ``log_density``,
``posterior_logit``, ``sample_given``. Exponential, logistic, spike-exponential, concrete and
piecewise-linear smoothings have ``inverse_cdf(rho, logit)``.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from vaebench.dists.smoothing.base import Smoothing
from vaebench.dists.smoothing.concrete import Concrete
from vaebench.dists.smoothing.exponential import Exponential
from vaebench.dists.smoothing.gaussian import (
    Gaussian,
    gaussian_mixture_log_density,
    gaussian_mixture_sample,
)
from vaebench.dists.smoothing.logistic import Logistic
from vaebench.dists.smoothing.overlapping import Overlapping
from vaebench.dists.smoothing.piecewise_linear import PiecewiseLinear
from vaebench.dists.smoothing.power import Power
from vaebench.dists.smoothing.spike_exponential import SpikeExponential
from vaebench.dists.smoothing.uniform_exponential import UniformExponential
from vaebench.errors import UserError, nearest

__all__ = [
    "SMOOTHINGS",
    "Gaussian",
    "Overlapping",
    "Smoothing",
    "SpikeExponential",
    "build",
    "gaussian_mixture_log_density",
    "gaussian_mixture_sample",
]

SMOOTHINGS: dict[str, type[Smoothing]] = {
    "exponential": Exponential,
    "logistic": Logistic,
    "power": Power,
    "uniform_exponential": UniformExponential,
    "gaussian": Gaussian,
    "spike_exponential": SpikeExponential,
    "concrete": Concrete,
    "piecewise_linear": PiecewiseLinear,
}


def build(config: dict[str, Any]) -> Smoothing:
    """Build the smoothing of a ``smoothing`` group, say {"name": "exponential", "beta": 8.0}.

    Raises UserError for an unknown smoothing, an unknown key, or a value out of range.
    """
    name = str(config.get("name", ""))
    if name not in SMOOTHINGS:
        raise UserError(f"smoothing {name!r}: {nearest(name, SMOOTHINGS)}")
    smoothing = SMOOTHINGS[name]

    settings = {k: v for k, v in config.items() if k != "name"}
    setting_names = [f.name for f in fields(smoothing)]
    for key in settings:
        if key not in setting_names:
            raise UserError(
                f"smoothing.{key}: {name} has no such setting; {nearest(str(key), setting_names)}"
            )
    return smoothing(**settings)
