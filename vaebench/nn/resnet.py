"""A residual network (He et al. 2016) that reads an image: the encoder of He et al. 2019.

In their code it is ResNetEncoderV2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.nn.batch_norm import Tape
from vaebench.nn.channel_norm import ChannelNorm
from vaebench.nn.layers import layer_list
from vaebench.nn.masked_conv import normal_


class Conv(nn.Module):
    """A convolution without bias: (batch, inputs, h, w) -> (batch, outputs, h', w')."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))

    def start(self, generator: torch.Generator) -> None:
        """Set the initial weights: N(0, 2 / (kernel^2 outputs))."""
        normal_(self.weight, generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.padding)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a 1x1 shortcut, each normalised.

    The shapes are (batch, inputs, h, w) -> (batch, outputs, h', w'), where h' is h / stride,
    rounded up, and w' likewise.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = Conv(inputs, outputs, 3, stride, 1)
        self.first_norm = ChannelNorm(outputs)
        self.second = Conv(outputs, outputs, 3, 1, 1)
        self.second_norm = ChannelNorm(outputs)
        self.shortcut = Conv(inputs, outputs, 1, stride)
        self.shortcut_norm = ChannelNorm(outputs)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        shortcut = self.shortcut_norm(self.shortcut(x), tape)
        hidden = self.first_norm.elu(self.first(x), tape)
        return self.second_norm.elu(self.second(hidden), tape, residual=shortcut)


class ResNet(nn.Module):
    """Residual blocks that halve the image, a convolution over the rest, and a linear layer.

    The shapes are (batch, 1, h, w) -> (batch, outputs).

    Args:
        shape: Height and width of the images.
        outputs: Numbers for each image.
        channels: Channels of each residual block.
        features: Outputs of the last convolution, whose filter is as large as the image that the
            blocks leave; they are the inputs of the linear layer.

    Reference: He et al. 2019, appendix B, and the layers of their code; 752,448 parameters for
    28x28 and 64 outputs.
    """

    def __init__(
        self, shape: tuple[int, int], outputs: int, channels: tuple[int, ...], features: int
    ) -> None:
        super().__init__()
        widths = [1, *channels]
        self.blocks = layer_list(
            [ResidualBlock(a, b, stride=2) for a, b in zip(widths, channels, strict=False)]
        )

        # The size of the image that the blocks leave.
        height, width = shape
        for _ in channels:
            height = math.ceil(height / 2)
            width = math.ceil(width / 2)
        self.last = nn.Parameter(torch.zeros(features, widths[-1], height, width))
        self.last_norm = ChannelNorm(features)
        self.output = GlorotLinear(features, outputs)

    def start(self, generator: torch.Generator) -> None:
        """Set the initial weights of the last convolution: N(0, 2 / (h w features))."""
        normal_(self.last, generator)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, tape)
        # The filter covers the whole image that is left, so the result is (batch, features, 1, 1).
        features = self.last_norm.elu(F.conv2d(x, self.last), tape)
        return self.output(features.flatten(1))


class GlorotLinear(nn.Linear):
    """A linear layer that starts with Glorot's uniform weights and biases of zero.

    The weights are uniform on +- sqrt(6 / (inputs + outputs)). The layer computes in the precision
    of its weights, even under autocast, since codes and moments are few numbers that matter.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))

    def start(self, generator: torch.Generator) -> None:
        """Set the initial parameters."""
        half = math.sqrt(6.0 / (self.in_features + self.out_features))
        with torch.no_grad():
            self.weight.uniform_(-half, half, generator=generator)
            self.bias.zero_()
