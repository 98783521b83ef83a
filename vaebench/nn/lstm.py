"""One layer of long short-term memory, in the parameterisation of PyTorch.

Hochreiter & Schmidhuber 1997. Gates i, f, g, o = split(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh); with
s the logistic function, c_t = s(f) c_(t-1) + s(i) tanh(g) and h_t = s(o) tanh(c_t).
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.nn import second_order
from vaebench.nn.products import product

State = tuple[Tensor, Tensor]
"""Hidden state h and cell c, each (batch, units)."""


class LSTM(nn.Module):
    """An LSTM of ``units`` over sequences (time, batch, inputs).

    Both bias vectors are kept apart, as PyTorch does. It hands its parameters to the fused kernels
    by itself (``nn.LSTM`` keeps a list of its own, which ``torch.func.functional_call`` does not
    reach). The kernels of CUDA and of oneDNN have no second derivative: where one is wanted
    (``nn.second_order``) PyTorch's own loop is taken.
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.units = units
        self.weight_ih = nn.Parameter(torch.zeros(4 * units, inputs))
        self.weight_hh = nn.Parameter(torch.zeros(4 * units, units))
        self.bias_ih = nn.Parameter(torch.zeros(4 * units))
        self.bias_hh = nn.Parameter(torch.zeros(4 * units))

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Outputs h_1 ... h_T, (time, batch, units), and the state after the last step.

        From a state of zeros if None. Later inputs have no part in earlier outputs, so a sequence
        with padding at its end needs no other care than that its last state is taken from the
        outputs (``last``).
        """
        if state is None:
            zeros = x.new_zeros(x.shape[1], self.units)
            state = (zeros, zeros)
        if second_order.is_wanted():
            with second_order.without_fused_layers():
                return self._fused(x, *state)
        if not x.is_cuda:
            return self._fused(x, *state)
        # It copies the four into one piece, which is nothing beside the rest.
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="RNN module weights are not part of single contiguous"
            )
            return self._fused(x, *state)

    def _fused(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, State]:
        weights: list[Tensor] = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        # cuDNN gives gradients in that mode only; there is no dropout in here.
        training = torch.is_grad_enabled()
        start = [h.unsqueeze(0), c.unsqueeze(0)]
        out, h, c = torch.lstm(x, start, weights, True, 1, 0.0, training, False, False)
        return out, (h[0], c[0])

    def input_gates(self, x: Tensor, first: int = 0, bias: bool = True) -> Tensor:
        """What inputs ``first`` ... of every step, ``x`` (..., some inputs), add to the gates.

        (..., 4 units). The sum over a partition of the inputs, ``bias`` with one of them, is what
        ``step_`` wants.
        """
        part = self.weight_ih[:, first : first + x.shape[-1]]
        return F.linear(x, part, self.bias_ih + self.bias_hh if bias else None)

    def step_(self, gates: Tensor, h: Tensor, c: Tensor) -> None:
        """One step in place, without gradient.

        ``gates`` (batch, 4 units) hold the inputs' part and are used up. tanh(x) = 2 s(2x) - 1: on
        a CPU the logistic function is many times faster, and the loss of digits near 0 is one of
        relative, not of absolute precision.
        """
        gates += product(h, self.weight_hh)
        i, f, g, o = gates.split(self.units, 1)
        g.mul_(2)
        gates.sigmoid_()
        g.mul_(2).sub_(1)
        c.mul_(f).addcmul_(i, g)
        torch.mul(c, 2, out=h).sigmoid_().mul_(2).sub_(1).mul_(o)


def last(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Of ``outputs`` (time, batch, units) every sequence's last step.

    Its own last one, (batch, units).
    """
    return outputs[lengths - 1, torch.arange(lengths.shape[0], device=lengths.device)]
