"""Convolutions that see only earlier pixels in raster order (van den Oord et al. 2016a)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mask_of(kernel: int, centre: bool) -> Tensor:
    """Return 1 for the taps of a filter above the centre or to its left in the same row, else 0.

    Args:
        kernel: Height and width of the filter.
        centre: Whether the pixel itself is seen too (mask B instead of A), as in every layer but
            the first.
    """
    # The rows above, then the centre's row up to the centre, with it or without.
    middle = kernel // 2
    mask = torch.zeros(kernel, kernel)
    mask[:middle] = 1.0
    mask[middle, : middle + centre] = 1.0
    return mask


class RowsAbove:
    """Inputs of causal convolutions in the rows above, so that images can be drawn row by row.

    All other layers of such a net look at single pixels. So a pass over one row, with the inputs of
    every convolution in the rows above, gives the same as a pass over the whole image gives in that
    row.

    Attributes:
        keeping: Whether to remember the rows that pass, since they are finished.
    """

    def __init__(self) -> None:
        self.keeping = False
        self._inputs: dict[nn.Module, Tensor] = {}

    def put_on(self, layer: nn.Module, x: Tensor, margin: int) -> Tensor:
        """Return ``x`` (batch, c, rows, w) below the last ``margin`` rows of the layer's input.

        Above the first row of the image these are zeros.
        """
        # A net may have several convolutions, so rows are remembered by layer.
        above = self._inputs.get(layer)
        if above is None:
            above = x.new_zeros(len(x), x.shape[1], margin, x.shape[3])

        # The last ``margin`` rows of it are what the next rows of the image need.
        whole = torch.cat([above, x], 2)
        if self.keeping:
            self._inputs[layer] = whole[:, :, whole.shape[2] - margin :]
        return whole


def padded(x: Tensor, margin: int, layer: nn.Module, above: RowsAbove | None) -> Tensor:
    """Pad ``x`` (batch, c, h, w) by ``margin`` columns at both sides and ``margin`` rows on top.

    The columns are zeros. So are the rows above the first row of an image. If ``x`` is a later part
    of an image, the rows are the layer's input above it.
    """
    if above is None:
        return F.pad(x, (margin, margin, margin, 0))
    return F.pad(above.put_on(layer, x, margin), (margin, margin))


class MaskedConv(nn.Module):
    """A convolution without bias that sees only earlier pixels of its masked channels.

    Its shapes are (batch, inputs + free, h, w) -> (batch, outputs, h, w).

    Args:
        inputs: Number of masked input channels, which come first.
        outputs: Number of output channels.
        kernel: Height and width of the filter, an odd number.
        centre: Whether a pixel's own inputs are seen (mask B) or not (mask A).
        free: Number of further input channels, which are seen everywhere: maps of a code.

    The weight has the whole (kernel, kernel) filter. For masked channels the rows below the centre
    are never read, so they cost nothing. The taps to the right of the centre are multiplied by
    zero.
    """

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, centre: bool, free: int = 0) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a masked filter has an odd size, not {kernel}")

        self.inputs = inputs
        self.middle = kernel // 2
        self.weight = nn.Parameter(torch.zeros(outputs, inputs + free, kernel, kernel))
        self.register_buffer(
            "mask", mask_of(kernel, centre)[: self.middle + 1].clone(), persistent=False
        )

    def start(self, generator: torch.Generator) -> None:
        """Set the initial weights: N(0, 2 / (kernel^2 outputs)), where masked taps count.

        This is from the code of He et al. 2019.
        """
        normal_(self.weight, generator)

    def forward(self, x: Tensor, above: RowsAbove | None = None) -> Tensor:
        masked = self.above(x[:, : self.inputs], above)
        return masked if x.shape[1] == self.inputs else masked + self.around(x[:, self.inputs :])

    def above(self, x: Tensor, above: RowsAbove | None = None) -> Tensor:
        """Return the part of the masked channels ``x`` (batch, inputs, h, w) in the output."""
        weight = self.weight[:, : self.inputs, : self.middle + 1] * self.mask
        return F.conv2d(padded(x, self.middle, self, above), weight)

    def around(self, maps: Tensor) -> Tensor:
        """Return the part of the free channels ``maps`` (batch, free, h, w) in the output."""
        return F.conv2d(maps, self.weight[:, self.inputs :], padding=self.middle)


def normal_(weight: Tensor, generator: torch.Generator) -> None:
    """Draw the weight (outputs, inputs, k, k) of a convolution from N(0, 2 / (k^2 outputs))."""
    outputs, _, height, width = weight.shape
    with torch.no_grad():
        weight.normal_(0.0, math.sqrt(2.0 / (height * width * outputs)), generator=generator)
