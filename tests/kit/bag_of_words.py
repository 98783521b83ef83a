"""A model of documents as bags of words, which records the shapes that it is asked for, and
documents for it."""

from __future__ import annotations

import torch
from torch import nn

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.models.base import GaussianPosterior
from vaebench.protocol.families import FAMILIES

WORDS = 9


class BagOfWords(GaussianPosterior):
    """Every word and the end have the probability softmax(W z + b), whatever their place.

    The encoder sees the counts. ``encoded`` has the shapes of the documents that were encoded,
    ``decoded`` (samples, documents, length) of those that were decoded.
    """

    facts = FAMILIES["text_vae"]

    def __init__(self, latents: int = 2) -> None:
        super().__init__(DataInfo(torch.full((WORDS,), 1 / WORDS), Kind.TOKENS), [latents])
        self.double()
        g = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(WORDS, latents, generator=g, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(WORDS, generator=g, dtype=torch.float64))
        self.q = nn.Parameter(0.3 * torch.randn(WORDS, latents, generator=g, dtype=torch.float64))
        self.log_var = -1.0
        self.encoded = []
        self.decoded = []

    def encode(self, x, tape=None):
        self.encoded.append(tuple(x.shape))
        counts = torch.stack([(x == v).sum(1) for v in range(1, WORDS)], 1).double()
        mean = counts @ self.q[1:]
        return mean, self.log_var + 0.1 * mean

    def log_likelihood(self, x, z, drop=None, tape=None):
        self.decoded.append((*z[0].shape[:2], x.shape[1]))
        log_p = torch.log_softmax(z[0] @ self.w.T + self.b, -1)  # (k, n, words)
        # Every token after <s>; padding, token 0, does not count.
        targets = x[:, 1:].long()
        each = log_p.gather(-1, targets.expand(len(z[0]), *targets.shape))
        return (each * (targets != 0)).sum(-1)


def documents(n, seed=0, longest=12):
    """Token numbers (n, longest), int16, sorted by length from 2 (no word at all).

    <s> is 1, </s> is 2, words are from 3, and padding is 0.
    """
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, longest + 1, (n,), generator=g).sort().values
    x = torch.randint(3, WORDS, (n, longest), generator=g)
    x[:, 0] = 1
    place = torch.arange(longest)
    x = torch.where(place == lengths[:, None] - 1, 2, x)
    return torch.where(place < lengths[:, None], x, 0).to(torch.int16)
