"""The NLL from posterior samples alone.

Kingma & Welling 2014, appendix D; it stands beside the importance-weighted one.
"""

from __future__ import annotations

from torch import Tensor

from vaebench.estimators.hmc_evidence import Chains, log_evidence
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import GaussianPosterior
from vaebench.results.stats import Measure


class HMCNLL(Metric[tuple[Tensor, Tensor]]):
    """Minus the mean over cases of the estimated log p(x).

    It is no bound, and reads too low with many latents.
    """

    def applies(self, job: Job) -> bool:
        """Models of vectors with a Gaussian posterior, where samples are asked for."""
        wanted = job.settings.get("hmc_samples")
        return (
            bool(wanted)
            and isinstance(job.model, GaussianPosterior)
            and not job.model.facts.reads_documents
        )

    def collect(self, job: Job) -> tuple[Tensor, Tensor]:
        """log p(x) of every case and the acceptance of its chain, (n,) each."""
        assert isinstance(job.model, GaussianPosterior)  # by ``applies``
        return log_evidence(job.model, job.x, job.seed, Chains(job.settings["hmc_samples"]))

    def measures(self, job: Job, collected: tuple[Tensor, Tensor]) -> list[Measure]:
        """One number; its Monte Carlo error is not known from one run of the chains."""
        values, accepted = collected
        samples = job.settings["hmc_samples"]
        acceptance = float(accepted.mean())
        return [
            job.measure(
                "hmc_nll", -float(values.mean()), None, samples, each=-values, acceptance=acceptance
            )
        ]


METRIC = HMCNLL()
