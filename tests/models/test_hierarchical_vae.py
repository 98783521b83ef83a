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
    """The heads of a network, layer after layer, its log-variance turned into a deviation."""
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
    z = [
        torch.randn(6, 5, n, generator=torch.Generator().manual_seed(n)).double() for n in (4, 3, 2)
    ]
    found = model.log_joint_terms(x, z)
    wanted = [
        distributions.Bernoulli(logits=by_hand(model.p.visible, z[0]))
        .log_prob(x.expand(6, -1, -1))
        .sum(-1),
        distributions.Normal(*by_hand(model.p.between[0], z[1])).log_prob(z[0]).sum(-1),
        distributions.Normal(*by_hand(model.p.between[1], z[2])).log_prob(z[1]).sum(-1),
        distributions.Normal(0.0, 1.0).log_prob(z[2]).sum(-1),
    ]
    torch.testing.assert_close(found, wanted)
    below = [x, z[0], z[1]]
    wanted = [
        distributions.Normal(*by_hand(net, v)).log_prob(here).sum(-1)
        for net, v, here in zip(model.q.layers, below, z, strict=True)
    ]
    torch.testing.assert_close(model.log_posterior_terms(z, x), wanted)


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
    every = every_x()
    at = [v.expand(-1, len(every), 1) for v in (z1, z2)]
    evidence = torch.logsumexp(model.log_joint(every, at), 0) + math.log(area)
    assert float(evidence.exp().sum()) == pytest.approx(1, abs=1e-8)
    density = model.log_posterior(at, every).exp() * area
    torch.testing.assert_close(density.sum(0), torch.ones(len(every), dtype=torch.float64))

    found = importance(model, every, 20_000, 0)
    assert found.error < 0.01
    assert abs(found.nll + float(evidence.mean())) < 5 * found.error

    elbo = (density * (model.log_joint(every, at) - model.log_posterior(at, every))).sum(0)
    sampled = bound(model, every, 20_000, 0)
    assert sampled.error < 0.01
    assert abs(sampled.value - float(elbo.mean())) < 5 * sampled.error


@torch.no_grad()
def test_the_importance_weighted_bound_of_a_linear_model_reaches_its_evidence():
    """All maps linear, log-variances constant: z_1 is N(b, w^2 + s^2), and log
    p(x) one integral over it."""
    model = build(depth=0, dims=[1, 1], hidden=[1, 1])
    for net in (*model.q.layers, *model.p.between):
        net.heads["log_var"].weight.zero_()
    (down,) = model.p.between
    w = down.heads["mean"].weight[0, 0]
    b = down.heads["mean"].bias[0]
    sd = (w.square() + down.heads["log_var"].bias[0].exp()).sqrt()
    line = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    logits = by_hand(model.p.visible, (b + sd * line).unsqueeze(-1))
    every = every_x()
    likelihood = distributions.Bernoulli(logits=logits.unsqueeze(1)).log_prob(every).sum(-1)
    prior = distributions.Normal(0.0, 1.0).log_prob(line) + math.log(float(line[1] - line[0]))
    evidence = torch.logsumexp(likelihood + prior.unsqueeze(-1), 0)

    bounds = []
    for samples in (1, 4, 4_000):
        rule = objectives.build({"name": "iw_bound", "samples": samples}, model)
        draws = {k: v.double() for k, v in noise.fixed(rule.noise(len(every)), 0, "noise").items()}
        bounds.append(float(rule({}, Batch(every), draws)[2]["bound"]))
    assert bounds[0] < bounds[1] < bounds[2]
    assert bounds[2] == pytest.approx(float(evidence.mean()), abs=0.01)


@torch.no_grad()
def test_dreams_have_the_probabilities_of_the_model(grid):
    z1, z2, area = grid
    model = build()
    every = every_x()
    n = 40_000
    at = [v.expand(-1, len(every), 1) for v in (z1, z2)]
    wanted = torch.logsumexp(model.log_joint(every, at), 0).exp() * area
    draws = {k: v.double() for k, v in noise.fixed(model.joint_noise(n), 0, "noise").items()}
    x, z = model.sample_joint(draws)
    assert [tuple(v.shape) for v in z] == [(1, n, 1), (1, n, 1)]
    counts = (x.unsqueeze(1) == every).all(-1).double().mean(0)
    error = (wanted * (1 - wanted) / n).sqrt()
    assert ((counts - wanted).abs() < 5 * error).all()

    mean, sd = by_hand(model.p.between[0], z[1][0])
    standard = (z[0][0] - mean) / sd
    torch.testing.assert_close(standard, draws["p1"])


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
