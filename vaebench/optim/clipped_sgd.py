"""Gradient descent with one clip over all gradients and rates that fall (He et al. 2019)."""

from __future__ import annotations

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
from vaebench.optim.plateau import Plateau
from vaebench.settings.validate import positive


class ClippedSGD(Optimiser):
    """Gradient descent without momentum, on gradients of a joint norm of at most ``clip``.

    The norm is over all parameters of a seed, whichever groups move. So if only the inference
    network learns, the generative model's gradient still shortens its step. The rates fall when
    validation stalls.

    Args:
        rate: Learning rate of the generative model.
        posterior_rate: That of the inference network; None: the same.
        clip: Largest joint norm; None: no limit.
        patience: Failed validations until the rates fall, see Plateau.
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
        patience: int = 2,
        first: int = 15,
        factor: float = 0.5,
        decays: int = 5,
        reload: bool = True,
    ) -> None:
        self.rates = rates_of(rate, NETWORKS, posterior=posterior_rate)
        self.clip = None if clip is None else positive("optim.clip", clip)
        self.plateau = Plateau(patience, first, factor, decays, reload)

    def state(self, params: Tensors) -> Tensors:
        """Return the state of Plateau."""
        return self.plateau.state(next(iter(params.values())).device)

    def move(self, update: Update) -> None:
        """Clip all gradients together, then descend; see Optimiser."""
        refuse_unrated("clipped_sgd", self.rates, map(update.group_of.__getitem__, update.params))
        # (seeds,): the plateau's factor times the clip of each seed.
        scale = update.state["factor"] * joint_scale(list(update.grads.values()), self.clip)

        # The factor is float64, so the step sizes are cast to every dtype of the parameters.
        dtypes = {p.dtype for p in update.params.values()}
        steps = {
            (group, dtype): (-rate * scale).to(dtype)
            for group, rate in self.rates.items()
            for dtype in dtypes
        }

        for name in update.moving():
            p = update.params[name]
            step = steps[update.group_of[name], p.dtype]
            p.addcmul_(update.grads[name], across(step, p))

    def validated(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """Let the rates fall if validation stalls; see Plateau."""
        return self.plateau.after(state, loss, validation)
