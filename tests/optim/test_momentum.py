"""Momentum against PyTorch's own, and its schedules by hand."""

from __future__ import annotations

import pytest
import torch

from vaebench import optim
from vaebench.errors import UserError

GROUPS = {"w": "model"}


def grad(p):
    """The gradient of a function that is not quadratic."""
    return torch.sin(p) + 0.3 * p


def ours(steps, budget=20, **settings):
    """Parameters after some steps of the tested rule, ``budget`` being the whole training."""
    rule = optim.build({"name": "momentum", "rate": 0.1, **settings})

    # A leading axis for the one seed.
    p = torch.tensor([[0.5, -2.0, 3.0]], dtype=torch.float64)
    params = {"w": p}
    state = {k: v.unsqueeze(0) for k, v in rule.state({"w": p[0]}).items()}

    for t in range(steps):
        rule.apply_(params, {"w": grad(p)}, state, GROUPS, torch.tensor([t / budget]))

    return p[0]


@pytest.mark.parametrize("nesterov", [False, True])
def test_at_a_constant_rate_it_is_pytorchs(nesterov):
    p = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([p], lr=0.1, momentum=0.8, nesterov=nesterov)
    for _ in range(12):
        p.grad = grad(p.detach())
        theirs.step()

    torch.testing.assert_close(
        ours(12, momentum=0.8, nesterov=nesterov), p.detach(), rtol=1e-6, atol=1e-6
    )


def test_momentum_rises_after_so_many_updates_and_the_rate_falls():
    # Written out: momentum 0.2 for four updates, then 0.7. The rate falls linearly over 20 updates,
    # and with 1 / (1 + 0.5 t).
    p = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    velocity = torch.zeros(3, dtype=torch.float64)
    for t in range(9):
        momentum = 0.2 if t < 4 else 0.7
        rate = 0.1 * (1 - t / 20) / (1 + 0.5 * t)
        velocity = momentum * velocity - rate * grad(p)
        p = p + velocity

    parameters = ours(9, momentum=0.7, start=0.2, switch=4, schedule="linear", decrease=0.5)
    torch.testing.assert_close(parameters, p, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"momentum": 1.0},
        {"start": -0.1},
        {"switch": -1},
        {"schedule": "cosine"},
        {"decrease": -1.0},
    ],
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(UserError, match=f"optim.{next(iter(wrong))}="):
        optim.build({"name": "momentum", "rate": 0.1, **wrong})
