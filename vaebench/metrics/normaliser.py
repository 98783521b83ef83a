"""The log Z that a model's densities lack, with an error of its own."""

from __future__ import annotations

from typing import Any

from vaebench.estimators.log_z.partition import LogZ
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import BoltzmannPrior
from vaebench.results.stats import Measure


class Normaliser(Metric[LogZ]):
    """log Z of the prior."""

    def applies(self, job: Job) -> bool:
        """Whether the model's prior is unnormalised."""
        return isinstance(job.model, BoltzmannPrior)

    def collect(self, job: Job) -> LogZ:
        """Return log Z, which is found once for all measures of a job."""
        if job.normaliser is None:
            raise TypeError(f"{type(job.model).__name__} has a normalised prior")
        return job.normaliser

    def measures(self, job: Job, collected: LogZ) -> list[Measure]:
        """Return log Z itself.

        ``upper`` is too large on average, and the value too small: together they enclose log Z. If
        ``upper_exact`` is false, ``upper`` begins at the chains of the value, and can lie below it
        by what they miss.
        """
        found = collected
        extra: dict[str, Any] = {"method": found.method, **found.trust}
        if found.upper is not None and found.upper_error is not None:
            extra |= {"upper": float(found.upper), "upper_error": float(found.upper_error)}
            extra["upper_exact"] = found.upper_exact is not False

        if found.swap_rates:
            extra |= {
                "swap_rates": found.swap_rates[0].tolist(),
                "temperatures": found.temperatures[0].tolist(),
            }

        return [
            Measure("log_z", float(found.value), "nats", float(found.error), "log Z", extra=extra)
        ]


METRIC = Normaliser()
