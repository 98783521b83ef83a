"""Maximum likelihood, for models that know their likelihood (language models)."""

from __future__ import annotations

from typing import Any, ClassVar

from vaebench.models.base import ExactModel, Model
from vaebench.nn.batch_norm import Tape
from vaebench.objectives.base import Objective


class Likelihood(Objective):
    """Minimises -log p(x), mean over the cases of a batch, with dropout where the model has it."""

    worth_compiling = False
    block = 1
    validation: ClassVar[dict[str, Any]] = {"exact": True}

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    @staticmethod
    def trains(model: Model) -> bool:
        """Models without latents."""
        return isinstance(model, ExactModel)

    def draws(self, batch: int, width: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of dropout."""
        return self.model.dropout_noise(batch, width)

    def forward(self, state, batch, noise):
        """One pure step; see the package docstring."""
        x = batch.x
        tape: Tape = {}
        log_p = self.model.log_evidence(x, {k: v[: len(x)] for k, v in noise.items()}, tape).mean()
        new = {**state, **self.averages(state, tape)}
        return -log_p, new, {"bound": log_p.detach()}
