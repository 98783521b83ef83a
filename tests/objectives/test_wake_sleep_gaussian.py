"""Wake-sleep with Gaussian latents: its gradients against quadrature, and its fixed point where
that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.objectives.base import Batch
from vaebench.rng import noise

D = 4


def gradients(rule, x, times):
    """Gradients of minus the loss, (times, parameters), each with noise of its own."""
    ascents = []
    for seed in range(times):
        draws = {k: v.double() for k, v in noise.fixed(rule.noise(len(x)), seed, "noise").items()}
        loss = rule({}, Batch(x), draws)[0]
        ascents.append(
            -torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(rule.parameters()))])
        )

    return torch.stack(ascents)


def z_scores(found, exact):
    """Of the mean of ``found`` (times, n) from ``exact`` (n,), and the
    standard errors of that mean."""
    error = found.std(0) / math.sqrt(len(found))
    return (found.mean(0) - exact) / error.clamp(min=1e-12), error


def halves(model, x):
    """What wake and sleep ascend, nats: by quadrature over the latent and enumeration of x.

    Wake: E_q(z | x) log p(x, z), mean over the examples ``x``. Sleep: E_p(x, z) log q(z | x).
    """
    z = torch.linspace(-12, 12, 8_001, dtype=torch.float64)
    width = float(z[1] - z[0])
    z = z.view(-1, 1, 1)

    # The nodes as samples of one latent, for every example.
    latents = lambda cases: [z.expand(-1, len(cases), 1)]  # noqa: E731

    # Distributions that are sampled from have no gradient here: only the logarithms have.
    with torch.no_grad():
        density = model.log_posterior(latents(x), x).exp() * width

    wake = (density * model.log_joint(x, latents(x))).sum(0).mean()

    all_x = torch.tensor([[c >> i & 1 for i in range(D)] for c in range(2**D)], dtype=torch.float64)
    with torch.no_grad():
        density = model.log_joint(all_x, latents(all_x)).exp() * width

    sleep = (density * model.log_posterior(latents(all_x), all_x)).sum()

    return wake, sleep


def test_gradients_are_those_of_quadrature():
    """1,500 draws for each of 8 cases; 5 errors on about 40 coordinates."""
    model = models.build(
        {"name": "gaussian_vae", "latents": 1, "encoder": [3]}, DataInfo(np.full(D, 0.4))
    ).double()
    randomize(model, 0, 0.7)
    x = (torch.rand(8, D, generator=torch.Generator().manual_seed(1)) < 0.5).double()

    # The exact gradient, of both halves at once.
    wake, sleep = halves(model, x)
    exact = torch.cat(
        [g.flatten() for g in torch.autograd.grad(wake + sleep, list(model.parameters()))]
    )

    rule = objectives.build({"name": "wake_sleep", "reduce": "mean"}, model)
    z, error = z_scores(gradients(rule, x, 1_500), exact)

    # Errors small enough to see a gradient that is 20 of them long.
    assert (error < 0.05).all()
    assert z.abs().max() < 5
    assert exact.abs().max() > 20 * error.max()


@pytest.fixture
def known():
    """Linear-Gaussian model at the maximum of the likelihood of its data, with the exact
    posterior; and the data.

    Probabilistic PCA with one latent (Tipping & Bishop 1999, equations 7, 8, 15): what the
    posterior can be, it is.
    """
    # A line in four dimensions, noise around it and a mean.
    rng = np.random.RandomState(0)
    x = (
        rng.standard_normal((12, 1)) * [1.5, -1, 0.5, 0.8]
        + 0.6 * rng.standard_normal((12, D))
        + [1.0, 0, -1, 2]
    )

    # The mean, the first principal component and the variance around it.
    mean = x.mean(0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    variance = values[:-1].mean()
    w = vectors[:, -1:] * math.sqrt(values[-1] - variance)

    # The variance of the data along w: that of the model at x is w w' + variance.
    scale = float((w * w).sum()) + variance

    model = models.build({"name": "linear_gaussian", "dims": [1]}, DataInfo(mean)).double()

    with torch.no_grad():
        model.mean.copy_(torch.tensor(mean))
        model.p["weight"].copy_(torch.tensor(w))
        model.p["bias"].copy_(torch.tensor(mean))
        model.p["log_sd"].fill_(0.5 * math.log(variance))
        model.q["weight"].copy_(torch.tensor(w.T / scale))
        model.q["log_sd"].fill_(0.5 * math.log(variance / scale))

    return model, torch.tensor(x)


def test_the_fixed_point_is_the_maximum_of_the_likelihood_with_the_exact_posterior(known):
    """There the mean gradient of every parameter is 0; a little beside it is not, whichever
    parameter is moved."""
    model, x = known

    # The bound is tight, and the likelihood has no slope.
    torch.testing.assert_close(model.elbo(x), model.log_evidence(x))

    (gradient,) = torch.autograd.grad(model.log_evidence(x).sum(), model.p["weight"])
    assert gradient.abs().max() < 1e-9

    rule = objectives.build({"name": "wake_sleep", "reduce": "mean"}, model)
    z, error = z_scores(gradients(rule, x, 2_000), torch.zeros(()))

    assert (error < 0.08).all()
    assert z.abs().max() < 4.5

    # Each parameter in turn is moved a little and moved back.
    for name, p in model.named_parameters():
        with torch.no_grad():
            p.flatten()[0] += 0.3

        z, _ = z_scores(gradients(rule, x, 2_000), torch.zeros(()))
        assert z.abs().max() > 6, name

        with torch.no_grad():
            p.flatten()[0] -= 0.3


def test_it_gets_there(known):
    """From elsewhere, 8,000 updates on all cases at a falling rate: the likelihood is
    the largest to 0.001 nat, the bound below it to 0.006."""
    model, x = known
    largest = float(model.log_evidence(x).mean().detach())
    randomize(model, 1, 0.2)
    rule = objectives.build({"name": "wake_sleep", "reduce": "mean"}, model)

    # Four copies of the data: four draws for each example.
    repeated = x.repeat(4, 1)

    for update in range(8_000):
        draws = {
            k: v.double()
            for k, v in noise.fixed(rule.noise(len(repeated)), update, "noise").items()
        }
        grads = torch.autograd.grad(rule({}, Batch(repeated), draws)[0], list(rule.parameters()))
        with torch.no_grad():
            for p, g in zip(rule.parameters(), grads, strict=True):
                p.sub_(g, alpha=0.05 if update < 4_000 else 0.005)

    # Near the largest likelihood, with a posterior near the exact one.
    with torch.no_grad():
        likelihood = float(model.log_evidence(x).mean())
        gap = float((model.log_evidence(x) - model.elbo(x)).mean())

    assert largest - 0.001 < likelihood <= largest
    assert 0 <= gap < 0.006
