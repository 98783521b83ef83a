"""The aggregated posterior q(z) = (1/n) sum_j q(z | x_j) of a whole split.

Information in z, and distance to the prior. The mean KL of the bound is the sum of the two: mean_i
KL(q(z|x_i) || p) = I(x; z) + KL(q(z) || p) (Hoffman & Johnson 2016). One sample of each case is
held against the posteriors of all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from vaebench.estimators.posteriors import Posteriors, mean_and_error


@dataclass(frozen=True)
class AggregateKL:
    """KL(q(z) || p), nats, from the same samples in two ways that agree in expectation.

    ``value``: mean KL minus mutual information, so that the sum is kept exactly; it has no noise
    where the posteriors are all alike, or all far apart. ``direct``: mean of log q(z_i) - log
    p(z_i); it has none where q(z) is the prior. Errors as in ``Information``, ``each``: the cases'
    terms of ``value``. Either can be slightly negative.
    """

    value: float
    error: float | None
    direct: float
    direct_error: float | None
    each: Tensor = field(compare=False, repr=False)


def aggregate_kl(p: Posteriors, log_q: Tensor | None = None) -> AggregateKL:
    """Both estimates.

    ``log_q``: log q(z_i) of every case, ``p.log_aggregate()``, where it is known.
    """
    log_q = p.log_aggregate() if log_q is None else log_q
    each = p.kl() - (p.log_own() - log_q)
    return AggregateKL(*mean_and_error(each), *mean_and_error(log_q - p.log_prior()), each)
