"""Maximum likelihood, for models that know their likelihood, such as language models."""

from __future__ import annotations

from types import MappingProxyType

from vaebench.models.base import Ensemble, ExactModel, Model, OrderedModel
from vaebench.nn.batch_norm import Tape
from vaebench.objectives import reduction
from vaebench.objectives.base import Batch, Objective, State, Step, told
from vaebench.rng.noise import Shapes


class Likelihood(Objective):
    """Minimises -log p(x), with dropout if the model has it.

    If the model is an ensemble with a fixed number of members, every update takes the next one.

    Args:
        model: A model that knows log p(x).
        reduce: ``sum`` or ``mean`` over the examples of the batch.
    """

    tiny = ({}, {"reduce": "sum"})

    model: ExactModel

    worth_compiling = False
    block = 1
    validation = MappingProxyType({"exact": True})

    def __init__(self, model: ExactModel, reduce: str = "mean") -> None:
        super().__init__()
        self.model = model
        self.reduce = reduction.check(reduce)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` knows log p(x), and does not need an order of the example's parts."""
        return isinstance(model, ExactModel) and not isinstance(model, OrderedModel)

    def draws(self, batch: int, width: int) -> Shapes:
        """Return the noise of dropout."""
        return self.model.dropout_noise(batch, width)

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        tape: Tape = {}
        if isinstance(self.model, Ensemble) and self.model.members is not None:
            log_p = self.model.log_member(x, told(batch.update) % self.model.members)
        else:
            # The noise is drawn for a full batch, and this one may be smaller.
            log_p = self.model.log_evidence(x, {k: v[: len(x)] for k, v in noise.items()}, tape)

        new_state = {**state, **self.averages(state, tape)}
        return (
            -reduction.over_cases(log_p, self.reduce),
            new_state,
            {"bound": log_p.detach().mean()},
        )
