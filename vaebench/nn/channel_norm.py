"""Batch normalisation of the channels of images, and the nonlinearity after it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench import kernels
from vaebench.nn.batch_norm import BatchNorm, Tape


class ChannelNorm(BatchNorm):
    """Batch normalisation over examples and pixels: (batch, channels, h, w) -> the same shape.

    The settings are PyTorch's defaults, as in He et al. (2019): running averages keep 0.9 of their
    old value, and 1e-5 is added to the variance. The running variance is corrected for its degrees
    of freedom, the batch's own is not. In training the statistics of the batch go to the tape, see
    ``BatchNorm``; without a tape the running averages are used.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.9, epsilon=1e-5)

    def forward(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Normalise ``x`` (batch, channels, h, w)."""
        if tape is None:
            return F.batch_norm(
                x, self.mean, self.variance, self.scale, self.shift, False, 0.0, self.epsilon
            )

        # With a momentum of 1, the averages that PyTorch writes are the statistics of this batch.
        mean = torch.zeros_like(self.mean)
        variance = torch.ones_like(self.variance)
        out = F.batch_norm(x, mean, variance, self.scale, self.shift, True, 1.0, self.epsilon)
        tape[self.path] = (mean, variance)
        return out

    def elu(self, x: Tensor, tape: Tape | None = None, residual: Tensor | None = None) -> Tensor:
        """Return the ELU of the normalised ``x``, plus ``residual`` if it is given.

        All shapes are (batch, channels, h, w).
        """
        if self._has_kernel(x, tape):
            return self._by_kernel(x, tape, residual)

        out = self(x, tape)
        return F.elu(out if residual is None else residual + out)

    def _has_kernel(self, x: Tensor, tape: Tape | None) -> bool:
        """Whether loops of our own can be taken.

        They need one thread on a CPU and full vectors, and have no gradient without a tape.
        """
        if tape is None and torch.is_grad_enabled():
            return False

        # Channels are the innermost axis in memory; a vector register holds 16 float32.
        fits = (
            x.device.type == "cpu"
            and x.dtype in (torch.float32, torch.bfloat16)
            and x.shape[1] % 16 == 0
        )
        # Kernels read the memory itself, which a traced or mapped tensor does not have.
        has_memory = (
            not torch.compiler.is_compiling()
            and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        )
        one_thread = torch.get_num_threads() == 1
        return (
            fits
            and has_memory
            and one_thread
            and self.scale.dtype == torch.float32
            and kernels.allowed()
        )

    def _by_kernel(self, x: Tensor, tape: Tape | None, residual: Tensor | None) -> Tensor:
        """Return what ``elu`` returns, by loops of our own."""
        from vaebench.kernels.channel_norm import affine_elu, batch_norm_elu

        # With fixed statistics normalisation is an affine map of each channel.
        if tape is None:
            slope = self.scale * torch.rsqrt(self.variance + self.epsilon)
            return affine_elu(x, residual, slope, self.shift - self.mean * slope)

        out, mean, variance = batch_norm_elu(x, residual, self.scale, self.shift, self.epsilon)
        # The running variance is corrected for its degrees of freedom.
        rows = x.numel() // x.shape[1]
        tape[self.path] = (mean, variance * (rows / max(1, rows - 1)))
        return out
