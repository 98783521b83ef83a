"""Mutual information of a case and its latents under q(z | x).

E log q(z | x) - E log q(z) (Hoffman & Johnson 2016). q(z), the mixture of the posteriors of all
cases of a split, costs a density for every pair of cases. ``batchwise`` takes the mixture over each
evaluation batch instead, as the published numbers of He et al. (2019) do. The two differ: each is
the information about which case of the mixture z came from, so it cannot exceed the log of their
number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from vaebench.estimators.posteriors import Posteriors, mean_and_error
from vaebench.models.base import Model
from vaebench.nn.tokens import groups, lengths_of
from vaebench.rng import noise


@dataclass(frozen=True)
class Information:
    """``value`` nats. ``ceiling``: what its expectation cannot exceed, nats.

    ``each``: the cases' terms, (n,), nats, of which it is the mean.
    ``error``: standard deviation over cases of their terms, by the root of their number; None for
    one case. Given the posteriors the terms are independent, each with the noise of its one sample,
    so it is the Monte Carlo error and more: differences between cases are in it, as if the cases
    had been drawn anew under the same q(z).
    """

    value: float
    error: float | None
    ceiling: float
    each: Tensor = field(compare=False, repr=False)


def batchwise(p: Posteriors, parts: Sequence[Tensor]) -> Information:
    """Weighted mean over batches of mean_i E log q(z | x_i) - mean_i log (1/b) sum_j q(z_i | x_j).

    j runs over the batch. ``parts``: rows of every batch, each case in one of them; a batch weighs
    as many as its cases b. The first term is exact and the second has one sample of each case, so a
    single value can be below 0 or above the ceiling, the mean of log b. ValueError for batches that
    do not hold each case once.
    """
    each = p.expected_log_own() - p.log_aggregate(parts)
    return Information(
        *mean_and_error(each), sum(len(part) * math.log(len(part)) for part in parts) / len(p), each
    )


def whole_set(p: Posteriors, log_q: Tensor | None = None) -> Information:
    """mean_i log q(z_i | x_i) - log q(z_i), q(z) the mixture over all n cases, i itself included.

    Without bias for the information between z and a case of this set drawn at random. Both terms
    are of the same sample: so no value exceeds log n, and where all posteriors are alike it is 0
    without noise. ``log_q``: the second term, ``p.log_aggregate()``, where it is known.
    """
    each = p.log_own() - (p.log_aggregate() if log_q is None else log_q)
    return Information(*mean_and_error(each), math.log(len(p)), each)


def batches(model: Model, x: Tensor, batch: int) -> list[Tensor]:
    """Rows of the evaluation batches: documents of one length, at most ``batch`` of them.

    Else ``batch`` at random. The draw is the same every time. In the order of a file cases of one
    class may be neighbours, of which a batch would be a poor likeness of the set.
    """
    if model.facts.reads_documents:
        return groups(lengths_of(x), batch)
    places = noise.fixed({"place": ("uniform", (len(x),))}, 0, "mi_order")["place"]
    order = places.argsort(stable=True).to(x.device)
    return [part.sort().values for part in order.split(batch)]
