"""What all learning rules share: the parts of the protocol that most of them leave as they are."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn


class Objective(nn.Module):
    """A learning rule around a model; see the package docstring for the protocol.

    ``budget_free``: a step is the same however many updates there will be. ``per_case``: names of the state that has a
    row for every training case, of which a step sees and returns only its batch's. ``block``: updates whose noise is
    drawn at once, None for the usual number; rules that draw much take few. ``worth_compiling``: False where a step is
    mostly a long loop, which a compiler unrolls, slowly and for nothing. ``validation``: how the bound that selects
    the checkpoint is taken, see vaebench.metrics.validation.
    """

    budget_free = True
    per_case: tuple[str, ...] = ()
    block: int | None = None
    worth_compiling = True
    validation: ClassVar[dict[str, Any]] = {}

    model: nn.Module

    def groups(self) -> dict[str, str]:
        """Parameter groups by prefix: generative model, inference network."""
        return {"model": "model.p.", "posterior": "model.q."}

    def state(self, seed: int = 0, cases: int = 1) -> dict[str, Tensor]:
        """What persists between updates, at the start of the run with this seed on so many training cases: nothing."""
        return {}
