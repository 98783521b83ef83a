"""Sweeps of single bits: drawn from their conditionals, one evaluation each, the
posterior stays as it is."""

from __future__ import annotations

import pytest
import torch
from kit.bit_gibbs import BITS, EVERY, inputs_of, literal_sweeps, number, rule_of, table

from vaebench.objectives.bit_gibbs import sweep_bits


def arbitrary(batch, seed=0):
    """log p of every state, (batch, states), anything; and the function of z that it is."""
    log_p = 2 * torch.randn(
        batch, 2**BITS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return log_p, lambda z: log_p.gather(1, number(z).unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("sweeps", [1, 3])
def test_every_bit_is_drawn_from_its_conditional(sweeps):
    log_p, log_joint = arbitrary(200)
    generator = torch.Generator().manual_seed(1)
    u = torch.rand(sweeps, BITS, 200, generator=generator, dtype=torch.float64)
    z = EVERY[torch.randint(16, (200,), generator=generator)]
    before = z.clone()
    got = sweep_bits(log_joint, z, u)

    assert torch.equal(number(got), literal_sweeps(log_p, z, u))
    assert torch.equal(z, before)
    assert len(number(got).unique()) > 10


def test_each_bit_takes_one_evaluation():
    calls = []
    _, f = arbitrary(3)
    sweep_bits(lambda z: calls.append(1) or f(z), EVERY[:3], torch.rand(5, BITS, 3))
    assert len(calls) == 5 * BITS + 1


def transition(f):
    """P(z' | z) of one sweep, (16, 16), measured on the code itself.

    A bit's probability of 1 is found by bisection of its noise: where does the bit turn? The bits
    before it are forced to the target's values by noise of 0 or almost 1.
    """
    # Every pair of states: (256, bits).
    start = EVERY.repeat_interleave(16, 0)
    target = EVERY.repeat(16, 1)
    forced = torch.where(target.T > 0, 1 - 1e-12, 0.0)
    probability = torch.ones(256, dtype=torch.float64)

    for i in range(BITS):
        low = torch.zeros(256).double()
        high = torch.ones(256).double()
        for _ in range(40):
            middle = (low + high) / 2
            u = torch.stack([*forced[:i], middle, *forced[i + 1 :]]).unsqueeze(0)
            on = sweep_bits(f, start, u)[:, i] > 0
            low = torch.where(on, low, middle)
            high = torch.where(on, middle, high)

        # The bit is 1 for noise above the threshold, ``high``, so with probability 1 - high.
        probability = probability * torch.where(target[:, i] > 0, 1 - high, high)

    return probability.reshape(16, 16)


@pytest.mark.parametrize("layers", [0, 1])
def test_a_sweep_leaves_the_posterior_as_it_is(layers):
    """pi T = pi with T the transition matrix of a sweep; many sweeps lead there from everywhere."""
    rule = rule_of(layers)
    state, batch, _ = inputs_of(rule)

    statistics = rule._statistics(state, state["posterior"].double())
    x = batch.x[2]
    log_joint = rule.model.frozen(statistics)
    t = transition(lambda z: log_joint(x.expand(len(z), -1), z))
    pi = torch.softmax(table(rule, x[None], statistics)[0], 0)

    torch.testing.assert_close(t.sum(1), torch.ones(16).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(pi @ t, pi, rtol=0, atol=1e-9)

    # A posterior that is almost one state would be left as it is by nearly any sweep.
    assert float(pi.max()) < 0.9
    torch.testing.assert_close(
        torch.linalg.matrix_power(t, 500), pi.expand(16, -1), rtol=0, atol=1e-8
    )
