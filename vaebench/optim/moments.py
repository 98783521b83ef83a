"""The moments that Adam keeps of every gradient, and the step that it takes by them."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.optim.base import Tensors, across
from vaebench.settings.validate import positive, share


class Moments:
    """Running means of every gradient and of its square, in the state of an optimiser.

    Args:
        beta1: Weight of the old value in the mean of the gradient.
        beta2: The same, of its square.
        epsilon: What is added to the root of that.

    Raises:
        UserError: For a weight outside [0, 1) or an epsilon that is not above 0.

    Reference:
        Kingma & Ba 2015, algorithm 1.
    """

    def __init__(self, beta1: float, beta2: float, epsilon: float) -> None:
        self.beta1 = share("optim.beta1", beta1)
        self.beta2 = share("optim.beta2", beta2)
        self.epsilon = positive("optim.epsilon", epsilon)

    def state(self, params: Tensors) -> Tensors:
        """Both moments at 0 beside every parameter."""
        return {
            f"{m}/{k}": torch.zeros_like(v) for m in ("first", "second") for k, v in params.items()
        }

    def corrected(self, rate: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """The rate after ``count`` updates, and what is added to the root.

        For moments that began at 0. Both corrections in one rate: m / (1 - b1^t) / (sqrt(v / (1 -
        b2^t)) + eps).
        """
        root = torch.sqrt(1 - self.beta2**count)
        return rate * root / (1 - self.beta1**count), self.epsilon * root

    def step(self, state: Tensors, name: str, gradient: Tensor, least: Tensor) -> Tensor:
        """Take note of a gradient (seeds, ...), and the step without its rate.

        ``least`` (seeds,) of ``corrected``.
        """
        first = state[f"first/{name}"].lerp_(gradient, 1 - self.beta1)
        second = (
            state[f"second/{name}"]
            .mul_(self.beta2)
            .addcmul_(gradient, gradient, value=1 - self.beta2)
        )
        return first / (second.sqrt() + across(least, gradient))
