"""The importance-weighted NLL of a model with a normalised posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaebench.estimators.importance_weighted import Importance, ImportanceSum
from vaebench.metrics import perplexity
from vaebench.models.base import SampledPosterior
from vaebench.results.stats import Measure

if TYPE_CHECKING:
    from vaebench.metrics.job import Job


def start(job: Job) -> ImportanceSum | None:
    """Models with a normalised posterior, where samples are asked for."""
    samples = job.settings["iw_samples"]
    if not samples or not isinstance(job.model, SampledPosterior):
        return None
    return ImportanceSum(len(job.x), samples, job.x.device, log_z=job.log_z)


def measures(job: Job, total: ImportanceSum) -> list[Measure]:
    """The NLL with its curve over the number of samples; of documents the perplexity besides."""
    w = total.result()
    each = total.each()
    found = [job.with_log_z("iw_nll", w.nll, w.error, w.samples, each=each, **details(w))]
    if job.model.facts.reads_documents:
        found.append(perplexity.measure(job, w.nll, w.error, w.samples, each))
    return found


def details(w: Importance) -> dict[str, object]:
    """What a result keeps beside the value and its error."""
    return {"curve": w.curve, "ess": w.ess, "ess_min": w.ess_min, "spread": w.spread, "error_by": "jackknife"}
