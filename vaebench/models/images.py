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

    given: dict[str, Any] = {}  # each network has published defaults for what is not given
    if filters := validate.sizes("model.kernels", kernels, odd=True):
        given["kernels"] = filters
    if len(filters) == 1:
        raise UserError(f"model.kernels={list(filters)}: a decoder has two layers at least")

    if channels is not None:
        given["channels"] = validate.whole("model.channels", channels)
    return DECODERS[decoder](
        image_shape(info), latents, validate.whole("model.maps", maps), **given
    )


@torch.no_grad()
def score(decoder: ImageDecoder, x: Tensor, z: Tensor | None) -> Tensor:
    """Return log p(x | z), (k, batch), nats, without gradient and in bounded memory.

    The images' part of the first layer does not depend on the code, so all samples share it.

    Args:
        decoder: The network.
        x: Bits, (batch, h w).
        z: Codes (k, batch, n); None: there are none, and k = 1.
    """
    # Row s * batch + b is sample s of image b.
    batch = len(x)
    k = 1 if z is None else len(z)
    rows = max(1, PIXELS.get(x.device.type, PIXELS["cuda"]) // x.shape[1])
    log_p = x.new_empty(k * batch)
    codes = None if z is None else z.reshape(k * batch, -1)

    # With one sample a pass over the images alone would save nothing.
    image_parts = (
        None if k == 1 else torch.cat([decoder.image_part(part) for part in x.split(rows)])
    )

    for start in range(0, k * batch, rows):
        tick()
        image = torch.arange(start, min(start + rows, k * batch), device=x.device) % batch
        # The first layer is linear, so its outputs for the image and for the code add up.
        first = decoder.image_part(x[image]) if image_parts is None else image_parts[image]
        if codes is not None:
            first = first + decoder.code_part(codes[start : start + rows])
        log_p[start : start + rows] = bernoulli.log_prob(x[image], decoder.rest(first))

    return log_p.view(k, batch)


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
    flat = uniform.flatten(0, 1)
    codes = None if z is None else z.flatten(0, 1)
    # Only one row of pixels of each image is computed at a time.
    rows = max(1, PIXELS.get(uniform.device.type, PIXELS["cuda"]) // decoder.shape[1])
    x = torch.empty_like(flat)
    for start in range(0, len(flat), rows):
        part = slice(start, start + rows)
        x[part] = _sample(decoder, None if codes is None else codes[part], flat[part])
    return x.view(uniform.shape)


def _sample(decoder: ImageDecoder, codes: Tensor | None, uniform: Tensor) -> Tensor:
    """Draw images beside each other, from codes (rows, n) and uniforms (rows, h w).

    For each pixel only its row is computed. The inputs of the layers in the rows above are kept.
    """
    height, width = decoder.shape
    code_part = None if codes is None else decoder.code_part(codes)
    above = RowsAbove()
    x = torch.zeros_like(uniform)

    for row in range(height):
        pixels = slice(row * width, (row + 1) * width)
        # The code's part of the first layer in this row, (rows, channels, 1, w).
        row_part = None if code_part is None else code_part[:, :, row : row + 1]
        above.keeping = False
        for column in range(width):
            tick()
            pixel = row * width + column
            # Pixels to the right are still 0; masks hide them from this one.
            logits = _row(decoder, x[:, pixels], row_part, above)
            x[:, pixel] = bernoulli.sample(logits[:, column], uniform[:, pixel])

        # The row is complete: keep the layers' inputs for the rows below.
        above.keeping = True
        _row(decoder, x[:, pixels], row_part, above)

    return x


def _row(decoder: ImageDecoder, x: Tensor, code_part: Tensor | None, above: RowsAbove) -> Tensor:
    """Return the logits (rows, w) of one row of images ``x`` (rows, w)."""
    first = decoder.image_part(x, above)
    return decoder.rest(first if code_part is None else first + code_part, above=above)
