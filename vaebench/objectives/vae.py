"""The evidence lower bound with an analytic KL (Kingma & Welling 2014), weighted, for Gaussian posteriors.

With a fixed weight other than 1 it is the beta-VAE (Higgins et al. 2017), with a rising one KL annealing. Validation
and evaluation always take weight 1.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from vaebench.models.base import GaussianPosterior, Model
from vaebench.nn import batch_norm
from vaebench.nn.batch_norm import Tape
from vaebench.objectives.base import Batch, Objective
from vaebench.objectives.kl_weight import KLWeight
from vaebench.settings import validate

Shapes = dict[str, tuple[str, tuple[int, ...]]]


class VAE(Objective):
    """Minimises, per case, -E_q[log p(x | z)] + weight * KL(q || p), with ``samples`` reparameterised samples.

    The loss is the mean over the cases of a batch, however small the batch. Dropout, where the model has it, is on.
    """

    worth_compiling = False
    block = 1
    validation: ClassVar[dict[str, Any]] = {"watch": True}

    def __init__(
        self,
        model: Model,
        samples: int = 1,
        kl_weight: float = 1.0,
        kl_start: float | None = None,
        kl_warmup: float = 10.0,
        kl_unit: str = "epochs",
        kl_slope: str = "rest",
    ) -> None:
        super().__init__()
        self.model = model
        self.samples = validate.whole("objective.samples", samples)
        self.weight = KLWeight(kl_weight, kl_start, kl_warmup, kl_unit, kl_slope)

    @staticmethod
    def trains(model: Model) -> bool:
        """Models with a Gaussian posterior that they give as mean and log-variance."""
        return isinstance(model, GaussianPosterior)

    def state(self, seed: int = 0, cases: int = 1) -> dict[str, Tensor]:
        """The running averages of batch normalisation, where the model has some."""
        return batch_norm.initial(self.model, "model.")

    def draws(self, batch: int, width: int) -> Shapes:
        """Noise of K posterior samples per case, and of dropout where the model has it."""
        return {**self.model.posterior_noise(self.samples, batch), **self.model.dropout_noise(batch, width)}

    def forward(self, state: dict[str, Tensor], batch: Batch, noise: dict[str, Tensor]):
        """One pure step; see the package docstring. ``loss`` in the metrics is what is minimised."""
        x, weight = batch.x, self.weight.at(batch)
        tape: Tape = {}
        q = self.model.posterior(x, tape)
        z = q.sample(self.samples, {"q1": noise["q1"][:, : len(x)]})
        drop = {k: v[: len(x)] for k, v in noise.items() if k.startswith("drop")}
        log_p = self.model.log_likelihood(x, z, drop or None, tape).mean(0)
        kl = q.kl()
        loss = (weight * kl - log_p).mean()
        metrics = {"bound": (log_p - kl).mean(), "kl": kl.mean(), "loss": loss}
        new = {**state, **batch_norm.running(self.model, "model.", state, tape)}
        return loss, new, {k: v.detach() for k, v in metrics.items()}
