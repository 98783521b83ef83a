"""PixelCNN: the decoder of ``image_vae`` without a code. Its likelihood is exact.

The baseline of He et al. 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.models import images
from vaebench.models.base import ExactModel, PixelByPixel, Program, Tiny
from vaebench.models.posterior import Noise
from vaebench.nn.batch_norm import Tape, name_norms
from vaebench.protocol.families import FAMILIES


class PixelCNN(ExactModel, PixelByPixel):
    """An autoregressive model of images of bits.

    Its settings are those of the decoder of ``ImageVAE``.
    """

    facts = FAMILIES["pixel_cnn"]
    tiny: ClassVar[Tiny] = {"PixelCNN, masked": {"channels": 4, "kernels": [3, 3]}}
    kernel_layers = True

    def __init__(
        self,
        info: DataInfo,
        decoder: str = "masked",
        channels: int | None = None,
        kernels: Sequence[int] = (),
    ) -> None:
        super().__init__(info)
        self.p = images.build_decoder(info, 0, decoder, 1, channels, kernels)
        name_norms(self)

    def log_evidence(
        self, x: Tensor, drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x), (batch,), nats, differentiable. There is no dropout.

        With a tape, batch normalisation uses the statistics of the batch.
        """
        # Logits have an axis of samples; without codes there is one.
        return bernoulli.log_prob(x, self.p(x, None, tape))[0]

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return the decoder."""

        def decode(x: Tensor) -> Tensor:
            return self.p(x)[0]

        return {"decoder": Program(decode, {"x": x}, "logits of every pixel given those before it")}

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """Return ``log_evidence`` for evaluation, (n,), nats.

        No gradient passes, and memory is bounded.
        """
        return images.score(self.p, x.to(self.mean.dtype), None)[0]

    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples x (batch, h w), pixel by pixel; there are no latents."""
        return images.sample(self.p, None, noise["p0"].unsqueeze(0))[0], []
