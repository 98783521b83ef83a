"""Active units: latents whose posterior mean varies with the data (Burda, Grosse & Salakhutdinov 2016, section 5.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vaebench.metrics.weights import Pass
from vaebench.stats import Measure

if TYPE_CHECKING:
    from vaebench.metrics.job import Job

THRESHOLD = 0.01
"""A unit is active when Var_x(E_Q[z | x]) exceeds this."""


class ActiveUnits:
    """Streaming estimate of Var_x(E_Q[z | x]) of every unit from an even number of samples per case.

    The mean of a few samples varies within a case too, by Var[z | x] / k, which for binary units is more than the
    threshold. The covariance over cases of the means of two halves of the samples has no such bias, so it is used.
    """

    def __init__(self, cases: int, samples: int, sizes: list[int], device: torch.device | str = "cpu") -> None:
        if samples < 2:
            raise ValueError("active units need at least 2 samples per case")
        self.cases, self.samples, self.half = cases, samples, samples // 2
        self.first = [torch.zeros(cases, n, dtype=torch.float32, device=device) for n in sizes]
        self.second = [torch.zeros_like(v) for v in self.first]

    def add(self, part: Pass) -> None:
        """Take the samples of ``part`` that are among the first two halves."""
        for z, first, second in zip(part.z, self.first, self.second, strict=True):
            a, b = max(0, self.half - part.first), max(0, 2 * self.half - part.first)
            first[part.cases] += z[:a].sum(0)
            second[part.cases] += z[a:b].sum(0)

    def variances(self) -> list[torch.Tensor]:
        """Var_x(E_Q[z | x]) of every unit, layer by layer, (n,), with n - 1 degrees of freedom."""
        out = []
        for first, second in zip(self.first, self.second, strict=True):
            a, b = first.double() / self.half, second.double() / self.half
            out.append(((a - a.mean(0)) * (b - b.mean(0))).sum(0) / (self.cases - 1))
        return out

    def result(self) -> list[int]:
        """Number of active units of each layer, the one next to the data first."""
        return [int((v > THRESHOLD).sum()) for v in self.variances()]


def start(job: Job) -> ActiveUnits | None:
    """Two samples and two cases at least."""
    n, samples = len(job.x), job.settings["bound_samples"]
    return ActiveUnits(n, samples, job.model.sizes[1:], job.x.device) if samples > 1 and n > 1 else None


def measures(job: Job, units: ActiveUnits) -> list[Measure]:
    """Their number, in all and by layer."""
    active = units.result()
    settings = {"layers": active, "threshold": THRESHOLD}
    return [job.measure("active_units", sum(active), None, units.samples, unit="units", **settings)]
