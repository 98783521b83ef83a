"""Searches and samples of text decoders, against all documents of a tiny model."""

from __future__ import annotations

import math

import pytest
import torch
from kit.parameters import drawn

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.models import text_generation
from vaebench.models.text_generation import Document
from vaebench.models.text_lm import TextLM
from vaebench.models.text_vae import TextVAE

VOCABULARY = 5
LATENTS = 2
LONGEST = 4


def built(kind=TextVAE, seed=0, scale=1.0, against=0.0):
    """A model with random parameters. ``against`` is taken off the logits of ``<pad>`` and
    ``</s>``, so that documents are long."""
    latents = {"latents": LATENTS} if kind is TextVAE else {}
    model = kind(
        DataInfo(torch.full((VOCABULARY,), 0.2), Kind.TOKENS), embedding=4, units=6, **latents
    ).double()
    drawn(model, scale, seed)

    with torch.no_grad():
        # A unit that is always on pushes the logits of these two words down.
        if against:
            model.p.lstm.bias_ih.view(4, -1)[:, 0] = torch.tensor([50.0, -50.0, 50.0, 50.0])
            model.p.output[:, 0] = 0.0
            model.p.output[[0, 2], 0] = -against / math.tanh(1.0)

    return model


def codes(rows, seed=0):
    return torch.randn(
        rows, LATENTS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def score(model, document, z):
    """log p of the tokens of a document without ``<pad>``, by the model's likelihood of whole
    documents."""
    tokens = torch.tensor([[1, *document.tokens]])
    return float(model.score(tokens) if z is None else model.score(tokens, [z[None, None]]))


@torch.no_grad()
def everything(model, z):
    """All documents of at most LONGEST tokens, those cut off included: {tokens: probability}, by
    the probabilities of single steps."""
    ended = {}
    # Beginnings that have not ended: their probability and the decoder's state after them.
    beginnings = {(): (1.0, model.p.first_state(1, z))}
    for _ in range(LONGEST):
        longer = {}
        for tokens, (p_before, state) in beginnings.items():
            log_p, next_state = model.p.next_word(
                torch.tensor([tokens[-1] if tokens else 1]), z, state
            )
            for word, p in enumerate(log_p[0].exp().tolist()):
                if word == 2:
                    ended[(*tokens, word)] = p_before * p
                else:
                    longer[(*tokens, word)] = (p_before * p, next_state)

        beginnings = longer

    return ended | {tokens: p for tokens, (p, _) in beginnings.items()}


def test_steps_give_the_probabilities_of_the_likelihood():
    model = built()
    z = codes(1)
    table = everything(model, z)

    assert sum(table.values()) == pytest.approx(1.0, abs=1e-12)

    # Every seventh document. The likelihood cannot score a <pad> (0) among the words, so those are
    # left out.
    for tokens, p in list(table.items())[::7]:
        if 0 not in tokens:
            assert score(model, Document(tokens, 0.0), z[0]) == pytest.approx(
                math.log(p), abs=1e-12
            )


@pytest.mark.parametrize("kind", [TextVAE, TextLM])
def test_greedy_takes_the_best_word_of_every_step(kind):
    lengths = set()
    for seed in range(8):
        model = built(kind, seed)
        z = codes(3, seed) if kind is TextVAE else None
        written = text_generation.greedy(model, z, LONGEST)

        assert len(written) == (1 if z is None else 3)

        # Each document by hand: the most probable word after word, from <s> (1) to </s> (2).
        for i, document in enumerate(written):
            code = None if z is None else z[i : i + 1]
            tokens = []
            state = model.p.first_state(1, code)
            word = 1
            total = 0.0

            while word != 2 and len(tokens) < LONGEST:
                after, state = model.p.next_word(torch.tensor([word]), code, state)
                word = int(after.argmax())
                total += float(after.max())
                tokens.append(word)

            assert document.tokens == tuple(tokens)
            assert document.log_p == pytest.approx(total, abs=1e-12)

            lengths.add((len(tokens), document.ended))

    # Short ones, long ones, some cut off.
    assert len(lengths) > 2


@pytest.mark.parametrize("kind", [TextVAE, TextLM])
def test_a_beam_of_one_is_greedy(kind):
    for seed in range(8):
        model = built(kind, seed)
        z = codes(3, seed) if kind is TextVAE else None
        beam_of_one = text_generation.beam(model, z, 1, LONGEST)
        greedy = text_generation.greedy(model, z, LONGEST)

        assert [d.tokens for d in beam_of_one] == [d.tokens for d in greedy]
        assert [d.log_p for d in beam_of_one] == pytest.approx([d.log_p for d in greedy], abs=1e-12)


def test_a_beam_that_nothing_falls_out_of_finds_the_most_probable_document():
    better = 0
    for seed in range(10):
        model = built(seed=seed, scale=3.0, against=0.5)
        z = codes(1, seed)
        table = {t: p for t, p in everything(model, z).items() if t[-1] == 2}
        best = max(table, key=table.get)
        (best_found,) = text_generation.beam(model, z, VOCABULARY**LONGEST, LONGEST)

        assert best_found.tokens == best
        assert best_found.log_p == pytest.approx(math.log(table[best]), abs=1e-12)
        assert best_found.ended
        assert best_found.words == best[:-1]

        (by_greedy,) = text_generation.beam(model, z, 1, LONGEST)
        better += best_found.tokens != by_greedy.tokens

    # A beam of one misses some of them, so the search had to look further.
    assert better > 1


@torch.no_grad()
def by_hand(model, z, width):
    """What a beam of ``width`` finds, written plainly: continuations are in a table, and every
    state is computed from the document's beginning."""
    beginnings = {(): 0.0}
    ended = {}
    for _ in range(LONGEST):
        continuations = {}
        for tokens, log_p_before in beginnings.items():
            state = model.p.first_state(1, z)
            for word in (1, *tokens):
                log_p, state = model.p.next_word(torch.tensor([word]), z, state)
            continuations |= {
                (*tokens, w): log_p_before + word_log_p
                for w, word_log_p in enumerate(log_p[0].tolist())
            }

        # The best of all continuations; those that end leave the beam.
        kept = dict(sorted(continuations.items(), key=lambda item: -item[1])[:width])
        ended |= {tokens: p for tokens, p in kept.items() if tokens[-1] == 2}
        beginnings = {tokens: p for tokens, p in kept.items() if tokens[-1] != 2}

    return max((ended or beginnings).items(), key=lambda item: item[1])


@pytest.mark.parametrize("width", [2, 3, 6])
def test_a_beam_keeps_the_best_beginnings_of_every_step(width):
    ends = set()
    for seed in range(12):
        model = built(seed=seed, scale=3.0, against=1000.0 if seed == 0 else 1.0)
        z = codes(2, seed)
        for i, document in enumerate(text_generation.beam(model, z, width, LONGEST)):
            tokens, log_p = by_hand(model, z[i : i + 1], width)
            assert document.tokens == tokens
            assert document.log_p == pytest.approx(log_p, abs=1e-12)
            assert document.words == (tokens[:-1] if document.ended else tokens)

            ends.add((len(tokens), document.ended))

    # Short ones, long ones, some cut off.
    assert len(ends) > 2


@pytest.mark.parametrize("kind", [TextVAE, TextLM])
def test_samples_have_the_frequencies_of_all_documents(kind):
    """z of each of some 70 documents, those that are expected 20 times or more. If they are normal,
    one exceeds 5 by chance once in 10,000 seeds."""
    draws = 20_000
    model = built(kind, seed=1, scale=0.7)
    z = codes(1, 1) if kind is TextVAE else None
    uniform = torch.rand(
        draws, LONGEST, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    samples = text_generation.sample(model, None if z is None else z.expand(draws, -1), uniform)
    table = everything(model, z)
    counts = {}
    for document in samples:
        counts[document.tokens] = counts.get(document.tokens, 0) + 1

    assert set(counts) <= set(table)

    common = [t for t, p in table.items() if p * draws > 20]
    assert len(common) > 30

    # Each common document has its expected number within five binomial standard deviations.
    assert all(
        abs(counts.get(t, 0) - draws * table[t]) < 5 * math.sqrt(draws * table[t] * (1 - table[t]))
        for t in common
    )
    for document in samples[:20]:
        assert document.log_p == pytest.approx(math.log(table[document.tokens]), abs=1e-9)

    # The first rows of the noise give the same documents when they are alone.
    first_nine = text_generation.sample(model, None if z is None else z.expand(9, -1), uniform[:9])
    assert [d.tokens for d in first_nine] == [d.tokens for d in samples[:9]]


def test_samples_of_several_codes_are_those_of_each():
    model = built()
    z = codes(6)
    uniform = torch.rand(6, LONGEST, generator=torch.Generator().manual_seed(6))
    together = text_generation.sample(model, z, uniform)

    for i, document in enumerate(together):
        assert (
            text_generation.sample(model, z[i : i + 1], uniform[i : i + 1])[0].tokens
            == document.tokens
        )

    assert len({d.tokens for d in together}) > 2


def test_noise_at_its_ends_takes_a_word_that_can_be():
    model = built(against=1000.0)
    z = codes(2)
    # Noise is below 1; this is the largest number of single precision there.
    largest = torch.full((2, LONGEST), 1 - 2.0**-24)

    for uniform in (torch.zeros(2, LONGEST), largest):
        for document in text_generation.sample(model, z, uniform):
            assert len(document.tokens) == LONGEST
            assert document.log_p > -100


def test_nothing_is_written_where_nothing_may_be():
    model = built(TextLM)
    assert text_generation.greedy(model, None, 0) == [Document((), 0.0)]
    assert text_generation.sample(model, None, torch.zeros(2, 0)) == [Document((), 0.0)] * 2


def test_the_path_between_two_codes_is_straight_and_even():
    first = torch.tensor([0.0, 4.0])
    last = torch.tensor([1.0, 0.0])
    points = [[0.0, 4.0], [0.25, 3.0], [0.5, 2.0], [0.75, 1.0], [1.0, 0.0]]

    assert text_generation.path(first, last, 5).tolist() == points
    with pytest.raises(ValueError, match="1 points"):
        text_generation.path(first, last, 1)


def test_a_beam_without_width_is_refused():
    with pytest.raises(ValueError, match="width 0"):
        text_generation.beam(built(), codes(1), 0, LONGEST)
