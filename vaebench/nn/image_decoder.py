"""The parts that decoders of images share: how pixels and a code enter, and the last layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vaebench.nn.batch_norm import Tape
from vaebench.nn.channel_norm import ChannelNorm
from vaebench.nn.masked_conv import RowsAbove
from vaebench.nn.resnet import Conv, GlorotLinear


class DefaultConv(Conv):
    """A 1x1 convolution with PyTorch's initial weights, uniform on +- sqrt(1 / inputs)."""

    def start(self, generator: torch.Generator) -> None:
        """Set the initial weights."""
        half = math.sqrt(1.0 / self.weight.shape[1])
        with torch.no_grad():
            self.weight.uniform_(-half, half, generator=generator)


class ImageDecoder(nn.Module):
    """Base: logits of every pixel, given the pixels before it and a code.

    The code enters only at the first layer. A subclass supplies the first layer and all layers up
    to the last ones: ``image_part``, ``maps_part`` and ``hidden``. It makes them between
    ``super().__init__`` and ``end``.

    Args:
        shape: Height and width of the images.
        latents: Length of a code; 0: there is none.
        maps: Channels into which the code is turned.
    """

    def __init__(self, shape: tuple[int, int], latents: int, maps: int) -> None:
        super().__init__()
        height, width = shape
        self.shape = (height, width)
        self.maps = maps if latents else 0
        self.code = GlorotLinear(latents, maps * height * width) if latents else None

    def end(self, channels: int) -> None:
        """Make the last layers, which follow one of ``channels`` channels."""
        self.head = DefaultConv(channels, channels, 1)
        self.head_norm = ChannelNorm(channels)
        self.output = DefaultConv(channels, 1, 1)

    def image_part(self, x: Tensor, above: RowsAbove | None = None) -> Tensor:
        """Return the images' part of the first layer, (batch, channels, h, w).

        Args:
            x: Images, (batch, h w).
            above: Here and below: if it is given, ``x`` are the next rows of images whose rows
                above it has seen.
        """
        raise NotImplementedError

    def maps_part(self, maps: Tensor) -> Tensor:
        """Return the part of a code's maps (rows, maps, h, w) in the first layer.

        Its shape is (rows, channels, h, w).
        """
        raise NotImplementedError

    def hidden(
        self, first: Tensor, tape: Tape | None = None, above: RowsAbove | None = None
    ) -> Tensor:
        """Return the input of the last layers, (rows, channels, h, w).

        Args:
            first: Sum of the image's and the code's parts of the first layer, (rows, ..., h, w).
            tape: Where the normalisation layers write batch statistics, see ``BatchNorm``.
            above: See ``image_part``.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, z: Tensor | None = None, tape: Tape | None = None) -> Tensor:
        """Return logits (k, batch, h w) of images ``x`` (batch, h w) for codes ``z`` (k, batch, n).

        If ``z`` is None, there are no codes, and k = 1.
        """
        # The first layer is linear in image and code. So each image's part is computed once, and
        # added to those of all its k codes. Then samples and examples are one axis of rows.
        first = self.image_part(x).unsqueeze(0)
        if z is not None:
            first = first + self.code_part(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return self.rest(first.flatten(0, 1), tape).view(first.shape[0], x.shape[0], -1)

    def as_image(self, x: Tensor) -> Tensor:
        """Shape pixels (batch, h w), of all rows or of some, as one channel (batch, 1, h, w)."""
        return x.view(x.shape[0], 1, -1, self.shape[1])

    def code_part(self, z: Tensor) -> Tensor:
        """Return the part of codes ``z`` (rows, n) in the first layer, (rows, channels, h, w)."""
        if self.code is None:
            raise ValueError("this decoder takes no code")
        return self.maps_part(self.code(z).view(-1, self.maps, *self.shape))

    def rest(
        self, first: Tensor, tape: Tape | None = None, above: RowsAbove | None = None
    ) -> Tensor:
        """Return logits (rows, h w) of the sum ``first`` (rows, channels, h, w) of the first layer.

        They are float32 at least. The last convolution is never in half precision, since a
        likelihood sums its 784 logits.
        """
        # This memory format is about a quarter faster on a CPU.
        first = first.contiguous(memory_format=torch.channels_last)

        last = self.head_norm.elu(self.head(self.hidden(first, tape, above)), tape)
        with torch.autocast(last.device.type, enabled=False):
            return self.output(last.to(self.output.weight.dtype)).flatten(1)
