"""Measures of documents and Gaussian posteriors: passes, the encoder's work, perplexity, bound, on a bag of words."""

from __future__ import annotations

import math
from importlib import import_module

import pytest
import torch
from torch import nn

from vaebench.check import checks as check
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import gaussian
from vaebench.estimators import aggregate, mutual_information, weights
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.perplexity import perplexity
from vaebench.estimators.posterior_mean import encoder_mean, posterior_mean
from vaebench.estimators.posteriors import posteriors
from vaebench.estimators.variational import bound
from vaebench.estimators.weights import stream
from vaebench.metrics import aggregate as aggregate_metric
from vaebench.metrics import mutual_information as information_metric
from vaebench.metrics import perplexity as perplexity_metric
from vaebench.metrics import repeats
from vaebench.metrics.job import Job
from vaebench.metrics.latent_use import latent_use
from vaebench.models.base import GaussianPosterior
from vaebench.models.posterior import Gaussian
from vaebench.models.text_lm import TextLM
from vaebench.models.text_vae import TextVAE
from vaebench.nn.tokens import predicted
from vaebench.protocol.families import FAMILIES

WORDS = 9
SETTINGS = {"bound_samples": 1, "iw_samples": 30, "mi_batch": 4}


class BagOfWords(GaussianPosterior):
    """Every word and the end by softmax(W z + b), of whatever place; the encoder sees the counts. Keeps a record."""

    facts = FAMILIES["text_vae"]

    def __init__(self, latents: int = 2) -> None:
        super().__init__(DataInfo(torch.full((WORDS,), 1 / WORDS), Kind.TOKENS), [latents])
        self.double()
        g = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(WORDS, latents, generator=g, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(WORDS, generator=g, dtype=torch.float64))
        self.q = nn.Parameter(0.3 * torch.randn(WORDS, latents, generator=g, dtype=torch.float64))
        self.log_var, self.encoded, self.decoded = -1.0, [], []

    def encode(self, x, tape=None):
        self.encoded.append(tuple(x.shape))
        counts = torch.stack([(x == v).sum(1) for v in range(1, WORDS)], 1).double()
        mean = counts @ self.q[1:]
        return mean, self.log_var + 0.1 * mean

    def log_likelihood(self, x, z, drop=None, tape=None):
        self.decoded.append((*z[0].shape[:2], x.shape[1]))
        log_p = torch.log_softmax(z[0] @ self.w.T + self.b, -1)
        targets = x[:, 1:].long()
        each = log_p.gather(-1, targets.expand(len(z[0]), *targets.shape))
        return (each * (targets != 0)).sum(-1)


@pytest.fixture
def model():
    return BagOfWords().requires_grad_(False)


def documents(n, seed=0, longest=12):
    """Token numbers (n, longest), int16, sorted by length from 2 (no word at all): <s>=1, words from 3, </s>=2."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, longest + 1, (n,), generator=g).sort().values
    x = torch.randint(3, WORDS, (n, longest), generator=g)
    x[:, 0] = 1
    place = torch.arange(longest)
    x = torch.where(place == lengths[:, None] - 1, 2, x)
    return torch.where(place < lengths[:, None], x, 0).to(torch.int16)


def collect(model, x, samples, seed=0, **settings):
    out = torch.full((samples, len(x)), float("nan"), dtype=torch.float64)
    for part in stream(model, x, samples, seed, **settings):
        rows = slice(part.first, part.first + part.log_w.shape[0])
        assert torch.isnan(out[rows, part.cases]).all()
        out[rows, part.cases] = part.log_w
    assert not torch.isnan(out).any()
    return out


# --------------------------------------------------------------------------------------------------------- passes


@pytest.mark.parametrize(("n", "samples"), [(1, 1), (101, 11), (230, 37)])
def test_every_chunk_batch_and_budget_gives_the_same_weights(model, monkeypatch, n, samples):
    x = documents(n)
    wanted = collect(model, x, samples)
    for settings in ({"chunk": 25}, {"batch": 7}, {"chunk": 1000, "batch": 1000}, {"chunk": 10, "batch": 130}):
        torch.testing.assert_close(collect(model, x, samples, **settings), wanted, rtol=0, atol=1e-11)
    for tokens, codes in ((1, 1), (300, 2000), (1500, 10_000)):
        monkeypatch.setitem(weights.TOKENS, "cpu", tokens)
        monkeypatch.setattr(weights, "CODES", codes)
        torch.testing.assert_close(collect(model, x, samples), wanted, rtol=0, atol=1e-11)
    assert len(wanted.unique()) == wanted.numel()


def test_a_document_has_the_weights_it_has_alone(model):
    """Among any others, padded or not, by its position."""
    x = documents(120)
    wanted = collect(model, x, 12)
    torch.testing.assert_close(collect(model, x[:110], 12), wanted[:, :110], rtol=0, atol=1e-12)
    wider = torch.cat([x, torch.zeros(120, 30, dtype=x.dtype)], 1)
    torch.testing.assert_close(collect(model, wider, 12), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("limit", "groups"), [(1, 230), (150, None), (900, None), (1300, None), (2**14, 1)])
@pytest.mark.parametrize("codes", [1, 5000, 2**23])
def test_passes_fit_the_budget_and_fill_it(model, monkeypatch, limit, groups, codes):
    x, samples = documents(230), 25
    monkeypatch.setitem(weights.TOKENS, "cpu", limit)
    monkeypatch.setattr(weights, "CODES", codes)
    tokens, starts = (x != 0).sum(1), set()
    for part in stream(model, x, samples, 0):
        (k, batch, width), cases = model.decoded[-1], part.cases
        assert model.encoded[-1] == (batch, width)
        assert (batch, width) == (cases.stop - cases.start, int(tokens[cases].max()))  # trimmed
        assert batch * width <= limit or batch == 1
        assert k * batch * 2 <= codes or k <= 10
        if part.first == 0 and k < samples:  # ten more samples would not have fitted
            assert (k + 10) * batch * 2 > codes
        if cases.stop < len(x) and cases.stop % 100:  # nor one more document
            assert (batch + 1) * int(tokens[cases.stop]) > limit
        if cases.start % 100:  # what begins within a grain does not go on into the next
            assert cases.stop <= -(-cases.start // 100) * 100 or cases.stop == len(x)
        starts.add(cases.start)
    assert groups in (None, len(starts))


def test_unsorted_documents_fit_as_well(model, monkeypatch):
    x = documents(100)[torch.randperm(100, generator=torch.Generator().manual_seed(1))]
    wanted = collect(model, x, 20, batch=1)
    model.decoded.clear()
    monkeypatch.setitem(weights.TOKENS, "cpu", 200)
    torch.testing.assert_close(collect(model, x, 20), wanted, rtol=0, atol=1e-11)
    assert all(batch * width <= 200 for _, batch, width in model.decoded)
    assert 5 < len(model.decoded) < 20


def test_the_encoder_sees_a_document_once(model):
    x = documents(230)
    collect(model, x, 53, chunk=10)
    assert sum(batch for batch, _ in model.encoded) == 230
    assert sum(k * batch for k, batch, _ in model.decoded) == 53 * 230
    assert len(model.decoded) == 6 * len(model.encoded)


def test_the_weight_is_the_joint_minus_the_posterior(model):
    x = documents(7)
    (part,) = stream(model, x, 10, 0)
    mean, log_var = model.encode(x)
    assert torch.equal(part.posterior.mean, mean)
    assert torch.equal(part.posterior.log_var, log_var)
    terms = model.log_joint_terms(x, part.z)
    wanted = terms[0] + terms[1] - gaussian.log_prob(part.z[0], mean, log_var / 2)
    torch.testing.assert_close(part.log_w, wanted)


def test_posteriors_are_those_of_the_stream_without_the_decoder(model):
    x = documents(130)
    got = posteriors(model, x, 3)
    assert model.decoded == []
    parts = [part for part in stream(model, x, 1, 3)]
    torch.testing.assert_close(got.z, torch.cat([part.z[0][0] for part in parts]))
    torch.testing.assert_close(got.mean, torch.cat([part.posterior.mean for part in parts]))
    torch.testing.assert_close(got.log_var, torch.cat([part.posterior.log_var for part in parts]))


# ------------------------------------------------------------------------------------------------ the model of text


def text_vae(latents):
    model = TextVAE(DataInfo(torch.full((WORDS,), 1 / WORDS), Kind.TOKENS), latents, embedding=4, units=5).double()
    check.randomize(model, 2, 0.7)
    return model.requires_grad_(False)


def test_the_text_model_has_the_same_weights_in_all_passes(monkeypatch):
    """Against one document after the other, unpadded, with what the stream drew."""
    model, x = text_vae(2), documents(110)
    wanted = collect(model, x, 23)
    for settings in ({"chunk": 10}, {"batch": 40}):
        torch.testing.assert_close(collect(model, x, 23, **settings), wanted, rtol=0, atol=1e-11)
    for cases, tokens in ((slice(i, i + 1), int((x[i] != 0).sum())) for i in range(0, 110, 7)):
        noise = weights.draws(model, cases, 0, 23, 0, "eval", x.device)
        one = x[cases, :tokens]
        z = model.sample_posterior(one, 23, noise)
        log_w = model.log_joint(one, z) - model.log_posterior(z, one)
        torch.testing.assert_close(wanted[:, cases], log_w, rtol=0, atol=1e-11)


def test_posterior_means_of_text():
    """Document by document, all of the grid at once; in any passes."""
    model, x = text_vae(1), documents(12)
    grid = torch.linspace(-20, 20, 401, dtype=torch.float64)
    z = grid[:, None, None]
    each = [torch.softmax(model.log_joint(x[i : i + 1], [z]), 0)[:, 0] @ grid for i in range(12)]
    wanted = torch.stack(each)
    assert wanted.std() > 0.05
    torch.testing.assert_close(posterior_mean(model, x, step=0.1), wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(posterior_mean(model, x, step=0.1, chunk=20), wanted, rtol=0, atol=1e-9)
    torch.testing.assert_close(encoder_mean(model, x), model.encode(x)[0][:, 0])


# ------------------------------------------------------------------------------------------------ NLL and perplexity


def exact_nll(model, x):
    """By quadrature over a scalar z, (n,)."""
    z = torch.linspace(-15, 15, 6001, dtype=torch.float64)
    log_p = model.log_joint_terms(x, [z[:, None, None].expand(-1, len(x), 1)])
    return -(torch.logsumexp(sum(log_p), 0) + math.log(30 / 6000))


def test_importance_weighted_nll_against_quadrature():
    """One latent, six documents often. z above 4.5 by chance once in 150,000; half the squared error is the bias."""
    model = BagOfWords(1).requires_grad_(False)
    six = documents(6, longest=7)
    x = six.repeat_interleave(50, 0)
    wanted = exact_nll(model, six)
    got = importance(model, x, 200, 0)
    assert abs(got.nll - float(wanted.mean())) < 4.5 * got.error + 0.5 / got.ess_min
    assert got.error < 0.01
    assert got.curve[1] > got.nll + 0.05


def test_perplexity_by_hand():
    """Of 3 + 1 predicted tokens, 8 nats in all: exp(8 / 4), not the mean over documents of exp(nats / tokens)."""
    x = torch.tensor([[1, 5, 6, 2, 0], [1, 2, 0, 0, 0]], dtype=torch.int16)
    assert predicted(x) == 4
    got = perplexity(4.0, 0.001, x)
    assert (got.value, got.tokens) == (pytest.approx(math.exp(2)), 4)
    slope = (perplexity(4.001, None, x).value - perplexity(3.999, None, x).value) / 0.002
    assert got.error == pytest.approx(0.001 * slope, rel=1e-6)
    assert perplexity(4.0, None, x).error is None
    assert perplexity(1e5, 1.0, x).value == math.inf


def test_a_fair_die_has_the_perplexity_of_its_faces(model):
    for p in (model.w, model.b, model.q):
        p.zero_()
    model.log_var, x = 0.0, documents(40)
    got = {m.name: m for m in measured(model, x)}["perplexity"]
    assert got.value == pytest.approx(WORDS)
    assert got.samples == 30
    assert got.extra["tokens"] == int((x > 1).sum())
    assert got.extra["tokens_per_case"] * 40 == got.extra["tokens"]


# ---------------------------------------------------------------------------------------------- the measures of a job


NAMES = ("bound", "importance", "active_units", "mutual_information", "aggregate")
METRICS = [import_module(f"vaebench.metrics.{name}").METRIC for name in NAMES]


def measured(model, x, seed=0, **settings):
    """As an evaluation does it: one stream for all."""
    job = Job(model, x, SETTINGS | settings, seed)
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
    wanted = mutual_information.batchwise(p, parts)
    assert (got["mi_batch"].value, got["mi_batch"].error) == pytest.approx((wanted.value, wanted.error), rel=1e-9)
    extra = {"batch": 4, "batches": len(parts), "ceiling": wanted.ceiling}
    assert got["mi_batch"].extra == pytest.approx(extra)
    assert wanted.ceiling < math.log(4)  # some batches are smaller
    assert got["mi"].value == pytest.approx(mutual_information.whole_set(p).value, rel=1e-9)
    assert got["mi"].extra["ceiling"] == pytest.approx(math.log(60))
    assert got["mi"].value + got["aggregate_kl"].value == pytest.approx(got["kl"].value, rel=1e-9)
    both = aggregate.aggregate_kl(p)
    assert got["aggregate_kl"].extra == pytest.approx({"direct": both.direct, "direct_error": both.direct_error})
    assert got["aggregate_kl"].error == pytest.approx(both.error)
    active = got["active_units"]
    assert active.value == int((p.mean.var(0) >= 0.01).sum()) == 2
    assert active.samples == 1
    assert active.extra == {
        **{"layers": [2], "threshold": 0.01, "at_threshold": "active", "ddof": 1, "of": "encoder means"}
    }
    assert got["iw_nll"].value == pytest.approx(importance(model, x, 30, 0).nll)
    assert got["perplexity"].value == pytest.approx(math.exp(got["iw_nll"].value * 60 / int((x > 1).sum())))


def test_batches_of_32_unless_told_otherwise(model):
    assert {m.name: m for m in measured(model, documents(60), mi_batch=None)}["mi_batch"].extra["batch"] == 32


def test_the_bound_takes_the_exact_kl(model):
    """log p(x | z) - KL of the first samples; the KL has no noise."""
    x = documents(60)
    mean, log_var = model.encode(x)
    kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(1)
    for samples in (1, 7):
        (got,) = [bound(model, x, samples, 0)]
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


def test_evaluation_noise(model):
    """Of ten evaluations the first is the run's own; what is exact does not vary; nothing is shared between them."""
    x = documents(40)
    each = [measured(model, x, seed) for seed in repeats.repeat_seeds(4, 10)]
    got = {m.name: m for m in repeats.together(each)}
    alone = {m.name: m for m in measured(model, x, 4)}
    for name, m in got.items():
        found = m.extra["repeats"]
        assert m.value == alone[name].value == found["values"][0]
        values = torch.tensor(found["values"], dtype=torch.float64)
        assert found["mean"] == pytest.approx(float(values.mean()))
        assert found["variance"] == pytest.approx(float(values.var()), abs=1e-12)
        exact = name in ("kl", "active_units")
        assert len(values) == 10
        assert len(values.unique()) == (1 if exact else 10), name
        assert {k: v for k, v in m.extra.items() if k != "repeats"} == alone[name].extra


def test_a_model_without_latents_has_none_of_it():
    """A language model: its perplexity is that of an exact NLL, known elsewhere."""
    model = TextLM(DataInfo(torch.full((WORDS,), 1 / WORDS), Kind.TOKENS), embedding=4, units=5)
    job = Job(model, documents(20), SETTINGS | {"bound_samples": 10}, 0)
    assert not any(metric.applies(job) for metric in METRICS)
    got = perplexity_metric.measure(job, 12.0, None, None)
    assert got.value == pytest.approx(math.exp(12 * 20 / got.extra["tokens"]))
    assert (got.error, got.error_kind, got.samples, got.unit) == (None, "none", None, "per token")


def test_the_models_that_do_not_encode_have_none_of_it():
    model = check.tiny({"name": "sbn", "dims": [2, 3]}).requires_grad_(False)
    job = Job(model, torch.ones(5, check.VISIBLE), SETTINGS, 0)
    assert not any(file.METRIC.applies(job) for file in (information_metric, aggregate_metric))
    (part,) = stream(model, job.x, 5, 0)
    assert not isinstance(part.posterior, Gaussian)
