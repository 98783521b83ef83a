"""log p(x) of a model that reads an example in an order, averaged over several random ones."""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.models.base import OrderedModel
from vaebench.rng import noise
from vaebench.work.steps import Box, steps


@torch.no_grad()
def log_evidence(model: OrderedModel, x: Tensor, orders: int, seed: int) -> Tensor:
    """log p(x | order) of every example in ``orders`` random orders, (orders, n), nats, float64.

    Their mean is what Larochelle & Lauly (2012) report: the mean of LOG p, which is the bound of
    Jensen on the log of the mean of p over orders. The orders are a function of the seed and the
    number of an example.
    """
    found = Box(log_p=torch.zeros(orders, len(x), dtype=torch.float64, device=x.device))
    for k in steps("orders", orders, found):
        order = noise.fixed(model.order_noise(len(x)), seed, "eval", k, device=x.device)
        found.log_p[k] = model.score(x, order).double()
    return found.log_p


def mean_error(log_p: Tensor) -> float | None:
    """Standard error that the choice of the orders leaves in the mean over examples and orders.

    None for one order.
    """
    orders, n = log_p.shape
    if orders < 2:
        return None
    return float((log_p.var(0).sum() / orders).sqrt() / n)
