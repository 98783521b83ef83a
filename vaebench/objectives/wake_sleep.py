"""Wake-sleep (Hinton, Dayan, Frey & Neal 1995; as run by Mnih & Gregor 2014, section 3.2 and equation 13)."""

from __future__ import annotations

from vaebench.models.base import Ancestral, Model, SampledPosterior
from vaebench.objectives import reduction
from vaebench.objectives.base import Objective


class WakeSleep(Objective):
    """Wake: the generative model follows grad log P(x, h) at h ~ Q(h | x), x from the data. Sleep: the inference

    network follows grad log Q(h | x) at dreams (x, h) ~ P, as many as there are data in the batch. The dreams' visibles
    are centred like data. There is no state.
    """

    kernel = "all"

    def __init__(self, model: Model, reduce: str = "sum") -> None:
        super().__init__()
        self.model = model
        self.reduce = reduction.check(reduce)

    @staticmethod
    def trains(model: Model) -> bool:
        """Models that dream, and whose samples carry no gradient, so that the two halves stay apart."""
        return isinstance(model, Ancestral) and isinstance(model, SampledPosterior) and not model.reparameterised

    def groups(self) -> dict[str, str]:
        """Parameter groups by prefix: generative model (wake), inference network (sleep)."""
        return {"model": "model.p.", "posterior": "model.q."}

    def noise(self, batch: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Noise of one posterior sample per case and of as many dreams."""
        return {**self.model.posterior_noise(1, batch), **self.model.joint_noise(batch)}

    def forward(self, state, batch, noise):
        """One pure step; see the package docstring."""
        x = batch.x
        z = self.model.sample_posterior(x, 1, noise)
        wake = self.model.log_joint(x, z)
        dream, h = self.model.sample_joint(noise)
        sleep = self.model.log_posterior(h, dream)
        bound = (wake - self.model.log_posterior(z, x)).detach().mean()
        return -reduction.over_cases(wake + sleep, self.reduce), state, {"bound": bound}
