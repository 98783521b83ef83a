"""The bound on the validation cases that selects the checkpoint: always with the same noise, so that they compare."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vaebench.metrics.bound import bound


def validation_bound(model: nn.Module, x: Tensor, samples: int, seed: int, settings: dict[str, Any]) -> float:
    """Mean bound of the cases ``x`` (n, d), nats; ``settings`` are the objective's (none: the one-sample bound)."""
    return bound(model, x, samples, seed, "valid").value
