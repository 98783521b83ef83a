"""The likelihood of documents: the same whatever batch, padding and pieces; causal; one in sum over
all documents."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from kit.text_vae import DOCUMENTS, UNITS, VOCABULARY, K, built, codes, rows

from vaebench.models import text_decoder


@pytest.mark.parametrize(
    ("at_once", "logits", "inputs"), [(10**6, 10**6, 10**6), (1, 1, 1), (4, 20, 100), (7, 33, 50)]
)
def test_scores_without_gradient_are_the_same_for_all_sizes_of_pieces(
    monkeypatch, at_once, logits, inputs
):
    model = built()
    x = rows(DOCUMENTS)
    z = codes(K, len(DOCUMENTS))
    log_likelihood = model.log_likelihood(x, z).detach()

    # Pieces by rows, by logits and by inputs at once.
    for name, value in (("ROWS", at_once), ("LOGITS", logits), ("INPUTS", inputs)):
        monkeypatch.setattr(text_decoder, name, {"cpu": value})

    torch.testing.assert_close(model.score(x, z), log_likelihood, rtol=0, atol=1e-12)
    assert not model.score(x, z).requires_grad


@pytest.mark.parametrize("method", ["log_likelihood", "score"])
def test_many_samples_are_as_one_at_a_time(method):
    model = built()
    x = rows(DOCUMENTS)
    (z,) = codes(K, len(DOCUMENTS))
    score = getattr(model, method)
    one_by_one = torch.cat([score(x, [v[None]]) for v in z])

    torch.testing.assert_close(score(x, [z]), one_by_one, rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ["log_likelihood", "score"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_a_document_sees_neither_its_batch_nor_the_padding(method, dtype, error):
    model = built(dtype=dtype)
    (z,) = codes(K, len(DOCUMENTS), dtype=dtype)
    close = {"rtol": error, "atol": error}
    score = getattr(model, method)

    x = rows(DOCUMENTS)
    scores = score(x, [z])
    moments = model.encode(x)

    # More padding, then every document alone, then another order of the documents.
    wide = rows(DOCUMENTS, 15)

    torch.testing.assert_close(score(wide, [z]), scores, **close)
    torch.testing.assert_close(model.encode(wide), moments, **close)

    for (i, document), width in itertools.product(enumerate(DOCUMENTS), (None, 9)):
        alone = rows([document], width)
        torch.testing.assert_close(score(alone, [z[:, i : i + 1]])[:, 0], scores[:, i], **close)
        torch.testing.assert_close(
            torch.cat(model.encode(alone)), torch.stack(moments)[:, i], **close
        )

    order = torch.tensor([3, 0, 4, 2, 1])

    torch.testing.assert_close(score(x[order], [z[:, order]]), scores[:, order], **close)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
def test_token_numbers_of_any_type(dtype):
    model = built()
    x = rows(DOCUMENTS)
    z = codes(K, len(DOCUMENTS))

    assert torch.equal(model.log_likelihood(x.to(dtype), z), model.log_likelihood(x, z))
    assert torch.equal(model.encode(x.to(dtype))[0], model.encode(x)[0])


@torch.no_grad()
def test_a_large_vocabulary_in_float32():
    """Log-sums over many blocks of words, of large logits, against float64."""
    model = built(vocabulary=3000, scale=3.0, dtype=torch.float32, units=20)
    x = torch.randint(3, 3000, (3, 9), generator=torch.Generator().manual_seed(1))
    z = codes(200, 3)
    single = model.score(x, [z[0].float()])
    double = model.double().score(x, [z[0].float().double()])

    torch.testing.assert_close(single.double(), double, rtol=3e-6, atol=1e-4)


def test_terms_are_causal():
    """A changed word changes its own term and those after it, and no other.

    If all outputs of a step are dropped, its term is -log V. The difference from the whole
    document therefore gives the term itself.
    """
    model = built(dropout_in=0.0)
    z = codes(1, 1)
    x = rows([[1, 3, 4, 5, 6, 2]])
    steps = x.shape[1] - 1
    kept = torch.ones(1, x.shape[1] - 1, UNITS, dtype=torch.float64)

    def terms(x):
        differences = []
        for t in range(steps):
            without = kept.clone()
            without[:, t] = 0
            differences.append(
                model.log_likelihood(x, z, {"drop_out": kept})
                - model.log_likelihood(x, z, {"drop_out": without})
            )

        return torch.stack(differences).flatten() - math.log(VOCABULARY)

    before = terms(x)

    torch.testing.assert_close(
        before.sum(), model.log_likelihood(x, z, {"drop_out": kept}).squeeze()
    )

    for j in range(1, steps + 1):
        changed = x.clone()
        # Word j becomes <s>, which no place but the first has.
        changed[0, j] = 1
        changed_terms = (terms(changed) - before).abs() > 1e-9

        assert changed_terms.tolist() == [t >= j - 1 for t in range(steps)]

    # What is predicted last is no input; the gradient says it too.
    (g,) = torch.autograd.grad(model.log_likelihood(x, z).sum(), model.p.embedding)

    assert [bool(row.any()) for row in g] == [word in (1, 3, 4, 5, 6) for word in range(VOCABULARY)]


@pytest.mark.parametrize("gradient", [True, False])
def test_the_probabilities_of_all_documents_sum_to_one(gradient):
    """Documents of up to three words, beginnings of four words however they go on, and beginnings
    that ``<pad>`` follows, which have a formula of their own."""
    model = built(seed=2, vocabulary=5)
    (z,) = codes(1, 1, seed=5)
    words = (1, 3, 4)
    longest = 3

    with torch.set_grad_enabled(gradient):

        def mass(documents):
            return float(
                model.log_likelihood(rows(documents), [z.expand(1, len(documents), -1)])
                .detach()
                .exp()
                .sum()
            )

        # Documents that end, and beginnings followed by <pad>.
        ended = 0.0
        padded = 0.0
        for n in range(longest + 1):
            prefixes = [[1, *w] for w in itertools.product(words, repeat=n)]
            ended += mass([[*p, 2] for p in prefixes])
            for p in prefixes:
                padded += (mass([p]) if n else 1.0) * first_word(model, p, z[0])

        # Beginnings of four words, however they go on.
        rest = mass([[1, *w] for w in itertools.product(words, repeat=longest + 1)])

    assert ended + rest + padded == pytest.approx(1.0, abs=1e-12)

    # Each of the three kinds matters, so none can be lost unseen.
    assert min(ended, rest, padded) > 0.01


def first_word(model, prefix, z):
    """Probability of ``<pad>`` after ``prefix``, a step at a time."""
    state = model.p.first_state(1, z)
    for word in prefix:
        log_p, state = model.p.next_word(torch.tensor([word]), z, state)
    return float(log_p[0, 0].exp())
