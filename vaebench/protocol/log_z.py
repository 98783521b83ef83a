"""How the log Z that a model's densities lack is found, as a part of the protocol."""

from __future__ import annotations

from typing import Any

from vaebench.errors import UserError
from vaebench.protocol.families import FAMILIES, family
from vaebench.protocol.registry import METRICS
from vaebench.settings.records import EvalSettings

MAX_SIDE = 20
"""Largest number of units on the smaller side of a Boltzmann machine whose log Z may be found by
enumeration, which ``auto`` does then."""


VALID_POSTERIOR_TEMPERATURES = 100
"""Annealing steps of a Boltzmann posterior at a validation, if the objective has no such setting of
its own."""


def at_validation(temperatures: int, chains: int, base_rates: bool) -> EvalSettings:
    """Return how a validation anneals log Z.

    Args:
        temperatures: Number of temperatures.
        chains: Number of chains.
        base_rates: Whether the Boltzmann machine has base rates. Then annealing begins there, as in
            Salakhutdinov & Murray (2008).
    """
    if not base_rates:
        return EvalSettings(logz_temperatures=temperatures, logz_chains=chains)
    return EvalSettings(
        logz_temperatures=temperatures,
        logz_chains=chains,
        logz_base="base_rate",
        logz_spacing="late",
    )


def log_z_method(settings: EvalSettings, side: int) -> str:
    """Return ``logz_method`` with ``auto`` resolved: 'exact', 'ais' or 'tempering'.

    Args:
        settings: Those of ``eval``.
        side: Units on the smaller side of the Boltzmann machine, by which ``auto`` decides.
    """
    method = settings.logz_method
    return ("exact" if side <= MAX_SIDE else "ais") if method == "auto" else method


def log_z_parts(config: dict[str, Any], measure: str) -> list[str]:
    """Return the parts of a measure's protocol that say how log Z is found; [] for most models.

    For log Z of the prior, or of the model itself, the part is ``logz:exact``,
    ``logz:ais-10000x1024`` (temperatures x chains) or ``logz:tempering-10000x32`` (sweeps x
    ladders). If annealing begins at base rates, ``-base_rate`` is appended; if its temperatures lie
    late, ``-late``. For log Z of the posterior of each example the part is
    ``posterior:ais-500x4000``. A validation that sums over all states has ``logz:exact`` and
    ``posterior:exact``.
    """
    metric = METRICS.get(measure)
    missing = lacking(config)
    if measure.startswith("valid_"):
        return _validation_parts(config, missing) if missing else []
    # Measures that the training takes, such as times, have no log Z.
    if metric is None or not metric.files:
        return []

    settings = EvalSettings.of(config["eval"])
    parts = []
    if metric.log_z and ("prior" in missing or "evidence" in missing):
        parts.append(_log_z_part(config, settings))
    # The chains that anneal a posterior also give its samples, so every sampled measure names them.
    if metric.samples and "posterior" in missing:
        parts.append(
            f"posterior:ais-{settings.posterior_temperatures}x{posterior_chains(settings)}"
        )

    return parts


def lacking(config: dict[str, Any]) -> tuple[str, ...]:
    """Return which of 'prior', 'posterior' and 'evidence' of a cell's model lack their log Z."""
    return family(config).unnormalised


def side_of(config: dict[str, Any]) -> int:
    """Return the number of units by which ``logz_method=auto`` decides.

    These are the units on the smaller side of a prior, or the hidden units of a model of the data.
    """
    model = config["model"]
    if "evidence" in lacking(config):
        return model["units"]
    # The sides are the layers of a deep belief net, or else the halves of all latents.
    return min(model["dims"]) if "dims" in model else model["latents"] // 2


def _log_z_part(config: dict[str, Any], settings: EvalSettings) -> str:
    method = log_z_method(settings, side_of(config))
    steps = {"ais": settings.logz_temperatures, "tempering": settings.logz_sweeps}.get(method)
    # An enumeration has no steps, and no other settings.
    if not steps:
        return f"logz:{method}"

    # Settings at their defaults are not named.
    unusual = []
    if settings.logz_base != EvalSettings.logz_base:
        unusual.append(settings.logz_base)
    if settings.logz_spacing != EvalSettings.logz_spacing:
        unusual.append(settings.logz_spacing)
    return "-".join([f"logz:{method}", f"{steps}x{settings.logz_chains}", *unusual])


def _validation_parts(config: dict[str, Any], missing: tuple[str, ...]) -> list[str]:
    """Return the same parts for the bound on the validation examples.

    Settings of the objective decide them, not those of ``eval``.
    """
    objective = config.get("objective")
    if not objective:
        return []
    # An objective without these settings is of a model so small that all states are summed over.
    if "valid_temperatures" not in objective:
        return ["logz:exact", "posterior:exact"]

    base_rates = family(config).base_rates
    settings = at_validation(objective["valid_temperatures"], objective["valid_chains"], base_rates)
    parts = [_log_z_part(config, settings)]
    if "posterior" in missing:
        steps = objective.get("posterior_temperatures", VALID_POSTERIOR_TEMPERATURES)
        parts.append(f"posterior:ais-{steps}x{config['train']['valid_samples']}")
    return parts


def summed(config: dict[str, Any], measure: str) -> bool:
    """Whether a measure is a validation that sums over all states of a model that lacks a log Z.

    Such a validation takes no samples.
    """
    return measure.startswith("valid_") and "posterior:exact" in log_z_parts(config, measure)


def posterior_chains(settings: EvalSettings) -> int:
    """Return the samples of a Boltzmann posterior for each example: the most any measure takes."""
    return max(settings.bound_samples, settings.iw_samples or 0)


def check_validation(config: dict[str, Any]) -> None:
    """Refuse settings by which a validation would anneal a log Z with a single chain.

    Raises:
        UserError: If there are too few chains; it names the setting that says how many there are.
    """
    objective = config["objective"]
    missing = lacking(config)
    if "valid_temperatures" not in objective or not missing:
        return

    # The error of an annealed log Z is estimated from the spread of the chains, so it needs two.
    base_rates = family(config).base_rates
    settings = at_validation(objective["valid_temperatures"], objective["valid_chains"], base_rates)
    if log_z_method(settings, side_of(config)) == "ais" and settings.logz_chains < 2:
        raise UserError(
            f"objective.valid_chains={settings.logz_chains}: log Z is annealed; "
            "allowed here: a whole number, at least 2"
        )

    samples = config["train"]["valid_samples"]
    if "posterior" in missing and samples < 2:
        raise UserError(
            f"train.valid_samples={samples}: the posterior of every case is annealed with as many "
            "chains; allowed here: a whole number, at least 2"
        )


def check_log_z(config: dict[str, Any]) -> None:
    """Refuse settings of log Z that a cell's model does not allow.

    Raises:
        UserError: If annealing is to begin at base rates that the model does not have; if a prior
            or a model is to be enumerated and has too many units; if there are too few samples for
            the annealing of a posterior.
    """
    missing = lacking(config)
    settings = EvalSettings.of(config["eval"])
    if "posterior" in missing and posterior_chains(settings) < 2:
        raise UserError(
            f"eval.bound_samples={settings.bound_samples}: the posterior of every case is "
            "annealed with as many chains; allowed here: a whole number, at least 2, or as many "
            "eval.iw_samples"
        )

    if settings.logz_base != "uniform" and not family(config).base_rates:
        allowed = ", ".join(name for name, facts in FAMILIES.items() if facts.base_rates)
        raise UserError(
            f"eval.logz_base={settings.logz_base}: for the models {allowed} only; "
            "allowed here: uniform"
        )

    # Other methods take any size.
    if settings.logz_method != "exact" or not ("prior" in missing or "evidence" in missing):
        return

    side = side_of(config)
    if side > MAX_SIDE:
        raise UserError(
            f"eval.logz_method=exact: {side} units on the smaller side; allowed: {MAX_SIDE}, or "
            "auto, ais, tempering"
        )
