"""Training: one readable loop for every family. Early stopping, checkpoints, what happens to a NaN.

A call trains a pack of seeds of one cell that stand at the same update. Every seed has its own folder with

- ``checkpoint.safetensors``: everything needed to go on, written at every validation and at least once a minute;
- ``best.safetensors``: the parameters with the best validation bound so far;
- ``curve.csv``: one line per validation, a view of what the checkpoint holds, bounds as positive nats;
- ``snapshots/``: the parameters after the numbers of updates that ``train.snapshots`` lists.

A process may die at any moment. The best parameters are written before the checkpoint that speaks of them, so a
checkpoint never names a best that is not there; what was done after it is done again, with the same noise.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaebench import checkpoint, models, noise, objectives, optim, snapshots
from vaebench.batches import Batches, check_order, lengths_of
from vaebench.checkpoint import Checkpoint
from vaebench.data.splits import Splits
from vaebench.errors import Interrupted, UserError
from vaebench.fast import Pack
from vaebench.files import write_atomic
from vaebench.inner import inner_updates
from vaebench.metrics.validation import validation
from vaebench.objectives.base import Objective
from vaebench.steps import Work
from vaebench.store import BOUNDS, UNIT

SAVE_SECONDS = 60.0
"""Upper limit, in seconds, of the updates lost when the process is killed, however rare the validations are."""

PATIENCE = 1.0
"""Seconds that a validation may take before it is stopped within: one that ends so soon is let end."""

MEASURED = {"measured": True}
"""Marks what is told of a run and is no state of it: a checkpoint that lacks it is gone on with, from its default."""


@dataclass
class Seed:
    """Where one seed of the pack stands.

    ``curve`` has one entry per validation; ``sums`` are the metrics since the last one, summed over ``count``
    updates; ``stalled`` counts validations without improvement; ``saved`` is the update of the checkpoint, 0 where
    there is none. ``seconds`` are those of updates and validations; ``update_seconds`` those of the ``timed`` updates
    alone, which are fewer than all where a checkpoint did not keep them. ``engine``: the one that it is trained by,
    see vaebench.fast; '' where a checkpoint does not say. Bounds in ``curve`` and ``best_bound`` are positive nats,
    lower is better, as in results.
    """

    seed: int
    folder: Path
    update: int = 0
    seconds: float = 0.0
    status: str = "running"
    reason: str = ""
    curve: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    best_update: int | None = None
    best_bound: float = math.inf
    stalled: int = 0
    saved: int = 0
    update_seconds: float = field(default=0.0, metadata=MEASURED)
    timed: int = field(default=0, metadata=MEASURED)
    engine: str = field(default="", metadata=MEASURED)

    META = ("update", "seconds", "status", "reason", "curve", "sums", "count", "best_update", "stalled")
    META += ("update_seconds", "timed", "engine")

    VERSION = 2
    """Of what a checkpoint keeps. Those of version 1, which do not name it, have bounds of the opposite sign."""

    def meta(self) -> dict[str, Any]:
        """What the checkpoint keeps beside the tensors; floats survive JSON bit for bit."""
        best = None if self.best_update is None else self.best_bound
        kept = {k: getattr(self, k) for k in self.META}
        return {**kept, "best_bound": best, "seed": self.seed, "version": self.VERSION}

    def restore(self, meta: dict[str, Any]) -> None:
        """Take over what a checkpoint kept, of this version or the first. KeyError where state is missing."""
        measured = {f.name: f.default for f in fields(self) if f.metadata.get("measured")}
        kept = {k: meta[k] for k in (*self.META, "best_bound") if k in meta or k not in measured}
        kept = {**measured, **kept}
        self.__dict__.update(kept, saved=kept["update"])
        self.best_bound = math.inf if kept["best_bound"] is None else kept["best_bound"]

        if meta.get("version", 1) == 1:
            self.curve = [{k: -v if k in BOUNDS else v for k, v in point.items()} for point in self.curve]
            self.best_bound = math.inf if kept["best_bound"] is None else -kept["best_bound"]

    def stop(self, status: str, reason: str) -> None:
        """Train this seed no further."""
        self.status, self.reason = status, reason

    @property
    def ms_per_update(self) -> float | None:
        """Milliseconds of one update, its noise and batch included and validations not; None where none was timed.

        Of a pack it is this seed's share of the common time.
        """
        return 1000 * self.update_seconds / self.timed if self.timed else None

    @property
    def parts_of_time(self) -> dict[str, float]:
        """Hours of the updates, and of the stretches between validations that had inner loops."""
        looped = before = 0.0
        for point in self.curve:
            looped += point["seconds"] - before if point.get("train_inner") else 0.0
            before = point["seconds"]
        return {"updates": self.update_seconds / 3600, "with_inner_loops": looped / 3600}

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint to evaluate when selection is by the validation bound."""
        return self.folder / "best.safetensors"


Report = Callable[[int, dict[str, float]], None]
"""Called with the number of updates done and what to show beside the progress bar."""


def progress_of(folder: Path, seed: int) -> Seed:
    """Where the seed in ``folder`` stands, from its checkpoint; at update 0 where there is none.

    Raises UserError where the checkpoint is damaged.
    """
    out = Seed(seed, folder)
    if out.last.exists():
        meta = checkpoint.read(out.last).meta
        try:
            out.restore(meta)
        except KeyError as e:
            raise checkpoint.damaged(out.last, f"no {e.args[0]} in it") from None
    return out


def train(
    config: dict[str, Any],
    splits: Splits,
    seeds: list[Seed],
    device: torch.device,
    engine: str,
    report: Report = lambda update, shown: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Seed]:
    """Train ``seeds``, which all stand at the same update, to the end of their budget or early stopping.

    Returns them with status 'trained' or 'diverged'. Raises Interrupted, with everything saved (of an inner loop
    nothing is, it is made again), when ``should_stop`` says so. ``config`` is the cell's; ``engine`` see vaebench.fast.
    """
    cfg = config["train"]
    for s in seeds:
        s.engine = engine
    model = models.build(config["model"], splits.mean)
    objective = objectives.build(config["objective"], model).to(device)
    rule = optim.build(config["optim"], objective.largest_rates(cfg["batch"]))
    data = torch.from_numpy(splits.train).to(device)
    parts = [_load_or_start(s, objective, rule, config, len(data)) for s in seeds]
    valid = torch.from_numpy(splits.valid).to(device)
    batches = batches_of(config, splits)
    updates, every = in_updates(config, batches, "updates"), in_updates(config, batches, "valid_every")
    pack = Pack(objective, rule, *_on(parts, device), data, splits.stochastic, engine, updates, splits.tokens)
    ids, length = [s.seed for s in seeds], objective.block or noise.BLOCK
    update, saved = seeds[0].update, time.monotonic()
    stops = sorted(cfg.get("snapshots", ()))
    if not update:  # later ones were taken before the checkpoint from which a run goes on
        _keep(seeds, pack, objective, update, stops)

    def unfinished() -> bool:
        return update < updates and any(s.status == "running" for s in seeds)

    while unfinished():
        block, offset = divmod(update, length)
        began = time.monotonic()  # the first updates of a block pay for its noise
        draws = noise.update_block(pack.draws(cfg["batch"]), ids, block, device, length)
        order = batches.block(ids, block, length).to(device)
        pixels = (cfg["batch"], data.shape[1])
        grey = noise.binarize_block(pixels, ids, block, device, length) if splits.stochastic else None
        while offset < length and unfinished():
            near = min((n - update for n in stops if n > update), default=updates)
            steps = 1 if objective.alone else min(length - offset, every - update % every, updates - update, near)
            rows, only, inner = slice(offset, offset + steps), None, {}
            if objective.alone:
                made = inner_updates(pack, objective, batches, ids[0], update, order[offset, 0], should_stop)
                only, inner = objective.moves(pack.seed_state(0)), {"inner": [float(made)]}
                if made:
                    _keep(seeds, pack, objective, update, stops, snapshots.INNER)
            sums = pack.advance(
                order[rows], {k: v[rows] for k, v in draws.items()}, None if grey is None else grey[rows], update, only
            )
            sums = {k: v.tolist() for k, v in sums.items()} | inner
            took = (time.monotonic() - began) / len(seeds)
            update, offset = update + steps, offset + steps
            for r, s in enumerate(seeds):
                _account(s, {k: v[r] for k, v in sums.items()}, steps, update, took)
            _keep(seeds, pack, objective, update, stops)
            if update % every == 0 or update == updates:
                for r, s in enumerate(seeds):
                    if s.status == "running":
                        _validate(s, pack, r, objective, valid, cfg, should_stop)
                saved = time.monotonic()
            elif time.monotonic() - saved > SAVE_SECONDS:
                _save_running(seeds, pack)
                saved = time.monotonic()
            report(update, _shown(seeds))
            if should_stop():
                _save_running(seeds, pack)
                raise Interrupted(f"stopped at update {update}; the state is saved")
            began = time.monotonic()
    for s in seeds:
        if s.status == "running":
            s.status = "trained"
    return seeds


def evaluated_checkpoint(seed: Seed, select: str) -> Checkpoint:
    """The parameters that are evaluated: the best on validation (``valid_bound``) or the ``last``.

    Raises UserError where the file is damaged or missing, or holds another update than the one that was the best.
    """
    if select != "valid_bound" or seed.best_update is None:
        return checkpoint.read(seed.last)
    best = checkpoint.read(seed.best)
    if best.meta.get("update") != seed.best_update:  # killed between the two files
        raise UserError(
            f"{seed.best}: of update {best.meta.get('update')}, but the best by the checkpoint is {seed.best_update}; "
            "vaebench run goes on from the checkpoint, with --force it starts anew"
        )
    return best


def load_model(config: dict[str, Any], mean: np.ndarray, found: Checkpoint) -> nn.Module:
    """The model of a cell with the parameters and buffers of a checkpoint (objective's names, ``model.*``)."""
    model = models.build(config["model"], mean)
    kept = {**found.params, **found.state}
    own = {k.removeprefix("model."): v for k, v in kept.items() if k.startswith("model.")}
    missing = {n for n, _ in model.named_parameters()} - set(own)
    if missing:
        raise UserError(f"the checkpoint does not fit its settings: it lacks {', '.join(sorted(missing))}")
    wrong = [n for n, v in model.state_dict().items() if n in own and v.shape != own[n].shape]
    if wrong:
        raise UserError(f"the checkpoint does not fit its settings: other sizes of {', '.join(wrong)}")
    model.load_state_dict(own, strict=False)
    return model


def batches_of(config: dict[str, Any], splits: Splits) -> Batches:
    """The batches of a cell's training. Raises UserError for an order that the data do not have."""
    cfg = config["train"]
    check_order(cfg["order"], splits.name, splits.tokens)
    lengths = lengths_of(torch.from_numpy(splits.train)) if splits.tokens else None
    return Batches(len(splits.train), cfg["batch"], cfg["order"], lengths)


def in_updates(config: dict[str, Any], batches: Batches, key: str) -> int:
    """``train.updates`` or ``train.valid_every`` as a number of updates, whatever ``train.unit`` they are given in."""
    return config["train"][key] * (batches.per_epoch if config["train"].get("unit") == "epochs" else 1)


# ------------------------------------------------------------------------------------------------------- pieces


def _load_or_start(
    seed: Seed, objective: Objective, rule: Any, config: dict[str, Any], cases: int
) -> tuple[dict, dict, dict]:
    if seed.update:
        c = checkpoint.read(seed.last)  # in the order of a fresh start, on which the rounding of sums depends
        try:
            return {k: c.params[k] for k, _ in objective.named_parameters()}, c.state, c.opt
        except KeyError as e:
            raise checkpoint.damaged(seed.last, f"no {e.args[0]} in it") from None
    models.start(objective, config["model"], seed.seed)
    params = {k: v.detach().clone() for k, v in objective.named_parameters()}
    return params, objective.state(seed.seed, cases), rule.state(params)


def _on(parts: list[tuple[dict, dict, dict]], device: torch.device) -> list[list[dict[str, Tensor]]]:
    return [[{k: v.to(device) for k, v in part.items()} for part in column] for column in zip(*parts, strict=True)]


def _account(s: Seed, sums: dict[str, float], steps: int, update: int, took: float) -> None:
    """Book ``steps`` updates of one seed; a bound that is not finite marks it as diverged, its checkpoint untouched."""
    if s.status != "running":
        return
    if not all(math.isfinite(v) for v in sums.values()):
        _diverge(s, "the training bound", update)
        return
    s.update, s.seconds, s.count = update, s.seconds + took, s.count + steps
    s.update_seconds, s.timed = s.update_seconds + took, s.timed + steps
    for k, v in sums.items():
        s.sums[k] = s.sums.get(k, 0.0) + v


def _diverge(s: Seed, what: str, update: int) -> None:
    kept = f"the checkpoint is of update {s.saved}" if s.saved else "there is no checkpoint yet"
    s.stop("diverged", f"{what} is not finite at update {update}; {kept}")


def _validate(
    s: Seed,
    pack: Pack,
    r: int,
    objective: Objective,
    valid: Tensor,
    cfg: dict[str, Any],
    should_stop: Callable[[], bool],
) -> None:
    """The bound of the validation cases, always with the same noise so that checkpoints compare paired; save.

    Raises Interrupted when ``should_stop`` says so in a validation that takes long; the checkpoint is an earlier one.
    """
    began = time.monotonic()
    now = _snapshot(s, pack, r)
    if now is None:
        return
    buffers = {k: now.state[k] for k, _ in objective.named_buffers() if k in now.state}
    objective.load_state_dict({**now.params, **buffers}, strict=False)
    settings = {**objective.validation, "batch": cfg["batch"]}
    try:
        with Work(should_stop, patience=PATIENCE):
            found = validation(objective.model, valid, cfg["valid_samples"], s.seed, s.update, settings)
    except Interrupted:
        where = f"stopped in the validation at update {s.update}"
        raise Interrupted(f"{where}; the state of update {s.saved} is saved") from None
    value = found["valid_bound"]
    if not math.isfinite(value):
        _diverge(s, "the validation bound", s.update)
        return
    s.curve.append(
        {
            "update": s.update,
            "seconds": round(s.seconds, 3),
            **_means(s),
            **found,
        }
    )
    s.sums, s.count = {}, 0
    improved = value < s.best_bound
    if improved:
        s.best_bound, s.best_update, s.stalled = value, s.update, 0
    else:
        s.stalled += 1
    if cfg["patience"] is not None and s.stalled >= cfg["patience"]:
        s.stop("trained", f"no improvement in {s.stalled} validations")
    s.seconds += time.monotonic() - began
    if improved:
        checkpoint.write(s.best, Checkpoint(now.params, buffers, meta=s.meta()))
    _react(s, pack, r, objective, found, now)
    _save(s, now)
    write_curve(s)


def _means(s: Seed) -> dict[str, float]:
    """The objective's metrics since the last validation; its bound of log p(x) as positive nats."""
    means = {f"train_{k}": v / s.count for k, v in s.sums.items()}
    return {k: -v if k in BOUNDS else v for k, v in means.items()}


def _react(s: Seed, pack: Pack, r: int, objective: Objective, found: dict[str, float], now: Checkpoint) -> None:
    """Let the rule and the optimiser answer to a validation: new state, the best parameters again, or the end."""
    now.state = objective.validated(now.state, found)
    now.opt, verdict = pack.optim.validated(now.opt, found["valid_bound"], len(s.curve) - 1)
    if verdict.reload and s.best_update != s.update:
        best = checkpoint.read(s.best)
        now.params = best.params
        now.state = {**now.state, **best.state}
    if verdict.stop:
        s.stop("trained", verdict.stop)
    pack.put(r, now.params, now.state, now.opt)


def _snapshot(s: Seed, pack: Pack, r: int) -> Checkpoint | None:
    """The state of one seed of the pack; None, and the seed is marked as diverged, where it is not finite."""
    now = Checkpoint(*pack.seed(r))
    for tensors in (now.params, now.state, now.opt):
        for name, v in tensors.items():
            if not bool(torch.isfinite(v).all()):
                _diverge(s, name, s.update)
                return None
    return now


def _keep(seeds: list[Seed], pack: Pack, objective: Objective, update: int, wanted: list[int], kind: str = "") -> None:
    """Keep the parameters of the seeds that are trained, if a snapshot is due.

    That is before any checkpoint of a later update: a run that was killed has all snapshots of its past.
    """
    if update not in wanted:
        return
    names = {k for k, _ in objective.named_buffers()}
    for r, s in enumerate(seeds):
        if s.status == "running":
            params, state, _ = pack.seed(r)
            snapshots.write(s.folder, update, kind, params, {k: v for k, v in state.items() if k in names})


def _save(s: Seed, now: Checkpoint) -> None:
    now.meta = s.meta()
    checkpoint.write(s.last, now)
    s.saved = s.update


def _save_running(seeds: list[Seed], pack: Pack) -> None:
    for r, s in enumerate(seeds):
        if s.status == "running" and (now := _snapshot(s, pack, r)) is not None:
            _save(s, now)


def write_curve(s: Seed) -> None:
    """The curve as CSV beside the checkpoint, which holds it too; nothing before the first validation."""
    if not s.curve:
        return
    text = io.StringIO()
    # A run that goes on from the checkpoint of an earlier version may have columns that its first points lack.
    names = dict.fromkeys(name for point in s.curve for name in point)
    writer = csv.DictWriter(text, fieldnames=[*names, "unit"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**point, "unit": UNIT} for point in s.curve)
    write_atomic(s.folder / "curve.csv", text.getvalue())


def _shown(seeds: list[Seed]) -> dict[str, float]:
    best = [s.best_bound for s in seeds if s.best_update is not None]
    return {"valid_bound": sum(best) / len(best)} if best else {}
