"""Exact KL(q || p) of a machine fitted to a distribution that can be enumerated, and how far it is from the least."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.estimators.rbm_fit import rbm_fit
from vaebench.models.rbm_target import RBMTarget
from vaebench.results.stats import Measure

if TYPE_CHECKING:
    from vaebench.metrics.job import Job


def start(job: Job) -> dict[str, float] | None:
    """Models of a machine and a known target."""
    return rbm_fit(job.model) if isinstance(job.model, RBMTarget) else None


def measures(job: Job, fit: dict[str, float]) -> list[Measure]:
    """The KL, and by how much it exceeds that of the best machine of its size; both without error."""
    return [
        job.measure("exact_kl", fit["exact_kl"], None, None, least=fit["kl_optimum"]),
        job.measure("kl_gap", fit["gap"], None, None),
    ]
