"""The importance-weighted NLL of a model with a normalised posterior.

Documents have perplexities too.
"""

from __future__ import annotations

from vaebench.estimators.importance_weighted import Importance, ImportanceSum
from vaebench.metrics import document_perplexity, perplexity
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.base import SampledPosterior
from vaebench.results.stats import Measure


class ImportanceNLL(Metric[ImportanceSum]):
    """The NLL, with its curve over the number of samples."""

    def applies(self, job: Job) -> bool:
        """Whether the model has a normalised posterior, and the settings ask for samples.

        If the posterior is a single point, all samples are the same and there is nothing to weigh.
        """
        if not job.settings.iw_samples or not isinstance(job.model, SampledPosterior):
            return False
        return not job.model.deterministic

    def collect(self, job: Job) -> ImportanceSum:
        """Return sums of the weights of every example."""
        samples = job.settings.iw_samples
        assert samples is not None  # by ``applies``
        return ImportanceSum(len(job.x), samples, job.x.device, log_z=job.log_z)

    def measures(self, job: Job, collected: ImportanceSum) -> list[Measure]:
        """Return the NLL and, for documents, the perplexities."""
        result = collected.result()
        each = collected.each()
        measures = [
            job.with_log_z(
                "iw_nll", result.nll, result.error, result.samples, each=each, **details(result)
            )
        ]

        if job.model.facts.reads_documents:
            measures.append(perplexity.measure(job, result.nll, result.error, result.samples, each))

        names = document_perplexity.PER_DOCUMENT_IW, document_perplexity.POOLED_IW
        # One sample gives no variance: the jackknife would say NaN.
        variance = collected.variance() if result.samples > 1 else None
        return [
            *measures,
            *document_perplexity.measures(job, each, variance, result.samples, names),
        ]


def details(w: Importance) -> dict[str, object]:
    """Return what a result keeps besides the value and its error."""
    return {
        "curve": w.curve,
        "ess": w.ess,
        "ess_min": w.ess_min,
        "spread": w.case_error,
        "error_by": "jackknife",
    }


METRIC = ImportanceNLL()
