"""Numbers of each example of an evaluation: bound, KL, log p(x), effective sample size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.metrics import bound, exact_nll, importance
from vaebench.metrics.job import Job
from vaebench.models.base import Model
from vaebench.settings.records import EvalSettings


@torch.no_grad()
def each_case(model: Model, x: Tensor, settings: EvalSettings, seed: int) -> dict[str, np.ndarray]:
    """Return the numbers that the measures of an evaluation average, with the same noise.

    Args:
        model: The trained model.
        x: Examples, (n, d).
        settings: The ``eval`` settings of its cell.
        seed: Seed of the run.

    Returns:
        Name -> (n,) float64; nats, except for ``ess``. NLL and bound have the sign that results
        have: positive for probabilities. A model with latents has ``bound`` and ``kl``. If its
        posterior is sampled directly and ``eval.iw_samples`` is set, it has ``iw_nll`` and ``ess``
        (between 1 and the number of samples). A model with a known likelihood has ``nll``.

    Raises:
        UserError: If the model has none of these.
    """
    job = Job(model, x, settings, seed)
    by_name: dict[str, Tensor] = {}
    if exact_nll.METRIC.applies(job):
        by_name["nll"] = -exact_nll.METRIC.collect(job)

    # Both take their samples from one stream, as an evaluation does, so that they see the same.
    bounds = bound.METRIC.collect(job) if bound.METRIC.applies(job) else None
    weights = importance.METRIC.collect(job) if importance.METRIC.applies(job) else None
    job.fill([sums for sums in (bounds, weights) if sums is not None])

    if bounds is not None:
        by_name |= {"bound": bounds.each(), "kl": bounds.each_kl()}
    if weights is not None:
        by_name |= {"iw_nll": weights.each(), "ess": weights.each_ess()}
    if not by_name:
        raise UserError(f"{model.called} has no bound and no likelihood that is known of each case")

    return {name: v.double().cpu().numpy() for name, v in by_name.items()}
