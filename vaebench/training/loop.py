"""Training: the loop for every model and objective.

A call trains a pack of seeds of one cell that stand at the same update. ``schedule`` says what is
due when, ``bookkeeping`` records it, and ``engines`` computes an update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaebench.data.kinds import Kind
from vaebench.data.splits import Splits
from vaebench.errors import Interrupted
from vaebench.rng import noise
from vaebench.settings.records import TrainSettings
from vaebench.training import build, clock, snapshots
from vaebench.training.batches import Batches
from vaebench.training.bookkeeping import Bookkeeping
from vaebench.training.build import Trio
from vaebench.training.engines import Pack
from vaebench.training.inner_loop import inner_updates
from vaebench.training.run_state import RunState, TrainingStatus
from vaebench.training.schedule import Stretch, schedule

Report = Callable[[int, dict[str, float]], None]
"""Called with the number of updates done and what to show beside the progress bar."""


def train(
    config: dict[str, Any],
    splits: Splits,
    states: list[RunState],
    device: torch.device,
    engine: str,
    report: Report = lambda update, shown: None,
    should_stop: Callable[[], bool] = lambda: False,
    trio: Trio | None = None,
) -> list[RunState]:
    """Train seeds that stand at the same update, to the end of the budget or to early stopping.

    Args:
        config: The cell's settings.
        splits: Its data.
        states: Where the seeds stand; changed in place.
        device: Where to train.
        engine: One of ``engines.ENGINES``.
        report: Told how far training is.
        should_stop: Asked between updates.
        trio: What ``build.trio`` made of the settings, if it exists already. None: built here.

    Returns:
        The states; each is trained or has diverged.

    Raises:
        Interrupted: If ``should_stop`` says so. Between updates the state is saved first. Within an
            inner loop or a validation the last checkpoint stays as it is, and what came after it is
            made again.
    """
    settings = TrainSettings.of(config["train"])
    pack, batches = _begin(
        config, splits, states, device, engine, trio or build.trio(config, splits.info)
    )

    # From here on everything counts in updates, whatever unit the settings use.
    updates = build.in_updates(config, batches, "updates")
    every = build.in_updates(config, batches, "valid_every")
    snapshots_at = settings.snapshots
    length = pack.objective.block or noise.BLOCK  # updates whose noise is drawn together
    first = states[0].update

    books = Bookkeeping(
        states, pack, torch.from_numpy(splits.valid).to(device), settings, should_stop
    )

    # Snapshots of later updates exist already if a run goes on from a checkpoint.
    if first == 0 and 0 in snapshots_at:
        books.snapshot(0)

    block = None
    for stretch in schedule(first, updates, length, every, snapshots_at, pack.objective.alone):
        if not books.running:
            break

        began = clock.seconds(device)  # the first updates of a block pay for its noise

        # A run that goes on from a checkpoint may begin within a block. It draws the whole block,
        # so that its updates get the noise that they would have got without the stop.
        if block is None or stretch.offset == 0:
            block = _draw(pack, batches, [state.seed for state in states], stretch.block, length)
        sums = _advance(pack, batches, block, stretch, books, should_stop)
        books.account(sums, stretch.length, stretch.end, clock.seconds(device) - began)

        # A snapshot comes before the checkpoint of its update: a run that is killed between the two
        # makes the updates again, and the snapshot too.
        if stretch.snapshot:
            books.snapshot(stretch.end)
        if stretch.validate:
            books.validate()
        else:
            books.save_if_due()

        report(stretch.end, books.shown())
        if should_stop():
            books.save()
            raise Interrupted(f"stopped at update {stretch.end}; the state is saved")

    # Seeds that diverged or stopped early have their status already.
    for state in states:
        if state.running:
            state.status = TrainingStatus.TRAINED
    return states


def _begin(
    config: dict[str, Any],
    splits: Splits,
    states: list[RunState],
    device: torch.device,
    engine: str,
    trio: Trio,
) -> tuple[Pack, Batches]:
    """Return the pack of the seeds, new or from their checkpoints, and the batches of training."""
    objective = trio.objective.to(device)
    data = torch.from_numpy(splits.train).to(device)
    timed_by = clock.clock(device)

    parts = []
    for state in states:
        state.engine = engine
        # A run keeps its clock only if all of its parts were timed by the same one: seconds of
        # different clocks cannot be added.
        state.clock = timed_by if timed_by == state.clock or not state.update else ""
        parts.append(build.start_or_load(state, objective, trio.optimiser, config, len(data)))

    # From a triple for each seed to three lists over the seeds, moved to the device.
    params, kept, moments = (
        [{name: v.to(device) for name, v in part.items()} for part in column]
        for column in zip(*parts, strict=True)
    )

    batches = build.batches_of(config, splits)
    updates = build.in_updates(config, batches, "updates")
    precision = TrainSettings.of(config["train"]).precision
    pack = Pack(
        objective,
        trio.optimiser,
        params,
        kept,
        moments,
        data,
        splits.kind,
        engine,
        updates,
        precision,
    )
    return pack, batches


class Block(NamedTuple):
    """All that is random in a block of T updates of R seeds.

    Attributes:
        rows: Numbers of training examples, (T, R, batch).
        noise: Name -> (T, R, ...).
        grey: Noise that binarizes grey examples, (T, R, batch, d); None for others.
    """

    rows: Tensor
    noise: dict[str, Tensor]
    grey: Tensor | None


def _draw(pack: Pack, batches: Batches, seeds: list[int], number: int, length: int) -> Block:
    """Draw block ``number`` of ``length`` updates; see ``rng.noise`` for what it depends on."""
    # Each of the three draws has a purpose of its own, so their order does not matter.
    device = pack.data.device
    drawn = noise.update_block(pack.draws(batches.batch), seeds, number, device, length)
    rows = batches.block(seeds, number, length).to(device)
    if pack.kind is not Kind.GREY:
        return Block(rows, drawn, None)
    pixels = (batches.batch, pack.data.shape[1])
    return Block(rows, drawn, noise.binarize_block(pixels, seeds, number, device, length))


def _advance(
    pack: Pack,
    batches: Batches,
    block: Block,
    stretch: Stretch,
    books: Bookkeeping,
    should_stop: Callable[[], bool],
) -> dict[str, list[float]]:
    """Make the updates of a stretch, after an inner loop if the objective has one.

    Returns:
        Metric -> its sum over the updates, one number for each seed.
    """
    rows = stretch.rows
    only = None
    inner_metrics: dict[str, list[float]] = {}

    # Only objectives that are ``alone`` (one seed, stretches of one update) have inner loops, or
    # choose for every update which groups move.
    if pack.objective.alone:
        made = _inner(pack, batches, block, stretch, books, should_stop)
        only = pack.objective.moves(pack.seed_state(0))
        inner_metrics = {"inner": [float(made)]}

    drawn = {name: value[rows] for name, value in block.noise.items()}
    grey = None if block.grey is None else block.grey[rows]
    sums = pack.advance(block.rows[rows], drawn, grey, stretch.first, only)
    return {name: value.tolist() for name, value in sums.items()} | inner_metrics


def _inner(
    pack: Pack,
    batches: Batches,
    block: Block,
    stretch: Stretch,
    books: Bookkeeping,
    should_stop: Callable[[], bool],
) -> int:
    """Make the inner loop before an update; return how many updates it made."""
    seed = books.states[0].seed
    made = inner_updates(
        pack,
        pack.objective,
        batches,
        seed,
        stretch.first,
        block.rows[stretch.offset, 0],
        should_stop,
    )

    # A snapshot after ``first`` updates has a second part if a loop follows them.
    if made and stretch.first in books.settings.snapshots:
        books.snapshot(stretch.first, snapshots.INNER)
    return made
