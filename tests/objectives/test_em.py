"""EM: a sweep is the two steps in plain NumPy, the penalised likelihood never falls, batches make
no difference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.models.bernoulli_mixture import BernoulliMixture
from vaebench.objectives.base import Batch
from vaebench.objectives.em import EDGE, EM

CASES = 60
PIXELS = 7
COMPONENTS = 5


def data(seed=0):
    """Two kinds of examples, noisy."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.rand(CASES, 1, generator=generator) < 0.4
    p = torch.where(kind, torch.linspace(0.1, 0.9, PIXELS), torch.linspace(0.8, 0.05, PIXELS))
    return (torch.rand(CASES, PIXELS, generator=generator) < p).double()


def built(x, jitter=0.05, **settings):
    """The rule, its model's logits N(0, jitter^2)."""
    model = BernoulliMixture(DataInfo(x.mean(0)), COMPONENTS).double()
    with torch.no_grad():
        model.p["logits"].normal_(0.0, jitter, generator=torch.Generator().manual_seed(1))
    return EM(model, **settings)


class Training:
    """Updates of a rule in float64 by gradient steps at rate 1, on the examples in their order."""

    def __init__(self, rule, x):
        self.rule = rule
        self.x = x
        self.state = rule.state(0, len(x))
        self.made = 0

    def advance(self, batch, updates):
        """Returns the sum of the bounds."""
        total = 0.0
        for _ in range(updates):
            rows = torch.arange(self.made * batch, (self.made + 1) * batch) % len(self.x)
            loss, self.state, metrics = self.rule(self.state, Batch(self.x[rows]), {})
            params = list(self.rule.parameters())

            with torch.no_grad():
                for p, g in zip(params, torch.autograd.grad(loss, params), strict=True):
                    p.sub_(g)

            total += float(metrics["bound"])
            self.made += 1

        return total

    def params(self):
        return {k: v.detach().clone() for k, v in self.rule.model.p.items()}


def plain_e_step(x, logits, log_weights):
    """log p(x) and responsibilities, component by component."""
    means = 1 / (1 + np.exp(-logits))
    weights = np.exp(log_weights) / np.exp(log_weights).sum()
    joint = np.stack(
        [
            w * np.prod(np.where(x == 1, m, 1 - m), axis=1)
            for w, m in zip(weights, means, strict=True)
        ],
        axis=1,
    )

    return np.log(joint.sum(1)), joint / joint.sum(1, keepdims=True)


def plain_m_step(x, r, prior):
    counts = r.sum(0)
    means = (r.T @ x + prior) / (counts + 2 * prior)[:, None]
    return np.log(means / (1 - means)), np.log(counts / counts.sum())


def plain_start(x, jitter, shrink):
    # The first examples, pulled towards the mean of the data, which the rule holds in float32.
    means = (1 - shrink) * x[:COMPONENTS] + shrink * x.mean(0).astype(
        np.float32,
    ).astype(float).clip(EDGE, 1 - EDGE)
    return np.log(means / (1 - means)) + jitter, np.zeros(COMPONENTS)


@pytest.mark.parametrize("batch", [60, 20, 5])
@pytest.mark.parametrize("prior", [0.1, 1.0])
def test_sweeps_are_those_of_plain_numpy(batch, prior):
    """Whatever the batch, as long as it divides the data: the sums of a sweep are the same."""
    x = data()
    rule = built(x, prior=prior, shrink=0.3)
    jitter = rule.model.p["logits"].detach().numpy().copy()
    training = Training(rule, x)

    x = x.numpy()
    logits, log_weights = plain_start(x, jitter, 0.3)

    # Each sweep of EM is one pass: CASES // batch updates.
    for _ in range(4):
        log_p, r = plain_e_step(x, logits, log_weights)
        logits, log_weights = plain_m_step(x, r, prior)
        sum_of_bounds = training.advance(batch, CASES // batch)
        params = training.params()

        np.testing.assert_allclose(params["logits"], logits, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(params["log_weights"], log_weights, rtol=1e-9, atol=1e-9)
        assert sum_of_bounds * batch / CASES == pytest.approx(log_p.mean(), rel=1e-9)


def penalised(model, x, prior):
    """The log-likelihood of all examples plus the log prior of the means, up to a constant."""
    means = torch.sigmoid(model.p["logits"])
    penalty = prior * torch.log(means * (1 - means)).sum() if prior else 0.0
    return model.log_evidence(x).sum() + penalty


@pytest.mark.parametrize("prior", [0.0, 0.1, 1.0])
def test_the_penalised_likelihood_never_falls(prior):
    x = data(1)
    rule = built(x, prior=prior)
    training = Training(rule, x)
    after_sweeps = []

    # 40 sweeps of three updates each.
    for _ in range(40):
        training.advance(20, 3)
        after_sweeps.append(float(penalised(rule.model, x, prior).detach()))

    # 1e-9 is rounding; 1 shows that it rose at all.
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(after_sweeps))
    assert after_sweeps[-1] > after_sweeps[0] + 1


def test_where_it_ends_the_penalised_likelihood_is_flat():
    """Its gradient by autograd is 0 there, which a wrong M-step would not give."""
    x = data(2)
    rule = built(x, prior=0.5)

    Training(rule, x).advance(60, 3000)
    grads = torch.autograd.grad(penalised(rule.model, x, 0.5), list(rule.model.parameters()))

    assert max(float(g.abs().max()) for g in grads) < 1e-6


def test_nothing_moves_within_a_sweep():
    training = Training(built(data()), data())
    training.advance(20, 1)
    after_first_update = training.params()

    # Three batches of 20 make a sweep. The first update places the components, the third maximises.
    training.advance(20, 1)

    assert all(torch.equal(v, after_first_update[k]) for k, v in training.params().items())

    training.advance(20, 1)
    assert not torch.equal(after_first_update["logits"], training.params()["logits"])


def test_a_component_that_has_no_example_stays_finite():
    x = torch.zeros(6, PIXELS, dtype=torch.float64)
    rule = built(x)

    # All six examples belong to the first component.
    state = rule.state(0, 6)
    sums = torch.zeros_like(state["sums"])
    counts = torch.zeros_like(state["counts"])
    counts[0] = 6

    params = rule.maximised(counts, sums)

    assert all(v.isfinite().all() for v in params.values())


def test_more_components_than_examples_in_the_first_batch_come_apart():
    """Three components are placed at one of two examples; the initial logits tell them apart."""
    x = data()
    rule = built(x)
    placed = rule.placed(x[:2], rule.model.p["logits"].detach())["logits"]

    assert not torch.equal(placed[0], placed[2])

    # Apart by the jitter of the logits alone.
    torch.testing.assert_close(placed[0], placed[2], rtol=0, atol=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prior": -1}, r"objective.prior=-1: must be a number from 0"),
        ({"shrink": 0}, r"objective.shrink=0: must be a number above 0 and below 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        built(data(), **settings)
