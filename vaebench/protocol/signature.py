"""The signature of a measure, which says whether two numbers may be compared.

Also which measures a cell asks for, and whether its settings allow them.
"""

from __future__ import annotations

from typing import Any

from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.protocol.families import deterministic, draws_bits, family, likelihood
from vaebench.protocol.log_z import lacking, log_z_parts, summed
from vaebench.protocol.protocol import Protocol
from vaebench.protocol.registry import METRICS, is_timing
from vaebench.settings.kinds import shown
from vaebench.settings.records import EvalSettings

TRAINED_ON = "trained_on"
"""Key of a configuration: the data of the training, if a model is evaluated on other data."""


def samples_of(config: dict[str, Any], measure: str) -> int | None:
    """Return the samples per example of a measure as configured; None if it takes none."""
    metric = METRICS.get(measure)
    if metric is None or metric.samples is None or summed(config, measure):
        return None

    group, key = metric.samples
    return None if _without_latents(config, key) else config[group].get(key)


OF_LATENTS = ("bound_samples", "iw_samples", "hmc_samples")
"""Settings of ``eval`` that count samples of the latents of an example."""


def _without_latents(config: dict[str, Any], key: str) -> bool:
    """Whether a setting counts samples of latents, but the model has no latents."""
    return key in OF_LATENTS and family(config).latent == "none"


def evaluated(config: dict[str, Any], measure: str) -> list[str]:
    """Return the measures without which a trained model is not evaluated as ``config`` asks.

    Only measures whose settings ``config`` may change are listed, and ``measure``, the one that the
    table compares. All other measures of the model are taken along with these.
    """
    settings = EvalSettings.of(config["eval"])
    model = family(config)

    if model.exact:
        names = ["nll"]
    elif model.bounded:
        names = ["bound", *(["left_to_right_nll"] if settings.particles else [])]
    elif "evidence" in model.unnormalised:
        # A Boltzmann machine of the data.
        names = ["annealed_nll"]
        # Only annealing can be run backwards.
        if any(part.startswith("logz:ais") for part in log_z_parts(config, "annealed_nll")):
            names.append("annealed_nll_reverse")
        if Kind.COUNTS not in model.takes:  # with counts every document length has its own log Z
            names.append("log_z")
    else:
        # Models with latents and a posterior.
        names = ["bound", "kl"]
        # Active units are found by a variance over examples: one example is not enough. If the
        # posterior mean is not known, it needs two samples at least.
        if settings.points != 1 and (settings.bound_samples > 1 or model.encoded):
            names.append("active_units")
        # A posterior that is a point has no importance weights.
        if settings.iw_samples and not deterministic(config):
            names.append("iw_nll")
        if model.encoded:
            names.append("mi_batch")
        if model.encoded and not model.reads_documents and settings.hmc_samples:
            names.append("hmc_nll")
        if model.latent == "gaussian" and not model.reads_documents and settings.ais_chains:
            names.append("ais_nll")
        has_sampler = "posterior" not in model.unnormalised
        if settings.imputation and has_sampler and draws_bits(config):
            names.append("imputation")

    if measure in METRICS and METRICS[measure].files and measure not in names:
        names.append(measure)
    return names


def check_measure(measure: str, config: dict[str, Any]) -> None:
    """Refuse settings of a cell under which ``measure``, which its table compares, is not taken.

    Raises:
        UserError: If the samples of ``measure`` are none, or fewer than it needs. The message names
            the setting.
    """
    metric = METRICS.get(measure)
    if metric is None or metric.samples is None:
        return

    group, name = metric.samples
    model = family(config)
    value = config[group].get(name)
    if model.exact or _without_latents(config, name):  # their measures need no samples
        return

    # Active units need two samples to estimate posterior means, unless these are known.
    least = 1 if measure == "active_units" and model.encoded else metric.least
    if value is None or value < least:
        raise UserError(
            f"{group}.{name}={shown(value)}: {measure}, which this table compares, is not "
            f"measured then; allowed here: a whole number, at least {least}"
        )


def check_precision(config: dict[str, Any]) -> None:
    """Refuse an ``eval.precision`` in which the model is not evaluated.

    Raises:
        UserError: If it is not float32, and the model's family does not allow that.
    """
    precision = EvalSettings.of(config["eval"]).precision
    if precision != EvalSettings.precision and "eval" not in family(config).half:
        raise UserError(
            f"eval.precision={precision}: for models of images only; allowed here: "
            f"{EvalSettings.precision}"
        )


def turned_off(config: dict[str, Any], measure: str) -> bool:
    """Whether ``eval`` asks for no samples of a measure that takes some."""
    metric = METRICS.get(measure)
    if metric is None or metric.samples is None or metric.samples[0] != "eval":
        return False
    return getattr(EvalSettings.of(config["eval"]), metric.samples[1]) is None


def signature(
    config: dict[str, Any], measure: str, samples: int | None, data_hash: str | None = None
) -> Protocol:
    """Return the protocol of a measure; two numbers may be compared if their protocols are equal.

    For example
    ``iw_nll|data:mnist_static@8f3a12cd|split:test|points:all|samples:1000|select:valid_bound|recipe:1``.
    A time has only its data and the recipe. All other measures have, as far as these apply:

    - ``split`` and ``points``. Measures named ``valid_*`` are taken on the validation examples,
      whatever ``eval`` says: on all, or on ``objective.valid_points`` of them if each has a
      posterior to be annealed. If not all training examples are used (``train.cases``), a ``split``
      of training examples says how many.
    - ``trained``: the data of the training, if the number is of other data.
    - ``batch`` of ``mi_batch``; ``temperatures`` of ``ais_nll``; ``missing`` pixels and ``steps``
      of ``imputation``.
    - ``members`` of an ensemble, over which p(x) is averaged.
    - ``likelihood``, if it is not that of bits.
    - ``svi``: the ``refinement`` of a posterior, and ``svi_batch``: how many examples are refined
      together, on which the result depends.
    - ``precision`` of the products in a likelihood, if it is not float32.
    - ``orders`` over which log p(x) is averaged, of models that read an example in an order.
    - ``log_z_parts``, of models that lack a log Z.

    Args:
        config: Configuration of a cell.
        measure: Name of the measure.
        samples: Samples per example; None: none.
        data_hash: Hash of the data; without it the protocol is the one as configured, before any
            data were read.
    """
    data = config["data"]
    settings = EvalSettings.of(config["eval"])
    split, points = (
        ("valid", valid_points(config))
        if measure.startswith("valid_")
        else (settings.split, settings.points)
    )

    name = data["name"] + (f"@{data_hash[:8]}" if data_hash else "")
    if is_timing(measure):
        return Protocol(f"{measure}|data:{name}|recipe:{config['recipe']}")

    # The order of the parts is fixed, since protocols are compared as texts, also with stored ones.
    cases = config["train"].get("cases")
    split_part = f"split:{split}" + (f"-{cases}" if split == "train" and cases else "")

    # Which examples, and how many samples of each.
    parts = [measure, f"data:{name}"]
    if TRAINED_ON in config:
        parts.append(f"trained:{config[TRAINED_ON]}")
    parts += [split_part, f"points:{points or 'all'}"]
    if samples is not None and not summed(config, measure):
        parts.append(f"samples:{samples}")

    # What single measures depend on.
    if measure == "mi_batch":
        parts.append(f"batch:{settings.mi_batch}")
    if measure == "imputation":
        parts += _missing(settings)
    if measure == "ais_nll":
        parts.append(f"temperatures:{settings.ais_temperatures}")
    if measure == "nll" and family(config).ensemble:
        parts.append(f"members:{members(config)}")

    # What the model or its training decides for all measures.
    if unusual := likelihood(config):
        parts.append(f"likelihood:{unusual}")
    refined = refinement(config)
    if refined and not family(config).exact:
        parts += [f"svi:{refined}", f"svi_batch:{config['train']['batch']}"]

    # How the likelihood is computed, of measures into which it enters.
    if (
        settings.precision != EvalSettings.precision
        and measure in METRICS
        and METRICS[measure].likelihood
    ):
        parts.append(f"precision:{settings.precision}")
    if family(config).ordered and measure in METRICS and METRICS[measure].likelihood:
        parts.append(f"orders:{settings.orders}")

    parts += log_z_parts(config, measure)
    parts += [f"select:{config['train']['select']}", f"recipe:{config['recipe']}"]
    return Protocol("|".join(parts))


def members(config: dict[str, Any]) -> int:
    """Return how many members of an ensemble are averaged: no more than the model has masks."""
    configured = EvalSettings.of(config["eval"]).members
    # A model without this setting makes a member for every number, one of each random order.
    masks: int | None = config["model"].get("masks")
    return configured if masks is None else min(configured, masks)


def _missing(settings: EvalSettings) -> list[str]:
    """Return the parts for the missing pixels and for the steps of the chain that fills them in."""
    kind = settings.imputation or "none"
    share = f"-{settings.missing:g}" if kind == "random" else ""
    return [f"missing:{kind}{share}", f"steps:{settings.imputation_steps}"]


REFINEMENT = {"svi_rate": 1.0, "svi_momentum": 0.5, "svi_clip": 5.0}
"""Settings of the steps that refine a posterior, with their usual values."""


def refinement(config: dict[str, Any]) -> str:
    """Return how posteriors are refined: the steps and unusual settings; '' if they are not.

    For example ``10,svi_rate=0.1``.
    """
    objective = config.get("objective", {})
    if not objective.get("svi_steps"):
        return ""

    unusual = [
        f"{key}={shown(objective[key])}"
        for key, usual in REFINEMENT.items()
        if objective[key] != usual
    ]
    return ",".join([str(objective["svi_steps"]), *unusual])


def valid_points(config: dict[str, Any]) -> int | None:
    """Return how many examples, evenly spread, a validation takes; None: all.

    It takes fewer than all only if each example has a posterior to be annealed.
    """
    return (
        config.get("objective", {}).get("valid_points") if "posterior" in lacking(config) else None
    )
