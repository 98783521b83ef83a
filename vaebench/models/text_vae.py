"""VAE of documents with an LSTM encoder and an LSTM decoder.

He et al. 2019, section 5.1; Bowman et al. 2016. z ~ N(0, I). p(x | z) is an LSTM language model
that is given z (``text_decoder``). q(z | x) is a diagonal Gaussian whose mean and log-variance are
linear in the last state of another LSTM, which reads the document from ``<s>`` to ``</s>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.models import tokens
from vaebench.models.base import GaussianPosterior, Moments, Program, Tiny
from vaebench.models.text_decoder import Drop, TextDecoder
from vaebench.nn.batch_norm import Tape
from vaebench.nn.lstm import LSTM, last
from vaebench.nn.precision import products_in
from vaebench.nn.tokens import lengths_of
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class TextEncoder(nn.Module):
    """Turns each document into ``outputs`` numbers.

    It has an embedding of its own, an LSTM, and a projection without bias.
    """

    def __init__(self, vocabulary: int, embedding: int, units: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(vocabulary, embedding))
        self.lstm = LSTM(embedding, units)
        self.output = nn.Parameter(torch.zeros(outputs, units))

    def forward(self, documents: tokens.Documents) -> Tensor:
        """Return (batch, outputs), from the state after every document's own ``</s>``.

        It is computed in float32, with or without autocast.
        """
        with products_in("float32", documents.tokens.device):
            # The last state has read padding, unless all documents have the same length.
            out, (h, _) = self.lstm(F.embedding(documents.tokens.t(), self.embedding))
            return F.linear(h if documents.even else last(out, documents.lengths), self.output)


class TextVAE(GaussianPosterior):
    """A VAE of documents ``x`` (batch, d), see ``tokens``.

    Args:
        info: What is known of the data; only the size of the vocabulary matters.
        latents: n, the size of a code.
        embedding: Size of a word's embedding, in the encoder and in the decoder.
        units: Number of units of each LSTM.
        dropout_in: Dropout rate of the words that the decoder reads, in training only.
        dropout_out: Dropout rate of the outputs of the decoder's LSTM, in training only.
        frozen_last_row: See ``TextDecoder``.

    Raises:
        UserError: For bad settings.
    """

    facts = FAMILIES["text_vae"]
    tiny: ClassVar[Tiny] = {
        "text VAE 2, dropout": {"latents": 2, "embedding": 3, "units": 4, "dropout_in": 0.3},
        "text VAE": {"latents": 1, "embedding": 3, "units": 4, "dropout_out": 0},
    }

    def __init__(
        self,
        info: DataInfo,
        latents: int = 32,
        embedding: int = 512,
        units: int = 1024,
        dropout_in: float = 0.5,
        dropout_out: float = 0.5,
        frozen_last_row: bool = False,
    ) -> None:
        super().__init__(info, [validate.whole("model.latents", latents)])
        vocabulary = info.size
        self.p = TextDecoder(
            vocabulary, latents, embedding, units, dropout_in, dropout_out, frozen_last_row
        )
        self.q = TextEncoder(vocabulary, embedding, units, 2 * latents)

    # ------------------------------------------------------------------------------------ posterior

    def encode(self, x: Tensor, tape: Tape | None = None) -> Moments:
        """Return mean and log-variance of q(z | x), (batch, n) each.

        There is no dropout in the encoder, and no tape is used.
        """
        mean, log_var = self.q(tokens.read(x)).chunk(2, -1)
        return mean, log_var

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return encoder and decoder, for documents of the width of ``x``.

        Shorter ones are padded with 0.
        """
        z = torch.zeros(len(x), self.sizes[1], dtype=self.mean.dtype)

        # ``tokens.read`` cuts a batch by its values, which an exported program must not do.
        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_var = self.q(tokens.Documents(x, lengths_of(x), even=False)).chunk(2, -1)
            return mean, log_var

        return {
            "encoder": Program(encode, {"x": x}, "mean and log-variance of z"),
            "decoder": Program(
                self.p.logits,
                {"x": x, "z": z},
                "logits of every next word given z and those before it",
            ),
        }

    # ------------------------------------------------------------------------------------ generator

    def dropout_noise(self, batch: int, width: int) -> Shapes:
        """Declare the noise of ``drop`` for documents (batch, width).

        Uniforms ``drop_in`` and ``drop_out``, each only if its rate is not 0.
        """
        return self.p.dropout_noise(batch, width)

    def log_likelihood(
        self, x: Tensor, z: Sequence[Tensor], drop: Drop | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x | z), (k, batch), nats: the sum over words and ``</s>``.

        ``drop``: see ``TextDecoder.log_likelihood``.
        """
        return self.p.log_likelihood(tokens.read(x), z[0], drop)

    @torch.no_grad()
    def score(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """Return ``log_likelihood`` for evaluation, (k, batch), nats.

        No gradient passes, and memory is bounded for any k and batch.
        """
        return self.p.score(tokens.read(x), z[0])
