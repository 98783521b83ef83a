"""The language model without latents: torch's own cell as second implementation,
all documents enumerated."""

from __future__ import annotations

import itertools

import pytest
import torch
from kit.parameters import drawn
from kit.text_vae import rows
from torch import nn

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.models.text_lm import TextLM
from vaebench.models.text_vae import TextVAE
from vaebench.rng import noise

VOCABULARY = 6
EMBEDDING = 4
UNITS = 3
DOCUMENTS = [[1, 4, 5, 2], [1, 5, 2], [1, 3, 3, 5, 4, 2], [1, 2]]


def built(seed=0, vocabulary=VOCABULARY, **settings):
    settings = {"embedding": EMBEDDING, "units": UNITS, **settings}
    return drawn(
        TextLM(
            DataInfo(torch.full((vocabulary,), 1 / vocabulary), Kind.TOKENS), **settings
        ).double(),
        0.7,
        seed,
    )


def literal(model, documents, drop=None):
    """log p of every document, (batch,), word by word with torch's own cell; and the cell.

    Both rates of dropout are 1/2.
    """
    cell = nn.LSTMCell(EMBEDDING, UNITS).double()
    lstm = model.p.lstm
    log_p = []
    cell.load_state_dict(
        {n: getattr(lstm, n).detach() for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    )

    for i, words in enumerate(documents):
        state = (torch.zeros(UNITS).double(), torch.zeros(UNITS).double())
        total = 0.0

        # What is kept is scaled by 2, one over the rate of keeping.
        for t in range(len(words) - 1):
            x = model.p.embedding[words[t]]
            state = cell(x if drop is None else 2 * x * (drop["drop_in"][i, t] >= 0.5), state)
            h = state[0] if drop is None else 2 * state[0] * (drop["drop_out"][i, t] >= 0.5)
            total = total + torch.log_softmax(model.p.output @ h, 0)[words[t + 1]]

        log_p.append(total)

    return torch.stack(log_p), cell


@pytest.mark.parametrize("documents", [DOCUMENTS, DOCUMENTS[:1] * 2], ids=["padded", "even"])
@pytest.mark.parametrize("dropout", [False, True])
def test_values_and_gradients_are_those_of_a_literal_implementation(documents, dropout):
    model = built()
    x = rows(documents)
    drop = noise.fixed(model.dropout_noise(*x.shape), 0, "noise") if dropout else None
    drop = drop and {k: v.double() for k, v in drop.items()}

    log_p = model.log_evidence(x, drop)
    (literal_log_p, cell) = literal(model, documents, drop)

    torch.testing.assert_close(log_p, literal_log_p, rtol=0, atol=1e-12)

    # Each document has its own weight, so that a mixed-up one shows.
    weight = torch.arange(1.0, len(x) + 1).double()
    p = model.p
    shared = [p.embedding, p.output]
    lstm_parameters = [p.lstm.weight_ih, p.lstm.weight_hh, p.lstm.bias_ih, p.lstm.bias_hh]
    gradients = torch.autograd.grad((log_p * weight).sum(), [*shared, *lstm_parameters])
    cell_parameters = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    literal_gradients = torch.autograd.grad(
        (literal_log_p * weight).sum(), [*shared, *cell_parameters]
    )

    torch.testing.assert_close(gradients, literal_gradients, rtol=0, atol=1e-12)

    if drop is None:
        torch.testing.assert_close(model.score(x), literal_log_p, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["log_evidence", "score"])
def test_a_document_sees_neither_its_batch_nor_the_padding(method):
    model = built()
    x = rows(DOCUMENTS)
    score = getattr(model, method)
    scores = score(x)

    assert scores.shape == (len(DOCUMENTS),)
    torch.testing.assert_close(score(rows(DOCUMENTS, 20)), scores, rtol=0, atol=1e-13)

    alone = torch.cat([score(rows([d])) for d in DOCUMENTS])
    torch.testing.assert_close(alone, scores, rtol=0, atol=1e-13)


@torch.no_grad()
def test_the_probabilities_of_all_documents_sum_to_one():
    """Documents of up to three words, beginnings of four words however they go on, and beginnings
    that ``<pad>`` follows, which are scored a step at a time."""
    model = built(seed=2, vocabulary=5)
    words = (1, 3, 4)
    longest = 3

    total = 0.0
    for n in range(longest + 1):
        prefixes = [[1, *w] for w in itertools.product(words, repeat=n)]
        total += float(model.score(rows([[*p, 2] for p in prefixes])).exp().sum())
        # Beginnings that <pad> (0) follows.
        for p in prefixes:
            state = model.p.first_state(1, None)
            for word in p:
                log_p, state = model.p.next_word(torch.tensor([word]), None, state)
            total += float(log_p[0, 0].exp() * (model.score(rows([p])).exp() if n else 1.0))

    # Beginnings of four words, however they go on.
    total += float(
        model.score(rows([[1, *w] for w in itertools.product(words, repeat=longest + 1)]))
        .exp()
        .sum()
    )

    assert total == pytest.approx(1.0, abs=1e-12)


def test_it_is_the_decoder_of_the_vae_without_a_code():
    """If the VAE's weights on the code are zero, the two agree for every code. The language model
    has fewer parameters, by just these."""
    lm = built()
    x = rows(DOCUMENTS)
    vae = TextVAE(
        DataInfo(lm.mean, Kind.TOKENS), latents=2, embedding=EMBEDDING, units=UNITS
    ).double()

    with torch.no_grad():
        for name, p in lm.p.named_parameters():
            of_vae = vae.p.get_parameter(name)
            # Only the columns of the words; those of the code stay zero.
            if p.dim() == 2:
                of_vae = of_vae[:, : p.shape[1]]
            of_vae.copy_(p)

    z = torch.randn(3, len(x), 2, generator=torch.Generator().manual_seed(0)).double()
    with_codes = vae.log_likelihood(x, [z])

    torch.testing.assert_close(with_codes, lm.log_evidence(x).expand(3, -1), rtol=0, atol=1e-13)

    # The code has weights to the first state and to the four gates.
    count = [sum(p.numel() for p in half.parameters()) for half in (lm.p, vae.p)]
    assert count[1] - count[0] == 2 * UNITS + 2 * 4 * UNITS
    assert all(name.startswith("p.") for name, _ in lm.named_parameters())


def test_it_is_built_by_name_and_has_no_latents():
    config = {
        "name": "text_lm",
        "embedding": 5,
        "units": 6,
        "init": "text",
        "init_scale": 0.01,
        "init_center": 0.0,
    }
    model = models.build(config, DataInfo(torch.full((9,), 1 / 9), Kind.TOKENS))
    models.start(model, config, 0)

    assert (model.facts.latent, model.sizes, model.facts.reads_documents) == ("none", [9], True)
    assert (
        0
        < float(model.p.output.detach().abs().max())
        <= 0.01
        < float(model.p.embedding.detach().abs().max())
        <= 0.1
    )
    with pytest.raises(UserError, match=r"model\.units=0"):
        models.build({**config, "units": 0}, DataInfo(torch.ones(9), Kind.TOKENS))
