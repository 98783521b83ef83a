"""The mean-field bound of log p(zeta) under a Boltzmann prior, against
enumeration and plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from kit.draws import normal

from vaebench.dists import mean_field
from vaebench.dists.rbm import RBM
from vaebench.dists.smoothing import build

N1 = 3
N2 = 2
SHAPE = (40, 25)


def machine_of(scale=0.8):
    return RBM(normal(N1, seed=1), normal(N2, seed=2), scale * normal(N1, N2, seed=3))


def evidence_of(beta, shape=SHAPE):
    """Lambda of samples around random bits, for both sides."""
    smoothing = build({"name": "exponential", "beta": beta})
    u = torch.rand(
        1, *shape, N1 + N2, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    return smoothing.log_ratio(smoothing.sample(normal(*shape, N1 + N2), u)).split([N1, N2], -1)


def exact(machine, e1, e2):
    """log sum_z exp(-E + Lambda.z), by all states of both sides."""
    total = []
    for code in range(2 ** (N1 + N2)):
        z = torch.tensor([code >> i & 1 for i in range(N1 + N2)], dtype=torch.float64)
        z1 = z[:N1]
        z2 = z[N1:]
        total.append(z1 @ machine.b1 + z2 @ machine.b2 + z1 @ machine.w @ z2 + e1 @ z1 + e2 @ z2)

    return torch.logsumexp(torch.stack(total), 0)


@pytest.mark.parametrize(("beta", "gap"), [(2.0, 0.06), (8.0, 0.02)])
def test_it_is_a_lower_bound_and_near(beta, gap):
    rbm = machine_of()
    evidence = evidence_of(beta)

    # How far the bound is below log Z, for each of 1,000 samples.
    shortfall = exact(rbm, *evidence) - mean_field.log_partition(rbm, *evidence)

    assert shortfall.min() > -1e-12

    # Mean field is not exact here; else this would not test a bound.
    assert 1e-6 < shortfall.mean() < gap

    # Five iterations are the default.
    of_five = mean_field.log_partition(rbm, *evidence, iterations=5)
    assert torch.equal(mean_field.log_partition(rbm, *evidence), of_five)


@pytest.mark.parametrize("iterations", [1, 5])
def test_value_and_gradient_by_loops(iterations):
    """Side 2 first, from one half; the gradient is that of -E(m) + Lambda.m, m fixed."""
    rbm = RBM(*(p.requires_grad_() for p in machine_of(1.5)))
    e1, e2 = (e.requires_grad_() for e in evidence_of(1.0, (1, 1)))
    log_z = mean_field.log_partition(rbm, e1, e2, iterations)
    gradient = torch.autograd.grad(log_z.sum(), [*rbm, e1, e2])

    # The iterations on lists: side 2 first, both from one half.
    b1, b2, w, a1, a2 = (v.detach().squeeze().tolist() for v in (*rbm, e1, e2))
    m1 = [0.5] * N1
    m2 = [0.5] * N2

    for _ in range(iterations):
        for j in range(N2):
            m2[j] = 1 / (1 + math.exp(-b2[j] - a2[j] - sum(w[i][j] * m1[i] for i in range(N1))))
        for i in range(N1):
            m1[i] = 1 / (1 + math.exp(-b1[i] - a1[i] - sum(w[i][j] * m2[j] for j in range(N2))))

    # The bound at these means: -E, evidence and entropies.
    value = sum(m1[i] * w[i][j] * m2[j] for i in range(N1) for j in range(N2))
    for m, b, a in ((m1, b1, a1), (m2, b2, a2)):
        value += sum(
            p * (x + y) - p * math.log(p) - (1 - p) * math.log(1 - p)
            for p, x, y in zip(m, b, a, strict=True)
        )

    assert log_z.item() == pytest.approx(value, rel=1e-12)

    # The gradient is the statistics at the means.
    m1, m2 = (torch.tensor(m, dtype=torch.float64) for m in (m1, m2))
    for have, want in zip(gradient, (m1, m2, torch.outer(m1, m2), m1, m2), strict=True):
        torch.testing.assert_close(have.squeeze(), want)


@pytest.mark.parametrize(("scale", "value", "slope"), [(0.0, 1e-12, 1e-12), (0.3, 0.01, 0.03)])
def test_gradients_near_those_of_the_exact_one(scale, value, slope):
    """And the same without couplings, where the bits are independent."""
    results = []

    # Value and gradients, by mean field and exactly.
    for log_partition in (mean_field.log_partition, exact):
        rbm = RBM(*(p.requires_grad_() for p in machine_of(scale)))
        evidence = [e.detach().requires_grad_() for e in evidence_of(3.0)]
        log_p = log_partition(rbm, *evidence)
        results.append([log_p.detach(), *torch.autograd.grad(log_p.mean(), [*rbm, *evidence])])

    # The means over samples agree more closely than each sample's value.
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=10 * value)
    for have, want in zip(results[0][1:4], results[1][1:4], strict=True):
        torch.testing.assert_close(have, want, rtol=0, atol=slope)

    # The gradient of a mean over 1,000 samples: each one's own gradient is 1,000 times as large.
    for have, want in zip(results[0][4:], results[1][4:], strict=True):
        torch.testing.assert_close(have * 1000, want * 1000, rtol=0, atol=3 * slope)


def test_strong_evidence_in_single_precision():
    """It pins the bits: log Zhat is the energy there plus the evidence, without overflow or NaN."""
    rbm = machine_of().to(torch.float32)

    e1 = torch.tensor([[[1e4, -1e4, 1e4]]])
    e2 = torch.tensor([[[-1e4, 1e4]]])
    z1 = (e1 > 0).float()
    z2 = (e2 > 0).float()

    e1.requires_grad_()
    got = mean_field.log_partition(rbm, e1, e2)

    # The pinned units add 3e4 of evidence: three ones of 1e4.
    torch.testing.assert_close(got, rbm.negative_energy(z1, z2) + 3e4)
    torch.testing.assert_close(torch.autograd.grad(got.sum(), e1)[0], z1)


def test_it_needs_an_iteration():
    with pytest.raises(ValueError, match="at least 1"):
        mean_field.log_partition(machine_of(), *evidence_of(1.0), iterations=0)
