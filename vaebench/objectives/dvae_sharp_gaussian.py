"""DVAE# with the Gaussian integral: the bits of a smoothed Boltzmann prior summed out exactly.

The source is Vahdat, Andriyash & Macready 2018 (DVAE#, arXiv 1805.07445). Let the prior be log p(z)
= b.z + z'Cz / 2 - log Z with C = [[0, W], [W', 0]], and let S = C + lambda I be positive definite.
Smooth it by r(zeta | z) = N(zeta; z, S^-1). This noise is correlated between the units in such a
way that the couplings of z cancel. With N bits, for which z'z = sum z,

    log p(z) + log r(zeta | z) = -log Z + log det(S / 2 pi) / 2 - zeta'S zeta / 2
                                 + z.(b + S zeta - lambda / 2).

The last term is linear in z, so the sum over the 2^N states factors:

    log p(zeta) = -log Z + log det(S / 2 pi) / 2 - zeta'S zeta / 2
                  + sum softplus(b + S zeta - lambda / 2).

Z is that of the bits. Its gradient comes from the prior's chains, as in all other objectives. The
posterior cannot have the same noise, since it does not know S. It is a factorial mixture of
Gaussians with trained centres and widths, so the KL is taken at samples, as log q(zeta | x) - log
p(zeta).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vaebench.dists.rbm import RBM
from vaebench.dists.smoothing import Gaussian, gaussian_mixture_log_density, gaussian_mixture_sample
from vaebench.models.base import Model
from vaebench.models.rbm_vae_gaussian import RBMVAEGaussian
from vaebench.nn.batch_norm import Tape
from vaebench.objectives import weighted
from vaebench.objectives.base import Batch, State, Step, told
from vaebench.objectives.directed import WeightedObjective, relaxation
from vaebench.objectives.rbm_prior import FEW_CHAINS
from vaebench.settings import validate

MARGIN = 5.0
"""Lower limit of S's smallest eigenvalue when lambda is chosen, as in the paper's experiments."""

FLOOR = 1.0
"""Lower limit of S's smallest eigenvalue between two choices, however the couplings grow."""

SQUARINGS = 8
"""Squarings in ``largest_singular_value``: it is at most 0.5 % too large with 200 units a side."""


class DVAESharpGaussian(WeightedObjective):
    """The ELBO with log q(zeta | x) - log p(zeta) at samples; with several, the weighted bound.

    See ``weighted`` for the importance-weighted bound. lambda, in the state, is max(``beta``,
    MARGIN - the smallest eigenvalue of C), where that eigenvalue is minus the largest singular
    value of W. It is chosen anew every ``refresh`` updates, and a constant for the gradient.
    Between two choices it is raised only if W grows so fast that the smallest eigenvalue of S would
    fall below FLOOR.

    Args:
        model: See ``trains``.
        beta: The least lambda.
        refresh: Updates between two choices of lambda.
        **more: The settings of WeightedObjective.
    """

    tiny = ({**FEW_CHAINS, "refresh": 3},)

    model: RBMVAEGaussian
    relax: Gaussian

    def __init__(
        self, model: RBMVAEGaussian, beta: float = 30.0, refresh: int = 1000, **more: Any
    ) -> None:
        # Without couplings S = beta I, so the smoothing is N(z, 1 / beta), unit by unit.
        super().__init__(model, relaxation("gaussian", beta, ("gaussian",)), **more)
        self.refresh = validate.whole("objective.refresh", refresh)

    @staticmethod
    def trains(model: Model) -> bool:
        """Whether ``model`` has a Boltzmann prior and a posterior of Gaussian mixtures."""
        return isinstance(model, RBMVAEGaussian)

    def state(self, seed: int = 0, cases: int = 1) -> dict[str, Tensor]:
        """Return the state of the base, and lambda, (), as it is without couplings."""
        return {**super().state(seed, cases), "lambda": torch.tensor(max(self.relax.beta, MARGIN))}

    def refreshed(self, shift: Tensor, update: Tensor) -> Tensor:
        """Return lambda for this update, (), without gradient.

        Args:
            shift: lambda of the last update, ().
            update: Number of updates done, ().
        """
        # The smallest eigenvalue of S = C + lambda I is lambda - size.
        size = largest_singular_value(self.model.prior().w)
        chosen = torch.clamp(size + MARGIN, min=self.relax.beta)
        kept = torch.maximum(shift, size + FLOOR)
        return torch.where(update % self.refresh == 0, chosen, kept).to(shift.dtype)

    def forward(self, state: State, batch: Batch, noise: State) -> Step:
        """Make one pure step; see the package docstring."""
        shift = self.refreshed(state["lambda"], told(batch.update))
        return super().forward({**state, "lambda": shift}, batch, noise)

    def group(self, i: int, seen: Tensor, before: Sequence[Tensor], tape: Tape | None) -> Tensor:
        """Return the model's ``group_mixture``: logit, shift and width, (3, [k,] batch, n)."""
        return self.model.group_mixture(i, seen, before, tape)

    def draw(self, group: Tensor, u: Tensor) -> Tensor:
        """Draw samples zeta (k, batch, n) of the mixtures, differentiable in all their numbers."""
        logit, shift, width = group.unbind()
        return gaussian_mixture_sample(logit, shift, width, u)

    def gain(
        self, x: Tensor, weight: Tensor, log_z: Tensor, state: State, noise: State, tape: Tape
    ) -> tuple[Tensor, Tensor, State]:
        seen = self.model.encode(x, tape)
        zeta, mixtures = self.infer(seen, noise, tape)
        # With one sample the weighted bound is the ELBO, and the plain estimator its gradient.
        estimator = "plain" if self.samples == 1 else self.estimator

        def terms(z: list[Tensor]) -> tuple[Tensor, Tensor]:
            # The doubly reparameterised estimator wants log q without a gradient of q's parameters.
            posterior = mixtures if estimator == "plain" else self.frozen(seen, z, tape)
            log_q = sum(
                gaussian_mixture_log_density(v, *m.unbind()).sum(-1)
                for v, m in zip(z, posterior, strict=True)
            )
            log_p = log_density(self.model.prior(), state["lambda"], *self.model.sides(z))
            return self.model.log_likelihood(x, z, tape), log_p - log_q

        gain, bound = weighted.bound(terms, zeta, weight, estimator)
        return gain - weight * log_z, bound, {"lambda": state["lambda"]}


def log_density(rbm: RBM, shift: Tensor, zeta1: Tensor, zeta2: Tensor) -> Tensor:
    """Return log p(zeta) + log Z, (k, batch), nats; it is differentiable in all arguments.

    This is the second equation of the module docstring. There -lambda zeta^2 / 2 is moved into the
    softplus. It becomes the log of a sum of two terms that peak at 0 and 1, so there are no large
    numbers that cancel:

        softplus(a + lambda zeta - lambda / 2) - lambda zeta^2 / 2
            = log[exp(-lambda zeta^2 / 2) + exp(a - lambda (zeta - 1)^2 / 2)],

    where a = b + C zeta are the logits of a bit.

    Args:
        rbm: The prior of the bits.
        shift: lambda, (); it must exceed the largest singular value of W.
        zeta1: Side 1, (k, batch, n1).
        zeta2: Side 2, (k, batch, n2).
    """
    logits1 = rbm.logits1(zeta2)
    logits2 = rbm.logits2(zeta1)
    couplings = (zeta2 * (logits2 - rbm.b2)).sum(-1)  # zeta1' W zeta2 = zeta' C zeta / 2
    summed_out = [
        torch.logaddexp(-0.5 * shift * zeta**2, logit - 0.5 * shift * (zeta - 1.0) ** 2).sum(-1)
        for zeta, logit in ((zeta1, logits1), (zeta2, logits2))
    ]

    units = zeta1.shape[-1] + zeta2.shape[-1]
    return (
        0.5 * (log_det(rbm.w, shift) - units * math.log(2.0 * math.pi))
        - couplings
        + sum(summed_out)
    )


def log_det(w: Tensor, shift: Tensor) -> Tensor:
    """Return log det of S = [[lambda I, W], [W', lambda I]], (), which must be positive definite.

    It is found by the Schur complement of the smaller side, det S = lambda^(n1 + n2) det(I - W'W /
    lambda^2). It can be differentiated once.
    """
    n1, n2 = w.shape
    small = w @ w.mT if n1 < n2 else w.mT @ w
    eye = torch.eye(len(small), dtype=w.dtype, device=w.device)
    complement = eye - small / shift**2

    # Unlike cholesky, cholesky_ex does not check for failure, so it need not wait for a GPU.
    factor = torch.linalg.cholesky_ex(complement.detach())[0]

    # The value without gradient, plus a term of value 0 with the gradient: for A = L L' it is
    # d log det A = tr(A^-1 dA), where A^-1 = L'^-1 L^-1.
    inverse_factor = torch.linalg.solve_triangular(factor, eye, upper=False)
    slope = (inverse_factor.mT @ inverse_factor * (complement - complement.detach())).sum()
    value = 2.0 * torch.log((factor * eye).sum(-1)).sum()
    return (n1 + n2) * torch.log(shift) + value + slope


def largest_singular_value(w: Tensor) -> Tensor:
    """Return an upper bound of the largest singular value of ``w`` (n1, n2), (), without gradient.

    With G = W'W and m = 2^SQUARINGS it is |G^m|_F^(1 / 2m), which is too large by a factor of at
    most n^(1 / 4m). It costs as much as the exact value. But it needs only products, and no
    iteration of unknown length, so a step with it can be captured in a graph.
    """
    n1, n2 = w.shape
    w = w.detach()
    g = w @ w.mT if n1 < n2 else w.mT @ w

    # Normalise after every squaring, since G^m itself would overflow. The j-th norm enters |G^m| to
    # the power m / 2^j, so log |G^m| / m is the sum of log norm / 2^j. W = 0 has norm 0, which is
    # clamped.
    tiny = torch.finfo(w.dtype).tiny
    log_norm = torch.zeros((), dtype=w.dtype, device=w.device)
    for j in range(SQUARINGS + 1):
        g = g @ g if j else g
        norm = torch.clamp(torch.sqrt((g * g).sum()), min=tiny)
        g = g / norm
        log_norm = log_norm + torch.log(norm) / 2**j
    return torch.exp(0.5 * log_norm)
