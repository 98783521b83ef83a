"""Samples of a model of few bits against its probabilities."""

from __future__ import annotations

import torch

from vaebench.estimators import exact
from vaebench.rng import noise


def assert_samples_have_their_probabilities(model):
    """40,000 samples have the frequencies of all 16 examples, within 4.5 standard errors.

    By chance one of the 16 z-scores is beyond that for one set of seeds in 9,000.

    ``model``: without latents, of 4 bits, in float64.
    """
    n = 40_000
    draws = {k: v.double() for k, v in noise.fixed(model.joint_noise(n), 0, "noise").items()}
    x, layers = model.sample_joint(draws)
    every = exact.states(4)
    p = model.score(every).exp()

    # Examples are counted by their number, sum x_i 2^i.
    place = 2 ** torch.arange(4)
    frequencies = torch.bincount((x.long() * place).sum(-1), minlength=16) / n
    z = (frequencies[(every.long() * place).sum(-1)] - p) / (p * (1 - p) / n).sqrt()

    assert layers == []
    assert float(z.abs().max()) < 4.5
