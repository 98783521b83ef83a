"""Autoregressive units: the fixed point is the ancestral sample, the logits are causal, the
frequencies are right."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import vmap

from vaebench.check.checks import autoregressive_sample_by_units
from vaebench.dists import autoregressive
from vaebench.estimators import exact


def inputs(n, cases=20, strength=3.0, seed=0, dtype=torch.float64):
    """Logits, weights (not yet masked) and noise; weights so strong that most units
    depend on those before."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(cases, n, generator=generator, dtype=dtype)
    weight = strength * torch.randn(n, n, generator=generator, dtype=dtype)
    return a, weight, torch.rand(cases, n, generator=generator, dtype=dtype)


@pytest.mark.parametrize("n", [1, 5, 64, 65, 130])
def test_sampling_equals_unit_after_unit(n):
    a, weight, uniform = inputs(n)
    wanted = autoregressive_sample_by_units(a, weight, uniform)

    assert torch.equal(autoregressive.sample(a, weight, uniform), wanted)
    assert n == 1 or not torch.equal(autoregressive.sample(a, 0 * weight, uniform), wanted)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_block_size_does_not_change_the_sample(monkeypatch, block):
    a, weight, uniform = inputs(30)
    monkeypatch.setattr(autoregressive, "BLOCK", block)

    assert torch.equal(
        autoregressive.sample(a, weight, uniform),
        autoregressive_sample_by_units(a, weight, uniform),
    )


def test_the_longest_chain_of_dependence_is_followed_to_its_end():
    """Unit j is 1 exactly when unit j - 1 is not: no unit is final before the one below it is."""
    n = 70
    a = torch.full((1, n), 50.0)
    weight = torch.zeros(n, n)
    weight[range(1, n), range(n - 1)] = -100.0
    wanted = torch.tensor([[1.0, 0.0] * (n // 2)])

    assert torch.equal(autoregressive.sample(a, weight, torch.full((1, n), 0.5)), wanted)


def test_logits_broadcast_to_the_noise():
    a, weight, _ = inputs(6)

    uniform = torch.rand(3, 20, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    samples = autoregressive.sample(a, weight, uniform)

    assert all(
        torch.equal(samples[k], autoregressive.sample(a, weight, uniform[k])) for k in range(3)
    )

    # Logits without the axis of examples broadcast to the noise as well.
    bias = a[0]
    assert torch.equal(
        autoregressive.sample(bias, weight, uniform[0])[4],
        autoregressive.sample(bias, weight, uniform[0, 4:5])[0],
    )


def test_batched_through_vmap():
    a, weight, uniform = (
        torch.stack(v) for v in zip(*(inputs(9, seed=s) for s in range(3)), strict=True)
    )
    wanted = [autoregressive_sample_by_units(*v) for v in zip(a, weight, uniform, strict=True)]

    assert torch.equal(vmap(autoregressive.sample)(a, weight, uniform), torch.stack(wanted))

    # One net for all seeds: only the noise is batched.
    one_net = vmap(autoregressive.sample, in_dims=(None, None, 0))(a[0], weight[0], uniform)
    wanted = [autoregressive_sample_by_units(a[0], weight[0], u) for u in uniform]

    assert torch.equal(one_net, torch.stack(wanted))

    # Batched dimensions in other places.
    moved_axes = vmap(autoregressive.sample, in_dims=(1, 2, 0))(
        a.movedim(0, 1), weight.movedim(0, 2), uniform
    )

    assert torch.equal(moved_axes, vmap(autoregressive.sample)(a, weight, uniform))


def test_the_batched_dimension_may_stand_anywhere():
    """``sample`` brings it to the front before it solves; the operation itself
    must not rely on that."""
    a, weight, uniform = (
        torch.stack(v) for v in zip(*(inputs(9, seed=s) for s in range(3)), strict=True)
    )
    weight = autoregressive.strictly_lower(weight)
    moved = vmap(autoregressive._solve, in_dims=(1, 2, 0))(
        a.movedim(0, 1), weight.movedim(0, 2), uniform
    )

    assert torch.equal(moved, autoregressive._solve(a, weight, uniform))


def test_through_the_compiler():
    """Tracing only ('aot_eager' makes no code); what a compiled training step makes of it,
    tests/contract tells."""
    a, weight, uniform = (
        torch.stack(v) for v in zip(*(inputs(9, seed=s) for s in range(2)), strict=True)
    )

    compiled = torch.compile(vmap(autoregressive.sample), backend="aot_eager", fullgraph=True)

    assert torch.equal(
        compiled(a, weight, uniform), vmap(autoregressive.sample)(a, weight, uniform)
    )


def test_no_gradient_passes():
    a, weight, uniform = inputs(4)
    assert not autoregressive.sample(
        a.requires_grad_(), weight.requires_grad_(), uniform
    ).requires_grad


def test_noise_of_zero_makes_no_impossible_bit():
    """Its logit would be minus infinity, below every other: it counts as
    the least noise above 0."""
    # Unit 1 depends on unit 0 and unit 2 on unit 1, by -100.
    a = torch.tensor([[-50.0, 50.0, 0.0]])
    weight = torch.zeros(3, 3)
    weight[1, 0] = weight[2, 1] = -100.0

    assert autoregressive.sample(a, weight, torch.zeros(1, 3)).tolist() == [[0.0, 1.0, 0.0]]
    assert autoregressive.sample(a, weight, torch.tensor([[0.0, 0.5, 0.5]])).tolist() == [
        [0.0, 1.0, 0.0]
    ]


def test_logits_are_causal():
    """Changing unit j changes the logits of the units after it, and of no other."""
    n = 8
    a, weight, uniform = inputs(n, cases=4)
    h = (uniform < 0.5).double()
    before = autoregressive.logits(h, a, weight)

    for j in range(n):
        changed = h.clone()
        changed[:, j] = 1 - changed[:, j]
        moved = (autoregressive.logits(changed, a, weight) != before).all(0)
        still = (autoregressive.logits(changed, a, weight) == before).all(0)

        assert moved.tolist() == [i > j for i in range(n)]
        assert still.tolist() == [i <= j for i in range(n)]


def test_log_prob_is_the_product_of_conditionals():
    h = torch.tensor([1.0, 0.0, 1.0])
    a = torch.tensor([0.2, -0.4, 0.7])
    weight = torch.zeros(3, 3)

    # The last weight is above the diagonal and must not count.
    weight[1, 0] = 1.5
    weight[2, 0] = -2.0
    weight[2, 1] = 9.0
    weight[0, 2] = 99.0

    # The logit of unit 2 has no part of 9.0, since unit 1 is 0.
    p = [1 / (1 + math.exp(-s)) for s in (0.2, -0.4 + 1.5, 0.7 - 2.0)]
    wanted = math.log(p[0] * (1 - p[1]) * p[2])

    assert float(autoregressive.log_prob(h, a, weight)) == pytest.approx(wanted, rel=1e-6)


def test_frequencies_are_the_probabilities():
    """z of each of 16 frequencies; a normal one exceeds 4.5 by chance once in 150,000, so one of 16
    in 9,000 seeds."""
    draws = 40_000
    n = 4
    a, weight, _ = inputs(n, cases=1, strength=1.5, seed=3)
    uniform = torch.rand(draws, n, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    states = exact.states(n)
    p = autoregressive.log_prob(states, a, weight).exp()

    assert float(p.sum()) == pytest.approx(1.0, abs=1e-12)

    # Frequencies by the number of the state, first unit least significant, as ``exact.states``
    # counts.
    h = autoregressive.sample(a, weight, uniform)
    counts = torch.bincount((h.long() << torch.arange(n)).sum(-1), minlength=2**n)
    z = (counts / draws - p) / (p * (1 - p) / draws).sqrt()

    assert z.abs().max() < 4.5
