"""Speed of models of text.

This file measures the milliseconds of an update, and of the importance-weighted NLL of one
document. Documents are random words with Zipf's frequencies, all of one length. The sizes are those
of He et al. (2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from vaebench import models, objectives
from vaebench.bench.packs import Record, advance, in_turns, pack_of
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators.enumeration import known
from vaebench.estimators.importance_weighted import importance
from vaebench.models.base import ExactModel
from vaebench.training import engines as fast

SAMPLES = 500
"""Importance samples of a document."""


class Size(NamedTuple):
    """Sizes of one data set, and the model's settings for it.

    ``vocabulary`` counts its entries, ``words`` those of a document, ``batch`` the documents of an
    update, ``documents`` those of the whole training set.
    """

    vocabulary: int
    words: int
    batch: int
    model: dict[str, int]
    documents: int


SIZES: dict[str, Size] = {
    "synthetic": Size(1004, 10, 16, {"latents": 1, "embedding": 50, "units": 50}, 16_000),
    "Yahoo": Size(20_001, 79, 32, {"latents": 32, "embedding": 512, "units": 1024}, 100_000),
}

FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "text VAE, synthetic": ("synthetic", {"name": "text_vae"}, {"name": "vae"}),
    "text VAE, synthetic, inner update": (
        "synthetic",
        {"name": "text_vae"},
        {"name": "aggressive"},
    ),
    "SA-VAE, synthetic": ("synthetic", {"name": "text_vae"}, {"name": "semi_amortised"}),
    "LSTM-LM, synthetic": ("synthetic", {"name": "text_lm"}, {"name": "likelihood"}),
    "text VAE, Yahoo": ("Yahoo", {"name": "text_vae"}, {"name": "vae"}),
    "LSTM-LM, Yahoo": ("Yahoo", {"name": "text_lm"}, {"name": "likelihood"}),
}
"""Name -> (size, model, objective)."""


def documents(size: Size, count: int) -> torch.Tensor:
    """Return random documents (count, words + 2), int16."""
    # Numbers 0 to 3 are special entries, of which 1 and 2 are the start and the end of a document.
    words = np.random.default_rng(0).zipf(1.2, (count, size.words)) % (size.vocabulary - 4) + 4
    frame = [np.full((count, 1), end) for end in (1, 2)]
    return torch.from_numpy(np.concatenate([frame[0], words, frame[1]], 1).astype(np.int16))


def make_pack(
    size: Size,
    model: dict[str, Any],
    objective: dict[str, Any],
    device: torch.device,
    precision: str = "float32",
) -> fast.Pack:
    """Return a pack of one seed, initialised as in the paper, on ten batches of documents."""
    # A language model has no latents.
    settings = {
        k: v for k, v in size.model.items() if k != "latents" or model["name"] == "text_vae"
    }
    rule = objectives.build(
        objective,
        models.build({**model, **settings}, DataInfo(np.full(size.vocabulary, 1e-3), Kind.TOKENS)),
    )

    descent = {"name": "clipped_sgd", "rate": 1.0}
    start = {"init": "text", "init_scale": 0.01, "embedding_scale": 0.1}
    data = documents(size, 10 * size.batch)
    return pack_of(rule, data, descent, start, device, kind=Kind.TOKENS, precision=precision)


def evaluated(pack: fast.Pack, count: int, number: int = 0) -> None:
    """Compute the NLL of the first ``count`` documents.

    It is exact for a language model, else importance-weighted.
    """
    model = pack.objective.model
    x = pack.data[:count]
    if isinstance(model, ExactModel):
        known(model, x)
    else:
        importance(model, x, SAMPLES, 0)


def run(
    families: dict[str, Any],
    device: torch.device,
    seconds: float,
    record: Record = lambda _: None,
) -> Iterator[str]:
    """Yield a heading and a line per family."""
    on_cuda = device.type == "cuda"
    yield (
        "milliseconds per update, and per document of its NLL: 500 importance samples, or "
        "exact without latents"
    )
    yield (
        "bfloat16: an update with train.precision=bfloat16; x: of that in float32, with "
        "which it takes turns"
    )
    yield "pass: over all training documents, in updates of one length" + (
        ", memory: most of it" if on_cuda else ""
    )
    heads = f"{'':42}{'update':>10}{'bfloat16':>18}{'document':>18}{'pass (s)':>12}"
    yield heads + (f"{'memory (MiB)':>14}" if on_cuda else "")

    for name, (size_name, model, objective) in families.items():
        size = SIZES[size_name]
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(device)

        packs = [
            make_pack(size, model, objective, device, precision)
            for precision in ("float32", "bfloat16")
        ]
        # So many documents are scored in one call: one of Yahoo's takes long enough alone.
        count = 32 if size_name == "synthetic" else 1

        # Both precisions take turns, so that their ratio is fair.
        updates = in_turns(
            [partial(advance, pack, length=1, batch=size.batch) for pack in packs],
            2 * seconds,
            device,
        )
        update, bfloat16 = (1e3 * median(times) for times in updates)
        (times,) = in_turns([partial(evaluated, packs[0], count)], seconds, device)
        document = 1e3 * median(times) / count

        record(
            {
                "family": name,
                "unit": "ms",
                "update": update,
                "update bfloat16": bfloat16,
                "document": document,
            }
        )
        line = (
            f"{name:42}{update:>10,.1f}{f'{bfloat16:,.1f} (x{bfloat16 / update:.2f})':>18}"
            f"{document:>18,.1f}"
        )
        # The pass is not measured: it is the time of an update, as often as a pass has batches.
        line += f"{update * size.documents / size.batch / 1e3:>12,.0f}"
        yield line + (
            f"{torch.cuda.max_memory_allocated(device) / 2**20:>14,.0f}" if on_cuda else ""
        )
