"""Plain gradient descent with a rate for each group."""

from __future__ import annotations

import pytest
import torch

from vaebench import optim
from vaebench.errors import UserError

GROUPS = {"model.p.w": "model", "model.q.w": "posterior", "baseline.w": "baseline"}


def after(**config):
    """What a step makes of parameters at 1 with gradient 2, one in each group.

    It is taken with and without a leading axis of seeds.
    """
    rule = optim.build({"name": "sgd", **config})
    by_shape = []
    for shape in ((1,), (3, 1)):
        params = {name: torch.ones(shape, requires_grad=True) for name in GROUPS}
        grads = {name: torch.full(shape, 2.0) for name in GROUPS}
        state = rule.state(params)

        assert state == {}
        assert rule.apply_(params, grads, state, GROUPS, torch.zeros(shape[0])) is None
        assert all((p == p.flatten()[0]).all() for p in params.values())

        by_shape.append([float(p.detach().flatten()[0]) for p in params.values()])

    assert by_shape[0] == by_shape[1]

    return by_shape[0]


def test_rates_of_the_paper():
    # The posterior's rate is a fifth of the model's.
    assert after(rate=0.1) == pytest.approx([1 - 0.2, 1 - 0.04, 1 - 0.2])


def test_rates_of_their_own():
    assert after(rate=0.1, posterior_rate=0.3, baseline_rate=0.05) == pytest.approx(
        [1 - 0.2, 1 - 0.6, 1 - 0.1]
    )
    assert after(rate=0.1, posterior_rate=None, baseline_rate=None) == pytest.approx(
        after(rate=0.1)
    )


@pytest.mark.parametrize("bad", [0, 0.0, -1e-3, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("key", "group"),
    [("posterior_rate", "posterior"), ("baseline_rate", "baseline"), ("rate", "model")],
)
def test_bad_rates(key, group, bad):
    with pytest.raises(UserError, match=f"rate of group '{group}' is .* above 0"):
        optim.build({"name": "sgd", "rate": 0.1, key: bad})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "sgb", "rate": 0.1}, "optim 'sgb'"),
        ({"name": "sgd"}, "missing 1 required positional argument: 'rate'"),
        ({"name": "sgd", "rate": 0.1, "momentum": 0.9}, "unexpected keyword argument 'momentum'"),
        ({"name": "sgd", "rate": "fast"}, "optim sgd"),
    ],
)
def test_bad_settings(config, message):
    with pytest.raises(UserError) as error:
        optim.build(config)
    assert message in str(error.value)


# --------------------------------------------------------------------------------------------- Adam


def adam(**config):
    return optim.build({"name": "adam", "rate": 0.01, **config})


@pytest.mark.parametrize("epsilon", [1e-8, 1e-3])
def test_adam_is_torchs_for_every_seed(epsilon):
    generator = torch.Generator().manual_seed(0)
    rule = adam(epsilon=epsilon, posterior_rate=0.03)
    params = {
        "a": torch.randn(2, 3, 4, generator=generator),
        "b": torch.randn(2, 3, generator=generator),
    }
    groups = {"a": "model", "b": "posterior"}
    theirs = []
    steps = []

    # PyTorch's optimisers, one for each seed.
    for r in range(2):
        copies = {k: v[r].clone().requires_grad_() for k, v in params.items()}
        rates = [{"params": [copies["a"]], "lr": 0.01}, {"params": [copies["b"]], "lr": 0.03}]
        theirs.append(copies)
        steps.append(torch.optim.Adam(rates, eps=epsilon))

    of_seeds = [rule.state({k: v[r] for k, v in params.items()}) for r in range(2)]
    state = {k: torch.stack([s[k] for s in of_seeds]) for k in of_seeds[0]}
    for _ in range(40):
        grads = {k: torch.randn(v.shape, generator=generator) for k, v in params.items()}
        rule.apply_(params, grads, state, groups, torch.zeros(2))
        for r in range(2):
            for k, p in theirs[r].items():
                p.grad = grads[k][r].clone()
            steps[r].step()

    for r in range(2):
        for k, p in theirs[r].items():
            torch.testing.assert_close(params[k][r], p.detach(), rtol=1e-5, atol=1e-6)

    assert state["count"].tolist() == [40, 40]


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", {0.0: 1, 0.5: 1, 0.99: 1}),
        (
            "steps",
            {
                0.0: 1,
                0.5999: 1,
                0.6: 0.3,
                0.74: 0.3,
                0.75: 0.09,
                0.9499: 0.09,
                0.95: 0.027,
                0.999: 0.027,
            },
        ),
        (
            "iwae",
            {
                0.0: 1,
                0.9 / 3280: 1,
                1.1 / 3280: 10 ** (-1 / 7),
                1092.9 / 3280: 10 ** (-6 / 7),
                1093.1 / 3280: 0.1,
            },
        ),
        (
            "warm_steps",
            {0.0: 0.1, 0.0199: 0.1, 0.02: 1, 0.59: 1, 0.6: 1 / 3, 0.75: 0.1, 0.95: 1 / 33},
        ),
    ],
)
def test_schedules_are_shares_of_the_budget(schedule, factors):
    rule = adam(schedule=schedule)
    schedule_factors = rule.factor(torch.tensor(list(factors)))

    torch.testing.assert_close(schedule_factors, torch.tensor(list(map(float, factors.values()))))
    assert rule.budget_free is (schedule == "constant")

    # The first step of Adam has the size of the rate.
    for progress, factor in factors.items():
        params = {"model.p.w": torch.zeros(1, 1)}
        state = {k: v.unsqueeze(0) for k, v in rule.state({"model.p.w": torch.zeros(1)}).items()}
        rule.apply_(
            params, {"model.p.w": torch.ones(1, 1)}, state, GROUPS, torch.tensor([progress])
        )

        assert float(params["model.p.w"]) == pytest.approx(-0.01 * factor, rel=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"schedule": "warm_stops"},
            "optim.schedule='warm_stops': did you mean 'warm_steps'? allowed: constant, iwae, "
            "steps, warm_steps",
        ),
        ({"beta1": 1.0}, "optim.beta1=1.0: must be at least 0 and below 1"),
        ({"beta2": -0.1}, "optim.beta2=-0.1: must be at least 0 and below 1"),
        ({"epsilon": 0}, "optim.epsilon=0: must be a positive number"),
        ({"rate": 0}, "optim: the rate of group 'model' is 0.0; it must be a number above 0"),
        (
            {"posterior_rate": -1},
            "optim: the rate of group 'posterior' is -1.0; it must be a number above 0",
        ),
    ],
)
def test_bad_settings_of_adam(config, message):
    with pytest.raises(UserError) as error:
        adam(**config)
    assert str(error.value) == message


# ---------------------------------------------------------------------------------- clipped descent


def clipped(**config):
    return optim.build({"name": "clipped_sgd", "rate": 1.0, **config})


def some(seeds=2):
    """Parameters, gradients and groups of several seeds."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"model.p.w": (3, 4), "model.p.b": (3,), "model.q.w": (5,)}
    groups = {k: "model" if ".p." in k else "posterior" for k in shapes}

    def make(scale):
        return {k: scale * torch.randn(seeds, *s, generator=generator) for k, s in shapes.items()}

    return make(1.0), make(3.0), groups


@pytest.mark.parametrize("only", [None, ("posterior",), ("model",)])
def test_the_clip_is_joint_whichever_groups_move(only):
    params, grads, groups = some()

    # The gradients of the second seed are too small to be clipped.
    grads = {
        k: v * torch.tensor([1.0, 1e-3]).reshape(2, *(1,) * (v.dim() - 1)) for k, v in grads.items()
    }

    rule = clipped(posterior_rate=3.0)
    before = {k: v.clone() for k, v in params.items()}
    rule.apply_(params, grads, rule.state(before), groups, torch.zeros(2), only)

    # The norm is that of all gradients, also of groups that do not move.
    for r in range(2):
        theirs = [torch.nn.Parameter(before[k][r].clone()) for k in params]
        for p, k in zip(theirs, params, strict=True):
            p.grad = grads[k][r].clone()

        torch.nn.utils.clip_grad_norm_(theirs, 5.0)
        for p, k in zip(theirs, params, strict=True):
            # No rate for a group that does not move.
            rate = (3.0 if groups[k] == "posterior" else 1.0) * (only is None or groups[k] in only)
            torch.testing.assert_close(params[k][r], p.detach() - rate * p.grad)

    # The first seed's norm exceeds the clip of 5, the second's does not.
    assert (
        float(sum(v[0].square().sum() for v in grads.values()))
        > 25
        > 1
        > grads["model.q.w"][1].abs().max()
    )


def test_without_a_clip_it_is_plain_descent():
    params, grads, groups = some()
    wanted = {k: v - 0.1 * grads[k] for k, v in params.items()}
    rule = clipped(rate=0.1, clip=None)
    rule.apply_(params, grads, rule.state(params), groups, torch.zeros(2))

    torch.testing.assert_close(params, wanted)


def falls(losses, **config):
    """(validation, factor of the rates, reload, stop) at every fall, for losses
    of validations 0, 1, ..."""
    rule = clipped(**config)
    state = rule.state({"w": torch.zeros(1, 1)})
    falls_of_rate = []

    for validation, loss in enumerate(losses):
        before = float(state["factor"])
        state, verdict = rule.validated(state, loss, validation)

        # A validation without a fall has no consequences.
        if float(state["factor"]) != before:
            falls_of_rate.append(
                (validation, float(state["factor"]), verdict.reload, bool(verdict.stop))
            )
        else:
            assert verdict == optim.Verdict()

    return falls_of_rate


def test_the_rates_fall_when_the_count_is_full_and_not_before_the_first():
    assert falls([5, 6, 7, 8, 9], patience=2, first=0) == [
        (2, 0.5, True, False),
        (4, 0.25, True, False),
    ]

    # Success empties the count.
    assert falls([5, 6, 4, 6, 6], patience=2, first=0) == [(4, 0.5, True, False)]
    assert falls([5, 5, 5, 5], patience=1, first=0) == []  # as good as the bar is good enough

    # Failures before validation 15 count, so the rates fall at 15 at once. A success there does
    # nothing.
    assert falls([5, *[6] * 20], patience=2, first=15)[0] == (15, 0.5, True, False)
    assert falls([5, *[6] * 14, 4, 6, 6], patience=2, first=15)[0] == (17, 0.5, True, False)


def test_after_a_fall_the_bar_is_the_loss_that_caused_it():
    # 5 is the best, and 7 causes the fall. 6.5 is above the best and yet a success.
    assert falls([5, 6, 7, 6.5, 7, 6.4], patience=2, first=0) == [(2, 0.5, True, False)]


def test_training_ends_with_the_last_fall():
    all_falls = falls([5, 6, 7, 8, 9], patience=1, first=0, decays=3, factor=0.1, reload=False)
    assert [fall[2:] for fall in all_falls[:3]] == [(False, False), (False, False), (False, True)]
    assert [fall[1] for fall in all_falls[:3]] == pytest.approx([0.1, 0.01, 0.001])


@pytest.mark.parametrize("wrong", [{"clip": 0}, {"factor": 1.0}, {"patience": 0}, {"decays": 0},
                                   {"first": -1}, {"reload": "yes"}])  # fmt: skip
def test_bad_settings_of_clipped_descent(wrong):
    with pytest.raises(UserError, match=f"optim.{next(iter(wrong))}="):
        clipped(**wrong)


def test_a_group_without_a_rate_is_named():
    rule = clipped()
    params = {"baseline.w": torch.zeros(1, 2)}
    with pytest.raises(UserError, match="baseline"):
        rule.apply_(params, params, rule.state(params), {"baseline.w": "baseline"}, torch.zeros(1))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_adam_adds_decay_to_the_gradient(kind):
    """Of the parameters that have some, by the fused step (float32) and by parts."""
    generator = torch.Generator().manual_seed(0)
    start = {k: torch.randn(2, 3, generator=generator, dtype=kind) for k in "abc"}
    groups = {"a": "model", "b": "posterior", "c": "model"}
    decay = {"a": 0.3, "b": 0.2}
    results = []

    # Decay added by the step, and decay added to its gradients by hand.
    for by_step in (True, False):
        rule = optim.build({"name": "adam", "rate": 0.1, "posterior_rate": 0.01})
        params = {k: v.clone() for k, v in start.items()}
        moments = {
            f"{m}/{k}": torch.zeros_like(v) for m in ("first", "second") for k, v in start.items()
        }
        state = {**moments, "count": torch.zeros(2, dtype=kind)}

        for _ in range(5):
            grads = {k: v.sin() for k, v in start.items()}
            if not by_step:
                grads = {k: g + decay.get(k, 0.0) * params[k] for k, g in grads.items()}

            rule.apply_(
                params, grads, state, groups, torch.zeros(2), decay=decay if by_step else None
            )

        results.append({**params, **state})

    for name, v in results[0].items():
        torch.testing.assert_close(v, results[1][name])

    assert not torch.equal(results[0]["a"], start["a"])
