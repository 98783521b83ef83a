"""Variational Bayes for LDA: scikit-learn's own update as a step of natural gradient, and a bound
that only rises."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebench import models, optim
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.models.lda import LDA
from vaebench.objectives.base import Batch
from vaebench.objectives.topic_posterior import TopicPosterior
from vaebench.training.engines import Pack

VOCABULARY = 12
TOPICS = 3
CASES = 40


@pytest.fixture(scope="module")
def x():
    """Documents that mix three topics, each with four words of its own."""
    rng = np.random.default_rng(0)
    topics = np.repeat(np.eye(TOPICS), VOCABULARY // TOPICS, axis=1) + 0.05
    theta = rng.dirichlet(np.full(TOPICS, 0.3), CASES)
    p = theta @ (topics / topics.sum(1, keepdims=True))

    return torch.from_numpy(np.stack([rng.multinomial(rng.integers(5, 30), row) for row in p]))


def rule(seed=0, topics=TOPICS, **settings):
    config = {"name": "lda", "dims": [topics], "init": "normal", "init_scale": 0.1}
    objective = TopicPosterior(
        models.build(config, DataInfo(np.ones(VOCABULARY), Kind.COUNTS)), **settings
    )
    models.start(objective, config, seed)

    return objective


def pack(made, x, updates=1):
    descent = optim.build({"name": "sgd", "rate": 1.0})
    params = {k: v.detach().clone() for k, v in made.named_parameters()}
    return Pack(
        made,
        descent,
        [params],
        [made.state(0, len(x))],
        [{}],
        x.to(torch.uint8),
        Kind.COUNTS,
        updates=updates,
    )


def stepped(made, x, rows, first=0):
    """The topics' counts after one update of these rows, the update's number being ``first``."""
    trained = pack(made, x)
    trained.advance(torch.as_tensor(rows).reshape(1, 1, -1), {}, None, first)
    return trained.seed(0)[0]["model.p.counts"]


def librarys(made, x, rows, total, first=0):
    """What scikit-learn itself makes of the same batch, from the same counts."""
    estimator = made.estimator().set_params(
        learning_decay=made.decay,
        learning_offset=made.offset,
        total_samples=total,
        random_state=0,
        batch_size=10**6,
    )

    # A first fit makes every attribute; the next lines put ours in their place.
    estimator.partial_fit(np.zeros((1, VOCABULARY)) + 1)

    estimator.components_ = made.model.p.counts.detach().double().numpy()
    estimator.exp_dirichlet_component_ = _expected(estimator.components_)
    estimator.n_batch_iter_ = first + 1

    estimator.partial_fit(x[rows].double().numpy())

    return torch.from_numpy(estimator.components_)


def _expected(counts):
    from scipy.special import psi

    return np.exp(psi(counts) - psi(counts.sum(1, keepdims=True)))


@pytest.mark.parametrize(("decay", "first"), [(0.0, 0), (0.7, 0), (0.7, 9)])
def test_an_update_is_that_of_scikit_learn(x, decay, first):
    """Its E-step starts elsewhere, at random: both are run until nothing changes."""
    objective = rule(decay=decay, offset=3.0, iterations=5_000, tolerance=1e-7)
    rows = list(range(0, CASES, 4))
    counts = stepped(objective, x, rows, first)

    torch.testing.assert_close(
        counts.double(), librarys(objective, x, rows, CASES, first), rtol=2e-3, atol=2e-3
    )


def test_a_batch_update_never_lowers_the_bound(x):
    """The bound of all documents and of the topics, summed, after every update of all documents."""
    objective = rule(decay=0.0, iterations=2_000, tolerance=1e-6)
    estimator = objective.estimator().set_params(total_samples=CASES, random_state=0)

    estimator.partial_fit(np.ones((1, VOCABULARY)))
    everything = list(range(CASES))
    bounds = []

    # scikit-learn's own bound of all documents and topics, at our counts and posteriors.
    for _ in range(12):
        objective.model.p.counts.data.copy_(stepped(objective, x, everything))
        counts = objective.model.p.counts.detach().double()
        estimator.components_ = counts.numpy()
        gamma = objective.fitted(x.double(), counts)
        bounds.append(
            estimator._approx_bound(x.double().numpy(), gamma.numpy(), sub_sampling=False)
        )

    assert min(np.diff(bounds)) > -1e-3
    assert bounds[-1] > bounds[0] + 10


@pytest.mark.parametrize("topics", [TOPICS, 300])
def test_every_word_of_a_document_has_a_topic(x, topics):
    """gamma is the prior and one for every word, also of a document of one word that may be of any
    of hundreds of topics."""
    objective = rule(topics=topics)
    one_word = torch.eye(VOCABULARY)
    documents = torch.cat([one_word, x]).double()
    gamma = objective.fitted(documents, objective.model.posterior_of_topics().detach().double())

    torch.testing.assert_close(
        (gamma - objective.model.alpha).sum(-1), documents.sum(-1), rtol=1e-5, atol=0
    )


def test_hundreds_of_topics_are_trained(x):
    """The first update, in which every topic is alike, is the hard one."""
    objective = rule(topics=300, decay=0.0)
    everything = list(range(CASES))
    bounds = []
    for _ in range(4):
        objective.model.p.counts.data.copy_(stepped(objective, x, everything))
        bounds.append(float(objective.model.evidence_bound(x).mean()))

    # As many words as the documents have, beside the prior.
    words_of_topics = objective.model.p.counts.detach() - objective.model.eta

    assert np.isfinite(bounds).all()
    assert float(words_of_topics.sum()) == pytest.approx(float(x.sum()), rel=1e-4)


def test_it_finds_the_topics(x):
    objective = rule(decay=0.0)

    unigram = x.sum(0) / x.sum()
    for _ in range(40):
        objective.model.p.counts.data.copy_(stepped(objective, x, list(range(CASES))))

    topics = objective.model.mean_topics().detach()

    mass_of_groups = topics.reshape(TOPICS, TOPICS, -1).sum(-1)

    # The probability that each topic gives to each group of words.

    assert sorted(mass_of_groups.argmax(1).tolist()) == [0, 1, 2]
    assert float(mass_of_groups.max(1).values.min()) > 0.8

    # Better than one topic for all documents, by a nat each.
    assert (
        float(objective.model.evidence_bound(x).mean())
        > float((x * unigram.log()).sum(-1).mean()) + 1
    )


def test_the_step_tells_the_bound_of_its_batch(x):
    objective = rule(decay=0.0)
    loss, state, metrics = objective(objective.state(0, CASES), Batch(x.float()), {})

    assert float(loss.detach()) == pytest.approx(-float(metrics["bound"]))
    assert float(state["cases"]) == CASES

    # The log-probability of documents of 5 to 29 words.
    assert -200 < float(metrics["bound"]) < 0


def test_bad_settings():
    for settings in ({"decay": 1.5}, {"offset": 0}, {"iterations": 0}, {"tolerance": -1.0}):
        with pytest.raises(UserError, match=f"objective.{next(iter(settings))}"):
            rule(**settings)
    assert TopicPosterior.trains(LDA(DataInfo(np.ones(3), Kind.COUNTS), [2]))
