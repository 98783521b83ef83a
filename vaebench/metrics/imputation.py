"""How many of an image's missing pixels are filled in wrongly.

The share is given for every step of the chain that fills them in.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from vaebench.estimators.imputation import Decoding, decodes, errors, missing
from vaebench.estimators.over_examples import standard_error
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.results.stats import Measure


class Imputation(Metric[Tensor]):
    """The share of missing pixels that are wrong, after the last step and every step before."""

    def applies(self, job: Job) -> bool:
        """Whether the model has bits and a posterior that is sampled at once.

        The settings must ask for imputation.
        """
        return bool(job.settings.imputation) and decodes(job.model)

    def collect(self, job: Job) -> Tensor:
        """Return the shares of wrong pixels, (chains, steps + 1, n)."""
        settings = job.settings
        kind = str(settings.imputation)
        hidden = missing(kind, settings.missing, job.model.info.shape, len(job.x), job.seed).to(
            job.x.device
        )

        count = settings.imputation_steps
        model = cast(Decoding, job.model)  # by ``applies``
        return errors(model, job.x, hidden, count, settings.imputation_chains, job.seed)

    def measures(self, job: Job, collected: Tensor) -> list[Measure]:
        """Return the per cent of wrong pixels, a mean over examples; the error is over chains."""
        # (chains, steps + 1, n): first the mean over examples of each chain and step, then over
        # chains.
        percent = 100 * collected
        each_chain = percent.mean(-1)
        chains = len(each_chain)
        mean = each_chain.mean(0)
        error = each_chain.std(0) / chains**0.5

        curve = {str(t): float(v) for t, v in enumerate(mean)}
        curve_error = {str(t): float(v) for t, v in enumerate(error)}

        # After the last step: the mean over chains of each example.
        spread = standard_error(percent[:, -1].mean(0))
        details: dict[str, Any] = {"curve": curve, "curve_error": curve_error, "spread": spread}
        return [job.measure("imputation", float(mean[-1]), float(error[-1]), chains, **details)]


METRIC = Imputation()
