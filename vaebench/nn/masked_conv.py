"""Convolutions that do not see the pixels to come, in raster order (van den Oord et al. 2016a)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mask_of(kernel: int, centre: bool) -> Tensor:
    """Which taps of a (kernel, kernel) filter look at pixels above, or at the left in the same row.

    Ones and zeros. ``centre``: whether the pixel itself is seen too, as in every layer but the
    first (mask B instead of A).
    """
    middle = kernel // 2
    mask = torch.zeros(kernel, kernel)
    mask[:middle] = 1.0
    mask[middle, : middle + centre] = 1.0
    return mask


class RowsAbove:
    """What causal convolutions have seen of the rows above, so that images can be drawn row by row.

    All other layers of such a net look at single pixels. So a pass over one row, with its inputs to
    every convolution in the rows above at hand, gives what a pass over the whole image gives in
    that row.

    Attributes:
        keeping: Whether the rows that pass by are done, and are to be remembered.
    """

    def __init__(self) -> None:
        self.keeping = False
        self._inputs: dict[nn.Module, Tensor] = {}

    def put_on(self, layer: nn.Module, x: Tensor, margin: int) -> Tensor:
        """``x`` (batch, c, rows, w) under the ``margin`` rows of the layer's input above.

        Zeros above the first row.
        """
        above = self._inputs.get(layer)
        if above is None:
            above = x.new_zeros(len(x), x.shape[1], margin, x.shape[3])
        whole = torch.cat([above, x], 2)
        if self.keeping:
            self._inputs[layer] = whole[:, :, whole.shape[2] - margin :]
        return whole


def padded(x: Tensor, margin: int, layer: nn.Module, above: RowsAbove | None) -> Tensor:
    """``x`` (batch, c, h, w) with ``margin`` columns of zeros at both sides.

    And as many rows on top. Above the first row of an image these are zeros; of a later part of it
    they are the layer's input above.
    """
    if above is None:
        return F.pad(x, (margin, margin, margin, 0))
    return F.pad(above.put_on(layer, x, margin), (margin, margin))


class MaskedConv(nn.Module):
    """A convolution of odd size whose outputs know the channels of pixels before their own alone.

    It has no bias. (batch, inputs + free, h, w) -> (batch, outputs, h, w).

    Args:
        inputs: number of masked input channels, which come first.
        outputs: number of output channels.
        kernel: height and width of the filter, an odd number.
        centre: whether a pixel's own inputs are seen (mask B) or not (mask A).
        free: number of further input channels, which are seen everywhere: maps of a code.

    The weight has the whole (kernel, kernel) filter. Of masked channels the rows below the centre
    are never read, and are not multiplied either; the taps at the right of the centre are
    multiplied with zero.
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
        """Initial weights: N(0, 2 / (kernel^2 outputs)), masked taps counted.

        He et al. 2019, their code.
        """
        normal_(self.weight, generator)

    def forward(self, x: Tensor, above: RowsAbove | None = None) -> Tensor:
        masked = self.above(x[:, : self.inputs], above)
        return masked if x.shape[1] == self.inputs else masked + self.around(x[:, self.inputs :])

    def above(self, x: Tensor, above: RowsAbove | None = None) -> Tensor:
        """The part of the masked channels ``x`` (batch, inputs, h, w)."""
        weight = self.weight[:, : self.inputs, : self.middle + 1] * self.mask
        return F.conv2d(padded(x, self.middle, self, above), weight)

    def around(self, maps: Tensor) -> Tensor:
        """The part of the free channels ``maps`` (batch, free, h, w)."""
        return F.conv2d(maps, self.weight[:, self.inputs :], padding=self.middle)


def normal_(weight: Tensor, generator: torch.Generator) -> None:
    """Fill the weight (outputs, inputs, k, k) of a convolution.

    N(0, 2 / (k^2 outputs)), in place.
    """
    outputs, _, height, width = weight.shape
    with torch.no_grad():
        weight.normal_(0.0, math.sqrt(2.0 / (height * width * outputs)), generator=generator)
