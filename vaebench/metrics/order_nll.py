"""The NLL of models that are exact given an order: the mean over random orders.

Documents have perplexities too.
"""

from __future__ import annotations

from torch import Tensor

from vaebench.estimators import orders
from vaebench.estimators.over_examples import standard_error
from vaebench.metrics import document_perplexity
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import OrderedModel
from vaebench.results.stats import Measure


class OrderNLL(Metric[Tensor]):
    """Minus the mean of log p(x | order) over ``eval.orders`` orders and over the examples."""

    def applies(self, job: Job) -> bool:
        """Whether the model reads an example in an order."""
        return isinstance(job.model, OrderedModel)

    def collect(self, job: Job) -> Tensor:
        """Return log p(x | order) of every example and order, (orders, n), nats."""
        if not isinstance(job.model, OrderedModel):
            raise TypeError(f"{type(job.model).__name__} reads an example in one order")
        return orders.log_evidence(job.model, job.x, job.settings.orders, job.seed)

    def measures(self, job: Job, collected: Tensor) -> list[Measure]:
        """Return the NLL and the perplexities.

        ``error`` comes from the choice of the orders. ``spread`` is the standard error of the mean
        over examples.
        """
        each = -collected.mean(0)
        error = orders.mean_error(collected)
        nll = job.measure(
            "nll", float(each.mean()), error, None, each=each, spread=standard_error(each)
        )

        # Variance of each example's mean over orders; one order does not show it.
        variance = collected.var(0) / len(collected) if len(collected) > 1 else None
        names = document_perplexity.PER_DOCUMENT, document_perplexity.POOLED
        return [nll, *document_perplexity.measures(job, each, variance, None, names)]


METRIC = OrderNLL()
