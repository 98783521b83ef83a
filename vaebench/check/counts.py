"""Checks of belief nets on documents as counts, by sums over every short document.

Densities, dreams, the bound and perplexities are compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from vaebench.check.line import Line, mean_line
from vaebench.check.tiny import built, double, of_kind, tiny_models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import exact
from vaebench.estimators.document_perplexity import per_document
from vaebench.estimators.variational import BoundSum
from vaebench.estimators.weights import stream
from vaebench.models.belief_net import BeliefNet
from vaebench.rng import noise

WORDS = 4
"""Words of the vocabulary."""

TOKENS = 3
"""Tokens of a document; so there are WORDS^TOKENS sequences, which can be summed over."""

DRAWS = 40_000
"""Independent samples behind an estimate."""

MODELS = tiny_models(lambda cls: issubclass(cls, BeliefNet) and Kind.COUNTS in cls.facts.takes)
"""Tiny belief nets that take counts too."""


def lines(device: str | torch.device = "cpu") -> Iterator[Line]:
    """Yield all lines; this takes a second."""
    info = DataInfo(np.full(WORDS, 0.7), Kind.COUNTS, longest=TOKENS)
    for name, config in MODELS.items():
        model = of_kind(BeliefNet, built(config, info, 11, 0.8, device))
        yield from _of(f"{name} on counts", model.requires_grad_(False))


def _of(name: str, model: BeliefNet) -> Iterator[Line]:
    """Check one model by every sequence of TOKENS tokens, and by one document many times.

    The repeated document gives independent samples.
    """
    # The model's p is that of one sequence of tokens, so it sums to one over sequences, not over
    # the distinct rows of counts.
    sequences = _sequences().to(model.mean)
    log_p = exact.log_evidence(model, sequences)
    yield Line(f"{name}: sum of p over token sequences", 1.0, float(log_p.exp().sum()), 0.0)

    # Dreams are compared by the mean of a random function of the words. A dream has as many tokens
    # as the document that it is given.
    probe = torch.randn(WORDS, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(
        sequences.device
    )
    shapes = model.dream_noise(DRAWS)
    draws = double(noise.fixed(shapes, 0, "check", device=sequences.device))
    dream, _ = model.dream(sequences[:1].expand(DRAWS, -1), draws)
    yield mean_line(
        f"{name}: words of dreams", float(log_p.exp() @ (sequences @ probe)), dream @ probe
    )

    # The perplexity is the exponential of minus the bound per token; all documents are the same.
    x = sequences[5:6].expand(DRAWS // 10, -1)
    bound = BoundSum(len(x), 10, x.device)
    for part in stream(model, x, 10, 0):
        bound.add(part)
    estimate = per_document(bound.each(), x.sum(-1), bound.variance())
    exact_perplexity = math.exp(-float(exact.elbo(model, sequences[5:6])) / TOKENS)
    yield Line(
        f"{name}: perplexity from the bound",
        exact_perplexity,
        estimate.value,
        estimate.error or 0.0,
    )


def _sequences() -> Tensor:
    """Return the counts (rows, WORDS) of every sequence of TOKENS words, one row for each."""
    chosen = itertools.product(torch.eye(WORDS, dtype=torch.float64), repeat=TOKENS)
    return torch.stack([torch.stack(words).sum(0) for words in chosen])
