"""Plain gradient descent."""

from __future__ import annotations

from vaebench.optim.base import Optimiser, Update, rates_of


class SGD(Optimiser):
    """Plain gradient descent of the loss at fixed rates: no momentum, no weight decay, no state.

    ``rate`` is the generative model's. A group without a rate of its own follows the paper's rules:
    the inference network (``posterior``) learns five times slower, the baselines at the model's
    rate (Mnih & Gregor 2014, 4.1) or, if that is too large for them, at the largest that is stable
    (see ``NVIL.largest_rates``).
    """

    tiny = ({"rate": 0.05},)

    def __init__(
        self, rate: float, posterior_rate: float | None = None, baseline_rate: float | None = None
    ) -> None:
        self.rates = rates_of(
            rate,
            posterior=rate / 5 if posterior_rate is None else posterior_rate,
            baseline=baseline_rate,
        )
        self.given = {"model"}
        self.given |= {"posterior"} if posterior_rate is not None else set()
        self.given |= {"baseline"} if baseline_rate is not None else set()

    def limit(self, largest: dict[str, float]) -> None:
        """See Optimiser."""
        for group, rate in largest.items():
            if group not in self.given:
                self.rates[group] = min(self.rates[group], rate)

    def move(self, update: Update) -> None:
        """See Optimiser."""
        for name in update.moving():
            update.params[name].add_(update.grads[name], alpha=-self.rates[update.group_of[name]])
