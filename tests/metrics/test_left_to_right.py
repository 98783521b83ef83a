"""The left-to-right estimate of p(words) has no bias, by enumeration of the topics; its kernel is
the plain code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.test_lda import X, built, log_evidence
from vaebench import kernels
from vaebench.estimators import left_to_right
from vaebench.metrics import evidence_bound
from vaebench.metrics.job import Job
from vaebench.metrics.left_to_right import METRIC
from vaebench.protocol.signature import evaluated, samples_of, signature
from vaebench.settings.records import EvalSettings


@pytest.mark.parametrize("particles", [1, 4])
@pytest.mark.parametrize("case", [0, 1])
def test_the_estimate_of_the_probability_has_no_bias(particles, case):
    """z of 20,000 estimates is above 4 by chance once in 16,000 seeds."""
    model = built(document_prior=0.2, sharp=4.0)
    copies = X[case : case + 1].expand(20_000, -1)
    p = left_to_right.log_evidence(model, copies, particles, seed=0).exp()
    error = float(p.std() / len(p) ** 0.5)
    exact = np.exp(log_evidence(model, X[case]))

    assert 0 < error < 0.02 * exact  # so being close means something
    assert abs(float(p.mean()) - exact) < 4 * error


def test_more_particles_are_nearer_from_below():
    model = built(document_prior=0.2, sharp=4.0)

    # The logarithm of an unbiased estimate is too small on average, the less the more particles.
    copies = X[:1].expand(4_000, -1)
    gaps = [
        log_evidence(model, X[0])
        - float(left_to_right.log_evidence(model, copies, k, seed=1).mean())
        for k in (1, 4, 16)
    ]

    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.25 * gaps[0]


def test_a_document_without_words_and_one_topic_are_exact():
    model = built(topics=1)
    log_p = left_to_right.log_evidence(model, X, 2, seed=0)

    torch.testing.assert_close(log_p, (X * model.mean_topics().detach().log()).sum(-1))


def test_the_kernel_is_the_plain_code():
    if kernels.missing():
        pytest.skip(kernels.missing())

    model = built(topics=3, document_prior=0.3)
    x = torch.cat([X, torch.tensor([[3, 4, 2, 5]])])

    for particles in (1, 3):
        log_p = []
        for by_kernel in (True, False):
            with kernels.use(by_kernel):
                log_p.append(left_to_right.log_evidence(model, x, particles, seed=3))

        torch.testing.assert_close(*log_p, rtol=0, atol=1e-9)


def test_it_does_not_depend_on_the_size_of_a_part(monkeypatch):
    model = built()
    whole = left_to_right.log_evidence(model, X, 3, seed=0)
    monkeypatch.setattr(left_to_right, "PART", 1)

    torch.testing.assert_close(left_to_right.log_evidence(model, X, 3, seed=0), whole)


def test_the_measures_and_their_protocol():
    job = Job(built(), X[:3], EvalSettings(particles=5), 0)
    nll, perplexity, pooled = METRIC.measures(job, METRIC.collect(job))
    bound = evidence_bound.METRIC
    bound_nll, perplexity_above, _ = bound.measures(job, bound.collect(job))

    assert perplexity.name == "left_to_right_perplexity"
    assert perplexity_above.name == "document_perplexity"
    assert perplexity.value < perplexity_above.value

    nlls = -left_to_right.log_evidence(job.model, job.x, 5, 0)
    assert nll.value == pytest.approx(float(nlls.mean()))
    assert nll.extra["spread"] == pytest.approx(float(nlls.std()) / 3**0.5)
    assert perplexity.value == pytest.approx(float((nlls / job.x.sum(-1)).mean().exp()))
    assert pooled.value == pytest.approx(float((nlls.sum() / job.x.sum()).exp()))
    assert (nll.name, nll.samples, bound_nll.name, bound_nll.samples) == (
        "left_to_right_nll",
        5,
        "bound",
        None,
    )
    assert nll.value < bound_nll.value

    bounds = job.model.evidence_bound(job.x)
    assert bound_nll.value == pytest.approx(-float(bounds.mean()))
    assert bound_nll.extra["spread"] == pytest.approx(float(bounds.std()) / 3**0.5)
    assert not METRIC.applies(Job(built(), X, EvalSettings(particles=None), 0))

    config = {
        "data": {"name": "tiny"},
        "model": {"name": "lda"},
        "train": {"select": "last", "valid_samples": 10},
        "eval": {
            "split": "test",
            "points": None,
            "bound_samples": 3,
            "iw_samples": None,
            "particles": 5,
        },
        "recipe": 1,
    }

    assert evaluated(config, "bound") == ["bound", "left_to_right_nll"]
    assert evaluated(config, "document_perplexity") == [
        "bound",
        "left_to_right_nll",
        "document_perplexity",
    ]
    assert samples_of(config, "bound") is samples_of(config, "document_perplexity") is None
    assert "|samples:5|" in signature(
        config, "left_to_right_nll", samples_of(config, "left_to_right_nll")
    )
