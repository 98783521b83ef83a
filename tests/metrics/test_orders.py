"""The NLL over random orders: its mean and error against all orders of short documents."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from kit.parameters import drawn

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import orders
from vaebench.metrics.job import Job
from vaebench.metrics.order_nll import METRIC
from vaebench.models.doc_nade import DocNADE
from vaebench.protocol.signature import signature
from vaebench.settings.records import EvalSettings

X = torch.tensor([[2, 1, 0, 1], [0, 0, 1, 0], [1, 1, 1, 0]]).double()


@pytest.fixture
def model():
    return drawn(DocNADE(DataInfo(np.ones(4), Kind.COUNTS), [3]).double(), 1.0)


def exact(model, x):
    """Mean of log p over all orders of the words of one document."""
    words = torch.arange(4).repeat_interleave(x.long())
    sequences = torch.stack([words[list(p)] for p in itertools.permutations(range(len(words)))])
    document = torch.arange(len(sequences)).repeat_interleave(len(words))
    return float(model.log_sequences(sequences.flatten(), document, len(sequences)).detach().mean())


def test_the_mean_is_that_over_all_orders_within_its_error(model):
    """400 orders of documents of up to four words: z is above 4.5 by chance once in 150,000
    seeds."""
    copies = X.repeat(20, 1)
    log_p = orders.log_evidence(model, copies, 400, seed=0)

    assert log_p.shape == (400, 60)

    error = orders.mean_error(log_p)
    expected = np.mean([exact(model, x) for x in X])

    assert 0 < error < 0.01  # so being close means something
    assert abs(float(log_p.mean()) - expected) < 4.5 * error


def test_the_error_is_the_scatter_over_seeds(model):
    """The variance of 30 seeds' means, over the mean of the squared errors stated: it leaves these
    limits by chance once in a thousand sets of seeds."""
    by_seed = [orders.log_evidence(model, X, 5, seed) for seed in range(30)]
    means = torch.stack([f.mean() for f in by_seed])
    ratio = float(means.var()) / np.mean([orders.mean_error(f) ** 2 for f in by_seed])

    assert 0.4 < ratio < 2.0


def test_the_measure_and_its_protocol(model):
    job = Job(model, X, EvalSettings(orders=3), 0)
    nll, perplexity, pooled = METRIC.measures(job, METRIC.collect(job))
    log_p = orders.log_evidence(model, X, 3, 0)

    assert nll.name == "nll"
    assert nll.value == pytest.approx(-float(log_p.mean()), abs=1e-12)
    assert nll.error == pytest.approx(
        float(log_p.var(0).sum().sqrt()) / math.sqrt(3) / 3, abs=1e-12
    )
    assert nll.extra["spread"] == pytest.approx(float(log_p.mean(0).std()) / math.sqrt(3))

    log_p_per_word = log_p / X.sum(-1)
    assert perplexity.name == "document_perplexity"
    assert perplexity.value == pytest.approx(float(torch.exp(-log_p_per_word.mean())))

    error = float(log_p_per_word.var(0).sum().sqrt()) / math.sqrt(3) / 3
    assert perplexity.error == pytest.approx(perplexity.value * error)
    assert pooled.value == pytest.approx(float(torch.exp(-log_p.mean(0).sum() / X.sum())))

    # A single order says nothing about the spread between orders.
    one_order = Job(model, X, EvalSettings(), 0)
    nll_of_one_order, *_ = METRIC.measures(one_order, METRIC.collect(one_order))
    assert nll_of_one_order.error is None

    config = {
        "data": {"name": "tiny"},
        "model": {"name": "doc_nade"},
        "train": {"select": "last"},
        "eval": {"split": "test", "points": None, "orders": 3},
        "recipe": 1,
    }

    assert "|orders:3|" in signature(config, "nll", None)
    assert "orders" not in signature(config, "valid_bound", 1)
    assert "orders" not in signature({**config, "model": {"name": "pixel_cnn"}}, "nll", None)
