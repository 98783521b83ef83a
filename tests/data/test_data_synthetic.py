"""The synthetic sequences: the distribution they are drawn from, against an LSTM of PyTorch, and
that they are always the same.

Statistical tests: chi-square and normal scores at a false-alarm rate of 1e-6 each; seeds are fixed.
"""

from __future__ import annotations

import hashlib
import itertools
import logging

import numpy as np
import pytest
import torch
from scipy.stats import chi2, norm

from vaebench.data.splits import array_hash
from vaebench.data.text import synthetic
from vaebench.data.text.synthetic import (
    CENTRES,
    SyntheticText,
    draw_parameters,
    draw_z,
    generate,
    sample,
)

ALARM = 1e-6
FIRST = 400
FIRST_SHA256 = "0bac86057ff94bd72322aab205ed04e513ec1faaef57b61ccbb0cebba33022c8"


def law(p: synthetic.Parameters, z: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Log-probabilities (n, length - 1, V) of every next token, from torch's own LSTM.

    z is (n, 2), tokens (n, length).
    """
    embedding = p.embedding.shape[1]
    hidden = p.to_words.shape[1]

    lstm = torch.nn.LSTM(embedding + 2, hidden, batch_first=True).double()
    t = {name: torch.from_numpy(value) for name, value in p._asdict().items()}

    names = {"weight_ih_l0": "from_input", "weight_hh_l0": "from_hidden"}
    names |= {"bias_ih_l0": "bias_input", "bias_hh_l0": "bias_hidden"}
    # torch has the same order of the gates: input, forget, cell, output.
    lstm.load_state_dict({key: t[name] for key, name in names.items()})

    z = torch.from_numpy(z)
    x = torch.from_numpy(tokens[:, :-1])
    steps = x.shape[1]

    with torch.no_grad():
        # c starts at A z and h at tanh(c); z enters every input, and the logits once more.
        c = z @ t["from_z"].T
        start = (torch.tanh(c)[None], c[None])
        inputs = torch.cat([t["embedding"][x], z[:, None].expand(-1, steps, -1)], dim=-1)
        out, _ = lstm(inputs, start)
        logits = out @ t["to_words"].T + (z @ t["z_to_words"].T)[:, None]

    return torch.log_softmax(logits, -1).numpy()


def small(words=4, hidden=5, embedding=3, seed=2):
    """Parameters of a small law, half as large as the real ones, so that no token is sure."""
    p = draw_parameters(np.random.RandomState(seed), words, hidden, embedding)
    return synthetic.Parameters(*(0.5 * x for x in p))


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """The probability of counts as far from ``expected`` or farther; rare classes are pooled."""
    rare = expected < 5
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return float(chi2.sf((((counts - expected) ** 2) / expected).sum(), len(counts) - 1))


def test_sequences_have_the_law_of_the_lstm():
    """All 64 sequences of three of four words, for one z, by enumeration."""
    p = small()
    n = 20_000
    z = np.array([[1.3, -0.7]])

    tokens = sample(p, np.repeat(z, n, axis=0), np.random.RandomState(5).random_sample((n, 3)))

    # (64, 3), in the order in which 16 a + 4 b + c counts them.
    every = np.array(list(itertools.product(range(4), repeat=3)))
    log_p = law(p, np.repeat(z, 64, axis=0), every)
    # The first token is uniform over the four words.
    exact = np.exp(np.take_along_axis(log_p, every[:, 1:, None], -1).sum((1, 2))) / 4

    assert abs(exact.sum() - 1) < 1e-12

    counts = np.bincount(tokens @ [16, 4, 1], minlength=64)
    assert chi_square(counts, n * exact) > ALARM

    # The test can tell: another z makes other probabilities.
    wrong = (
        np.exp(
            np.take_along_axis(
                law(p, np.repeat(-z, 64, axis=0), every), every[:, 1:, None], -1
            ).sum((1, 2))
        )
        / 4
    )
    assert chi_square(counts, n * wrong) < ALARM


def test_every_draw_inverts_the_exact_distribution():
    """At the real size: u lies between the exact distribution function before the word and at it.

    That function is summed over the words in their order.
    """
    noise = np.random.RandomState(6)
    p = draw_parameters(noise, 1000, 100, 100)
    n = 40
    z = draw_z(noise, n)
    uniform = noise.random_sample((n, 10))

    tokens = sample(p, z, uniform)

    # The first token is uniform over the words.
    np.testing.assert_array_equal(tokens[:, 0], np.floor(1000 * uniform[:, 0]))

    # The distribution function before each word, (n, 9, 1001).
    below = np.concatenate([np.zeros((n, 9, 1)), np.exp(law(p, z, tokens)).cumsum(-1)], axis=-1)
    low = np.take_along_axis(below, tokens[:, 1:, None], -1)[..., 0]
    high = np.take_along_axis(below, tokens[:, 1:, None] + 1, -1)[..., 0]

    # The two implementations round differently.
    assert (low - 1e-9 <= uniform[:, 1:]).all()
    assert (uniform[:, 1:] <= high + 1e-9).all()


def test_blocks_make_no_difference(monkeypatch):
    noise = np.random.RandomState(7)
    p = small()
    z = draw_z(noise, 25)
    uniform = noise.random_sample((25, 6))

    whole = sample(p, z, uniform)
    monkeypatch.setattr(synthetic, "_BLOCK", 10)

    np.testing.assert_array_equal(sample(p, z, uniform), whole)


@pytest.mark.parametrize("shift", [0.0, 3000.0, -3000.0])
@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_extreme_numbers_give_words_that_can_be(u, shift):
    # Logits 2000 below the others have the probability 0. u = 0 must give the first word that can
    # be, the largest u the last.
    logits = np.array([[-2000.0, 0.3, 0.1, -2000.0], [0.1, -2000.0, 0.2, 0.7]]) + shift
    assert synthetic._inverted(logits, np.array([u, u])).tolist() == ([1, 0] if u == 0 else [2, 3])


def test_the_last_word_is_never_passed():
    logits = np.random.RandomState(11).uniform(-30, 30, (20_000, 7))
    assert synthetic._inverted(logits, np.full(20_000, 1 - 2**-53)).max() <= 6


def test_parameters_fill_their_ranges():
    p = draw_parameters(np.random.RandomState(8), 1000, 100, 100)
    shapes = [(1000, 100), (400, 102), (400, 100), (400,), (400,), (100, 2), (1000, 100), (1000, 2)]
    assert [x.shape for x in p] == shapes

    for name, x in p._asdict().items():
        scale = 5 if name == "z_to_words" else 1
        assert x.dtype == np.float64
        # The smallest array has 200 numbers: one seed in ten would leave 3 % at some end empty.
        assert 0.97 < x.max() / scale < 1
        assert -1 < x.min() / scale < -0.97
        # A uniform number on (-s, s) has the variance s^2 / 3.
        assert abs(x.mean()) < -norm.ppf(ALARM / 2) * scale / np.sqrt(3 * x.size)

    assert not np.array_equal(p.bias_input, p.bias_hidden)


def test_z_is_the_mixture():
    n = 40_000
    z = draw_z(np.random.RandomState(9), n)
    # The centres lie 4 apart. Cut at 0, 2.3 % of each component cross over in each dimension, and
    # as many come from the other side.
    quadrant = 2 * (z[:, 0] > 0) + (z[:, 1] > 0)

    assert chi_square(np.bincount(quadrant, minlength=4), np.full(4, n / 4)) > ALARM

    # One dimension at a time: the distribution is an equal mixture of two normal ones.
    for d in range(2):
        edges = np.linspace(-5, 5, 41)
        cdf = 0.5 * (norm.cdf(edges, 2) + norm.cdf(edges, -2))
        cells = np.diff(np.concatenate([[0], cdf, [1]]))
        counts = np.bincount(np.searchsorted(edges, z[:, d]), minlength=len(cells))

        assert chi_square(counts, n * cells) > ALARM

    assert abs(np.corrcoef(z.T)[0, 1]) < -norm.ppf(ALARM / 2) / np.sqrt(n)
    assert sorted(CENTRES) == [(-2, -2), (-2, 2), (2, -2), (2, 2)]

    for x, y in CENTRES:
        inside = z[(np.sign(z) == np.sign([x, y])).all(axis=1)]
        # The mean of abs(x) over the part of the near normal, at 2, and of the far one, at -2, that
        # lie above 0.
        w_near = norm.cdf(2)
        w_far = norm.cdf(-2)
        mean = (2 * w_near + norm.pdf(2)) + (-2 * w_far + norm.pdf(2))

        # Eight means are held together. The variance of abs(x) is 0.93, here taken as 1.
        assert (
            abs(abs(inside).mean(axis=0) - mean) < -norm.ppf(ALARM / 8) / np.sqrt(len(inside))
        ).all()


def test_first_tokens_are_uniform_and_the_rest_are_not():
    noise = np.random.RandomState(10)
    tokens = sample(small(words=50), draw_z(noise, 5000), noise.random_sample((5000, 3)))
    uniform = np.full(50, 100.0)

    assert chi_square(np.bincount(tokens[:, 0], minlength=50), uniform) > ALARM
    assert chi_square(np.bincount(tokens[:, 1], minlength=50), uniform) < ALARM


def test_the_first_sequences_are_the_same_everywhere():
    tokens, z = generate(FIRST)
    assert (tokens.shape, z.shape) == ((FIRST, 10), (FIRST, 2))
    assert tokens[0].tolist() == [748, 245, 1, 967, 345, 1, 978, 1, 455, 345]
    assert hashlib.sha256(tokens.astype("<i2").tobytes()).hexdigest() == FIRST_SHA256


@pytest.fixture
def shorter(monkeypatch):
    """The first 400 sequences as the whole set."""
    monkeypatch.setattr(synthetic, "SEQUENCES", {"train": 300, "valid": 60, "test": 40})

    tokens, z = generate(FIRST)
    monkeypatch.setattr(synthetic, "generate", lambda: (tokens, z))

    return type(
        "Shorter", (SyntheticText,), {"documents": synthetic.SEQUENCES, "entries": None}
    ), tokens


def test_words_splits_and_vocabulary(shorter):
    cls, tokens = shorter
    loader = cls()
    splits = loader.splits(loader.arrays({}), None, 0)

    assert splits.vocabulary[4:] == tuple(dict.fromkeys(map(str, tokens[:300].ravel().tolist())))

    # Number of an entry -> its word, which is a number too. -2 stands for <unk>.
    word_of = np.array([-1, -1, -1, -2, *map(int, splits.vocabulary[4:])])
    in_training = set(tokens[:300].ravel().tolist())
    for rows, expected in (
        (splits.train, tokens[:300]),
        (splits.valid, tokens[300:360]),
        (splits.test, tokens[360:]),
    ):
        assert rows.shape == (len(expected), 12)
        assert (rows[:, 0] == 1).all()
        assert (rows[:, -1] == 2).all()

        with_unknown = [[t if t in in_training else -2 for t in row] for row in expected.tolist()]
        np.testing.assert_array_equal(word_of[rows[:, 1:-1]], with_unknown)


def test_another_machine_is_told(shorter, caplog, monkeypatch):
    loader = shorter[0]()
    arrays = loader.arrays({})
    hash_here = loader.splits(arrays, None, 0).hash
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    assert len(warnings) == 1
    assert f"expected {synthetic.HASH[:16]}, found {hash_here[:16]}" in warnings[0]

    caplog.clear()
    monkeypatch.setattr(synthetic, "HASH", hash_here)
    loader.splits(arrays, None, 0)
    assert not caplog.records


@pytest.mark.slow
def test_all_sequences_are_the_same_everywhere(caplog):
    loader = SyntheticText()
    splits = loader.splits(loader.arrays({}), None, 0)

    assert splits.hash == synthetic.HASH
    assert not caplog.records
    assert [len(getattr(splits, s)) for s in ("train", "valid", "test")] == [16_000, 2_000, 2_000]
    assert len(splits.vocabulary) == 1004
    assert splits.hashes["train"] == array_hash(splits.train)

    # The first words, which are uniform over 1000.
    counts = np.bincount(splits.train[:, 1], minlength=1004)[4:]
    assert chi_square(counts, np.full(1000, 16.0)) > ALARM
