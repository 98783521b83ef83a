"""A tiny VAE of documents, five documents, and the noise that it takes."""

from __future__ import annotations

import torch

from kit.parameters import drawn
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.models.text_vae import TextVAE
from vaebench.rng import noise

VOCABULARY = 7
LATENTS = 2
EMBEDDING = 4
UNITS = 3
K = 3

DOCUMENTS = [[1, 4, 5, 2], [1, 6, 2], [1, 3, 3, 5, 6, 2], [1, 2], [1, 5, 4, 2]]
"""Token numbers, from <s> = 1 to </s> = 2. Lengths are 2 to 6; one document has no word."""


def rows(documents, width=None):
    """Documents as an array, padded with 0 to ``width``, by default that of the longest."""
    width = width or max(map(len, documents))
    return torch.tensor([[*d, *[0] * (width - len(d))] for d in documents])


def built(seed=0, scale=0.7, dtype=torch.float64, vocabulary=VOCABULARY, **settings):
    """The model, every parameter N(0, scale^2)."""
    settings = {"latents": LATENTS, "embedding": EMBEDDING, "units": UNITS, **settings}
    return drawn(
        TextVAE(
            DataInfo(torch.full((vocabulary,), 1 / vocabulary), Kind.TOKENS),
            **settings,
        ).to(dtype),
        scale,
        seed,
    )


def codes(k, batch, seed=0, dtype=torch.float64):
    """Random codes (k, batch, LATENTS), ``k`` for every document, as a list of one layer."""
    return [
        torch.randn(k, batch, LATENTS, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    ]


def masks(model, batch, width, seed=0):
    """Uniform noise of the dropout of a batch."""
    return {
        k: v.double()
        for k, v in noise.fixed(model.dropout_noise(batch, width), seed, "noise").items()
    }
