"""What is measured and how: the registry of measures, and the signature by which two numbers may be compared.

Plain data and text, readable without torch: it says what vaebench.metrics does with a configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vaebench.errors import UserError
from vaebench.validate import shown


@dataclass(frozen=True)
class Metric:
    """What is measured of a trained model, under one name, in all models that have such a number.

    ``heading``: its column in a report, beside the measure of the table; empty: none. ``files``: the files in
    vaebench/metrics/ that take it, each for the models to which it applies; none where the training does. ``samples``:
    the setting that says how many samples per case it takes, ``least`` the fewest from which there is a number.
    ``log_z``: whether the prior's log Z enters it. ``timing``: whether it is a time, which is the machine's as much as
    the run's: shown where a column asks for it, never judged. ``descriptive``: whether less is no better than more, so
    that it has a difference from the published number and no verdict. ``floor``: what it cannot fall below where a case
    has a probability, and not a density.
    """

    heading: str
    files: tuple[str, ...] = ()
    samples: tuple[str, str] | None = None
    log_z: bool = False
    least: int = 1
    timing: bool = False
    descriptive: bool = False
    floor: float | None = None


METRICS: dict[str, Metric] = {
    "bound": Metric("bound", ("bound",), ("eval", "bound_samples"), log_z=True, floor=0.0),
    "iw_nll": Metric("IW-NLL", ("importance", "rbm_posterior"), ("eval", "iw_samples"), log_z=True, floor=0.0),
    "iw_nll_weighted": Metric(
        "IW-NLL, AIS-weighted", ("rbm_posterior",), ("eval", "iw_samples"), log_z=True, floor=0.0
    ),
    "nll": Metric("exact NLL", ("exact_nll",), floor=0.0),
    "kl": Metric("KL", ("bound",), ("eval", "bound_samples"), log_z=True, descriptive=True),
    "exact_kl": Metric("exact KL", ("exact_kl",)),
    "kl_gap": Metric("above least KL", ("exact_kl",)),
    "active_units": Metric("active units", ("active_units",), ("eval", "bound_samples"), least=2, descriptive=True),
    "perplexity": Metric("perplexity", ("importance", "exact_nll"), ("eval", "iw_samples"), floor=1.0),
    "mi_batch": Metric("MI (batches)", ("mutual_information",), descriptive=True),
    "mi": Metric("MI (whole set)", ("aggregate",), descriptive=True),
    "aggregate_kl": Metric("KL(q(z)||p)", ("aggregate",), descriptive=True),
    "log_z": Metric("log Z", ("normaliser",), log_z=True, descriptive=True),
    "valid_bound": Metric("", (), ("train", "valid_samples"), floor=0.0),
    "ms_per_update": Metric("", timing=True),
    "hours": Metric("", timing=True),
}
"""Every measure by its name, in the order of a report's columns."""

UNNORMALISED: dict[str, tuple[str, ...]] = {
    "rbm_vae": ("prior",),
    "rbm_vae_gaussian": ("prior",),
    "rbm_generator": ("prior",),
    "rbm_posterior": ("prior", "posterior"),
}
"""Models of whose densities a Boltzmann machine's log Z is missing: how it is found is then part of the protocol.

As the models themselves say (``unnormalised``), but readable without torch.
"""

ENCODED = ("text_vae",)
"""Models that encode a case as a Gaussian, of which means and the KL are known without samples."""

EXACT = ("text_lm",)
"""Models without latents: the likelihood is exact, and there is no bound."""

CONTINUOUS = ("linear_gaussian",)
"""Models that have a density for a case, whatever the data: its logarithm may be positive."""

MI_BATCH = 32
"""Cases of a batch within which a mutual information is taken, unless told otherwise: He et al. (2019), on text."""

MAX_SIDE = 20
"""Units of the smaller side of a Boltzmann machine up to which log Z is found by enumeration, unless told otherwise."""

LOG_Z_DEFAULTS: dict[str, Any] = {
    "logz_method": "auto",
    "logz_temperatures": 10_000,
    "logz_chains": 1024,
    "logz_sweeps": 10_000,
    "posterior_temperatures": 500,
}
"""Settings of log Z where the ``eval`` option has none; see conf/eval/dvae.yaml."""

VALID_POSTERIOR_TEMPERATURES = 100
"""Steps of annealing of a Boltzmann posterior at a validation where the learning rule has no such setting."""


def log_z_method(settings: dict[str, Any], side: int) -> str:
    """'exact', 'ais' or 'tempering', for a machine whose smaller side has ``side`` units, by ``logz_method``."""
    method = (LOG_Z_DEFAULTS | settings)["logz_method"]
    return ("exact" if side <= MAX_SIDE else "ais") if method == "auto" else method


def log_z_parts(config: dict[str, Any], measure: str) -> list[str]:
    """How the log Z that enter a measure are found, as parts of its protocol; none for most models.

    ``logz:exact``, ``logz:ais-10000x1024`` (temperatures x chains) or ``logz:tempering-10000x32`` (sweeps x ladders) of
    the prior, ``posterior:ais-500x4000`` of a posterior for each case. A validation that sums over every state has
    ``logz:exact`` and ``posterior:exact``.
    """
    metric, lacking = METRICS.get(measure), _lacking(config)
    if measure.startswith("valid_"):
        return _validation_parts(config, lacking) if lacking else []
    if metric is None or not metric.files:
        return []
    ev, parts = LOG_Z_DEFAULTS | config["eval"], []
    if metric.log_z and "prior" in lacking:
        parts.append(_prior_part(config, ev))
    if metric.samples and "posterior" in lacking:
        parts.append(f"posterior:ais-{ev['posterior_temperatures']}x{posterior_chains(ev)}")
    return parts


def _lacking(config: dict[str, Any]) -> tuple[str, ...]:
    return UNNORMALISED.get(config.get("model", {}).get("name", ""), ())


def _prior_part(config: dict[str, Any], settings: dict[str, Any]) -> str:
    method = log_z_method(settings, config["model"]["latents"] // 2)
    steps = {"ais": "logz_temperatures", "tempering": "logz_sweeps"}.get(method)
    return f"logz:{method}" + (f"-{settings[steps]}x{settings['logz_chains']}" if steps else "")


def _validation_parts(config: dict[str, Any], lacking: tuple[str, ...]) -> list[str]:
    """The same for the bound on the validation cases, which the learning rule's settings decide and not ``eval``."""
    rule = config.get("objective")
    if not rule:
        return []
    if "valid_temperatures" not in rule:
        return ["logz:exact", "posterior:exact"]
    settings = {"logz_temperatures": rule["valid_temperatures"], "logz_chains": rule["valid_chains"]}
    parts = [_prior_part(config, settings)]
    if "posterior" in lacking:
        steps = rule.get("posterior_temperatures", VALID_POSTERIOR_TEMPERATURES)
        parts.append(f"posterior:ais-{steps}x{config['train']['valid_samples']}")
    return parts


def _summed(config: dict[str, Any], measure: str) -> bool:
    """Whether a measure is the validation of a model that lacks a log Z by the sum over its states, without samples."""
    return measure.startswith("valid_") and "posterior:exact" in log_z_parts(config, measure)


def heading(measure: str) -> str:
    """What a report calls a measure."""
    return (measure in METRICS and METRICS[measure].heading) or measure


def is_descriptive(measure: str) -> bool:
    """Whether a measure describes a model without saying how good it is: its KL, say."""
    return measure in METRICS and METRICS[measure].descriptive


def is_timing(measure: str) -> bool:
    """Whether a measure is a time: of the training, on some machine, whatever is evaluated."""
    return measure in METRICS and METRICS[measure].timing


def posterior_chains(settings: dict[str, Any]) -> int:
    """Samples of a Boltzmann posterior for each case: as many as any measure takes."""
    return max(settings["bound_samples"], settings["iw_samples"] or 0)


def mi_batch(settings: dict[str, Any]) -> int:
    """Cases of a batch within which a mutual information is taken, by the settings of ``eval``."""
    return settings.get("mi_batch") or MI_BATCH


def samples_of(config: dict[str, Any], measure: str) -> int | None:
    """Samples per case of a measure by this configuration; None for a measure that takes none."""
    metric = METRICS.get(measure)
    if metric is None or metric.samples is None or _summed(config, measure):
        return None
    group, key = metric.samples
    return config[group].get(key)


def evaluated(config: dict[str, Any], measure: str) -> list[str]:
    """Measures without which a trained model is not evaluated as ``config`` asks; ``measure`` is its table's.

    Those whose settings ``config`` may change, of all that the model has: the others are taken beside them.
    """
    ev, model = config["eval"], config["model"]["name"]
    if model in EXACT:
        names = ["nll"]
    else:
        names = ["bound", "kl"]
        if ev["points"] != 1 and (ev["bound_samples"] > 1 or model in ENCODED):  # a variance over cases
            names.append("active_units")
        if ev["iw_samples"]:
            names.append("iw_nll")
        if model in ENCODED:
            names.append("mi_batch")
    if measure in METRICS and METRICS[measure].files and measure not in names:
        names.append(measure)
    return names


def check_measure(measure: str, config: dict[str, Any]) -> None:
    """Refuse settings of a cell under which the number that its table compares, ``measure``, is not taken at all.

    Raises UserError naming the setting: the samples of ``measure`` are none, or fewer than it needs.
    """
    metric = METRICS.get(measure)
    if metric is None or metric.samples is None:
        return
    group, name = metric.samples
    model, value = config["model"]["name"], config[group].get(name)
    if model in EXACT:  # whose measures need no samples
        return
    least = 1 if model in ENCODED else metric.least
    if value is None or value < least:
        raise UserError(
            f"{group}.{name}={shown(value)}: {measure}, which this table compares, is not measured then; "
            f"allowed here: a whole number, at least {least}"
        )


def check_log_z(config: dict[str, Any]) -> None:
    """Refuse to enumerate the prior of a model that has too many units for it. Raises UserError."""
    if "prior" not in _lacking(config) or config["eval"].get("logz_method") != "exact":
        return
    side = config["model"]["latents"] // 2
    if side > MAX_SIDE:
        raise UserError(
            f"eval.logz_method=exact: {side} units on the smaller side; allowed: {MAX_SIDE}, or auto, ais, tempering"
        )


def signature(config: dict[str, Any], measure: str, samples: int | None, data_hash: str | None = None) -> str:
    """The protocol of a measure: two numbers may be compared when their signatures are equal.

    For example ``iw_nll|data:mnist_static@8f3a12cd|split:test|points:all|samples:1000|select:valid_bound|recipe:1``.
    Without ``data_hash`` it is the protocol as configured, before any data were read. Measures named ``valid_*`` are
    taken on the validation cases, whatever ``eval`` says: on all, or on ``objective.valid_points`` of them where each
    has a posterior to be annealed. Models that lack a log Z have ``log_z_parts`` besides. Where not all
    training cases are used (``train.cases``) the split says how many. A time has the data and the recipe only.
    """
    data, ev = config["data"], config["eval"]
    split, points = ("valid", valid_points(config)) if measure.startswith("valid_") else (ev["split"], ev["points"])
    name = data["name"] + (f"@{data_hash[:8]}" if data_hash else "")
    if is_timing(measure):
        return f"{measure}|data:{name}|recipe:{config['recipe']}"
    cases = config["train"].get("cases")
    part = f"split:{split}" + (f"-{cases}" if split == "train" and cases else "")
    parts = [measure, f"data:{name}", part, f"points:{points or 'all'}"]
    if samples is not None and not _summed(config, measure):
        parts.append(f"samples:{samples}")
    if measure == "mi_batch":
        parts.append(f"batch:{mi_batch(ev)}")
    parts += log_z_parts(config, measure)
    parts += [f"select:{config['train']['select']}", f"recipe:{config['recipe']}"]
    return "|".join(parts)


def valid_points(config: dict[str, Any]) -> int | None:
    """Cases a validation takes, evenly spread; None: all. Only where each has a posterior to be annealed fewer."""
    return config.get("objective", {}).get("valid_points") if "posterior" in _lacking(config) else None


def signature_parts(text: str) -> dict[str, str]:
    """``bound|data:digits@8f3a|points:all`` as {"measure": "bound", "data": "digits@8f3a", "points": "all"}."""
    measure, *rest = text.split("|")
    return {"measure": measure, **dict(part.partition(":")[::2] for part in rest)}
