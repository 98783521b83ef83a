"""Terms of belief nets by kernels: every family against the plain code in float64, and the mean of
the weights against enumeration."""

from __future__ import annotations

import copy

import pytest
import torch

from vaebench import kernels, models
from vaebench.check import checks as check
from vaebench.data.info import DataInfo
from vaebench.estimators import exact, weights
from vaebench.estimators.importance_weighted import importance
from vaebench.rng import noise

pytest.importorskip("numba")

VISIBLE = 85
CASES = 130

FAMILIES = {
    "one layer": {"name": "sbn", "dims": [70]},
    "whole words": {"name": "sbn", "dims": [32]},
    "one unit": {"name": "sbn", "dims": [1]},
    "three layers": {"name": "sbn", "dims": [5, 33, 18]},
    "wide": {"name": "sbn", "dims": [3, 1100]},
    "autoregressive posterior": {"name": "sbn", "dims": [40, 21], "posterior": "autoregressive"},
    "wide autoregressive posterior": {"name": "sbn", "dims": [1000], "posterior": "autoregressive"},
    "fdarn": {"name": "fdarn", "dims": [70]},
    "darn": {"name": "darn", "dims": [20]},
    "darn, autoregressive posterior": {"name": "darn", "dims": [37], "posterior": "autoregressive"},
}


def made(config, scale=0.3, visible=VISIBLE):
    """A model with random parameters, all units of which are uncertain."""
    generator = torch.Generator().manual_seed(3)
    model = models.build(config, DataInfo(torch.linspace(0.02, 0.6, visible))).requires_grad_(False)

    for p in model.parameters():
        p.copy_(scale * torch.randn(p.shape, generator=generator))

    return model


@pytest.fixture
def x():
    """Cases (130, 85) with pixels that are mostly 0, always 0, always 1."""
    generator = torch.Generator().manual_seed(1)
    bits = (
        torch.rand(CASES, VISIBLE, generator=generator) < torch.linspace(0.02, 0.6, VISIBLE)
    ).to(torch.uint8)
    bits[:, 3] = 0
    bits[:, 30] = 1
    return bits


@pytest.fixture
def anyhow(monkeypatch):
    """Kernels are used for any number of samples."""
    monkeypatch.setattr(weights, "WORTH_KERNELS", 0)


def gathered(model, x, samples, wanted, **more):
    """Terms (terms, samples, n), log-weights (samples, n), and layers (samples, n, units) of a
    whole stream, with or without kernels."""
    with kernels.use(wanted):
        assert weights.by_kernel(model, x, samples) == wanted
        parts = list(weights.stream(model, x, samples, 5, **more))

    # Passes of the same cases are joined along samples, and then the groups along cases.
    starts = sorted({p.cases.start for p in parts})

    def whole(value):
        return torch.cat(
            [torch.cat([value(p) for p in parts if p.cases.start == s], -2) for s in starts], -1
        )

    layers = [
        torch.cat([torch.cat([p.z[i] for p in parts if p.cases.start == s]) for s in starts], 1)
        for i in range(len(parts[0].z))
    ]
    terms = whole(lambda p: torch.stack([*p.log_p, *p.log_q]))
    return terms, whole(lambda p: p.log_w), layers


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("threads", [1, 2])
def test_terms_and_samples_are_those_of_the_plain_code(x, anyhow, monkeypatch, family, threads):
    """The same bits. Terms are within float32's rounding of those in float64, for parts of 700 rows
    and for one thread and two."""
    from vaebench.estimators import kernel_terms

    monkeypatch.setattr(kernel_terms, "ROWS", 700)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    model = made(FAMILIES[family])
    terms, log_w, z = gathered(model, x, 23, True)
    plain, plain_w, plain_z = gathered(model, x, 23, False)

    for by_kernel, by_torch in zip(z, plain_z, strict=True):
        assert by_kernel.dtype == by_torch.dtype
        assert torch.equal(by_kernel, by_torch)
        # The units are uncertain, so equal bits are no accident.
        assert 0.1 < float(by_kernel.mean()) < 0.9

    double = copy.deepcopy(model).double()
    z = [v.double() for v in z]
    exact_terms = torch.stack(
        [*double.log_joint_terms(x.double(), z), *double.log_posterior_terms(z, x.double())]
    )
    allowed = 2e-6 * exact_terms.abs().amax((1, 2), keepdim=True) + 2e-6

    assert bool(((terms - exact_terms).abs() < allowed).all())
    assert terms.dtype == plain.dtype
    torch.testing.assert_close(log_w, plain_w, rtol=1e-5, atol=1e-4)


def test_results_do_not_depend_on_passes(x, anyhow):
    model = made(FAMILIES["three layers"])
    expected = importance(model, x, 120, 0)

    for chunk, batch in ((10, 100), (1000, 1000), (70, None)):
        got = importance(model, x, 120, 0, chunk=chunk, batch=batch)
        assert got.nll == pytest.approx(expected.nll, rel=1e-7)
        assert got.curve == pytest.approx(expected.curve, rel=1e-7)

    with kernels.use(False):
        assert importance(model, x, 120, 0).nll == pytest.approx(expected.nll, rel=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        {"name": "sbn", "dims": [3, 4]},
        {"name": "sbn", "dims": [2, 4], "posterior": "autoregressive"},
        {"name": "fdarn", "dims": [4]},
        {"name": "darn", "dims": [4], "posterior": "autoregressive"},
    ],
    ids=str,
)
def test_mean_weights_are_the_evidence(anyhow, config):
    """E[w] = P(x), by enumeration. Each of eight cases is within 4.5 standard errors: one is
    outside by chance once in 18,000 seeds."""
    model = made(config, 0.4, visible=check.VISIBLE)
    x = (torch.rand(8, check.VISIBLE, generator=torch.Generator().manual_seed(2)) < 0.4).float()
    w = gathered(model, x, 20_000, True)[1].exp()
    evidence = exact.log_evidence(copy.deepcopy(model).double(), x.double()).exp()
    z = (w.mean(0) - evidence) / (w.std(0) / len(w) ** 0.5)

    assert float(z.abs().max()) < 4.5
    # The errors are small enough for the comparison to mean something: at most 2 % of p(x).
    assert float((w.std(0) / len(w) ** 0.5 / evidence).max()) < 0.02


def test_where_there_are_kernels(x, anyhow, monkeypatch):
    model = made(FAMILIES["one layer"])
    assert weights.by_kernel(model, x, 1)
    assert not weights.by_kernel(copy.deepcopy(model).double(), x, 1)
    assert not weights.by_kernel(model, 2 * x, 1)
    assert not weights.by_kernel(
        models.build({"name": "linear_gaussian", "dims": [3]}, DataInfo(x.float().mean(0))), x, 1
    )

    with kernels.use(False):
        assert not weights.by_kernel(model, x, 1)

    monkeypatch.setattr(weights, "WORTH_KERNELS", 10 * CASES)
    assert weights.by_kernel(model, x, 10)
    assert not weights.by_kernel(model, x, 9)

    monkeypatch.setattr(kernels, "missing", lambda: "No module named 'numba'")
    assert not weights.by_kernel(model, x, 10)


def test_noise_drawn_in_place_is_that_of_the_grains(x):
    model = made(FAMILIES["three layers"])
    got = weights.draws(model, slice(100, CASES), 20, 13, 7, "eval", x.device)

    # Examples 100 to 129 are in group 1 of a hundred, samples 20 to 32 in grains 2 and 3 of ten.
    shapes = model.posterior_noise(weights.SAMPLES, weights.CASES)
    grains = [noise.fixed(shapes, 7, "eval", 1, b) for b in (2, 3)]

    for name in shapes:
        expected = torch.cat([g[name] for g in grains])[:13, : CASES - 100]
        assert torch.equal(got[name], expected)
