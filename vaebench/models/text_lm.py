"""LSTM language model of documents: the decoder of ``text_vae`` without a code.

This is the LSTM-LM of He et al. 2019. It has no latents, so log p(x) is exact and only documents
can be sampled.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vaebench.data.info import DataInfo
from vaebench.models import tokens
from vaebench.models.base import ExactModel, Program, Tiny
from vaebench.models.text_decoder import Drop, TextDecoder
from vaebench.nn.batch_norm import Tape
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes


class TextLM(ExactModel):
    """An LSTM language model.

    Of the data only the size of the vocabulary matters. The settings are those of the decoder of
    ``TextVAE``. The LSTM starts from a state of zeros. Raises UserError for bad settings.
    """

    facts = FAMILIES["text_lm"]
    tiny: ClassVar[Tiny] = {"LSTM-LM": {"embedding": 3, "units": 4}}

    def __init__(
        self,
        info: DataInfo,
        embedding: int = 512,
        units: int = 1024,
        dropout_in: float = 0.5,
        dropout_out: float = 0.5,
        frozen_last_row: bool = False,
    ) -> None:
        super().__init__(info)
        self.p = TextDecoder(
            info.size, 0, embedding, units, dropout_in, dropout_out, frozen_last_row
        )

    def dropout_noise(self, batch: int, width: int) -> Shapes:
        """Declare the noise of ``drop`` for documents (batch, width).

        Uniforms ``drop_in`` and ``drop_out``, each only if its rate is not 0.
        """
        return self.p.dropout_noise(batch, width)

    def log_evidence(self, x: Tensor, drop: Drop | None = None, tape: Tape | None = None) -> Tensor:
        """Return the exact log p(x), (batch,), nats: the sum over words and ``</s>``.

        With ``drop`` it is that of a thinned net.
        """
        return self.p.log_likelihood(tokens.read(x), None, drop)[0]

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return the decoder, for documents of the width of ``x``.

        Shorter ones are padded with 0.
        """

        def decode(x: Tensor) -> Tensor:
            return self.p.logits(x, None)

        return {
            "decoder": Program(decode, {"x": x}, "logits of every next word given those before it")
        }

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """Return ``log_evidence`` for evaluation, (n,), nats.

        No gradient passes, and memory is bounded for any number of documents.
        """
        return self.p.score(tokens.read(x), None)[0]
