"""One cell, some seeds, one process: data, training, evaluation, results. The room where the floors below meet."""

from __future__ import annotations

import json
import platform
import re
import resource
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from vaebench import __version__, data
from vaebench.config import Cell, identity, signature
from vaebench.errors import UserError
from vaebench.evaluate import evaluate
from vaebench.fast import choose_engine
from vaebench.stats import Measure
from vaebench.store import Store, write_atomic
from vaebench.train import Seed, evaluated_checkpoint, load_model, progress_of, train


class Session:
    """Trains and evaluates the seeds of a cell whose locks are held.

    Raises UserError when a folder holds a run of other data, DataError when the data cannot be had.
    """

    def __init__(self, cell: Cell, store: Store, seeds: list[int], force: bool = False) -> None:
        self.cell, self.store, self.config = cell, store, cell.config
        self.device = pick_device(self.config["run"]["device"])
        torch.set_num_threads(self.config["run"]["threads"])
        self.splits = data.load(self.config["data"], mirror=self.config["data"].get("mirror"))
        self.engine = choose_engine(self.config["run"]["compile"], self.config["train"]["updates"], self.device)
        self.seeds = [self._prepare(s, force) for s in seeds]
        self.pack = 1

    # ------------------------------------------------------------------------------------------------ the work

    def run(self, say, should_stop) -> list[dict[str, Any]]:
        """Train what is not trained, evaluate what is not evaluated; the results, in the order of the seeds."""
        limit = self.config["train"]["updates"]
        open_ = [s for s in self.seeds if s.status == "running" and s.update < limit]
        for start in sorted({s.update for s in open_}):
            group = [s for s in open_ if s.update == start]
            done = start

            def report(update: int, shown: dict[str, float], n: int = len(group)) -> None:
                nonlocal done
                say("updates", (update - done) * n)
                say(
                    "cell", f"{self.cell.row} / {self.cell.column}" + "".join(f" {k} {v:.2f}" for k, v in shown.items())
                )
                done = update

            self.pack = len(group)
            train(self.config, self.splits, group, self.device, self.engine, report, should_stop)
            say("updates", (limit - done) * len(group))
        return [self._finish(s, say) for s in self.seeds]

    def evaluate_only(self, say) -> list[dict[str, Any]]:
        """Evaluate the checkpoints as they are; a run that is not trained to its end stays one to be gone on with.

        Raises UserError for a seed without a checkpoint.
        """
        for s in self.seeds:
            if not s.update:
                raise UserError(f"{s.folder}: nothing is trained there yet")
        return [self._finish(s, say) for s in self.seeds]

    def _finish(self, s: Seed, say) -> dict[str, Any]:
        if s.status == "diverged":
            return self._write(s, "diverged", [])
        at_end = s.status == "trained" or s.update >= self.config["train"]["updates"]
        say("cell", f"{self.cell.row} / {self.cell.column} evaluating seed {s.seed}")
        began = time.monotonic()
        params = evaluated_checkpoint(s, self.config["train"]["select"]).params
        model = load_model(self.config, self.splits.mean, params).to(self.device)
        ev = self.config["eval"]
        x = torch.from_numpy(getattr(self.splits, ev["split"])[: ev["points"]]).to(self.device)
        measures = evaluate(model, x, self.config, self.splits.hash, s.seed)
        if s.best_update is not None:
            k = self.config["train"]["valid_samples"]
            protocol = signature(self.config, "valid_bound", k, self.splits.hash)
            protocol = re.sub(r"split:[^|]*\|points:[^|]*", "split:valid|points:all", protocol)
            measures.append(
                Measure("valid_bound", -s.best_bound, "nats", None, "none", len(self.splits.valid), k, protocol, {})
            )
        return self._write(s, "done" if at_end else "partial", measures, time.monotonic() - began)

    def _write(self, s: Seed, status: str, measures: list[Measure], eval_seconds: float = 0.0) -> dict[str, Any]:
        old = self.store.read_result(self.cell.key, s.seed) or {}
        # Measures of the same parameters under other protocols stay; those of an earlier update do not.
        kept = _kept(old, measures) if old.get("updates") == s.update else []
        result = {
            **self._head(s, status, s.reason),
            "updates_per_second": s.update / s.seconds if s.seconds else None,
            "eval_seconds": eval_seconds,
            "measures": [m.to_dict() for m in measures] + kept,
        }
        self.store.write_result(self.cell.key, s.seed, result)
        return result

    def write_failure(self, seed: int, reason: str) -> None:
        """Record that a run failed; measures it had are kept. A disk that cannot be written keeps the old file."""
        s = next(s for s in self.seeds if s.seed == seed)
        old = self.store.read_result(self.cell.key, seed) or {}
        try:
            result = {**self._head(s, "failed", reason), "measures": old.get("measures") or []}
            self.store.write_result(self.cell.key, seed, result)
        except OSError:
            pass

    def finished(self, seed: int) -> bool:
        """Whether the seed has a result that a failure beside it must not touch."""
        return (self.store.read_result(self.cell.key, seed) or {}).get("status") == "done"

    # ------------------------------------------------------------------------------------------------ the folder

    def _prepare(self, seed: int, force: bool) -> Seed:
        """Where the seed stands; a run of the same settings and a smaller budget is gone on from."""
        folder = self.store.run_dir(self.cell.key, seed)
        if force:
            for name in ("result.json", "checkpoint.safetensors", "best.safetensors", "curve.csv"):
                (folder / name).unlink(missing_ok=True)
        note = folder / "config.json"
        if note.exists() and not force:
            old = json.loads(note.read_text())
            if old.get("data_hash") != self.splits.hash:
                raise UserError(
                    f"{folder}: trained on other data ({str(old.get('data_hash'))[:8]}, now {self.splits.hash[:8]}); "
                    "move it away, or run with --force"
                )
        content = {
            "config": self.config,
            "data_hash": self.splits.hash,
            "row": self.cell.row,
            "column": self.cell.column,
        }
        s = progress_of(folder, seed)
        if not s.update and not force:
            self._extend(s)
        write_atomic(note, json.dumps(content, indent=1) + "\n")
        return s

    def _extend(self, s: Seed) -> None:
        """Start from a finished run that differs in a smaller budget only: with fixed rates it is the same run."""
        wanted = identity(self.config)
        budget = wanted["train"]["updates"]
        best: tuple[int, Path] | None = None
        for other in self.store.root.glob(f"{self.cell.key.rpartition('-')[0]}-*/seed-{s.seed}"):
            try:
                old = json.loads((other / "config.json").read_text())
                theirs = identity(old["config"])
                updates = theirs["train"]["updates"]
            except (OSError, ValueError, KeyError):
                continue
            same = {**theirs, "train": {**theirs["train"], "updates": budget}} == wanted
            if same and old["data_hash"] == self.splits.hash and updates < budget and (not best or updates > best[0]):
                best = (updates, other)
        if best is None:
            return
        # A run whose budget is no multiple of the validation interval ended with a validation of its own.
        if best[0] % self.config["train"]["valid_every"]:
            return
        for name in ("best.safetensors", "curve.csv", "checkpoint.safetensors"):
            source = best[1] / name
            if source.exists():
                write_atomic(s.folder / name, source.read_bytes())
        restored = progress_of(s.folder, s.seed)
        s.__dict__.update(restored.__dict__)

    def _head(self, s: Seed, status: str, reason: str) -> dict[str, Any]:
        return {
            "schema": 1,
            "status": status,
            "reason": reason,
            "key": self.cell.key,
            "seed": s.seed,
            "config": self.config,
            "updates": s.update,
            "best_update": s.best_update,
            "stopped_early": s.status == "trained" and s.update < self.config["train"]["updates"],
            "seconds": s.seconds,
            "pack": self.pack,
            "device": describe(self.device, self.config["run"]["threads"]),
            "engine": self.engine,
            "peak_memory_mb": peak_memory_mb(self.device),
            "versions": versions(),
            "data": {"name": self.splits.name, "hash": self.splits.hash, "hashes": self.splits.hashes},
        }


def _kept(old: dict[str, Any], new: list[Measure]) -> list[dict[str, Any]]:
    """Measures of an earlier evaluation under another protocol; the same ones are replaced."""
    taken = {m.signature for m in new}
    return [m for m in old.get("measures") or [] if m.get("signature") not in taken]


def pick_device(setting: str) -> torch.device:
    """The torch device of ``run.device``; UserError when it is not there."""
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if setting.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        number = int(setting.partition(":")[2] or 0)
        if number >= count:
            raise UserError(f"run.device={setting}: this machine has {count} CUDA devices; allowed: auto, cpu")
    return torch.device(setting)


def describe(device: torch.device, threads: int) -> str:
    """The device in words, for the results."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({_cpu_name()}, {threads} thread{'s' if threads != 1 else ''})"


@lru_cache(maxsize=1)
def _cpu_name() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        return found[1].strip() if found else platform.processor() or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def peak_memory_mb(device: torch.device) -> float:
    """Most memory this process has used, MiB: on the GPU what torch allocated, else the resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return rss / 2**20 if sys.platform == "darwin" else rss / 2**10


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """vaebench, torch, python, and the commit of a checkout ('' when installed from a wheel)."""
    where = Path(__file__).resolve().parent.parent
    commit = ""
    if (where / ".git").exists():
        try:
            git = ["git", "-C", str(where)]
            commit = subprocess.run(
                [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
            ).stdout.strip()
            dirty = subprocess.run(
                [*git, "status", "--porcelain", "vaebench", "conf"], capture_output=True, text=True
            ).stdout
            commit += "+changes" if commit and dirty.strip() else ""
        except OSError:
            pass
    return {
        "vaebench": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit,
    }
