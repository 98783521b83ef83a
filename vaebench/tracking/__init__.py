"""Trackers: where curves, pictures and final measures of a run are written besides its folder.

``run.track`` names them; none is used that is not named. They are told of what the run has stored
already, so they never change a run, and one that fails is dropped with a warning while the run goes
on.
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
    """Raises UserError for a tracker whose package is not installed."""
    for name in names:
        package = TRACKERS[name][2]
        if find_spec(package) is None:
            raise UserError(
                f"run.track={name}: {package} is not installed; pip install 'vaebench[{name}]'"
            )


def begin(name: str, subject: Subject) -> Tracker:
    """The tracker ``name`` of a run. Whatever its package raises is raised."""
    module, cls, _ = TRACKERS[name]
    found: type[Tracker] = getattr(import_module(module), cls)
    return found(subject)
