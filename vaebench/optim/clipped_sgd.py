"""Gradient descent with one clip over all gradients.

The rates fall when validation stalls (He et al. 2019).
"""

from __future__ import annotations

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
from vaebench.optim.plateau import Plateau
from vaebench.settings.validate import positive


class ClippedSGD(Optimiser):
    """Gradients scaled so that their joint norm is at most ``clip``, then plain descent.

    No momentum. The norm is over all parameters of a seed, whichever groups move: where the
    inference network alone learns, its step is still shortened by the generative model's gradient.
    ``posterior_rate`` null: as ``rate``. ``clip`` null: none. ``patience``, ``first``, ``factor``,
    ``decays``, ``reload``: see Plateau.
    """

    tiny = ({"rate": 0.05, "clip": 1.0},)

    def __init__(
        self,
        rate: float,
        posterior_rate: float | None = None,
        clip: float | None = 5.0,
        patience: int = 2,
        first: int = 15,
        factor: float = 0.5,
        decays: int = 5,
        reload: bool = True,
    ) -> None:
        self.rates = rates_of(rate, posterior=posterior_rate)
        self.clip = None if clip is None else positive("optim.clip", clip)
        self.plateau = Plateau(patience, first, factor, decays, reload)

    def state(self, params: Tensors) -> Tensors:
        """Where the fall of the rates stands; see Plateau."""
        return self.plateau.state(next(iter(params.values())).device)

    def move(self, update: Update) -> None:
        """See Optimiser."""
        refuse_unrated("clipped_sgd", self.rates, update)
        scale = update.state["factor"] * joint_scale(list(update.grads.values()), self.clip)
        kinds = {p.dtype for p in update.params.values()}
        steps = {
            (g, kind): (-rate * scale).to(kind) for g, rate in self.rates.items() for kind in kinds
        }
        for name in update.moving():
            p = update.params[name]
            step = steps[update.group_of[name], p.dtype]
            p.addcmul_(update.grads[name], across(step, p))

    def validated(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """See Plateau."""
        return self.plateau.after(state, loss, validation)
