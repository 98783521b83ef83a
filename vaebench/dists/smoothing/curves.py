"""The curves of Figure 5 of DVAE++ (Vahdat et al. 2018, arXiv 1802.04920): zeta against q.

The noise is fixed.
"""

from __future__ import annotations

import torch

from vaebench.dists.smoothing import SMOOTHINGS
from vaebench.dists.smoothing.base import Invertible

TEMPERATURES: dict[str, tuple[str, tuple[float, ...]]] = {
    "exponential": ("beta", (5.0, 8.0, 16.0)),
    "logistic": ("scale", (0.2, 0.1, 0.05)),
    "spike_exponential": ("beta", (2.0, 5.0, 10.0)),
    "concrete": ("beta", (2.0, 5.0, 10.0)),
    "piecewise_linear": ("beta", (2.0, 4.0, 8.0)),
}
"""Smoothing -> the setting that sharpens it, and three values from smooth to sharp. The values are
this project's choice."""


def inverse_cdf_curves(rho: float = 0.25, points: int = 199) -> list[dict[str, float | str]]:
    """Return rows (smoothing, temperature, q, zeta): inverse distribution functions at ``rho``.

    Each smoothing has three temperatures. ``q`` runs over i / (points + 1), i = 1 .. points.
    ``temperature`` is beta, or the scale of the logistics. The paper draws the two mixtures. Its
    temperatures are not known here, so this project chose them (``TEMPERATURES``). Every curve
    tends to the step at q = 1 - rho. Raises ValueError for ``rho`` outside (0, 1) or ``points``
    below 1.
    """
    if not 0 < rho < 1:
        raise ValueError(f"rho={rho!r}: must lie between 0 and 1")
    if points < 1:
        raise ValueError(f"points={points!r}: must be at least 1")

    q = torch.arange(1, points + 1, dtype=torch.float64) / (points + 1)
    noise = torch.full_like(q, rho)

    rows: list[dict[str, float | str]] = []
    for name, (setting, values) in TEMPERATURES.items():
        for value in values:
            smoothing = SMOOTHINGS[name](**{setting: value})
            if not isinstance(smoothing, Invertible):
                raise TypeError(f"{name} has no inverse in closed form")

            zeta = smoothing.inverse_cdf(noise, torch.logit(q))
            rows += [
                {"smoothing": name, "temperature": value, "q": x, "zeta": y}
                for x, y in zip(q.tolist(), zeta.tolist(), strict=True)
            ]

    return rows
