"""The log Z that a model's densities lack: found once, by the configured method, with an error of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.log_z.partition import LogZ
from vaebench.protocol.log_z import LOG_Z_DEFAULTS, log_z_method
from vaebench.results.stats import Measure

if TYPE_CHECKING:
    from vaebench.metrics.job import Job


def estimate(
    machine: RBM, settings: dict[str, Any], seed: int, *, reverse: bool = False, purpose: str = "logz"
) -> LogZ:
    """log Z of one machine by ``logz_method`` and the other settings; ``reverse``: annealing from above too.

    Annealing and tempering begin at the uniform distribution: a machine whose biases favour states that its couplings
    forbid is far from the one with its biases alone. Nothing else draws noise of the ``purpose``. UserError for 'exact'
    where that is too large.
    """
    settings, side = LOG_Z_DEFAULTS | settings, min(machine.w.shape[-2:])
    method, chains = log_z_method(settings, side), settings["logz_chains"]
    if method == "ais":
        steps = settings["logz_temperatures"]
        return logz.ais(machine, steps, chains, seed, base="uniform", reverse=reverse, purpose=purpose)
    if method == "tempering":
        return logz.parallel_tempering(machine, settings["logz_sweeps"], chains, seed, base="uniform", purpose=purpose)
    try:
        return logz.exact(machine)
    except ValueError as e:
        raise UserError(f"eval.logz_method={settings['logz_method']}: {e}; allowed: auto, ais, tempering") from None


def start(job: Job) -> LogZ | None:
    """Models whose prior is unnormalised."""
    return job.normaliser


def measures(job: Job, found: LogZ) -> list[Measure]:
    """log Z itself. ``upper`` is too large on average where the value is too small: together they enclose log Z.

    Where ``upper_exact`` is false ``upper`` begins at the chains of the value, and can lie below it by what they miss.
    """
    extra: dict[str, Any] = {"method": found.method}
    if found.ess is not None:
        extra["ess"] = float(found.ess)
    if found.upper is not None:
        extra |= {"upper": float(found.upper), "upper_error": float(found.upper_error)}
        extra["upper_exact"] = found.upper_exact is not False
    if found.swap_rates:
        extra |= {"swap_rates": found.swap_rates[0].tolist(), "temperatures": found.temperatures[0].tolist()}
    return [Measure("log_z", float(found.value), "nats", float(found.error), "log Z", extra=extra)]
