"""What is to be measured: a model, cases, settings, and what several metrics need of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from vaebench.estimators import annealed_posterior, weights
from vaebench.estimators.log_z.partition import LogZ
from vaebench.estimators.outlier import noticed
from vaebench.metrics import log_z
from vaebench.models.base import BoltzmannPosterior, BoltzmannPrior, Model, SampledPosterior
from vaebench.protocol.log_z import posterior_chains
from vaebench.results.stats import Measure
from vaebench.settings.records import EvalSettings
from vaebench.work.steps import Stateful


@dataclass(frozen=True)
class Job:
    """``x`` (n, d) are the cases, ``settings`` the ``eval`` group of a cell.

    Computes nothing before it is asked.
    """

    model: Model
    x: Tensor
    settings: dict[str, Any]
    seed: int

    @cached_property
    def normaliser(self) -> LogZ | None:
        """log Z of the prior by the configured method; None where the prior is normalised."""
        if not isinstance(self.model, BoltzmannPrior):
            return None
        return log_z.of_prior(self.model, self.x, self.settings, self.seed, reverse=True)

    @property
    def log_z(self) -> float:
        """What is to be subtracted from the model's log p(x, z), nats."""
        return float(self.normaliser.value) if self.normaliser else 0.0

    @property
    def boltzmann_posterior(self) -> bool:
        """Whether the posterior of every case is a Boltzmann machine, unnormalised."""
        return isinstance(self.model, BoltzmannPosterior)

    def stream(
        self, samples: int, chunk: int | None = None, state: Stateful | None = None
    ) -> Iterator[weights.Pass]:
        """``samples`` of the posterior of every case; ``chunk`` of them at a time, for speed only.

        ``state``: what the caller gathers from them, so that a stream which was
        stopped can be gone on with.
        """
        if isinstance(self.model, BoltzmannPosterior):
            samples = posterior_chains(self.settings)
            temperatures = log_z.posterior_temperatures(self.settings)
            return annealed_posterior.stream(
                self.model, self.x, samples, temperatures, self.seed, chunk=chunk, state=state
            )
        if not isinstance(self.model, SampledPosterior):
            raise TypeError(f"{type(self.model).__name__} has no posterior to be sampled")
        return weights.stream(
            self.model,
            self.x,
            samples,
            self.seed,
            chunk=chunk,
            state=state,
            precision=self.precision,
        )

    @property
    def precision(self) -> str:
        """In which the products of likelihoods are computed: ``float32`` or ``bfloat16``."""
        return EvalSettings.of(self.settings).precision

    def measure(
        self,
        name: str,
        value: float,
        error: float | None,
        samples: int | None,
        unit: str = "nats",
        *,
        each: Tensor | None = None,
        **extra: Any,
    ) -> Measure:
        """A Measure whose error is a Monte Carlo error, None where it is unknown.

        ``each``: the cases' values (n,) where ``value`` is their mean, which are
        looked through for outliers.
        """
        if each is not None:
            extra |= noticed(each)
        return Measure(
            name,
            value,
            unit,
            error,
            "none" if error is None else "monte carlo",
            None,
            samples,
            extra=extra,
        )

    def with_log_z(
        self, name: str, value: float, error: float | None, samples: int, **extra: Any
    ) -> Measure:
        """The same for a value in which the prior's log Z stands, if it lacks one."""
        if self.normaliser:
            extra["log_z_error"] = float(self.normaliser.error)
        return self.measure(name, value, error, samples, **extra)


def case_error(each: Tensor) -> float | None:
    """Standard error of the mean over cases, as if they were drawn from a population.

    None of a single one.

    Args:
        each: the cases' values, (n,).
    """
    return float(each.std() / len(each) ** 0.5) if len(each) > 1 else None
