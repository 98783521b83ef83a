"""How the log Z that a model's densities lack are found, as a part of the protocol."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from vaebench.errors import UserError
from vaebench.protocol.families import FAMILIES, family
from vaebench.protocol.registry import METRICS
from vaebench.settings.records import EvalSettings

MAX_SIDE = 20
"""Units of the smaller side of a Boltzmann machine up to which log Z is found by enumeration,
unless told otherwise."""


LOG_Z_DEFAULTS: dict[str, Any] = {
    f.name: f.default
    for f in fields(EvalSettings)
    if f.name.startswith("logz") or f.name == "posterior_temperatures"
}
"""Settings of log Z where the ``eval`` option has none."""


BASE_RATE: dict[str, Any] = {"logz_base": "base_rate", "logz_spacing": "late"}
"""How a validation anneals log Z of a model over the data: as Salakhutdinov & Murray (2008) did."""


VALID_POSTERIOR_TEMPERATURES = 100
"""Steps of annealing of a Boltzmann posterior at a validation where the learning
rule has no such setting."""


def log_z_method(settings: dict[str, Any], side: int) -> str:
    """'exact', 'ais' or 'tempering', as ``logz_method`` has it.

    ``side``: units of the machine's smaller side.
    """
    method = (LOG_Z_DEFAULTS | settings)["logz_method"]
    return ("exact" if side <= MAX_SIDE else "ais") if method == "auto" else method


def log_z_parts(config: dict[str, Any], measure: str) -> list[str]:
    """How the log Z that enter a measure are found, as parts of its protocol; none for most models.

    ``logz:exact``, ``logz:ais-10000x1024`` (temperatures x chains) or ``logz:tempering-10000x32``
    (sweeps x ladders) of the prior, or of the model itself, with ``-base_rate`` and ``-late``
    behind it where these are so; ``posterior:ais-500x4000`` of a posterior for each case. A
    validation that sums over every state has ``logz:exact`` and ``posterior:exact``.
    """
    metric = METRICS.get(measure)
    without = lacking(config)
    if measure.startswith("valid_"):
        return _validation_parts(config, without) if without else []
    if metric is None or not metric.files:
        return []
    ev = LOG_Z_DEFAULTS | config["eval"]
    parts = []
    if metric.log_z and ("prior" in without or "evidence" in without):
        parts.append(_log_z_part(config, ev))
    if metric.samples and "posterior" in without:
        parts.append(f"posterior:ais-{ev['posterior_temperatures']}x{posterior_chains(ev)}")
    return parts


def lacking(config: dict[str, Any]) -> tuple[str, ...]:
    """Which of 'prior', 'posterior' have no log Z in the densities of a cell's model."""
    return family(config).unnormalised


def side_of(config: dict[str, Any]) -> int:
    """Units by which ``auto`` decides.

    Of a prior those of its smaller side, of a model of the data the hidden ones.
    """
    model = config["model"]
    if "evidence" in lacking(config):
        return model["units"]
    return min(model["dims"]) if "dims" in model else model["latents"] // 2


def _log_z_part(config: dict[str, Any], settings: dict[str, Any]) -> str:
    settings = LOG_Z_DEFAULTS | settings
    method = log_z_method(settings, side_of(config))
    steps = {"ais": "logz_temperatures", "tempering": "logz_sweeps"}.get(method)
    if not steps:
        return f"logz:{method}"
    unusual = [
        settings[key]
        for key in ("logz_base", "logz_spacing")
        if settings[key] != LOG_Z_DEFAULTS[key]
    ]
    return "-".join([f"logz:{method}", f"{settings[steps]}x{settings['logz_chains']}", *unusual])


def _validation_parts(config: dict[str, Any], without: tuple[str, ...]) -> list[str]:
    """The same for the bound on the validation cases.

    These the learning rule's settings decide and not ``eval``.
    """
    rule = config.get("objective")
    if not rule:
        return []
    if "valid_temperatures" not in rule:
        return ["logz:exact", "posterior:exact"]
    settings = {
        "logz_temperatures": rule["valid_temperatures"],
        "logz_chains": rule["valid_chains"],
    }
    if family(config).base_rates:
        settings |= BASE_RATE
    parts = [_log_z_part(config, settings)]
    if "posterior" in without:
        steps = rule.get("posterior_temperatures", VALID_POSTERIOR_TEMPERATURES)
        parts.append(f"posterior:ais-{steps}x{config['train']['valid_samples']}")
    return parts


def summed(config: dict[str, Any], measure: str) -> bool:
    """Whether a measure is the validation without samples of a model that lacks a log Z.

    By the sum over its states.
    """
    return measure.startswith("valid_") and "posterior:exact" in log_z_parts(config, measure)


def posterior_chains(settings: dict[str, Any]) -> int:
    """Samples of a Boltzmann posterior for each case: as many as any measure takes."""
    return max(settings["bound_samples"], settings["iw_samples"] or 0)


def check_log_z(config: dict[str, Any]) -> None:
    """Refuse to enumerate a prior, or a model, that has too many units for it. Raises UserError."""
    without = lacking(config)
    base = config["eval"].get("logz_base", "uniform")
    if base != "uniform" and not family(config).base_rates:
        able = ", ".join(name for name, facts in FAMILIES.items() if facts.base_rates)
        raise UserError(f"eval.logz_base={base}: for the models {able} only; allowed here: uniform")
    if (
        not ("prior" in without or "evidence" in without)
        or config["eval"].get("logz_method") != "exact"
    ):
        return
    side = side_of(config)
    if side > MAX_SIDE:
        raise UserError(
            f"eval.logz_method=exact: {side} units on the smaller side; allowed: {MAX_SIDE}, or "
            "auto, ais, tempering"
        )
