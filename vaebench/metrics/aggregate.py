"""The aggregated posterior of a whole split: information in z, and distance to the prior."""

from __future__ import annotations

from vaebench.estimators.aggregate import aggregate_kl
from vaebench.estimators.mutual_information import whole_set
from vaebench.estimators.posteriors import Gather
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import GaussianPosterior
from vaebench.results.stats import Measure


class Aggregate(Metric[Gather]):
    """Mutual information over the whole split, and KL(q(z) || p)."""

    def applies(self, job: Job) -> bool:
        """Whether the model has a Gaussian posterior."""
        return isinstance(job.model, GaussianPosterior)

    def collect(self, job: Job) -> Gather:
        """Return an object that gathers the posterior and the first sample of every example."""
        return Gather(len(job.x))

    def measures(self, job: Job, collected: Gather) -> list[Measure]:
        """Return both measures; their sum is the mean KL of the bound."""
        p = collected.result()
        # log q(z_i) costs a density for every pair of examples. Both measures take it from here.
        log_q = p.log_aggregate()
        mi = whole_set(p, log_q)
        kl = aggregate_kl(p, log_q)

        return [
            job.measure("mi", mi.value, mi.error, None, each=mi.each, ceiling=mi.ceiling),
            job.measure(
                "aggregate_kl",
                kl.value,
                kl.error,
                None,
                each=kl.each,
                direct=kl.direct,
                direct_error=kl.direct_error,
            ),
        ]


METRIC = Aggregate()
