"""Deep latent Gaussian models: the paper's equations written out, quadrature, finite differences,
its own gradients."""

from __future__ import annotations

import math

import pytest
import torch
from kit.gradients import assert_finite_differences

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.variational import bound
from vaebench.objectives.base import Batch
from vaebench.rng import noise

D = 4

COVARIANCES = pytest.mark.parametrize("covariance", ["diagonal", "rank_one"])


def build(seed=0, scale=0.6, **settings):
    config = {"name": "dlgm", "hidden": [3], "nonlinearity": "tanh", **settings}
    model = models.build(config, DataInfo(torch.linspace(0.2, 0.7, D))).double()
    randomize(model, seed, scale)
    return model


def bits(cases=3):
    return (torch.rand(cases, D, generator=torch.Generator().manual_seed(1)) < 0.5).double()


@torch.no_grad()
def test_the_generator_is_that_of_the_paper():
    """h_2 = G_2 xi_2, h_1 = T_1(h_2) + G_1 xi_1, logits T_0(h_1), layer by layer."""
    model = build(dims=[2, 3], hidden=[4, 5], between=[6])
    xi1, xi2 = (
        torch.randn(3, 5, generator=torch.Generator().manual_seed(2)).double().split([3, 2], 1)
    )
    linear = lambda layer, v: v @ layer.weight.T + layer.bias  # noqa: E731
    g1, g2 = (layer.weight for layer in model.p.noise)

    assert g1.shape == (3, 3)
    assert g2.shape == (2, 2)

    between = model.p.between[0]
    visible = model.p.visible

    h2 = xi2 @ g2.T
    h1 = linear(between.heads["h"], torch.tanh(linear(between.hidden[0], h2))) + xi1 @ g1.T
    top = h1
    for layer in visible.hidden:
        top = torch.tanh(linear(layer, top))
    logits = linear(visible.heads["logits"], top)

    torch.testing.assert_close(model.logits([xi1[None], xi2[None]])[0], logits)


@torch.no_grad()
def test_the_posterior_falls_into_layers_of_the_right_moments():
    model = build(dims=[2, 3], covariance="rank_one")
    x = bits()
    q = model.posterior(x)

    assert [tuple(layer.mean.shape) for layer in q.layers] == [(3, 3), (3, 2)]

    for i, layer in enumerate(q.layers, 1):
        hidden = torch.tanh(x @ model.q.hidden[0].weight.T + model.q.hidden[0].bias)
        for name, value in zip(("mean", "log_d", "u"), layer, strict=True):
            head = model.q.heads[f"{name}{i}"]
            torch.testing.assert_close(value, hidden @ head.weight.T + head.bias)


@COVARIANCES
@torch.no_grad()
def test_samples_have_the_moments_of_the_posterior(covariance):
    """Of 200,000 samples, every mean and covariance within five of its errors."""
    model = build(dims=[3], covariance=covariance)
    x = bits(1)
    draws = noise.fixed(model.posterior_noise(200_000, 1), 0, "noise")
    z = model.sample_posterior(x, 200_000, {k: v.double() for k, v in draws.items()})[0][:, 0]

    # The posterior is parametrised by its precision, D or D + u u'.
    (layer,) = model.posterior(x).layers
    precision = torch.diag(layer.log_d[0].exp())
    if covariance == "rank_one":
        precision += torch.outer(layer.u[0], layer.u[0])
    exact_covariance = torch.linalg.inv(precision)

    deviations = z - layer.mean[0]
    products = deviations.unsqueeze(-1) * deviations.unsqueeze(-2)

    assert ((deviations.mean(0) / (deviations.std(0) / math.sqrt(len(z)))).abs() < 5).all()
    assert (
        ((products.mean(0) - exact_covariance) / (products.std(0) / math.sqrt(len(z)))).abs() < 5
    ).all()


@pytest.fixture(scope="module")
def grid():
    """Nodes (k, 1, 1) of one latent, and their width."""
    z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    return z.view(-1, 1, 1), float(z[1] - z[0])


@COVARIANCES
@torch.no_grad()
def test_evidence_and_bound_are_those_of_quadrature(covariance, grid):
    z, width = grid
    model = build(dims=[1], covariance=covariance, scale=0.4)
    x = bits()
    nodes = [z.expand(-1, len(x), 1)]
    exact = torch.logsumexp(model.log_joint(x, nodes), 0) + math.log(width)

    # All images together have probability 1.
    all_x = torch.tensor([[c >> i & 1 for i in range(D)] for c in range(2**D)], dtype=torch.float64)
    total = torch.logsumexp(model.log_joint(all_x, [z.expand(-1, 2**D, 1)]), 0) + math.log(width)

    assert float(total.exp().sum()) == pytest.approx(1, abs=1e-9)

    estimate = importance(model, x, 20_000, 0)
    assert estimate.error < 0.01
    assert abs(estimate.nll + float(exact.mean())) < 5 * estimate.error

    # Weights of an integral over the posterior.
    q = model.posterior(x)
    weight = q.log_prob(nodes).exp() * width
    torch.testing.assert_close(weight.sum(0), torch.ones(len(x), dtype=torch.float64))

    kl = (weight * (q.log_prob(nodes) - model.log_joint_terms(x, nodes)[1])).sum(0)
    torch.testing.assert_close(q.kl_terms()[0], kl)

    elbo = (weight * model.log_likelihood(x, nodes)).sum(0) - kl
    sampled = bound(model, x, 20_000, 0)
    assert sampled.analytic
    assert sampled.error < 0.01
    assert abs(sampled.value - float(elbo.mean())) < 5 * sampled.error


@torch.no_grad()
def test_the_bound_of_several_layers_has_the_exact_kl_of_each():
    model = build(dims=[2, 3], covariance="rank_one")
    x = bits()
    exact = [float(term.mean()) for term in model.posterior(x).kl_terms()]
    sampled = bound(model, x, 10, 0)

    assert sampled.analytic
    assert sampled.kl == pytest.approx(exact)


# -------------------------------------------------------------------------------------- free energy


def loss_of(rule, x, seed=0):
    draws = {k: v.double() for k, v in noise.fixed(rule.draws(*x.shape), seed, "noise").items()}
    return rule({}, Batch(x), draws)[0]


@COVARIANCES
@pytest.mark.parametrize("input_noise", ["none", "bit_flip"])
def test_gradients_are_finite_differences(covariance, input_noise):
    """Along five random directions, two layers, with the noise held."""
    model = build(dims=[2, 3], between=[3], covariance=covariance, input_noise=input_noise)
    rule = objectives.build({"name": "free_energy", "samples": 2, "weight_decay": 0.1}, model)
    x = bits()

    assert_finite_differences(rule, lambda rule: loss_of(rule, x))


def test_gradients_are_those_of_equations_21_and_22(grid):
    """dF/dmu = mu - E f'(xi) and dF/dC = 1/2 (1 - 1/C) - 1/2 E f''(xi), f = log p(x
    | xi), for one latent.

    Expectations by quadrature; ours by the chain rule from mu and log d = -log C,
    mean of 40,000 samples.
    """
    z, width = grid
    model = build(dims=[1], covariance="diagonal")
    x = bits(1)
    (layer,) = model.posterior(x).layers

    # Weights of an integral over the posterior, and the derivatives of f at the nodes.
    weight = model.posterior(x).log_prob([z]).exp()[:, 0].detach() * width
    leaf = z.clone().requires_grad_()
    (first,) = torch.autograd.grad(model.log_likelihood(x, [leaf]).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)

    # Equations 21 and 22.
    mean = float(layer.mean.detach())
    variance = math.exp(-float(layer.log_d.detach()))
    to_mean = mean - float((weight * first[:, 0, 0].detach()).sum())
    to_variance = 0.5 * (1 - 1 / variance) - 0.5 * float((weight * second[:, 0, 0]).sum())

    moments = [layer.mean.detach().requires_grad_(), layer.log_d.detach().requires_grad_()]
    normal = torch.randn(
        40_000, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )

    # The gradients of mu and log d by 100 batches of 400 samples.
    gradients = []
    for part in normal.split(400):
        xi = moments[0] + torch.exp(-0.5 * moments[1]) * part
        kl = 0.5 * (moments[0].square() + torch.exp(-moments[1]) + moments[1] - 1).sum()
        free_energy = kl - model.log_likelihood(x, [xi]).mean()
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(free_energy, moments)])
        )

    by_batch = torch.stack(gradients)
    error = by_batch.std(0) / math.sqrt(len(gradients))
    # C = exp(-log d), so dF/d log d = -C dF/dC.
    exact = torch.tensor([to_mean, -variance * to_variance], dtype=torch.float64)

    assert (error < 0.02).all()
    assert ((by_batch.mean(0) - exact).abs() < 4.5 * error).all()


def test_the_rule_is_equation_20():
    """The free energy with the samples, the KL and the prior written out; what is told is without
    the prior."""
    model = build(dims=[2], covariance="rank_one")
    x = bits()
    rule = objectives.build({"name": "free_energy", "weight_decay": 0.3}, model)
    draws = {k: v.double() for k, v in noise.fixed(rule.draws(*x.shape), 0, "noise").items()}
    q = model.posterior(x)
    z = q.sample(1, draws)

    # The prior of the generator's parameters only, half of 0.3 |theta|^2.
    norm = sum(
        float(p.detach().square().sum())
        for name, p in model.named_parameters()
        if name.startswith("p.")
    )
    kl = q.kl_terms()[0].mean()
    free_energy = kl - model.log_likelihood(x, z)[0].mean()
    loss, _, metrics = rule({}, Batch(x), draws)

    torch.testing.assert_close(loss, free_energy + 0.15 * norm)
    torch.testing.assert_close(metrics, {"bound": -free_energy.detach(), "kl": kl.detach()})


@pytest.mark.parametrize("kind", ["bit_flip", "dropout"])
def test_input_noise_is_of_the_recognition_network_alone(kind):
    """A bit is changed with the probability asked for; the likelihood sees clean data,
    and so does evaluation."""
    model = build(dims=[2], input_noise=kind, noise_rate=0.3)
    x = bits()
    shapes = model.dropout_noise(*x.shape)

    # Noise on either side of the rate 0.3.
    never, always = (
        {k: torch.full(s, v, dtype=torch.float64) for k, (_, s) in shapes.items()}
        for v in (0.31, 0.29)
    )
    clean = model.posterior(x).layers[0].mean

    assert torch.equal(model.posterior(x, never).layers[0].mean, clean)

    changed = 1 - x if kind == "bit_flip" else torch.zeros_like(x)
    q = model.posterior(changed)
    torch.testing.assert_close(model.posterior(x, always).layers[0].mean, q.layers[0].mean)

    # A step whose noise changes every bit: samples and KL of the changed data, likelihood of the
    # clean ones.
    rule = objectives.build({"name": "free_energy"}, model)
    draws = {k: v.double() for k, v in noise.fixed(rule.draws(*x.shape), 0, "noise").items()}
    loss, _, metrics = rule({}, Batch(x), {**draws, **always})
    kl = q.kl_terms()[0].mean()

    torch.testing.assert_close(metrics["kl"], kl)
    torch.testing.assert_close(loss, kl - model.log_likelihood(x, q.sample(1, draws)).mean())

    # Evaluation is that of the same model without noise.
    noiseless = build(dims=[2])
    assert noiseless.dropout_noise(3, D) == {}
    assert bound(model, x, 10, 0) == bound(noiseless, x, 10, 0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dims": []}, r"model.dims=\[\]"),
        ({"dims": [0]}, r"model.dims=\[0\]"),
        ({"covariance": "full"}, "model.covariance='full'"),
        ({"input_noise": "salt"}, "model.input_noise='salt'"),
        ({"noise_rate": 0}, "model.noise_rate=0"),
        ({"nonlinearity": "x"}, "model.nonlinearity='x'"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(UserError, match=says):
        build(**settings)


@pytest.mark.parametrize("objective", ["iw_bound", "wake_sleep"])
def test_noise_on_the_input_that_an_objective_leaves_out_is_refused(objective):
    objectives.build({"name": objective}, build(dims=[2]))
    with pytest.raises(
        UserError,
        match=f"objective {objective} trains model=dlgm without dropout or noise on its input",
    ):
        objectives.build({"name": objective}, build(dims=[2], input_noise="bit_flip"))
