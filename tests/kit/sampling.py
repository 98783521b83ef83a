"""Samples of a model of few bits against its probabilities."""

from __future__ import annotations

import torch
from scipy.stats import binom

from vaebench.estimators import exact
from vaebench.rng import noise

TAIL = 3.4e-6
"""Probability of a count so far from its mean on one side; that of 4.5 standard errors."""


def assert_counts_have_their_probabilities(counts, p):
    """Each of the counts has a tail of its own binomial law that is not below TAIL.

    These laws are exact for rare outcomes too, whose counts are far from normal. By chance one of
    16 counts fails for at most one set of samples in 9,000.

    ``counts``, ``p``: how often each outcome came, and its probability; (outcomes,) each.
    """
    law = binom(int(counts.sum()), p.numpy())
    at_most = law.cdf(counts.numpy())
    at_least = law.sf(counts.numpy() - 1)

    assert at_most.min() >= TAIL
    assert at_least.min() >= TAIL


def assert_samples_have_their_probabilities(model):
    """40,000 samples have the frequencies of all 16 examples.

    ``model``: without latents, of 4 bits, in float64.
    """
    n = 40_000
    draws = {k: v.double() for k, v in noise.fixed(model.joint_noise(n), 0, "noise").items()}
    x, layers = model.sample_joint(draws)
    every = exact.states(4)
    p = model.score(every).exp()

    # Examples are counted by their number, sum x_i 2^i.
    place = 2 ** torch.arange(4)
    counts = torch.bincount((x.long() * place).sum(-1), minlength=16)

    assert layers == []
    assert_counts_have_their_probabilities(counts[(every.long() * place).sum(-1)], p)
