"""A step of bit_gibbs against literal sweeps, and its update against the
exact gradient of log p(x)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from kit.bit_gibbs import (
    EVERY,
    LIMIT,
    VISIBLE,
    inputs_of,
    literal_sweeps,
    norms_of,
    number,
    rule_of,
    table,
)
from torch.func import functional_call, grad, vmap

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.errors import UserError
from vaebench.nn.batch_norm import BatchNorm
from vaebench.objectives.base import Batch
from vaebench.rng import noise
from vaebench.training import engines as fast


@pytest.mark.parametrize(
    ("layers", "statistics"), [(0, "running"), (1, "running"), (1, "batch"), (2, "batch")]
)
def test_the_chains_of_a_step(layers, statistics):
    """The new bits are those of literal sweeps over the posterior with the statistics that the
    setting names."""
    rule = rule_of(layers, statistics=statistics, sweeps=3)
    state, batch, draws = inputs_of(rule, cases=40)
    _, new, _ = rule(state, batch, draws)

    # The averages that the state keeps, and the statistics of the batch at the chains' old bits.
    batch_statistics = {}
    running_averages = {}
    rule.model.decode([state["posterior"].double()], batch_statistics)

    for norm in norms_of(rule):
        running_averages[norm.path] = (
            state[f"model.{norm.path}.mean"],
            state[f"model.{norm.path}.variance"],
        )

    statistics_of = {"running": running_averages, "batch": batch_statistics}

    # Sweeps by the table of every state, under either kind of statistics.
    codes_by = {
        k: literal_sweeps(table(rule, batch.x, v), state["posterior"], draws["posterior"])
        for k, v in statistics_of.items()
    }

    assert torch.equal(number(new["posterior"]), codes_by[statistics])

    if layers:  # else there is nothing to normalise
        assert not torch.equal(*codes_by.values())

    assert new["posterior"].dtype == torch.uint8


@pytest.mark.parametrize("layers", [0, 2])
def test_loss_bound_and_statistics_of_a_step(layers):
    """mean log p(x, z) at the new bits, the decoder in training; weight decay in the loss alone."""
    rule = rule_of(layers, weight_decay=0.3)
    state, batch, draws = inputs_of(rule)
    loss, new, metrics = rule(state, batch, draws)

    # log p(x, z) by torch's Bernoulli and the energies of the six samples and of all 16 states.
    z = new["posterior"].double()
    batch_statistics = {}
    prior = rule.model.prior()
    logits = rule.model.p.decoder(z, batch_statistics)
    log_p = torch.distributions.Bernoulli(logits=logits).log_prob(batch.x).sum(-1)
    energies = [prior.negative_energy(s[None, :2], s[None, 2:])[0] for s in (*z, *EVERY)]
    log_p = (
        log_p + torch.stack(energies[:6]) - torch.logsumexp(torch.stack(energies[6:]), 0)
    ).detach()

    assert float(metrics["bound"]) == pytest.approx(float(log_p.mean()), abs=1e-12)

    # Kernels, scales of batch normalisation and couplings, by their names.
    decayed = sum(
        float((p.detach() ** 2).sum())
        for n, p in rule.named_parameters()
        if n.endswith(("weight", "scale", ".w"))
    )

    assert float(loss.detach()) == pytest.approx(0.15 * decayed - float(log_p.mean()), abs=1e-10)

    for norm in norms_of(rule):
        for name, value in zip(("mean", "variance"), batch_statistics[norm.path], strict=True):
            key = f"model.{norm.path}.{name}"
            torch.testing.assert_close(new[key], 0.99 * state[key] + 0.01 * value)

    assert set(new) == set(state)
    assert not any(v.requires_grad for v in new.values())


def test_the_bound_never_exceeds_log_p_and_its_states_sum_to_it():
    """log p(x, z) is at most log p(x) for every z, and sums to it: with linear decoders no batch
    statistics enter."""
    rule = rule_of(layers=0, sweeps=1)
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    log_p = float((rule.model.log_marginal(x) - boltzmann_exact.log_z(rule.model.prior())).detach())
    bounds = [float(forced(rule, z, x)[2]["bound"]) for z in EVERY]

    assert max(bounds) < log_p
    assert math.log(sum(map(math.exp, bounds))) == pytest.approx(log_p, abs=1e-9)


def forced(rule, z, x):
    """A step whose noise leads to ``z`` (n,) from anywhere, on one example ``x`` (1, d).

    The chain starts at the opposite bits. Noise of almost 1 makes a one, of 0 a zero, whatever the
    conditional.
    """
    state = {"posterior": 1 - z[None].to(torch.uint8)}
    for norm in norms_of(rule):
        state |= {
            f"model.{norm.path}.mean": norm.mean,
            f"model.{norm.path}.variance": norm.variance,
        }

    u = torch.where(z > 0, 1 - 1e-15, 0.0)[None, :, None].expand(rule.sweeps, -1, -1)
    return rule(state, Batch(x), {"posterior": u})


@pytest.fixture
def fixed_statistics(monkeypatch):
    """Batch normalisation by its running averages in training too.

    Otherwise the examples of a batch would not be independent.
    """

    def forward(self, x, tape=None):
        if tape is not None:
            tape[self.path] = (self.mean, self.variance)

        return (x - self.mean) * (
            self.scale * torch.rsqrt(self.variance + self.epsilon)
        ) + self.shift

    monkeypatch.setattr(BatchNorm, "forward", forward)


def spread_averages(rule):
    """Running averages away from their start, so that normalisation does something."""
    with torch.no_grad():
        for norm in norms_of(rule):
            norm.mean.copy_(torch.linspace(-0.5, 0.9, len(norm.mean)))
            norm.variance.copy_(torch.linspace(0.3, 2.0, len(norm.mean)))


def exact_gradient(rule, x):
    """Of minus the mean log p(x), plus the decay."""
    value = -(rule.model.log_marginal(x).mean() - boltzmann_exact.log_z(rule.model.prior()))
    value = value + rule.weight_decay / 2 * sum((p**2).sum() for p in rule.model.decayed())
    return torch.autograd.grad(value, list(rule.parameters()))


@pytest.mark.parametrize("layers", [0, 1])
def test_fisher_identity(layers, fixed_statistics):
    """sum_z p(z | x) (gradient of a step that ends at z) = gradient of log p(x), exactly."""
    rule = rule_of(layers, sweeps=1, weight_decay=0.1)
    spread_averages(rule)
    for x in (torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0]]).double(), torch.zeros(1, VISIBLE).double()):
        posterior = torch.softmax(rule.model.table(x)[0].detach(), 0)
        expected = [torch.zeros_like(p) for p in rule.parameters()]
        for z, weight in zip(EVERY, posterior, strict=True):
            # A step forced to end at z, weighed by its posterior probability.
            loss, new, _ = forced(rule, z, x)
            assert torch.equal(new["posterior"][0].double(), z)

            for sum_of_gradients, g in zip(
                expected, torch.autograd.grad(loss, list(rule.parameters())), strict=True
            ):
                sum_of_gradients += weight * g

        for got, wanted in zip(expected, exact_gradient(rule, x), strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)
            assert float(wanted.abs().max()) > 1e-6


@pytest.mark.parametrize("layers", [0, 1])
def test_chains_from_the_posterior_give_the_gradient_in_expectation(layers, fixed_statistics):
    rule = rule_of(layers, seed=3, scale=0.7, sweeps=2, weight_decay=0.1)

    spread_averages(rule)
    n = 4000
    generator = torch.Generator().manual_seed(5)
    x = torch.tensor(
        [[1.0, 0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0, 1.0], [1.0] * 5], dtype=torch.float64
    )

    # Chains that start at exact samples of the posterior, n for each of the three examples.
    (z,) = rule.model.sample_posterior(
        x, n, noise.draw(rule.model.posterior_noise(n, 3), generator)
    )
    u = noise.draw(rule.noise(3), generator, (n,))["posterior"]

    params = {k: v.detach() for k, v in rule.named_parameters()}
    averages = {}

    for norm in norms_of(rule):
        averages |= {
            f"model.{norm.path}.mean": norm.mean,
            f"model.{norm.path}.variance": norm.variance,
        }

    def loss(p, start, noise_now):
        state = {"posterior": start, **averages}
        return functional_call(rule, p, (state, Batch(x), {"posterior": noise_now}))[0]

    # Gradients of n independent steps, each entry compared by its own standard error.
    g = vmap(grad(loss), in_dims=(None, 0, 0))(params, z.to(torch.uint8), u)
    compared = 0
    for got, wanted in zip(g.values(), exact_gradient(rule, x), strict=True):
        error = got.std(0) / math.sqrt(n)

        # Entries without variance do not depend on the chains.
        random = error > 1e-12
        compared += int(random.sum())
        assert float(((got.mean(0) - wanted)[random] / error[random]).abs().max()) < LIMIT

    assert compared > 20


def test_the_start():
    rule = rule_of(latents=6)
    state = rule.state(3, 500)
    bits = state["posterior"]

    assert bits.shape == (500, 6)
    assert bits.dtype == torch.uint8
    assert set(bits.unique().tolist()) == {0, 1}

    # 3,000 bits in all.
    assert abs(float(bits.double().mean()) - 0.5) < LIMIT * 0.5 / math.sqrt(3000)
    assert torch.equal(bits, rule.state(3, 500)["posterior"])
    assert not torch.equal(bits, rule.state(4, 500)["posterior"])
    assert rule.per_case == ("posterior",)
    assert {k for k in state if k != "posterior"} == {
        k for k, _ in rule.named_buffers() if "norms" in k
    }
    assert rule.noise(7) == {"posterior": ("uniform", (10, 6, 7))}
    assert set(fast.group_of(rule).values()) == {"model"}


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        *itertools.product(["sweeps"], [0, 1.5, True], ["a whole number from 1"]),
        *itertools.product(
            ["weight_decay"], [-1.0, math.inf, math.nan, "a", True], ["a number from 0"]
        ),
        ("statistics", "bach", "batch"),
    ],
)
def test_bad_settings_are_named(key, value, allowed):
    with pytest.raises(UserError, match=rf"objective\.{key}=.*{allowed}") as e:
        rule_of(**{key: value})
    assert "\n" not in str(e.value)


def test_it_trains_models_without_an_inference_network():
    model = models.build({"name": "rbm_vae", "latents": 4, "units": 3}, DataInfo([0.5] * 3))
    with pytest.raises(UserError, match="bit_gibbs cannot train model=rbm_vae"):
        objectives.build({"name": "bit_gibbs"}, model)

    generator = models.build(
        {"name": "rbm_generator", "latents": 4, "units": 3}, DataInfo([0.5] * 3)
    )
    rules = [n for n, cls in objectives.OBJECTIVES.items() if cls.trains(generator)]

    assert rules == ["bit_gibbs"]
