"""The exact NLL of models that can be enumerated or have no latents.

Documents have perplexities too. The NLL of an ensemble is that of the mean of its first
``eval.members`` members.
"""

from __future__ import annotations

from torch import Tensor

from vaebench.estimators import ensemble, enumeration
from vaebench.estimators.over_examples import standard_error
from vaebench.metrics import document_perplexity, perplexity
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import Ensemble, ExactModel, OrderedModel
from vaebench.nn.precision import products_in
from vaebench.results.stats import Measure


class ExactNLL(Metric[Tensor]):
    """Minus the mean of log p(x) over examples, without error."""

    def applies(self, job: Job) -> bool:
        """Whether log p(x) is known exactly, see ``enumeration.known``.

        Models that read an example in an order have another metric, ``order_nll``.
        """
        if isinstance(job.model, OrderedModel):
            return False
        return isinstance(job.model, ExactModel) or enumeration.applies(job.model)

    def collect(self, job: Job) -> Tensor:
        """Return log p(x) of every example, (n,), nats."""
        if isinstance(job.model, Ensemble):
            return ensemble.log_evidence(job.model, job.x, job.settings.members)

        with products_in(job.settings.precision, job.x.device):
            log_p = enumeration.known(job.model, job.x)
        if log_p is None:
            raise TypeError(f"{type(job.model).__name__} has no exact NLL")
        return log_p

    def measures(self, job: Job, collected: Tensor) -> list[Measure]:
        """Return the NLL and the perplexities.

        ``spread`` is the standard error of the mean over examples.
        """
        nll = -float(collected.mean())
        measures = [
            job.measure("nll", nll, None, None, each=-collected, spread=standard_error(collected))
        ]

        if job.model.facts.reads_documents:
            measures.append(perplexity.measure(job, nll, None, None, -collected))

        names = document_perplexity.PER_DOCUMENT, document_perplexity.POOLED
        return [*measures, *document_perplexity.measures(job, -collected, None, None, names)]


METRIC = ExactNLL()
