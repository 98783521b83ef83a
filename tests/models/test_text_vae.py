"""The VAE of documents: a literal second implementation, padding, causality, dropout, all documents enumerated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from kit.parameters import drawn
from torch import nn
from torch.func import functional_call

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.models import text_decoder
from vaebench.models.text_vae import TextVAE
from vaebench.nn import word_softmax
from vaebench.rng import noise

VOCABULARY, LATENTS, EMBEDDING, UNITS, K = 7, 2, 4, 3, 3

DOCUMENTS = [[1, 4, 5, 2], [1, 6, 2], [1, 3, 3, 5, 6, 2], [1, 2], [1, 5, 4, 2]]
"""Of lengths 2 to 6; an empty one among them."""


def rows(documents, width=None):
    width = width or max(map(len, documents))
    return torch.tensor([[*d, *[0] * (width - len(d))] for d in documents])


def built(seed=0, scale=0.7, dtype=torch.float64, vocabulary=VOCABULARY, **settings):
    settings = {"latents": LATENTS, "embedding": EMBEDDING, "units": UNITS, **settings}
    return drawn(
        TextVAE(DataInfo(torch.full((vocabulary,), 1 / vocabulary), Kind.TOKENS), **settings).to(dtype), scale, seed
    )


def codes(k, batch, seed=0, dtype=torch.float64):
    return [torch.randn(k, batch, LATENTS, generator=torch.Generator().manual_seed(seed), dtype=dtype)]


def masks(model, batch, width, seed=0):
    return {k: v.double() for k, v in noise.fixed(model.dropout_noise(batch, width), seed, "noise").items()}


class Literal(nn.Module):
    """The model of torch's own modules, one document and one sample after the other, without padding."""

    def __init__(self, model):
        super().__init__()
        v, e = model.p.embedding.shape
        n, u = model.p.initial.shape[::-1]
        self.words, self.seen = nn.Embedding(v, e), nn.Embedding(v, e)
        self.decoder, self.encoder = nn.LSTM(e + n, u), nn.LSTM(e, u)
        self.start, self.logits = nn.Linear(n, u, bias=False), nn.Linear(u, v, bias=False)
        self.moments = nn.Linear(u, 2 * n, bias=False)
        self.double()
        self.names = {"p.embedding": "words.weight", "p.initial": "start.weight", "p.output": "logits.weight"}
        self.names |= {"q.embedding": "seen.weight", "q.output": "moments.weight"}
        for mine, theirs in (("p", "decoder"), ("q", "encoder")):
            parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            self.names |= {f"{mine}.lstm.{part}": f"{theirs}.{part}_l0" for part in parts}
        own = dict(model.named_parameters())
        self.load_state_dict({theirs: own[mine].detach() for mine, theirs in self.names.items()})

    def log_likelihood(self, documents, z, drop=None, rate_in=0.5, rate_out=0.5):
        out = []
        for k, i in itertools.product(range(len(z)), range(len(documents))):
            words, code = documents[i], z[k, i]
            c = self.start(code)
            state, total = (torch.tanh(c)[None, None], c[None, None]), 0.0
            for t in range(len(words) - 1):
                x = self.words.weight[words[t]]
                if drop:
                    x = torch.where(drop["drop_in"][i, t] < rate_in, 0.0, x / (1 - rate_in))
                h, state = self.decoder(torch.cat([x, code])[None, None], state)
                h = h[0, 0]
                if drop:
                    h = torch.where(drop["drop_out"][i, t] < rate_out, 0.0, h / (1 - rate_out))
                total = total + torch.log_softmax(self.logits(h), 0)[words[t + 1]]
            out.append(total)
        return torch.stack(out).view(len(z), -1)

    def encode(self, documents):
        last = [self.encoder(self.seen(torch.tensor(d)[:, None]))[1][0][0, 0] for d in documents]
        return self.moments(torch.stack(last)).split(LATENTS, 1)

    def gradients(self, loss, names):
        own = dict(self.named_parameters())
        return torch.autograd.grad(loss, [own[self.names[n]] for n in names], materialize_grads=True)


# ------------------------------------------------------------------------------------------- second implementation


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("documents", [DOCUMENTS, [[1, 4, 5, 2], [1, 6, 6, 2]]], ids=["padded", "even"])
@pytest.mark.parametrize("k", [1, K])
def test_values_and_gradients_are_those_of_a_literal_implementation(documents, dropout, k):
    model = built(dropout_in=0.3, dropout_out=0.6)
    literal, x, (z,) = Literal(model), rows(documents), codes(k, len(documents))
    drop = masks(model, len(x), x.shape[1] + 2) if dropout else None  # more noise than needed
    mine, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    found = model.log_likelihood(x, [mine], drop)
    wanted = literal.log_likelihood(documents, theirs, drop, 0.3, 0.6)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weight = torch.linspace(-1, 2, found.numel(), dtype=torch.float64).view_as(found)
    names = [n for n, _ in model.named_parameters() if n.startswith("p.")]
    params = [dict(model.named_parameters())[n] for n in names]
    one = torch.autograd.grad((found * weight).sum(), [*params, mine])
    two = literal.gradients((wanted * weight).sum(), names)
    for name, a, b in zip(names, one, two, strict=False):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=name)
    wanted = literal.log_likelihood(documents, theirs, drop, 0.3, 0.6)
    (b,) = torch.autograd.grad((wanted * weight).sum(), theirs)
    torch.testing.assert_close(one[-1], b, rtol=0, atol=1e-12)


def test_training_is_the_same_where_the_vocabulary_goes_by_blocks(monkeypatch):
    model, x, z = built(), rows(DOCUMENTS), codes(K, len(DOCUMENTS))
    drop, found = masks(model, *x.shape), []
    params = [p for n, p in model.named_parameters() if n.startswith("p.")]
    for _ in range(2):
        value = model.log_likelihood(x, z, drop)
        found.append([value, *torch.autograd.grad(value.square().sum(), params)])
        monkeypatch.setattr(word_softmax, "SMALL", 0)
        monkeypatch.setattr(word_softmax, "WORDS", 3)
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def test_the_encoder_is_that_of_a_literal_implementation():
    model = built()
    literal, x = Literal(model), rows(DOCUMENTS)
    names = [n for n, _ in model.named_parameters() if n.startswith("q.")]
    params = [dict(model.named_parameters())[n] for n in names]
    for documents in (DOCUMENTS, DOCUMENTS[:1] + DOCUMENTS[4:]):
        x = rows(documents)
        found, wanted = model.encode(x), literal.encode(documents)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
        one = torch.autograd.grad((found[0] + found[1].exp()).sum(), params)
        two = literal.gradients((wanted[0] + wanted[1].exp()).sum(), names)
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_the_posterior_is_a_gaussian_of_the_encoders_moments():
    model, x = built(), rows(DOCUMENTS)
    mean, log_var = model.encode(x)
    draws = {k: v.double() for k, v in noise.fixed(model.posterior_noise(K, len(x)), 0, "noise").items()}
    (z,) = model.sample_posterior(x, K, draws)
    torch.testing.assert_close(z, mean + (log_var / 2).exp() * draws["q1"])
    normal = torch.distributions.Normal(mean, log_var.exp().sqrt())
    torch.testing.assert_close(model.log_posterior([z], x), normal.log_prob(z).sum(-1))
    prior = torch.distributions.Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1)
    likelihood, found = model.log_joint_terms(x, [z])
    torch.testing.assert_close(found, prior)
    torch.testing.assert_close(likelihood, model.log_likelihood(x, [z]))
    torch.testing.assert_close(model.log_joint(x, [z]), likelihood + prior)


def test_a_posterior_asks_the_encoder_once(monkeypatch):
    model, x, z = built(), rows(DOCUMENTS), codes(K, len(DOCUMENTS))
    draws = {"q1": z[0]}
    q, wanted = model.posterior(x), (model.sample_posterior(x, K, draws), model.log_posterior(z, x))
    monkeypatch.setattr(model, "encode", None)
    found = q.sample(K, draws), q.log_prob(z)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    torch.testing.assert_close(q.log_prob_terms(z), [wanted[1]], rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------ without gradient


@pytest.mark.parametrize(("at_once", "logits", "inputs"), [(10**6, 10**6, 10**6), (1, 1, 1), (4, 20, 100), (7, 33, 50)])
def test_scores_without_gradient_are_the_same_for_all_sizes_of_pieces(monkeypatch, at_once, logits, inputs):
    model, x, z = built(), rows(DOCUMENTS), codes(K, len(DOCUMENTS))
    wanted = model.log_likelihood(x, z).detach()
    for name, value in (("ROWS", at_once), ("LOGITS", logits), ("INPUTS", inputs)):
        monkeypatch.setattr(text_decoder, name, {"cpu": value})
    torch.testing.assert_close(model.score(x, z), wanted, rtol=0, atol=1e-12)
    assert not model.score(x, z).requires_grad


@pytest.mark.parametrize("method", ["log_likelihood", "score"])
def test_many_samples_are_as_one_at_a_time(method):
    model, x, (z,) = built(), rows(DOCUMENTS), codes(K, len(DOCUMENTS))
    of = getattr(model, method)
    one = torch.cat([of(x, [v[None]]) for v in z])
    torch.testing.assert_close(of(x, [z]), one, rtol=0, atol=1e-13)


def test_samples_of_a_document_share_its_dropout():
    model, x, (z,) = built(), rows(DOCUMENTS), codes(K, len(DOCUMENTS))
    drop = masks(model, *x.shape)
    one = torch.cat([model.log_likelihood(x, [v[None]], drop) for v in z])
    torch.testing.assert_close(model.log_likelihood(x, [z], drop), one, rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ["log_likelihood", "score"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_a_document_sees_neither_its_batch_nor_the_padding(method, dtype, error):
    model, (z,) = built(dtype=dtype), codes(K, len(DOCUMENTS), dtype=dtype)
    close = {"rtol": error, "atol": error}
    of = getattr(model, method)
    x = rows(DOCUMENTS)
    scores, moments = of(x, [z]), model.encode(x)
    wide = rows(DOCUMENTS, 15)
    torch.testing.assert_close(of(wide, [z]), scores, **close)
    torch.testing.assert_close(model.encode(wide), moments, **close)
    for (i, document), width in itertools.product(enumerate(DOCUMENTS), (None, 9)):
        alone = rows([document], width)
        torch.testing.assert_close(of(alone, [z[:, i : i + 1]])[:, 0], scores[:, i], **close)
        torch.testing.assert_close(torch.cat(model.encode(alone)), torch.stack(moments)[:, i], **close)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(of(x[order], [z[:, order]]), scores[:, order], **close)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
def test_token_numbers_of_any_type(dtype):
    model, x, z = built(), rows(DOCUMENTS), codes(K, len(DOCUMENTS))
    assert torch.equal(model.log_likelihood(x.to(dtype), z), model.log_likelihood(x, z))
    assert torch.equal(model.encode(x.to(dtype))[0], model.encode(x)[0])


@torch.no_grad()
def test_a_large_vocabulary_in_float32():
    """Log-sums over many blocks of words, of large logits, against float64."""
    model = built(vocabulary=3000, scale=3.0, dtype=torch.float32, units=20)
    x, z = torch.randint(3, 3000, (3, 9), generator=torch.Generator().manual_seed(1)), codes(200, 3)
    found = model.score(x, [z[0].float()])
    wanted = model.double().score(x, [z[0].float().double()])
    torch.testing.assert_close(found.double(), wanted, rtol=3e-6, atol=1e-4)


# ------------------------------------------------------------------------------------------------- probabilities


def test_terms_are_causal():
    """A changed word changes its own term and those after it, and no other.

    Dropping all outputs of a step makes its term -log V, and so tells the term apart within the whole document.
    """
    model, z, x = built(dropout_in=0.0), codes(1, 1), rows([[1, 3, 4, 5, 6, 2]])
    steps, kept = x.shape[1] - 1, torch.ones(1, x.shape[1] - 1, UNITS, dtype=torch.float64)

    def terms(x):
        out = []
        for t in range(steps):
            without = kept.clone()
            without[:, t] = 0
            out.append(
                model.log_likelihood(x, z, {"drop_out": kept}) - model.log_likelihood(x, z, {"drop_out": without})
            )
        return torch.stack(out).flatten() - math.log(VOCABULARY)

    before = terms(x)
    torch.testing.assert_close(before.sum(), model.log_likelihood(x, z, {"drop_out": kept}).squeeze())
    for j in range(1, steps + 1):
        changed = x.clone()
        changed[0, j] = 1
        moved = (terms(changed) - before).abs() > 1e-9
        assert moved.tolist() == [t >= j - 1 for t in range(steps)]
    # What is predicted last is no input; the gradient says it too.
    (g,) = torch.autograd.grad(model.log_likelihood(x, z).sum(), model.p.embedding)
    assert [bool(row.any()) for row in g] == [word in (1, 3, 4, 5, 6) for word in range(VOCABULARY)]


@pytest.mark.parametrize("gradient", [True, False])
def test_the_probabilities_of_all_documents_sum_to_one(gradient):
    """Documents of up to three words, plus beginnings of four that go on; ``<pad>`` within one from its own formula."""
    model = built(seed=2, vocabulary=5)
    (z,) = codes(1, 1, seed=5)
    words, longest = (1, 3, 4), 3
    with torch.set_grad_enabled(gradient):

        def mass(documents):
            return float(model.log_likelihood(rows(documents), [z.expand(1, len(documents), -1)]).detach().exp().sum())

        ended, padded = 0.0, 0.0
        for n in range(longest + 1):
            prefixes = [[1, *w] for w in itertools.product(words, repeat=n)]
            ended += mass([[*p, 2] for p in prefixes])
            for p in prefixes:
                padded += (mass([p]) if n else 1.0) * first_word(model, p, z[0])
        rest = mass([[1, *w] for w in itertools.product(words, repeat=longest + 1)])
    assert ended + rest + padded == pytest.approx(1.0, abs=1e-12)
    assert min(ended, rest, padded) > 0.01


def first_word(model, prefix, z):
    """Probability of ``<pad>`` after ``prefix``, a step at a time."""
    state = model.p.first_state(1, z)
    for word in prefix:
        after, state = model.p.next_word(torch.tensor([word]), z, state)
    return float(after[0, 0].exp())


# ------------------------------------------------------------------------------------------------------- dropout


def test_dropout_keeps_a_unit_from_its_rate_on_and_scales_it():
    model = built(dropout_in=0.25, dropout_out=0.25)
    v = torch.ones(2, 1, EMBEDDING, dtype=torch.float64)
    u = torch.tensor([[[0.0, 0.249, 0.25, 0.999], [0.3, 0.2, 0.1, 0.9], [0.0] * 4]], dtype=torch.float64)
    found = model.p._dropped("drop_in", v, {"drop_in": u})
    assert torch.equal(found, torch.tensor([[[0, 0, 1, 1]], [[1, 0, 0, 1]]], dtype=torch.float64) / 0.75)


def test_the_law_of_dropout():
    """Kept with probability 1 - rate, independently. A |z| of 5 is exceeded by chance by one of the 4 in 400,000."""
    model = built(dropout_in=0.3, dropout_out=0.7, embedding=40, units=40)
    shapes = model.dropout_noise(50, 21)
    assert shapes == {"drop_in": ("uniform", (50, 20, 40)), "drop_out": ("uniform", (50, 20, 40))}
    draws = noise.fixed(shapes, 3, "noise")
    for name, rate in (("drop_in", 0.3), ("drop_out", 0.7)):
        kept = model.p._dropped(name, torch.ones(20, 50, 40), draws)
        n = kept.numel()
        assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])
        assert abs(float(kept.mean()) - 1) / math.sqrt(rate / (1 - rate) / n) < 5
        a, b = kept[:, :, ::2] - 1, kept[:, :, 1::2] - 1
        assert abs(float((a * b).mean())) / (rate / (1 - rate) / math.sqrt(n / 2)) < 5


def test_a_rate_of_zero_needs_no_noise():
    model = built(dropout_in=0.0, dropout_out=0.0)
    x, z = rows(DOCUMENTS), codes(1, len(DOCUMENTS))
    assert model.dropout_noise(4, 9) == {}
    assert torch.equal(model.log_likelihood(x, z, {}), model.log_likelihood(x, z))
    assert set(built(dropout_out=0.0).dropout_noise(4, 9)) == {"drop_in"}


def test_dropout_leaves_encoder_and_code_alone():
    """With all words and outputs dropped the next word is uniform, whatever the code; the encoder has no dropout."""
    model, x, z = built(), rows(DOCUMENTS), codes(1, len(DOCUMENTS))
    none = {k: torch.zeros(v[1], dtype=torch.float64) for k, v in model.dropout_noise(*x.shape).items()}
    predicted = torch.tensor([[len(d) - 1.0 for d in DOCUMENTS]], dtype=torch.float64)
    torch.testing.assert_close(model.log_likelihood(x, z, none), -predicted * math.log(VOCABULARY))
    outputs = {**none, "drop_out": torch.ones_like(none["drop_out"])}
    assert not torch.allclose(*(model.log_likelihood(x, codes(1, len(x), s), outputs) for s in (0, 1)))


# ------------------------------------------------------------------------------------------------ build and train


def test_parameters_have_the_number_of_the_paper():
    with torch.device("meta"):
        model = TextVAE(DataInfo(np.zeros(20_001), Kind.TOKENS))
    count = {half: sum(p.numel() for n, p in model.named_parameters() if n.startswith(half)) for half in "pq"}
    assert count == {"q": 16_605_696, "p": 37_185_024}
    with torch.device("meta"):
        model = TextVAE(DataInfo(np.zeros(1004), Kind.TOKENS), latents=2, embedding=50, units=50)
    count = {half: sum(p.numel() for n, p in model.named_parameters() if n.startswith(half)) for half in "pq"}
    assert count == {"q": 70_800, "p": 121_300}
    assert model.sizes == [1004, 2]


def test_a_step_is_a_function_of_the_parameters_passed_by_name():
    class Bound(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x, draws):
            z = self.model.sample_posterior(x, 1, draws)
            return (self.model.log_joint(x, z) - self.model.log_posterior(z, x)).sum()

    one, other, x = Bound(built(0)), Bound(built(1)), rows(DOCUMENTS)
    draws = {"q1": codes(1, len(x))[0]}
    params = {n: p.detach().clone().requires_grad_() for n, p in other.named_parameters()}
    loss = functional_call(one, params, (x, draws))
    assert torch.equal(loss, other(x, draws))
    wanted = torch.autograd.grad(other(x, draws), list(other.parameters()))
    torch.testing.assert_close(torch.autograd.grad(loss, list(params.values())), wanted, rtol=0, atol=1e-12)
    assert all(bool(g.any()) for g in wanted)


def test_the_row_of_the_last_word_can_be_frozen():
    x, z = rows([[1, 6, 4, 6, 2]]), codes(1, 1)
    for frozen in (False, True):
        model = built(frozen_last_row=frozen)
        (g,) = torch.autograd.grad(model.log_likelihood(x, z).sum(), model.p.embedding)
        assert [bool(row.any()) for row in g] == [False, True, False, False, True, False, not frozen]
    assert torch.equal(model.log_likelihood(x, z), built().log_likelihood(x, z))


def started(seed=0, **settings):
    config = {"name": "text_vae", "latents": 3, "embedding": 20, "units": 30, "init": "text", "init_scale": 0.01}
    config |= settings
    model = models.build(config, DataInfo(torch.full((50,), 0.02), Kind.TOKENS))
    models.start(model, config, seed)
    return dict(model.named_parameters())


@pytest.mark.parametrize(
    ("settings", "others", "words"),
    [
        ({}, (-0.01, 0.01), (-0.1, 0.1)),
        ({"init_center": 0.05, "embedding_center": 0.1}, (0.04, 0.06), (0.0, 0.2)),
        ({"init_scale": 0.5, "embedding_scale": 2.0}, (-0.5, 0.5), (-2.0, 2.0)),
    ],
)
def test_the_start_is_uniform_biases_included(settings, others, words):
    """Within the interval and filling it: 120 values and more fall short of both its last tenths once in 300,000."""
    for name, p in started(**settings).items():
        low, high = words if name.endswith("embedding") else others
        span = high - low
        least, most = float(p.detach().min()), float(p.detach().max())
        assert low <= least, name
        assert most <= high, name
        if p.numel() >= 90:
            assert least < low + 0.1 * span, name
            assert most > high - 0.1 * span, name


def test_a_seed_gives_the_same_start_always_and_another_seed_another():
    one, again, other = started(0), started(0), started(1)
    assert all(torch.equal(one[n], again[n]) for n in one)
    assert not any(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latents": 0}, "model.latents=0"),
        ({"embedding": 0}, "model.embedding=0"),
        ({"units": 1.5}, "model.units=1.5"),
        ({"dropout_in": 1.0}, "model.dropout_in=1.0"),
        ({"dropout_out": -0.1}, "model.dropout_out=-0.1"),
        ({"dropout_out": "half"}, "model.dropout_out='half'"),
        ({"frozen_last_row": 1}, "model.frozen_last_row=1"),
        ({"embedding_scale": 0.0}, "model.embedding_scale=0.0"),
        ({"init_center": float("nan")}, "model.init_center=nan"),
        ({"embedding_center": "left"}, "model.embedding_center='left'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError) as error:
        started(**settings)
    assert message in str(error.value)
