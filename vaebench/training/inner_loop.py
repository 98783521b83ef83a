"""Inner loops: updates of some parameter groups before an update proper, on batches of their own.

Batches and noise are a function of (seed, update, number within the loop), and nothing of a loop is
saved: a run that was killed inside one goes on from the update before and makes the same loop
again.
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
    """Make the inner loop, if there is one, before ``update`` of the only seed of ``pack``.

    Returns its length. ``rows`` (batch,) is the batch of the update proper, on which the loop
    begins. ``loss`` in the metrics of a step is taken to be a mean over the documents of its batch.
    Raises Interrupted when ``should_stop`` says so.
    """
    loop = objective.inner_loop(pack.seed_state(0))
    made = 0

    while loop is not None and loop.going:
        if should_stop():
            raise Interrupted(
                f"stopped within update {update}; the state before it is saved, or a little earlier"
            )

        # One update of one seed, with noise of its own.
        shapes = objective.draws(batches.batch, pack.data.shape[1])
        draws = noise.fixed(shapes, seed, "inner", update, made, device=pack.data.device)
        at_once = {k: v[None, None] for k, v in draws.items()}
        grey = _grey_noise(pack, len(rows), seed, update, made)
        metrics = pack.advance(rows[None, None], at_once, grey, update, only=loop.groups)

        # The loop is told the sum of the loss over the batch, and of how many
        # words (or pixels) it is.
        seen = rows[rows >= 0]
        words = (
            predicted(pack.data[seen])
            if pack.kind is Kind.TOKENS
            else pack.data.shape[1] * len(seen)
        )
        loop.observe(float(metrics["loss"]) * len(seen), words)

        made += 1
        rows = batches.any(seed, update, made).to(rows.device)
    return made


def _grey_noise(pack: Pack, batch: int, seed: int, update: int, made: int) -> Tensor | None:
    """Noise (1, 1, batch, d) that binarizes the batch of one inner update anew.

    None where examples are not grey.
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
