"""What the models of images share.

Their networks by name and the settings of these, log-likelihoods, and samples pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.errors import UserError
from vaebench.nn.gated_pixel_decoder import GatedPixelDecoder
from vaebench.nn.image_decoder import ImageDecoder
from vaebench.nn.masked_conv import RowsAbove
from vaebench.nn.pixel_decoder import PixelDecoder
from vaebench.settings import validate
from vaebench.work.steps import tick

DECODERS: dict[str, type[ImageDecoder]] = {"masked": PixelDecoder, "gated": GatedPixelDecoder}
"""``model.decoder`` -> network."""

PIXELS = {"cpu": 16 * 784, "cuda": 4096 * 784}
"""Pixels scored at once without gradient. On a CPU there are so few that their feature maps stay in
the caches.
"""


def image_shape(info: DataInfo) -> tuple[int, int]:
    """Return height and width of the images.

    Raises UserError if an example is not an image of one channel.
    """
    if len(info.shape) != 2:
        raise UserError(f"examples of shape {info.shape}: this model needs images, height x width")
    height, width = info.shape
    return height, width


def build_decoder(
    info: DataInfo,
    latents: int,
    decoder: str,
    maps: int,
    channels: int | None,
    kernels: Sequence[int],
) -> ImageDecoder:
    """Build the decoder from a model's settings; see ``ImageVAE``."""
    validate.one_of("model.decoder", decoder, DECODERS)

    own: dict[str, Any] = {}  # the network has defaults for all else
    if filters := validate.sizes("model.kernels", kernels, odd=True):
        own["kernels"] = filters
    if len(filters) == 1:
        raise UserError(f"model.kernels={list(filters)}: a decoder has two layers at least")

    if channels is not None:
        own["channels"] = validate.whole("model.channels", channels)
    return DECODERS[decoder](image_shape(info), latents, validate.whole("model.maps", maps), **own)


@torch.no_grad()
def score(decoder: ImageDecoder, x: Tensor, z: Tensor | None) -> Tensor:
    """Return log p(x | z), (k, batch), nats, without gradient and in bounded memory.

    What does not depend on the code is computed once for every image.

    Args:
        decoder: The network.
        x: Bits, (batch, h w).
        z: Codes (k, batch, n); None: there are none, and k = 1.
    """
    batch = len(x)
    k = 1 if z is None else len(z)
    rows = max(1, PIXELS.get(x.device.type, PIXELS["cuda"]) // x.shape[1])
    out = x.new_empty(k * batch)
    codes = None if z is None else z.reshape(k * batch, -1)

    # With one sample a pass over the images alone would save nothing.
    seen = None if k == 1 else torch.cat([decoder.image_part(part) for part in x.split(rows)])

    for start in range(0, k * batch, rows):
        tick()
        chosen = torch.arange(start, min(start + rows, k * batch), device=x.device) % batch
        hidden = decoder.image_part(x[chosen]) if seen is None else seen[chosen]
        if codes is not None:
            hidden = hidden + decoder.code_part(codes[start : start + rows])
        out[start : start + rows] = bernoulli.log_prob(x[chosen], decoder.rest(hidden))

    return out.view(k, batch)


@torch.no_grad()
def sample(decoder: ImageDecoder, z: Tensor | None, uniform: Tensor) -> Tensor:
    """Draw images given codes, pixel by pixel in raster order; memory is bounded.

    Args:
        decoder: The network.
        z: Codes (k, batch, n); None: the decoder takes no code.
        uniform: Noise (k, batch, h w).

    Returns:
        Bits of the shape of ``uniform``.
    """
    every = uniform.flatten(0, 1)
    codes = None if z is None else z.flatten(0, 1)
    rows = max(1, PIXELS.get(uniform.device.type, PIXELS["cuda"]) // decoder.shape[1])
    x = torch.empty_like(every)
    for start in range(0, len(every), rows):
        some = slice(start, start + rows)
        x[some] = _sample(decoder, None if codes is None else codes[some], every[some])
    return x.view(uniform.shape)


def _sample(decoder: ImageDecoder, codes: Tensor | None, uniform: Tensor) -> Tensor:
    """Draw images beside each other, from codes (rows, n) and uniforms (rows, h w).

    For each pixel only its row is computed. What the layers were given in the rows above is kept.
    """
    height, width = decoder.shape
    given = None if codes is None else decoder.code_part(codes)
    above = RowsAbove()
    x = torch.zeros_like(uniform)

    for row in range(height):
        pixels = slice(row * width, (row + 1) * width)
        part = None if given is None else given[:, :, row : row + 1]
        above.keeping = False
        for column in range(width):
            tick()
            pixel = row * width + column
            logits = _row(decoder, x[:, pixels], part, above)
            x[:, pixel] = bernoulli.sample(logits[:, column], uniform[:, pixel])

        # The row is complete: keep what it gives to the rows below.
        above.keeping = True
        _row(decoder, x[:, pixels], part, above)

    return x


def _row(decoder: ImageDecoder, x: Tensor, given: Tensor | None, above: RowsAbove) -> Tensor:
    """Return the logits (rows, w) of one row of images ``x`` (rows, w)."""
    hidden = decoder.image_part(x, above)
    return decoder.rest(hidden if given is None else hidden + given, above=above)
