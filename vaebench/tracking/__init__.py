"""Trackers: where a run's curves, pictures and final measures are written besides its folder.

``run.track`` names them; no others are used. A tracker only gets what the run has already stored,
so it never changes a run. A tracker that fails is dropped with a warning, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

from vaebench.errors import UserError
from vaebench.tracking.base import Subject, Tracker

TRACKERS: dict[str, tuple[str, str, str]] = {
    "jsonl": ("vaebench.tracking.jsonl", "Jsonl", "json"),
    "tensorboard": ("vaebench.tracking.tensorboard", "TensorBoard", "tensorboard"),
    "mlflow": ("vaebench.tracking.mlflow", "MLflow", "mlflow"),
    "wandb": ("vaebench.tracking.wandb", "WeightsAndBiases", "wandb"),
}
"""Name of a tracker -> its module, its class, the package that it needs."""


def check(names: Iterable[str]) -> None:
    """Raise UserError if the package of a tracker is not installed."""
    for name in names:
        package = TRACKERS[name][2]
        if find_spec(package) is None:
            raise UserError(
                f"run.track={name}: {package} is not installed; pip install 'vaebench[{name}]'"
            )


def begin(name: str, subject: Subject) -> Tracker:
    """Start the tracker ``name`` of a run. Whatever its package raises is passed on."""
    module, class_name, _ = TRACKERS[name]
    # Loaded only now: a tracker's package may not be installed, and may take seconds to import.
    tracker: type[Tracker] = getattr(import_module(module), class_name)
    return tracker(subject)
