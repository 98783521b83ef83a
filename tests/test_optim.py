"""Plain gradient descent with a rate for each group."""

from __future__ import annotations

import pytest
import torch

from vaebench import optim
from vaebench.errors import UserError

GROUPS = {"model.p.w": "model", "model.q.w": "posterior", "baseline.w": "baseline"}


def after(**config):
    """Every parameter starts at 1 with gradient 2, with and without a leading axis of seeds."""
    rule = optim.build({"name": "sgd", **config})
    out = []
    for shape in ((1,), (3, 1)):
        params = {name: torch.ones(shape, requires_grad=True) for name in GROUPS}
        grads = {name: torch.full(shape, 2.0) for name in GROUPS}
        state = rule.state(params)
        assert state == {}
        assert rule.apply_(params, grads, state, GROUPS, torch.zeros(shape[0])) is None
        assert all((p == p.flatten()[0]).all() for p in params.values())
        out.append([float(p.detach().flatten()[0]) for p in params.values()])
    assert out[0] == out[1]
    return out[0]


def test_rates_of_the_paper():
    assert after(rate=0.1) == pytest.approx([1 - 0.2, 1 - 0.04, 1 - 0.2])


def test_rates_of_their_own():
    assert after(rate=0.1, posterior_rate=0.3, baseline_rate=0.05) == pytest.approx([1 - 0.2, 1 - 0.6, 1 - 0.1])
    assert after(rate=0.1, posterior_rate=None, baseline_rate=None) == pytest.approx(after(rate=0.1))


@pytest.mark.parametrize("bad", [0, 0.0, -1e-3, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("key", "group"), [("posterior_rate", "posterior"), ("baseline_rate", "baseline"), ("rate", "model")]
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
