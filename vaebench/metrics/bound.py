"""The variational bound by the paper's protocol, and the KL in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.estimators.variational import BoundSum
from vaebench.models.base import LatentModel
from vaebench.results.stats import Measure

if TYPE_CHECKING:
    from vaebench.metrics.job import Job


def start(job: Job) -> BoundSum | None:
    """Every model with latents has a bound."""
    if not isinstance(job.model, LatentModel):
        return None
    return BoundSum(len(job.x), job.settings["bound_samples"], job.x.device, log_z=job.log_z)


def measures(job: Job, total: BoundSum) -> list[Measure]:
    """The bound as a positive number of nats, and the KL."""
    b = total.result()
    how = {"analytic": True} if b.analytic else {}
    return [
        job.with_log_z("bound", -b.value, b.error, b.samples, each=total.each()),
        job.with_log_z("kl", sum(b.kl), None, b.samples, each=total.each_kl(), layers=b.kl, **how),
    ]
