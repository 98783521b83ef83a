"""How fast models of documents as counts are: milliseconds of an update, and of the likelihood of one document.

Random documents of 100 words, as frequent as Zipf has it, of 2,000 words: the size of 20 Newsgroups in the papers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from vaebench import kernels, models, objectives
from vaebench.bench.packs import Families, Record, advance, in_turns, pack_of
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators.enumeration import exact_value
from vaebench.models.base import BoundedModel, ExactModel
from vaebench.training import engines as fast

VOCABULARY, WORDS, BATCH, CASES = 2000, 100, 20, 1000

FAMILIES: Families = {
    "DocNADE 50, likelihood": ({"name": "doc_nade"}, {"name": "ordered_likelihood"}),
    "DocNADE 50, softmax, likelihood": ({"name": "doc_nade", "output": "softmax"}, {"name": "ordered_likelihood"}),
    "Replicated Softmax 50, CD-1": ({"name": "replicated_softmax"}, {"name": "contrastive_divergence"}),
    "LDA 50, variational Bayes": ({"name": "lda"}, {"name": "topic_posterior"}),
}


def documents() -> torch.Tensor:
    """Counts (CASES, VOCABULARY), uint8."""
    words = np.random.default_rng(0).zipf(1.2, (CASES, WORDS)) % VOCABULARY
    counts = [np.bincount(row, minlength=VOCABULARY) for row in words]
    return torch.from_numpy(np.stack(counts).astype(np.uint8))


def make_pack(model: dict[str, Any], objective: dict[str, Any], device: torch.device) -> fast.Pack:
    """A pack of one seed, by loops of our own where there are some."""
    data = documents()
    info = DataInfo(data.float().mean(0).numpy(), Kind.COUNTS)
    rule = objectives.build(objective, models.build(model, info))
    by_kernel = rule.model.kernel_layers and device.type == "cpu" and not kernels.missing()
    descent, start = {"name": "sgd", "rate": 1e-3}, {"init": "normal", "init_scale": 0.01}
    engine = "kernel" if by_kernel else "plain"
    return pack_of(rule, data, descent, start, device, kind=Kind.COUNTS, engine=engine)


def scored(pack: fast.Pack, count: int, number: int = 0) -> None:
    """The likelihood of ``count`` documents, or its bound; always the same."""
    exact_value(pack.objective.model, pack.data[:count])


def run(families: Families, device: torch.device, seconds: float, record: Record = lambda found: None) -> Iterator[str]:
    """A heading and a line per family."""
    yield f"milliseconds per update of {BATCH} counted documents of {WORDS} words, and per document of an NLL or bound"
    yield f"{'':42}{'update':>10}{'document':>18}"
    for name, (model, objective) in families.items():
        pack = make_pack(model, objective, device)
        (steps,) = in_turns([partial(advance, pack, length=1, batch=BATCH)], seconds, device)
        found = {"family": name, "unit": "ms", "update": 1e3 * median(steps)}
        line = f"{name:42}{found['update']:>10,.2f}"
        if isinstance(pack.objective.model, (ExactModel, BoundedModel)):
            (times,) = in_turns([partial(scored, pack, 100)], seconds, device)
            found["document"] = 1e3 * median(times) / 100
            line += f"{found['document']:>18,.3f}"
        record(found)
        yield line
