"""What every optimiser must keep: descent, seeds apart, going on from a saved
state, rates by group."""

from __future__ import annotations

import pytest
import torch

from vaebench import optim

GROUPS = {"a": "model", "b": "posterior"}


CASES = [
    {"name": name, **settings}
    for name, cls in optim.OPTIMS.items()
    for settings in vars(cls).get("tiny", ())
]


def test_every_optimiser_has_tiny_settings_of_its_own():
    assert {case["name"] for case in CASES} == set(optim.OPTIMS)


@pytest.fixture(params=CASES, ids=lambda case: case["name"])
def settings(request):
    return request.param


@pytest.fixture
def rule(settings):
    return optim.build(settings)


def start(seeds):
    """Parameters (seeds, ...) of two groups, other ones for every seed."""
    g = torch.Generator().manual_seed(0)
    return {"a": torch.randn(seeds, 3, 2, generator=g), "b": torch.randn(seeds, 4, generator=g)}


def loss(params):
    """Half the squared length, (seeds,); its gradient is the parameters themselves."""
    return sum(0.5 * (p**2).flatten(1).sum(1) for p in params.values())


def states(rule, params):
    """The states of all seeds, each made for its own parameters, with the leading axis."""
    seeds = len(params["a"])
    of_each_seed = [rule.state({k: v[r] for k, v in params.items()}) for r in range(seeds)]
    return {k: torch.stack([state[k] for state in of_each_seed]) for k in of_each_seed[0]}


def descend(rule, params, state, steps, done=0, budget=100):
    for step in range(done, done + steps):
        # The gradient of ``loss`` at the parameters is the parameters.
        grads = {k: v.clone() for k, v in params.items()}
        rule.apply_(params, grads, state, GROUPS, torch.full((len(params["a"]),), step / budget))


def test_it_descends(rule):
    params = start(2)
    before = loss(params)
    descend(rule, params, states(rule, params), 20)

    assert (loss(params) < 0.9 * before).all()


def test_seeds_of_a_pack_do_not_know_of_each_other(rule):
    together = start(3)
    descend(rule, together, states(rule, together), 5)
    for r in range(3):
        alone = {k: v[r : r + 1].clone() for k, v in start(3).items()}
        descend(rule, alone, states(rule, alone), 5)
        for k, v in alone.items():
            torch.testing.assert_close(together[k][r : r + 1], v)


def test_it_goes_on_from_a_saved_state_bit_for_bit(rule):
    uninterrupted = start(2)
    descend(rule, uninterrupted, states(rule, uninterrupted), 7)

    params = start(2)
    state = states(rule, params)
    descend(rule, params, state, 3)

    # Saved and read back: copies of every tensor.
    params, state = ({k: v.clone() for k, v in part.items()} for part in (params, state))
    descend(rule, params, state, 4, done=3)

    assert all(torch.equal(params[k], uninterrupted[k]) for k in uninterrupted)


def test_without_a_gradient_nothing_moves(rule):
    params = start(2)
    zeros = {k: torch.zeros_like(v) for k, v in params.items()}
    rule.apply_(params, zeros, states(rule, params), GROUPS, torch.zeros(2))

    assert all(torch.equal(params[k], v) for k, v in start(2).items())


def test_groups_have_rates_of_their_own(settings):
    """An inference network at a tenth of the rate moves a tenth as far, in
    the first step at least."""
    moves = {}
    for label, rate in (("default", 0.05), ("slow", 0.005)):
        rule = optim.build({**settings, "posterior_rate": rate})
        params = start(1)
        descend(rule, params, states(rule, params), 1)
        moves[label] = {k: params[k] - start(1)[k] for k in params}

    # The group without a rate of its own takes the same step.
    torch.testing.assert_close(moves["slow"]["a"], moves["default"]["a"])
    torch.testing.assert_close(
        moves["slow"]["b"], 0.1 * moves["default"]["b"], rtol=1e-4, atol=1e-6
    )


def test_a_limit_never_raises_a_rate(rule):
    before = dict(rule.rates)
    rule.limit({"model": 1e9, "posterior": 1e9})
    assert rule.rates == before

    rule.limit({"posterior": 1e-4})
    assert all(rule.rates[k] <= v for k, v in before.items())
    assert rule.rates["model"] == before["model"]
