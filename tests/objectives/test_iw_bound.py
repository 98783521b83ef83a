"""The importance-weighted bound: one sample is the ELBO; more of them against a second
implementation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.objectives.base import Batch
from vaebench.rng import noise

CASES = 5
VISIBLE = 4


def rule_of(samples, **settings):
    model = models.build(
        {"name": "linear_gaussian", "dims": [2]}, DataInfo(torch.linspace(0.2, 0.7, VISIBLE))
    )
    rule = objectives.build({"name": "iw_bound", "samples": samples, **settings}, model).double()
    randomize(rule, 0)

    return rule


def inputs(rule):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(CASES, VISIBLE, generator=generator, dtype=torch.float64)
    return x, {k: v.double() for k, v in noise.draw(rule.noise(CASES), generator).items()}


def step(rule, x, draws):
    return rule({}, Batch(x, rows=torch.arange(CASES)), draws)


def log_weight(model, x, e):
    """log p(x, z) - log Q(z | x) of one sample of one case, by torch's own distributions."""
    p = model.p
    q = model.q

    posterior = distributions.Normal(q["weight"] @ (x - model.mean) + q["bias"], q["log_sd"].exp())
    z = posterior.loc + posterior.scale * e
    log_likelihood = (
        distributions.Normal(p["weight"] @ z + p["bias"], p["log_sd"].exp()).log_prob(x).sum()
    )

    return (
        log_likelihood
        + distributions.Normal(0.0, 1.0).log_prob(z).sum()
        - posterior.log_prob(z).sum()
    )


def test_one_sample_is_the_elbo():
    rule = rule_of(1)

    x, draws = inputs(rule)
    wanted = torch.stack(
        [log_weight(rule.model, x[b], draws["q1"][0, b]) for b in range(CASES)]
    ).mean()
    loss, state, metrics = step(rule, x, draws)

    assert state == {}
    torch.testing.assert_close(-loss, wanted)
    torch.testing.assert_close(metrics["bound"], wanted.detach())


@pytest.mark.parametrize("samples", [2, 7])
def test_gradient_is_the_weighted_mean_of_the_samples_gradients(samples):
    """d log (1/K) sum w_k = sum_k w_k / (sum w) d log w_k, case by case and sample by sample."""
    rule = rule_of(samples, reduce="sum")
    x, draws = inputs(rule)

    params = list(rule.parameters())
    wanted = [torch.zeros_like(p) for p in params]
    bound = 0.0

    for b in range(CASES):
        log_w = [log_weight(rule.model, x[b], draws["q1"][k, b]) for k in range(samples)]
        total = math.fsum(math.exp(float(v.detach())) for v in log_w)
        bound += math.log(total / samples) / CASES

        for v in log_w:
            share = math.exp(float(v.detach())) / total
            for g_sum, g in zip(wanted, torch.autograd.grad(v, params), strict=True):
                g_sum.add_(share * g)

    loss, _, metrics = step(rule, x, draws)
    assert float(metrics["bound"]) == pytest.approx(bound, rel=1e-10)
    for p, g_sum in zip(torch.autograd.grad(loss, params), wanted, strict=True):
        torch.testing.assert_close(-p, g_sum)


def test_more_samples_give_a_tighter_bound_below_the_evidence():
    """Means over 20,000 repetitions of one case; their gaps are many times their errors."""
    bounds = []
    repeated = 20_000
    for samples in (1, 4, 16):
        rule = rule_of(samples)

        # A posterior wide enough for weights of finite variance.
        with torch.no_grad():
            rule.model.q["weight"].zero_()
            rule.model.q["log_sd"].fill_(0.3)
            rule.model.p["weight"].mul_(0.5)
            rule.model.p["log_sd"].zero_()

        x = torch.ones(1, VISIBLE, dtype=torch.float64)
        draws = noise.fixed(rule.noise(repeated), 0, "noise")
        batch = Batch(x.expand(repeated, -1), rows=torch.arange(repeated))
        bounds.append(float(rule({}, batch, {k: v.double() for k, v in draws.items()})[2]["bound"]))
        evidence = float(rule.model.log_evidence(x).detach())

    # Bounds of 1, 4 and 16 samples.
    assert bounds[0] + 0.05 < bounds[1]
    assert bounds[1] + 0.01 < bounds[2] < evidence


def of_two_layers(**settings):
    config = {"name": "hierarchical_vae", "dims": [2, 3], "hidden": [3, 4], "depth": 1}
    model = models.build(config, DataInfo(torch.linspace(0.2, 0.7, VISIBLE)))
    rule = objectives.build({"name": "iw_bound", **settings}, model).double()
    randomize(rule, 0)

    return rule


@pytest.mark.parametrize("make", [lambda **s: rule_of(s.pop("samples"), **s), of_two_layers])
def test_one_sample_is_the_same_inside_and_outside_the_logarithm(make):
    """To the last digit, the bound and every gradient; two samples are not."""
    loss_and_gradients = {}
    for samples, average in ((1, "inside"), (1, "outside"), (2, "inside"), (2, "outside")):
        rule = make(samples=samples, average=average)
        x, draws = inputs(rule)

        # Bits as data: the hierarchical model takes nothing else, the linear one takes anything.
        loss = step(rule, (x > 0).double(), draws)[0]
        loss_and_gradients[samples, average] = [
            loss.detach(),
            *torch.autograd.grad(loss, list(rule.parameters())),
        ]

    of_one_sample, of_two_samples = (
        list(zip(loss_and_gradients[k, "inside"], loss_and_gradients[k, "outside"], strict=True))
        for k in (1, 2)
    )

    assert all(torch.equal(a, b) for a, b in of_one_sample)
    assert float(loss_and_gradients[2, "inside"][0]) < float(loss_and_gradients[2, "outside"][0])

    # The loss itself is compared above.
    assert not any(torch.equal(a, b) for a, b in of_two_samples[1:])


def test_outside_the_logarithm_it_is_the_mean_of_the_samples():
    rule = rule_of(3, average="outside")
    x, draws = inputs(rule)

    log_weights = [
        log_weight(rule.model, x[b], draws["q1"][k, b]) for b in range(CASES) for k in range(3)
    ]

    torch.testing.assert_close(-step(rule, x, draws)[0], torch.stack(log_weights).mean())


@pytest.mark.parametrize("samples", [0, -1, 1.5, True])
def test_bad_number_of_samples(samples):
    with pytest.raises(UserError, match=r"objective\.samples="):
        rule_of(samples)


def test_a_bad_average_is_refused():
    with pytest.raises(UserError, match=r"objective\.average='between'"):
        rule_of(1, average="between")


def test_it_cannot_train_discrete_latents():
    model = models.build({"name": "sbn", "dims": [2]}, DataInfo(torch.zeros(3)))
    with pytest.raises(
        UserError, match="iw_bound cannot train model=sbn; allowed: nvil, wake_sleep"
    ):
        objectives.build({"name": "iw_bound"}, model)
