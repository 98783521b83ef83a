"""Speed of the importance-weighted NLL of belief nets.

This file measures the milliseconds for 1,000 samples of an example. It also measures the floor: the
matrix products of these samples alone, by the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaebench import kernels, models
from vaebench.bench.packs import Record, in_turns
from vaebench.data.info import DataInfo
from vaebench.estimators import weights
from vaebench.estimators.importance_weighted import importance
from vaebench.models.belief_net import BeliefNet

SAMPLES = 1000
"""The samples of an example to which the shown times refer."""

CASES = 100
VISIBLE = 784

PLAIN_SAMPLES = 200
"""Samples of each example that the plain code draws in a round: enough for a time that can be
measured."""

REPEATS = 100
"""How often the products are made in a round, so that it takes about as long as one of the others.
"""

LEAST_ROUNDS = 3
"""Least number of rounds; the best of them counts."""


FAMILIES: dict[str, dict[str, Any]] = {
    "SBN 200, IW-NLL": {"name": "sbn", "dims": [200]},
    "SBN 500, IW-NLL": {"name": "sbn", "dims": [500]},
    "SBN 200-200, IW-NLL": {"name": "sbn", "dims": [200, 200]},
    "SBN 200-200-200, IW-NLL": {"name": "sbn", "dims": [200, 200, 200]},
    "fDARN 200, IW-NLL": {"name": "fdarn", "dims": [200]},
    "DARN 200, IW-NLL": {"name": "darn", "dims": [200]},
    "SBN 200, autoregressive posterior, IW-NLL": {
        "name": "sbn",
        "dims": [200],
        "posterior": "autoregressive",
    },
}
"""Name -> model."""


def make_model(config: dict[str, Any], device: torch.device) -> BeliefNet:
    """Return a belief net with small normal parameters, as at the beginning of training."""
    model = models.build(config, DataInfo(np.full(VISIBLE, 0.13))).requires_grad_(False)
    if not isinstance(model, BeliefNet):
        raise TypeError(f"{type(model).__name__} is no belief net")

    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return model.to(device)


def products(model: BeliefNet, device: torch.device) -> Callable[[int], None]:
    """Return a function that makes the matrix products of 1,000 samples, each REPEATS times.

    They give the logits of all samples of an example: those of the generative model, and those of
    the inference network above its first layer. The first layer's logits are the same for all
    samples of an example, and so are those that visible units give each other.
    """
    full = partial(torch.full, fill_value=0.5, device=device)
    # Weights between layers, and those by which the units of a layer depend on each other (None if
    # they do not). ``model.p`` begins with the visible units, ``model.q`` with the first latents.
    within_layers = [units.autoregressive for units in [*list(model.p)[1:], *model.q]]
    matrices = [*(units.weight for units in [*model.p, *list(model.q)[1:]]), *within_layers]
    operands = [
        (full((SAMPLES, w.shape[1])), w.mT, full((SAMPLES, w.shape[0])))
        for w in matrices
        if w is not None
    ]

    def multiply(number: int = 0) -> None:
        for _ in range(REPEATS):
            for a, b, out in operands:
                torch.mm(a, b, out=out)

    return multiply


def score(model: BeliefNet, x: Tensor, samples: int, wanted: bool, number: int = 0) -> None:
    """Compute the NLL of the examples ``x``, with kernels if ``wanted`` and if they may be used."""
    with kernels.use(wanted):
        importance(model, x, samples, 0)


def milliseconds(config: dict[str, Any], device: torch.device, seconds: float) -> dict[str, float]:
    """Return the milliseconds for 1,000 samples of an example, by each way.

    The ways are ``plain``, ``kernel`` (if there is one) and ``products``. They take turns and the
    best of each counts, so other work on the machine disturbs all of them alike. The first turn
    compiles and does not count.
    """
    model = make_model(config, device)
    x = (
        (torch.rand(CASES, VISIBLE, generator=torch.Generator().manual_seed(1)) < 0.13)
        .to(torch.uint8)
        .to(device)
    )
    # Samples of each example from which kernels are used, rounded up: WORTH_KERNELS counts those of
    # all examples.
    kernel_samples = -(-weights.WORTH_KERNELS // CASES)
    multiply = products(model, device)

    # The work of each turn, and how many times SAMPLES samples of an example it makes.
    turns: dict[str, tuple[Callable[[int], None], float]] = {
        "plain": (partial(score, model, x, PLAIN_SAMPLES, False), CASES * PLAIN_SAMPLES / SAMPLES),
        "products": (multiply, REPEATS),
    }
    if weights.by_kernel(model, x, kernel_samples):
        turns["kernel"] = (
            partial(score, model, x, kernel_samples, True),
            CASES * kernel_samples / SAMPLES,
        )

    times_of = in_turns(
        [work for work, _ in turns.values()], seconds * len(turns), device, LEAST_ROUNDS
    )
    return {
        name: 1e3 * min(times) / multiple
        for times, (name, (_, multiple)) in zip(times_of, turns.items(), strict=True)
    }


def run(
    families: dict[str, dict[str, Any]],
    device: torch.device,
    seconds: float,
    record: Record = lambda _: None,
) -> Iterator[str]:
    """Yield a heading and a line per family."""
    yield (
        f"milliseconds for {SAMPLES:,} importance samples of a case, noise included; products: "
        "their products alone"
    )
    yield "rate: products / time, the share of the machine's matrix-product rate"
    yield f"{'':42}{'plain':>10}{'kernel':>10}{'products':>10}{'rate':>8}"

    for name, config in families.items():
        numbers = milliseconds(config, device, seconds)
        best = numbers.get("kernel", numbers["plain"])
        rate = numbers["products"] / best
        record(
            {
                "family": name,
                "unit": f"ms for {SAMPLES:,} samples of a case",
                **numbers,
                "rate": rate,
            }
        )
        kernel = f"{numbers['kernel']:,.2f}" if "kernel" in numbers else "-"
        yield (
            f"{name:42}{numbers['plain']:>10,.2f}{kernel:>10}{numbers['products']:>10,.2f}{rate:>8.0%}"
        )
