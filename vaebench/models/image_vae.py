"""VAE of images: a residual encoder, and a decoder in which each pixel sees those before it.

He et al. 2019, section 5.1. z ~ N(0, I); p(x | z) is a PixelCNN that is given z; q(z | x) is a
diagonal Gaussian whose mean and log-variance are outputs of a residual network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.errors import UserError
from vaebench.models import images
from vaebench.models.base import (
    Ancestral,
    BinaryVisibles,
    GaussianPosterior,
    Moments,
    Program,
    Tiny,
)
from vaebench.models.posterior import Noise
from vaebench.nn.batch_norm import Tape, name_norms
from vaebench.nn.resnet import ResNet
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class ImageVAE(GaussianPosterior, Ancestral, BinaryVisibles):
    """A VAE of images of bits.

    Both networks have batch normalisation. Given a tape, they normalise by the batch and write its
    statistics there; without one they normalise by the running averages.

    Args:
        info: What is known of the data, whose examples have a shape of two axes.
        latents: n, the size of a code.
        decoder: ``masked``, the network of He et al., or ``gated``, a gated PixelCNN without a
            blind spot.
        maps: Number of channels that a code is turned into.
        channels: Channels of the decoder's layers; None: as published.
        kernels: Sizes of the decoder's filters, odd, layer by layer; empty: as published.
        encoder_channels: Channels of the encoder's residual blocks, each of which halves the image.
        features: Features of the encoder's last convolution.

    Raises:
        UserError: For a bad setting.

    Reference:
        He et al. 2019, appendix B.2.
    """

    facts = FAMILIES["image_vae"]
    tiny: ClassVar[Tiny] = {
        "image VAE": {
            "latents": 2,
            "channels": 4,
            "kernels": [3, 3],
            "encoder_channels": [3],
            "features": 4,
        }
    }
    kernel_layers = True

    def __init__(
        self,
        info: DataInfo,
        latents: int = 32,
        decoder: str = "masked",
        maps: int = 4,
        channels: int | None = None,
        kernels: Sequence[int] = (),
        encoder_channels: Sequence[int] = (64, 64, 64),
        features: int = 512,
    ) -> None:
        super().__init__(info, [validate.whole("model.latents", latents)])
        shape = images.image_shape(info)
        widths = validate.sizes("model.encoder_channels", encoder_channels)
        if not widths:
            raise UserError("model.encoder_channels=[]: the encoder has one block at least")

        self.shape = shape
        self.p = images.build_decoder(info, latents, decoder, maps, channels, kernels)
        self.q = ResNet(shape, 2 * latents, widths, validate.whole("model.features", features))
        name_norms(self)

    # ------------------------------------------------------------------------------------ posterior

    def encode(self, x: Tensor, tape: Tape | None = None) -> Moments:
        """Return mean and log-variance of q(z | x), (batch, n) each.

        ``x`` (batch, h w) are images.
        """
        # (batch, 1, h, w), in the memory format in which convolutions are faster on a CPU.
        image = x.view(-1, 1, *self.shape).contiguous(memory_format=torch.channels_last)
        mean, log_var = self.q(image, tape).chunk(2, -1)
        return mean, log_var

    # ------------------------------------------------------------------------------------ generator

    def log_likelihood(
        self, x: Tensor, z: Sequence[Tensor], drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x | z), (k, batch), nats, differentiable. There is no dropout."""
        return bernoulli.log_prob(x, self.p(x, z[0], tape))

    @torch.no_grad()
    def score(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """Return ``log_likelihood`` for evaluation, (k, batch), nats.

        No gradient passes, and memory is bounded.
        """
        return images.score(self.p, x, z[0])

    # ------------------------------------------------------------------------------------- programs

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return encoder and decoder."""
        z = torch.zeros(len(x), self.sizes[1], dtype=x.dtype)

        def decode(x: Tensor, z: Tensor) -> Tensor:
            return self.p(x, z.unsqueeze(0))[0]

        return {
            "encoder": Program(self.encode, {"x": x}, "mean and log-variance of z"),
            "decoder": Program(
                decode, {"x": x, "z": z}, "logits of every pixel given those before it, and z"
            ),
        }

    # -------------------------------------------------------------------------------------- samples

    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Draw samples of p(x | z), pixel by pixel.

        Returns bits of the shape of ``uniform`` (k, batch, h w).
        """
        return images.sample(self.p, z[0], uniform)

    def joint_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``sample_joint``.

        A uniform (batch, h w) for every pixel, standard normals (batch, n).
        """
        return {"p0": ("uniform", (batch, self.sizes[0])), "p1": ("normal", (batch, self.sizes[1]))}

    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples of the model: x (batch, h w) and [z (1, batch, n)]."""
        z = [noise["p1"].unsqueeze(0)]
        return self.sample_visible(z, noise["p0"].unsqueeze(0))[0], z
