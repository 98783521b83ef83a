"""Adam for each parameter group, one clip over all gradients, falling rates.

The rates fall when validation stalls (He et al. 2019). The optimiser of that paper's images, whose
authors keep one Adam for the inference network and one for the generative model, and make new ones
after every fall of the rates.
"""

from __future__ import annotations

import torch

from vaebench.optim.base import (
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

    Every group has a count of its own, so that a group that stands still while another one learns
    is corrected for its own number of steps. After a fall of the rates the moments and counts start
    anew.

    Args:
        rate: of the generative model.
        posterior_rate: of the inference network; None: the same.
        clip: largest joint norm, over all groups whichever move; None: no limit.
        beta1: weight of the old value in the mean of the gradient.
        beta2: the same, of its square.
        epsilon: what is added to the root of that.
        patience: validations without a new best until the rates fall.
        first: no fall before so many validations are behind.
        factor: of the rates at each fall.
        decays: training ends with this fall.
        reload: go on from the best parameters after a fall.
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
        self.rates = rates_of(rate, posterior=posterior_rate)
        self.clip = None if clip is None else positive("optim.clip", clip)
        self.moments = Moments(beta1, beta2, epsilon)
        self.plateau = Plateau(patience, first, factor, decays, reload, lowest=True)

    def state(self, params: Tensors) -> Tensors:
        """Both moments beside every parameter, the steps of every group.

        And where the fall of the rates stands.
        """
        device = next(iter(params.values())).device
        counts = {f"count/{group}": torch.zeros((), device=device) for group in self.rates}
        return {**self.moments.state(params), **counts, **self.plateau.state(device)}

    def move(self, update: Update) -> None:
        """See Optimiser."""
        refuse_unrated("clipped_adam", self.rates, update)
        state = update.state
        scale = joint_scale(list(update.grads.values()), self.clip)
        steps = {}
        for group, rate in self.rates.items():
            if update.only is None or group in update.only:
                count = state[f"count/{group}"].add_(1)
                steps[group] = self.moments.corrected(state["factor"].to(count.dtype) * rate, count)

        for name in update.moving():
            p = update.params[name]
            g = update.grads[name] * across(scale, p)
            size, least = steps[update.group_of[name]]
            p.sub_(self.moments.step(state, name, g, least) * across(size, p))

    def validated(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """See Plateau. With a fall of the rates Adam starts anew."""
        falls = float(state["falls"])
        state, verdict = self.plateau.after(state, loss, validation)
        if float(state["falls"]) > falls:
            anew = ("first/", "second/", "count/")
            state = {k: torch.zeros_like(v) if k.startswith(anew) else v for k, v in state.items()}
        return state, verdict
