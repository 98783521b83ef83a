"""NVIL's input baselines: the largest rate at which they are stable, and one that
went astray is noticed."""

from __future__ import annotations

import math

import pytest
import torch
from kit.nvil import VISIBLE, one_step, rule_of
from torch.func import functional_call, vmap

from vaebench import optim
from vaebench.objectives.nvil import outside


def prediction_after_a_jump(optimiser, rule, steps=60):
    """Largest prediction, nats, of a saturated baseline while it learns a signal that jumps to
    -1000 for all cases."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, VISIBLE, dtype=torch.float64, generator=generator)
    net = rule.baseline[0]

    with torch.no_grad():
        net.hidden.weight.normal_(generator=generator).mul_(1e3)  # every tanh unit at -1 or 1
        net.hidden.bias.fill_(1e5)
        net.output.weight.zero_()

    params = {k: v.detach().unsqueeze(0).clone() for k, v in net.named_parameters()}
    state = {"mean": torch.zeros(1).double(), "variance": torch.zeros(1).double()}
    largest = 0.0

    for _ in range(steps):
        # The baseline takes a step towards the signal of this batch, as an update of the rule does.
        leaves = {k: v[0].requires_grad_() for k, v in params.items()}
        predicted = functional_call(net, leaves, (x,)).unsqueeze(0)
        signal, state = rule.center(
            torch.full((1, 20), -1000.0, dtype=torch.float64), predicted, state
        )
        grads = torch.autograd.grad(-(signal * predicted).sum(), list(leaves.values()))
        grads_of_pack = {k: g.unsqueeze(0) for k, g in zip(leaves, grads, strict=True)}
        optimiser.apply_(
            params, grads_of_pack, {}, dict.fromkeys(params, "baseline"), torch.zeros(1)
        )
        largest = max(largest, float(predicted.detach().abs().max()))

    return largest, float(predicted.detach().abs().mean())


def test_a_jump_of_the_signal_does_not_make_a_saturated_baseline_diverge():
    """At the model's rate 3e-3 it does: rate x 20 x 101 = 6.06, for 20 examples and 100 saturated
    units with a bias. ``largest_rates`` allows 1 / (20 x 101)."""
    rule = rule_of(dims=[3], baseline_units=100, constant_baseline=False)
    fast = {"name": "sgd", "rate": 3e-3}
    largest, last = prediction_after_a_jump(optim.build(fast, rule.largest_rates(20)), rule)

    # Within one per cent of the signal, on the way and in the end.
    assert largest < 1010
    assert abs(last - 1000) < 10

    # The same rate without the limit.
    diverged, _ = prediction_after_a_jump(optim.build(fast), rule)
    assert diverged > 1e9


def test_the_largest_rate_of_the_baselines():
    """It bounds the rule's default alone: the printed rate, and one that is asked
    for, stay as they are."""
    # 20 examples of 100 hidden units and a bias, summed; a mean divides by the 20 again.
    assert rule_of(baseline_units=100).largest_rates(20) == {"baseline": 1 / 2020}
    assert rule_of(baseline_units=100, reduce="mean").largest_rates(20) == {"baseline": 1 / 101}
    assert rule_of(input_baseline=False).largest_rates(20) == {}

    limits = {"baseline": 1 / 2020}

    # The rates of all groups, given the largest stable one.
    rates = lambda **settings: optim.build({"name": "sgd", **settings}, limits).rates  # noqa: E731

    assert rates(rate=3e-4) == dict(model=3e-4, posterior=3e-4 / 5, baseline=3e-4, noise=3e-4)

    limited = dict(model=3e-3, posterior=3e-3 / 5, baseline=1 / 2020, noise=3e-3)
    assert rates(rate=3e-3) == limited
    assert rates(rate=3e-3, baseline_rate=1e-3)["baseline"] == 1e-3


@pytest.mark.parametrize(
    ("raw", "predicted", "astray"),
    [
        ([[-100.0, -20.0], [-2.0, 1.0]], [[499.0, 0.0], [9.0, -9.9]], 0),
        ([[-100.0, -20.0], [-2.0, 1.0]], [[0.0, -501.0], [0.0, 0.0]], 1),
        # By the range of its own layer.
        ([[-100.0, -20.0], [-2.0, 1.0]], [[0.0, 0.0], [10.1, 0.0]], 1),
        # A range below a nat counts as one.
        ([[-100.0, -20.0], [-0.1, 0.1]], [[0.0, 0.0], [4.9, 0.0]], 0),
        ([[-100.0, -20.0], [-0.1, 0.1]], [[0.0, 0.0], [math.inf, 0.0]], 1),
    ],
)
def test_a_prediction_of_five_times_the_range_of_its_signal_is_noticed(raw, predicted, astray):
    assert float(outside(torch.tensor(raw), torch.tensor(predicted))) == astray


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_every_update_tells_whether_a_baseline_is_astray(engine):
    rule = rule_of()
    arguments, _ = one_step(rule)

    assert float(rule(*arguments)[2]["baseline_outside"]) == 0

    # One layer's baseline predicts 10,000 nats.
    with torch.no_grad():
        list(rule.baseline[0].parameters())[-1].fill_(1e4)  # the bias of what it says

    params = dict(rule.named_parameters())

    def metrics(params):
        return functional_call(rule, params, arguments)[2]["baseline_outside"]

    # In the pack only the first of two seeds is astray.
    if engine == "packed":
        two_seeds = {k: torch.stack([v.detach(), v.detach()]) for k, v in params.items()}
        two_seeds["baseline.0." + list(dict(rule.baseline[0].named_parameters()))[-1]][1] = 0.0
        assert vmap(metrics)(two_seeds).tolist() == [1.0, 0.0]
    else:
        assert float(metrics(params)) == 1

    assert "baseline_outside" not in rule_of(input_baseline=False)(*one_step(rule_of())[0])[2]


def test_an_offset_that_the_constant_baseline_takes_back_is_not_outside():
    """The prediction drifts by 1,000 nats and the running mean by as much the other way: what is
    subtracted fits."""
    rule = rule_of()
    (state, batch, draws), _ = one_step(rule)
    with torch.no_grad():
        for net in rule.baseline:
            net.output.weight.zero_()
            net.output.bias.fill_(1000.0)

    # The running mean takes the offset of 1,000 nats back, at its start (a mean of -3 to -1) it
    # does not.
    compensated = {**state, "mean": torch.full_like(state["mean"], -1000.0)}
    assert float(rule(compensated, batch, draws)[2]["baseline_outside"]) == 0
    assert float(rule(state, batch, draws)[2]["baseline_outside"]) == 1

    # Without the constant baseline nothing takes it back.
    without_constant = rule_of(constant_baseline=False)
    without_constant.load_state_dict(rule.state_dict())

    assert float(without_constant(compensated, batch, draws)[2]["baseline_outside"]) == 1
