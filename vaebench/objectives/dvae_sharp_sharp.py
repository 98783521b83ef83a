"""DVAE##: a Boltzmann machine as the posterior, trained through relaxed Gibbs sweeps.

Reference: Vahdat et al. 2020.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.models.base import BoltzmannPosterior, BoltzmannPrior, Model
from vaebench.models.rbm_posterior import RBMPosteriorVAE
from vaebench.nn.batch_norm import Tape
from vaebench.objectives import chains, weighted
from vaebench.objectives.base import State
from vaebench.objectives.rbm_prior import FEW_CHAINS, RBMPriorObjective
from vaebench.rng import noise as draws
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class DVAESharpSharp(RBMPriorObjective):
    """Trains with chains of the posterior, ``samples`` of them for every training example.

    The chains are kept from epoch to epoch. When its example is in the batch, a chain makes
    ``discrete_sweeps`` sweeps of bits, and its state is stored. Then it makes ``relaxed_sweeps``
    whose values between 0 and 1 take the place of bits in decoder, prior and posterior; see
    ``chains``. Chains belong to examples, so any order of the examples is possible;
    train.order=shuffle visits all of them equally often.

    With one sample the objective is log p(x | zeta) - weight [E_prior - E_x], where the gradient of
    the posterior's parameters inside E_x is stopped. This is the whole gradient, because E_q[dlog
    q/dphi] = 0, so log Z_x is never needed. With ``rao_blackwell`` side 1 enters the energies,
    which are linear in it, by its mean given side 2; the decoder receives the sample in any case.

    With several samples it is the annealed importance-weighted bound with the doubly
    reparameterised gradient, see ``weighted``; log Z_x cancels in the weights.

    The 'bound' in the metrics lacks both log Z: it is off by log Z_x - log Z of the prior.

    Args:
        model: See ``trains``.
        discrete_sweeps: Sweeps of bits of every chain at each update.
        relaxed_sweeps: Relaxed sweeps after these.
        relaxation: Relaxation of the bits, one of ``chains.RELAXATIONS``.
        beta: Sharpness of the relaxation; None: its default.
        rao_blackwell: See above.
        valid_points: Examples that a validation takes; None: all.
        posterior_temperatures: Annealing steps of each posterior in a validation.
        **more: The settings of RBMPriorObjective.
    """

    tiny = (
        {**FEW_CHAINS, "discrete_sweeps": 2},
        {**FEW_CHAINS, "discrete_sweeps": 1, "samples": 2},
        {**FEW_CHAINS, "discrete_sweeps": 1, "prior_sampler": "population"},
    )

    model: RBMPosteriorVAE
    per_case = ("posterior",)

    def __init__(
        self,
        model: RBMPosteriorVAE,
        discrete_sweeps: int = 10,
        relaxed_sweeps: int = 1,
        relaxation: str = "piecewise_linear",
        beta: float | None = None,
        rao_blackwell: bool = True,
        valid_points: int | None = 1000,
        posterior_temperatures: int = 100,
        **more: Any,
    ) -> None:
        super().__init__(model, **more)
        if valid_points is not None:
            validate.whole("objective.valid_points", valid_points)
        validate.whole("objective.posterior_temperatures", posterior_temperatures)
        self.validation = {
            **self.validation,
            "points": valid_points,
            "posterior_temperatures": posterior_temperatures,
        }

        chains.check_sweeps(discrete_sweeps, relaxed_sweeps)
        self.discrete_sweeps = discrete_sweeps
        self.relaxed_sweeps = relaxed_sweeps
        self.relax = chains.relaxation(relaxation, beta)
        self.rao_blackwell = validate.flag("objective.rao_blackwell", rao_blackwell)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether the prior and the posterior of ``model`` are Boltzmann machines."""
        return isinstance(model, BoltzmannPrior) and isinstance(model, BoltzmannPosterior)

    def state(self, seed: int = 0, cases: int = 1) -> dict[str, Tensor]:
        """Return the state of the base, and side 1 of the posterior's chains.

        The chains are random bits at first, (cases, samples, n1) uint8.
        """
        # Every sample has random bits of its own number k, so more samples do not change the first.
        n1 = self.model.prior().b1.shape[-1]
        by_sample = [draws.random_bits((cases, n1), seed, k) for k in range(self.samples)]
        return {**super().state(seed, cases), "posterior": torch.stack(by_sample, 1)}

    def posterior_noise(self, batch: int) -> Shapes:
        """Return uniform noise (sweeps, samples, batch, n) for each side.

        The discrete sweeps come first, then the relaxed ones.
        """
        rbm = self.model.prior()
        lead = (self.discrete_sweeps + self.relaxed_sweeps, self.samples, batch)
        sides = {"posterior2": rbm.b2.shape[-1], "posterior1": rbm.b1.shape[-1]}
        return {k: ("uniform", (*lead, n)) for k, n in sides.items()}

    def gain(
        self, x: Tensor, weight: Tensor, log_z: Tensor, state: State, noise: State, tape: Tape
    ) -> tuple[Tensor, Tensor, State]:
        # One RBM for each example of the batch. Chains are (batch, samples, n1) in the state,
        # (samples, batch, n1) here.
        rbm = self.model.posterior(x, tape)
        start = state["posterior"].movedim(1, 0)
        u2 = noise["posterior2"]
        u1 = noise["posterior1"]
        bits, _, end = chains.advance(rbm, start, self.relax, self.discrete_sweeps, u2, u1)
        kept = bits.movedim(0, 1).to(start.dtype)

        # Inside -E_x the posterior's parameters are stopped. Their gradient comes only through the
        # relaxed samples.
        estimate = self._one if self.samples == 1 else self._several
        gain, bound = estimate(x, weight, rbm.detach(), end, tape)
        return gain - weight * log_z, bound, {"posterior": kept}

    def _one(
        self, x: Tensor, weight: Tensor, stopped: RBM, end: chains.Relaxed, tape: Tape
    ) -> tuple[Tensor, Tensor]:
        """Return what is maximised and the bound, (batch,) each, with one sample.

        ``stopped`` is the posterior's RBM without gradient, ``end`` where its chains end. Both
        results lack log Z_x and log Z of the prior.
        """
        likelihood = self.model.log_likelihood(x, [end.zeta1, end.zeta2], tape)
        # log q(z) - log p(z) = -E_x(z) + E(z), up to both log Z. It is linear in side 1.
        z1 = end.mean1 if self.rao_blackwell else end.zeta1
        kl = stopped.negative_energy(z1, end.zeta2) - self.model.prior().negative_energy(
            z1, end.zeta2
        )
        return (likelihood - weight * kl).mean(0), (likelihood - kl).mean(0)

    def _several(
        self, x: Tensor, weight: Tensor, stopped: RBM, end: chains.Relaxed, tape: Tape
    ) -> tuple[Tensor, Tensor]:
        """Return the same with several samples, from the annealed importance-weighted bound."""
        prior = self.model.prior()

        def terms(z: list[Tensor]) -> tuple[Tensor, Tensor]:
            likelihood = self.model.log_likelihood(x, z, tape)
            return likelihood, prior.negative_energy(*z) - stopped.negative_energy(*z)

        return weighted.bound(terms, [end.zeta1, end.zeta2], weight)
