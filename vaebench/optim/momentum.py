"""Gradient descent with momentum, classical or Nesterov's; the momentum changes once."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.optim.base import Optimiser, Update, across, rates_of
from vaebench.settings.validate import below_one, flag, from_zero, one_of, whole

SCHEDULES = ("constant", "linear")
"""Schedules of the rate over the budget: constant, or falling to 0 in a straight line."""


class Momentum(Optimiser):
    """Every parameter has a velocity v <- m v - rate g, and moves by v.

    With ``nesterov`` it moves by m v - rate g, where v is the new velocity. That is Nesterov's
    method in the form of Sutskever et al. (2013), with the parameters taken at the point that it
    looks ahead to. The rate stands inside the velocity, so a new rate affects only new gradients.

    Args:
        rate: Learning rate of the generative model.
        posterior_rate: That of the inference network; None: the same.
        momentum: m, once ``switch`` updates are done.
        start: m before that.
        switch: Updates done with ``start``; 0: none.
        nesterov: Whether steps look ahead.
        schedule: One of SCHEDULES.
        decrease: The rate is also divided by 1 + ``decrease`` times the updates done.

    Raises:
        UserError: For a rate not above 0, a momentum outside [0, 1), an unknown schedule, or a
            negative ``switch`` or ``decrease``.
    """

    tiny = ({"rate": 0.05, "switch": 2},)
    apart = False  # all groups share one count

    def __init__(
        self,
        rate: float,
        posterior_rate: float | None = None,
        momentum: float = 0.9,
        start: float = 0.5,
        switch: int = 0,
        nesterov: bool = False,
        schedule: str = "constant",
        decrease: float = 0.0,
    ) -> None:
        self.rates = rates_of(rate, posterior=posterior_rate)
        self.momentum = below_one("optim.momentum", momentum)
        self.first = below_one("optim.start", start)
        self.switch = whole("optim.switch", switch, 0)
        self.nesterov = flag("optim.nesterov", nesterov)
        self.falls = one_of("optim.schedule", schedule, SCHEDULES) == "linear"
        self.decrease = from_zero("optim.decrease", decrease)
        self.budget_free = not self.falls

    def state(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the velocity of every parameter and the count of updates, all 0."""
        device = next(iter(params.values())).device
        velocities = {f"velocity/{k}": torch.zeros_like(v) for k, v in params.items()}
        return {**velocities, "count": torch.zeros((), device=device)}

    def move(self, update: Update) -> None:
        """Move every parameter by its velocity; see Optimiser."""
        # ``count`` updates are done: momentum m and factor of the rates of each seed, (seeds,).
        count = update.state["count"]
        m = torch.where(count < self.switch, self.first, self.momentum)
        factor = 1 / (1 + self.decrease * count)
        if self.falls:
            factor = factor * (1 - update.progress)

        for name, p in update.params.items():
            m_of_p = across(m, p)
            step = update.grads[name] * across(self.rates[update.group_of[name]] * factor, p)
            velocity = update.state[f"velocity/{name}"].mul_(m_of_p).sub_(step)
            if self.nesterov:
                p.add_(velocity * m_of_p).sub_(step)
            else:
                p.add_(velocity)

        count.add_(1)
