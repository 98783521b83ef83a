"""LDA: its bound is below log p by enumeration over topics, tight where it must be, largest at the
fitted posterior."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.models import lda
from vaebench.models.lda import LDA

VOCABULARY = 4

X = torch.tensor([[2, 0, 1, 1], [0, 3, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).double()


def built(topics=3, seed=0, sharp=1.0, **settings):
    model = LDA(DataInfo(np.ones(VOCABULARY), Kind.COUNTS), [topics], **settings).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.p.counts.copy_(
            1 + 9 * torch.rand(topics, VOCABULARY, generator=generator).double() ** sharp
        )

    return model


def log_evidence(model, x):
    """log p(words) of one document: the sum over the topics of all its words, theta
    integrated in closed form."""
    topics = model.mean_topics().detach()
    alpha = model.alpha
    k = model.topics
    words = torch.arange(VOCABULARY).repeat_interleave(x.long()).tolist()

    total = 0.0

    # z: one topic for each word of the document, all topics^length of them.
    for z in itertools.product(range(k), repeat=len(words)):
        counts = np.bincount(z, minlength=k) if z else np.zeros(k, dtype=int)
        log_p = math.lgamma(k * alpha) - math.lgamma(k * alpha + len(words))

        # With theta integrated out, the topics follow a Dirichlet-multinomial law,
        log_p += sum(math.lgamma(alpha + c) - math.lgamma(alpha) for c in counts)
        # and each word is drawn from its topic.
        log_p += sum(math.log(topics[t, w]) for t, w in zip(z, words, strict=True))
        total += math.exp(log_p)

    return math.log(total)


@pytest.mark.parametrize("prior", [0.1, 1.0, 5.0])
def test_the_bound_is_below_the_evidence_and_near_it(prior):
    model = built(document_prior=prior, sharp=4.0)
    bound = model.evidence_bound(X)
    exact = torch.tensor([log_evidence(model, x) for x in X], dtype=torch.float64)
    gap = exact - bound

    assert float(gap.min()) > -1e-9
    assert 1e-6 < float(gap.max()) < 1.5
    # Without words the posterior is the prior, so the bound is exact.
    assert float(gap[3]) == pytest.approx(0.0, abs=1e-6)


def test_with_one_topic_it_is_the_unigram():
    model = built(topics=1)
    unigram_log_p = (X * model.mean_topics().log()).sum(-1).detach()
    torch.testing.assert_close(model.evidence_bound(X), unigram_log_p, rtol=0, atol=1e-9)


def test_the_fitted_posterior_is_a_maximum():
    """No change of gamma raises the bound; a fault in its update would leave something to gain."""
    model = built()
    topics = model.mean_topics().detach()
    gamma = model.fitted(X, topics)

    # The model stops at its tolerance, but only the converged gamma is the maximum.
    for _ in range(300):
        gamma = model.alpha + lda.shares(X, gamma, topics)
    best = lda.bound_given(X, gamma, topics, model.alpha)

    # Random steps of about 5 % away from gamma do not raise the bound.
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        nearby_gamma = gamma * (0.05 * torch.randn(gamma.shape, generator=generator).double()).exp()
        assert bool((lda.bound_given(X, nearby_gamma, topics, model.alpha) <= best + 1e-12).all())

    # The gradient with respect to gamma vanishes.
    variable = gamma.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        lda.bound_given(X, variable, topics, model.alpha).sum(), variable
    )

    assert float(slope.abs().max()) < 1e-6


def test_a_short_document_with_many_topics_is_fitted_to_the_end():
    """Its posterior is still spread over all topics when it hardly changes any more, and the bound
    there is far from the best one. In float32 all of exp E[log theta] is zero there."""
    model = built(topics=400, sharp=4.0)
    topics = model.mean_topics().detach()
    x = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 1]]).double()

    # From a posterior on one topic alone, the best of all of them.
    one_topic = model.alpha + x.sum(-1, keepdim=True).unsqueeze(-1) * torch.eye(400).double()
    starts = [lda.bound_given(x, gamma, topics, model.alpha) for gamma in one_topic.unbind(1)]
    best = torch.stack(starts).max(0).values
    even = torch.full((2, 400), model.alpha).double() + x.sum(-1, keepdim=True) / 400

    assert bool((lda.bound_given(x, even, topics, model.alpha) < best - 50).all())
    torch.testing.assert_close(
        lda.bound_given(x.float(), even.float(), topics.float(), model.alpha).double(),
        lda.bound_given(x, even, topics, model.alpha),
        rtol=1e-5,
        atol=0,
    )
    assert float((model.evidence_bound(x) - best).abs().max()) < 1.0


def test_the_bound_does_not_depend_on_what_is_beside_a_document(monkeypatch):
    model = built()
    all_at_once = model.evidence_bound(X)
    monkeypatch.setattr(LDA, "CHUNK", 1)

    torch.testing.assert_close(model.evidence_bound(X), all_at_once, rtol=0, atol=1e-6)


def test_it_starts_at_counts_of_mean_one():
    config = {"name": "lda", "dims": [20], "init": "normal", "init_scale": 0.1}
    model = models.build(config, DataInfo(np.ones(500), Kind.COUNTS))
    models.start(torch.nn.ModuleDict({"model": model}), config, 0)
    counts = model.p.counts.detach()

    assert float(counts.mean()) == pytest.approx(1.0, abs=0.005)
    assert float(counts.std()) == pytest.approx(0.1, abs=0.005)
    assert model.alpha == model.eta == 1 / 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": [0]}, "model.dims"),
        ({"document_prior": 0.0}, "document_prior"),
        ({"topic_prior": -1}, "topic_prior"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        LDA(DataInfo(np.ones(3), Kind.COUNTS), **settings)
