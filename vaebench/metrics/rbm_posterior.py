"""The NLL of models whose posterior is a Boltzmann machine, from annealed samples.

Every example has a posterior of its own (DVAE##).
"""

from __future__ import annotations

from typing import Any

from vaebench.estimators.annealed_posterior import AnnealedSum
from vaebench.metrics.base import Metric
from vaebench.metrics.importance import details
from vaebench.metrics.job import Job
from vaebench.models.rbm_posterior import RBMPosteriorVAE
from vaebench.protocol.log_z import posterior_chains
from vaebench.results.stats import Measure


class AnnealedNLL(Metric[AnnealedSum]):
    """The NLL by the states as they are, as in the paper, and by states and weights together."""

    def applies(self, job: Job) -> bool:
        """Whether the model has a Boltzmann posterior, and the settings ask for samples."""
        return bool(job.settings.iw_samples) and job.boltzmann_posterior

    def collect(self, job: Job) -> AnnealedSum:
        """Return sums of the weights of all chains."""
        samples = job.settings.iw_samples
        assert samples is not None  # by ``applies``
        chains = posterior_chains(job.settings)
        return AnnealedSum(len(job.x), samples, job.x.device, chains=chains, log_z=job.log_z)

    def measures(self, job: Job, collected: AnnealedSum) -> list[Measure]:
        """Return both NLLs.

        The first also has the error of log Z of an example's posterior, its mean and its largest
        value, and counts of modes.
        """
        if not isinstance(job.model, RBMPosteriorVAE):
            raise TypeError(
                f"{type(job.model).__name__} has no Boltzmann posterior beside such a prior"
            )

        plain = collected.plain
        weighted = collected.weighted
        plain_result = plain.result()
        weighted_result = weighted.result()
        posterior_error = plain.sd

        # Only the plain estimate contains log Z_x^, so the diagnostics of the annealing go with it.
        annealing = {
            "posterior_log_z_error": float(posterior_error.mean()),
            "posterior_log_z_error_max": float(posterior_error.max()),
        }
        extra: dict[str, Any] = {
            **details(plain_result),
            **annealing,
            "modes": collected.modes(job.model, job.x),
        }

        return [
            job.with_log_z(
                "iw_nll",
                plain_result.nll,
                plain_result.error,
                plain_result.samples,
                each=plain.each(),
                **extra,
            ),
            job.with_log_z(
                "iw_nll_weighted",
                weighted_result.nll,
                weighted_result.error,
                weighted_result.samples,
                each=weighted.each(),
                **details(weighted_result),
            ),
        ]


METRIC = AnnealedNLL()
