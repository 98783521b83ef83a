"""The free energy of a deep latent Gaussian model.

Reference: Rezende, Mohamed & Wierstra 2014, equation 20.
"""

from __future__ import annotations

from vaebench.models.base import Model
from vaebench.models.dlgm import DLGM
from vaebench.models.posterior import total
from vaebench.objectives.base import Batch, Objective, State, Step
from vaebench.objectives.decay import check_decay, penalty
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class FreeEnergy(Objective):
    """Minimises, per example, -E_q log p(x | xi) + sum_l KL(q(xi_l | x) || N(0, I)).

    The KL is in closed form. Gradients pass through the samples; for Gaussians this estimates the
    same as the paper's equations 21 and 22. If the model has noise on the recognition network's
    input, it is on; the x in p(x | xi) stays clean.

    Args:
        model: A deep latent Gaussian model.
        samples: Posterior samples per example.
        weight_decay: lambda in lambda / 2 |.|^2 over the generative model's parameters. For N
            training examples and a prior N(0, kappa I) it is 1 / (kappa N).
    """

    tiny = ({}, {"samples": 2, "weight_decay": 0.2})

    model: DLGM

    def __init__(self, model: DLGM, samples: int = 1, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.samples = validate.whole("objective.samples", samples)
        self.weight_decay = check_decay(weight_decay)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` is a deep latent Gaussian model."""
        return isinstance(model, DLGM)

    def draws(self, batch: int, width: int) -> Shapes:
        """Return the noise of the posterior samples, and on the recognition network's input."""
        return {
            **self.model.posterior_noise(self.samples, batch),
            **self.model.dropout_noise(batch, width),
        }

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        # The noise on the input reaches the posterior only; the likelihood below takes clean x.
        posterior = self.model.posterior(x, noise)
        z = posterior.sample(self.samples, noise)

        # (batch,) each: the expected log-likelihood by samples, the KL of all layers in closed
        # form, sum_l (|mu_l|^2 + Tr C_l - log |C_l| - n_l) / 2.
        log_p = self.model.log_likelihood(x, z).mean(0)
        kl = total(posterior.kl_terms())
        bound = (log_p - kl).mean()
        loss = -bound + penalty(self.model, self.weight_decay) if self.weight_decay else -bound
        return loss, state, {"bound": bound.detach(), "kl": kl.detach().mean()}
