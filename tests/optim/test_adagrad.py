"""Adagrad against PyTorch's own optimiser, whichever way the step is computed."""

from __future__ import annotations

import pytest
import torch

from vaebench import optim
from vaebench.errors import UserError

GROUPS = {"w": "model", "v": "posterior"}


def start(seeds, dtype):
    g = torch.Generator().manual_seed(0)
    shapes = {"w": (seeds, 3, 2), "v": (seeds, 4)}
    return {name: torch.randn(shape, generator=g, dtype=dtype) for name, shape in shapes.items()}


# float32 takes the fused step, float64 goes operation by operation.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "settings", [{}, {"epsilon": 0.1, "initial": 0.5}, {"posterior_rate": 0.02}]
)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_updates_are_pytorchs(dtype, settings, decay):
    rule = optim.build({"name": "adagrad", "rate": 0.1, **settings})
    params = start(2, dtype)

    # State and copies of two seeds that start apart and have the same settings.
    state = {
        k: torch.stack([v, v]) for k, v in rule.state({k: v[0] for k, v in params.items()}).items()
    }
    copies = [{k: v[r].clone().requires_grad_() for k, v in params.items()} for r in range(2)]
    theirs = [
        torch.optim.Adagrad(
            [{"params": [p["w"]]}, {"params": [p["v"]], "lr": settings.get("posterior_rate", 0.1)}],
            lr=0.1,
            weight_decay=decay,
            eps=settings.get("epsilon", 1e-10),
            initial_accumulator_value=settings.get("initial", 0.0),
            foreach=False,
        )
        for p in copies
    ]
    generator = torch.Generator().manual_seed(1)

    # Both take the same gradients.
    for _ in range(20):
        grads = {
            k: torch.randn(v.shape, generator=generator, dtype=dtype) for k, v in params.items()
        }
        rule.apply_(
            params,
            grads,
            state,
            GROUPS,
            torch.zeros(2),
            decay=dict.fromkeys(params, decay) if decay else {},
        )
        for r in range(2):
            for k, p in copies[r].items():
                p.grad = grads[k][r].clone()
            theirs[r].step()

    for r in range(2):
        for k, p in copies[r].items():
            torch.testing.assert_close(params[k][r], p.detach())


def test_a_part_of_the_groups_can_move_alone():
    rule = optim.build({"name": "adagrad", "rate": 0.1})
    params = start(1, torch.float32)
    state = {k: v.unsqueeze(0) for k, v in rule.state({k: v[0] for k, v in params.items()}).items()}
    before = {k: v.clone() for k, v in params.items()}

    # Only the group "model" moves.
    rule.apply_(
        params,
        {k: torch.ones_like(v) for k, v in params.items()},
        state,
        GROUPS,
        torch.zeros(1),
        ("model",),
    )

    assert torch.equal(params["v"], before["v"])

    # A first step of Adagrad has the size of the rate: gradient / sqrt(gradient^2).
    torch.testing.assert_close(params["w"], before["w"] - 0.1)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rate": 0}, "above 0"),
        ({"rate": 0.1, "epsilon": 0}, r"optim\.epsilon=0"),
        ({"rate": 0.1, "initial": -1}, r"optim\.initial=-1"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(UserError, match=says):
        optim.build({"name": "adagrad", **settings})
