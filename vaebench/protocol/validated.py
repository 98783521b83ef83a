"""What the validations of a cell measure, in words."""

from __future__ import annotations

from typing import Any

from vaebench.protocol.families import family
from vaebench.protocol.log_z import log_z_parts

OF_RULES = {
    "rbm_kl": "exact KL",
    "order_agnostic": "bound",  # the mean of log p over orders, below the log of the mean
}
"""Objective -> what its validations measure, for objectives that decide it, not the model."""


def validated_by(config: dict[str, Any]) -> str:
    """Return what a cell's validation measures, without its sign.

    It follows from the model and the objective, as in ``vaebench.metrics.validation``, which
    decides it from the built ones.
    """
    by_rule = OF_RULES.get(config["objective"]["name"])
    if by_rule:
        return by_rule

    parts = log_z_parts(config, "valid_bound")
    if "posterior:exact" in parts or family(config).exact:
        return "exact NLL"
    if "evidence" in family(config).unnormalised:
        return "annealed NLL"
    # What is left has latents. The models with a Boltzmann prior are validated by importance
    # weights, all others by the bound.
    return "IW-NLL" if parts else "bound"
