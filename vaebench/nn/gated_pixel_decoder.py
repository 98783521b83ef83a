"""The gated PixelCNN: two stacks of convolutions that together see every earlier pixel.

The vertical stack sees all rows above a pixel. The horizontal one sees what lies to the left in the
pixel's row and, at every layer, what the vertical stack knows (van den Oord et al. 2016b). So there
is no blind spot at the upper right, unlike in the network of ``pixel_decoder``.
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

    Each stack is convolved to 2 x ``channels`` maps, a and b, and returns tanh(a) sigmoid(b). Maps
    of the vertical stack, before its gate, are added to the horizontal one's through a 1x1
    convolution.

    Args:
        inputs: Channels of each stack before the layer.
        channels: Channels of each stack after it.
        kernel: Width of the filters, an odd number; the vertical one is (kernel + 1) / 2 high.
        centre: Whether a pixel's own inputs are seen, and its row by the vertical stack. That is so
            in every layer but the first.
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
        """Set the initial weights of both filters: N(0, 2 / (taps outputs))."""
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
        """Convolve both stacks by their filters, to (batch, 2 channels, h, w) each."""
        over = F.conv2d(padded(vertical, self.margin, self, above), self.vertical)
        left = F.conv2d(F.pad(horizontal, (self.margin, 0, 0, 0)), self.horizontal)
        if self.centre:
            return over, left

        # Filters without the centre are one tap shorter, which leaves one row or column too many.
        # Row r of the result has seen only the rows before r, and column c the columns before c.
        return over[:, :, :-1], left[..., :-1]

    def gates(self, over: Tensor, left: Tensor, tape: Tape | None = None) -> tuple[Tensor, Tensor]:
        """Normalise and gate both stacks, to (batch, channels, h, w) each.

        The horizontal one lacks its residual connection.
        """
        # From the vertical stack to the horizontal one, never back: vertical filters also reach to
        # the right in a pixel's row, where the horizontal stack has seen the pixel itself.
        over = self.vertical_norm(over, tape)
        left = self.horizontal_norm(left + self.across(over), tape)
        return _gate(over), self.out(_gate(left))


class FirstLayer(GatedLayer):
    """The first layer, which sees only earlier pixels, but the maps of a code everywhere.

    Args:
        channels: Channels of each stack after it.
        kernel: Width of the filters.
        maps: Maps of a code; 0: there is no code.
    """

    def __init__(self, channels: int, kernel: int, maps: int) -> None:
        super().__init__(1, channels, kernel, centre=False)
        self.code = Conv(maps, 4 * channels, kernel, padding=self.margin) if maps else None

    def image_part(self, image: Tensor, above: RowsAbove | None = None) -> Tensor:
        """Return both stacks of images (batch, 1, h, w) as one tensor (batch, 4 channels, h, w)."""
        return torch.cat(self.convolved(image, image, above), 1)


def _gate(x: Tensor) -> Tensor:
    """Return tanh of the first half of the channels times the sigmoid of the second half."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedPixelDecoder(ImageDecoder):
    """Logits of every pixel, given all pixels before it and a code.

    The interface is that of ``PixelDecoder``.

    Args:
        shape: Height and width of the images.
        latents: Length of a code; 0: there is none.
        maps: Channels into which the code is turned; they enter both stacks of the first layer.
        channels: Channels of each stack.
        kernels: Sizes of the filters, layer by layer.

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
        """Return the part of images ``x`` (batch, h w) in both stacks of the first layer.

        Its shape is (batch, 4 channels, h, w).
        """
        return self.first.image_part(self.as_image(x), above)

    def maps_part(self, maps: Tensor) -> Tensor:
        """Return the part of a code's maps (rows, maps, h, w) in both stacks.

        Its shape is (rows, 4 channels, h, w).
        """
        if self.first.code is None:
            raise ValueError("this decoder takes no code")
        return self.first.code(maps)

    def hidden(
        self, first: Tensor, tape: Tape | None = None, above: RowsAbove | None = None
    ) -> Tensor:
        """Return the horizontal stack after all layers, (rows, channels, h, w)."""
        top, left = first.chunk(2, 1)
        vertical, horizontal = self.first.gates(top, left, tape)
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, tape, above)
        return horizontal
