"""Active units: latents whose posterior mean varies with the data.

Burda, Grosse & Salakhutdinov 2016, section 5.1.
"""

from __future__ import annotations

from typing import Any

from vaebench.estimators.active_units import DDOF, THRESHOLD, ActiveMeans, ActiveUnits
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import GaussianPosterior, LatentModel
from vaebench.results.stats import Measure


class Active(Metric[ActiveUnits | ActiveMeans]):
    """The number of active units."""

    def applies(self, job: Job) -> bool:
        """Whether the model has latents and their posterior means can be compared.

        At least two examples are needed, and two samples if the mean must be estimated.
        """
        if len(job.x) < 2 or not isinstance(job.model, LatentModel):
            return False
        return isinstance(job.model, GaussianPosterior) or job.settings.bound_samples > 1

    def collect(self, job: Job) -> ActiveUnits | ActiveMeans:
        """Return an object that gathers posterior means.

        The means of a Gaussian posterior are known; others are estimated from samples.
        """
        n = len(job.x)
        if isinstance(job.model, GaussianPosterior):
            return ActiveMeans(n)
        return ActiveUnits(n, job.settings.bound_samples, job.model.sizes[1:], job.x.device)

    def measures(self, job: Job, collected: ActiveUnits | ActiveMeans) -> list[Measure]:
        """Return the number of active units, in all and by layer, and what counts as active."""
        settings: dict[str, Any] = {"threshold": THRESHOLD}
        if isinstance(collected, ActiveMeans):
            active = collected.active()
            settings |= {"at_threshold": "active", "ddof": DDOF, "of": "encoder means"}
        else:
            active = collected.result()

        samples = job.settings.bound_samples
        return [job.measure("active_units", sum(active), None, samples, layers=active, **settings)]


METRIC = Active()
