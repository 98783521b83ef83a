"""The VAE of Kingma & Welling: densities, KL, bounds and gradients against torch, quadrature and
finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from kit.gradients import assert_finite_differences
from torch import distributions

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.variational import bound
from vaebench.evaluation.generation import drawn_images, images_again
from vaebench.objectives.base import Batch
from vaebench.rng import noise

D = 4

KINDS = {"bernoulli": Kind.BITS, "gaussian": Kind.INTENSITY, "cross_entropy": Kind.INTENSITY}


def build(likelihood="bernoulli", latents=1, seed=0, scale=0.7, kind=None, **settings):
    info = DataInfo(torch.linspace(0.1, 0.8, D), kind or KINDS.get(likelihood, Kind.BITS))
    config = {
        "name": "gaussian_vae",
        "latents": latents,
        "likelihood": likelihood,
        "encoder": [3, 5],
        **settings,
    }
    model = models.build(config, info).double()
    randomize(model, seed, scale)
    return model


def data(likelihood="bernoulli", cases=3):
    u = torch.rand(cases, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (u < 0.5).double() if likelihood == "bernoulli" else u


LIKELIHOODS = pytest.mark.parametrize("likelihood", list(KINDS))


@pytest.fixture(scope="module")
def grid():
    """Nodes (k, 1, 1) of z, far beyond what prior and posteriors reach, and their width."""
    z = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
    return z.view(-1, 1, 1), float(z[1] - z[0])


def by_hand(model, x, z):
    """log p(x | z), (k, batch), by torch's own distributions and the formulas of the paper."""
    h = z
    for layer in model.p.hidden:
        h = torch.tanh(h @ layer.weight.T + layer.bias)

    # The heads: logits of the mean, and of a Gaussian its log-variance.
    first, *rest = [h @ head.weight.T + head.bias for head in model.p.heads.values()]

    if model.likelihood == "gaussian":
        y = torch.sigmoid(first)
        return distributions.Normal(y, torch.exp(0.5 * rest[0])).log_prob(x).sum(-1)

    y = torch.sigmoid(first)
    return (x * y.log() + (1 - x) * (1 - y).log()).sum(-1)


@LIKELIHOODS
@torch.no_grad()
def test_densities_are_those_of_the_paper(likelihood):
    model = build(likelihood, latents=2)
    x = data(likelihood)
    z = torch.randn(5, len(x), 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    torch.testing.assert_close(model.log_likelihood(x, [z]), by_hand(model, x, z))

    # The encoder has two hidden layers.
    h = torch.tanh(torch.tanh(x @ model.q.hidden[0].weight.T + model.q.hidden[0].bias)
                   @ model.q.hidden[1].weight.T + model.q.hidden[1].bias)  # fmt: skip
    mean, log_var = (h @ head.weight.T + head.bias for head in model.q.heads.values())
    q = distributions.Normal(mean, torch.exp(0.5 * log_var))

    torch.testing.assert_close(model.log_posterior([z], x), q.log_prob(z).sum(-1))
    torch.testing.assert_close(model.posterior(x).kl(), distributions.kl_divergence(
        q, distributions.Normal(torch.zeros_like(mean),
                                torch.ones_like(mean))).sum(-1))  # fmt: skip


@torch.no_grad()
def test_the_kl_the_entropy_and_the_density_are_those_of_quadrature(grid):
    """One latent: integrals over a grid, exact to rounding for such smooth functions."""
    z, width = grid
    model = build()
    x = data()
    q = model.posterior(x)
    log_q = q.log_prob([z.expand(-1, len(x), 1)])

    # The density of q at each node times the width of a node: weights of an integral over z.
    weight = log_q.exp() * width

    torch.testing.assert_close(weight.sum(0), torch.ones(len(x), dtype=torch.float64))

    log_p = distributions.Normal(0.0, 1.0).log_prob(z)[..., 0]
    torch.testing.assert_close((weight * (log_q - log_p)).sum(0), q.kl())

    entropy = 0.5 * (math.log(2 * math.pi) + 1 + q.log_var[:, 0])
    torch.testing.assert_close(-(weight * log_q).sum(0), entropy)


def evidence(model, x, grid):
    """log p(x) by quadrature, (batch,), nats."""
    z, width = grid
    return torch.logsumexp(model.log_joint(x, [z.expand(-1, len(x), 1)]), 0) + math.log(width)


@torch.no_grad()
def test_probabilities_of_bits_sum_to_one(grid):
    model = build()
    all_x = torch.tensor([[c >> i & 1 for i in range(D)] for c in range(2**D)], dtype=torch.float64)
    assert float(evidence(model, all_x, grid).exp().sum()) == pytest.approx(1, abs=1e-9)


@LIKELIHOODS
@torch.no_grad()
def test_importance_sampling_finds_the_evidence_and_the_bound_the_elbo(likelihood, grid):
    """Both within five of their errors; the seeds are fixed."""
    # With small parameters the importance weights vary less.
    model = build(likelihood, scale=0.4)
    x = data(likelihood)
    exact = evidence(model, x, grid)
    estimate = importance(model, x, 20_000, 0)

    assert estimate.error < 0.01
    assert abs(estimate.nll + float(exact.mean())) < 5 * estimate.error

    # The exact bound by quadrature.
    z, width = grid
    q = model.posterior(x)
    all_z = [z.expand(-1, len(x), 1)]
    weight = q.log_prob(all_z).exp() * width
    elbo = (weight * model.log_likelihood(x, all_z)).sum(0) - q.kl()

    assert (elbo < exact).all()

    sampled = bound(model, x, 20_000, 0)
    assert sampled.analytic
    assert sampled.error < 0.02
    assert abs(sampled.value - float(elbo.mean())) < 5 * sampled.error


# -------------------------------------------------------------------------------- its learning rule

RULES = {
    "estimator B": {"name": "vae", "samples": 2},
    "estimator A": {"name": "vae", "samples": 2, "kl": "sampled"},
    "MAP": {"name": "vae", "weight_decay": 0.1},
    "importance weighted": {"name": "iw_bound", "samples": 3},
}


def loss_of(rule, x, seed=0):
    """The loss of one step, with the noise of this seed."""
    batch = Batch(x, passes=torch.tensor(1.0))
    draws = {k: v.double() for k, v in noise.fixed(rule.draws(*x.shape), seed, "noise").items()}
    return rule(rule.state(), batch, draws)[0]


@LIKELIHOODS
@pytest.mark.parametrize("name", list(RULES))
def test_gradients_are_finite_differences(likelihood, name):
    """Central differences along random directions, with the noise held."""
    rule = objectives.build(RULES[name], build(likelihood, latents=2))
    x = data(likelihood)
    assert_finite_differences(rule, lambda rule: loss_of(rule, x))


def test_both_estimators_have_the_mean_of_quadrature(grid):
    """Mean and gradient over 20,000 samples; z of 44 coordinates below 5.

    The estimators share log p(x | z); their difference, the KL at the samples, has mean
    0 about the exact one.
    """
    x = data()
    model = build()
    z, width = grid
    q = model.posterior(x)
    all_z = [z.expand(-1, len(x), 1)]
    weight = q.log_prob(all_z).exp() * width

    # The bound and its gradient by quadrature.
    elbo = ((weight * model.log_likelihood(x, all_z)).sum(0) - q.kl()).mean()
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(elbo, list(model.parameters()))])

    for kl in ("exact", "sampled"):
        rule = objectives.build({"name": "vae", "samples": 100, "kl": kl}, model)
        losses = []
        grads = []
        for seed in range(200):
            loss = loss_of(rule, x, seed)
            grads.append(
                -torch.cat(
                    [g.flatten() for g in torch.autograd.grad(loss, list(rule.parameters()))]
                )
            )
            losses.append(-float(loss.detach()))

        error = np.std(losses) / math.sqrt(len(losses))

        assert abs(np.mean(losses) - float(elbo.detach())) < 4 * error
        assert error < 0.02

        # Each row is the gradient of one loss, of 100 samples.
        gradients = torch.stack(grads)
        error = gradients.std(0) / math.sqrt(len(grads))
        assert (error < 0.05).all()
        assert ((gradients.mean(0) - exact).abs() <= 5 * error + 1e-9).all()


def test_with_a_sampled_kl_one_sample_is_the_importance_weighted_bound():
    x = data()
    sampled_kl = objectives.build({"name": "vae", "kl": "sampled"}, build(latents=2))
    importance_weighted = objectives.build({"name": "iw_bound", "samples": 1}, build(latents=2))
    loss = loss_of(sampled_kl, x)
    importance_weighted_loss = loss_of(importance_weighted, x)

    torch.testing.assert_close(loss, importance_weighted_loss)

    for gradient, importance_weighted_gradient in zip(
        torch.autograd.grad(loss, list(sampled_kl.parameters())),
        torch.autograd.grad(importance_weighted_loss, list(importance_weighted.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(gradient, importance_weighted_gradient)


def test_weight_decay_is_a_normal_prior_of_all_parameters():
    """With a mean over N examples lambda = 1 / N adds minus the log-density of N(0, I), over N, up
    to a constant."""
    x = data()
    plain = objectives.build({"name": "vae"}, build())
    prior = objectives.build({"name": "vae", "weight_decay": 1 / 50}, build())
    log_prior = sum(distributions.Normal(0.0, 1.0).log_prob(p).sum() for p in prior.parameters())
    constant = sum(p.numel() for p in prior.parameters()) * 0.5 * math.log(2 * math.pi)

    torch.testing.assert_close(loss_of(prior, x), loss_of(plain, x) - (log_prior + constant) / 50)
    with pytest.raises(UserError, match=r"objective\.weight_decay=-1"):
        objectives.build({"name": "vae", "weight_decay": -1}, build())


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"latents": 0}, "model.latents=0"),
        ({"encoder": [3, 0]}, r"model.encoder=\[3, 0\]"),
        ({"encoder": 3}, "model.encoder=3"),
        ({"decoder": "x"}, "model.decoder='x'"),
        ({"nonlinearity": "tan"}, "model.nonlinearity='tan': .*tanh"),
        ({"likelihood": "normal"}, "model.likelihood='normal'"),
        ({"visible_bias": "zero"}, "model.visible_bias='zero'"),
        ({"kind": Kind.INTENSITY}, "model.likelihood=bernoulli: for bits.*gaussian, cross_entropy"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(UserError, match=says):
        build(**settings)


def test_the_decoder_mirrors_the_encoder_unless_told_otherwise():
    shapes = lambda net: [tuple(layer.weight.shape) for layer in net.hidden]  # noqa: E731
    model = build(latents=2)
    assert shapes(model.q) == [(3, D), (5, 3)]
    assert shapes(model.p) == [(5, 2), (3, 5)]
    assert shapes(build(latents=2, decoder=[7]).p) == [(7, 2)]


def test_initial_values():
    """All parameters are N(0, 0.01^2), biases too; with ``mean`` the visible bias is set from the
    data."""
    info = DataInfo(torch.tensor([0.0, 0.3, 0.5, 1.0] * 100))
    config = {"name": "gaussian_vae", "encoder": [200], "init": "normal_all", "init_scale": 0.01}
    for visible_bias in ("init", "mean"):
        rule = objectives.build(
            {"name": "vae"}, models.build({**config, "visible_bias": visible_bias}, info)
        )
        models.start(rule, config, 0)

        for name, p in rule.named_parameters():
            if p.numel() > 100 and not (visible_bias == "mean" and "logits.bias" in name):
                assert 0.007 < float(p.detach().std()) < 0.013, name
                assert abs(float(p.detach().mean())) < 0.01 / math.sqrt(p.numel()) * 5, name

        bias = rule.model.p.heads["logits"].bias

        if visible_bias == "mean":
            # Rates are kept 0.001 away from 0 and 1.
            logits = torch.logit(torch.tensor([0.001, 0.3, 0.5, 0.999]))
            torch.testing.assert_close(bias[:4].detach(), logits)


def test_what_it_draws():
    """A Gaussian likelihood is drawn with its mean and standard deviation and makes no images; bits
    are drawn as zeros and ones."""
    model = build("gaussian", latents=2)
    with pytest.raises(UserError, match="makes no images of zeros and ones"):
        drawn_images(model, 2, 0)
    with pytest.raises(UserError, match="has no codes of images of zeros and ones"):
        images_again(model, data("gaussian"), 0)

    with torch.no_grad():
        draws = {
            name: values.double()
            for name, values in noise.fixed(model.joint_noise(200_000), 0, "noise").items()
        }
        x, (z,) = model.sample_joint(draws)

        # What is left of x after its mean, over its deviation, is the noise itself.
        logit, log_var = model.p(z[0])
        residual = (x - torch.sigmoid(logit)) / torch.exp(0.5 * log_var)

    torch.testing.assert_close(residual, draws["p0"])

    images = drawn_images(build(latents=2).float(), 7, 0)
    assert images.shape == (7, D)
    assert set(images.unique().tolist()) <= {0.0, 1.0}
