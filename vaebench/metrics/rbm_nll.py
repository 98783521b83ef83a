"""The NLL of a Boltzmann machine over the data.

Its log Z is annealed in both directions (Salakhutdinov & Murray 2008). From the base up, the
estimate of log Z is too small on average, so the NLL is too good: an annealing that fails looks
like a better model. From samples of the RBM down, it is too large on average. The two enclose
the NLL as far as the latter are samples of the RBM.

Their chains start at examples. So they include modes at the data, which the run from below may
miss. They do not include modes far from the data, where RBMs trained by short chains may have
nearly all of their mass. Then the estimate from above is that of the data's modes alone, and lies
below the estimate from below.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaebench.data import examples
from vaebench.estimators.log_z.partition import LogZ
from vaebench.estimators.over_examples import standard_error
from vaebench.metrics import log_z
from vaebench.metrics.base import Metric
from vaebench.metrics.job import Job
from vaebench.models.rbm import BinaryRBM
from vaebench.protocol.log_z import log_z_method
from vaebench.results.stats import Measure
from vaebench.rng import noise
from vaebench.work.steps import Box, steps

BURN = 1000
"""Sweeps that chains make from the examples before they are annealed from above."""


class Annealed(NamedTuple):
    """Free energies of the examples, (n,), float64, and log Z of the RBM."""

    free_energy: Tensor
    log_z: LogZ


class RBMNLL(Metric[Annealed]):
    """Mean of F(x) + log Z, from below and from above, and both values of log Z."""

    def applies(self, job: Job) -> bool:
        """Whether the model is a Boltzmann machine over the data."""
        return isinstance(job.model, BinaryRBM)

    def collect(self, job: Job) -> Annealed:
        """Return free energies and log Z.

        Free energies are in the model's precision; sums of them and of weights are in float64.
        """
        model = job.model
        if not isinstance(model, BinaryRBM):
            raise TypeError(f"{type(model).__name__} is no Boltzmann machine over the data")
        energies = log_z.free_energies(model, job.x)

        # Only annealing has a way down; its chains start at examples.
        annealed = log_z_method(job.settings, model.rbm().b2.shape[-1]) == "ais"
        reverse = relaxed(model, job.x, job.settings.logz_chains, job.seed) if annealed else False
        return Annealed(energies, log_z.of_data(model, job.settings, job.seed, reverse=reverse))

    def measures(self, job: Job, collected: Annealed) -> list[Measure]:
        """Return the NLL and log Z in both directions.

        ``spread`` is the standard error of the mean over examples. Free energies are exact, so only
        log Z has an error.
        """
        estimate = collected.log_z
        energy = float(collected.free_energy.mean())
        value = float(estimate.value)

        # The error is 0 because free energies are exact; that of log Z stands beside it.
        measures = [
            job.measure(
                "annealed_nll",
                energy + value,
                0.0,
                None,
                each=collected.free_energy + value,
                spread=standard_error(collected.free_energy),
                log_z=value,
                log_z_error=float(estimate.error),
                **estimate.trust,
            ),
            _log_z("log_z", value, float(estimate.error), method=estimate.method, **estimate.trust),
        ]

        # Tempering has no estimate from above.
        if estimate.upper is None or estimate.upper_error is None:
            return measures

        upper = float(estimate.upper)
        error = float(estimate.upper_error)
        details: dict[str, Any] = {"upper_exact": estimate.upper_exact is not False}
        if estimate.upper_ess is not None:
            details |= {"chains": estimate.chains, "ess": float(estimate.upper_ess)}

        return [
            *measures,
            job.measure(
                "annealed_nll_reverse",
                energy + upper,
                0.0,
                None,
                log_z=upper,
                log_z_error=error,
                **details,
            ),
            _log_z("log_z_reverse", upper, error, **details),
        ]


def _log_z(name: str, value: float, error: float, **extra: Any) -> Measure:
    return Measure(name, value, "nats", error, "log Z", extra=extra)


@torch.no_grad()
def relaxed(model: BinaryRBM, x: Tensor, chains: int, seed: int) -> Tensor:
    """Return ``chains`` states (chains, d) after BURN sweeps from examples.

    The examples are spread evenly over ``x``. If they are too few, they are taken more than once.
    """
    first_states = examples.every_nth(x, chains)
    first_states = first_states.repeat(-(-chains // len(first_states)), 1)[:chains].to(
        model.mean.dtype
    )
    state = Box(x=first_states)
    shapes = model.gibbs_noise(1, chains)
    for sweep in steps("chains from the cases", BURN, state):
        state.x = model.gibbs(state.x, noise.fixed(shapes, seed, "relaxed", sweep, device=x.device))
    return state.x


METRIC = RBMNLL()
