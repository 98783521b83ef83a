"""The enumeration on which other tests rely, against sums written out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from vaebench.check import checks as check
from vaebench.estimators import exact


@pytest.fixture(scope="module")
def model():
    return check.tiny({"name": "sbn", "dims": [1, 2]}, seed=1).requires_grad_(False)


@pytest.fixture(scope="module")
def x():
    return exact.states(check.VISIBLE)


def test_states_are_all_states():
    got = {tuple(row) for row in exact.states(3).tolist()}
    assert got == set(itertools.product([0.0, 1.0], repeat=3))


@pytest.mark.parametrize("units", [0, exact.MAX_UNITS + 1])
def test_too_many_states(units):
    with pytest.raises(ValueError, match="cannot be enumerated"):
        exact.states(units)


def test_answers_are_sums_over_the_states(model, x):
    evidence = []
    elbo = []
    kl = [[], []]

    for example in x.split(1):
        joint = 0.0
        bound = 0.0
        layers = [0.0, 0.0]

        for h in itertools.product([0.0, 1.0], repeat=3):
            # Two bits of the layer next to the data, one above it.
            z = [
                torch.tensor(h[:2]).double().reshape(1, 1, 2),
                torch.tensor(h[2:]).double().reshape(1, 1, 1),
            ]
            log_p = model.log_joint_terms(example, z)
            log_q = model.log_posterior_terms(z, example)

            q = math.exp(float(sum(log_q)))
            joint += math.exp(float(sum(log_p)))
            bound += q * float(sum(log_p) - sum(log_q))
            layers = [v + q * float(log_q[i] - log_p[i + 1]) for i, v in enumerate(layers)]

        evidence.append(math.log(joint))
        elbo.append(bound)
        kl = [[*v, layers[i]] for i, v in enumerate(kl)]

    assert exact.log_evidence(model, x).tolist() == pytest.approx(evidence)
    assert exact.elbo(model, x).tolist() == pytest.approx(elbo)
    assert [v.tolist() for v in exact.layer_kl(model, x)] == [pytest.approx(v) for v in kl]


def test_gradients_hold_the_other_network_fixed(x):
    model = check.tiny({"name": "sbn", "dims": [1, 2]}, seed=1)
    for value, trained, fixed in (
        (exact.expected_log_joint(model, x).sum(), "p", "q"),
        (exact.expected_log_posterior(model), "q", "p"),
    ):
        value.backward()
        assert all(p.grad.abs().sum() > 0 for p in getattr(model, trained).parameters())
        assert all(p.grad is None for p in getattr(model, fixed).parameters())

        model.zero_grad(set_to_none=True)


def test_everything_happens_where_the_model_is():
    """The device 'meta' computes no values, but like a GPU it refuses to mix with tensors of
    another device in most operations."""
    model = check.tiny({"name": "sbn", "dims": [1, 2]}).to("meta")
    x = exact.states(check.VISIBLE).to("meta")

    for value in (
        exact.log_evidence(model, x),
        exact.elbo(model, x),
        exact.expected_log_joint(model, x),
        exact.expected_log_posterior(model),
        *exact.layer_kl(model, x),
    ):
        assert value.is_meta
