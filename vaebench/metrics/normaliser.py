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
        log_z = collected
        extra: dict[str, Any] = {"method": log_z.method, **log_z.trust}
        if log_z.upper is not None and log_z.upper_error is not None:
            extra |= {"upper": float(log_z.upper), "upper_error": float(log_z.upper_error)}
            extra["upper_exact"] = log_z.upper_exact is not False

        # Tempering: the prior is one RBM, so the lists have one entry.
        if log_z.swap_rates:
            extra |= {
                "swap_rates": log_z.swap_rates[0].tolist(),
                "temperatures": log_z.temperatures[0].tolist(),
            }

        return [
            Measure("log_z", float(log_z.value), "nats", float(log_z.error), "log Z", extra=extra)
        ]


METRIC = Normaliser()
