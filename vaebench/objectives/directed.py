"""The base of objectives that smooth the bits of a hierarchical inference network.

They are DVAE, DVAE++, DVAE#, GumBolt and PWL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vaebench.dists import bernoulli, smoothing
from vaebench.dists.smoothing import SMOOTHINGS, Overlapping, Smoothing
from vaebench.errors import UserError, nearest
from vaebench.models.base import Model
from vaebench.models.rbm_vae import RBMVAE
from vaebench.models.rbm_vae_gaussian import RBMVAEGaussian
from vaebench.nn.batch_norm import Tape
from vaebench.objectives import weighted
from vaebench.objectives.base import State
from vaebench.objectives.rbm_prior import RBMPriorObjective
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

OVERLAPPING = tuple(name for name, cls in SMOOTHINGS.items() if issubclass(cls, Overlapping))
"""Smoothings with densities of zeta given either value of the bit."""


def relaxation(name: str, beta: float | None, allowed: Sequence[str], **settings: Any) -> Smoothing:
    """Build the smoothing of an objective.

    Args:
        name: Name of the smoothing.
        beta: Sharpness of the smoothing; None: its default. The logistic has a scale instead, and
            takes it as 1 / ``beta``.
        allowed: The names that the objective takes.
        **settings: Further settings of the smoothing.

    Raises:
        UserError: For a value that is not allowed.
    """
    if name not in allowed:
        raise UserError(f"objective.smoothing={name!r}: {nearest(str(name), allowed)}")

    if beta is not None:
        beta = validate.positive("objective.beta", beta)
        settings |= {"scale": 1.0 / beta} if name == "logistic" else {"beta": beta}

    return smoothing.build({"name": name, **settings})


class DirectedObjective(RBMPriorObjective):
    """Base: the ELBO, averaged over ``samples``, with the KL of a subclass.

    Args:
        model: See ``trains``.
        relax: The smoothing whose values take the place of the bits.
        **more: The settings of RBMPriorObjective.
    """

    model: RBMVAE

    def __init__(self, model: RBMVAE, relax: Smoothing, **more: Any) -> None:
        super().__init__(model, **more)
        self.relax = relax

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` has a Boltzmann prior and a hierarchical posterior of logits only."""
        return isinstance(model, RBMVAE) and not isinstance(model, RBMVAEGaussian)

    def posterior_noise(self, batch: int) -> Shapes:
        """Return uniform noise (per unit, k, batch, n) for each group."""
        lead = (self.relax.uniforms, self.samples, batch)
        return {
            f"q{i}": ("uniform", (*lead, n)) for i, n in enumerate(self.model.sizes[1:], start=1)
        }

    def group(self, i: int, seen: Tensor, before: Sequence[Tensor], tape: Tape | None) -> Tensor:
        """Return the logits from which the i-th group is drawn, (k, batch, n).

        Args:
            i: Number of the group, from 0.
            seen: The model's ``encode`` of the examples.
            before: The groups below, (k, batch, n) each.
            tape: Where the normalisation layers write batch statistics.
        """
        return self.model.group_logits(i, seen, before, tape).expand(self.samples, len(seen), -1)

    def draw(self, group: Tensor, u: Tensor) -> Tensor:
        """Draw smoothed samples (k, batch, n) from the result of ``group``.

        Args:
            group: Result of ``group``.
            u: Uniforms, (per unit, k, batch, n).
        """
        return self.relax.sample(group, u)

    def infer(
        self, seen: Tensor, noise: dict[str, Tensor], tape: Tape | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Draw every group.

        Args:
            seen: The model's ``encode`` of the examples.
            noise: See ``posterior_noise``.
            tape: Where the normalisation layers write batch statistics.

        Returns:
            Smoothed samples of every group, (k, batch, n) each, and the ``group`` from which each
            was drawn.
        """
        zeta: list[Tensor] = []
        groups: list[Tensor] = []
        for i in range(len(self.model.sizes) - 1):
            groups.append(self.group(i, seen, zeta, tape))
            zeta.append(self.draw(groups[-1], noise[f"q{i + 1}"]))
        return zeta, groups

    def kl(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        """Return an estimate of KL(q || p) - log Z for each sample, with the method's gradient.

        Its shape is (k, batch), in nats.
        """
        raise NotImplementedError

    def expected_kl(self, logits: list[Tensor], pair1: Tensor, pair2: Tensor) -> Tensor:
        """Return the energy minus the groups' entropies, (k, batch), nats.

        In the energy the biases are multiplied by the means, the couplings by ``pair1`` and
        ``pair2``.
        """
        # E[b1.z1 + b2.z2 + z1' W z2], (k, batch), which is minus the energy.
        rbm = self.model.prior()
        mean1, mean2 = self.model.sides([torch.sigmoid(v) for v in logits])
        negative_energy = (
            (mean1 * rbm.b1).sum(-1) + (mean2 * rbm.b2).sum(-1) + ((pair1 @ rbm.w) * pair2).sum(-1)
        )

        return -negative_energy - sum(bernoulli.entropy(v) for v in logits)

    def gain(
        self, x: Tensor, weight: Tensor, log_z: Tensor, state: State, noise: State, tape: Tape
    ) -> tuple[Tensor, Tensor, State]:
        zeta, logits = self.infer(self.model.encode(x, tape), noise, tape)

        # Both are (k, batch). The bound takes the KL with weight 1, and lacks log Z.
        likelihood = self.model.log_likelihood(x, zeta, tape)
        kl = self.kl(zeta, logits)
        gain = (likelihood - weight * kl).mean(0) - weight * log_z
        return gain, (likelihood - kl).mean(0), {}


class WeightedObjective(DirectedObjective):
    """Base: with several samples the importance-weighted bound replaces the mean ELBO.

    See ``weighted`` for the bound.

    Args:
        model: See ``trains``.
        relax: The smoothing whose values take the place of the bits.
        estimator: Estimator of the bound's gradient, doubly_reparameterized or plain; it has no
            effect with one sample.
        **more: The settings of RBMPriorObjective.
    """

    def __init__(
        self, model: RBMVAE, relax: Smoothing, estimator: str = weighted.ESTIMATORS[0], **more: Any
    ) -> None:
        super().__init__(model, relax, **more)
        self.estimator = weighted.check(estimator)

    def log_prior_ratio(self, zeta: list[Tensor], logits: list[Tensor]) -> Tensor:
        """Return log p(zeta) + log Z - log q(zeta | x), or what the method uses instead.

        Its shape is (k, batch), in nats.
        """
        raise NotImplementedError

    def gain(
        self, x: Tensor, weight: Tensor, log_z: Tensor, state: State, noise: State, tape: Tape
    ) -> tuple[Tensor, Tensor, State]:
        if self.samples == 1:
            return super().gain(x, weight, log_z, state, noise, tape)

        seen = self.model.encode(x, tape)
        zeta, logits = self.infer(seen, noise, tape)

        # The doubly reparameterised estimator calls this twice, with samples whose gradients are
        # scaled, and wants no gradient of q's parameters in log q.
        def terms(z: list[Tensor]) -> tuple[Tensor, Tensor]:
            of_posterior = logits if self.estimator == "plain" else self.frozen(seen, z, tape)
            return self.model.log_likelihood(x, z, tape), self.log_prior_ratio(z, of_posterior)

        # The importance weights sum to 1, so log Z may be subtracted once from the whole bound.
        gain, bound = weighted.bound(terms, zeta, weight, self.estimator)
        return gain - weight * log_z, bound, {}

    def frozen(self, seen: Tensor, zeta: list[Tensor], tape: Tape | None) -> list[Tensor]:
        """Return every ``group`` as a function of the groups before, but not of the parameters."""
        groups = []
        # ``seen`` depends on the encoder's parameters, so it is a constant too.
        seen = seen.detach()
        for i in range(len(zeta)):
            group = lambda *before, i=i: self.group(i, seen, before, tape)  # noqa: E731
            groups.append(weighted.through_inputs(group, *zeta[:i]))
        return groups
