"""Adam for each parameter group, one clip over all gradients, and rates that fall.

The rates fall when validation stalls. He et al. (2019) use it for images: they keep one Adam for
the inference network and one for the generative model, and make new ones after every fall.
"""

from __future__ import annotations

import torch

from vaebench.optim.base import (
    NETWORKS,
    Optimiser,
    Tensors,
    Update,
    Verdict,
    across,
    rates_of,
    refuse_unrated,
)
from vaebench.optim.clipping import joint_scale
from vaebench.optim.moments import Moments
from vaebench.optim.plateau import Plateau
from vaebench.settings.validate import positive


class ClippedAdam(Optimiser):
    """Adam (Kingma & Ba 2015) on gradients that were scaled to a joint norm of at most ``clip``.

    Every group counts its own steps, so the bias correction is right for a group that stands still
    while another one learns. After a fall of the rates the moments and counts start anew.

    Args:
        rate: Learning rate of the generative model.
        posterior_rate: That of the inference network; None: the same.
        clip: Largest joint norm, over all groups, whichever of them move; None: no limit.
        beta1: Weight of the old value in the running mean of the gradient.
        beta2: The same for the mean of its square.
        epsilon: Added to the root of that mean.
        patience: Validations without a new best until the rates fall.
        first: Number of the first validation, from 0, that may lower the rates.
        factor: Factor of the rates at each fall.
        decays: Number of the fall with which training ends.
        reload: Whether to go on from the best parameters after a fall.
    """

    tiny = ({"rate": 0.05, "clip": 1.0},)

    def __init__(
        self,
        rate: float,
        posterior_rate: float | None = None,
        clip: float | None = 5.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        patience: int = 20,
        first: int = 0,
        factor: float = 0.5,
        decays: int = 5,
        reload: bool = True,
    ) -> None:
        self.rates = rates_of(rate, NETWORKS, posterior=posterior_rate)
        self.clip = None if clip is None else positive("optim.clip", clip)
        self.moments = Moments(beta1, beta2, epsilon)
        self.plateau = Plateau(patience, first, factor, decays, reload, lowest=True)

    def state(self, params: Tensors) -> Tensors:
        """Return both moments of every parameter, the steps of every group and Plateau's state."""
        device = next(iter(params.values())).device
        counts = {f"count/{group}": torch.zeros((), device=device) for group in self.rates}
        return {**self.moments.state(params), **counts, **self.plateau.state(device)}

    def move(self, update: Update) -> None:
        """Clip all gradients together, then make Adam's update; see Optimiser."""
        refuse_unrated("clipped_adam", self.rates, map(update.group_of.__getitem__, update.params))
        state = update.state

        # The norm is over all gradients, those of groups that stand still too.
        scale = joint_scale(list(update.grads.values()), self.clip)

        # Of each group that moves: its corrected rate and epsilon, (seeds,) each. Only these groups
        # count the step.
        steps = {}
        for group, rate in self.rates.items():
            if update.only is None or group in update.only:
                count = state[f"count/{group}"].add_(1)
                steps[group] = self.moments.corrected(state["factor"].to(count.dtype) * rate, count)

        for name in update.moving():
            p = update.params[name]
            g = update.grads[name] * across(scale, p)
            rate_now, epsilon = steps[update.group_of[name]]
            p.sub_(self.moments.step(state, name, g, epsilon) * across(rate_now, p))

    def validated(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """Do as Plateau does; if the rates fall, set the moments and counts to 0."""
        falls_before = float(state["falls"])
        state, verdict = self.plateau.after(state, loss, validation)

        # The authors make new optimisers after a fall.
        if float(state["falls"]) > falls_before:
            reset = ("first/", "second/", "count/")
            state = {k: torch.zeros_like(v) if k.startswith(reset) else v for k, v in state.items()}
        return state, verdict
