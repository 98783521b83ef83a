"""Monte Carlo EM with Hamiltonian Monte Carlo.

Kingma & Welling (2014, appendix E) compare AEVB with it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vaebench.dists import hmc
from vaebench.models.base import GaussianPosterior, Model
from vaebench.models.posterior import Posterior
from vaebench.nn import batch_norm
from vaebench.objectives.base import Batch, Objective, State, Step
from vaebench.objectives.decay import check_decay, penalty
from vaebench.rng import seeds
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class MCEM(Objective):
    """Monte Carlo EM, where every training example has a chain of its own.

    E-step: the chain of every example in the batch makes transitions under p(z | x). M-step: the
    generative model follows grad log p(x, z) at the chain's state. The inference network follows
    grad log q(z | x) at the same states. It does not affect the generative model; it only gives
    measures a proposal and a bound.

    The state has ``z``, the chain of every training example, drawn from the prior at first, and the
    ``step`` of the integrator, which is tuned.

    Args:
        model: With a Gaussian posterior.
        leaps: Leapfrog steps of a transition.
        acceptance: Rate of acceptance for which the step is tuned.
        step: The integrator's first step.
        transitions: Transitions of a chain before each update.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``, added to
            the mean over the examples.
    """

    tiny = ({"leaps": 3}, {"leaps": 2, "transitions": 2, "weight_decay": 0.2})

    model: GaussianPosterior
    per_case = ("z",)

    SPEED: ClassVar[float] = 0.02
    """Speed at which the logarithm of the step follows the acceptance of a batch."""

    def __init__(
        self,
        model: GaussianPosterior,
        leaps: int = 10,
        acceptance: float = 0.9,
        step: float = 0.1,
        transitions: int = 1,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.leaps = validate.whole("objective.leaps", leaps)
        validate.between("objective.acceptance", acceptance)
        self.acceptance = float(acceptance)
        self.first_step = validate.positive("objective.step", step)
        self.transitions = validate.whole("objective.transitions", transitions)
        self.weight_decay = check_decay(weight_decay)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` has a Gaussian posterior of vectors, without batch normalisation.

        With batch normalisation an example would depend on the rest of its batch. Documents are no
        vectors.
        """
        gaussian = isinstance(model, GaussianPosterior) and not model.facts.reads_documents
        return gaussian and not batch_norm.layers(model)

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """Return chains at samples of the prior, and the first step."""
        generator = torch.Generator().manual_seed(seeds.derive(seed, "chains"))
        z = torch.randn(cases, self.model.sizes[1], generator=generator)
        return {
            "z": z.to(self.model.mean),
            "step": torch.tensor(self.first_step).to(self.model.mean),
        }

    def draws(self, batch: int, width: int) -> Shapes:
        """Return the noise of the transitions, and of one sample per example for the bound."""
        lead = (self.transitions, batch)
        moves = {"momentum": ("normal", (*lead, self.model.sizes[1])), "accept": ("uniform", lead)}
        return {**moves, **self.model.posterior_noise(1, batch)}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        x = batch.x
        z = state["z"]
        step = state["step"]

        # E-step. All chains share one step size, which follows their mean acceptance.
        accepted = []
        for momentum, uniform in zip(noise["momentum"], noise["accept"], strict=True):
            z, probability = hmc.transition(
                self._density(x), z, step, self.leaps, momentum, uniform
            )
            accepted.append(probability.mean())
            step = hmc.tuned(step, accepted[-1], self.acceptance, self.SPEED)

        # M-step, and the fit of the inference network, at the same codes, (1, batch, n). The two
        # terms have no parameters in common, so one sum gives both gradients.
        codes = [z.detach().unsqueeze(0)]
        posterior = self.model.posterior(x)
        gain = (self.model.log_joint(x, codes) + posterior.log_prob(codes)).mean()
        loss = -gain + penalty(self.model, self.weight_decay) if self.weight_decay else -gain

        metrics = {
            "bound": self._bound(x, posterior, noise),
            "acceptance": torch.stack(accepted).mean(),
        }
        return (
            loss,
            {"z": z.detach(), "step": step.detach()},
            {k: v.detach() for k, v in metrics.items()},
        )

    def _density(self, x: Tensor) -> hmc.LogDensity:
        """Return log p(x, z) as a function of codes z (batch, n)."""
        return lambda z: self.model.log_joint(x, [z.unsqueeze(0)])[0]

    @torch.no_grad()
    def _bound(self, x: Tensor, posterior: Posterior, noise: State) -> Tensor:
        """Return the mean one-sample bound with the inference network, (), nats."""
        z = [v.detach() for v in posterior.sample(1, noise)]
        return (self.model.log_joint(x, z) - posterior.log_prob(z)).mean()
