"""Mutual information of an example and its latents under q(z | x).

It is E log q(z | x) - E log q(z) (Hoffman & Johnson 2016). q(z), the mixture of the posteriors of
all examples of a split, costs a density for every pair of examples. ``batchwise`` takes the mixture
over each evaluation batch instead, as the published numbers of He et al. (2019) do. The two differ:
each is the information about which example of the mixture z came from, so it cannot exceed the log
of the number of these examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from vaebench.estimators.over_examples import mean_and_error
from vaebench.estimators.posteriors import Posteriors
from vaebench.models.base import Model
from vaebench.nn.tokens import groups, lengths_of
from vaebench.rng import noise


@dataclass(frozen=True)
class Information:
    """Mutual information and its error.

    Attributes:
        value: The estimate, nats.
        error: Standard deviation of the examples' terms, divided by the root of their number; None
            for one example. Given the posteriors the terms are independent, each with the noise of
            its one sample. So this is the Monte Carlo error and more: it includes the differences
            between examples, as if these had been drawn anew under the same q(z).
        ceiling: What the expectation of the estimate cannot exceed, nats.
        each: The examples' terms, (n,), nats; ``value`` is their mean.
    """

    value: float
    error: float | None
    ceiling: float
    each: Tensor = field(compare=False, repr=False)


def batchwise(p: Posteriors, parts: Sequence[Tensor]) -> Information:
    """Return mean_i E log q(z | x_i) - mean_i log (1/b) sum_j q(z_i | x_j), averaged over batches.

    j runs over the batch of i, and a batch has the weight b, its number of examples. The first term
    is exact and the second has one sample of each example. So a single value can be below 0 or
    above the ceiling, the mean of log b. ``parts``: rows of every batch. Raises ValueError unless
    the batches hold each example once.
    """
    each = p.expected_log_own() - p.log_aggregate(parts)
    return Information(
        *mean_and_error(each),
        sum(len(batch) * math.log(len(batch)) for batch in parts) / len(p),
        each,
    )


def whole_set(p: Posteriors, log_q: Tensor | None = None) -> Information:
    """Return mean_i log q(z_i | x_i) - log q(z_i), with the mixture q(z) over all n examples.

    Example i itself is in the mixture. The estimate has no bias for the information between z and
    an example of this set drawn at random. Both terms are of the same sample. So no value exceeds
    log n, and if all posteriors are alike it is 0 without noise. ``log_q``: the second term,
    ``p.log_aggregate()``, if it is known already.
    """
    each = p.log_own() - (p.log_aggregate() if log_q is None else log_q)
    return Information(*mean_and_error(each), math.log(len(p)), each)


def batches(model: Model, x: Tensor, batch: int) -> list[Tensor]:
    """Return the rows of the evaluation batches, of at most ``batch`` examples.

    A batch of documents has documents of one length. Other batches are drawn at random, and the
    draw is the same every time. In the order of the file, examples of one class may be neighbours,
    and a batch of these would represent the set poorly.
    """
    if model.facts.reads_documents:
        return groups(lengths_of(x), batch)

    # Sorting random keys gives a random permutation; it is cut into batches, each in the order of
    # the file. Seed 0 makes it the same for every run.
    keys = noise.fixed({"place": ("uniform", (len(x),))}, 0, "mi_order")["place"]
    order = keys.argsort(stable=True).to(x.device)
    return [rows.sort().values for rows in order.split(batch)]
