"""The evidence lower bound with an analytic KL (Kingma & Welling 2014), weighted, for Gaussian posteriors.

With a fixed weight other than 1 it is the beta-VAE (Higgins et al. 2017), with a rising one KL annealing. Validation
and evaluation always take weight 1.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from vaebench.models.base import GaussianPosterior, Model
from vaebench.models.elbo import Draws, Elbo, elbo
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

    def draws(self, batch: int, width: int) -> Shapes:
        """Noise of K posterior samples per case, and of dropout where the model has it."""
        return {**self.model.posterior_noise(self.samples, batch), **self.model.dropout_noise(batch, width)}

    def forward(self, state: dict[str, Tensor], batch: Batch, noise: dict[str, Tensor]):
        """One pure step; see the package docstring. ``loss`` in the metrics is what is minimised."""
        x = batch.x
        tape: Tape = {}
        q = self.model.posterior(x, tape)
        found = elbo(self.model, x, q, drawn(noise, len(x)), self.weight.at(batch), tape)
        return found.loss, {**state, **self.averages(state, tape)}, self.metrics(found)

    @staticmethod
    def metrics(found: Elbo) -> dict[str, Tensor]:
        """What is told of a step: the bound of log p(x) and the KL, whatever its weight, and what is minimised."""
        told = {"bound": (found.log_p - found.kl).mean(), "kl": found.kl.mean(), "loss": found.loss}
        return {name: v.detach() for name, v in told.items()}


def drawn(noise: dict[str, Tensor], batch: int, prefix: str = "") -> Draws:
    """One evaluation's part of the noise of a step, under names that begin with ``prefix``, for so many examples."""
    drop = {k.removeprefix(prefix): v[:batch] for k, v in noise.items() if k.startswith(f"{prefix}drop")}
    return Draws(noise[f"{prefix}q1"][:, :batch], drop)
