"""LSTM language model of documents, the decoder of ``text_vae`` without a code (the LSTM-LM of He et al. 2019).

It has no latents, so its log p(x) is exact and there is nothing to sample but documents.
"""

from __future__ import annotations

from torch import Tensor, nn

from vaebench.models import tokens
from vaebench.models.text_decoder import Drop, TextDecoder


class TextLM(nn.Module):
    """``mean`` (V,): frequencies of the vocabulary, whose number is all that matters of them here.

    The settings are those of the decoder of ``TextVAE``. The LSTM starts from a state of zeros. Raises UserError for
    bad settings.
    """

    latent = "none"
    reparameterised = False
    unnormalised: tuple[str, ...] = ()
    tokens = True

    def __init__(
        self,
        mean: Tensor,
        embedding: int = 512,
        units: int = 1024,
        dropout_in: float = 0.5,
        dropout_out: float = 0.5,
        frozen_last_row: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = [mean.numel()]
        self.register_buffer("mean", mean)
        self.p = TextDecoder(mean.numel(), 0, embedding, units, dropout_in, dropout_out, frozen_last_row)

    def dropout_noise(self, batch: int, width: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of ``drop`` for documents (batch, width): uniforms ``drop_in`` and ``drop_out``, where there is any."""
        return self.p.dropout_noise(batch, width)

    def log_evidence(self, x: Tensor, drop: Drop | None = None) -> Tensor:
        """Exact log p(x), (batch,), nats: the sum over words and ``</s>``; with ``drop`` that of a thinned net.

        Without gradient memory is bounded, whatever the number of documents.
        """
        return self.p.log_likelihood(tokens.read(x), None, drop)[0]
