"""NADE: probabilities over all examples sum to one, values and gradients are those of the
definition, samples fit."""

from __future__ import annotations

import pytest
import torch
from kit.parameters import drawn

from tests.kit.gradients import assert_finite_differences
from vaebench import kernels, models
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators import exact
from vaebench.models.nade import NADE, pixel_order
from vaebench.nn import running_sum
from vaebench.rng import noise

KINDS = [{}, {"tied": True}, {"order": "raster"}]


def built(d=9, seed=0, **settings):
    return drawn(
        NADE(DataInfo(torch.full((d,), 0.3)), **{"units": 5, **settings}).double(), 0.8, seed
    )


def literal(model, x):
    """log p of one example (d,), pixel by pixel: the sum of the weights of all earlier pixels, made
    anew each time."""
    p = model.p
    v = p["output"] if "output" in p else p["weight"]
    order = model.order.tolist()

    total = 0.0
    for i, pixel in enumerate(order):
        # The conditional of this pixel given those before it in the order.
        logits = p["hidden"] + sum(x[order[e]] * p["weight"][e] for e in range(i))
        on = torch.sigmoid(p["bias"][i] + v[i] @ torch.sigmoid(logits))
        total = total + torch.log(on if x[pixel] else 1 - on)

    return total


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_probabilities_sum_to_one(settings):
    model = built(**settings)
    log_p = model.score(exact.states(9))
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_it_is_its_definition(settings):
    model = built(**settings)
    all_x = exact.states(9).double()[::37]
    by_definition = torch.stack([literal(model, x) for x in all_x])

    torch.testing.assert_close(model.log_evidence(all_x), by_definition, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", KINDS, ids=str)
@pytest.mark.parametrize("pixels", [4, 32])
def test_gradients_are_slopes(settings, pixels, monkeypatch):
    """With blocks of 4 of the 9 pixels, and with all of them in one block."""
    monkeypatch.setattr(running_sum, "PIXELS", pixels)
    model = built(**settings)
    x = exact.states(9).double()[::61]

    assert_finite_differences(model, lambda m: m.log_evidence(x).sum())


def test_samples_have_their_probabilities():
    """40,000 samples of 16 examples: by chance a z-score beyond 4.5 comes once
    in 9,000 sets of seeds."""
    model = built(4, seed=2)
    n = 40_000
    draws = {k: v.double() for k, v in noise.fixed(model.joint_noise(n), 0, "noise").items()}
    x, layers = model.sample_joint(draws)
    # Samples counted by the number of their state, its first bit the least significant.
    all_x = exact.states(4).double()
    p = model.score(all_x).exp()
    shares = torch.bincount((x.long() << torch.arange(4)).sum(-1), minlength=16) / n
    code = (all_x.long() << torch.arange(4)).sum(-1)
    z = (shares[code] - p) / (p * (1 - p) / n).sqrt()

    assert layers == []
    assert float(z.abs().max()) < 4.5


@pytest.mark.parametrize(("d", "units", "batch"), [(5, 3, 2), (9, 16, 7), (21, 37, 4), (40, 33, 1)])
@pytest.mark.parametrize("tied", [False, True])
def test_the_kernel_is_the_plain_code(d, units, batch, tied):
    pytest.importorskip("numba")
    model = built(d, units=units, tied=tied).float()
    x = (torch.rand(batch, d, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    weights = torch.linspace(0.5, 1.5, batch)

    results = []
    for by_kernel in (True, False):
        with kernels.use(by_kernel):
            log_p = model.log_evidence(x)
            scored = model.score(x)
        grads = torch.autograd.grad((weights * log_p).sum(), list(model.parameters()))
        results.append([log_p.detach(), scored, *grads])

    for kernel_value, plain_value in zip(*results, strict=True):
        torch.testing.assert_close(kernel_value, plain_value, rtol=1e-5, atol=1e-5)


def test_numbers_that_are_no_bits_count_as_they_are():
    """The running sum adds x_e W_e: by the kernel as by the plain code."""
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(3)
    x, weight, output = (
        torch.randn(shape, generator=generator) for shape in ((3, 11), (11, 18), (11, 18))
    )
    hidden = torch.randn(18, generator=generator)

    logits = []
    for by_kernel in (True, False):
        with kernels.use(by_kernel):
            logits.append(running_sum.logits(x, weight, hidden, output))

    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


def test_a_second_batch_of_any_size_scores_the_same():
    model = built(12, units=20).float()
    x = (torch.rand(130, 12, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    torch.testing.assert_close(
        model.score(x), torch.cat([model.score(part) for part in x.split(7)])
    )


def test_initial_values_are_the_authors():
    model = models.build({"name": "nade", "units": 30}, DataInfo(torch.full((50,), 0.3)))
    models.start(torch.nn.ModuleDict({"model": model}), {"init": "normal", "init_scale": 0.1}, 0)
    for name in ("weight", "output"):
        assert float(model.p[name].detach().abs().max()) == pytest.approx(1 / 50, rel=0.02)

    assert not model.p["bias"].any()


def test_orders():
    assert torch.equal(pixel_order(6, "raster"), torch.arange(6))

    order, repeated, other_seed = (pixel_order(50, "random", seed) for seed in (0, 0, 1))
    assert torch.equal(order, repeated)
    assert not torch.equal(order, other_seed)
    assert torch.equal(order.sort().values, torch.arange(50))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": 0}, r"model.units=0: must be a whole number from 1"),
        ({"tied": 1}, r"model.tied=1: must be true or false"),
        ({"order": "rastre"}, r"model.order='rastre'.*raster"),
        ({"order_seed": -1}, r"model.order_seed=-1: must be a whole number from 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        NADE(DataInfo(torch.full((4,), 0.5)), **settings)
