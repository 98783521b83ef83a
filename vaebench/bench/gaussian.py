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
    """Make ``LENGTH`` updates, in blocks as long as in training but of ``LENGTH`` at most.

    ``number`` counts the calls, so that no noise is used twice.
    """
    length = min(pack.objective.block or LENGTH, LENGTH)
    for i in range(LENGTH // length):
        advance(pack, number * (LENGTH // length) + i, length, batch)


def works(family: Family, device: torch.device, jax: bool) -> dict[str, Callable[[int], object]]:
    """Map each name to a function that makes ``LENGTH`` updates, given the number of the block."""
    make = partial(
        make_pack, family.model, family.objective, 1, device=device, descent=family.optim
    )

    plain_pack = make("plain")
    work_of: dict[str, Callable[[int], object]] = {
        "plain": partial(blocks, plain_pack, family.batch)
    }
    if choice.compiler_found():
        work_of["compiled"] = partial(blocks, make("compiled"), family.batch)

    # The loops start from copies of the plain pack's parameters. PyTorch's loop changes its tensors
    # in place, so it has a copy of its own.
    params = {name.removeprefix("model."): v[0].clone() for name, v in plain_pack.params.items()}
    torch_params = {name: v.clone() for name, v in params.items()}
    # The noise of the posterior is (samples, batch, latents).
    _, (samples, _, latents) = plain_pack.draws(family.batch)["q1"]
    common = family.optim, plain_pack.data, family.batch, (samples, latents)
    update = gaussian_loops.updates(loss_of(family, gaussian_loops.LIBRARY), torch_params, *common)

    def by_torch(number: int) -> None:
        for i in range(LENGTH):
            update(number * LENGTH + i)

    work_of["PyTorch loop"] = by_torch
    if jax:
        work_of["JAX loop"] = jax_gaussian.updates(
            loss_of(family, jax_gaussian.library()), params, *common, LENGTH
        )
    return work_of


def run(
    families: dict[str, Family],
    device: torch.device,
    seconds: float,
    record: Record = lambda _: None,
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
        work_of = works(family, device, jax)
        times_of = in_turns(list(work_of.values()), seconds, device)
        milliseconds = {
            key: 1e3 * median(times) / LENGTH for key, times in zip(work_of, times_of, strict=True)
        }

        ours = min(milliseconds[key] for key in ("plain", "compiled") if key in milliseconds)
        theirs = min(
            milliseconds[key] for key in ("PyTorch loop", "JAX loop") if key in milliseconds
        )
        record({"family": name, "unit": "ms", **milliseconds, "ours / best loop": ours / theirs})

        cells = [f"{milliseconds[h]:,.2f}" if h in milliseconds else "-" for h in heads[:-1]]
        yield f"{name:42}" + "".join(f"{c:>18}" for c in [*cells, f"{ours / theirs:.2f}"])
