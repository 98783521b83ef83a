"""The least KL of any machine: no descent from anywhere gets below it, and some get there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.estimators import rbm_fit
from vaebench.metrics.exact_kl import METRIC
from vaebench.metrics.job import Job
from vaebench.settings.records import EvalSettings

RESTARTS = 50


def descent(model, theta, steps=100):
    """KL(q || p) of each machine, (batch,), after steps of the natural gradient from the parameters
    ``theta`` (batch, 24).

    With -E = theta.T(z) the gradient is Cov(T, log q - log p), and the Fisher information is
    Cov(T, T). Both are sums over all states.
    """
    bit = torch.tensor([0.0, 1.0], dtype=torch.float64)
    z = torch.cartesian_prod(*[bit] * 8)

    # T(z): the eight bits, then the sixteen products of a bit of each side, (256, 24).
    features = torch.stack([*z.T, *(z[:, i] * z[:, 4 + j] for i in range(4) for j in range(4))], 1)
    log_p = model.target(z[:, :4], z[:, 4:])

    for step in range(steps + 1):
        log_q = torch.log_softmax(theta @ features.T, 1)
        ratio = log_q - log_p
        q = log_q.exp()
        kl = (q * ratio).sum(1)

        if step < steps:
            centred = features - (q @ features).unsqueeze(1)
            weighted = (q.unsqueeze(-1) * centred).mT

            # Damped a little, so that the system can always be solved.
            fisher = weighted @ centred + 1e-3 * torch.eye(24, dtype=torch.float64)
            theta = theta - 0.3 * torch.linalg.solve(
                fisher, weighted @ (ratio - kl[:, None]).unsqueeze(-1)
            ).squeeze(-1)

    return kl


@pytest.mark.parametrize(("mixture", "low"), [(1, 0.05), (6, 0.1)])
def test_no_restart_gets_below_it(mixture, low):
    """Fifty restarts of another method, from small and from large parameters. Both targets have
    other minima too, where some of the restarts end."""
    model = models.build(
        {"name": "rbm_target", "mixture": mixture, "low": low}, DataInfo(np.zeros(1))
    ).double()
    least = rbm_fit.rbm_fit(model)["kl_optimum"]
    generator = torch.Generator().manual_seed(mixture)
    scale = torch.linspace(0.1, 1.5, RESTARTS, dtype=torch.float64).unsqueeze(1)

    kl = descent(model, scale * torch.randn(RESTARTS, 24, generator=generator, dtype=torch.float64))

    assert float(kl.min()) > least - 1e-9
    assert float(kl.min()) == pytest.approx(least, abs=5e-3)
    assert float(kl.max()) > least + 0.1


def test_gap_of_a_perfect_fit():
    """A target of one component is factorial, and so is a machine without couplings: the least KL
    is 0, and so is the gap."""
    model = models.build({"name": "rbm_target", "side": 2, "components": 1}, DataInfo(np.zeros(1)))
    with torch.no_grad():
        model.q.b1.copy_(model.slopes[0, :2])
        model.q.b2.copy_(model.slopes[0, 2:])

    fit = rbm_fit.rbm_fit(model)
    assert all(abs(v) < 1e-6 for v in fit.values())

    with torch.no_grad():
        model.q.b1.add_(1.0)

    worse = rbm_fit.rbm_fit(model)
    assert worse["gap"] > 0.01
    assert worse["gap"] == worse["exact_kl"] - worse["kl_optimum"]
    assert worse["kl_optimum"] == fit["kl_optimum"]

    kl, gap = METRIC.measures(Job(model, torch.zeros(1, 1), EvalSettings(), 0), worse)
    assert (kl.value, kl.extra["least"]) == (worse["exact_kl"], worse["kl_optimum"])
    assert gap.value == worse["gap"]
    assert next(model.parameters()).dtype == torch.float32  # the model itself is left alone
