"""Losses of the plain loops with which models with Gaussian latents are compared.

Each loss is written once for PyTorch and JAX. It takes parameters by the names of this package's
models, so that a test can compare it with the package's own loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Params = dict[str, Any]
Loss = Callable[[Params, Any, Any], Any]
"""Takes parameters, examples (batch, d) and standard normals (k, batch, n). Gives nats, averaged
over the examples."""


class Library(NamedTuple):
    """What the losses need from PyTorch or from JAX.

    Attributes:
        elementwise: The module that has ``exp``, ``sqrt`` and ``log1p``.
        nonlinearities: Functions of hidden units, by name.
        linear: x weight' + bias, of ``x``, ``weight`` and ``bias`` or None.
        logsumexp: The log-sum-exp over the first axis.
        cross_entropy: The cross-entropy of bits and their logits, element by element, nats.
    """

    elementwise: Any
    nonlinearities: Mapping[str, Callable[[Any], Any]]
    linear: Callable[[Any, Any, Any], Any]
    logsumexp: Callable[[Any], Any]
    cross_entropy: Callable[[Any, Any], Any]


def loss_of(objective: str, nonlinearity: str, library: Library) -> Loss:
    """Return the loss of an objective, written with a library.

    Args:
        objective: ``vae`` (Kingma & Welling 2014, equation 10), ``iw_bound`` (Burda et al. 2016,
            equation 8), or ``free_energy`` with one layer of latents (Rezende et al. 2014, equation
            20).
        nonlinearity: The nonlinearity of the hidden units.
        library: PyTorch or JAX.
    """
    xp = library.elementwise
    act = library.nonlinearities[nonlinearity]

    def head(p: Params, x: Any, name: str) -> Any:
        return library.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def hidden(p: Params, x: Any, prefix: str) -> Any:
        # There are as many hidden layers as weights with such names.
        layers = sum(name.startswith(f"{prefix}.hidden.") and name.endswith("weight") for name in p)
        for i in range(layers):
            x = act(head(p, x, f"{prefix}.hidden.{i}"))
        return x

    def nll(p: Params, z: Any, x: Any, prefix: str) -> Any:
        logits = head(p, hidden(p, z, prefix), f"{prefix}.heads.logits")
        return library.cross_entropy(logits, x).sum(-1)

    def encoded(p: Params, x: Any, normal: Any) -> tuple[Any, Any, Any]:
        """Return the mean and the log-variance of the posterior, and samples of it.

        Shapes: (batch, n), (batch, n) and (k, batch, n).
        """
        h = hidden(p, x, "q")
        mean = head(p, h, "q.heads.mean")
        log_var = head(p, h, "q.heads.log_var")
        return mean, log_var, mean + xp.exp(0.5 * log_var) * normal

    def vae(p: Params, x: Any, normal: Any) -> Any:
        # KL(q(z | x) || N(0, I)) in closed form; the NLL is a mean over the k samples.
        mean, log_var, z = encoded(p, x, normal)
        kl = 0.5 * (mean**2 + xp.exp(log_var) - 1 - log_var).sum(-1)
        return (nll(p, z, x, "p").mean(0) + kl).mean()

    def iw_bound(p: Params, x: Any, normal: Any) -> Any:
        # log p(z) - log q(z | x), where z = mean + sd normal; the constants cancel.
        _, log_var, z = encoded(p, x, normal)
        log_ratio = 0.5 * (normal**2 + log_var - z**2).sum(-1)
        log_w = log_ratio - nll(p, z, x, "p")
        return -(library.logsumexp(log_w) - math.log(len(z))).mean()

    def free_energy(p: Params, x: Any, normal: Any) -> Any:
        h = hidden(p, x, "q")
        mean = head(p, h, "q.heads.mean1")
        log_d = head(p, h, "q.heads.log_d1")

        # Deviation R normal, trace and log-determinant of a diagonal covariance C = D^-1. If there
        # is a vector u, C = (D + u u')^-1: each is corrected by the inversion and determinant
        # lemmas, in O(n); see ``dists.precision_gaussian``.
        inverse = xp.exp(-log_d)
        deviation = normal * xp.exp(-0.5 * log_d)
        trace = inverse.sum(-1)
        log_det = -log_d.sum(-1)
        if "q.heads.u1.weight" in p:
            u = head(p, h, "q.heads.u1")
            s = (u**2 * inverse).sum(-1)[..., None]
            eta = 1 / (1 + s)
            deviation = (
                deviation
                - eta / (1 + xp.sqrt(eta)) * (u * deviation).sum(-1)[..., None] * u * inverse
            )
            trace = trace - (eta * (u * inverse) ** 2).sum(-1)
            log_det = log_det - xp.log1p(s[..., 0])

        # The latents enter the decoder through one matrix without bias.
        kl = 0.5 * ((mean**2).sum(-1) + trace - log_det - mean.shape[-1])
        latent = library.linear(mean + deviation, p["p.noise.0.weight"], None)
        return (nll(p, latent, x, "p.visible").mean(0) + kl).mean()

    return {"vae": vae, "iw_bound": iw_bound, "free_energy": free_energy}[objective]
