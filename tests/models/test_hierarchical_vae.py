"""VAEs with several stochastic layers: densities against torch's own,
evidence against quadrature."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import distributions

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.variational import bound
from vaebench.objectives.base import Batch
from vaebench.rng import noise

D = 3


def build(seed=0, scale=0.5, **settings):
    config = {"name": "hierarchical_vae", "dims": [1, 1], "hidden": [3, 4], "depth": 1, **settings}
    model = models.build(config, DataInfo(torch.linspace(0.2, 0.7, D))).double()
    randomize(model, seed, scale)
    return model


def every_x():
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)), dtype=torch.float64)


def by_hand(net, v):
    """What a network puts out, layer by layer: logits, or mean and standard deviation."""
    for layer in net.hidden:
        v = torch.tanh(v @ layer.weight.T + layer.bias)
    heads = {name: v @ head.weight.T + head.bias for name, head in net.heads._modules.items()}
    return heads["logits"] if "logits" in heads else (heads["mean"], (0.5 * heads["log_var"]).exp())


@pytest.mark.parametrize("depth", [0, 2])
@torch.no_grad()
def test_densities_are_those_of_the_paper(depth):
    """Three layers of 4 (next to the data), 3 and 2, by torch's distributions."""
    model = build(dims=[2, 3, 4], hidden=[2, 3, 5], depth=depth)
    assert [len(layer.hidden) for layer in model.q.layers] == [depth] * 3

    x = every_x()[:5]

    # Six samples of five data points; each layer has its own seed.
    z = [
        torch.randn(6, 5, n, generator=torch.Generator().manual_seed(n)).double() for n in (4, 3, 2)
    ]

    # Of the model, from the data upwards: p(x | z_1), p(z_1 | z_2), p(z_2 | z_3), p(z_3).
    joint_terms = model.log_joint_terms(x, z)
    terms_by_hand = [
        distributions.Bernoulli(logits=by_hand(model.p.visible, z[0]))
        .log_prob(x.expand(6, -1, -1))
        .sum(-1),
        distributions.Normal(*by_hand(model.p.between[0], z[1])).log_prob(z[0]).sum(-1),
        distributions.Normal(*by_hand(model.p.between[1], z[2])).log_prob(z[1]).sum(-1),
        distributions.Normal(0.0, 1.0).log_prob(z[2]).sum(-1),
    ]

    torch.testing.assert_close(joint_terms, terms_by_hand)

    # Of the posterior: each layer given the one below it.
    below = [x, z[0], z[1]]
    terms_by_hand = [
        distributions.Normal(*by_hand(net, v)).log_prob(sampled).sum(-1)
        for net, v, sampled in zip(model.q.layers, below, z, strict=True)
    ]

    torch.testing.assert_close(model.log_posterior_terms(z, x), terms_by_hand)


def test_the_paper_has_these_sizes():
    model = models.build({"name": "hierarchical_vae"}, DataInfo(torch.full((784,), 0.1)))
    assert model.sizes == [784, 100, 50]

    units = lambda net: [layer.out_features for layer in net.hidden]  # noqa: E731
    assert [units(net) for net in model.q.layers] == [[200, 200], [100, 100]]
    assert [units(net) for net in (model.p.visible, model.p.between[0])] == [[200, 200], [100, 100]]


@pytest.fixture(scope="module")
def grid():
    """Nodes (k, 1, 1) of two latents, z_1 and z_2, and the area of each."""
    line = torch.linspace(-9, 9, 401, dtype=torch.float64)
    z1, z2 = torch.meshgrid(line, line, indexing="ij")
    return z1.reshape(-1, 1, 1), z2.reshape(-1, 1, 1), float(line[1] - line[0]) ** 2


@torch.no_grad()
def test_evidence_and_bound_are_those_of_quadrature(grid):
    z1, z2, area = grid
    model = build(scale=0.4)
    all_x = every_x()

    # One latent a layer, so the integral over (z_1, z_2) is a sum over the nodes of the grid.
    nodes = [v.expand(-1, len(all_x), 1) for v in (z1, z2)]
    evidence = torch.logsumexp(model.log_joint(all_x, nodes), 0) + math.log(area)

    # The grid is fine and wide enough: both densities sum to one.
    assert float(evidence.exp().sum()) == pytest.approx(1, abs=1e-8)

    density = model.log_posterior(nodes, all_x).exp() * area
    torch.testing.assert_close(density.sum(0), torch.ones(len(all_x), dtype=torch.float64))

    # The sampled estimators come within five of their own standard errors of quadrature.
    estimate = importance(model, all_x, 20_000, 0)
    assert estimate.error < 0.01
    assert abs(estimate.nll + float(evidence.mean())) < 5 * estimate.error

    elbo = (density * (model.log_joint(all_x, nodes) - model.log_posterior(nodes, all_x))).sum(0)
    sampled = bound(model, all_x, 20_000, 0)
    assert sampled.error < 0.01
    assert abs(sampled.value - float(elbo.mean())) < 5 * sampled.error


@torch.no_grad()
def test_the_importance_weighted_bound_of_a_linear_model_reaches_its_evidence():
    """If all maps are linear and the log-variances constant, z_1 is N(b, w^2 + s^2), and p(x) is an
    integral over z_1 alone."""
    model = build(depth=0, dims=[1, 1], hidden=[1, 1])
    for net in (*model.q.layers, *model.p.between):
        net.heads["log_var"].weight.zero_()
    (down,) = model.p.between

    # p(z_1) is exact, and p(x) the integral of p(x | z_1) over 20,001 nodes of it.
    w = down.heads["mean"].weight[0, 0]
    b = down.heads["mean"].bias[0]
    sd = (w.square() + down.heads["log_var"].bias[0].exp()).sqrt()
    line = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    logits = by_hand(model.p.visible, (b + sd * line).unsqueeze(-1))
    all_x = every_x()
    likelihood = distributions.Bernoulli(logits=logits.unsqueeze(1)).log_prob(all_x).sum(-1)
    prior = distributions.Normal(0.0, 1.0).log_prob(line) + math.log(float(line[1] - line[0]))
    evidence = torch.logsumexp(likelihood + prior.unsqueeze(-1), 0)

    # More samples raise the bound; with 4,000 it is at the evidence.
    bounds = []
    for samples in (1, 4, 4_000):
        rule = objectives.build({"name": "iw_bound", "samples": samples}, model)
        draws = {k: v.double() for k, v in noise.fixed(rule.noise(len(all_x)), 0, "noise").items()}
        bounds.append(float(rule({}, Batch(all_x), draws)[2]["bound"]))

    assert bounds[0] < bounds[1] < bounds[2]
    assert bounds[2] == pytest.approx(float(evidence.mean()), abs=0.01)


@torch.no_grad()
def test_dreams_have_the_probabilities_of_the_model(grid):
    z1, z2, area = grid
    model = build()
    all_x = every_x()

    # p(x) by quadrature over both latents.
    n = 40_000
    nodes = [v.expand(-1, len(all_x), 1) for v in (z1, z2)]
    probabilities = torch.logsumexp(model.log_joint(all_x, nodes), 0).exp() * area
    noise_of_dreams = {
        k: v.double() for k, v in noise.fixed(model.joint_noise(n), 0, "noise").items()
    }
    x, z = model.sample_joint(noise_of_dreams)

    assert [tuple(v.shape) for v in z] == [(1, n, 1), (1, n, 1)]

    # x has the frequencies of p(x), each within five standard errors.
    frequencies = (x.unsqueeze(1) == all_x).all(-1).double().mean(0)
    error = (probabilities * (1 - probabilities) / n).sqrt()
    assert ((frequencies - probabilities).abs() < 5 * error).all()

    # z_1 given z_2 is Gaussian: standardised, it is the noise that was drawn for it.
    mean, sd = by_hand(model.p.between[0], z[1][0])
    standard = (z[0][0] - mean) / sd
    torch.testing.assert_close(standard, noise_of_dreams["p1"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": []}, r"model\.dims=\[\]"),
        ({"hidden": [3]}, r"model\.hidden=\[3\]: must be as many numbers as model\.dims=\[1, 1\]"),
        ({"depth": -1}, r"model\.depth=-1"),
        ({"visible_bias": "zero"}, r"model\.visible_bias"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        build(**settings)
