"""``run.track=mlflow``: writes to the MLflow server ``MLFLOW_TRACKING_URI``.

Without this variable it writes to a database ``mlflow.db`` beside the runs.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence

import numpy as np
from filelock import FileLock
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from vaebench.results.stats import Measure
from vaebench.results.status import Status
from vaebench.tracking.base import Subject, Tracker
from vaebench.tracking.names import as_key

KEY = "vaebench.run"
"""Tag by which a continued run finds what was logged of it before."""

LONGEST = 500
"""Longest parameter, in characters, that every store of MLflow takes."""


class MLflow(Tracker):
    """One MLflow experiment for each table, one MLflow run for each run."""

    def __init__(self, subject: Subject) -> None:
        # MLflow logs a line for every table of its database.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        subject.root.mkdir(parents=True, exist_ok=True)

        # Two processes that create the same database, or the same experiment, at once get in each
        # other's way.
        with FileLock(subject.root / ".mlflow.lock"):
            local = f"sqlite:///{subject.root.absolute() / 'mlflow.db'}"
            self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or local)
            experiment = self._experiment(f"vaebench/{subject.table}", subject)
            self._id = self._open(experiment, subject)

    def point(self, update: int, values: Mapping[str, float]) -> None:
        self._metrics(update, values)

    def image(self, name: str, update: int, pixels: np.ndarray) -> None:
        self._client.log_image(
            self._id, (pixels * 255).astype(np.uint8), artifact_file=f"{name}-{update}.png"
        )

    def text(self, name: str, update: int, lines: Sequence[str]) -> None:
        self._client.log_text(self._id, "\n".join(lines) + "\n", f"{name}-{update}.txt")

    def finish(self, status: str, update: int, measures: Sequence[Measure]) -> None:
        self._metrics(update, {f"final/{m.name}": m.value for m in measures})
        self._client.set_tag(self._id, "vaebench.status", status)
        self._client.set_terminated(self._id, "FINISHED" if status == Status.DONE else "FAILED")

    def _metrics(self, update: int, values: Mapping[str, float]) -> None:
        milliseconds = int(time.time() * 1000)
        metrics = [
            Metric(as_key(name), float(value), milliseconds, update)
            for name, value in values.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def _experiment(self, name: str, subject: Subject) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)

        # A server has a place of its own for artifacts. The local database has none, and would put
        # them into the working directory.
        artifacts = (
            None
            if os.environ.get("MLFLOW_TRACKING_URI")
            else (subject.root / "mlartifacts").absolute().as_uri()
        )
        return str(self._client.create_experiment(name, artifact_location=artifacts))

    def _open(self, experiment: str, subject: Subject) -> str:
        key = f"{subject.key}/seed-{subject.seed}"
        # MLflow's own identifiers cannot be chosen, so a tag says which run of vaebench it is.
        earlier_runs = self._client.search_runs(
            [experiment], f"tags.`{KEY}` = '{key}'", max_results=1
        )
        if earlier_runs:
            self._client.update_run(earlier_runs[0].info.run_id, status="RUNNING")
            return str(earlier_runs[0].info.run_id)

        tags = {
            "mlflow.runName": f"{subject.row} / {subject.column} / seed {subject.seed}",
            KEY: key,
        }
        run = self._client.create_run(experiment, tags=tags)

        params = [Param(name, str(value)[:LONGEST]) for name, value in subject.settings.items()]
        facts = [
            RunTag(name, str(getattr(subject, name))) for name in ("table", "row", "column", "seed")
        ]

        self._client.log_batch(run.info.run_id, params=params, tags=facts)
        return str(run.info.run_id)
