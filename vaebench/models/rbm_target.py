"""A Boltzmann machine fitted to a known distribution: the experiment of Figure 5 of DVAE##.

Vahdat, Andriyash & Macready 2020, appendix. p(z) is a fixed mixture of factorial Bernoullis. q(z)
is a Boltzmann machine whose parameters are free. Training minimises KL(q || p), which can be
enumerated since there are few bits. There are no data: each example asks for one more sample of the
same q, and log p(x, z) is log p(z).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.models.base import SampledPosterior, Tiny
from vaebench.models.posterior import Noise
from vaebench.protocol.families import FAMILIES
from vaebench.rng import noise as draws
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

WEIGHTS = ("equal", "dirichlet")

MOST_BITS = boltzmann_exact.MAX_UNITS // 2
"""Upper limit on the units of a side: every state is tabulated."""


class FreeMachine(nn.Module):
    """q: biases and couplings that depend on nothing."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.b1 = nn.Parameter(torch.zeros(side))
        self.b2 = nn.Parameter(torch.zeros(side))
        self.w = nn.Parameter(torch.zeros(side, side))


class RBMTarget(SampledPosterior):
    """A Boltzmann machine q of ``side`` + ``side`` bits, and a mixture p of factorial Bernoullis.

    p(z) = sum_c alpha_c prod_i Bernoulli(z_i; mu_ci). mu_ci is ``low`` or 1 - ``low`` by a random
    pattern that depends on the number ``mixture`` alone. ``weights`` is 'equal' for alpha_c = 1 /
    components, or 'dirichlet' for one draw from the flat Dirichlet, which depends on ``mixture``
    too.
    """

    facts = FAMILIES["rbm_target"]
    tiny: ClassVar[Tiny] = {"RBM target 2+2": {"side": 2}}
    slopes: Tensor
    offsets: Tensor

    def __init__(
        self,
        info: DataInfo,
        side: int = 4,
        components: int = 3,
        mixture: int = 0,
        weights: str = "equal",
        low: float = 0.1,
    ) -> None:
        for key, value, least in (
            ("side", side, 1),
            ("components", components, 1),
            ("mixture", mixture, 0),
        ):
            validate.whole(f"model.{key}", value, least)
        if side > MOST_BITS:
            raise UserError(
                f"model.side={side}: must be at most {MOST_BITS}, for every state is tabulated"
            )
        validate.one_of("model.weights", weights, WEIGHTS)
        validate.between("model.low", low)

        super().__init__(info, [2 * side])
        self.side = side
        shapes = {
            "pattern": ("uniform", (components, 2 * side)),
            "weights": ("uniform", (components,)),
        }
        uniforms = draws.fixed(shapes, mixture, "init", 1)  # index 0 gives initial parameters

        # mu is ``low`` or 1 - ``low``, (components, 2 side).
        is_high = (uniforms["pattern"] < 0.5).double()
        mu = low + (1.0 - 2.0 * low) * is_high

        # Exponential variables divided by their sum are a draw from the flat Dirichlet.
        u = uniforms["weights"].double()
        alpha = torch.ones_like(u) if weights == "equal" else -torch.log1p(-u)
        log_alpha = torch.log(alpha / alpha.sum())

        # log p(z | c) is linear in z: z . logit(mu_c) + sum_i log(1 - mu_ci).
        self.register_buffer("slopes", torch.logit(mu).to(self.mean.dtype))
        self.register_buffer("offsets", (log_alpha + torch.log1p(-mu).sum(-1)).to(self.mean.dtype))
        self.q = FreeMachine(side)

    def rbm(self) -> RBM:
        """Return q as a Boltzmann machine without a batch, through which gradients pass."""
        return RBM(self.q.b1, self.q.b2, self.q.w)

    def target(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return log p(z), (...), nats, for sides (..., side) of bits.

        The same formula is used for values between 0 and 1.
        """
        z = torch.cat([z1, z2], -1)
        return torch.logsumexp(z @ self.slopes.mT + self.offsets, -1)

    def kl(self) -> Tensor:
        """Return the exact KL(q || p), (), nats, by enumeration; differentiable."""
        z1, z2, log_q = boltzmann_exact.log_probs(self.rbm())
        return (log_q.exp() * (log_q - self.target(z1, z2))).sum()

    # ------------------------------------------------------------------------- what every model has

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior``.

        Uniforms (k, batch) for side 1, (k, batch, side) for side 2.
        """
        return {"q1": ("uniform", (k, batch)), "q2": ("uniform", (k, batch, self.side))}

    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k independent exact samples of q for each example: [z (k, batch, 2 side)]."""
        # q does not depend on x, so all k * batch samples are drawn alike.
        shape = noise["q1"].shape
        both_sides = boltzmann_exact.sample(
            self.rbm(), noise["q1"].reshape(-1), noise["q2"].reshape(-1, self.side)
        )
        return [torch.cat(both_sides, -1).reshape(*shape, -1)]

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return [log q(z)], (k, batch), nats."""
        # A Boltzmann machine without a batch takes states (states, side), so the axes k and batch
        # are joined and parted again.
        bits = torch.cat(list(z), -1)
        z1, z2 = (v.reshape(-1, self.side) for v in bits.split(self.side, -1))
        rbm = self.rbm()
        return [(rbm.negative_energy(z1, z2) - boltzmann_exact.log_z(rbm)).reshape(bits.shape[:-1])]

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return [0, log p(z)], each (k, batch), nats: the data do not matter."""
        log_p = self.target(*torch.cat(list(z), -1).split(self.side, -1))
        return [torch.zeros_like(log_p), log_p]

    def log_joint(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """Return log p(z), (k, batch), nats."""
        return self.log_joint_terms(x, z)[1]
