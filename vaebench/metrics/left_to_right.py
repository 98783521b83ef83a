"""The NLL of topic models by particles.

The particles pass over a document from left to right (Wallach et al. 2009).
"""

from __future__ import annotations

from torch import Tensor

from vaebench.estimators.left_to_right import log_evidence
from vaebench.estimators.over_examples import standard_error
from vaebench.metrics import document_perplexity
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.lda import LDA
from vaebench.results.stats import Measure

NAMES = "left_to_right_perplexity", "left_to_right_pooled_perplexity"
"""Names of the perplexities per document and over all tokens."""


class LeftToRight(Metric[Tensor]):
    """Minus the mean over documents of the estimated log p: a stochastic upper bound of the NLL."""

    def applies(self, job: Job) -> bool:
        """Whether the model is a topic model, and the settings ask for particles."""
        return bool(job.settings.particles) and isinstance(job.model, LDA)

    def collect(self, job: Job) -> Tensor:
        """Return the estimate of log p of every document, (n,), nats."""
        particles = job.settings.particles
        assert isinstance(job.model, LDA)  # by ``applies``, and the next too
        assert particles is not None
        return log_evidence(job.model, job.x, particles, job.seed)

    def measures(self, job: Job, collected: Tensor) -> list[Measure]:
        """Return the NLL and the perplexities.

        ``spread`` is the standard error of the mean over documents. The Monte Carlo error is not
        known from one evaluation; only repeats show it.
        """
        particles = job.settings.particles
        value = -float(collected.mean())
        nll = job.measure(
            "left_to_right_nll",
            value,
            None,
            particles,
            each=-collected,
            spread=standard_error(collected),
        )
        return [nll, *document_perplexity.measures(job, -collected, None, particles, NAMES)]


METRIC = LeftToRight()
