"""The variational bound by the paper's protocol, and the KL in it.

Documents as counts have perplexities too.
"""

from __future__ import annotations

from vaebench.estimators.variational import BoundSum
from vaebench.metrics import document_perplexity
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import LatentModel
from vaebench.results.stats import Measure


class Bound(Metric[BoundSum]):
    """The bound as a positive number of nats, and the KL."""

    def applies(self, job: Job) -> bool:
        """Whether the model has latents: every such model has a bound."""
        return isinstance(job.model, LatentModel)

    def collect(self, job: Job) -> BoundSum:
        """Return sums over the samples of every example."""
        return BoundSum(len(job.x), job.settings.bound_samples, job.x.device, log_z=job.log_z)

    def measures(self, job: Job, collected: BoundSum) -> list[Measure]:
        """Return the bound, the KL with that of each layer, and the perplexities of documents."""
        result = collected.result()
        analytic = {"analytic": True} if result.analytic else {}
        names = document_perplexity.PER_DOCUMENT, document_perplexity.POOLED
        return [
            job.with_log_z(
                "bound", -result.value, result.error, result.samples, each=collected.each()
            ),
            job.with_log_z(
                "kl",
                sum(result.kl),
                None,
                result.samples,
                each=collected.each_kl(),
                layers=result.kl,
                **analytic,
            ),
            *document_perplexity.measures(
                job, collected.each(), collected.variance(), result.samples, names
            ),
        ]


METRIC = Bound()
