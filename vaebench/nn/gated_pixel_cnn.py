"""The gated PixelCNN: two stacks of convolutions that together see every pixel before one (van den Oord et al. 2016b).

The vertical stack sees all rows above a pixel, the horizontal one what lies at the left in its row, and at every layer
what the vertical one knows. So nothing is hidden at the upper right, where ``pixel_cnn`` has its blind spot.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.nn.batch_norm import Tape
from vaebench.nn.channel_norm import ChannelNorm
from vaebench.nn.masked_conv import normal_
from vaebench.nn.pixel_cnn import DefaultConv
from vaebench.nn.resnet import Conv, GlorotLinear

KERNELS = (9, 9, 9, 7, 7, 7, 5, 5, 5, 3, 3, 3)
"""Sizes of the filters, layer by layer: those of Kim et al. (2018)."""


class GatedLayer(nn.Module):
    """One layer of both stacks: (batch, inputs, h, w) twice -> (batch, channels, h, w) twice.

    Each stack is convolved to 2 x ``channels`` maps, a and b, and tanh(a) sigmoid(b) goes on. What the vertical stack
    found, before its gate, is added to the horizontal one's a and b.

    Args:
        inputs: channels of each stack before.
        channels: of each stack after.
        kernel: odd width of the filters; that of the vertical stack is (kernel + 1) / 2 high.
        first: whether this is the first layer, whose horizontal filter must not see the pixel itself, and whose
            vertical one must not see its row. It has no residual connection.
        free: maps of a code, seen everywhere; first layer only.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, first: bool = False, free: int = 0) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a masked filter has an odd size, not {kernel}")
        self.first = first
        self.margin = kernel // 2
        rows = self.margin if first else self.margin + 1
        columns = self.margin if first else self.margin + 1
        self.vertical = nn.Parameter(torch.zeros(2 * channels, inputs, rows, kernel))
        self.horizontal = nn.Parameter(torch.zeros(2 * channels, inputs, 1, columns))
        self.vertical_norm = ChannelNorm(2 * channels)
        self.horizontal_norm = ChannelNorm(2 * channels)
        self.across = Conv(2 * channels, 2 * channels, 1)
        self.out = Conv(channels, channels, 1)
        self.code = Conv(free, 4 * channels, kernel, padding=self.margin) if free else None

    def start(self, generator: torch.Generator) -> None:
        """Initial weights of both filters: N(0, 2 / (taps outputs))."""
        normal_(self.vertical, generator)
        normal_(self.horizontal, generator)

    def forward(
        self, vertical: Tensor, horizontal: Tensor, maps: Tensor | None = None, tape: Tape | None = None
    ) -> tuple[Tensor, Tensor]:
        margin = self.margin
        if self.first:
            # Rows r - margin ... r - 1, and columns c - margin ... c - 1.
            above = F.conv2d(F.pad(vertical, (margin, margin, margin, 0)), self.vertical)[:, :, :-1]
            left = F.conv2d(F.pad(horizontal, (margin, 0, 0, 0)), self.horizontal)[..., :-1]
        else:
            above = F.conv2d(F.pad(vertical, (margin, margin, margin, 0)), self.vertical)
            left = F.conv2d(F.pad(horizontal, (margin, 0, 0, 0)), self.horizontal)
        if self.code is not None:
            for_above, for_left = self.code(maps).chunk(2, 1)
            above = above + for_above
            left = left + for_left

        above = self.vertical_norm(above, tape)
        left = self.horizontal_norm(left + self.across(above), tape)
        out = self.out(_gate(left))
        return _gate(above), out if self.first else out + horizontal


def _gate(x: Tensor) -> Tensor:
    """tanh of the first half of the channels times the logistic function of the second."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedPixelCNN(nn.Module):
    """Logits of every pixel given all pixels before it, and a code; the interface is that of ``PixelCNN``.

    Args:
        shape: height and width of the images.
        latents: numbers of a code; 0: there is none.
        maps: channels that the code is turned into; they enter both stacks of the first layer.
        channels: of each stack.
        kernels: sizes of the filters, layer by layer.

    Reference: van den Oord et al. 2016b, figure 2; sizes and the maps of a code from Kim et al. 2018.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        latents: int,
        maps: int = 4,
        channels: int = 32,
        kernels: tuple[int, ...] = KERNELS,
    ) -> None:
        super().__init__()
        height, width = shape
        self.shape = (height, width)
        self.maps = maps if latents else 0
        self.code = GlorotLinear(latents, maps * height * width) if latents else None
        self.layers = nn.ModuleList(
            [GatedLayer(1, channels, kernels[0], first=True, free=self.maps)]
            + [GatedLayer(channels, channels, k) for k in kernels[1:]]
        )
        self.head = DefaultConv(channels, channels, 1)
        self.head_norm = ChannelNorm(channels)
        self.output = DefaultConv(channels, 1, 1)

    def forward(self, x: Tensor, z: Tensor | None = None, tape: Tape | None = None) -> Tensor:
        """Logits (k, batch, h w) for images ``x`` (batch, h w) and codes ``z`` (k, batch, n), or None: k = 1."""
        batch = len(x)
        k = 1 if z is None else len(z)
        image = x.view(batch, 1, *self.shape)
        maps = None
        if z is not None:
            image = image.expand(k, -1, -1, -1, -1).flatten(0, 1)
            maps = self.code(z.flatten(0, 1)).view(k * batch, self.maps, *self.shape)
        vertical = horizontal = image
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal, maps, tape)
            maps = None
        hidden = self.head_norm.elu(self.head(horizontal), tape)
        return self.output(hidden).reshape(k, batch, -1)
