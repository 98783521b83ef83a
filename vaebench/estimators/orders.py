"""log p(x) of a model that reads an example in an order, averaged over several random orders."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.models.base import OrderedModel
from vaebench.rng import noise
from vaebench.work.steps import Box, steps


@torch.no_grad()
def log_evidence(model: OrderedModel, x: Tensor, orders: int, seed: int) -> Tensor:
    """Return log p(x | order) of every example in random orders, (orders, n), nats, float64.

    Their mean is what Larochelle & Lauly (2012) report: the mean of LOG p. By Jensen's inequality
    it is a bound on the log of the mean of p over orders. The orders depend on the seed and on the
    position of an example.
    """
    results = Box(log_p=torch.zeros(orders, len(x), dtype=torch.float64, device=x.device))
    for k in steps("orders", orders, results):
        order = noise.fixed(model.order_noise(len(x)), seed, "eval", k, device=x.device)
        results.log_p[k] = model.score(x, order).double()
    return results.log_p


def mean_error(log_p: Tensor) -> float | None:
    """Return the standard error of the mean that comes from the choice of orders.

    The mean is over examples and orders, ``log_p`` (orders, n). The error is None for one order.
    """
    orders, n = log_p.shape
    if orders < 2:
        return None

    # Orders are drawn anew for each example, so the variances of the examples' means add.
    return float((log_p.var(0).sum() / orders).sqrt() / n)
