"""The aggregated posterior q(z) = (1/n) sum_j q(z | x_j) of a whole split.

Information in z and distance to the prior are taken from it. The mean KL of the bound is the sum of
the two: mean_i KL(q(z|x_i) || p) = I(x; z) + KL(q(z) || p) (Hoffman & Johnson 2016). One sample of
each example is compared with the posteriors of all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from vaebench.estimators.over_examples import mean_and_error
from vaebench.estimators.posteriors import Posteriors


@dataclass(frozen=True)
class AggregateKL:
    """KL(q(z) || p), nats, from the same samples in two ways that agree in expectation.

    Either way can give a slightly negative number.

    Attributes:
        value: Mean KL minus mutual information, so that their sum is kept exactly. It has no noise
            if the posteriors are all alike, or all far apart.
        error: Standard error of ``value``, as in ``Information``.
        direct: Mean of log q(z_i) - log p(z_i). It has no noise if q(z) is the prior.
        direct_error: Standard error of ``direct``.
        each: The examples' terms of ``value``, (n,).
    """

    value: float
    error: float | None
    direct: float
    direct_error: float | None
    each: Tensor = field(compare=False, repr=False)


def aggregate_kl(p: Posteriors, log_q: Tensor | None = None) -> AggregateKL:
    """Return both estimates.

    ``log_q``: log q(z_i) of every example, ``p.log_aggregate()``, if it is known already.
    """
    log_q = p.log_aggregate() if log_q is None else log_q

    # KL of the example minus its term of the mutual information, log q(z_i | x_i) - log q(z_i).
    each = p.kl() - (p.log_own() - log_q)
    return AggregateKL(*mean_and_error(each), *mean_and_error(log_q - p.log_prior()), each)
