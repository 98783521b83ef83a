"""Adagrad (Duchi, Hazan & Singer 2011), as in Kingma & Welling (2014)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adagrad import adagrad

from vaebench.optim.base import Optimiser, Update, alike, fusable, rates_of, with_decay
from vaebench.settings.validate import from_zero, positive


class Adagrad(Optimiser):
    """Every parameter moves by rate * g / (sqrt(sum of all g^2 so far) + epsilon).

    Args:
        rate: The global step size. Steps do not depend on the scale of the loss.
        posterior_rate: The rate of the inference network; None: the same.
        epsilon: Added to the root.
        initial: Value at which the sums of squares start.

    Raises:
        UserError: For a rate or an epsilon that is not above 0, or an ``initial`` below 0.
    """

    tiny = ({"rate": 0.5},)

    adds_decay = True

    def __init__(
        self,
        rate: float,
        posterior_rate: float | None = None,
        epsilon: float = 1e-10,
        initial: float = 0.0,
    ) -> None:
        self.rates = rates_of(rate, posterior=posterior_rate)
        self.epsilon = positive("optim.epsilon", epsilon)
        self.initial = from_zero("optim.initial", initial)

    def state(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums of squared gradients, at ``initial`` for every parameter."""
        return {f"squares/{k}": torch.full_like(v, self.initial) for k, v in params.items()}

    def move(self, update: Update) -> None:
        """Make one update; see Optimiser."""
        if fusable(update.params):
            self._fused(update)
            return

        grads = with_decay(update.grads, update.params, update.decay)

        # All operations are elementwise, so the seeds' leading axis needs no care.
        for name in update.moving():
            g = grads[name]
            squares = update.state[f"squares/{name}"].addcmul_(g, g)
            rate = self.rates[update.group_of[name]]
            update.params[name].addcdiv_(g, squares.sqrt().add_(self.epsilon), value=-rate)

    def _fused(self, update: Update) -> None:
        """Take PyTorch's fused step, which passes over memory once, for all seeds together."""
        for (rate, strength), chosen in alike(update.moving(), self.rates, update).items():
            adagrad(
                [update.params[name] for name in chosen],
                [update.grads[name].contiguous() for name in chosen],
                [update.state[f"squares/{name}"] for name in chosen],
                # Counts of updates, which only a decay of the rate would use.
                [torch.zeros(()) for _ in chosen],
                fused=True,
                has_sparse_grad=False,
                differentiable=False,
                has_complex=False,
                lr=rate,
                weight_decay=strength,
                lr_decay=0.0,
                eps=self.epsilon,
                maximize=False,
            )
