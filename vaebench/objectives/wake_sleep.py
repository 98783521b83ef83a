"""Wake-sleep (Hinton, Dayan, Frey & Neal 1995), as run by Mnih & Gregor 2014.

See their section 3.2 and equation 13.
"""

from __future__ import annotations

import torch

from vaebench.models.base import Ancestral, Model, SampledPosterior
from vaebench.nn import batch_norm
from vaebench.objectives import reduction
from vaebench.objectives.base import Batch, Objective, State, Step
from vaebench.objectives.decay import check_decay, penalty
from vaebench.rng.noise import Shapes


class Dreamer(SampledPosterior, Ancestral):
    """A model of both kinds; only the type checker needs it."""


class WakeSleep(Objective):
    """Wake: the generative model follows grad log P(x, h) at h ~ Q(h | x), x from the data.

    Sleep: the inference network follows grad log Q(h | x) at dreams (x, h) ~ P, one for every
    example of the batch. The visible units of dreams are centred like data. If examples are
    documents as counts, a dream has as many tokens as the document in its place. No gradient passes
    through a sample, so the two halves do not mix. There is no state.

    Args:
        model: A model that draws dreams, and whose posterior is sampled directly.
        reduce: ``sum`` or ``mean`` over the examples of the batch.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``, added to the loss,
            whatever ``reduce`` is.
    """

    tiny = ({}, {"weight_decay": 0.2})

    model: Dreamer
    kernel = "all"

    def __init__(self, model: Dreamer, reduce: str = "sum", weight_decay: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.reduce = reduction.check(reduce)
        self.weight_decay = check_decay(weight_decay)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` draws dreams, and its posterior gives each of them a probability."""
        sampled = (
            isinstance(model, Ancestral)
            and isinstance(model, SampledPosterior)
            and not model.deterministic
        )
        return sampled and not batch_norm.layers(model)

    def groups(self) -> dict[str, str]:
        """Return the prefix of every group: generative model (wake), inference network (sleep)."""
        return {"model": "model.p.", "posterior": "model.q."}

    def noise(self, batch: int) -> Shapes:
        """Return the noise of one posterior sample and one dream per example."""
        return {**self.model.posterior_noise(1, batch), **self.model.dream_noise(batch)}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        # The samples of both halves, without gradient: z ~ Q(h | x) and (dream, h) ~ P. From the
        # data ``dream`` takes only the lengths of documents.
        x = batch.x
        with torch.no_grad():
            posterior = self.model.posterior(x)
            z = posterior.sample(1, noise)
            log_q = posterior.log_prob(z)
            dream, h = self.model.dream(x, noise)

        # ``wake`` depends on the generative model only, ``sleep`` on the inference network only, so
        # their sum can be one loss. Both are (1, batch).
        wake = self.model.log_joint(x, z)
        sleep = self.model.log_posterior(h, dream)
        bound = (wake.detach() - log_q).mean()

        loss = -reduction.over_cases(wake + sleep, self.reduce)
        if self.weight_decay:
            loss = loss + penalty(self.model, self.weight_decay)
        return loss, state, {"bound": bound}
