"""What the models of images share: their networks by name, the settings of these, scores and samples pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.errors import UserError, nearest
from vaebench.nn import gated_pixel_decoder, pixel_decoder
from vaebench.nn.gated_pixel_decoder import GatedPixelDecoder
from vaebench.nn.pixel_decoder import PixelDecoder
from vaebench.settings import validate
from vaebench.work.steps import tick

DECODERS: dict[str, tuple[type[nn.Module], tuple[int, ...], int]] = {
    "masked": (PixelDecoder, pixel_decoder.KERNELS, 64),
    "gated": (GatedPixelDecoder, gated_pixel_decoder.KERNELS, 32),
}
"""``model.decoder`` -> network, sizes of its filters and channels where the settings give none."""

PIXELS = {"cpu": 16 * 784, "cuda": 4096 * 784}
"""Of the images that are scored at once without gradient; on a CPU so few that their maps stay near the processor."""


def image_shape(info: DataInfo) -> tuple[int, int]:
    """Height and width of the images. Raises UserError where an example is no image of one channel."""
    if len(info.shape) != 2:
        raise UserError(f"examples of shape {info.shape}: this model needs images, height x width")
    height, width = info.shape
    return height, width


def sizes(key: str, values: Any, odd: bool = False) -> tuple[int, ...]:
    """A list of whole numbers from 1, odd ones where asked for. Raises UserError naming the setting ``key``."""
    listed = list(values) if isinstance(values, (list, tuple)) else values
    good = isinstance(listed, list) and all(type(n) is int and n > 0 and (n % 2 == 1 or not odd) for n in listed)
    if not good:
        raise UserError(f"{key}={listed!r}: must be a list of {'odd ' if odd else ''}whole numbers from 1")
    return tuple(listed)


def build_decoder(
    info: DataInfo, latents: int, decoder: str, maps: int, channels: int | None, kernels: Sequence[int]
) -> nn.Module:
    """The decoder of a model's settings; see ``ImageVAE``."""
    if decoder not in DECODERS:
        raise UserError(f"model.decoder={decoder!r}: {nearest(str(decoder), DECODERS)}")
    net, default_kernels, default_channels = DECODERS[decoder]
    chosen = sizes("model.kernels", kernels, odd=True) or default_kernels
    if len(chosen) < 2:
        raise UserError(f"model.kernels={list(chosen)}: a decoder has two layers at least")
    width = default_channels if channels is None else validate.whole("model.channels", channels)
    return net(image_shape(info), latents, validate.whole("model.maps", maps), width, chosen)


@torch.no_grad()
def score(decoder: nn.Module, x: Tensor, z: Tensor | None) -> Tensor:
    """log p(x | z), (k, batch), nats, without gradient and in bounded memory.

    What does not depend on the code is computed once for every image.

    Args:
        decoder: the network.
        x: (batch, h w), bits.
        z: codes (k, batch, n); None: there are none, k = 1.
    """
    batch = len(x)
    k = 1 if z is None else len(z)
    rows = max(1, PIXELS.get(x.device.type, PIXELS["cuda"]) // x.shape[1])
    out = x.new_empty(k * batch)
    codes = None if z is None else z.reshape(k * batch, -1)
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
def sample(decoder: nn.Module, z: Tensor | None, uniform: Tensor) -> Tensor:
    """Images given codes, pixel by pixel in raster order: bits of the shape of ``uniform`` (k, batch, h w).

    ``z`` is (k, batch, n), or None where the decoder takes no code.
    """
    shape = uniform.shape
    rows = uniform.flatten(0, 1)
    codes = None if z is None else decoder.code_part(z.flatten(0, 1))
    x = torch.zeros_like(rows)
    for pixel in range(rows.shape[1]):
        tick()
        hidden = decoder.image_part(x)
        logits = decoder.rest(hidden if codes is None else hidden + codes)
        x[:, pixel] = bernoulli.sample(logits[:, pixel], rows[:, pixel])
    return x.view(shape)
