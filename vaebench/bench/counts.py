"""Speed of models of documents as counts.

This file measures the milliseconds of an update by each engine, and of a document's likelihood.
Documents are random: 100 words each, with Zipf's frequencies, from a vocabulary of 2,000, which is
the size that the papers use for 20 Newsgroups.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from vaebench import kernels, models, objectives, optim
from vaebench.bench.packs import Families, Record, advance, in_turns, pack_of
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators.enumeration import exact_value
from vaebench.models.base import BoundedModel, ExactModel
from vaebench.rng import noise
from vaebench.training import choice
from vaebench.training import engines as fast

VOCABULARY = 2000
WORDS = 100
"""Tokens of a document."""

BATCH = 20
CASES = 1000
"""Documents of the data set."""

LENGTH = noise.BLOCK
"""Updates between two readings of the clock."""

ENGINES = ("plain", "compiled", "kernel")

FAMILIES: Families = {
    "SBN 50, documents, NVIL": ({"name": "sbn", "dims": [50]}, {"name": "nvil"}),
    "fDARN 50, documents, NVIL": ({"name": "fdarn", "dims": [50]}, {"name": "nvil"}),
    "SBN 50, documents, wake-sleep": ({"name": "sbn", "dims": [50]}, {"name": "wake_sleep"}),
    "DocNADE 50, likelihood": ({"name": "doc_nade"}, {"name": "ordered_likelihood"}),
    "DocNADE 50, softmax, likelihood": (
        {"name": "doc_nade", "output": "softmax"},
        {"name": "ordered_likelihood"},
    ),
    "Replicated Softmax 50, CD-1": (
        {"name": "replicated_softmax"},
        {"name": "contrastive_divergence"},
    ),
    "LDA 50, variational Bayes": ({"name": "lda"}, {"name": "topic_posterior"}),
}

DESCENT = {"name": "sgd", "rate": 1e-4}


def documents() -> torch.Tensor:
    """Return random counts (CASES, VOCABULARY), uint8."""
    # Zipf's law has no end; numbers beyond the vocabulary are wrapped around.
    words = np.random.default_rng(0).zipf(1.2, (CASES, WORDS)) % VOCABULARY
    counts = [np.bincount(row, minlength=VOCABULARY) for row in words]
    return torch.from_numpy(np.stack(counts).astype(np.uint8))


def packs_of(
    model: dict[str, Any], objective: dict[str, Any], device: torch.device
) -> dict[str, fast.Pack]:
    """Return a pack of one seed for each engine that is useful here, the plain one first."""
    data = documents()
    info = DataInfo(data.float().mean(0).numpy(), Kind.COUNTS, longest=WORDS)
    rule = objectives.build(objective, models.build(model, info))

    engines = ["plain"]
    if rule.worth_compiling and (device.type == "cuda" or choice.compiler_found()):
        engines.append("compiled")
    has_kernel = choice.has_kernel(rule, optim.build(DESCENT), Kind.COUNTS)
    if has_kernel and device.type == "cpu" and not kernels.missing():
        engines.append("kernel")

    start = {"init": "normal", "init_scale": 0.01}
    return {
        name: pack_of(rule, data, DESCENT, start, device, kind=Kind.COUNTS, engine=name)
        for name in engines
    }


def scored(pack: fast.Pack, count: int, number: int = 0) -> None:
    """Find the likelihood of the first ``count`` documents, or its bound."""
    exact_value(pack.objective.model, pack.data[:count])


def run(
    families: Families, device: torch.device, seconds: float, record: Record = lambda _: None
) -> Iterator[str]:
    """Yield a heading and a line per family. The engines take turns; medians are shown."""
    yield (
        f"milliseconds per update of {BATCH} counted documents of {WORDS} words, and per "
        "document of an NLL or bound"
    )
    yield f"{'':42}" + "".join(f"{engine:>10}" for engine in ENGINES) + f"{'document':>18}"

    for name, (model, objective) in families.items():
        packs = packs_of(model, objective, device)
        works = [partial(advance, pack, length=LENGTH, batch=BATCH) for pack in packs.values()]
        numbers: dict[str, Any] = {"family": name, "unit": "ms"}
        for engine, times in zip(packs, in_turns(works, seconds, device), strict=True):
            numbers[engine] = 1e3 * median(times) / LENGTH

        line = f"{name:42}" + "".join(
            f"{numbers[e]:>10,.2f}" if e in numbers else f"{'':10}" for e in ENGINES
        )

        # All packs have the same model, and the engine that trains it has no part in the scoring.
        scored_pack = list(packs.values())[-1]
        if isinstance(scored_pack.objective.model, (ExactModel, BoundedModel)):
            (times,) = in_turns([partial(scored, scored_pack, 100)], seconds, device)
            numbers["document"] = 1e3 * median(times) / 100
            line += f"{numbers['document']:>18,.3f}"

        record(numbers)
        yield line.rstrip()
