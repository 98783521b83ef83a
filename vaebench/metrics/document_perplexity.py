"""The perplexities that go with a bound or an NLL of documents as counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.data.kinds import Kind
from vaebench.estimators.document_perplexity import per_document, pooled
from vaebench.metrics.job import Job
from vaebench.results.stats import Measure

PER_DOCUMENT = "document_perplexity"
POOLED = "pooled_perplexity"
"""Perplexities from the bound, or from the NLL of a model with an exact likelihood."""

PER_DOCUMENT_IW = "iw_document_perplexity"
POOLED_IW = "iw_pooled_perplexity"
"""Perplexities from the importance-weighted NLL."""


def measures(
    job: Job,
    nll: Tensor,
    variance: Tensor | None,
    samples: int | None,
    names: tuple[str, str],
    **more: Any,
) -> list[Measure]:
    """Return both perplexities of a job on documents as counts; none on other examples.

    Args:
        job: What is measured.
        nll: The NLL of every document or a bound of it, (n,), nats.
        variance: The variance of every ``nll``, (n,), which gives the error; None: no error.
        samples: Samples per document; None for an exact NLL.
        names: Names of the measures, per document and pooled.
        more: Further entries of their ``extra``.
    """
    if job.model.info.kind is not Kind.COUNTS:
        return []

    tokens = job.x.sum(-1, dtype=torch.float64)
    token_counts = {"tokens": int(tokens.sum()), "tokens_per_case": float(tokens.mean())}

    # The values among which outliers are searched: nats per token for the mean over documents,
    # nats for the pooled sum.
    each = nll / tokens, nll

    perplexities = []
    for name, perplexity, of_each in zip(names, (per_document, pooled), each, strict=True):
        result = perplexity(nll, tokens, variance)
        extra = {**token_counts, "spread": result.case_error, **more}
        perplexities.append(
            job.measure(name, result.value, result.error, samples, each=of_each, **extra)
        )
    return perplexities
