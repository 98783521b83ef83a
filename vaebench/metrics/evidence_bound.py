"""The bound of models whose posterior is fitted to each example, without samples.

Documents have perplexities too.
"""

from __future__ import annotations

from torch import Tensor

from vaebench.estimators.over_examples import standard_error
from vaebench.metrics import document_perplexity
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import BoundedModel
from vaebench.results.stats import Measure


class EvidenceBound(Metric[Tensor]):
    """Minus the mean of the bound over examples; there is no Monte Carlo error."""

    def applies(self, job: Job) -> bool:
        """Whether the model has such a bound."""
        return isinstance(job.model, BoundedModel)

    def collect(self, job: Job) -> Tensor:
        """Return the bound on log p(x) of every example, (n,), nats."""
        if not isinstance(job.model, BoundedModel):
            raise TypeError(f"{type(job.model).__name__} has no bound without samples")
        return job.model.evidence_bound(job.x).double()

    def measures(self, job: Job, collected: Tensor) -> list[Measure]:
        """Return the bound and the perplexities.

        ``spread`` is the standard error of the mean over examples.
        """
        value = -float(collected.mean())
        bound = job.measure(
            "bound", value, None, None, each=-collected, spread=standard_error(collected)
        )
        names = document_perplexity.PER_DOCUMENT, document_perplexity.POOLED
        return [bound, *document_perplexity.measures(job, -collected, None, None, names)]


METRIC = EvidenceBound()
