"""The importance-weighted bound with an annealed prior and posterior.

And two estimators of its gradient.

L = E log (1/K) sum_i w_i,  log w_i = log p(x | z_i) + gamma [log p(z_i) - log q(z_i | x)],
z_1 .. z_K ~ q(z | x)

(Vahdat, Andriyash & Macready 2020). gamma = 1 is the bound of Burda, Grosse & Salakhutdinov (2016),
K = 1 the ELBO with a weighted KL. Let w~_i = w_i / sum w, the samples be differentiable functions
of q's parameters phi, and theta be all other parameters. Then dL/dtheta = E sum_i w~_i dlog
w_i/dtheta, and for phi there is

- ``plain``: the derivative of the bound as it stands, through the samples and
  through log q(z | x; phi);
- ``doubly_reparameterized``: E[f dlog q/dphi] = E[df/dz dz/dphi] applied to the score terms f =
  w~_i, which leaves

      dL/dphi = E sum_i [(1 - gamma) w~_i + gamma w~_i^2] dlog w_i/dz_i dz_i/dphi.

  With gamma = 1 it is that of Tucker et al. (2019). It needs samples from the very density that log
  q is, which relaxations that put zeta into the log-probability of bits do not have; there it is
  only as good as the relaxation.
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
    """``estimator`` if it is one; raises UserError otherwise."""
    validate.one_of("objective.estimator", estimator, ESTIMATORS)
    return estimator


def bound(
    terms: Terms, z: Sequence[Tensor], gamma: Tensor, estimator: str = "doubly_reparameterized"
) -> tuple[Tensor, Tensor]:
    """The bound's one-draw estimate for each case, (batch,), with the estimator's gradient.

    And one-sample bounds. ``z``: samples, groups (k, batch, n), differentiable in phi. ``gamma`` ()
    is the weight of the KL. ``terms(z)`` must depend on the samples only through its argument. For
    ``doubly_reparameterized`` it must stop q's parameters inside log q(z | x), keeping how that
    depends on z (for hierarchical q also through the parameters of the groups above, see
    ``through_inputs``); for ``plain`` it must not. It is evaluated twice in the first case, at the
    same values, so batch statistics that it notes are noted twice the same. Where it leaves out log
    Z of the prior, subtract gamma log Z from the result: the weights sum to 1.

    The second result is log p(x | z_i) + log p(z_i) - log q(z_i | x), without gamma, averaged over
    i: (batch,), no gradient. Raises ValueError for an unknown estimator.
    """
    if estimator == "plain":
        likelihood, ratio = terms(list(z))
        log_w = likelihood + gamma * ratio
        bound = torch.logsumexp(log_w, 0) - math.log(len(log_w))
        return bound, (likelihood + ratio).detach().mean(0)

    if estimator != "doubly_reparameterized":
        raise ValueError(f"estimator {estimator!r} is not one of {ESTIMATORS}")

    with torch.no_grad():
        likelihood, ratio = terms([v.detach() for v in z])
    log_w = likelihood + gamma * ratio
    weight = torch.softmax(log_w, 0)

    # theta gets the weight, phi this factor more: the samples enter with their
    # derivative scaled by it.
    factor = (gamma * weight + 1.0 - gamma).unsqueeze(-1)
    again, ratio_again = terms([scale_gradient(v, factor) for v in z])
    surrogate = (weight * (again + gamma * ratio_again)).sum(0)
    value = torch.logsumexp(log_w, 0) - math.log(len(log_w))
    return value + surrogate - surrogate.detach(), (likelihood + ratio).mean(0)


def scale_gradient(v: Tensor, factor: Tensor) -> Tensor:
    """``v``, whose derivatives are multiplied by ``factor``, which has none itself."""
    return v.detach() + factor * (v - v.detach())


def through_inputs(f: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """f(*inputs), whose gradient reaches the inputs but none of the parameters inside ``f``.

    The gradient that parameters have at fixed inputs is subtracted, so ``f`` may be any module,
    under any transform.
    """
    if not inputs or not torch.is_grad_enabled():
        return f(*inputs).detach()
    fixed = f(*(v.detach() for v in inputs))
    return f(*inputs) - fixed + fixed.detach()
