"""Exact KL(q || p) of an RBM, and by how much it exceeds the least possible KL.

The RBM is fitted to a distribution that can be enumerated.
"""

from __future__ import annotations

from vaebench.estimators.rbm_fit import rbm_fit
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.rbm_target import RBMTarget
from vaebench.results.stats import Measure


class ExactKL(Metric[dict[str, float]]):
    """The KL, and by how much it exceeds that of the best RBM of its size.

    Neither has an error.
    """

    def applies(self, job: Job) -> bool:
        """Whether the model is an RBM with a known target."""
        return isinstance(job.model, RBMTarget)

    def collect(self, job: Job) -> dict[str, float]:
        """Return the numbers of ``rbm_fit``."""
        if not isinstance(job.model, RBMTarget):
            raise TypeError(f"{type(job.model).__name__} has no target that is known")
        return rbm_fit(job.model)

    def measures(self, job: Job, collected: dict[str, float]) -> list[Measure]:
        """Return both measures."""
        return [
            job.measure(
                "exact_kl", collected["exact_kl"], None, None, least=collected["kl_optimum"]
            ),
            job.measure("kl_gap", collected["gap"], None, None),
        ]


METRIC = ExactKL()
