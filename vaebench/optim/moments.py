"""The moments that Adam keeps of every gradient, and the step that it takes by them."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.optim.base import Tensors, across
from vaebench.settings.validate import below_one, positive


class Moments:
    """Running means of every gradient and of its square, in the state of an optimiser.

    Args:
        beta1: Weight of the old value in the mean of the gradient.
        beta2: The same for the mean of its square.
        epsilon: Added to the root of that mean.

    Raises:
        UserError: For a weight outside [0, 1) or an epsilon that is not above 0.

    Reference:
        Kingma & Ba 2015, algorithm 1.
    """

    def __init__(self, beta1: float, beta2: float, epsilon: float) -> None:
        self.beta1 = below_one("optim.beta1", beta1)
        self.beta2 = below_one("optim.beta2", beta2)
        self.epsilon = positive("optim.epsilon", epsilon)

    def state(self, params: Tensors) -> Tensors:
        """Return both moments of every parameter, all 0."""
        return {
            f"{m}/{k}": torch.zeros_like(v) for m in ("first", "second") for k, v in params.items()
        }

    def corrected(self, rate: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Correct the rate and epsilon for moments that began at 0, after ``count`` updates.

        With the two results, ``rate * m / (sqrt(v) + epsilon)`` is the step with corrected moments,
        rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).

        Returns:
            The rate, and the number to be added to the root.
        """
        root = torch.sqrt(1 - self.beta2**count)
        return rate * root / (1 - self.beta1**count), self.epsilon * root

    def step(self, state: Tensors, name: str, gradient: Tensor, least: Tensor) -> Tensor:
        """Enter a gradient (seeds, ...) in the moments, and return the step without its rate.

        Args:
            state: Of the optimiser; the moments of ``name`` change in place.
            name: Name of the parameter.
            gradient: (seeds, ...).
            least: What is added to the root, (seeds,), from ``corrected``.
        """
        # m <- beta1 m + (1 - beta1) g, and v <- beta2 v + (1 - beta2) g^2, in place.
        first = state[f"first/{name}"].lerp_(gradient, 1 - self.beta1)
        second = (
            state[f"second/{name}"]
            .mul_(self.beta2)
            .addcmul_(gradient, gradient, value=1 - self.beta2)
        )
        return first / (second.sqrt() + across(least, gradient))
