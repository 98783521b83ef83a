"""What a metric is: it collects numbers for a job and makes Measures of them.

The numbers come from ``vaebench.estimators``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from vaebench.metrics.job import Job
from vaebench.results.stats import Measure

Collected = TypeVar("Collected")


class Metric(ABC, Generic[Collected]):
    """The base of all metrics; each file of this folder has one instance, ``METRIC``.

    What a metric collects may be a ``Sums``, with a number of ``samples`` and ``add(part)``. Then
    it receives the passes of the job's stream of posterior samples, up to the first ``samples``
    samples of each example. All metrics share one stream, which can be stopped and resumed.
    """

    @abstractmethod
    def applies(self, job: Job) -> bool:
        """Whether the job's model and settings have such a number."""

    @abstractmethod
    def collect(self, job: Job) -> Collected:
        """Return what the numbers are made of, or an object that gathers it from the stream."""

    @abstractmethod
    def measures(self, job: Job, collected: Collected) -> list[Measure]:
        """Return the Measures, once the stream has ended.

        The evaluation adds the number of examples and the protocol.
        """
