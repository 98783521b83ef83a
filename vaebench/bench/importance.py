"""How fast the importance-weighted NLL of belief nets is: milliseconds for 1,000 samples of a case.

Beside it the floor: the matrix products of these samples alone, by the library.
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
"""Samples of a case that a number is for."""

CASES = 100
VISIBLE = 784

PLAIN_SAMPLES = 200
"""Samples of each of the cases that the plain code draws in a round: enough for a
time that can be measured."""

REPEATS = 100
"""How often the products are made in a round, so that it takes about as
long as one of the others."""

LEAST_ROUNDS = 3
"""Rounds, at least, of which the best is taken."""


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
    """A belief net with small normal parameters, as at the beginning of training."""
    model = models.build(config, DataInfo(np.full(VISIBLE, 0.13))).requires_grad_(False)
    if not isinstance(model, BeliefNet):
        raise TypeError(f"{type(model).__name__} is no belief net")
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.copy_(0.1 * torch.randn(p.shape, generator=generator))
    return model.to(device)


def products(model: BeliefNet, device: torch.device) -> Callable[[int], None]:
    """The matrix products of 1,000 samples of a case, each REPEATS times.

    These are the logits of all samples: of the generative model, and of the inference network above
    its first layer, whose logits are the same for all samples of a case, like those that visible
    units give each other.
    """
    full = partial(torch.full, fill_value=0.5, device=device)
    chains = [units.autoregressive for units in [*list(model.p)[1:], *model.q]]
    weights_ = [*(units.weight for units in [*model.p, *list(model.q)[1:]]), *chains]
    work = [
        (full((SAMPLES, w.shape[1])), w.mT, full((SAMPLES, w.shape[0])))
        for w in weights_
        if w is not None
    ]

    def multiply(number: int = 0) -> None:
        for _ in range(REPEATS):
            for a, b, out in work:
                torch.mm(a, b, out=out)

    return multiply


def score(model: BeliefNet, x: Tensor, samples: int, wanted: bool, number: int = 0) -> None:
    """The NLL of the cases ``x``, with kernels if they are ``wanted`` and may be used."""
    with kernels.use(wanted):
        importance(model, x, samples, 0)


def milliseconds(config: dict[str, Any], device: torch.device, seconds: float) -> dict[str, float]:
    """``plain``, ``kernel`` (where there is one) and ``products``, ms for 1,000 samples of a case.

    They take turns, and the best of each counts: what else the machine does disturbs them all
    alike. The first turn compiles and does not count.
    """
    model = make_model(config, device)
    x = (
        (torch.rand(CASES, VISIBLE, generator=torch.Generator().manual_seed(1)) < 0.13)
        .to(torch.uint8)
        .to(device)
    )
    many = -(-weights.WORTH_KERNELS // CASES)
    multiply = products(model, device)
    # What is done in a turn, and how many thousand samples of a case that is.
    turns: dict[str, tuple[Callable[[int], None], float]] = {
        "plain": (partial(score, model, x, PLAIN_SAMPLES, False), CASES * PLAIN_SAMPLES / SAMPLES),
        "products": (multiply, REPEATS),
    }
    if weights.by_kernel(model, x, many):
        turns["kernel"] = partial(score, model, x, many, True), CASES * many / SAMPLES

    took = in_turns(
        [work for work, _ in turns.values()], seconds * len(turns), device, LEAST_ROUNDS
    )
    return {
        name: 1e3 * min(times) / thousands
        for times, (name, (_, thousands)) in zip(took, turns.items(), strict=True)
    }


def run(
    families: dict[str, dict[str, Any]],
    device: torch.device,
    seconds: float,
    record: Record = lambda found: None,
) -> Iterator[str]:
    """A heading and a line per family."""
    yield (
        f"milliseconds for {SAMPLES:,} importance samples of a case, noise included; products: "
        "their products alone"
    )
    yield "rate: products / time, the share of the machine's matrix-product rate"
    yield f"{'':42}{'plain':>10}{'kernel':>10}{'products':>10}{'rate':>8}"
    for name, config in families.items():
        found = milliseconds(config, device, seconds)
        best = found.get("kernel", found["plain"])
        rate = found["products"] / best
        record(
            {"family": name, "unit": f"ms for {SAMPLES:,} samples of a case", **found, "rate": rate}
        )
        kernel = f"{found['kernel']:,.2f}" if "kernel" in found else "-"
        yield (
            f"{name:42}{found['plain']:>10,.2f}{kernel:>10}{found['products']:>10,.2f}{rate:>8.0%}"
        )
