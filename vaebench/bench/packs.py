"""What every section of the benchmark shares: packs on random data, updates, and the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebench import models, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.objectives.base import Objective
from vaebench.rng import noise
from vaebench.training import clock
from vaebench.training import engines as fast

Families = dict[str, tuple[dict[str, Any], dict[str, Any]]]
"""Name -> settings of a model and of an objective."""

Record = Callable[[dict[str, Any]], None]
"""Takes the numbers that were measured for one family, as plain data."""

BATCH = 20
VISIBLE = 784
CASES = 5000
"""Examples of the random data set."""


def make_pack(
    model: dict[str, Any],
    objective: dict[str, Any],
    seeds: int,
    engine: str,
    device: torch.device,
    descent: dict[str, Any] | None = None,
    start: dict[str, Any] | None = None,
) -> fast.Pack:
    """Return a pack of ``seeds`` seeds on random binary data of MNIST's shape and density.

    If ``descent`` is None, the optimiser is SGD. ``start`` says how parameters are initialised; if
    None, with small normal numbers.
    """
    # 0.13 is the share of ones in MNIST.
    ones = np.random.default_rng(0).random((CASES, VISIBLE)) < 0.13
    rule = objectives.build(
        objective,
        models.build(model, DataInfo(np.full(VISIBLE, 0.13))),
    ).to(device)

    descent = descent or {"name": "sgd", "rate": 3e-4}
    start = start or {"init": "normal", "init_scale": 0.1}
    return pack_of(
        rule,
        torch.from_numpy(ones.astype(np.uint8)),
        descent,
        start,
        device,
        seeds=seeds,
        engine=engine,
    )


def pack_of(
    rule: Objective,
    data: Tensor,
    descent: dict[str, Any],
    start: dict[str, Any],
    device: torch.device,
    *,
    seeds: int = 1,
    kind: Kind = Kind.BITS,
    engine: str = "plain",
    precision: str = "float32",
) -> fast.Pack:
    """Return a pack of a rule on some data; ``start`` says how parameters are initialised."""
    rates = optim.build(descent, rule.largest_rates(BATCH))

    # A start draws parameters on the CPU, so that they are the same on every device.
    params = []
    for seed in range(seeds):
        models.start(rule.cpu(), start, seed)
        params.append({k: v.detach().clone().to(device) for k, v in rule.named_parameters()})

    # Parameters, state of the objective and state of the optimiser, a list of one entry per seed
    # each.
    rule.to(device)
    states = [{k: v.to(device) for k, v in rule.state(s, len(data)).items()} for s in range(seeds)]
    per_seed = params, states, [rates.state(p) for p in params]
    return fast.Pack(rule, rates, *per_seed, data.to(device), kind, engine, precision=precision)


def advance(pack: fast.Pack, number: int, length: int, batch: int) -> None:
    """Train on block ``number``, of ``length`` updates, and wait until all is done.

    The block's noise is drawn first. If the objective has an inner loop (aggressive training), only
    the groups of that loop, the inference network, are updated.
    """
    device = pack.data.device
    seeds = list(range(pack.size))
    loop = pack.objective.inner_loop(pack.seed_state(0)) if pack.objective.alone else None

    # Noise, and the rows of every batch, drawn with replacement.
    draws = noise.update_block(pack.draws(batch), seeds, number, device, length)
    rows = noise.order_block(len(pack.data), batch, "replacement", seeds, number, length).to(device)
    pack.advance(rows, draws, None, only=None if loop is None else loop.groups)
    wait(device)


def in_turns(
    works: Sequence[Callable[[int], object]], seconds: float, device: torch.device, least: int = 2
) -> list[list[float]]:
    """Return the seconds of every call of each work, which is given the number of its round.

    The works take turns, so that other work on the machine disturbs all of them alike. The first
    round is not counted, because it compiles, captures and allocates.

    Args:
        works: The functions that are timed.
        seconds: Rounds go on until the counted ones have taken so long together.
        device: The device of the work; the clock waits for it.
        least: Least number of rounds that count.
    """
    times_of: list[list[float]] = [[] for _ in works]
    round_number = 0
    # Round 0 is made but not counted.
    while round_number <= least or sum(sum(times[1:]) for times in times_of) < seconds:
        for work, times in zip(works, times_of, strict=True):
            began = clock.seconds(device)
            work(round_number)
            wait(device)
            times.append(clock.seconds(device) - began)
        round_number += 1
    return [times[1:] for times in times_of]


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU already has."""
    if device.type == "cuda":
        torch.cuda.synchronize()
