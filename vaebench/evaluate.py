"""From trained parameters to Measures: every number with its unit, its error and its protocol."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from vaebench.config import METRICS, signature
from vaebench.metrics.job import Job
from vaebench.stats import Measure


def evaluate(
    model: nn.Module, x: Tensor, config: dict[str, Any], data_hash: str, seed: int, *, chunk: int | None = None
) -> list[Measure]:
    """All measures that apply to ``model``, on the cases ``x`` (n, d); those of the registry, in its order.

    ``config`` is a cell's configuration; its ``eval`` group says how many samples. All measures share one stream of
    posterior samples. NLL and bound are positive nats, mean over cases. ``chunk``: samples per pass, for speed only.
    """
    job = Job(model, x, config["eval"], seed)
    files = dict.fromkeys(file for metric in METRICS.values() for file in metric.files)
    metrics = [import_module(f"vaebench.metrics.{file}") for file in files]
    gathered = [(metric, sums) for metric in metrics if (sums := metric.start(job)) is not None]
    streamed = [sums for _, sums in gathered if hasattr(sums, "samples")]
    for part in job.stream(max(sums.samples for sums in streamed), chunk):
        for sums in streamed:
            if part.first < sums.samples:
                sums.add(part)
    found = [m for metric, sums in gathered for m in metric.measures(job, sums)]
    return [replace(m, points=len(x), signature=signature(config, m.name, m.samples, data_hash)) for m in found]
