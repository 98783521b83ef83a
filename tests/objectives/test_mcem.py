"""Monte Carlo EM: its gradient is that of the marginal likelihood, its step is tuned, its encoder
changes nothing."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.objectives.base import Batch
from vaebench.rng import noise

D = 4


def build(**settings):
    info = DataInfo(torch.full((D,), 0.4))
    model = models.build({"name": "gaussian_vae", "latents": 1, "encoder": [3]}, info).double()
    randomize(model, 0, 0.7)
    return objectives.build({"name": "mcem", **settings}, model)


def bits(cases):
    return (torch.rand(cases, D, generator=torch.Generator().manual_seed(1)) < 0.5).double()


def step(rule, state, x, number):
    draws = {k: v.double() for k, v in noise.fixed(rule.draws(*x.shape), number, "noise").items()}
    return rule(state, Batch(x), draws)


def test_its_gradient_is_that_of_the_marginal_likelihood():
    """Fisher's identity: E_p(z | x) grad log p(x, z) = grad log p(x), by
    quadrature over one latent.

    A thousand chains for each of three cases, thirty updates after thirty of
    burn-in, at fixed parameters. The step is so long that a sixth of the proposals is refused:
    with short steps a chain that refuses nothing would do as well.
    """
    rule = build(step=1.2)
    model = rule.model

    x = bits(3)

    # log p(x) on a grid of the one latent; beyond these ends the integrand is nothing.
    latent = torch.linspace(-12, 12, 4_001, dtype=torch.float64)
    log_p = torch.logsumexp(
        model.log_joint(x, [latent.view(-1, 1, 1).expand(-1, 3, 1)]), 0
    ) + math.log(float(latent[1] - latent[0]))

    generative = list(model.p.parameters())
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(log_p.mean(), generative)])

    # The chains move at fixed parameters; each update tells the gradient at its samples.
    repeated = x.repeat(1000, 1)
    state = rule.state(0, len(repeated))
    gradients = []
    acceptances = []

    for number in range(60):
        loss, state, metrics = step(rule, state, repeated, number)
        if number >= 30:
            gradients.append(
                -torch.cat([g.flatten() for g in torch.autograd.grad(loss, generative)])
            )
            acceptances.append(float(metrics["acceptance"]))

    assert 0.8 < min(acceptances) < max(acceptances) < 0.9

    mean = torch.stack(gradients).mean(0)

    # The largest entry is ten times the tolerance, so a gradient of another scale or sign is seen.
    assert exact.abs().max() > 0.15
    torch.testing.assert_close(mean, exact, rtol=0, atol=0.015)


def test_its_step_is_tuned():
    rule = build(step=0.6)
    x = bits(100)
    state = rule.state(0, len(x))
    acceptances = []

    for number in range(900):
        with torch.no_grad():
            _, state, metrics = step(rule, state, x, number)
        acceptances.append(float(metrics["acceptance"]))

    # The first step is too small, so nearly everything is accepted; the aim is 0.9. It is reached
    # after 600 updates.
    assert acceptances[0] > 0.95
    assert sum(acceptances[-200:]) / 200 == pytest.approx(0.9, abs=0.02)
    assert float(state["step"]) > 0.8


def test_the_acceptance_told_is_the_mean_over_transitions_and_chains():
    """Steps of 1e-6 are always taken; huge ones never."""
    x = bits(5)
    for size, wanted in ((1e-6, 1.0), (1e6, 0.0)):
        rule = build(step=size, transitions=3, leaps=2)
        _, _, metrics = step(rule, rule.state(0, len(x)), x, 0)
        assert float(metrics["acceptance"]) == pytest.approx(wanted, abs=1e-4)


def test_the_encoder_learns_from_the_samples_and_the_generator_not_from_it():
    """log q is at samples that it did not make: the gradient of the generative model is that of log
    p(x, z) alone."""
    rule = build(leaps=2)
    model = rule.model

    x = bits(5)
    state = rule.state(0, 5)
    loss, new, _ = step(rule, state, x, 0)

    grads = torch.autograd.grad(loss, list(rule.parameters()))

    # The loss from its definition, at the samples that the step ends with.
    z = [new["z"].unsqueeze(0)]
    wanted = -(model.log_joint(x, z) + model.log_posterior(z, x)).mean()

    for a, b in zip(grads, torch.autograd.grad(wanted, list(rule.parameters())), strict=True):
        torch.testing.assert_close(a, b)

    # Another encoder leaves the samples as they are.
    with torch.no_grad():
        for p in model.q.parameters():
            p.add_(1.0)

    torch.testing.assert_close(step(rule, state, x, 0)[1]["z"], new["z"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"leaps": 0}, "objective.leaps=0"),
        ({"acceptance": 1}, "objective.acceptance=1"),
        ({"step": 0}, "objective.step=0"),
        ({"transitions": 0}, "objective.transitions=0"),
        ({"weight_decay": -1}, "objective.weight_decay=-1"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(UserError, match=says):
        build(**settings)
