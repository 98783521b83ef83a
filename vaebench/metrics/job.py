"""What is measured: a model, examples, settings, and what several metrics need from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from vaebench.estimators import annealed_posterior, weights
from vaebench.estimators.log_z.partition import LogZ
from vaebench.estimators.outlier import noticed
from vaebench.estimators.sums import Sums, Together
from vaebench.metrics import log_z
from vaebench.models.base import BoltzmannPosterior, BoltzmannPrior, Model, SampledPosterior
from vaebench.protocol.log_z import posterior_chains
from vaebench.protocol.registry import unit_of
from vaebench.results import flags
from vaebench.results.stats import Measure
from vaebench.settings.records import EvalSettings
from vaebench.work.steps import Stateful


@dataclass(frozen=True)
class Job:
    """One evaluation: ``x`` (n, d) are the examples, ``settings`` the ``eval`` group of a cell.

    Nothing is computed before it is asked for.
    """

    model: Model
    x: Tensor
    settings: EvalSettings
    seed: int

    @cached_property
    def normaliser(self) -> LogZ | None:
        """log Z of the prior by the configured method; None if the prior is normalised."""
        if not isinstance(self.model, BoltzmannPrior):
            return None
        return log_z.of_prior(self.model, self.x, self.settings, self.seed, reverse=True)

    @property
    def log_z(self) -> float:
        """What must be subtracted from the model's log p(x, z), nats."""
        return float(self.normaliser.value) if self.normaliser else 0.0

    @property
    def boltzmann_posterior(self) -> bool:
        """Whether the posterior of every example is a Boltzmann machine, unnormalised."""
        return isinstance(self.model, BoltzmannPosterior)

    def stream(
        self, samples: int, chunk: int | None = None, state: Stateful | None = None
    ) -> Iterator[weights.Pass]:
        """Return the stream of ``samples`` posterior samples of every example.

        A Boltzmann posterior has as many samples as the settings say. ``chunk`` of them come at a
        time; it changes the speed only. ``state``: what the caller gathers from the samples, so
        that a stream that was stopped can be resumed.
        """
        if isinstance(self.model, BoltzmannPosterior):
            samples = posterior_chains(self.settings)
            temperatures = self.settings.posterior_temperatures
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
            precision=self.settings.precision,
        )

    def fill(self, sums: Sequence[Sums], chunk: int | None = None) -> None:
        """Fill several sums from one stream of posterior samples, each with its own number."""
        if not sums:
            return

        # One stream serves all sums. It has as many samples as the sum that needs most; each sum
        # takes the first ones, up to its own number.
        for part in self.stream(max(each.samples for each in sums), chunk, Together(sums)):
            for each in sums:
                if part.first < each.samples:
                    each.add(part)

    def measure(
        self,
        name: str,
        value: float,
        error: float | None,
        samples: int | None,
        *,
        each: Tensor | None = None,
        **extra: Any,
    ) -> Measure:
        """Return a Measure whose error is a Monte Carlo error; None if it is unknown.

        ``each``: the examples' values (n,), if ``value`` is their mean. They are searched for
        outliers.
        """
        if each is not None:
            extra |= noticed(each)
        return Measure(
            name,
            value,
            unit_of(name),
            error,
            "none" if error is None else "monte carlo",
            None,
            samples,
            extra=extra,
        )

    def with_log_z(
        self, name: str, value: float, error: float | None, samples: int, **extra: Any
    ) -> Measure:
        """Return a Measure as ``measure`` does, for a value that contains the prior's log-density.

        If the prior is unnormalised, the value contains its log Z too. Then the Measure gets
        ``log_z_error`` and, if log Z is annealed, ``log_z_ess`` and the like, see ``LogZ.trust``.
        """
        if self.normaliser:
            extra["log_z_error"] = float(self.normaliser.error)
            # Under other names than in ``trust``, since the numbers are about log Z and not about
            # this value.
            trust = self.normaliser.trust
            names = zip(flags.OF_LOG_Z, flags.OF_ANNEALING, strict=True)
            extra |= {key_here: trust[key] for key_here, key in names if key in trust}
        return self.measure(name, value, error, samples, **extra)
