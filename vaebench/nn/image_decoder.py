"""What decoders of images share: how pixels and a code enter, and the last layers."""

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
        """Initial weights."""
        half = math.sqrt(1.0 / self.weight.shape[1])
        with torch.no_grad():
            self.weight.uniform_(-half, half, generator=generator)


class ImageDecoder(nn.Module):
    """Base: logits of every pixel given those before it and a code.

    The code enters at the first layer alone. A subclass has the first layer and all between it and
    the last ones: ``image_part``, ``maps_part`` and ``hidden``. It makes its layers between
    ``super().__init__`` and ``end``.

    Args:
        shape: height and width of the images.
        latents: numbers of a code; 0: there is none.
        maps: channels that the code is turned into.
    """

    def __init__(self, shape: tuple[int, int], latents: int, maps: int) -> None:
        super().__init__()
        height, width = shape
        self.shape = (height, width)
        self.maps = maps if latents else 0
        self.code = GlorotLinear(latents, maps * height * width) if latents else None

    def end(self, channels: int) -> None:
        """Make the last layers, behind one of so many channels."""
        self.head = DefaultConv(channels, channels, 1)
        self.head_norm = ChannelNorm(channels)
        self.output = DefaultConv(channels, 1, 1)

    def image_part(self, x: Tensor, above: RowsAbove | None = None) -> Tensor:
        """What images ``x`` (batch, h w) give to the first layer, (batch, channels, h, w).

        With ``above``, here and in what follows, ``x`` are the next rows of images whose
        other rows it has seen.
        """
        raise NotImplementedError

    def maps_part(self, maps: Tensor) -> Tensor:
        """What the maps of a code (rows, maps, h, w) give to the first layer.

        Its shape: (rows, channels, h, w).
        """
        raise NotImplementedError

    def hidden(
        self, first: Tensor, tape: Tape | None = None, above: RowsAbove | None = None
    ) -> Tensor:
        """What the last layers are given, (rows, channels, h, w).

        From what the first one was given (rows, ..., h, w).
        """
        raise NotImplementedError

    def forward(self, x: Tensor, z: Tensor | None = None, tape: Tape | None = None) -> Tensor:
        """Logits (k, batch, h w) for images ``x`` (batch, h w) and codes ``z`` (k, batch, n).

        Without codes, None, k = 1.
        """
        first = self.image_part(x).unsqueeze(0)
        if z is not None:
            first = first + self.code_part(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return self.rest(first.flatten(0, 1), tape).view(first.shape[0], x.shape[0], -1)

    def as_image(self, x: Tensor) -> Tensor:
        """Pixels (batch, h w), or of some rows alone, as one channel (batch, 1, h, w)."""
        return x.view(x.shape[0], 1, -1, self.shape[1])

    def code_part(self, z: Tensor) -> Tensor:
        """What codes ``z`` (rows, n) give to the first layer, (rows, channels, h, w)."""
        if self.code is None:
            raise ValueError("this decoder takes no code")
        return self.maps_part(self.code(z).view(-1, self.maps, *self.shape))

    def rest(
        self, first: Tensor, tape: Tape | None = None, above: RowsAbove | None = None
    ) -> Tensor:
        """Logits (rows, h w), float32 at least.

        From what the first layer was given (rows, channels, h, w). The last convolution is never in
        half precision: a likelihood sums its 784 logits.
        """
        # About a quarter faster on a CPU.
        first = first.contiguous(memory_format=torch.channels_last)
        last = self.head_norm.elu(self.head(self.hidden(first, tape, above)), tape)
        with torch.autocast(last.device.type, enabled=False):
            return self.output(last.to(self.output.weight.dtype)).flatten(1)
