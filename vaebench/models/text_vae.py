"""VAE of documents with an LSTM encoder and an LSTM decoder (He et al. 2019, section 5.1; Bowman et al. 2016).

z ~ N(0, I); p(x | z) an LSTM language model that is given z (``text_decoder``); q(z | x) a diagonal Gaussian whose mean
and log-variance are linear in the last state of another LSTM, which reads the document from ``<s>`` to ``</s>``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.dists import gaussian
from vaebench.models import tokens
from vaebench.models.text_decoder import Drop, TextDecoder
from vaebench.nn.lstm import LSTM, last
from vaebench.settings import validate

Moments = tuple[Tensor, Tensor]
"""Mean and log-variance, each (batch, n)."""


class TextEncoder(nn.Module):
    """Documents to ``outputs`` numbers each: an embedding of its own, an LSTM, a projection without bias."""

    def __init__(self, vocabulary: int, embedding: int, units: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(vocabulary, embedding))
        self.lstm = LSTM(embedding, units)
        self.output = nn.Parameter(torch.zeros(outputs, units))

    def forward(self, documents: tokens.Documents) -> Tensor:
        """(batch, outputs), from the state after every document's own ``</s>``."""
        out, (h, _) = self.lstm(F.embedding(documents.tokens.t(), self.embedding))
        return F.linear(h if documents.even else last(out, documents.lengths), self.output)


class TextVAE(nn.Module):
    """``mean`` (V,): frequencies of the vocabulary, whose number is all that matters of them here.

    ``latents`` n; ``embedding`` and ``units`` of both LSTMs; ``dropout_in`` and ``dropout_out``: rates of the decoder's
    words and outputs, in training only; ``frozen_last_row``: see ``TextDecoder``. ``x`` (batch, d) are documents, see
    ``tokens``. ``seen``: what ``encode`` gave for ``x``, which spares the encoder. Raises UserError for bad settings.
    """

    latent = "gaussian"
    reparameterised = True
    unnormalised: tuple[str, ...] = ()
    tokens = True

    def __init__(
        self,
        mean: Tensor,
        latents: int = 32,
        embedding: int = 512,
        units: int = 1024,
        dropout_in: float = 0.5,
        dropout_out: float = 0.5,
        frozen_last_row: bool = False,
    ) -> None:
        super().__init__()
        vocabulary = mean.numel()
        validate.whole("model.latents", latents)
        self.sizes = [vocabulary, latents]
        self.register_buffer("mean", mean)
        self.p = TextDecoder(vocabulary, latents, embedding, units, dropout_in, dropout_out, frozen_last_row)
        self.q = TextEncoder(vocabulary, embedding, units, 2 * latents)

    # ------------------------------------------------------------------------------------------------ posterior

    def encode(self, x: Tensor) -> Moments:
        """Mean and log-variance of q(z | x), (batch, n) each. There is no dropout in the encoder."""
        mean, log_var = self.q(tokens.read(x)).chunk(2, -1)
        return mean, log_var

    def posterior_noise(self, k: int, batch: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of ``sample_posterior``: standard normals (k, batch, n)."""
        return {"q1": ("normal", (k, batch, self.sizes[1]))}

    def sample_posterior(
        self, x: Tensor, k: int, noise: dict[str, Tensor], seen: Moments | None = None
    ) -> list[Tensor]:
        """k reparameterised samples of q(z | x): [z] with z (k, batch, n)."""
        mean, log_var = self.encode(x) if seen is None else seen
        return [gaussian.sample(mean, 0.5 * log_var, noise["q1"])]

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor, seen: Moments | None = None) -> list[Tensor]:
        """[log q(z | x)], (k, batch), nats."""
        mean, log_var = self.encode(x) if seen is None else seen
        return [gaussian.log_prob(z[0], mean, 0.5 * log_var)]

    def log_posterior(self, z: Sequence[Tensor], x: Tensor, seen: Moments | None = None) -> Tensor:
        """log q(z | x), (k, batch), nats."""
        return self.log_posterior_terms(z, x, seen)[0]

    # ------------------------------------------------------------------------------------------------ generator

    def dropout_noise(self, batch: int, width: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of ``drop`` for documents (batch, width): uniforms ``drop_in`` and ``drop_out``, where there is any."""
        return self.p.dropout_noise(batch, width)

    def log_likelihood(self, x: Tensor, z: Sequence[Tensor], drop: Drop | None = None) -> Tensor:
        """log p(x | z), (k, batch), nats: the sum over words and ``</s>``. ``drop``: see ``TextDecoder``."""
        return self.p.log_likelihood(tokens.read(x), z[0], drop)

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """[log p(x | z), log p(z)], each (k, batch), nats, without dropout."""
        zero = torch.zeros((), dtype=z[0].dtype, device=z[0].device)
        return [self.log_likelihood(x, z), gaussian.log_prob(z[0], zero, zero)]

    def log_joint(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """log p(x, z), (k, batch), nats, without dropout."""
        return sum(self.log_joint_terms(x, z))
