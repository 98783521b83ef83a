"""Rates that fall when validation stalls, as He et al. (2019) did it.

Reload the best, halve, stop after five. After every validation its loss is compared with a *bar*.
At or below it the bar comes down to the loss and the count of failures to 0. Above it the count
goes up; once it has reached ``patience``, and ``first`` validations are behind, the rates are
multiplied by ``factor``, the bar rises to this loss, the count returns to 0 and the best parameters
are loaded again. With the ``decays``-th fall training ends. The count runs before ``first`` as
well, so that a fall can come at the first moment that allows one. The bar is not the best loss:
after a fall it is the loss that caused it.

That is the rule for text. For images the bar is the lowest loss so far, which no
fall raises (``lowest``).
"""

from __future__ import annotations

import torch

from vaebench.optim.base import Tensors, Verdict
from vaebench.settings.validate import between, flag, whole

BAR = 1e30
"""Nats; where the bar starts: above every loss, however long the documents. (The
authors' 1e4 is below some.)"""


class Plateau:
    """The rule and its settings; where a seed stands is in the optimiser's state."""

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
        """``factor`` of the rates, ``bar``, ``stalled`` and ``falls`` so far.

        ``stalled``: failures since the bar was passed.
        """
        start = {"factor": 1.0, "bar": BAR, "stalled": 0.0, "falls": 0.0}
        return {k: torch.tensor(v, dtype=torch.float64, device=device) for k, v in start.items()}

    def after(self, state: Tensors, loss: float, validation: int) -> tuple[Tensors, Verdict]:
        """New state after the ``validation``-th validation, and what is to be done.

        Counted from 0; ``loss`` is what was validated.
        """
        factor, bar, stalled, falls = (
            float(state[k]) for k in ("factor", "bar", "stalled", "falls")
        )
        verdict = Verdict()
        if loss > bar:
            stalled += 1
            if stalled >= self.patience and validation >= self.first:
                factor = factor * self.factor
                stalled = 0.0
                falls = falls + 1
                bar = bar if self.lowest else loss
                over = (
                    f"the rates have fallen as often as they may ({self.decays})"
                    if falls >= self.decays
                    else ""
                )
                verdict = Verdict(self.reload, over)
        else:
            bar = loss
            stalled = 0.0
        new = {"factor": factor, "bar": bar, "stalled": stalled, "falls": falls}
        return {**state, **{k: torch.as_tensor(v).to(state[k]) for k, v in new.items()}}, verdict
