"""Perplexities of documents as counts: by hand on three documents, against enumeration, and with
their errors."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench import models
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import exact
from vaebench.estimators.document_perplexity import per_document, pooled
from vaebench.evaluation.evaluate import evaluate
from vaebench.metrics import document_perplexity
from vaebench.metrics.job import Job
from vaebench.models.base import ExactModel
from vaebench.protocol.families import FAMILIES
from vaebench.protocol.registry import METRICS
from vaebench.settings.records import EvalSettings

NLL = torch.tensor([4.0, 30.0, 12.0])
TOKENS = torch.tensor([2.0, 10.0, 3.0])
"""2, 3 and 4 nats per token: 3 on average; 46 nats of 15 tokens in all."""

NAMES = (
    "document_perplexity",
    "pooled_perplexity",
    "iw_document_perplexity",
    "iw_pooled_perplexity",
)


def test_three_documents_by_hand():
    assert per_document(NLL, TOKENS).value == pytest.approx(math.exp((2 + 3 + 4) / 3))
    assert pooled(NLL, TOKENS).value == pytest.approx(math.exp(46 / 15))

    one_document = torch.tensor([5.0]), torch.tensor([2.0])
    for perplexity in (per_document(*one_document), pooled(*one_document)):
        assert perplexity.value == pytest.approx(math.exp(2.5))
        assert (perplexity.error, perplexity.case_error) == (None, None)

    equal_rates = torch.tensor([6.0, 12.0]), torch.tensor([2.0, 4.0])
    assert (
        per_document(*equal_rates).value
        == pytest.approx(pooled(*equal_rates).value)
        == pytest.approx(math.exp(3))
    )


def test_errors_by_hand():
    """Errors of three bounds with variances 1, 4 and 9, and of three documents with 2, 3 and 4 nats
    per token."""
    variance = torch.tensor([1.0, 4.0, 9.0])
    mean = per_document(NLL, TOKENS, variance)
    ratio = pooled(NLL, TOKENS, variance)

    assert mean.error == pytest.approx(mean.value * math.sqrt(1 / 4 + 4 / 100 + 9 / 9) / 3)
    assert ratio.error == pytest.approx(ratio.value * math.sqrt(14) / 15)
    assert mean.case_error == pytest.approx(mean.value * 1.0 / math.sqrt(3))

    # A ratio of two means has the error of the mean residual; variances have 3 - 1 degrees of
    # freedom.
    rate = 46 / 15
    residual = [4 - 2 * rate, 30 - 10 * rate, 12 - 3 * rate]

    assert ratio.case_error == pytest.approx(
        ratio.value * math.sqrt(sum(r * r for r in residual) * 3 / 2) / 15
    )


@pytest.mark.parametrize("perplexity", [per_document, pooled])
def test_errors_are_those_of_repeats(perplexity):
    """The standard deviation of 4,000 repeats has itself an error of 1.1 %, so a limit of 5 % is
    exceeded by chance once in 10^5 seeds."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    n = 50
    repeats = 4000

    # First the Monte Carlo error: the same documents, with other noise in each NLL.
    tokens = torch.randint(1, 30, (n,), generator=generator).double()
    variance = 0.02 * tokens
    nll = 3 * tokens + variance.sqrt() * normal(repeats, n)

    perplexities = [perplexity(row, tokens, variance) for row in nll]
    values = torch.tensor([p.value for p in perplexities])

    assert float(values.std()) == pytest.approx(
        sum(p.error for p in perplexities) / repeats, rel=0.05
    )

    # Then the error over documents: other documents in each repeat, without noise.
    lengths = torch.randint(1, 30, (repeats, n), generator=generator).double()
    nll = lengths * (3 + 0.3 * normal(repeats, n))

    perplexities = [perplexity(row, t) for row, t in zip(nll, lengths, strict=True)]
    values = torch.tensor([p.value for p in perplexities])

    assert float(values.std()) == pytest.approx(
        sum(p.case_error for p in perplexities) / repeats, rel=0.05
    )


def test_one_document_is_found_by_its_nats_per_token_or_by_its_nats():
    """Thirty documents of 2 nats per token, but the shortest, of one token, has 60. It decides the
    mean of nats per token; in the sum of nats it does not outweigh the long ones."""
    info = DataInfo(torch.full((5,), 0.7), Kind.COUNTS, longest=60)
    tokens = torch.arange(1.0, 31.0)
    x = torch.zeros(30, 5)
    x[:, 2] = tokens
    job = Job(models.build({"name": "sbn", "dims": [3]}, info), x, EvalSettings(), 0)
    nll = 2 * tokens
    nll[0] = 60.0
    mean, ratio = document_perplexity.measures(job, nll, None, None, ("each", "pooled"))

    assert mean.extra["one_case"]["value"] == 60.0
    assert "one_case" not in ratio.extra


def test_what_is_too_large_is_infinite():
    for nll in (torch.tensor([2000.0, 1e4]), torch.tensor([math.inf, 1.0])):
        assert per_document(nll, torch.tensor([1.0, 2.0])).value == math.inf
        assert pooled(nll, torch.tensor([1.0, 1.0])).value == math.inf


# ------------------------------------------------------------------------------ measures of a model


def config(**settings):
    ev = {"bound_samples": 10, "iw_samples": 200, "split": "test", "points": None, **settings}
    parts = {
        "model": {"name": "sbn"},
        "data": {"name": "tiny"},
        "objective": {},
        "train": {"select": "valid_bound"},
    }
    return {**parts, "recipe": 1, "eval": ev}


def documents(n=300):
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(0, 4, (n, 5), generator=generator) * torch.randint(
        0, 2, (n, 5), generator=generator
    )
    x[x.sum(1) == 0, 2] = 1
    return x.to(torch.uint8)


@pytest.fixture(scope="module")
def model():
    info = DataInfo(torch.full((5,), 0.7), Kind.COUNTS, longest=15)
    model = models.build({"name": "sbn", "dims": [3]}, info).double()
    randomize(model, 1)
    return model.requires_grad_(False)


def measured(model, x, **settings):
    return {m.name: m for m in evaluate(model, x, config(**settings), "0" * 16, 0)}


def test_measures_are_those_of_the_exact_bound_and_likelihood(model):
    """Each is within four of its errors: one of the four fails by chance in 2.5e-4 of all seeds.
    The four names have four signatures."""
    x = documents()
    measures = measured(model, x)
    tokens = x.sum(1).double()
    expected = [exact.elbo(model, x.double()), exact.log_evidence(model, x.double())]
    expected = [f(-v, tokens).value for v in expected for f in (per_document, pooled)]

    for name, value in zip(NAMES, expected, strict=True):
        m = measures[name]
        assert abs(m.value - value) < 4 * m.error, name
        assert m.unit == "per token"
        assert m.samples == (200 if "iw" in name else 10)
        assert (
            f"{name}|data:tiny@00000000|split:test|points:all|samples:{m.samples}|" in m.signature
        )
        assert m.extra["tokens"] == int(tokens.sum())
        assert m.extra["tokens_per_case"] == pytest.approx(float(tokens.mean()))
        assert m.extra["spread"] > m.error

    assert len({measures[name].signature for name in NAMES}) == 4
    assert measures["document_perplexity"].value > measures["iw_document_perplexity"].value
    assert measures["pooled_perplexity"].value == pytest.approx(
        math.exp(measures["bound"].value / float(tokens.mean()))
    )
    assert measures["document_perplexity"].value != pytest.approx(
        measures["pooled_perplexity"].value, rel=1e-3
    )


def test_a_fair_die_has_the_perplexity_of_its_faces():
    info = DataInfo(torch.full((5,), 0.7), Kind.COUNTS, longest=15)

    # All parameters are 0, so every token has the probability 1/5.
    model = models.build({"name": "sbn", "dims": [3]}, info).requires_grad_(False)

    measures = measured(model, documents(40))

    for name in NAMES:
        assert measures[name].value == pytest.approx(5.0, rel=1e-6)
        assert measures[name].error == pytest.approx(0.0, abs=1e-5)


def test_samples_that_are_not_taken_have_no_measure_and_one_has_no_error(model):
    measures = measured(model, documents(20), iw_samples=None, bound_samples=1)
    assert set(NAMES) & set(measures) == set(NAMES[:2])
    assert measures["document_perplexity"].error is None
    assert measured(model, documents(20), iw_samples=1)["iw_pooled_perplexity"].error is None


def test_other_examples_have_none():
    model = models.build(
        {"name": "sbn", "dims": [3]}, DataInfo(torch.full((5,), 0.3))
    ).requires_grad_(False)
    assert not set(NAMES) & set(measured(model, torch.ones(10, 5)))


class Unigram(ExactModel):
    """A language model that draws every token from the same distribution."""

    facts = FAMILIES["text_lm"]

    def log_evidence(self, x, drop=None, tape=None):
        return (x.double() * self.mean.double().log()).sum(-1)


def test_a_model_that_knows_its_likelihood_has_exact_ones(monkeypatch):
    import dataclasses

    monkeypatch.setattr(
        Unigram, "facts", dataclasses.replace(FAMILIES["text_lm"], takes=(Kind.COUNTS,))
    )
    mean = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25])
    model = Unigram(DataInfo(mean, Kind.COUNTS))
    x = documents(50)

    measures = measured(model, x)
    nll = -model.log_evidence(x)

    assert measures["document_perplexity"].value == pytest.approx(per_document(nll, x.sum(1)).value)
    assert measures["pooled_perplexity"].value == pytest.approx(pooled(nll, x.sum(1)).value)
    assert measures["document_perplexity"].error is None
    assert measures["document_perplexity"].samples is None
    assert "perplexity" not in measures


def test_they_are_registered_with_a_floor():
    for name in NAMES:
        assert METRICS[name].floor == 1.0
        assert METRICS[name].likelihood
