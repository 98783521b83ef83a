"""One layer of long short-term memory (Hochreiter & Schmidhuber 1997), parameterised as in PyTorch.

The gates are i, f, g, o = split(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh). With s the logistic
function, c_t = s(f) c_(t-1) + s(i) tanh(g) and h_t = s(o) tanh(c_t).
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

    The two bias vectors are kept apart, as in PyTorch. The layer passes its parameters to the fused
    kernels by itself, since ``nn.LSTM`` keeps them in a list that ``torch.func.functional_call``
    does not reach. The kernels of CUDA and oneDNN have no second derivative. If one is wanted
    (``nn.second_order``), PyTorch's own loop is used.
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
        """Return the outputs h_1 ... h_T, (time, batch, units), and the state after the last step.

        Later inputs do not affect earlier outputs. So a sequence with padding at its end needs no
        other care than to take its last state from the outputs (``last``).

        Args:
            x: Inputs, (time, batch, inputs).
            state: The state to begin with; None: zeros.
        """
        if state is None:
            zeros = x.new_zeros(x.shape[1], self.units)
            state = (zeros, zeros)

        if second_order.is_wanted():
            with second_order.without_fused_layers():
                return self._fused(x, *state)
        if not x.is_cuda:
            return self._fused(x, *state)

        # cuDNN copies the four parameters into one piece. That costs little, so ignore its warning.
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="RNN module weights are not part of single contiguous"
            )
            return self._fused(x, *state)

    def _fused(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, State]:
        """Return what ``forward`` returns, by one call of PyTorch's LSTM."""
        weights: list[Tensor] = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        # cuDNN has gradients only in training mode; without dropout that changes nothing else.
        training = torch.is_grad_enabled()
        start = [h.unsqueeze(0), c.unsqueeze(0)]
        # With biases, one layer, no dropout, ``training``, one direction, time first.
        outputs, h, c = torch.lstm(x, start, weights, True, 1, 0.0, training, False, False)
        return outputs, (h[0], c[0])

    def input_gates(self, x: Tensor, first: int = 0, bias: bool = True) -> Tensor:
        """Return what some of the inputs of every step add to the gates, (..., 4 units).

        ``step_`` needs the sum over all inputs, with the bias once.

        Args:
            x: The inputs from number ``first`` on, (..., some inputs).
            first: Number of the first of them.
            bias: Whether to add the bias.
        """
        part = self.weight_ih[:, first : first + x.shape[-1]]
        return F.linear(x, part, self.bias_ih + self.bias_hh if bias else None)

    def step_(self, gates: Tensor, h: Tensor, c: Tensor) -> None:
        """Make one step in place, without gradient.

        tanh(x) is computed as 2 s(2x) - 1, since the logistic function s is many times faster on a
        CPU. Near 0 that loses relative, but not absolute precision.

        Args:
            gates: The part of the inputs, see ``input_gates``, (batch, 4 units); it is overwritten.
            h: Hidden state, (batch, units).
            c: Cell, (batch, units).
        """
        # i, f, g, o are views of ``gates``: one sigmoid is taken of all four. Doubled before and
        # rescaled after, g becomes its tanh.
        gates += product(h, self.weight_hh)
        i, f, g, o = gates.split(self.units, 1)
        g.mul_(2)
        gates.sigmoid_()
        g.mul_(2).sub_(1)

        # c <- f c + i g, then h <- o tanh(c), written over the old state.
        c.mul_(f).addcmul_(i, g)
        torch.mul(c, 2, out=h).sigmoid_().mul_(2).sub_(1).mul_(o)


def last(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Return every sequence's own last step of ``outputs`` (time, batch, units): (batch, units)."""
    return outputs[lengths - 1, torch.arange(lengths.shape[0], device=lengths.device)]
