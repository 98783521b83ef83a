"""Adam, and the schedules of its rate."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adam import adam

from vaebench.optim.base import Optimiser, Update, across, alike, fusable, rates_of, with_decay
from vaebench.optim.moments import Moments
from vaebench.settings.validate import one_of

SCHEDULES: dict[str, list[tuple[float, float]]] = {
    "constant": [],
    "steps": [(0.6, 0.3), (0.75, 0.09), (0.95, 0.027)],
    "warm_steps": [(0.0, 0.1), (0.02, 1.0), (0.6, 1 / 3), (0.75, 0.1), (0.95, 1 / 33)],
    "iwae": [((3**i - 1) / (3**8 - 1), 10 ** (-i / 7)) for i in range(8)],
}
"""Name -> (share of the budget, factor of the rate from there on).

``steps`` is in the text of DVAE++: times 0.3 at 600,000, 750,000 and 950,000 of a million updates.
``warm_steps`` is what its authors ran for DVAE# and DVAE##. ``iwae`` is that of Burda et al.
(2016): 3^i passes over the data with the factor 10^(-i/7), i = 0 to 7.
"""


class Adam(Optimiser):
    """Adam (Kingma & Ba 2015, algorithm 1) with a rate schedule in shares of the budget.

    Groups without a rate of their own learn at ``rate``. The state holds both moments of every
    parameter and the number of updates done so far.
    """

    tiny = ({"rate": 0.05},)

    adds_decay = True
    apart = False  # all groups share one count

    def __init__(
        self,
        rate: float,
        posterior_rate: float | None = None,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        schedule: str = "constant",
    ) -> None:
        self.rates = rates_of(rate, posterior=posterior_rate)
        self.moments = Moments(beta1, beta2, epsilon)
        self.steps = SCHEDULES[one_of("optim.schedule", schedule, SCHEDULES)]
        self.budget_free = not self.steps

    def state(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return both moments of every parameter and the count of updates, all 0."""
        device = next(iter(params.values())).device
        return {**self.moments.state(params), "count": torch.zeros((), device=device)}

    def factor(self, progress: Tensor) -> Tensor:
        """Return the factor of the rates at a share of the budget, elementwise."""
        # The steps are in ascending order, so the last one that has begun decides.
        factor = torch.ones_like(progress)
        for start, value in self.steps:
            factor = torch.where(progress >= start, value, factor)
        return factor

    def move(self, update: Update) -> None:
        """Make one update; see Optimiser."""
        if fusable(update.params):
            self._fused(update)
        else:
            self._by_parts(update)

    def _by_parts(self, update: Update) -> None:
        """Take the step operation by operation, all seeds at once, for compilers and graphs."""
        state = update.state
        grads = with_decay(update.grads, update.params, update.decay)

        # The same for all parameters: the factor of the rates with the bias correction, and what
        # takes the place of epsilon, (seeds,) each.
        scale, epsilon = self.moments.corrected(
            self.factor(update.progress), state["count"].add_(1)
        )

        for name, p in update.params.items():
            step = self.moments.step(state, name, grads[name], epsilon)
            p.sub_(step * across(self.rates[update.group_of[name]] * scale, p))

    def _fused(self, update: Update) -> None:
        """Take PyTorch's fused step, which passes over memory once, seed by seed.

        The seeds cannot go together, since each has a count of its own.
        """
        params = update.params
        grads = update.grads
        state = update.state

        factors = self.factor(update.progress).tolist()
        together = alike(params, self.rates, update)

        # Indexing by a seed gives views, so parameters and moments change in place.
        for seed, factor in enumerate(factors):
            for (rate, strength), names in together.items():
                adam(
                    [params[name][seed] for name in names],
                    [grads[name][seed].contiguous() for name in names],
                    [state[f"first/{name}"][seed] for name in names],
                    [state[f"second/{name}"][seed] for name in names],
                    [],  # the largest second moments, which only amsgrad has
                    [state["count"][seed].clone() for _ in names],  # the step adds 1 to each
                    fused=True,
                    amsgrad=False,
                    beta1=self.moments.beta1,
                    beta2=self.moments.beta2,
                    lr=rate * factor,
                    weight_decay=strength,
                    eps=self.moments.epsilon,
                    maximize=False,
                )
        state["count"].add_(1)
