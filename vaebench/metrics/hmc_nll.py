"""The NLL from posterior samples alone (Kingma & Welling 2014, appendix D).

It is reported beside the importance-weighted NLL.
"""

from __future__ import annotations

from torch import Tensor

from vaebench.estimators.hmc_evidence import Chains, log_evidence
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import GaussianPosterior
from vaebench.results.stats import Measure


class HMCNLL(Metric[tuple[Tensor, Tensor]]):
    """Minus the mean of the estimated log p(x) over examples.

    It is no bound, and it is too low with many latents.
    """

    def applies(self, job: Job) -> bool:
        """Whether the model has vectors and a Gaussian posterior, and samples are asked for."""
        return (
            job.settings.hmc_samples is not None
            and isinstance(job.model, GaussianPosterior)
            and not job.model.facts.reads_documents
        )

    def collect(self, job: Job) -> tuple[Tensor, Tensor]:
        """Return log p(x) of every example and the acceptance rate of its chain, (n,) each."""
        samples = job.settings.hmc_samples
        assert isinstance(job.model, GaussianPosterior)  # by ``applies``, and the next too
        assert samples is not None
        return log_evidence(job.model, job.x, job.seed, Chains(samples))

    def measures(self, job: Job, collected: tuple[Tensor, Tensor]) -> list[Measure]:
        """Return one number; one run of the chains does not show its Monte Carlo error."""
        values, accepted = collected
        samples = job.settings.hmc_samples
        acceptance = float(accepted.mean())
        return [
            job.measure(
                "hmc_nll", -float(values.mean()), None, samples, each=-values, acceptance=acceptance
            )
        ]


METRIC = HMCNLL()
