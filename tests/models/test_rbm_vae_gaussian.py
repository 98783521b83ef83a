"""The mixtures of RBMVAEGaussian; with hard bits it is RBMVAE."""

from __future__ import annotations

import pytest
import torch

from vaebench import models
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.rng import noise

D = 5
K = 3
LAYOUTS = [
    {"groups": 1, "layers": 2},
    {"groups": 2, "layers": 0, "context": "none"},
    {"groups": 4, "layers": 1, "context": "none"},
    {"groups": 2, "layers": 1},
]
MEAN = torch.linspace(0.1, 0.9, D).numpy()


def build(name="rbm_vae_gaussian", **settings):
    return models.build({"name": name, "latents": 8, "units": 6, **settings}, DataInfo(MEAN))


@pytest.fixture
def x():
    return (torch.rand(7, D, generator=torch.Generator().manual_seed(0)) < 0.5).to(torch.float32)


@pytest.fixture(params=LAYOUTS, ids=str)
def model(request):
    net = build(**request.param)
    randomize(net, 1, 0.7)
    return net.requires_grad_(False)


def test_every_group_has_logits_shifts_and_widths(model, x):
    size = model.sizes[1]
    encoded = model.encode(x)

    groups_before = []
    for i in range(len(model.sizes) - 1):
        mixture = model.group_mixture(i, encoded, groups_before)

        # The first group has no groups before it, so it needs no samples.
        lead = (K, len(x)) if i else (len(x),)
        assert mixture.shape == (3, *lead, size)

        logit, delta, sigma = mixture
        torch.testing.assert_close(logit, model.group_logits(i, encoded, groups_before))

        # delta = (sigmoid(a) - 1/2) / 2, by a linear layer of the group's own.
        inputs = (
            torch.cat([encoded.expand(K, *encoded.shape), *groups_before], -1) if i else encoded
        )
        a = model.q.shifts[i](model.q.nets[i](inputs))
        torch.testing.assert_close(delta, (torch.sigmoid(a) - 0.5) / 2)
        assert delta.std() > 0.01

        # sigma = 0.2 |v| + 0.05, the same for every example.
        v = model.q.widths[i].v
        torch.testing.assert_close(sigma, (0.2 * v.abs() + 0.05).expand(*lead, size))

        groups_before.append(
            torch.randn(K, len(x), size, generator=torch.Generator().manual_seed(i))
        )

    # Some v are negative, so the absolute value matters.
    assert any((widths.v < 0).any() for widths in model.q.widths)


def test_no_parameter_is_shared_between_logits_shifts_and_widths_of_the_groups(model):
    groups = len(model.sizes) - 1
    names = {n for n, _ in model.named_parameters()}
    for i in range(groups):
        assert {
            f"q.shifts.{i}.weight",
            f"q.shifts.{i}.bias",
            f"q.widths.{i}.v",
            f"q.outputs.{i}.weight",
        } <= names

    assert all(n.startswith(("p.", "q.")) for n in names)


def test_batch_statistics_are_noted(x):
    model = build(groups=2, layers=1, context="none")
    randomize(model, 1, 0.7)
    batch_statistics = {}
    model.group_mixture(
        1, model.encode(x, batch_statistics), [torch.zeros(K, len(x), 4)], batch_statistics
    )

    assert list(batch_statistics) == ["q.nets.1.norms.0"]


def test_with_hard_bits_it_is_the_model_without_shifts_and_widths(model, x):
    settings = next(
        s for s in LAYOUTS if build(**s).state_dict().keys() == model.state_dict().keys()
    )
    plain = build("rbm_vae", **settings).requires_grad_(False)
    missing, unexpected = plain.load_state_dict(model.state_dict(), strict=False)

    assert not missing
    assert all(n.startswith(("q.shifts.", "q.widths.")) for n in unexpected)

    # With the shared parameters and the same noise: the same samples and densities.
    draws = noise.fixed(model.posterior_noise(K, len(x)), 0, "noise")
    z = model.sample_posterior(x, K, draws)
    assert all(
        torch.equal(a, b) for a, b in zip(z, plain.sample_posterior(x, K, draws), strict=True)
    )
    assert all(((v == 0) | (v == 1)).all() for v in z)
    assert torch.equal(model.log_joint(x, z), plain.log_joint(x, z))
    assert torch.equal(model.log_posterior(z, x), plain.log_posterior(z, x))


def test_widths_start_at_a_quarter_whatever_they_were():
    config = {
        "name": "rbm_vae_gaussian",
        "latents": 8,
        "groups": 2,
        "init": "fan_in",
        "init_scale": 0.1,
    }
    model = models.build(config, DataInfo(MEAN))

    # Values of before must not matter.
    randomize(model, 1)
    models.start(model, config, 0)

    for widths, shifts in zip(model.q.widths, model.q.shifts, strict=True):
        torch.testing.assert_close(widths(), torch.full((4,), 0.25))
        assert shifts.weight.any()
        assert not shifts.bias.any()

    assert not model.prior().w.any()


def test_weight_decay_takes_the_kernels_of_the_shifts_and_no_width(model):
    decayed = {id(p) for p in model.decayed()}
    for widths, shifts in zip(model.q.widths, model.q.shifts, strict=True):
        assert id(shifts.weight) in decayed
        assert not decayed & {id(shifts.bias), id(widths.v)}
