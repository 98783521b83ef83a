"""Training speed of models with Gaussian latents, compared with plain loops.

The loops do the same update in PyTorch and in JAX. Batches, networks and optimisers are those of
the papers' tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch

from vaebench.bench import gaussian_loops, gaussian_losses, jax_gaussian
from vaebench.bench.gaussian_losses import Library, Loss
from vaebench.bench.packs import Record, advance, in_turns, make_pack
from vaebench.training import choice
from vaebench.training import engines as fast

LENGTH = 20
"""Updates that are timed together."""


class Family(NamedTuple):
    """What is measured: settings, and the number of examples in a batch.

    The model's settings include its nonlinearity, which the loops use.
    """

    model: dict[str, Any]
    objective: dict[str, Any]
    optim: dict[str, Any]
    batch: int


ADAM = {"name": "adam", "rate": 5e-4}

VAE = {"name": "gaussian_vae", "nonlinearity": "tanh"}
IWAE = {**VAE, "latents": 50, "encoder": [200, 200]}
DLGM = {"name": "dlgm", "nonlinearity": "relu"}

FAMILIES = {
    "VAE 500, 20 latents": Family(VAE, {"name": "vae"}, {"name": "adagrad", "rate": 0.02}, 100),
    "DLGM, diagonal, 200 latents": Family(DLGM, {"name": "free_energy"}, ADAM, 200),
    "DLGM, rank one, 200 latents": Family(
        {**DLGM, "covariance": "rank_one"}, {"name": "free_energy"}, ADAM, 200
    ),
    "IWAE, K = 5, 50 latents": Family(IWAE, {"name": "iw_bound", "samples": 5}, ADAM, 20),
    "IWAE, K = 50, 50 latents": Family(IWAE, {"name": "iw_bound", "samples": 50}, ADAM, 20),
}
"""Name -> what is measured."""


def loss_of(family: Family, library: Library) -> Loss:
    """Return the loss of a loop, written with ``library``."""
    return gaussian_losses.loss_of(family.objective["name"], family.model["nonlinearity"], library)


def blocks(pack: fast.Pack, batch: int, number: int) -> None:
    """Make ``LENGTH`` updates, in blocks as long as in training."""
    length = min(pack.objective.block or LENGTH, LENGTH)
    for i in range(LENGTH // length):
        advance(pack, number * (LENGTH // length) + i, length, batch)


def works(family: Family, device: torch.device, jax: bool) -> dict[str, Callable[[int], object]]:
    """Map each name to a function that makes ``LENGTH`` updates, given the number of the block."""
    make = partial(
        make_pack, family.model, family.objective, 1, device=device, descent=family.optim
    )

    start = make("plain")
    found: dict[str, Callable[[int], object]] = {"plain": partial(blocks, start, family.batch)}
    if choice.compiler_found():
        found["compiled"] = partial(blocks, make("compiled"), family.batch)

    params = {name.removeprefix("model."): v[0].clone() for name, v in start.params.items()}
    own = {name: v.clone() for name, v in params.items()}
    _, (samples, _, latents) = start.draws(family.batch)["q1"]
    given = family.optim, start.data, family.batch, (samples, latents)
    update = gaussian_loops.updates(loss_of(family, gaussian_loops.LIBRARY), own, *given)

    def by_torch(number: int) -> None:
        for i in range(LENGTH):
            update(number * LENGTH + i)

    found["PyTorch loop"] = by_torch
    if jax:
        found["JAX loop"] = jax_gaussian.updates(
            loss_of(family, jax_gaussian.library()), params, *given, LENGTH
        )
    return found


def run(
    families: dict[str, Family],
    device: torch.device,
    seconds: float,
    record: Record = lambda found: None,
    jax: bool = False,
) -> Iterator[str]:
    """Yield a heading and a line per family; the entries of a line are measured in turns."""
    yield "milliseconds per update, noise included, beside loops as users would write them"
    heads = [
        "plain",
        "compiled",
        "PyTorch loop",
        *(["JAX loop"] if jax else []),
        "ours / best loop",
    ]
    yield f"{'':42}" + "".join(f"{h:>18}" for h in heads)

    for name, family in families.items():
        todo = works(family, device, jax)
        times = in_turns(list(todo.values()), seconds, device)
        found = {key: 1e3 * median(took) / LENGTH for key, took in zip(todo, times, strict=True)}

        ours = min(found[key] for key in ("plain", "compiled") if key in found)
        theirs = min(found[key] for key in ("PyTorch loop", "JAX loop") if key in found)
        record({"family": name, "unit": "ms", **found, "ours / best loop": ours / theirs})

        cells = [f"{found[h]:,.2f}" if h in found else "-" for h in heads[:-1]]
        yield f"{name:42}" + "".join(f"{c:>18}" for c in [*cells, f"{ours / theirs:.2f}"])
