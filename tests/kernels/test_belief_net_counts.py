"""Kernels of belief nets on documents: every rule and family against the plain
engine, and by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from kit import packs

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import multinomial

pytest.importorskip("numba")

CASES = 40
WORDS = 37
RATES = {"name": "sgd", "rate": 0.003, "posterior_rate": 0.001, "baseline_rate": 0.002}

NVIL = {"name": "nvil", "baseline_units": 9}
WAKE_SLEEP = {"name": "wake_sleep"}
SBN = {"name": "sbn", "dims": [19]}
DEEP = {"name": "sbn", "dims": [5, 33]}
CHAINED = {"name": "fdarn", "dims": [20], "posterior": "autoregressive"}


@pytest.fixture
def documents():
    """Counts of words from rare to frequent; one word never occurs. One document has one token,
    another 300 times the same word."""
    generator = torch.Generator().manual_seed(1)
    x = torch.poisson(torch.linspace(0.02, 1.5, WORDS).expand(CASES, -1), generator=generator).to(
        torch.int16
    )
    x[:, 3] = 0
    x[4:6] = 0  # the two special documents
    x[4, 7] = 300
    x[5, 0] = 1
    return x


NETS = pytest.mark.parametrize(
    "model", [SBN, DEEP, CHAINED], ids=["sbn", "two layers", "fdarn, autoregressive posterior"]
)


@NETS
@pytest.mark.parametrize(
    "switches",
    [{}, {"reduce": "mean"}, {"input_baseline": False}],
    ids=["all", "mean", "no input baseline"],
)
def test_a_hundred_updates_by_nvil_are_those_of_the_plain_engine(documents, model, switches):
    packs.assert_a_block_is_that_of_the_plain_engine(
        model, {**NVIL, **switches}, documents, Kind.COUNTS, RATES
    )


@NETS
def test_ten_updates_by_wake_sleep_are_those_of_the_plain_engine(documents, model):
    """Ten only: rounding may move a dreamt token across one of the 37 bounds of its distribution,
    and in a hundred updates that happens."""
    packs.assert_a_block_is_that_of_the_plain_engine(
        model, WAKE_SLEEP, documents, Kind.COUNTS, RATES, updates=10
    )


def test_counts_of_a_byte_are_the_same_documents(documents):
    small = documents.clamp(max=200)
    of_two_types = [
        packs.pack_of(SBN, NVIL, x, "kernel", kind=Kind.COUNTS, rates=RATES)
        for x in (small, small.to(torch.uint8))
    ]

    assert torch.equal(packs.train(of_two_types[0]), packs.train(of_two_types[1]))


def test_a_net_for_bits_is_not_trained_on_counts(documents):
    bits = (documents > 0).to(torch.uint8)
    for built_for, kind in ((Kind.COUNTS, Kind.BITS), (Kind.BITS, Kind.COUNTS)):
        pack = packs.pack_of(SBN, NVIL, bits, "plain", kind=built_for)
        with pytest.raises(
            ValueError, match=f"no kernel for {kind} by a net that is not made for them"
        ):
            packs.kernel_of(pack, bits, kind)


# ----------------------------------------------------------------------------------- a row of words


@pytest.mark.parametrize("scale", [1, 30, 200])
def test_log_probability_and_its_gradient_in_double_precision(scale):
    """Logits may lie far apart, and rows need not be whole vectors."""
    from vaebench.kernels import multinomial as kernel
    from vaebench.kernels.bernoulli import OFF

    generator = torch.Generator().manual_seed(scale)
    logits = scale * torch.randn(WORDS, generator=generator)
    tokens = torch.randint(WORDS, (50,), generator=generator)

    # 37 words, padded with OFF to three whole vectors of 16; behind them one that must stay as it
    # is. The kernel turns the logits into the gradient, times the rate of 0.5.
    row = np.full(48 + 16, OFF, np.float32)
    row[:WORDS] = logits.numpy()
    row[48:] = 7.0
    ints = tokens.to(torch.int32).numpy()
    by_kernel = kernel.log_prob_tokens(row, 0, WORDS, ints, 0, 50, 0.5)

    counts = torch.bincount(tokens, minlength=WORDS).double()
    exact_logits = logits.double().requires_grad_()
    exact = multinomial.log_prob(counts, exact_logits)
    (gradient,) = torch.autograd.grad(exact, [exact_logits])

    assert by_kernel == pytest.approx(float(exact.detach()), rel=1e-6)
    torch.testing.assert_close(
        torch.from_numpy(row[:WORDS]).double(), 0.5 * gradient, rtol=1e-5, atol=1e-5
    )
    # No gradient in the padding, for whose words there are no parameters.
    assert not row[WORDS:48].any()
    assert (row[48:] == 7.0).all()


# ---------------------------------------------------------------------------------------------- law

INFO = DataInfo(torch.tensor([0.9, 1.4, 0.2]), Kind.COUNTS, longest=4)
"""Facts of documents of three words, whose mean centres them."""

TINY = pytest.mark.parametrize(
    "model",
    [SBN | {"dims": [3]}, SBN | {"dims": [2, 2]}, CHAINED | {"dims": [3]}],
    ids=["sbn", "two layers", "fdarn, autoregressive posterior"],
)


@TINY
def test_nvil_follows_the_gradient_of_the_bound(model):
    """The expected update, by enumeration of all samples, is the gradient. Signals are raw but for
    the input-dependent baseline, which adds no bias."""
    objective = {**NVIL, "constant_baseline": False, "variance_normalization": False}
    packs.assert_nvil_is_unbiased(model, objective, torch.tensor([3.0, 0, 1]), INFO)


@TINY
def test_wake_sleep_follows_both_of_its_gradients(model):
    """Dreams are all documents of two tokens, as many as the case has. The noise that makes a word
    is the middle of its share of the unit interval."""
    words = 3
    sequences = list(itertools.product(range(words), repeat=2))

    def dreams(rule, h):
        # Cumulative probabilities of the words given h. In the middle of a share rounding cannot
        # change the word.
        mass = torch.softmax(rule.model.p[0].logits(h[0][0, 0].double()).detach(), 0).cumsum(0)
        middle = mass - torch.diff(mass, prepend=torch.zeros(1)) / 2
        cases_with_noise = []
        for tokens in sequences:
            counts = torch.bincount(torch.tensor(tokens), minlength=words).double()
            cases_with_noise.append((counts[None], middle[list(tokens)].float()[None, None, None]))

        return cases_with_noise

    packs.assert_wake_sleep_is_unbiased(model, WAKE_SLEEP, torch.tensor([1.0, 0, 1]), INFO, dreams)
