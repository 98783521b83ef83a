"""Plain gradient descent."""

from __future__ import annotations

from vaebench.optim.base import Optimiser, Update, rates_of


class SGD(Optimiser):
    """Plain gradient descent of the loss at fixed rates: no momentum, no weight decay, no state.

    Groups without a rate of their own follow the paper's rules (Mnih & Gregor 2014, section 4.1).
    The inference network (``posterior``) learns five times slower than the model. The baselines
    learn at the model's rate, or at the largest rate that is stable if the model's is larger (see
    ``NVIL.largest_rates``).

    Args:
        rate: Learning rate of the generative model.
        posterior_rate: That of the inference network.
        baseline_rate: That of the baselines.
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
        # Groups whose rate the user chose: ``limit`` leaves them alone.
        self.given = {"model"}
        self.given |= {"posterior"} if posterior_rate is not None else set()
        self.given |= {"baseline"} if baseline_rate is not None else set()

    def limit(self, largest: dict[str, float]) -> None:
        """Lower the rates of groups that were given none of their own; see Optimiser."""
        for group, rate in largest.items():
            if group not in self.given:
                self.rates[group] = min(self.rates[group], rate)

    def move(self, update: Update) -> None:
        """Descend along the gradients; see Optimiser."""
        for name in update.moving():
            update.params[name].add_(update.grads[name], alpha=-self.rates[update.group_of[name]])
