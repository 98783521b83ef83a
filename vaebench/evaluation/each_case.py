"""A trained model on every case of its evaluation: bound, KL, log p(x), effective sample size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.estimators.sums import Sums, Together
from vaebench.metrics import bound, exact_nll, importance
from vaebench.metrics.job import Job
from vaebench.models.base import Model


@torch.no_grad()
def each_case(
    model: Model, x: Tensor, settings: dict[str, Any], seed: int
) -> dict[str, np.ndarray]:
    """What the measures of an evaluation are means of, with the same noise.

    Args:
        model: The trained model.
        x: Examples, (n, d).
        settings: The ``eval`` settings of its cell.
        seed: That of the run.

    Returns:
        Name -> (n,) float64. Of models with latents ``bound`` and ``kl``; with a posterior that can
        be sampled at once and ``eval.iw_samples`` ``iw_nll`` and ``ess`` (between 1 and the number
        of samples); of models whose likelihood is known ``nll``. Nats, positive as in results.

    Raises:
        UserError: If none of these is known of the model.
    """
    job = Job(model, x, settings, seed)
    found: dict[str, Tensor] = {}
    if exact_nll.METRIC.applies(job):
        found["nll"] = -exact_nll.METRIC.collect(job)

    bounds = bound.METRIC.collect(job) if bound.METRIC.applies(job) else None
    weights = importance.METRIC.collect(job) if importance.METRIC.applies(job) else None
    _stream(job, [sums for sums in (bounds, weights) if sums is not None])
    if bounds is not None:
        found |= {"bound": bounds.each(), "kl": bounds.each_kl()}
    if weights is not None:
        found |= {"iw_nll": weights.each(), "ess": weights.each_ess()}
    if not found:
        raise UserError(
            f"{type(model).__name__} has no bound and no likelihood that is known of each case"
        )
    return {name: v.double().cpu().numpy() for name, v in found.items()}


def _stream(job: Job, sums: list[Sums]) -> None:
    """Feed the sums from one stream of posterior samples."""
    if not sums:
        return
    for part in job.stream(max(each.samples for each in sums), None, Together(sums)):
        for each in sums:
            if part.first < each.samples:
                each.add(part)
