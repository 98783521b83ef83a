"""The VAE of documents: a literal second implementation, its posterior, its
parameters and how they start."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from kit.text_vae import DOCUMENTS, LATENTS, K, built, codes, masks, rows
from torch import nn
from torch.func import functional_call

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.models.text_vae import TextVAE
from vaebench.nn import word_softmax
from vaebench.rng import noise


class Literal(nn.Module):
    """The model by torch's own modules: one document and one sample after the other, without
    padding."""

    def __init__(self, model):
        super().__init__()
        v, e = model.p.embedding.shape
        n, u = model.p.initial.shape[::-1]
        self.words = nn.Embedding(v, e)
        self.seen = nn.Embedding(v, e)
        self.decoder = nn.LSTM(e + n, u)
        self.encoder = nn.LSTM(e, u)
        self.start = nn.Linear(n, u, bias=False)
        self.logits = nn.Linear(u, v, bias=False)
        self.moments = nn.Linear(u, 2 * n, bias=False)
        self.double()

        # From the names of the model's parameters to those of torch's modules.
        self.names = {
            "p.embedding": "words.weight",
            "p.initial": "start.weight",
            "p.output": "logits.weight",
        }
        self.names |= {"q.embedding": "seen.weight", "q.output": "moments.weight"}

        for mine, theirs in (("p", "decoder"), ("q", "encoder")):
            parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            self.names |= {f"{mine}.lstm.{part}": f"{theirs}.{part}_l0" for part in parts}

        parameters = dict(model.named_parameters())
        self.load_state_dict(
            {theirs: parameters[mine].detach() for mine, theirs in self.names.items()}
        )

    def log_likelihood(self, documents, z, drop=None, rate_in=0.5, rate_out=0.5):
        log_likelihoods = []
        for k, i in itertools.product(range(len(z)), range(len(documents))):
            words = documents[i]
            code = z[k, i]

            # The code gives the cell's first state; its tanh is the hidden state.
            c = self.start(code)
            state = (torch.tanh(c)[None, None], c[None, None])

            total = 0.0
            for t in range(len(words) - 1):
                # The code is an input of every step, beside the word.
                x = self.words.weight[words[t]]
                if drop:
                    x = torch.where(drop["drop_in"][i, t] < rate_in, 0.0, x / (1 - rate_in))
                h, state = self.decoder(torch.cat([x, code])[None, None], state)
                h = h[0, 0]
                if drop:
                    h = torch.where(drop["drop_out"][i, t] < rate_out, 0.0, h / (1 - rate_out))
                total = total + torch.log_softmax(self.logits(h), 0)[words[t + 1]]

            log_likelihoods.append(total)

        return torch.stack(log_likelihoods).view(len(z), -1)

    def encode(self, documents):
        last = [self.encoder(self.seen(torch.tensor(d)[:, None]))[1][0][0, 0] for d in documents]
        return self.moments(torch.stack(last)).split(LATENTS, 1)

    def gradients(self, loss, names):
        parameters = dict(self.named_parameters())
        return torch.autograd.grad(
            loss, [parameters[self.names[n]] for n in names], materialize_grads=True
        )


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize(
    "documents", [DOCUMENTS, [[1, 4, 5, 2], [1, 6, 6, 2]]], ids=["padded", "even"]
)
@pytest.mark.parametrize("k", [1, K])
def test_values_and_gradients_are_those_of_a_literal_implementation(documents, dropout, k):
    model = built(dropout_in=0.3, dropout_out=0.6)
    literal = Literal(model)
    x = rows(documents)
    (z,) = codes(k, len(documents))
    # More noise than there are words.
    drop = masks(model, len(x), x.shape[1] + 2) if dropout else None
    mine = z.clone().requires_grad_()
    theirs = z.clone().requires_grad_()

    log_likelihood = model.log_likelihood(x, [mine], drop)
    literal_likelihood = literal.log_likelihood(documents, theirs, drop, 0.3, 0.6)

    torch.testing.assert_close(log_likelihood, literal_likelihood, rtol=0, atol=1e-12)

    weight = torch.linspace(-1, 2, log_likelihood.numel(), dtype=torch.float64).view_as(
        log_likelihood
    )
    names = [n for n, _ in model.named_parameters() if n.startswith("p.")]
    params = [dict(model.named_parameters())[n] for n in names]
    gradients = torch.autograd.grad((log_likelihood * weight).sum(), [*params, mine])
    literal_gradients = literal.gradients((literal_likelihood * weight).sum(), names)
    for name, gradient, literal_gradient in zip(names, gradients, literal_gradients, strict=False):
        torch.testing.assert_close(gradient, literal_gradient, rtol=0, atol=1e-12, msg=name)

    # The gradient of the code needs its graph once more.
    literal_likelihood = literal.log_likelihood(documents, theirs, drop, 0.3, 0.6)
    (literal_gradient,) = torch.autograd.grad((literal_likelihood * weight).sum(), theirs)

    torch.testing.assert_close(gradients[-1], literal_gradient, rtol=0, atol=1e-12)


def test_training_is_the_same_where_the_vocabulary_goes_by_blocks(monkeypatch):
    model = built()
    x = rows(DOCUMENTS)
    z = codes(K, len(DOCUMENTS))
    drop = masks(model, *x.shape)
    results = []
    params = [p for n, p in model.named_parameters() if n.startswith("p.")]

    for _ in range(2):
        log_likelihood = model.log_likelihood(x, z, drop)
        results.append(
            [log_likelihood, *torch.autograd.grad(log_likelihood.square().sum(), params)]
        )
        # The second time by blocks of three words.
        monkeypatch.setattr(word_softmax, "SMALL", 0)
        monkeypatch.setattr(word_softmax, "WORDS", 3)

    torch.testing.assert_close(*results, rtol=0, atol=1e-12)


def test_the_encoder_is_that_of_a_literal_implementation():
    model = built()
    literal = Literal(model)
    names = [n for n, _ in model.named_parameters() if n.startswith("q.")]
    params = [dict(model.named_parameters())[n] for n in names]

    # With padding, and two documents of the same length without.
    for documents in (DOCUMENTS, DOCUMENTS[:1] + DOCUMENTS[4:]):
        x = rows(documents)
        moments = model.encode(x)
        literal_moments = literal.encode(documents)

        torch.testing.assert_close(moments, literal_moments, rtol=0, atol=1e-13)

        gradients = torch.autograd.grad((moments[0] + moments[1].exp()).sum(), params)
        literal_gradients = literal.gradients(
            (literal_moments[0] + literal_moments[1].exp()).sum(), names
        )
        torch.testing.assert_close(gradients, literal_gradients, rtol=0, atol=1e-12)


def test_the_posterior_is_a_gaussian_of_the_encoders_moments():
    model = built()
    x = rows(DOCUMENTS)
    mean, log_var = model.encode(x)
    draws = {
        name: values.double()
        for name, values in noise.fixed(model.posterior_noise(K, len(x)), 0, "noise").items()
    }
    (z,) = model.sample_posterior(x, K, draws)

    torch.testing.assert_close(z, mean + (log_var / 2).exp() * draws["q1"])

    normal = torch.distributions.Normal(mean, log_var.exp().sqrt())
    torch.testing.assert_close(model.log_posterior([z], x), normal.log_prob(z).sum(-1))

    prior = torch.distributions.Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1)
    likelihood, log_prior = model.log_joint_terms(x, [z])
    torch.testing.assert_close(log_prior, prior)
    torch.testing.assert_close(likelihood, model.log_likelihood(x, [z]))
    torch.testing.assert_close(model.log_joint(x, [z]), likelihood + prior)


def test_a_posterior_asks_the_encoder_once(monkeypatch):
    model = built()
    x = rows(DOCUMENTS)
    z = codes(K, len(DOCUMENTS))
    draws = {"q1": z[0]}
    asked_each_time = (model.sample_posterior(x, K, draws), model.log_posterior(z, x))

    # From here on calls of the encoder are counted.
    calls = []
    encoder = model.q.forward
    monkeypatch.setattr(model.q, "forward", lambda *args: calls.append(args) or encoder(*args))
    q = model.posterior(x)
    asked_once = q.sample(K, draws), q.log_prob(z)

    torch.testing.assert_close(asked_once, asked_each_time, rtol=0, atol=0)
    torch.testing.assert_close(q.log_prob_terms(z), [asked_each_time[1]], rtol=0, atol=0)
    assert len(calls) == 1


def test_parameters_have_the_number_of_the_paper():
    with torch.device("meta"):
        model = TextVAE(DataInfo(np.zeros(20_001), Kind.TOKENS))
    count = {
        half: sum(p.numel() for n, p in model.named_parameters() if n.startswith(half))
        for half in "pq"
    }

    assert count == {"q": 16_605_696, "p": 37_185_024}

    # The size for synthetic text.
    with torch.device("meta"):
        model = TextVAE(DataInfo(np.zeros(1004), Kind.TOKENS), latents=2, embedding=50, units=50)
    count = {
        half: sum(p.numel() for n, p in model.named_parameters() if n.startswith(half))
        for half in "pq"
    }

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

    objective = Bound(built(0))
    source = Bound(built(1))
    x = rows(DOCUMENTS)
    draws = {"q1": codes(1, len(x))[0]}
    params = {n: p.detach().clone().requires_grad_() for n, p in source.named_parameters()}
    loss = functional_call(objective, params, (x, draws))

    assert torch.equal(loss, source(x, draws))

    gradients = torch.autograd.grad(source(x, draws), list(source.parameters()))
    torch.testing.assert_close(
        torch.autograd.grad(loss, list(params.values())), gradients, rtol=0, atol=1e-12
    )
    assert all(bool(g.any()) for g in gradients)


def test_the_row_of_the_last_word_can_be_frozen():
    x = rows([[1, 6, 4, 6, 2]])
    z = codes(1, 1)
    # Row 6 is that of the last word. Of the others those of inputs have a gradient: 1 and 4, but
    # not the closing 2.
    for frozen in (False, True):
        model = built(frozen_last_row=frozen)
        (g,) = torch.autograd.grad(model.log_likelihood(x, z).sum(), model.p.embedding)
        assert [bool(row.any()) for row in g] == [
            False,
            True,
            False,
            False,
            True,
            False,
            not frozen,
        ]

    assert torch.equal(model.log_likelihood(x, z), built().log_likelihood(x, z))


def started(seed=0, **settings):
    config = {
        "name": "text_vae",
        "latents": 3,
        "embedding": 20,
        "units": 30,
        "init": "text",
        "init_scale": 0.01,
    }
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
    """Values stay within the interval and fill it: 120 values and more miss its outer tenths once
    in 300,000 times."""
    for name, p in started(**settings).items():
        low, high = words if name.endswith("embedding") else others
        span = high - low
        least = float(p.detach().min())
        most = float(p.detach().max())

        assert low <= least, name
        assert most <= high, name

        # Smaller tensors may miss the ends by chance.
        if p.numel() >= 90:
            assert least < low + 0.1 * span, name
            assert most > high - 0.1 * span, name


def test_a_seed_gives_the_same_start_always_and_another_seed_another():
    parameters = started(0)
    repeated = started(0)
    other_seed = started(1)

    assert all(torch.equal(parameters[n], repeated[n]) for n in parameters)
    assert not any(torch.equal(parameters[n], other_seed[n]) for n in parameters)


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
