"""Belief nets against their equations written out with Python's own numbers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vaebench import models
from vaebench.check import checks as check
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators import exact
from vaebench.rng import noise

MEAN = torch.linspace(0.2, 0.7, 4).numpy()


def net(name="sbn", **settings):
    return check.tiny({"name": name, **settings}, seed=0)


def bernoulli(value, logit):
    p = 1 / (1 + math.exp(-float(logit)))
    return math.log(p if value else 1 - p)


def layer(units, h, parent):
    """log p of a layer, unit after unit, with only the units before it in sight."""
    total = 0.0
    for j, value in enumerate(h):
        logit = float(units.bias[j])
        if units.weight is not None:
            logit += sum(
                float(weight) * v for weight, v in zip(units.weight[j], parent, strict=True)
            )
        if units.autoregressive is not None:
            logit += sum(float(units.autoregressive[j, k]) * h[k] for k in range(j))
        total += bernoulli(value, logit)

    return total


@pytest.mark.parametrize(
    "config",
    [
        {"name": "sbn", "dims": [2, 3]},
        {"name": "sbn", "dims": [2, 3], "posterior": "autoregressive"},
        {"name": "fdarn", "dims": [3]},
        {"name": "darn", "dims": [3], "posterior": "autoregressive"},
    ],
    ids=str,
)
def test_log_densities_are_the_equations(config):
    model = net(**config).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)

    # x and each latent layer, from the data upwards, random bits.
    x, *z = [(torch.rand(1, n, generator=generator) < 0.5).double() for n in model.sizes]
    layers = [layer_values[0].tolist() for layer_values in (x, *z)]
    log_p = [layer(model.p[i], layers[i], layers[i + 1]) for i in range(len(z))]

    # The top layer has no parent.
    log_p.append(layer(model.p[-1], layers[-1], None))

    # The posterior sees centred data, but latents as they are.
    inputs = [(x[0] - model.mean).tolist(), *layers[1:-1]]
    log_q = [layer(model.q[i], layers[i + 1], inputs[i]) for i in range(len(z))]
    z = [v.unsqueeze(0) for v in z]

    assert [float(v) for v in model.log_joint_terms(x, z)] == pytest.approx(log_p, rel=1e-9)
    assert [float(v) for v in model.log_posterior_terms(z, x)] == pytest.approx(log_q, rel=1e-9)


def test_dims_list_the_deepest_layer_first():
    model = models.build({"name": "sbn", "dims": [20, 30, 50]}, DataInfo(MEAN))
    assert model.sizes == [4, 50, 30, 20]
    assert model.layers == 3
    assert model.p[0].weight.shape == (4, 50)
    assert model.q[0].weight.shape == (50, 4)
    assert model.p[3].weight is None


@pytest.mark.parametrize(
    ("config", "chained"),
    [
        ({"name": "sbn", "dims": [2, 3]}, []),
        ({"name": "sbn", "dims": [2, 3], "posterior": "autoregressive"}, ["q.0", "q.1"]),
        ({"name": "fdarn", "dims": [3]}, ["p.1"]),
        ({"name": "darn", "dims": [3]}, ["p.0", "p.1"]),
        ({"name": "darn", "dims": [3], "posterior": "autoregressive"}, ["p.0", "p.1", "q.0"]),
    ],
    ids=str,
)
def test_which_layers_are_autoregressive(config, chained):
    model = models.build(config, DataInfo(MEAN))
    autoregressive = {
        name.removesuffix(".autoregressive")
        for name, _ in model.named_parameters()
        if "autoregressive" in name
    }

    assert sorted(autoregressive) == chained


def test_posterior_samples_have_the_posterior_frequencies():
    """All 32 states of a two-layer autoregressive posterior; normal z exceed 4.5
    once in 4,700 sets of 32."""
    model = net(dims=[2, 3], posterior="autoregressive")
    draws = 40_000
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)

    with torch.no_grad():
        z = model.sample_posterior(
            x, draws, noise.fixed(model.posterior_noise(draws, 1), 0, "noise")
        )
        p = model.log_posterior(exact.latent_states(model), x).exp().squeeze(1)

    # Each state as a number, its first bit the least significant, as latent_states counts.
    codes = (torch.cat(z, -1).squeeze(1).long() << torch.arange(5)).sum(-1)
    z_score = (torch.bincount(codes, minlength=32) / draws - p) / (p * (1 - p) / draws).sqrt()

    assert z_score.abs().max() < 4.5


def test_ancestral_samples_have_the_joint_frequencies():
    """All 128 joint states of DARN 3; normal z exceed 5 once in 13,000 sets of 128."""
    model = net("darn", dims=[3])
    draws = 100_000
    with torch.no_grad():
        x, (h,) = model.sample_joint(noise.fixed(model.joint_noise(draws), 0, "noise"))
        states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=7)), dtype=torch.float64)
        p = model.log_joint(states[:, :4], [states[None, :, 4:]]).exp()[0]

    assert float(p.sum()) == pytest.approx(1.0, abs=1e-9)

    # Each state as a number, its first bit the most significant, as product counts.
    codes = (torch.cat([x, h[0]], -1).long() << torch.arange(6, -1, -1)).sum(-1)
    z_score = (torch.bincount(codes, minlength=128) / draws - p) / (p * (1 - p) / draws).sqrt()
    # Only states that are expected more than ten times.
    assert z_score[p * draws > 10].abs().max() < 5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "sbm", "dims": [2]}, "model 'sbm'"),
        ({"name": "sbn"}, "dims"),
        ({"name": "sbn", "dims": []}, "model.dims=[]"),
        ({"name": "sbn", "dims": [2, 0]}, "model.dims=[2, 0]"),
        ({"name": "sbn", "dims": [2.0]}, "model.dims=[2.0]"),
        ({"name": "sbn", "dims": 200}, "model.dims=200"),
        ({"name": "fdarn", "dims": [2, 2]}, "model=fdarn has 1 latent layer"),
        ({"name": "sbn", "dims": [2], "posterior": "factorized"}, "model.posterior='factorized'"),
        ({"name": "sbn", "dims": [2], "depth": 3}, "depth"),
        ({"name": "linear_gaussian", "dims": [2, 2]}, "one latent layer"),
    ],
)
def test_bad_settings(config, message):
    with pytest.raises(UserError) as error:
        models.build(config, DataInfo(MEAN))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
