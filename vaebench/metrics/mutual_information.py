"""Mutual information of an example and its latents, by evaluation batches.

The published numbers of He et al. (2019) are computed in this way.
"""

from __future__ import annotations

from typing import Any

from vaebench.estimators.mutual_information import batches, batchwise
from vaebench.estimators.posteriors import Gather
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import GaussianPosterior
from vaebench.results.stats import Measure


class MutualInformation(Metric[Gather]):
    """The mutual information, estimated by batches."""

    def applies(self, job: Job) -> bool:
        """Whether the model has a Gaussian posterior."""
        return isinstance(job.model, GaussianPosterior)

    def collect(self, job: Job) -> Gather:
        """Return an object that gathers the posterior and the first sample of every example."""
        return Gather(len(job.x))

    def measures(self, job: Job, collected: Gather) -> list[Measure]:
        """Return the estimate, with the size of its batches, their number and the ceiling."""
        size = job.settings.mi_batch
        parts = batches(job.model, job.x, size)
        mi = batchwise(collected.result(), parts)

        extra: dict[str, Any] = {"batch": size, "batches": len(parts), "ceiling": mi.ceiling}
        return [job.measure("mi_batch", mi.value, mi.error, None, each=mi.each, **extra)]


METRIC = MutualInformation()
