"""The NLL by annealing from the prior to the posterior, without the inference network."""

from __future__ import annotations

from typing import Any, cast

from vaebench.estimators.annealed_evidence import (
    Annealed,
    Annealing,
    Dreaming,
    log_evidence,
    log_mean,
)
from vaebench.estimators.jackknife import group_sums, variance
from vaebench.estimators.over_examples import standard_error
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import Ancestral, LatentModel
from vaebench.results.stats import Measure


class AnnealedNLL(Metric[Annealed]):
    """Minus the mean of log p(x) over examples, by forward chains: in expectation above the NLL.

    The gap between both directions, on examples that the model made, shows by how much at most.
    """

    def applies(self, job: Job) -> bool:
        """Whether the model has vectors, real latents and a prior that is sampled at once.

        The settings must ask for chains.
        """
        model = job.model
        real = model.facts.latent == "gaussian" and not model.facts.reads_documents
        return (
            bool(job.settings.ais_chains)
            and real
            and isinstance(model, LatentModel)
            and _dreams(model)
        )

    def collect(self, job: Job) -> Annealed:
        """Return the weights of all chains of every example."""
        chains = job.settings.ais_chains
        assert chains is not None  # by ``applies``
        how = Annealing(temperatures=job.settings.ais_temperatures, chains=chains)
        return log_evidence(cast(Dreaming, job.model), job.x, job.seed, how)

    def measures(self, job: Job, collected: Annealed) -> list[Measure]:
        """Return one number, with the error over the chains."""
        chains = len(collected.log_weights)
        each = -log_mean(collected.log_weights)

        # Examples have independent chains: the variance of the mean is the mean variance over n.
        error = float(variance(group_sums(collected.log_weights), chains).mean() / len(each)) ** 0.5

        gaps = collected.gaps
        ess = collected.ess
        details: dict[str, Any] = {
            "chains": chains,
            "ess": float(ess.mean()),
            "ess_min": float(ess.min()),
            "gap": float(gaps.mean()),
            "gap_error": standard_error(gaps),
            "error_by": "jackknife",
        }

        return [job.measure("ais_nll", float(each.mean()), error, chains, each=each, **details)]


def _dreams(model: object) -> bool:
    return isinstance(model, Ancestral)


METRIC = AnnealedNLL()
