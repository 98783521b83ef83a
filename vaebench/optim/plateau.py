"""Rates that fall when validation stalls: reload the best, halve, stop after five (He et al. 2019).

After every validation its loss is compared with a *bar*. If the loss is at the bar or below it, the
bar comes down to the loss and the count of failures becomes 0. If the loss is above, the count goes
up. Once the count has reached ``patience``, and ``first`` validations are behind, the rates fall:
they are multiplied by ``factor``, the bar rises to this loss, the count returns to 0 and the best
parameters are loaded again. Training ends with the ``decays``-th fall.

The count runs before ``first`` as well, so a fall can come at the first moment that allows one. The
bar is not always the best loss: after a fall it is the loss that caused the fall. That is the rule
for text. For images the bar is the lowest loss so far, and no fall raises it (``lowest``).
"""

from __future__ import annotations

import torch

from vaebench.optim.base import Tensors, Verdict
from vaebench.settings.validate import between, flag, whole

BAR = 1e30
"""Start of the bar, in nats: above every loss, however long the documents are. (Some losses exceed
the authors' 1e4.)"""


class Plateau:
    """The rule and its settings; each seed's bar and counts are in the optimiser's state.

    Args:
        patience: Failures until the rates fall.
        first: Number of the first validation, from 0, that may lower the rates.
        factor: Factor of the rates at each fall.
        decays: Number of the fall with which training ends.
        reload: Whether the best parameters are loaded again after a fall.
        lowest: Whether the bar stays at the lowest loss so far when the rates fall.
    """

    def __init__(
        self,
        patience: int,
        first: int,
        factor: float,
        decays: int,
        reload: bool,
        lowest: bool = False,
    ) -> None:
        self.patience = whole("optim.patience", patience)
        self.decays = whole("optim.decays", decays)
        self.first = whole("optim.first", first, 0)
        self.factor = between("optim.factor", factor)
        self.reload = flag("optim.reload", reload)
        self.lowest = lowest

    def state(self, device: torch.device) -> Tensors:
        """Return the state at the start: ``factor`` of the rates, ``bar``, ``stalled``, ``falls``.

        ``stalled`` counts failures since the last success or fall, ``falls`` the falls so far.
        """
        start = {"factor": 1.0, "bar": BAR, "stalled": 0.0, "falls": 0.0}
        return {k: torch.tensor(v, dtype=torch.float64, device=device) for k, v in start.items()}

    def after(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """Return the new state after a validation, and what is to be done.

        Args:
            state: Of one seed.
            loss: The bound on the validation examples, positive nats.
            validation: Number of the validation, from 0.
        """
        factor, bar, stalled, falls = (
            float(state[k]) for k in ("factor", "bar", "stalled", "falls")
        )

        verdict = Verdict()
        if loss > bar:
            # The count runs before ``first`` too, and is not limited by it.
            stalled += 1
            if stalled >= self.patience and validation >= self.first:
                factor = factor * self.factor
                stalled = 0.0
                falls = falls + 1
                bar = bar if self.lowest else loss
                stop = (
                    f"the rates have fallen as often as they may ({self.decays})"
                    if falls >= self.decays
                    else ""
                )
                verdict = Verdict(self.reload, stop)
        else:
            bar = loss
            stalled = 0.0

        values = {"factor": factor, "bar": bar, "stalled": stalled, "falls": falls}
        return {**state, **{k: torch.as_tensor(v).to(state[k]) for k, v in values.items()}}, verdict
