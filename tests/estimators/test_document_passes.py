"""Passes over documents: any passes give the same weights, each is as large as the budget allows,
and the encoder's work is done once."""

from __future__ import annotations

import pytest
import torch
from kit.bag_of_words import WORDS, BagOfWords, documents

from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import gaussian
from vaebench.estimators import weights
from vaebench.estimators.posterior_mean import encoder_mean, posterior_mean
from vaebench.estimators.posteriors import posteriors
from vaebench.estimators.weights import stream
from vaebench.models.text_vae import TextVAE


@pytest.fixture
def model():
    return BagOfWords().requires_grad_(False)


def collect(model, x, samples, seed=0, **settings):
    """All log-weights (samples, n); every cell must be filled exactly once."""
    out = torch.full((samples, len(x)), float("nan"), dtype=torch.float64)
    for part in stream(model, x, samples, seed, **settings):
        rows = slice(part.first, part.first + part.log_w.shape[0])
        assert torch.isnan(out[rows, part.cases]).all()
        out[rows, part.cases] = part.log_w

    assert not torch.isnan(out).any()

    return out


@pytest.mark.parametrize(("n", "samples"), [(1, 1), (101, 11), (230, 37)])
def test_every_chunk_batch_and_budget_gives_the_same_weights(model, monkeypatch, n, samples):
    x = documents(n)
    expected = collect(model, x, samples)

    for settings in (
        {"chunk": 25},
        {"batch": 7},
        {"chunk": 1000, "batch": 1000},
        {"chunk": 10, "batch": 130},
    ):
        torch.testing.assert_close(
            collect(model, x, samples, **settings), expected, rtol=0, atol=1e-11
        )

    # The least budgets, at which every document is a group, and two larger ones.
    for tokens, codes in ((1, 1), (300, 2000), (1500, 10_000)):
        monkeypatch.setitem(weights.TOKENS, "cpu", tokens)
        monkeypatch.setattr(weights, "CODES", codes)
        torch.testing.assert_close(collect(model, x, samples), expected, rtol=0, atol=1e-11)

    # No two samples or documents share their noise.
    assert len(expected.unique()) == expected.numel()


def test_a_document_has_the_weights_it_has_alone(model):
    """Weights depend on the document and its position, not on other documents or on padding."""
    x = documents(120)
    expected = collect(model, x, 12)

    torch.testing.assert_close(collect(model, x[:110], 12), expected[:, :110], rtol=0, atol=1e-12)

    wider = torch.cat([x, torch.zeros(120, 30, dtype=x.dtype)], 1)
    torch.testing.assert_close(collect(model, wider, 12), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("limit", "groups"), [(1, 230), (150, None), (900, None), (1300, None), (2**14, 1)]
)
@pytest.mark.parametrize("codes", [1, 5000, 2**23])
def test_passes_fit_the_budget_and_fill_it(model, monkeypatch, limit, groups, codes):
    x = documents(230)
    samples = 25
    monkeypatch.setitem(weights.TOKENS, "cpu", limit)
    monkeypatch.setattr(weights, "CODES", codes)
    tokens = (x != 0).sum(1)
    starts = set()

    for part in stream(model, x, samples, 0):
        (k, batch, width) = model.decoded[-1]
        cases = part.cases
        assert model.encoded[-1] == (batch, width)
        assert (batch, width) == (cases.stop - cases.start, int(tokens[cases].max()))  # trimmed
        assert batch * width <= limit or batch == 1
        # Two latents; a grain of ten samples is the least.
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
    expected = collect(model, x, 20, batch=1)
    model.decoded.clear()
    monkeypatch.setitem(weights.TOKENS, "cpu", 200)

    torch.testing.assert_close(collect(model, x, 20), expected, rtol=0, atol=1e-11)
    assert all(batch * width <= 200 for _, batch, width in model.decoded)
    assert 5 < len(model.decoded) < 20


def test_the_encoder_sees_a_document_once(model):
    x = documents(230)
    collect(model, x, 53, chunk=10)

    assert sum(batch for batch, _ in model.encoded) == 230
    assert sum(k * batch for k, batch, _ in model.decoded) == 53 * 230
    assert len(model.decoded) == 6 * len(model.encoded)  # 53 samples, ten at a time


def test_the_weight_is_the_joint_minus_the_posterior(model):
    x = documents(7)
    (part,) = stream(model, x, 10, 0)
    mean, log_var = model.encode(x)

    assert torch.equal(part.posterior.mean, mean)
    assert torch.equal(part.posterior.log_var, log_var)

    terms = model.log_joint_terms(x, part.z)
    expected = terms[0] + terms[1] - gaussian.log_prob(part.z[0], mean, log_var / 2)

    torch.testing.assert_close(part.log_w, expected)


def test_posteriors_are_those_of_the_stream_without_the_decoder(model):
    x = documents(130)
    got = posteriors(model, x, 3)

    assert model.decoded == []

    parts = [part for part in stream(model, x, 1, 3)]
    torch.testing.assert_close(got.z, torch.cat([part.z[0][0] for part in parts]))
    torch.testing.assert_close(got.mean, torch.cat([part.posterior.mean for part in parts]))
    torch.testing.assert_close(got.log_var, torch.cat([part.posterior.log_var for part in parts]))


def text_vae(latents):
    model = TextVAE(
        DataInfo(torch.full((WORDS,), 1 / WORDS), Kind.TOKENS), latents, embedding=4, units=5
    ).double()
    randomize(model, 2, 0.7)
    return model.requires_grad_(False)


def test_the_text_model_has_the_same_weights_in_all_passes(monkeypatch):
    """Against one unpadded document at a time, with the noise of the stream."""
    model = text_vae(2)
    x = documents(110)
    expected = collect(model, x, 23)

    for settings in ({"chunk": 10}, {"batch": 40}):
        torch.testing.assert_close(collect(model, x, 23, **settings), expected, rtol=0, atol=1e-11)

    for cases, tokens in ((slice(i, i + 1), int((x[i] != 0).sum())) for i in range(0, 110, 7)):
        noise = weights.draws(model, cases, 0, 23, 0, "eval", x.device)
        document = x[cases, :tokens]
        z = model.sample_posterior(document, 23, noise)
        log_w = model.log_joint(document, z) - model.log_posterior(z, document)

        torch.testing.assert_close(expected[:, cases], log_w, rtol=0, atol=1e-11)


def test_posterior_means_of_text():
    """Against one document at a time with the whole grid at once; passes of any size agree."""
    model = text_vae(1)
    x = documents(12)
    grid = torch.linspace(-20, 20, 401, dtype=torch.float64)
    z = grid[:, None, None]
    means = [torch.softmax(model.log_joint(x[i : i + 1], [z]), 0)[:, 0] @ grid for i in range(12)]
    expected = torch.stack(means)

    assert expected.std() > 0.05  # the means differ between documents
    torch.testing.assert_close(posterior_mean(model, x, step=0.1), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        posterior_mean(model, x, step=0.1, chunk=20), expected, rtol=0, atol=1e-9
    )
    torch.testing.assert_close(encoder_mean(model, x), model.encode(x)[0][:, 0])
