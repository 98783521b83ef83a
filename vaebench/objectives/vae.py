"""The evidence lower bound (Kingma & Welling 2014) with a weighted KL, exact or by samples.

With a fixed weight other than 1 it is the beta-VAE (Higgins et al. 2017). With a rising weight it
is KL annealing. Validation and evaluation always take weight 1.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from vaebench.models.base import GaussianPosterior, Model
from vaebench.models.elbo import Draws, Elbo, elbo
from vaebench.nn.batch_norm import Tape
from vaebench.objectives.base import Batch, Objective, State, Step, Tiny
from vaebench.objectives.decay import check_decay, penalty
from vaebench.objectives.kl_weight import KLWeight
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

KLS = ("exact", "sampled")
"""How the KL is found: in closed form (SGVB's estimator B), or at the samples (its estimator A)."""


class VAE(Objective):
    """Minimises, per example, -E_q[log p(x | z)] + weight * KL(q || p).

    Samples are reparameterised. The loss is the mean over the examples of a batch, however small
    the batch is. If the model has dropout, it is on.

    Args:
        model: With a Gaussian posterior.
        samples: L, the posterior samples per example.
        kl_weight: See ``KLWeight``; likewise ``kl_start``, ``kl_warmup``, ``kl_unit`` and
            ``kl_slope``.
        kl: One of ``KLS``.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``, added to the loss. With N
            training examples, 1 / N gives the MAP estimate for a prior N(0, I) of the parameters.
        watch: Whether validations also measure how the latents are used (KL, mutual information,
            active units). The time of that grows with the square of the validation examples.
    """

    tiny: ClassVar[Tiny] = (
        {},
        {"kl": "sampled", "weight_decay": 0.2},
        {"samples": 2, "kl_start": 0.1, "kl_warmup": 20, "kl_unit": "updates"},
    )

    model: GaussianPosterior

    block = 1

    def __init__(
        self,
        model: GaussianPosterior,
        samples: int = 1,
        kl_weight: float = 1.0,
        kl_start: float | None = None,
        kl_warmup: float = 10.0,
        kl_unit: str = "epochs",
        kl_slope: str = "rest",
        kl: str = "exact",
        weight_decay: float = 0.0,
        watch: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.samples = validate.whole("objective.samples", samples)
        self.weight = KLWeight(kl_weight, kl_start, kl_warmup, kl_unit, kl_slope)
        self.sampled_kl = validate.one_of("objective.kl", kl, KLS) == "sampled"
        self.weight_decay = check_decay(weight_decay)
        self.validation: dict[str, Any] = {"watch": validate.flag("objective.watch", watch)}

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` gives a Gaussian posterior as mean and log-variance."""
        return isinstance(model, GaussianPosterior)

    def draws(self, batch: int, width: int) -> Shapes:
        """Return the noise of the posterior samples, and of dropout if the model has it."""
        return {
            **self.model.posterior_noise(self.samples, batch),
            **self.model.dropout_noise(batch, width),
        }

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring.

        ``loss`` in the metrics is the loss without weight decay.
        """
        x = batch.x
        tape: Tape = {}
        q = self.model.posterior(x, tape)
        bound = elbo(
            self.model, x, q, drawn(noise, len(x)), self.weight.at(batch), tape, self.sampled_kl
        )

        loss = bound.loss + self.penalty()
        return loss, {**state, **self.averages(state, tape)}, self.metrics(bound)

    def penalty(self) -> Tensor | float:
        """Return the weight decay as a part of the loss."""
        return penalty(self.model, self.weight_decay) if self.weight_decay else 0.0

    @staticmethod
    def metrics(found: Elbo) -> dict[str, Tensor]:
        """Return the metrics of a step.

        They are the bound of log p(x), with weight 1 of the KL, the KL, and the loss without weight
        decay.
        """
        metrics = {
            "bound": (found.log_p - found.kl).mean(),
            "kl": found.kl.mean(),
            "loss": found.loss,
        }
        return {name: v.detach() for name, v in metrics.items()}


def drawn(noise: dict[str, Tensor], batch: int, prefix: str = "") -> Draws:
    """Select the noise of one evaluation of the bound from that of a step.

    Args:
        noise: Noise of the step by name.
        batch: Number of examples in the batch, which may be smaller than planned.
        prefix: Prefix of the evaluation's names.
    """
    # Noise of dropout has the examples in its first axis, that of the samples, (k, batch, n), in
    # its second.
    drop = {
        k.removeprefix(prefix): v[:batch] for k, v in noise.items() if k.startswith(f"{prefix}drop")
    }
    return Draws(noise[f"{prefix}q1"][:, :batch], drop)
