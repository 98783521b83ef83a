"""The image decoder of He et al. 2019: masked convolutions in residual blocks.

It works with or without a code. The paper calls it a gated PixelCNN of 13 layers. What its authors
trained has no gates, and does not see all earlier pixels: it has a "blind spot" at the upper right.
``gated_pixel_decoder`` has a net of the kind that the text names.
"""

from __future__ import annotations

from torch import Tensor, nn

from vaebench.nn.batch_norm import Tape
from vaebench.nn.channel_norm import ChannelNorm
from vaebench.nn.image_decoder import ImageDecoder
from vaebench.nn.layers import layer_list
from vaebench.nn.masked_conv import MaskedConv, RowsAbove
from vaebench.nn.resnet import Conv

KERNELS = (7, 7, 7, 7, 7, 5, 5, 5, 5, 3, 3, 3, 3)
"""Sizes of the masked filters, block by block."""


class Bottleneck(nn.Module):
    """A residual block of 1x1, masked kxk and 1x1 convolutions, each normalised.

    Input and output have the shape (batch, c, h, w).

    Args:
        channels: c.
        inner: Channels between the convolutions.
        kernel: k, the size of the masked filter.
    """

    def __init__(self, channels: int, inner: int, kernel: int) -> None:
        super().__init__()
        self.narrow = Conv(channels, inner, 1)
        self.narrow_norm = ChannelNorm(inner)
        self.masked = MaskedConv(inner, inner, kernel, centre=True)
        self.masked_norm = ChannelNorm(inner)
        self.widen = Conv(inner, channels, 1)
        self.widen_norm = ChannelNorm(channels)

    def forward(
        self, x: Tensor, tape: Tape | None = None, above: RowsAbove | None = None
    ) -> Tensor:
        hidden = self.narrow_norm.elu(self.narrow(x), tape)
        hidden = self.masked_norm.elu(self.masked(hidden, above), tape)
        return self.widen_norm.elu(self.widen(hidden), tape, residual=x)


class PixelDecoder(ImageDecoder):
    """Logits of every pixel, given the pixels before it and a code: He et al.'s PixelCNNDecoderV2.

    Args:
        shape: Height and width of the images.
        latents: Length of a code; 0: there is none.
        maps: Channels into which the code is turned.
        channels: Channels of the trunk. The masked convolutions have half as many.
        kernels: Sizes of the masked filters: of the first layer (mask A), then of each residual
            block (mask B).

    The first layer is block 0. The input of block i = 3, 4, ... is the trunk plus a skip block of
    the output of block i - 3. After the last block, a skip block of the output of the block two
    before it is added to the trunk. The code enters only at block 0.

    Reference: He et al. 2019, appendix B.2, and the layers of their code; 894,400 parameters for
    28x28, 32 latents and the sizes of ``KERNELS``, 778,368 without a code.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        latents: int,
        maps: int = 4,
        channels: int = 64,
        kernels: tuple[int, ...] = KERNELS,
    ) -> None:
        super().__init__(shape, latents, maps)
        inner = max(1, channels // 2)
        self.first = MaskedConv(1, channels, kernels[0], centre=False, free=self.maps)
        self.first_norm = ChannelNorm(channels)
        self.blocks = layer_list([Bottleneck(channels, inner, k) for k in kernels[1:]])
        self.skips = layer_list([Bottleneck(channels, inner, k) for k in kernels[1:-1]])
        self.end(channels)

    def image_part(self, x: Tensor, above: RowsAbove | None = None) -> Tensor:
        """Return the part of images ``x`` (batch, h w) in the first layer.

        Its shape is (batch, channels, h, w).
        """
        return self.first.above(self.as_image(x), above)

    def maps_part(self, maps: Tensor) -> Tensor:
        """Return the part of a code's maps (rows, maps, h, w) in the first layer.

        Its shape is (rows, channels, h, w).
        """
        return self.first.around(maps)

    def hidden(
        self, first: Tensor, tape: Tape | None = None, above: RowsAbove | None = None
    ) -> Tensor:
        """Return the trunk after all blocks, (rows, channels, h, w)."""
        # outputs[j] is the output of block j; self.blocks[i] is block i + 1, since the first layer
        # is block 0.
        trunk = self.first_norm.elu(first, tape)
        outputs = [trunk]

        for i, block in enumerate(self.blocks):
            if i >= 2:
                trunk = trunk + self.skips[i - 2](outputs[i - 2], tape, above)
            trunk = block(trunk, tape, above)
            outputs.append(trunk)

        # There is one block more than skips, so this is the output of the block two before the
        # last.
        if self.skips:
            trunk = trunk + self.skips[-1](outputs[len(self.skips) - 1], tape, above)
        return trunk
