"""Persistent chains with relaxed ends: their law, their limit, their derivative, what the
derivative leaves out."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from kit import draws
from kit.rbms import normal_rbm, transition

from vaebench.dists import boltzmann_exact
from vaebench.errors import UserError
from vaebench.objectives import chains
from vaebench.rng import noise

LIMIT = 5.0
"""|z| of one comparison; by chance once in 1.7 million."""


small_rbm = partial(normal_rbm, n1=2, n2=2)
uniform = partial(draws.uniform, seed=1)  # RBMs are drawn with seed 0


def test_chains_stay_with_the_law_of_their_machine():
    """Chains of two machines start at exact samples. Three sweeps of bits later all joint states
    have their frequencies."""
    rbms = small_rbm(2, n1=2, n2=3, scale=1.5)
    k = 20_000

    # Three sweeps of bits, which are kept, and a relaxed one.
    z1, _ = boltzmann_exact.sample(rbms, uniform(k, 2), uniform(k, 2, 3, seed=2))
    relax = chains.relaxation("piecewise_linear", None)
    z1, z2, _ = chains.advance(
        rbms, z1.to(torch.uint8), relax, 3, uniform(4, k, 2, 3, seed=3), uniform(4, k, 2, 2, seed=4)
    )

    all1, all2, log_p = boltzmann_exact.log_probs(rbms)

    # Both machines at once: p is (2,).
    for state1, state2, p in zip(all1, all2, log_p.exp(), strict=True):
        share = ((z1 == state1).all(-1) & (z2 == state2).all(-1)).double().mean(0)
        assert ((share - p).abs() < LIMIT * (p * (1 - p) / k).sqrt()).all()


@pytest.mark.parametrize("scale", [1.5, 4.0])
def test_the_priors_noise_keeps_chains_with_the_law_of_their_machine(scale):
    """Chains start at exact samples. Three sweeps with dithered noise leave their law as it is.

    Strong couplings have conditionals next to 0 and 1. Compared are 64 frequencies, and how often
    neighbouring chains are in the same state.
    """
    m = small_rbm(n1=3, n2=3, scale=scale)
    k = 40_000

    start, _ = boltzmann_exact.sample(m, uniform(k), uniform(k, 3, seed=2))
    dithered = noise.fixed(
        {"u2": ("dithered", (3, k, 3)), "u1": ("dithered", (3, k, 3))}, 0, "noise"
    )

    z1, z2 = m.gibbs(start, dithered["u2"].double(), dithered["u1"].double())
    all1, all2, log_p = boltzmann_exact.log_probs(m)

    # Which state each chain is in, one-hot, (k, 64).
    states = torch.stack(
        [(z1 == a).all(-1) & (z2 == b).all(-1) for a, b in zip(all1, all2, strict=True)], -1
    ).double()
    p = log_p.exp()

    # LIMIT^2 / k allows for states so rare that their counts are not normal.
    assert ((states.mean(0) - p).abs() <= LIMIT * (p * (1 - p) / k).sqrt() + LIMIT**2 / k).all()

    # Noise that ties neighbours together would put both into the same state too often or too
    # rarely.
    same_state = (states[::2] * states[1::2]).sum(-1).mean()
    wanted = float((p**2).sum())

    assert abs(float(same_state) - wanted) < LIMIT * (wanted * (1 - wanted) / (k / 2)) ** 0.5


@pytest.mark.parametrize("name", chains.RELAXATIONS)
def test_the_sharpest_relaxed_sweeps_are_sweeps_of_bits(name):
    m = small_rbm(3)
    z1 = (uniform(50, 3, 2) < 0.5).double()
    u2 = uniform(5, 50, 3, 2, seed=5)
    u1 = uniform(5, 50, 3, 2, seed=6)

    wanted1, wanted2 = m.gibbs(z1, u2, u1)
    end = chains.relaxed_sweeps(m, z1, chains.relaxation(name, 1e9), u2, u1)

    torch.testing.assert_close(end.zeta1, wanted1)
    torch.testing.assert_close(end.zeta2, wanted2)
    torch.testing.assert_close(end.mean1, m.mean1(wanted2))


def test_discrete_sweeps_come_first_and_are_kept():
    m = small_rbm(3)
    z1 = (uniform(50, 3, 2) < 0.5).double()
    u2 = uniform(5, 50, 3, 2, seed=5)
    u1 = uniform(5, 50, 3, 2, seed=6)

    relax = chains.relaxation("piecewise_linear", 1e9)
    bits1, bits2, end = chains.advance(m, z1, relax, 3, u2, u1)

    # The bits that are kept are those after three of the five sweeps; the relaxed ends go all five.
    for got, wanted in zip((bits1, bits2), m.gibbs(z1, u2[:3], u1[:3]), strict=True):
        assert torch.equal(got, wanted)

    torch.testing.assert_close(end.zeta1, m.gibbs(z1, u2, u1)[0])


def loops(b1, b2, w, z1, beta, u2, u1):
    """Relaxed sweeps of one chain, unit by unit: zeta = clip(1/2 + kappa (u - (1 - q)), 0, 1)."""

    def unit(logit, u):
        q = 1 / (1 + torch.exp(-logit))
        return torch.clamp(0.5 + 0.25 * beta / (q * (1 - q) + 0.01) * (u - (1 - q)), 0, 1)

    x1 = list(z1)
    for v2, v1 in zip(u2, u1, strict=True):
        x2 = [
            unit(b2[j] + sum(x1[i] * w[i, j] for i in range(len(x1))), v2[j])
            for j in range(len(b2))
        ]
        logits = [b1[i] + sum(w[i, j] * x2[j] for j in range(len(x2))) for i in range(len(b1))]
        x1 = [unit(a, u) for a, u in zip(logits, v1, strict=True)]

    return x1, x2, [1 / (1 + torch.exp(-a)) for a in logits]


@pytest.mark.parametrize("t", [1, 3])
def test_values_and_derivatives_of_relaxed_sweeps_by_loops(t):
    """A random function of all three results, of 4 chains of 2 machines each.

    The start of a chain gets no gradient.
    """
    m = small_rbm(2, n1=3, n2=2)
    beta = 1.5
    k = 4

    for p in m:
        p.requires_grad_()

    z1 = (uniform(k, 2, 3) < 0.5).double()
    u2 = uniform(t + 1, k, 2, 2, seed=5)
    u1 = uniform(t + 1, k, 2, 3, seed=6)

    # The function: a weighted sum of zeta1, zeta2 and mean1.
    weights = [
        torch.randn(k, 2, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        for n in (3, 2, 3)
    ]
    bits, _, end = chains.advance(m, z1, chains.relaxation("piecewise_linear", beta), 1, u2, u1)

    got = sum((w * v).sum() for w, v in zip(weights, end, strict=True))
    wanted = 0.0

    for a, b in itertools.product(range(k), range(2)):
        ends = loops(m.b1[b], m.b2[b], m.w[b], bits[a, b], beta, u2[1:, a, b], u1[1:, a, b])
        wanted += sum(
            w[a, b, i] * v
            for w, values in zip(weights, ends, strict=True)
            for i, v in enumerate(values)
        )

    torch.testing.assert_close(got, wanted)

    gradients = zip(torch.autograd.grad(got, m), torch.autograd.grad(wanted, m), strict=True)
    for a, b in gradients:
        torch.testing.assert_close(a, b)

        # Else a derivative that is lost altogether would agree.
        assert a.abs().max() > 0.1


def truncated(m, f, t):
    """Derivative of E[f] after t sweeps from q, q itself held fixed: what t relaxed
    sweeps can give at most."""
    law = boltzmann_exact.log_probs(m.detach())[2].exp()
    for _ in range(t):
        law = law @ transition(m)
    return torch.cat([g.flatten() for g in torch.autograd.grad(law @ f, m)])


def test_the_chains_derivative_tends_to_the_whole_one_with_the_number_of_relaxed_sweeps():
    """dE_q[f] by enumeration against its part through the last t sweeps: an error
    that shrinks to nothing."""
    m = small_rbm(scale=1.5)
    for p in m:
        p.requires_grad_()

    # A sweep leaves q as it is, so what ``truncated`` starts from is q at every t.
    _, _, log_q = boltzmann_exact.log_probs(m)
    stationary = log_q.detach().exp() @ transition(m.detach())

    torch.testing.assert_close(stationary, log_q.detach().exp())

    f = torch.randn(16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    whole = torch.cat([g.flatten() for g in torch.autograd.grad(log_q.exp() @ f, m)])
    errors = [float((truncated(m, f, t) - whole).norm() / whole.norm()) for t in (1, 2, 5, 60)]

    assert errors == sorted(errors, reverse=True)

    # One sweep misses a good part of the derivative, 60 miss nothing.
    assert 0.05 < errors[0] < 0.6
    assert errors[-1] < 1e-6


@pytest.mark.parametrize("t", [1, 2])
def test_sharp_relaxed_sweeps_estimate_the_truncated_derivative(t):
    """The relaxation biases the derivative; at this sharpness little.

    At beta 10 and below the bias was 0.02 to 0.04 of the derivative's length here, and the noise
    of one run 0.05.
    """
    m = small_rbm(scale=1.0)
    k = 100_000
    for p in m:
        p.requires_grad_()

    table = torch.randn(2, 2, 2, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def f(z1, z2):
        """A function of four bits, put to values in between linearly in each."""
        parts = [torch.stack([1 - z, z], -1) for z in (*z1.unbind(-1), *z2.unbind(-1))]
        return torch.einsum("abcd,ka,kb,kc,kd->k", table, *parts)

    states1, states2, _ = boltzmann_exact.log_probs(m.detach())
    wanted = truncated(m, f(states1, states2), t)

    start, _ = boltzmann_exact.sample(m, uniform(k), uniform(k, 2, seed=2))
    relax = chains.relaxation("piecewise_linear", 10.0)
    end = chains.relaxed_sweeps(m, start, relax, uniform(t, k, 2, seed=3), uniform(t, k, 2, seed=4))

    grads = torch.autograd.grad(f(end.zeta1, end.zeta2).mean(), m)
    got = torch.cat([g.flatten() for g in grads])

    # Bias and noise, see above.
    assert float((got - wanted).norm() / wanted.norm()) < 0.12
    assert float(torch.nn.functional.cosine_similarity(got, wanted, dim=0)) > 0.99


def test_bad_settings():
    with pytest.raises(
        UserError, match=r"objective\.relaxation='gaussian': .*allowed: concrete, piecewise_linear"
    ):
        chains.relaxation("gaussian", None)
    with pytest.raises(UserError, match="beta"):
        chains.relaxation("concrete", -1.0)

    for sweeps in ((0, 1), (1, 0), (True, 1), (1, 1.5)):
        with pytest.raises(UserError, match=r"objective\.(discrete|relaxed)_sweeps="):
            chains.check_sweeps(*sweeps)
