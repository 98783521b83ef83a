"""The registry of measures: what is measured of a trained model, and what a report calls it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number that is measured of trained models, under one name in all models that have it.

    Args:
        heading: Its column in a report, beside the measure of the table; empty: none.
        files: The files in vaebench/metrics/ that take it, each for the models to which it applies;
            empty if the training takes it.
        samples: Group and name of the setting that says how many samples per example it takes.
        log_z: Whether the log Z of a prior or a model enters it.
        least: The fewest samples from which there is a number.
        timing: Whether it is a time. A time depends on the machine as much as on the run, so it is
            shown if a column asks for it, and never judged.
        descriptive: Whether less is no better than more. It then has a difference from the
            published number, but no verdict.
        likelihood: Whether log p(x | z) enters it as the model computes it in an evaluation: in
            the precision of ``eval``, over its orders. Measures that anneal or move z compute it in
            float32.
        floor: The least possible value, if an example has a probability and not a density.
        unit: The unit of its values, and of the margin of a table that judges by it.
    """

    heading: str
    files: tuple[str, ...] = ()
    samples: tuple[str, str] | None = None
    log_z: bool = False
    least: int = 1
    timing: bool = False
    descriptive: bool = False
    likelihood: bool = False
    floor: float | None = None
    unit: str = "nats"


def _of_tokens(heading: str, files: tuple[str, ...], samples: str) -> Metric:
    """Return the metric of a perplexity of documents as counts.

    Args:
        heading: See Metric.
        files: See Metric.
        samples: The setting of ``eval`` that says how many samples it takes.
    """
    of_rbms = "length_nll" in files  # Boltzmann machines, whose log Z enters it
    return Metric(
        heading,
        files,
        ("eval", samples),
        log_z=of_rbms,
        likelihood=True,
        floor=1.0,
        unit="per token",
    )


DOCUMENTS = ("bound", "exact_nll", "order_nll", "evidence_bound", "length_nll")
"""The files that measure the perplexities of documents as counts."""

METRICS: dict[str, Metric] = {
    # NLLs and bounds: of models with latents, exact ones, of Boltzmann machines.
    "bound": Metric(
        "bound",
        ("bound", "evidence_bound"),
        ("eval", "bound_samples"),
        log_z=True,
        likelihood=True,
        floor=0.0,
    ),
    "iw_nll": Metric(
        "IW-NLL",
        ("importance", "rbm_posterior"),
        ("eval", "iw_samples"),
        log_z=True,
        likelihood=True,
        floor=0.0,
    ),
    "iw_nll_weighted": Metric(
        "IW-NLL, AIS-weighted",
        ("rbm_posterior",),
        ("eval", "iw_samples"),
        log_z=True,
        likelihood=True,
        floor=0.0,
    ),
    "ais_nll": Metric("AIS-NLL", ("annealed_nll",), ("eval", "ais_chains"), least=2, floor=0.0),
    "hmc_nll": Metric("HMC-NLL", ("hmc_nll",), ("eval", "hmc_samples"), least=2),
    "nll": Metric("exact NLL", ("exact_nll", "order_nll"), likelihood=True, floor=0.0),
    "left_to_right_nll": Metric(
        "left-to-right NLL", ("left_to_right",), ("eval", "particles"), likelihood=True, floor=0.0
    ),
    "annealed_nll": Metric(
        "annealed NLL", ("rbm_nll", "length_nll"), log_z=True, likelihood=True, floor=0.0
    ),
    "annealed_nll_reverse": Metric(
        "annealed NLL, reverse", ("rbm_nll", "length_nll"), log_z=True, likelihood=True, floor=0.0
    ),
    # How latents are used, and how far a posterior is from its target.
    "kl": Metric("KL", ("bound",), ("eval", "bound_samples"), log_z=True, descriptive=True),
    "exact_kl": Metric("exact KL", ("exact_kl",)),
    "kl_gap": Metric("above least KL", ("exact_kl",)),
    "active_units": Metric(
        "active units",
        ("active_units",),
        ("eval", "bound_samples"),
        least=2,
        descriptive=True,
        unit="units",
    ),
    # Perplexities: of documents as tokens, then of documents as counts.
    "perplexity": Metric(
        "perplexity",
        ("importance", "exact_nll"),
        ("eval", "iw_samples"),
        likelihood=True,
        floor=1.0,
        unit="per token",
    ),
    "document_perplexity": _of_tokens("perplexity per document", DOCUMENTS, "bound_samples"),
    "pooled_perplexity": _of_tokens("pooled perplexity", DOCUMENTS, "bound_samples"),
    "iw_document_perplexity": _of_tokens(
        "IW perplexity per document", ("importance",), "iw_samples"
    ),
    "iw_pooled_perplexity": _of_tokens("IW pooled perplexity", ("importance",), "iw_samples"),
    "left_to_right_perplexity": _of_tokens(
        "left-to-right perplexity per document", ("left_to_right",), "particles"
    ),
    "left_to_right_pooled_perplexity": _of_tokens(
        "left-to-right pooled perplexity", ("left_to_right",), "particles"
    ),
    # What is left: information in the latents, missing pixels, normalisers.
    "mi_batch": Metric("MI (batches)", ("mutual_information",), descriptive=True),
    "mi": Metric("MI (whole set)", ("aggregate",), descriptive=True),
    "aggregate_kl": Metric("KL(q(z)||p)", ("aggregate",), descriptive=True),
    "imputation": Metric(
        "wrong pixels", ("imputation",), ("eval", "imputation_chains"), least=2, unit="%"
    ),
    "log_z": Metric("log Z", ("normaliser", "rbm_nll"), log_z=True, descriptive=True),
    "log_z_reverse": Metric("log Z, reverse", ("rbm_nll",), log_z=True, descriptive=True),
    # Numbers that the training takes.
    "valid_bound": Metric("", (), ("train", "valid_samples"), floor=0.0),
    "ms_per_update": Metric("", timing=True, unit="ms"),
    "hours": Metric("", timing=True, unit="h"),
}
"""Every measure by its name, in the order of a report's columns."""


def heading(measure: str) -> str:
    """Return what a report calls a measure: its heading, or else its name."""
    return (measure in METRICS and METRICS[measure].heading) or measure


def unit_of(measure: str) -> str:
    """Return the unit of a measure; nats if it is not known."""
    return METRICS[measure].unit if measure in METRICS else "nats"


def is_descriptive(measure: str) -> bool:
    """Whether a measure describes a model without saying how good it is, as its KL does."""
    return measure in METRICS and METRICS[measure].descriptive


def is_timing(measure: str) -> bool:
    """Whether a measure is a time of the training, which no evaluation setting changes."""
    return measure in METRICS and METRICS[measure].timing
