"""Kernels of belief nets on documents: every rule and family against the plain engine, and by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from kit import packs

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import multinomial
from vaebench.estimators import exact

pytest.importorskip("numba")

CASES, WORDS = 40, 37
RATES = {"name": "sgd", "rate": 0.003, "posterior_rate": 0.001, "baseline_rate": 0.002}

NVIL = {"name": "nvil", "baseline_units": 9}
WAKE_SLEEP = {"name": "wake_sleep"}
SBN = {"name": "sbn", "dims": [19]}
DEEP = {"name": "sbn", "dims": [5, 33]}
CHAINED = {"name": "fdarn", "dims": [20], "posterior": "autoregressive"}


@pytest.fixture
def documents():
    """Counts of words that are rare, absent, frequent; a document of one token, one of 300 of the same word."""
    generator = torch.Generator().manual_seed(1)
    x = torch.poisson(torch.linspace(0.02, 1.5, WORDS).expand(CASES, -1), generator=generator).to(torch.int16)
    x[:, 3] = 0
    x[4:6] = 0
    x[4, 7], x[5, 0] = 300, 1
    return x


NETS = pytest.mark.parametrize(
    "model", [SBN, DEEP, CHAINED], ids=["sbn", "two layers", "fdarn, autoregressive posterior"]
)


@NETS
@pytest.mark.parametrize(
    "switches", [{}, {"reduce": "mean"}, {"input_baseline": False}], ids=["all", "mean", "no input baseline"]
)
def test_a_hundred_updates_by_nvil_are_those_of_the_plain_engine(documents, model, switches):
    packs.assert_a_block_is_that_of_the_plain_engine(model, {**NVIL, **switches}, documents, Kind.COUNTS, RATES)


@NETS
def test_ten_updates_by_wake_sleep_are_those_of_the_plain_engine(documents, model):
    """Rounding may move a token across one of the 37 bounds of its distribution: in a hundred updates that happens."""
    packs.assert_a_block_is_that_of_the_plain_engine(model, WAKE_SLEEP, documents, Kind.COUNTS, RATES, updates=10)


def test_counts_of_a_byte_are_the_same_documents(documents):
    small = documents.clamp(max=200)
    both = [
        packs.pack_of(SBN, NVIL, x, "kernel", kind=Kind.COUNTS, rates=RATES) for x in (small, small.to(torch.uint8))
    ]
    assert torch.equal(packs.train(both[0]), packs.train(both[1]))


def test_a_net_for_bits_is_not_trained_on_counts(documents):
    bits = (documents > 0).to(torch.uint8)
    for built_for, kind in ((Kind.COUNTS, Kind.BITS), (Kind.BITS, Kind.COUNTS)):
        pack = packs.pack_of(SBN, NVIL, bits, "plain", kind=built_for)
        with pytest.raises(ValueError, match=f"no kernel for {kind} by a net that is not made for them"):
            packs.kernel_of(pack, bits, kind)


# ------------------------------------------------------------------------------------------------------ a row of words


@pytest.mark.parametrize("scale", [1, 30, 200])
def test_log_probability_and_its_gradient_in_double_precision(scale):
    """Logits that lie far apart, in rows that are no whole vectors."""
    from vaebench.kernels import multinomial as kernel
    from vaebench.kernels.bernoulli import OFF

    generator = torch.Generator().manual_seed(scale)
    logits = scale * torch.randn(WORDS, generator=generator)
    tokens = torch.randint(WORDS, (50,), generator=generator)
    row = np.full(48 + 16, OFF, np.float32)
    row[:WORDS], row[48:] = logits.numpy(), 7.0
    ints = tokens.to(torch.int32).numpy()
    found = kernel.log_prob_tokens(row, 0, WORDS, ints, 0, 50, 0.5)

    counts = torch.bincount(tokens, minlength=WORDS).double()
    exactly = logits.double().requires_grad_()
    wanted = multinomial.log_prob(counts, exactly)
    (slope,) = torch.autograd.grad(wanted, [exactly])
    assert found == pytest.approx(float(wanted.detach()), rel=1e-6)
    torch.testing.assert_close(torch.from_numpy(row[:WORDS]).double(), 0.5 * slope, rtol=1e-5, atol=1e-5)
    assert not row[WORDS:48].any()  # the padding, whose deltas are added to parameters that are not there
    assert (row[48:] == 7.0).all()


# ---------------------------------------------------------------------------------------------------------------- law

INFO = DataInfo(torch.tensor([0.9, 1.4, 0.2]), Kind.COUNTS, longest=4)
"""Of documents of three words, which are centred by its mean."""

TINY = pytest.mark.parametrize(
    "model",
    [SBN | {"dims": [3]}, SBN | {"dims": [2, 2]}, CHAINED | {"dims": [3]}],
    ids=["sbn", "two layers", "fdarn, autoregressive posterior"],
)


@TINY
def test_nvil_follows_the_gradient_of_the_bound(model):
    """Expected over all samples, by enumeration, with raw signals and an input-dependent baseline: without bias."""
    objective = {**NVIL, "constant_baseline": False, "variance_normalization": False}
    packs.assert_nvil_is_unbiased(model, objective, torch.tensor([3.0, 0, 1]), INFO)


@TINY
def test_wake_sleep_follows_both_of_its_gradients(model):
    """Wake: E_Q[grad log P(x, h)]; sleep: E_P[grad log Q(h | x)] over dreams of as many tokens as the document."""
    x = torch.tensor([1.0, 0, 1])
    sizes = list(reversed(model["dims"]))
    states = [[part[None, None] for part in h.split(sizes)] for h in exact.states(sum(sizes))]
    sequences = list(itertools.product(range(len(x)), repeat=2))
    pack = packs.pack_of(model, WAKE_SLEEP, x.to(torch.uint8)[None].repeat(CASES, 1), "plain", kind=Kind.COUNTS)
    rule = packs.exact_rule(model, WAKE_SLEEP, pack.seed(0)[0], INFO)

    def drawn(sampled, dreamt, tokens):
        """An update that samples one state, and dreams another and these tokens."""
        draws = packs.forced({f"q{i}": v for i, v in enumerate(sampled, 1)})
        draws |= packs.forced({f"p{i}": v[0] for i, v in enumerate(dreamt, 1)})
        mass = torch.softmax(rule.model.p[0].drive(dreamt[0][0, 0].double()).detach(), 0).cumsum(0)
        middle = [(mass[w] + (mass[w - 1] if w else 0)) / 2 for w in tokens]  # of the word's share
        draws["p0"] = torch.stack(middle).float()[None, None, None]
        return packs.step(model, WAKE_SLEEP, x, draws, INFO)[1]

    awake: dict[str, torch.Tensor] = {}
    asleep: dict[str, torch.Tensor] = {}
    wanted: dict[str, torch.Tensor] = {}
    for h in states:
        weight = rule.model.log_posterior(h, x.double()[None]).exp().item()
        for k, v in drawn(h, states[0], (0, 0)).items():
            awake[k] = awake.get(k, 0) + weight * v

    q = [(k, p) for k, p in rule.named_parameters() if k.startswith("model.q.")]
    for h, tokens in itertools.product(states, sequences):
        dream = torch.bincount(torch.tensor(tokens), minlength=len(x)).double()[None]
        probability = rule.model.log_joint(dream, h).exp().item()
        log_q = rule.model.log_posterior(h, dream).sum()
        moved = drawn(states[0], h, tokens)
        for (k, _), g in zip(q, torch.autograd.grad(log_q, [p for _, p in q]), strict=True):
            asleep[k] = asleep.get(k, 0) + probability * moved[k]
            wanted[k] = wanted.get(k, 0) + probability * g

    p = [(k, v) for k, v in rule.named_parameters() if k.startswith("model.p.")]
    gradients = torch.autograd.grad(exact.expected_log_joint(rule.model, x.double()[None]).sum(), [v for _, v in p])
    wanted |= {k: g for (k, _), g in zip(p, gradients, strict=True)}
    found = {k: v for k, v in awake.items() if k.startswith("model.p.")} | asleep
    assert found.keys() == wanted.keys()
    for name, v in found.items():
        torch.testing.assert_close(v, wanted[name], rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
