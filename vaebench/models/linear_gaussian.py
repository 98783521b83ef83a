"""Linear-Gaussian model (probabilistic PCA) with a linear-Gaussian posterior.

Its log p(x) and its bound are known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import gaussian
from vaebench.errors import UserError
from vaebench.models.base import Ancestral, Program, SampledPosterior, Tiny
from vaebench.models.posterior import Noise
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes


class LinearGaussian(SampledPosterior, Ancestral):
    """z ~ N(0, I), x | z ~ N(W z + b, s^2 I), with Q(z | x) = N(A (x - mean) + a, diag(t^2)).

    All parameters are learned, s and t as well.
    """

    facts = FAMILIES["linear_gaussian"]
    tiny: ClassVar[Tiny] = {"linear-Gaussian 2": {"dims": [2]}}
    reparameterised = True

    def __init__(self, info: DataInfo, dims: Sequence[int]) -> None:
        if (
            not isinstance(dims, (list, tuple))
            or len(dims) != 1
            or type(dims[0]) is not int
            or dims[0] < 1
        ):
            raise UserError(
                f"model.dims={dims}: linear_gaussian takes one latent layer, such as [2]"
            )

        super().__init__(info, dims)
        d, n = self.sizes

        self.p = nn.ParameterDict(
            # (d, n), (d,), (1,)
            {"weight": torch.zeros(d, n), "bias": torch.zeros(d), "log_sd": torch.zeros(1)}
        )
        self.q = nn.ParameterDict(
            {"weight": torch.zeros(n, d), "bias": torch.zeros(n), "log_sd": torch.zeros(n)}
        )

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior``: standard normals (k, batch, n)."""
        return {"q1": ("normal", (k, batch, self.sizes[1]))}

    def joint_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``sample_joint``: standard normals (batch, d) and (batch, n)."""
        return {f"p{i}": ("normal", (batch, n)) for i, n in enumerate(self.sizes)}

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean, (batch, n), and log t, (n,), of Q(z | x)."""
        mean = nn.functional.linear(x - self.mean, self.q["weight"], self.q["bias"])
        return mean, self.q["log_sd"]

    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k reparameterised samples of Q(z | x): [z] with z (k, batch, n)."""
        return [gaussian.sample(*self._posterior(x), noise["q1"])]

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return [log Q(z | x)], (k, batch), nats."""
        return [gaussian.log_prob(z[0], *self._posterior(x))]

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return [log p(x | z), log p(z)], each (k, batch), nats."""
        decoded = nn.functional.linear(z[0], self.p["weight"], self.p["bias"])
        zero = torch.zeros((), dtype=z[0].dtype, device=z[0].device)
        return [
            gaussian.log_prob(x, decoded, self.p["log_sd"]),
            gaussian.log_prob(z[0], zero, zero),
        ]

    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw ancestral samples: x (batch, d) and [z (1, batch, n)]."""
        z = noise["p1"]
        decoded = nn.functional.linear(z, self.p["weight"], self.p["bias"])
        return gaussian.sample(decoded, self.p["log_sd"], noise["p0"]), [z.unsqueeze(0)]

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return encoder and decoder."""

        # t does not depend on x, but a program returns one log-variance for each mean.
        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_sd = self._posterior(x)
            return mean, 2 * log_sd.expand(mean.shape)

        def decode(z: Tensor) -> Tensor:
            return nn.functional.linear(z, self.p["weight"], self.p["bias"])

        z = torch.zeros(len(x), self.sizes[1], dtype=x.dtype)
        return {
            "encoder": Program(encode, {"x": x}, "mean and log-variance of z"),
            "decoder": Program(decode, {"z": z}, "the mean of x"),
        }

    def log_evidence(self, x: Tensor) -> Tensor:
        """Return the exact log p(x) = log N(x; b, W W^T + s^2 I), (batch,), nats."""
        w = self.p["weight"]
        d = self.sizes[0]
        cov = w @ w.T + torch.exp(2 * self.p["log_sd"]) * torch.eye(
            d, dtype=w.dtype, device=w.device
        )

        # With cov = L L^T, the quadratic form is |L^-1 (x - b)|^2 and half the log-determinant is
        # sum log L_ii.
        chol = torch.linalg.cholesky(cov)
        whitened = torch.linalg.solve_triangular(chol, (x - self.p["bias"]).T, upper=False)
        return (
            -0.5 * (whitened * whitened).sum(0)
            - chol.diagonal().log().sum()
            - 0.5 * d * math.log(2 * math.pi)
        )

    def elbo(self, x: Tensor) -> Tensor:
        """Return the exact E_Q[log p(x, z) - log Q(z | x)], (batch,), nats.

        It is differentiable in every parameter.
        """
        mean, log_t = self._posterior(x)
        w = self.p["weight"]
        log_s = self.p["log_sd"]
        d = self.sizes[0]

        # E_Q |x - W z - b|^2 = |x - W E[z] - b|^2 + tr(W diag(t^2) W^T).
        t2 = torch.exp(2 * log_t)
        misfit = (x - nn.functional.linear(mean, w, self.p["bias"])).square().sum(-1) + (
            w.square() * t2
        ).sum()

        # The expected log p(x | z), minus the KL to N(0, I).
        log_p = -0.5 * misfit * torch.exp(-2 * log_s) - d * log_s - 0.5 * d * math.log(2 * math.pi)
        kl = 0.5 * (mean.square() + t2 - 1 - 2 * log_t).sum(-1)
        return log_p - kl
