"""The importance-weighted bound with annealed prior and posterior, and two gradient estimators.

    L = E log (1/K) sum_i w_i,  log w_i = log p(x | z_i) + gamma [log p(z_i) - log q(z_i | x)],
    z_1 .. z_K ~ q(z | x)

(Vahdat, Andriyash & Macready 2020). With gamma = 1 it is the bound of Burda, Grosse & Salakhutdinov
(2016); with K = 1 it is the ELBO with a weighted KL. Let w~_i = w_i / sum w, let the samples be
differentiable functions of q's parameters phi, and let theta be all other parameters. Then
dL/dtheta = E sum_i w~_i dlog w_i/dtheta. For phi there are two estimators:

- ``plain``: the derivative of the bound itself, through the samples and through log q(z | x; phi).
- ``doubly_reparameterized``: the identity E[f dlog q/dphi] = E[df/dz dz/dphi], applied to the score
  terms f = w~_i. It leaves

      dL/dphi = E sum_i [(1 - gamma) w~_i + gamma w~_i^2] dlog w_i/dz_i dz_i/dphi.

  With gamma = 1 it is that of Tucker et al. (2019). It needs samples from the same density whose
  logarithm is log q. Relaxations that insert zeta into the log-probability of bits do not have
  such samples, so there it is only as good as the relaxation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaebench.settings import validate

Terms = Callable[[list[Tensor]], tuple[Tensor, Tensor]]
"""Samples, (k, batch, n) each -> log p(x | z) and log p(z) - log q(z | x) up to constants,
(k, batch) each, nats."""

ESTIMATORS = ("doubly_reparameterized", "plain")


def check(estimator: str) -> str:
    """Return ``estimator`` if it is one of ESTIMATORS, else raise a UserError."""
    validate.one_of("objective.estimator", estimator, ESTIMATORS)
    return estimator


def bound(
    terms: Terms, z: Sequence[Tensor], gamma: Tensor, estimator: str = "doubly_reparameterized"
) -> tuple[Tensor, Tensor]:
    """Estimate the bound of every example from k samples, with the gradient of the estimator.

    Args:
        terms: Must depend on the samples only through its argument. For ``plain`` q's parameters
            have their gradient in log q(z | x). For ``doubly_reparameterized`` that gradient must
            be stopped, but not the dependence on z (for hierarchical q also that through the
            parameters of the groups above, see ``through_inputs``). It is then evaluated twice at
            the same values, so batch statistics that it writes are written twice, but equal. If it
            leaves out log Z of the prior, subtract gamma log Z from the result: the weights sum to
            1.
        z: Samples of every group, (k, batch, n) each, differentiable in phi.
        gamma: Weight of the KL, ().
        estimator: One of ESTIMATORS.

    Returns:
        The bound, (batch,), nats; and the mean over i of log p(x | z_i) + log p(z_i) - log q(z_i |
        x), without gamma and gradient, (batch,), nats.

    Raises:
        ValueError: For an unknown estimator.
    """
    # likelihood, ratio, log_w and weight are (k, batch).
    if estimator == "plain":
        likelihood, ratio = terms(list(z))
        log_w = likelihood + gamma * ratio
        bound = torch.logsumexp(log_w, 0) - math.log(len(log_w))
        return bound, (likelihood + ratio).detach().mean(0)

    if estimator != "doubly_reparameterized":
        raise ValueError(f"estimator {estimator!r} is not one of {ESTIMATORS}")

    # First pass, for the values: the normalised weights w~_i are constants in the gradient.
    with torch.no_grad():
        likelihood, ratio = terms([v.detach() for v in z])
    log_w = likelihood + gamma * ratio
    weight = torch.softmax(log_w, 0)

    # Second pass, for the gradient. That of theta has the weight. That of phi has this factor
    # besides, so the derivative of the samples is scaled by it.
    factor = (gamma * weight + 1.0 - gamma).unsqueeze(-1)
    live_likelihood, live_ratio = terms([scale_gradient(v, factor) for v in z])
    surrogate = (weight * (live_likelihood + gamma * live_ratio)).sum(0)

    # The surrogate's value means nothing: it adds only its gradient to the bound.
    value = torch.logsumexp(log_w, 0) - math.log(len(log_w))
    return value + surrogate - surrogate.detach(), (likelihood + ratio).mean(0)


def scale_gradient(v: Tensor, factor: Tensor) -> Tensor:
    """Return ``v`` with its derivatives multiplied by ``factor``, which must have no gradient."""
    return v.detach() + factor * (v - v.detach())


def through_inputs(f: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return f(*inputs) with a gradient for the inputs, but not for the parameters inside ``f``.

    The gradient of the parameters at fixed inputs is subtracted, so ``f`` may be any module, under
    any transform.
    """
    if not inputs or not torch.is_grad_enabled():
        return f(*inputs).detach()

    # f(inputs) has both gradients, f(fixed inputs) that of the parameters only. The difference has
    # value 0.
    fixed = f(*(v.detach() for v in inputs))
    return f(*inputs) - fixed + fixed.detach()
