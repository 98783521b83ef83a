"""Maximum likelihood of examples that are read in a new random order at every visit.

Reference: Larochelle & Lauly 2012.
"""

from __future__ import annotations

from types import MappingProxyType

from vaebench.errors import UserError
from vaebench.models.base import Model, OrderedModel
from vaebench.objectives.base import Batch, Objective, State, Step
from vaebench.rng.noise import Shapes


class OrderedLikelihood(Objective):
    """Minimises -log p(x | order), averaged over the examples of a batch. There is no state.

    Args:
        model: A model that knows log p(x) for a given order.
        per: ``word``: the mean over the words of each example, as DocNADE's authors have it. Long
            documents then count no more than short ones, and a rate means the same for both.
            ``example``: the sum over its words.

    Raises:
        UserError: For another ``per``.
    """

    tiny = ({}, {"per": "example"})

    model: OrderedModel

    worth_compiling = False
    plain_only = True
    validation = MappingProxyType({"exact": True})

    def __init__(self, model: OrderedModel, per: str = "word") -> None:
        super().__init__()
        self.model = model
        if per not in ("word", "example"):
            raise UserError(f"objective.per={per!r}: allowed: word, example")
        self.per = per

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` reads an example in an order."""
        return isinstance(model, OrderedModel)

    def noise(self, batch: int) -> Shapes:
        """Return the noise of the orders."""
        return self.model.order_noise(batch)

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        log_p = self.model.log_evidence(x, {k: v[: len(x)] for k, v in noise.items()})
        # (batch,). The clamp avoids 0 / 0 for a document without words.
        per_word = log_p / self.model.words(x).clamp(min=1)
        loss = -(per_word if self.per == "word" else log_p).mean()
        metrics = {"bound": log_p.mean(), "nll_per_word": -per_word.mean()}
        return loss, dict(state), {k: v.detach() for k, v in metrics.items()}
