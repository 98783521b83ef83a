"""Measures of documents on a bag of words: NLL, perplexity, the bound and all
that an evaluation takes."""

from __future__ import annotations

import math
from importlib import import_module

import pytest
import torch
from kit.bag_of_words import WORDS, BagOfWords, documents
from kit.parameters import drawn

from vaebench.check import checks as check
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import aggregate, mutual_information
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.perplexity import perplexity
from vaebench.estimators.posteriors import posteriors
from vaebench.estimators.variational import bound
from vaebench.estimators.weights import stream
from vaebench.metrics import aggregate as aggregate_metric
from vaebench.metrics import exact_nll as exact_nll_metric
from vaebench.metrics import mutual_information as information_metric
from vaebench.metrics import perplexity as perplexity_metric
from vaebench.metrics import repeats
from vaebench.metrics.job import Job
from vaebench.metrics.latent_use import latent_use
from vaebench.models.posterior import Gaussian
from vaebench.models.text_lm import TextLM
from vaebench.nn.tokens import predicted
from vaebench.settings.records import EvalSettings

SETTINGS = {"bound_samples": 1, "iw_samples": 30, "mi_batch": 4}


@pytest.fixture
def model():
    return BagOfWords().requires_grad_(False)


def exact_nll(model, x):
    """NLL by quadrature over a scalar z, (n,)."""
    z = torch.linspace(-15, 15, 6001, dtype=torch.float64)
    log_p = model.log_joint_terms(x, [z[:, None, None].expand(-1, len(x), 1)])
    return -(torch.logsumexp(sum(log_p), 0) + math.log(30 / 6000))


def test_importance_weighted_nll_against_quadrature():
    """One latent, and six documents repeated 50 times. z is above 4.5 by chance once in 150,000
    seeds. Half the squared error of a document is the bias that is left."""
    model = BagOfWords(1).requires_grad_(False)
    distinct = documents(6, longest=7)
    x = distinct.repeat_interleave(50, 0)
    expected = exact_nll(model, distinct)

    got = importance(model, x, 200, 0)

    assert abs(got.nll - float(expected.mean())) < 4.5 * got.error + 0.5 / got.ess_min
    assert got.error < 0.01  # so being close means something
    assert got.curve[1] > got.nll + 0.05  # one sample would be seen to be too few


def test_perplexity_by_hand():
    """3 + 1 predicted tokens and 8 nats in all give exp(8 / 4), which is not the mean over
    documents of exp(nats / tokens)."""
    x = torch.tensor([[1, 5, 6, 2, 0], [1, 2, 0, 0, 0]], dtype=torch.int16)
    assert predicted(x) == 4

    got = perplexity(4.0, 0.001, x)
    assert (got.value, got.tokens) == (pytest.approx(math.exp(2)), 4)

    # The derivative in the NLL, by differences.
    slope = (perplexity(4.001, None, x).value - perplexity(3.999, None, x).value) / 0.002
    assert got.error == pytest.approx(0.001 * slope, rel=1e-6)
    assert perplexity(4.0, None, x).error is None
    assert perplexity(1e5, 1.0, x).value == math.inf


def test_a_fair_die_has_the_perplexity_of_its_faces(model):
    for p in (model.w, model.b, model.q):
        p.zero_()

    model.log_var = 0.0
    x = documents(40)

    got = {m.name: m for m in measured(model, x)}["perplexity"]

    assert got.value == pytest.approx(WORDS)
    assert got.samples == 30
    assert got.extra["tokens"] == int((x > 1).sum())
    assert got.extra["tokens_per_case"] * 40 == got.extra["tokens"]


NAMES = ("bound", "importance", "active_units", "mutual_information", "aggregate")
METRICS = [import_module(f"vaebench.metrics.{name}").METRIC for name in NAMES]


def measured(model, x, seed=0, **settings):
    """The measures of all metrics from one stream, as an evaluation takes them."""
    job = Job(model, x, EvalSettings.of(SETTINGS | settings), seed)
    gathered = [(metric, metric.collect(job)) for metric in METRICS if metric.applies(job)]

    for part in job.stream(30):
        for _, sums in gathered:
            if part.first < sums.samples:
                sums.add(part)

    return [m for metric, sums in gathered for m in metric.measures(job, sums)]


def test_every_measure_of_a_text_model(model):
    x = documents(60)
    got = {m.name: m for m in measured(model, x)}
    p = posteriors(model, x, 0)
    parts = mutual_information.batches(model, x, 4)
    expected = mutual_information.batchwise(p, parts)

    assert (got["mi_batch"].value, got["mi_batch"].error) == pytest.approx(
        (expected.value, expected.error), rel=1e-9
    )

    extra = {"batch": 4, "batches": len(parts), "ceiling": expected.ceiling}
    assert got["mi_batch"].extra == pytest.approx(extra)
    assert expected.ceiling < math.log(4)  # some batches are smaller
    assert got["mi"].value == pytest.approx(mutual_information.whole_set(p).value, rel=1e-9)
    assert got["mi"].extra["ceiling"] == pytest.approx(math.log(60))
    # E_x KL(q(z | x) || p) = I(x; z) + KL(q(z) || p).
    assert got["mi"].value + got["aggregate_kl"].value == pytest.approx(got["kl"].value, rel=1e-9)

    kl_of_aggregate = aggregate.aggregate_kl(p)
    assert got["aggregate_kl"].extra == pytest.approx(
        {"direct": kl_of_aggregate.direct, "direct_error": kl_of_aggregate.direct_error}
    )
    assert got["aggregate_kl"].error == pytest.approx(kl_of_aggregate.error)

    active = got["active_units"]
    assert active.value == int((p.mean.var(0) >= 0.01).sum()) == 2
    assert active.samples == 1
    assert active.extra == {
        "layers": [2],
        "threshold": 0.01,
        "at_threshold": "active",
        "ddof": 1,
        "of": "encoder means",
    }
    assert got["iw_nll"].value == pytest.approx(importance(model, x, 30, 0).nll)
    assert got["perplexity"].value == pytest.approx(
        math.exp(got["iw_nll"].value * 60 / int((x > 1).sum()))
    )


def test_batches_of_32_unless_told_otherwise(model):
    assert {m.name: m for m in measured(model, documents(60), mi_batch=None)}["mi_batch"].extra[
        "batch"
    ] == 32


def test_the_bound_takes_the_exact_kl(model):
    """The bound is the mean of log p(x | z) over the first samples minus the KL, which has no
    noise."""
    x = documents(60)
    mean, log_var = model.encode(x)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)

    for samples in (1, 7):
        got = bound(model, x, samples, 0)
        data = torch.cat([part.log_p[0] for part in stream(model, x, samples, 0)], 1)
        assert got.value == pytest.approx(float((data - kl).mean()), rel=1e-10)
        assert got.kl == [pytest.approx(float(kl.mean()), rel=1e-10)]
        assert got.analytic

    assert got.error == pytest.approx(float((data.var(0) / 7).sum().sqrt()) / 60, rel=1e-6)

    measures = {m.name: m for m in measured(model, x, bound_samples=7)}
    assert measures["bound"].value == pytest.approx(-got.value)
    assert measures["kl"].extra == {"layers": got.kl, "analytic": True}


def test_numbers_for_curves_are_those_of_the_measures(model):
    x = documents(60)
    measures = {m.name: m.value for m in measured(model, x)}

    got = latent_use(model, x, 0, "eval", parts=mutual_information.batches(model, x, 4))

    assert got == pytest.approx({name: measures[name] for name in got})
    assert list(got) == ["bound", "kl", "mi_batch", "mi", "aggregate_kl", "active_units"]
    assert got["mi_batch"] != latent_use(model, x, 0)["mi_batch"]  # other batches, other noise

    parts = mutual_information.batches(model, x, 32)
    assert latent_use(model, x, 0) == latent_use(model, x, 0, parts=parts)


def test_evaluation_noise(model):
    """The first of ten evaluations is the run's own. Exact measures do not vary; the others never
    repeat a value."""
    x = documents(40)
    by_seed = [measured(model, x, seed) for seed in repeats.repeat_seeds(4, 10)]

    got = {m.name: m for m in repeats.together(by_seed)}
    once = {m.name: m for m in measured(model, x, 4)}

    for name, m in got.items():
        repeated = m.extra["repeats"]
        assert m.value == once[name].value == repeated["values"][0]

        values = torch.tensor(repeated["values"], dtype=torch.float64)
        assert repeated["mean"] == pytest.approx(float(values.mean()))
        assert repeated["variance"] == pytest.approx(float(values.var()), abs=1e-12)

        exact = name in ("kl", "active_units")
        assert len(values) == 10
        assert len(values.unique()) == (1 if exact else 10), name
        assert {k: v for k, v in m.extra.items() if k != "repeats"} == once[name].extra


def test_a_model_without_latents_has_none_of_it():
    """A language model has none of these measures. Its perplexity is that of an exact NLL."""
    model = TextLM(DataInfo(torch.full((WORDS,), 1 / WORDS), Kind.TOKENS), embedding=4, units=5)
    job = Job(model, documents(20), EvalSettings.of(SETTINGS | {"bound_samples": 10}), 0)

    assert not any(metric.applies(job) for metric in METRICS)

    got = perplexity_metric.measure(job, 12.0, None, None)
    assert got.value == pytest.approx(math.exp(12 * 20 / got.extra["tokens"]))
    assert (got.error, got.error_kind, got.samples, got.unit) == (None, "none", None, "per token")


def test_the_exact_nll_of_a_language_model_is_its_mean_and_its_perplexity():
    model = TextLM(DataInfo(torch.full((WORDS,), 1 / WORDS), Kind.TOKENS), embedding=4, units=5)
    model = drawn(model.double(), 0.7).requires_grad_(False)
    x = documents(20)
    job = Job(model, x, EvalSettings.of(SETTINGS), 0)
    nll, perplexity_of = exact_nll_metric.METRIC.measures(job, model.score(x))
    nlls = -model.log_evidence(x)

    assert nll.value == pytest.approx(float(nlls.mean()))
    assert nll.extra["spread"] == pytest.approx(float(nlls.std()) / 20**0.5)
    assert perplexity_of.value == pytest.approx(math.exp(float(nlls.sum()) / predicted(x)))


def test_the_models_that_do_not_encode_have_none_of_it():
    model = check.tiny({"name": "sbn", "dims": [2, 3]}).requires_grad_(False)
    job = Job(model, torch.ones(5, check.VISIBLE), EvalSettings.of(SETTINGS), 0)

    assert not any(file.METRIC.applies(job) for file in (information_metric, aggregate_metric))

    (part,) = stream(model, job.x, 5, 0)
    assert not isinstance(part.posterior, Gaussian)
