"""The likelihood of an ensemble: the mean of its members' probabilities, again a probability."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaebench.models.base import Ensemble
from vaebench.work.steps import Box, steps


@torch.no_grad()
def log_evidence(model: Ensemble, x: Tensor, members: int) -> Tensor:
    """Return the log of the mean of p(x) over the first members.

    Args:
        model: The ensemble.
        x: Examples, (n, d), of any type.
        members: How many members, from 1; if the ensemble has fewer, all of them.

    Returns:
        (n,), nats, float64.
    """
    count = number(model, members)

    # log sum_m p_m(x), added up member by member. Members are the outer loop: a member scores all
    # parts of the data before the next one.
    starts = range(0, len(x), model.SCORED)
    sums = Box(total=torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device))
    for step in steps("members of the ensemble", count * len(starts), sums):
        member, part = divmod(step, len(starts))
        rows = slice(starts[part], starts[part] + model.SCORED)
        log_p = model.log_member(x[rows].to(model.mean.dtype), member)
        sums.total[rows] = torch.logaddexp(sums.total[rows], log_p.double())

    return sums.total - math.log(count)


def number(model: Ensemble, members: int) -> int:
    """Return how many members are taken if ``members`` are asked for."""
    return members if model.members is None else min(members, model.members)
