"""Inner loops: updates of some parameter groups, on own batches, before each outer update.

Batches and noise are a function of (seed, update, number within the loop), and nothing of a loop is
saved. A run that was killed within an inner loop goes on from the update before, and makes the same
loop again.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vaebench.data.kinds import Kind
from vaebench.errors import Interrupted
from vaebench.nn.tokens import predicted
from vaebench.objectives.base import Objective
from vaebench.rng import noise
from vaebench.rng.noise import Shapes
from vaebench.training.batches import Batches
from vaebench.training.engines import Pack


def inner_updates(
    pack: Pack,
    objective: Objective,
    batches: Batches,
    seed: int,
    update: int,
    rows: Tensor,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Make the inner loop, if there is one, before an update of the only seed of ``pack``.

    The metric ``loss`` of a step is taken to be a mean over the examples of its batch.

    Args:
        pack: Holds a single seed.
        objective: Says whether there is an inner loop, and when it ends.
        batches: Where the loop's batches come from.
        seed: The seed of the run.
        update: Number of the outer update that follows.
        rows: The batch of that update, (batch,); the loop begins with it.
        should_stop: Asked before every update of the loop.

    Returns:
        How many updates the loop made.

    Raises:
        Interrupted: If ``should_stop`` says so.
    """
    loop = objective.inner_loop(pack.seed_state(0))
    made = 0

    while loop is not None and loop.going:
        if should_stop():
            raise Interrupted(
                f"stopped within update {update}; the state before it is saved, or a little earlier"
            )

        # One update of one seed: the pack wants its noise as (updates, seeds, ...). The purpose
        # "inner" keeps it apart from the noise of the outer updates.
        shapes = objective.draws(batches.batch, pack.data.shape[1])
        draws = noise.fixed(shapes, seed, "inner", update, made, device=pack.data.device)
        packed_draws = {name: value[None, None] for name, value in draws.items()}
        grey = _grey_noise(pack, len(rows), seed, update, made)
        metrics = pack.advance(rows[None, None], packed_draws, grey, update, only=loop.groups)

        # The loop is told the loss, summed over the batch, and the number of words or pixels in it.
        # Rows of -1 only fill up a smaller batch of documents.
        examples = rows[rows >= 0]
        predictions = (
            predicted(pack.data[examples])
            if pack.kind is Kind.TOKENS
            else pack.data.shape[1] * len(examples)
        )
        loop.observe(float(metrics["loss"]) * len(examples), predictions)

        made += 1
        rows = batches.any(seed, update, made).to(rows.device)
    return made


def _grey_noise(pack: Pack, batch: int, seed: int, update: int, made: int) -> Tensor | None:
    """Return the noise that binarizes the batch of one inner update anew, (1, 1, batch, d).

    It is None if the examples are not grey.
    """
    if pack.kind is not Kind.GREY:
        return None

    shapes: Shapes = {"grey": ("uniform", (batch, pack.data.shape[1]))}
    return noise.fixed(
        shapes,
        seed,
        "inner_binarize",
        update,
        made,
        device=pack.data.device,
    )["grey"][None, None]
