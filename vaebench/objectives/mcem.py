"""Monte Carlo EM with Hamiltonian Monte Carlo.

As Kingma & Welling (2014, appendix E) ran it beside AEVB.
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
from vaebench.settings import validate

Shapes = dict[str, tuple[str, tuple[int, ...]]]


class MCEM(Objective):
    """E-step: the chain of every case in the batch takes a transition under p(z | x).

    M-step: the generative model follows grad log p(x, z) at its state. It never sees the inference
    network, which follows grad log q(z | x) at the same states: so there is a proposal and a bound
    to measure by, and nothing else.

    State: ``z``, the chain of every training case, from the prior at first; ``step`` of the
    integrator, which is tuned.

    Args:
        model: With a Gaussian posterior.
        leaps: Leapfrog steps of a transition.
        acceptance: What the step is tuned for.
        step: Of the integrator at first.
        transitions: Of a chain before each update.
        weight_decay: lambda in lambda / 2 |.|^2 over ``model.decayed()``, added to
            the mean over the cases.
    """

    tiny = ({"leaps": 3}, {"leaps": 2, "transitions": 2, "weight_decay": 0.2})

    model: GaussianPosterior
    per_case = ("z",)

    SPEED: ClassVar[float] = 0.02
    """How fast the logarithm of the step follows the acceptance of a batch."""

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
        """Models of vectors with a Gaussian posterior.

        In them no example depends on the rest of its batch.
        """
        gaussian = isinstance(model, GaussianPosterior) and not model.facts.reads_documents
        return gaussian and not batch_norm.layers(model)

    def state(self, seed: int = 0, cases: int = 1) -> State:
        """The chains at samples of the prior, and the first step."""
        generator = torch.Generator().manual_seed(seeds.derive(seed, "chains"))
        z = torch.randn(cases, self.model.sizes[1], generator=generator)
        return {
            "z": z.to(self.model.mean),
            "step": torch.tensor(self.first_step).to(self.model.mean),
        }

    def draws(self, batch: int, width: int) -> Shapes:
        """Momenta and uniforms of the transitions.

        And a posterior sample of each case for the bound.
        """
        lead = (self.transitions, batch)
        moves = {"momentum": ("normal", (*lead, self.model.sizes[1])), "accept": ("uniform", lead)}
        return {**moves, **self.model.posterior_noise(1, batch)}

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """One pure step; see the package docstring."""
        x = batch.x
        z = state["z"]
        step = state["step"]
        accepted = []
        for momentum, uniform in zip(noise["momentum"], noise["accept"], strict=True):
            z, probability = hmc.transition(
                self._density(x), z, step, self.leaps, momentum, uniform
            )
            accepted.append(probability.mean())
            step = hmc.tuned(step, accepted[-1], self.acceptance, self.SPEED)

        found = [z.detach().unsqueeze(0)]
        posterior = self.model.posterior(x)
        gain = (self.model.log_joint(x, found) + posterior.log_prob(found)).mean()
        loss = -gain + penalty(self.model, self.weight_decay) if self.weight_decay else -gain
        told = {
            "bound": self._bound(x, posterior, noise),
            "acceptance": torch.stack(accepted).mean(),
        }
        return (
            loss,
            {"z": z.detach(), "step": step.detach()},
            {k: v.detach() for k, v in told.items()},
        )

    def _density(self, x: Tensor) -> hmc.LogDensity:
        """log p(x, z) of codes (batch, n)."""
        return lambda z: self.model.log_joint(x, [z.unsqueeze(0)])[0]

    @torch.no_grad()
    def _bound(self, x: Tensor, posterior: Posterior, noise: State) -> Tensor:
        """The mean one-sample bound at the inference network, ()."""
        z = [v.detach() for v in posterior.sample(1, noise)]
        return (self.model.log_joint(x, z) - posterior.log_prob(z)).mean()
