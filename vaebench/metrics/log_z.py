"""How the settings of an evaluation find the log Z that a model's densities lack."""

from __future__ import annotations

from typing import Any

from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.log_z.partition import LogZ
from vaebench.protocol.log_z import LOG_Z_DEFAULTS, log_z_method


def estimate(
    machine: RBM, settings: dict[str, Any], seed: int, *, reverse: bool = False, purpose: str = "logz"
) -> LogZ:
    """log Z of one machine by ``logz_method`` and the other settings; ``reverse``: annealing from above too.

    Annealing and tempering begin at the uniform distribution: a machine whose biases favour states that its couplings
    forbid is far from the one with its biases alone. Nothing else draws noise of the ``purpose``. UserError for 'exact'
    where that is too large.
    """
    settings = LOG_Z_DEFAULTS | settings
    side = min(machine.w.shape[-2:])
    method = log_z_method(settings, side)
    chains = settings["logz_chains"]
    if method == "ais":
        steps = settings["logz_temperatures"]
        return logz.ais(machine, steps, chains, seed, base="uniform", reverse=reverse, purpose=purpose)
    if method == "tempering":
        return logz.parallel_tempering(machine, settings["logz_sweeps"], chains, seed, base="uniform", purpose=purpose)
    try:
        return logz.exact(machine)
    except ValueError as e:
        raise UserError(f"eval.logz_method={settings['logz_method']}: {e}; allowed: auto, ais, tempering") from None


def posterior_temperatures(settings: dict[str, Any]) -> int:
    """Steps of annealing of a Boltzmann posterior by the ``eval`` settings."""
    return (LOG_Z_DEFAULTS | settings)["posterior_temperatures"]
