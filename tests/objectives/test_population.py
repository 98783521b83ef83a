"""Population annealing of the prior: weights, and the shares of modes that no chain ever leaves."""

from __future__ import annotations

import math

import pytest
import torch
from kit.rbms import normal_rbm

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.dists.resampling import parents
from vaebench.errors import UserError
from vaebench.objectives import population
from vaebench.objectives.base import Batch
from vaebench.objectives.rbm_prior import RBMPriorObjective
from vaebench.rng import noise

SIDE = 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rbm_of(seed, scale=1.0):
    return normal_rbm(n1=SIDE, n2=SIDE + 1, scale=scale, seed=seed)


# ------------------------------------------------------------------------------------------ weights


def all_states():
    return boltzmann_exact.states(SIDE, torch.zeros((), dtype=torch.float64))


def log_marginal(machine, z1):
    """log p(z1) by summing the table of joint states."""
    a, _, log_p = boltzmann_exact.log_probs(machine)
    in_state = (z1[:, None] == a[None]).all(-1)
    return torch.stack([torch.logsumexp(log_p[row], 0) for row in in_state])


def test_weights_are_ratios_of_probabilities_and_multiply_over_updates():
    """w = p_new(z1) / p_old(z1) but for a factor that makes their mean 1, also by way
    of a machine in between."""
    old = rbm_of(0, 0.3)
    between = rbm_of(1, 0.3)
    new = rbm_of(2, 0.3)
    z1 = all_states()
    u = torch.tensor([0.4])

    # From the old machine to the new one in one step.
    record = population.record(old, z1, torch.zeros(8, dtype=torch.float64))
    chains, log_w = population.reweight(new, z1, record, u)

    assert torch.equal(chains, z1)

    ratio = torch.exp(log_marginal(new, z1) - log_marginal(old, z1))
    torch.testing.assert_close(log_w.exp(), ratio / ratio.mean())

    # The same by way of a machine in between: weights multiply.
    _, log_w_between = population.reweight(between, z1, record, u)
    _, log_w_by_way = population.reweight(new, z1, population.record(between, z1, log_w_between), u)

    torch.testing.assert_close(log_w_by_way, log_w)


@pytest.mark.parametrize(("factor", "resampled"), [(0.99, False), (1.01, True)])
def test_chains_are_resampled_when_fewer_than_half_of_them_count(factor, resampled):
    """Of 12 chains one has weight a, the others 1; (a + 11)^2 / (a^2 + 11) = 6
    where 5 a^2 - 22 a - 55 = 0."""
    rbm = rbm_of(0)
    u = torch.tensor([0.5])

    # Chains with different numbers in them, so that a resampled one shows.
    z1 = torch.arange(36, dtype=torch.float64).reshape(12, SIDE)
    log_w = torch.zeros(12, dtype=torch.float64)

    # The effective sample size, (sum w)^2 / sum w^2, is 6 of 12 at factor 1.
    log_w[4] = math.log(factor * (22 + math.sqrt(1584)) / 10)

    chains, log_w_left = population.reweight(rbm, z1, population.record(rbm, z1, log_w), u)
    if resampled:
        assert torch.equal(log_w_left, torch.zeros_like(log_w_left))
        assert torch.equal(chains, z1[parents(log_w, u)])
        assert not torch.equal(chains, z1)
    else:
        assert torch.equal(chains, z1)
        torch.testing.assert_close(log_w_left, log_w - torch.logsumexp(log_w, 0) + math.log(12))


# ------------------------------------------------------------------------------------------- a step


class OnlyLogZ(RBMPriorObjective):
    """Minimises log Z, by the gradient that the chains give."""

    def posterior_noise(self, batch):
        return {}

    def gain(self, x, weight, log_z, state, noise, tape):
        return -log_z.expand(len(x)), torch.zeros(len(x)), {}


def rule_of(chains, sweeps, sampler="population"):
    config = {"name": "rbm_vae", "latents": 2 * SIDE, "groups": 1, "layers": 0, "units": 3}
    model = models.build(config, DataInfo([0.5, 0.5]))
    settings = {"prior_chains": chains, "prior_sweeps": sweeps, "prior_sampler": sampler}
    return OnlyLogZ(model, weight_decay=0.0, **settings).double()


def gradients(rule, state, machines, seed=0):
    """The rule's gradient of log Z at one machine after another.

    Returns:
        For each machine the gradients by b1, b2 and w; the state after the last one.
    """
    prior = rule.model.p.prior
    out = []
    batch = Batch(torch.zeros(1, 2), progress=torch.tensor(1.0, dtype=torch.float64))

    for t, machine in enumerate(machines):
        # The machine is put into the prior's parameters, as an optimiser would do.
        with torch.no_grad():
            for p, v in zip((prior.b1, prior.b2, prior.w), machine, strict=True):
                p.copy_(v)

        draws = {k: v.double() for k, v in noise.fixed(rule.noise(1), seed, "noise", t).items()}
        loss, state, _ = rule(state, batch, draws)
        out.append(torch.autograd.grad(loss, (prior.b1, prior.b2, prior.w)))

    return out, state


def two_modes(share):
    """All bits 0, or with probability ``share`` all 1: a sweep leaves either mode once in 10^9."""
    strength = 16.0
    bias = math.log(share / (1 - share)) / (2 * SIDE)
    biases = torch.full((SIDE,), bias - strength * SIDE / 2, dtype=torch.float64)
    return RBM(biases, biases.clone(), torch.full((SIDE, SIDE), strength, dtype=torch.float64))


def standing_in(share, chains):
    """Chains of which that share are all 1, the others all 0, in no order."""
    order = torch.randperm(chains, generator=generator())
    return (order < round(share * chains)).double().unsqueeze(1).expand(chains, SIDE).clone()


def worst(got, machine):
    m = boltzmann_exact.moments(machine)
    return max(
        (a - b).abs().max().item() for a, b in zip(got, (m.mean1, m.mean2, m.mean12), strict=True)
    )


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.9), (0.1, 0.9)])
def test_shares_of_modes_follow_the_parameters(before, after):
    """In the first case the weights are carried, in the second, four fifths of them gone, the
    chains are resampled."""
    old = two_modes(before)
    new = two_modes(after)
    chains = 200
    z1 = standing_in(before, chains)
    state = {
        "prior": z1,
        "prior_record": population.record(old, z1, torch.zeros(chains, dtype=torch.float64)),
    }
    (gradient,), state_after = gradients(rule_of(chains, 3), state, [new])

    # Chains never leave their mode, so only weights or resampling can give the new share.
    assert worst(gradient, new) < 1e-6

    # Chains that carry weights stay, resampled ones do not.
    assert torch.equal(state_after["prior"], z1) == (before == 0.5)

    # The record is that of the new machine: with the same parameters again all stays as it is.
    (second_gradient,), last_state = gradients(rule_of(chains, 3), state_after, [new], seed=1)
    assert worst(second_gradient, new) < 1e-6
    torch.testing.assert_close(last_state["prior_record"], state_after["prior_record"])

    # Persistent chains without weights keep the old share.
    (persistent_gradient,), _ = gradients(rule_of(chains, 3, "persistent"), {"prior": z1}, [new])
    assert worst(persistent_gradient, new) == pytest.approx(after - before, abs=1e-6)


def test_shares_of_modes_survive_many_small_steps():
    """There and back between shares of 0.4 and 0.6, in steps too small to
    resample for: nothing is lost."""
    path = [two_modes(0.5 + 0.1 * math.sin(t / 3)) for t in range(100)]
    z1 = standing_in(0.5, 100)
    state = {
        "prior": z1,
        "prior_record": population.record(path[0], z1, torch.zeros(100, dtype=torch.float64)),
    }
    by_machine, state_after = gradients(rule_of(100, 1), state, path)

    assert max(worst(g, machine) for g, machine in zip(by_machine, path, strict=True)) < 1e-6
    assert torch.equal(state_after["prior"], z1)


def test_the_gradient_of_log_z_follows_a_machine_that_mixes():
    """From fair bits through machines far apart, a sweep each; of 15 means at each of four
    machines one has |z| above 5 once in 29,000.

    Twice the variance of independent samples by their weights covers what resampling adds.
    """
    rule = rule_of(6000, 1)
    rbms = [
        RBM(*(1.3 * v for v in (m.b1, m.b2[:SIDE], m.w[:, :SIDE]))) for m in map(rbm_of, range(4))
    ]
    state = {k: v.double() for k, v in rule.state(3).items()}

    for t, rbm in enumerate(rbms):
        (gradient,), state = gradients(rule, state, [rbm], seed=t)

        # The variance of a weighted mean of independent samples: sum w^2 / (sum w)^2.
        log_w = state["prior_record"] - rbm.free_energy1(state["prior"])
        sum_of_squares = torch.exp(torch.logsumexp(2 * log_w, 0) - 2 * torch.logsumexp(log_w, 0))
        m = boltzmann_exact.moments(rbm)

        for a, mean in zip(gradient, (m.mean1, m.mean2, m.mean12), strict=True):
            assert ((a - mean).abs() < 5 * (2 * sum_of_squares * mean * (1 - mean)).sqrt()).all()


def test_a_machine_that_stands_still_has_the_persistent_chains():
    """The same chains by the same noise, weights that stay equal, the same gradient."""
    rbm = rbm_of(4)
    chains = 50
    rbm = RBM(rbm.b1, rbm.b2[:SIDE], rbm.w[:, :SIDE])

    z1 = (torch.rand(chains, SIDE, generator=generator()) < 0.5).double()
    zeros = torch.zeros(chains, dtype=torch.float64)
    state = {"prior": z1, "prior_record": population.record(rbm, z1, zeros)}

    by_population, population_state = gradients(rule_of(chains, 2), state, [rbm] * 4)
    by_persistent_chains, persistent_state = gradients(
        rule_of(chains, 2, "persistent"), {"prior": z1}, [rbm] * 4
    )

    assert torch.equal(population_state["prior"], persistent_state["prior"])
    torch.testing.assert_close(
        population_state["prior_record"] - rbm.free_energy1(population_state["prior"]), zeros
    )
    torch.testing.assert_close(by_population, by_persistent_chains)


def test_the_population_starts_as_samples_of_the_uniform_distribution():
    rule = rule_of(7, 1).float()
    state = rule.state(0)
    any_machine = rbm_of(0)
    uniform_machine = RBM(*(torch.zeros(v.shape) for v in any_machine))

    assert torch.equal(state["prior_record"], population.start(rule.model.prior(), 7))
    torch.testing.assert_close(
        population.start(any_machine, 7), uniform_machine.free_energy1(state["prior"])
    )
    assert rule.noise(1)["prior_parents"] == ("uniform", (1,))
    assert "prior_parents" not in rule_of(7, 1, "persistent").noise(1)
    assert torch.equal(state["prior"], rule_of(7, 1, "persistent").state(0)["prior"])


def test_no_gradient_passes_through_chains_and_weights():
    rbm = RBM(*(v.requires_grad_() for v in rbm_of(0)))
    z1, log_w = population.reweight(
        rbm, all_states(), torch.zeros(8, dtype=torch.float64), torch.tensor([0.5])
    )

    assert not z1.requires_grad
    assert not log_w.requires_grad
    assert not population.record(rbm, z1, log_w).requires_grad


def test_a_sampler_that_is_none_is_refused():
    model = rule_of(2, 1).model
    with pytest.raises(UserError) as e:
        objectives.build({"name": "dvae", "prior_sampler": "populaton"}, model)

    wanted = (
        "objective.prior_sampler='populaton': did you mean 'population'? allowed: "
        "persistent, population"
    )

    assert str(e.value) == wanted
