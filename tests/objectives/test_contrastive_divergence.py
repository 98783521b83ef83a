"""Contrastive divergence against its definition: the chain's transitions are enumerated from the
joint probabilities.

Statistical lines compare gradients of 60,000 chains with their exact expectation, by the exact
variance of a chain's part. The largest of 19 z-scores is above 4.5 by chance once in 7,000 times;
seeds are fixed.
"""

from __future__ import annotations

import pytest
import torch
from kit.parameters import drawn

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.errors import UserError
from vaebench.objectives.base import Batch
from vaebench.rng import noise

D = 4
UNITS = 3
CHAINS = 60_000
WORST = 4.5


def rule_of(seed=0, scale=1.0, **settings):
    model = models.build(
        {"name": "rbm", "units": UNITS}, DataInfo(torch.linspace(0.2, 0.7, D).numpy())
    ).double()
    drawn(model, scale, seed)
    return objectives.build(
        {"name": "contrastive_divergence", "weight_decay": 0.0, **settings}, model
    )


def enumerated(model):
    """p(x) (16,) and the transitions of x (16, 16), from the table of all joint
    states and nothing else."""
    z1, z2, log_p = boltzmann_exact.log_probs(model.rbm().detach())

    # Numbers of the states of either side, to place them in a table (2^D, 2^UNITS).
    x = (z1.long() << torch.arange(D)).sum(-1)
    h = (z2.long() << torch.arange(UNITS)).sum(-1)
    joint = torch.zeros(2**D, 2**UNITS, dtype=torch.float64)

    joint[x, h] = log_p.exp()

    # p(h | x) and p(x | h): one sweep goes up and down.
    up = joint / joint.sum(1, keepdim=True)
    down = joint / joint.sum(0, keepdim=True)

    return joint.sum(1), up @ down.T


def features(model):
    """-dF/dparameters of all 16 x, (16, parameters), by central differences of the free energy."""
    x = boltzmann_exact.states(D, model.mean)
    step = 1e-5
    columns = []

    with torch.no_grad():
        for p in model.parameters():
            for i in range(p.numel()):
                flat = p.reshape(-1)
                flat[i] += step
                high = model.free_energy(x)
                flat[i] -= 2 * step
                low = model.free_energy(x)
                flat[i] += step
                columns.append(-(high - low) / (2 * step))

    return torch.stack(columns, 1)


def gradient(rule, x, state=None, update=0, passes=0.01):
    draws = noise.fixed(rule.draws(*x.shape), update, "noise")
    batch = Batch(x, passes=torch.tensor(passes))
    loss, new, _ = rule(state or rule.state(0, len(x)), batch, draws)
    grads = torch.autograd.grad(loss, list(rule.model.parameters()))

    return torch.cat([g.reshape(-1) for g in grads]), new


def worst(found, exact, variance, count):
    """Largest |z| of a mean over ``count`` chains, by the exact variance of one of them."""
    return float(((found - exact) / (variance / count).sqrt()).abs().max())


def test_the_free_energy_is_that_of_the_joint_table():
    model = rule_of().model
    p, _ = enumerated(model)
    x = boltzmann_exact.states(D, model.mean)

    torch.testing.assert_close(-model.free_energy(x) - boltzmann_exact.log_z(model.rbm()), p.log())


def test_the_bound_told_is_log_p_without_log_z():
    rule = rule_of(seed=2)
    p, _ = enumerated(rule.model)
    x = boltzmann_exact.states(D, rule.model.mean)[[2, 7, 11]]
    draws = noise.fixed(rule.draws(*x.shape), 0, "noise")

    _, _, metrics = rule(rule.state(0, len(x)), Batch(x, passes=torch.tensor(1.0)), draws)
    wanted = p[[2, 7, 11]].log().mean() + boltzmann_exact.log_z(rule.model.rbm().detach())

    assert float(metrics["bound"]) == pytest.approx(float(wanted), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_the_gradient_is_that_of_cd_k(k):
    rule = rule_of(seed=1, scale=2.5, steps=k)
    _, move = enumerated(rule.model)
    f = features(rule.model)
    ends = torch.linalg.matrix_power(move, k)

    shorter = torch.linalg.matrix_power(move, k - 1)

    # How far a chain that is one step too short would be from the gradient.
    told_apart = 0.0

    for start in (0, 6, 15):
        x = boltzmann_exact.states(D, rule.model.mean)[start].expand(CHAINS, D)

        estimate, _ = gradient(rule, x)

        # CD-k: features at the end of the chain minus those at its start.
        exact = ends[start] @ f - f[start]
        variance = ends[start] @ f**2 - (ends[start] @ f) ** 2

        assert worst(estimate, exact, variance, CHAINS) < WORST

        told_apart = max(
            told_apart, worst(estimate, shorter[start] @ f - f[start], variance, CHAINS)
        )

    # A chain that is a step shorter would have been seen.
    assert told_apart > 2 * WORST


def test_persistent_chains_go_on_where_they_stood():
    rule = rule_of(steps=2, chains=CHAINS)
    _, move = enumerated(rule.model)
    f = features(rule.model)

    after_two = move @ move
    x = boltzmann_exact.states(D, rule.model.mean)[3:5]
    state_9 = boltzmann_exact.states(D, rule.model.mean)[9]
    state = {"chains": state_9.to(torch.uint8).expand(CHAINS, D)}

    estimate, new = gradient(rule, x, state)
    variance = after_two[9] @ f**2 - (after_two[9] @ f) ** 2

    assert worst(estimate, after_two[9] @ f - f[3:5].mean(0), variance, CHAINS) < WORST

    # The second update starts at the ends of the first: four steps in all.
    estimate, newer = gradient(rule, x, new, update=1)
    after_four = after_two[9] @ after_two

    assert (
        worst(
            estimate,
            after_four @ f - f[3:5].mean(0),
            after_four @ f**2 - (after_four @ f) ** 2,
            CHAINS,
        )
        < WORST
    )

    # Where the chains stand now, as frequencies of all 16 states.
    codes = (newer["chains"].long() << torch.arange(D)).sum(-1)
    shares = torch.bincount(codes, minlength=2**D).double() / CHAINS

    assert worst(shares, after_four, after_four * (1 - after_four), CHAINS) < WORST


@pytest.mark.parametrize("settings", [{"steps": 1}, {"steps": 3}])
def test_at_the_distribution_of_the_data_there_is_no_gradient(settings):
    rule = rule_of(**settings)
    p, move = enumerated(rule.model)
    f = features(rule.model)
    ends = torch.linalg.matrix_power(move, settings["steps"])

    torch.testing.assert_close(p @ ends @ f, p @ f)

    draws = torch.Generator().manual_seed(5)
    x = boltzmann_exact.states(D, rule.model.mean)[
        torch.multinomial(p, CHAINS, True, generator=draws)
    ]
    estimate, _ = gradient(rule, x)

    # Variance of the difference of features between both ends of a chain that starts in p.
    square = (p.unsqueeze(1) * ends).unsqueeze(-1) * (f.unsqueeze(0) - f.unsqueeze(1)) ** 2

    assert worst(estimate, torch.zeros_like(estimate), square.sum((0, 1)), CHAINS) < WORST


def test_chains_grow_with_the_passes_and_the_loss_is_divided():
    rule = rule_of(steps=4, grow=10, weight_decay=0.3)
    lengths = {0.01: 1, 10.0: 1, 10.01: 2, 20.0: 2, 35.0: 4, 400.0: 4}

    # Every ten passes the chain grows by a step, up to four.
    for passes, k in lengths.items():
        assert rule.length(Batch(torch.zeros(1, D), passes=torch.tensor(passes))) == k

    x = boltzmann_exact.states(D, rule.model.mean)
    fixed = rule_of(steps=4, weight_decay=0.3)
    state = fixed.state(0, len(x))
    draws = noise.fixed(fixed.draws(*x.shape), 0, "noise")

    # The rule with a fixed chain of that length has the same loss, undivided.
    for passes in (10.01, 35.0):
        k = lengths[passes]
        batch = Batch(x, passes=torch.tensor(passes))
        short = rule_of(steps=k, weight_decay=0.3)
        alone = short(state, batch, {name: v[:k] for name, v in draws.items()})[0]

        torch.testing.assert_close(rule(state, batch, draws)[0], alone / k)


def test_only_couplings_decay():
    rule = rule_of(weight_decay=0.5)
    x = boltzmann_exact.states(D, rule.model.mean)
    with_decay, _ = gradient(rule, x)
    without, _ = gradient(rule_of(), x)
    decayed = [
        0.5 * p.detach() if name == "p.weight" else torch.zeros_like(p)
        for name, p in rule.model.named_parameters()
    ]

    torch.testing.assert_close(with_decay - without, torch.cat([p.reshape(-1) for p in decayed]))


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"grow": 0}, {"chains": 0}, {"weight_decay": -1}, {"valid_chains": 1}]
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(UserError, match=f"objective.{next(iter(wrong))}="):
        rule_of(**wrong)
