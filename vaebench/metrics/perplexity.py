"""The perplexity that goes with an NLL of documents."""

from __future__ import annotations

from torch import Tensor

from vaebench.estimators.perplexity import perplexity
from vaebench.metrics.job import Job
from vaebench.results.stats import Measure


def measure(
    job: Job, nll: float, error: float | None, samples: int | None, each: Tensor | None = None
) -> Measure:
    """Return the perplexity of a job whose mean NLL per document is known.

    ``samples`` are per document, None for an exact NLL. ``each`` is the NLL of every document,
    (n,), nats.
    """
    result = perplexity(nll, error, job.x)
    extra = {"tokens": result.tokens, "tokens_per_case": result.tokens / len(job.x)}
    return job.measure("perplexity", result.value, result.error, samples, each=each, **extra)
