"""Which cases an evaluation sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.data.splits import make_splits
from vaebench.evaluation.evaluate import cases, evaluate
from vaebench.results import flags
from vaebench.settings.records import EvalSettings


def splits(kind=Kind.BITS):
    """A case's number is written in its 12 bits. Training cases are grey levels if ``kind`` says
    so."""

    def numbered(n, top):
        return (np.arange(n)[:, None] >> np.arange(12) & 1).astype(np.uint8) * top

    return make_splits(
        "bits",
        numbered(1000, 255 if kind is Kind.GREY else 1),
        numbered(8, 1),
        numbered(9, 1),
        (3, 4),
        kind,
    )


def numbers(x):
    return (x.int() << torch.arange(12)).sum(1).tolist()


@pytest.mark.parametrize(("split", "n"), [("train", 1000), ("valid", 8), ("test", 9)])
def test_all_of_a_split(split, n):
    for points in (None, n, n + 1):
        x = cases(splits(), EvalSettings(split=split, points=points))
        assert x.dtype == torch.uint8
        assert numbers(x) == list(range(n))


def test_points_are_spread_evenly_over_the_split():
    assert numbers(cases(splits(), EvalSettings(split="train", points=5))) == [
        0,
        200,
        400,
        600,
        800,
    ]
    assert numbers(cases(splits(), EvalSettings(split="test", points=4))) == [0, 2, 4, 6]


def test_grey_training_cases_are_made_binary_once():
    black_or_white = cases(splits(Kind.GREY), EvalSettings(split="train", points=None))
    assert numbers(black_or_white) == list(range(1000))

    # Grey levels of 128 are drawn as bits, of which 128 / 255 are ones.
    grey = splits(Kind.GREY)
    grey.train[:] = 128
    x = cases(grey, EvalSettings(split="train", points=None))

    assert set(x.unique().tolist()) == {0, 1}
    assert abs(x.float().mean() - 128 / 255) < 5 * 0.5 / x.numel() ** 0.5  # five standard errors
    assert torch.equal(x, cases(grey, EvalSettings(split="train", points=None)))
    assert torch.equal(x[::200], cases(grey, EvalSettings(split="train", points=5))), (
        "a case is the same among few"
    )
    assert numbers(cases(grey, EvalSettings(split="test", points=None))) == list(range(9))


@pytest.mark.parametrize(
    ("words", "share"), [([4, 5, 6, 7], 0.0), ([4, 5, 6, 3], 0.25), ([3, 3, 3, 3], 1.0)]
)
def test_unknown_words_are_counted_with_every_likelihood_of_documents(words, share, caplog):
    torch.manual_seed(0)
    model = models.build(
        {"name": "text_lm", "embedding": 3, "units": 4}, DataInfo(np.full(8, 1 / 8), Kind.TOKENS)
    )
    x = torch.tensor([[1, *words, 2], [1, *words, 2]])
    settings = {"split": "test", "points": None, "bound_samples": 1, "iw_samples": None}
    config = {
        "data": {"name": "text"},
        "model": {"name": "text_lm"},
        "eval": settings,
        "train": {"select": "last"},
    }
    config["recipe"] = 1
    measures = evaluate(model, x, config, "ab", 0)

    assert {m.name for m in measures} == {"nll", "perplexity"}
    assert {m.extra["unknown"] for m in measures} == {share}
    assert all(("unknown words" in flags.kinds(m.flags)) is (share > 0.2) for m in measures)
    assert ("not in the vocabulary" in caplog.text) is (share > 0.2)
