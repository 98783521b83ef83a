"""Adam by groups under one clip: against PyTorch's, and the fall of its rates."""

from __future__ import annotations

import pytest
import torch

from vaebench import optim
from vaebench.errors import UserError

GROUPS = {"model.p.w": "model", "model.p.b": "model", "model.q.w": "posterior"}
SHAPES = {"model.p.w": (3, 4), "model.p.b": (3,), "model.q.w": (5,)}


def clipped(**config):
    return optim.build({"name": "clipped_adam", "rate": 0.01, **config})


def packed(rule, params):
    """State of all seeds of ``params`` (seeds, ...)."""
    of_seeds = [rule.state({k: v[r] for k, v in params.items()}) for r in range(2)]
    return {k: torch.stack([s[k] for s in of_seeds]) for k in of_seeds[0]}


def test_two_adams_of_pytorch_and_its_joint_clip():
    """For every seed, with groups that take turns: each keeps a count of its
    own, all share the norm."""
    generator = torch.Generator().manual_seed(0)

    def draw(scale):
        return {k: scale * torch.randn(2, *s, generator=generator) for k, s in SHAPES.items()}

    rule = clipped(posterior_rate=0.03, clip=5.0)
    params = draw(1.0)

    # PyTorch's parameters of each seed, and one of its optimisers for each group.
    theirs = [{k: v[r].clone().requires_grad_() for k, v in params.items()} for r in range(2)]
    steps = [
        {
            group: torch.optim.Adam([p for k, p in of_seed.items() if GROUPS[k] == group], lr=rate)
            for group, rate in (("model", 0.01), ("posterior", 0.03))
        }
        for of_seed in theirs
    ]
    state = packed(rule, params)

    # None: both groups move.
    turns = [None, ("posterior",), ("posterior",), ("model",), None]

    for turn in turns * 6:
        grads = draw(1.5)

        # The first seed's gradients are clipped, the second's, ten times smaller, are not.
        grads = {
            k: v * torch.tensor([1.0, 0.1]).view(2, *(1,) * (v.dim() - 1)) for k, v in grads.items()
        }
        rule.apply_(params, grads, state, GROUPS, torch.zeros(2), turn)

        # One clip over all gradients, then a step of the groups whose turn it is.
        for r, of_seed in enumerate(theirs):
            for k, p in of_seed.items():
                p.grad = grads[k][r].clone()

            torch.nn.utils.clip_grad_norm_(of_seed.values(), 5.0)
            for group in turn or ("model", "posterior"):
                steps[r][group].step()

    for r, of_seed in enumerate(theirs):
        for k, p in of_seed.items():
            torch.testing.assert_close(params[k][r], p.detach(), rtol=1e-5, atol=1e-6)

    # 30 turns: 3 of 5 move the model, 4 of 5 the posterior.
    assert state["count/model"].tolist() == [18, 18]
    assert state["count/posterior"].tolist() == [24, 24]


def test_a_fall_compares_with_the_best_and_starts_anew():
    """Validations above the best count, whatever came between; a fall does not raise the
    bar, and empties Adam."""
    rule = clipped(patience=2, first=0, decays=3)

    # Moments of ones, so that it shows when a fall empties them.
    state = {
        k: torch.ones_like(v) if "/" in k else v
        for k, v in rule.state({"w": torch.zeros(3)}).items()
    }
    falls = []

    for validation, loss in enumerate([5.0, 6.0, 7.0, 6.5, 6.5, 4.0, 4.0, 4.5, 4.5, 4.5]):
        before = float(state["factor"])
        state, verdict = rule.validated(state, loss, validation)
        if float(state["factor"]) < before:
            # A fall empties Adam, everything else leaves it.
            falls.append((validation, verdict.reload, bool(verdict.stop)))
            assert all(not v.any() for k, v in state.items() if "/" in k)
            state = {k: torch.ones_like(v) if "/" in k else v for k, v in state.items()}
        else:
            assert all(v.all() for k, v in state.items() if "/" in k)

    # 6.5 is below the loss that caused the first fall, and no success all the same.
    assert falls == [(2, True, False), (4, True, False), (8, True, True)]
    assert float(state["bar"]) == 4.0


@pytest.mark.parametrize(
    "wrong", [{"clip": 0}, {"beta1": 1.0}, {"beta2": -0.1}, {"epsilon": 0}, {"patience": 0}]
)
def test_bad_settings(wrong):
    with pytest.raises(UserError, match=f"optim.{next(iter(wrong))}="):
        clipped(**wrong)


def test_a_group_without_a_rate_is_named():
    rule = clipped()
    params = {"baseline.w": torch.zeros(1, 2)}
    with pytest.raises(UserError, match="baseline"):
        rule.apply_(params, params, rule.state(params), {"baseline.w": "baseline"}, torch.zeros(1))
