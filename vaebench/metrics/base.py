"""What a metric is: from a job, and what it collects for it, to Measures.

Numbers come from ``vaebench.estimators``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from vaebench.metrics.job import Job
from vaebench.results.stats import Measure

Collected = TypeVar("Collected")


class Metric(ABC, Generic[Collected]):
    """One file of this room, of which ``METRIC`` is the only instance.

    What it collects may be a ``Sums`` with ``samples``, a number, and ``add(part)``. Then it is
    given the passes of the job's stream of posterior samples with the first so many samples of each
    case: all metrics share one stream, and one that was stopped can be gone on with.
    """

    @abstractmethod
    def applies(self, job: Job) -> bool:
        """Whether the job's model and settings have such a number."""

    @abstractmethod
    def collect(self, job: Job) -> Collected:
        """What the numbers are made of, or what gathers it from the stream."""

    @abstractmethod
    def measures(self, job: Job, collected: Collected) -> list[Measure]:
        """The Measures, when the stream has ended.

        The evaluation adds number of cases and protocol to them.
        """
