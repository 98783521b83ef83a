"""The likelihood of an ensemble.

The mean of the probabilities of its members, which is a probability again.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaebench.models.base import Ensemble
from vaebench.work.steps import Box, steps


@torch.no_grad()
def log_evidence(model: Ensemble, x: Tensor, members: int) -> Tensor:
    """log of the mean of p(x) over the first ``members``.

    Or over as many as there are, if these are fewer.

    Args:
        model: The ensemble.
        x: Examples, (n, d), of any type.
        members: From 1.

    Returns:
        (n,), nats, float64.
    """
    count = number(model, members)
    parts = range(0, len(x), model.SCORED)
    sums = Box(total=torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device))
    for step in steps("members of the ensemble", count * len(parts), sums):
        member, place = divmod(step, len(parts))
        rows = slice(parts[place], parts[place] + model.SCORED)
        log_p = model.log_member(x[rows].to(model.mean.dtype), member)
        sums.total[rows] = torch.logaddexp(sums.total[rows], log_p.double())
    return sums.total - math.log(count)


def number(model: Ensemble, members: int) -> int:
    """How many members are taken if ``members`` are asked for."""
    return members if model.members is None else min(members, model.members)
