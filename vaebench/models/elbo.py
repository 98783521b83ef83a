"""The evidence lower bound of a batch, estimated by samples (Kingma & Welling 2014).

Its KL has a weight, and is exact or estimated by the same samples.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vaebench.models.base import GaussianPosterior
from vaebench.models.posterior import Gaussian, Noise, log_standard
from vaebench.nn.batch_norm import Tape


class Draws(NamedTuple):
    """The noise of one evaluation of the bound of a batch.

    Attributes:
        normal: Standard normals (k, batch, n), which make the samples of z.
        drop: Noise of dropout; empty: no dropout.
    """

    normal: Tensor
    drop: Noise


class Elbo(NamedTuple):
    """The bound of a batch, in nats.

    Attributes:
        loss: Mean over the batch of -E_q log p(x | z) + weight KL(q || p), ().
        log_p: log p(x | z), mean over the samples, (batch,).
        kl: KL(q(z | x) || N(0, I)), exact or mean over the samples, (batch,).
    """

    loss: Tensor
    log_p: Tensor
    kl: Tensor


def elbo(
    model: GaussianPosterior,
    x: Tensor,
    q: Gaussian,
    draws: Draws,
    weight: Tensor | float,
    tape: Tape | None = None,
    sampled_kl: bool = False,
) -> Elbo:
    """Evaluate the bound at a Gaussian posterior.

    Gradients pass to the posterior's moments and to the generative model.

    Args:
        model: Gives log p(x | z).
        x: Examples, (batch, d).
        q: The posterior of every example.
        draws: The noise of this evaluation.
        weight: The weight of the KL.
        tape: See ``GaussianPosterior.log_likelihood``.
        sampled_kl: Whether the KL is estimated by the samples, log q(z | x) - log p(z), instead of
            in closed form.

    Reference:
        Kingma & Welling 2014, equation 7; with ``sampled_kl`` equation 6.
    """
    # Both terms are means over the k samples of each example, (batch,); the exact KL needs none.
    z = q.sample(len(draws.normal), {"q1": draws.normal})
    log_p = model.log_likelihood(x, z, draws.drop or None, tape).mean(0)
    kl = (q.log_prob(z) - log_standard(z[0])).mean(0) if sampled_kl else q.kl()
    return Elbo((weight * kl - log_p).mean(), log_p, kl)
