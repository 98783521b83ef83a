"""The gated PixelCNN: two stacks of convolutions that together see every pixel before one.

The vertical stack sees all rows above a pixel, the horizontal one what lies at the left in its row,
and at every layer what the vertical one knows (van den Oord et al. 2016b). So nothing is hidden at
the upper right, where the net of ``pixel_decoder`` has its blind spot.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.nn.batch_norm import Tape
from vaebench.nn.channel_norm import ChannelNorm
from vaebench.nn.image_decoder import ImageDecoder
from vaebench.nn.layers import layer_list
from vaebench.nn.masked_conv import RowsAbove, normal_, padded
from vaebench.nn.resnet import Conv

KERNELS = (9, 9, 9, 7, 7, 7, 5, 5, 5, 3, 3, 3)
"""Sizes of the filters, layer by layer: those of Kim et al. (2018)."""


class GatedLayer(nn.Module):
    """One layer of both stacks: (batch, inputs, h, w) twice -> (batch, channels, h, w) twice.

    Each stack is convolved to 2 x ``channels`` maps, a and b, and tanh(a) sigmoid(b) goes on. What
    the vertical stack found, before its gate, is added to the horizontal one's a and b.

    Args:
        inputs: channels of each stack before.
        channels: of each stack after.
        kernel: odd width of the filters; that of the vertical stack is (kernel + 1) / 2 high.
        centre: whether a pixel's own inputs are seen, and by the vertical stack its row: in every
            layer but the first.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, centre: bool = True) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a masked filter has an odd size, not {kernel}")
        self.centre = centre
        self.margin = kernel // 2
        reach = self.margin + centre
        self.vertical = nn.Parameter(torch.zeros(2 * channels, inputs, reach, kernel))
        self.horizontal = nn.Parameter(torch.zeros(2 * channels, inputs, 1, reach))
        self.vertical_norm = ChannelNorm(2 * channels)
        self.horizontal_norm = ChannelNorm(2 * channels)
        self.across = Conv(2 * channels, 2 * channels, 1)
        self.out = Conv(channels, channels, 1)

    def start(self, generator: torch.Generator) -> None:
        """Initial weights of both filters: N(0, 2 / (taps outputs))."""
        normal_(self.vertical, generator)
        normal_(self.horizontal, generator)

    def forward(
        self,
        vertical: Tensor,
        horizontal: Tensor,
        tape: Tape | None = None,
        above: RowsAbove | None = None,
    ) -> tuple[Tensor, Tensor]:
        over, left = self.convolved(vertical, horizontal, above)
        vertical, out = self.gates(over, left, tape)
        return vertical, out + horizontal

    def convolved(
        self, vertical: Tensor, horizontal: Tensor, above: RowsAbove | None = None
    ) -> tuple[Tensor, Tensor]:
        """Both stacks by their filters, (batch, 2 channels, h, w) each."""
        over = F.conv2d(padded(vertical, self.margin, self, above), self.vertical)
        left = F.conv2d(F.pad(horizontal, (self.margin, 0, 0, 0)), self.horizontal)
        if self.centre:
            return over, left
        # Row r of the result has seen the rows before r alone, and column c the columns before c.
        return over[:, :, :-1], left[..., :-1]

    def gates(self, over: Tensor, left: Tensor, tape: Tape | None = None) -> tuple[Tensor, Tensor]:
        """Both stacks behind their gates, (batch, channels, h, w) each.

        Without the residual connection.
        """
        over = self.vertical_norm(over, tape)
        left = self.horizontal_norm(left + self.across(over), tape)
        return _gate(over), self.out(_gate(left))


class FirstLayer(GatedLayer):
    """The layer that sees pixels: not its own one, and maps of a code everywhere."""

    def __init__(self, channels: int, kernel: int, maps: int) -> None:
        super().__init__(1, channels, kernel, centre=False)
        self.code = Conv(maps, 4 * channels, kernel, padding=self.margin) if maps else None

    def image_part(self, image: Tensor, above: RowsAbove | None = None) -> Tensor:
        """Both stacks of images (batch, 1, h, w), one behind the other.

        (batch, 4 channels, h, w).
        """
        return torch.cat(self.convolved(image, image, above), 1)


def _gate(x: Tensor) -> Tensor:
    """tanh of the first half of the channels times the logistic function of the second."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedPixelDecoder(ImageDecoder):
    """Logits of every pixel given all pixels before it, and a code.

    The interface is that of ``PixelDecoder``.

    Args:
        shape: height and width of the images.
        latents: numbers of a code; 0: there is none.
        maps: channels that the code is turned into; they enter both stacks of the first layer.
        channels: of each stack.
        kernels: sizes of the filters, layer by layer.

    Reference: van den Oord et al. 2016b, figure 2; sizes and the maps of a
    code from Kim et al. 2018.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        latents: int,
        maps: int = 4,
        channels: int = 32,
        kernels: tuple[int, ...] = KERNELS,
    ) -> None:
        super().__init__(shape, latents, maps)
        self.first = FirstLayer(channels, kernels[0], self.maps)
        self.layers = layer_list([GatedLayer(channels, channels, k) for k in kernels[1:]])
        self.end(channels)

    def image_part(self, x: Tensor, above: RowsAbove | None = None) -> Tensor:
        """What images ``x`` (batch, h w) give to both stacks of the first layer.

        Its shape: (batch, 4 channels, h, w).
        """
        return self.first.image_part(self.as_image(x), above)

    def maps_part(self, maps: Tensor) -> Tensor:
        """What the maps of a code (rows, maps, h, w) give to both stacks.

        Its shape: (rows, 4 channels, h, w).
        """
        if self.first.code is None:
            raise ValueError("this decoder takes no code")
        return self.first.code(maps)

    def hidden(
        self, first: Tensor, tape: Tape | None = None, above: RowsAbove | None = None
    ) -> Tensor:
        """The horizontal stack behind all layers, (rows, channels, h, w)."""
        top, left = first.chunk(2, 1)
        vertical, horizontal = self.first.gates(top, left, tape)
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, tape, above)
        return horizontal
