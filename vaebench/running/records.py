"""What a session writes to ``result.json`` of its runs.

Earlier measures that are still valid are kept in it.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vaebench.config.cells import Cell
from vaebench.data.splits import Splits
from vaebench.protocol.families import has_density
from vaebench.protocol.registry import is_timing, unit_of
from vaebench.protocol.signature import samples_of, signature, valid_points
from vaebench.results import flags
from vaebench.results.result_file import readable_measures
from vaebench.results.stats import Measure
from vaebench.results.status import Status
from vaebench.results.store import Store
from vaebench.running.machine import describe, peak_memory_mb, versions
from vaebench.training.run_state import RunState, TrainingStatus

log = logging.getLogger(__name__)

FACTS_OF_TRAINING = ("pack", "engine", "device", "peak_memory_mb", "versions")
"""Keys of a result that tell how its run was trained; a later evaluation does not change them."""

ROUNDING = 1e-5
"""Relative difference of a value that another device or number of threads may cause."""


class Records:
    """The results of a cell's seeds, whose locks are held.

    Args:
        cell: The cell that is trained.
        store: The store with its runs.
        splits: Its data.
        device: The device that trains it.
        updates: Its budget.
        earlier: Each seed's earlier result, as it was read under its lock.

    Attributes:
        packs: Seed -> number of seeds trained together, for the seeds that this session trains.
        engine: The engine of seeds whose state does not say which trains them.
    """

    def __init__(
        self,
        cell: Cell,
        store: Store,
        splits: Splits,
        device: torch.device,
        updates: int,
        earlier: Mapping[int, Mapping[str, Any]],
    ) -> None:
        self.cell = cell
        self.store = store
        self.splits = splits
        self.config = cell.config
        self.device = device
        self.updates = updates
        self.earlier = dict(earlier)
        self.packs: dict[int, int] = {}
        self.engine = "plain"

    def of_training(self, s: RunState) -> list[Measure]:
        """Return what the training itself measured.

        These are the bound that selected the checkpoint, and the training's clock.
        """
        measures = []
        if s.best_update is not None:
            samples = samples_of(self.config, "valid_bound")
            protocol = signature(self.config, "valid_bound", samples, self.splits.hash)

            # The bound of the checkpoint that is evaluated: the best one's or the last one's.
            value = (
                s.best_bound
                if self.cell.train.select == "valid_bound"
                else s.curve[-1]["valid_bound"]
            )

            # A validation that anneals every example's posterior may take only some of them.
            all_points = len(self.splits.valid)
            points = min(valid_points(self.config) or all_points, all_points)
            extra = {flags.DENSITY: True} if has_density(self.config) else {}
            measure = Measure(
                "valid_bound", value, "nats", None, "none", points, samples, protocol, extra
            )
            measures.append(replace(measure, flags=flags.of_measure(measure)))

        if s.ms_per_update is not None:
            measures.append(
                self._time("ms_per_update", s.ms_per_update, {"timed_updates": s.timed})
            )
            measures.append(self._time("hours", s.seconds / 3600, s.parts_of_time))
        return measures

    def _time(self, name: str, value: float, extra: dict[str, Any]) -> Measure:
        """Return a time of the training; no setting of the evaluation enters its protocol."""
        protocol = signature(self.config, name, None, self.splits.hash)
        return Measure(name, value, unit_of(name), signature=protocol, extra=extra)

    def status(self, s: RunState) -> Status:
        """Return the status of a seed that is evaluated now: done, diverged, or trained in part."""
        if s.status is TrainingStatus.TRAINED or s.update >= self.updates:
            return Status.DONE

        diverged = self._earlier(s).get("status") == Status.DIVERGED
        return Status.DIVERGED if diverged else Status.PARTIAL

    def _earlier(self, s: RunState) -> Mapping[str, Any]:
        """Return the result that the run had when this session began.

        Its lock is held, so nobody else has changed it since.
        """
        return self.earlier.get(s.seed, {})

    def write(
        self, s: RunState, status: Status, measures: list[Measure], eval_seconds: float = 0.0
    ) -> dict[str, Any]:
        """Write the result of a seed and return it."""
        old = self._earlier(s)

        # Measures of the same parameters under other protocols are kept; those of an earlier update
        # are not.
        same = status != Status.DIVERGED and old.get("updates") == s.update
        measures = _remeasured(old, measures, s.folder) if same else measures
        kept = _kept(old, measures) if same else []

        result = {
            **self._head(s, status, s.reason),
            "updates_per_second": s.update / s.seconds if s.seconds else None,
            "eval_seconds": eval_seconds,
            "measures": [m.to_dict() for m in measures] + kept,
        }

        # This session only evaluated the run: how it was trained is told by the earlier result.
        if s.seed not in self.packs:
            result.update({k: old[k] for k in FACTS_OF_TRAINING if k in old})

        self.store.write_result(self.cell.key, s.seed, result)
        self.earlier[s.seed] = result
        return result

    def add(self, s: RunState, measures: list[Measure]) -> dict[str, Any]:
        """Add measures of other data to the result of a seed and return it.

        Its status does not change: the run itself counts as evaluated or not, as before.
        """
        old = self._earlier(s)

        # The stored result is of another update, or there is none. Write what is known without an
        # evaluation: the new measures must not stand beside those of other parameters.
        if old.get("updates") != s.update:
            status = self.status(s)
            old = self.write(
                s, Status.TRAINED if status is Status.DONE else status, self.of_training(s)
            )

        measures = _remeasured(old, measures, s.folder)
        result = {**old, "measures": [m.to_dict() for m in measures] + _kept(old, measures)}
        self.store.write_result(self.cell.key, s.seed, result)
        self.earlier[s.seed] = result
        return result

    def fail(self, s: RunState, reason: str) -> None:
        """Record that a seed failed.

        Its measures are kept. Nothing is changed if the result is done, or if the disk is full.
        """
        old = self._earlier(s)
        if old.get("status") == Status.DONE:
            return

        # The failure is reported in any case. A full disk, perhaps its cause, must not hide it.
        with contextlib.suppress(OSError):
            result = {**self._head(s, Status.FAILED, reason), "measures": _kept(old, [])}
            self.store.write_result(self.cell.key, s.seed, result)

    def _head(self, s: RunState, status: Status, reason: str) -> dict[str, Any]:
        return {
            "schema": 1,
            "status": status,
            "reason": reason,
            "flags": list(flags.of_curve(s.curve)),
            "key": self.cell.key,
            "seed": s.seed,
            "config": self.config,
            "updates": s.update,
            "best_update": s.best_update,
            "stopped_early": s.status is TrainingStatus.TRAINED and s.update < self.updates,
            "seconds": s.seconds,
            "clock": s.clock,
            "pack": self.packs.get(s.seed, 1),
            "device": describe(self.device, self.cell.run.threads),
            "engine": s.engine or self.engine,
            "peak_memory_mb": peak_memory_mb(self.device),
            "versions": versions(),
            "data": {
                "name": self.splits.name,
                "hash": self.splits.hash,
                "hashes": self.splits.hashes,
            },
        }


def _remeasured(old: Mapping[str, Any], new: list[Measure], where: Path) -> list[Measure]:
    """Return the new measures, with earlier values that differ in ``extra["earlier"]``.

    The same parameters, seed and protocol should give the same value. If they do not, the
    parameters or the code were changed. The new value is what they give now. The earlier value is
    kept beside it, and a warning names both.
    """
    before = {measure.signature: measure for measure in readable_measures(old)}
    measures = []
    for measure in new:
        stored = before.get(measure.signature)
        if stored is None or is_timing(measure.name):
            measures.append(measure)
            continue

        # Values that were replaced before are kept as well, if the file that holds them is sound.
        earlier_values = stored.extra.get("earlier")
        earlier_values = list(earlier_values) if isinstance(earlier_values, list) else []
        if not math.isclose(measure.value, stored.value, rel_tol=ROUNDING, abs_tol=ROUNDING):
            log.warning(
                "%s: %s is %.6g now and was %.6g before, under the same protocol and seed: the "
                "new value is stored, the earlier one beside it",
                *(where, measure.name, measure.value, stored.value),
            )
            earlier_values.append(stored.value)
        measures.append(
            replace(measure, extra={**measure.extra, "earlier": earlier_values})
            if earlier_values
            else measure
        )
    return measures


def _kept(old: Mapping[str, Any], new: list[Measure]) -> list[dict[str, Any]]:
    """Return the old measures whose protocol is not among the new ones; the others are replaced."""
    new_protocols = {measure.signature for measure in new}
    stored = old.get("measures")
    old_measures = (
        [measure for measure in stored if isinstance(measure, dict)]
        if isinstance(stored, list)
        else []
    )
    return [measure for measure in old_measures if measure.get("signature") not in new_protocols]
