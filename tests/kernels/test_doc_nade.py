"""DocNADE by loops of our own has the values and derivatives of the plain code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kit.parameters import drawn

from vaebench import kernels
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.models import doc_nade
from vaebench.models.doc_nade import DocNADE
from vaebench.rng import noise

pytest.importorskip("numba")


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize(("vocabulary", "units"), [(2, 1), (11, 6), (16, 9)])
def test_values_and_derivatives_are_those_of_the_plain_code(
    activation, vocabulary, units, monkeypatch
):
    model = DocNADE(DataInfo(np.ones(vocabulary), Kind.COUNTS), [units], activation=activation)
    generator = torch.Generator().manual_seed(units)
    drawn(model, 0.7, generator=generator)

    x = torch.randint(0, 3, (7, vocabulary), generator=generator).float()
    x[2] = 0  # a document without words
    order = noise.fixed(model.order_noise(7), 0, "noise")
    # Random weights, so that the gradient depends on each document.
    slopes = torch.randn(7, generator=generator)
    loops_taken = []
    loops = doc_nade._Loops.apply
    monkeypatch.setattr(doc_nade._Loops, "apply", lambda *a: (loops_taken.append(1), loops(*a))[1])

    values_and_gradients = []
    for by_loops in (True, False):
        with kernels.use(by_loops):
            log_p = model.log_evidence(x, order)
            values_and_gradients.append(
                (
                    log_p.detach(),
                    torch.autograd.grad((slopes * log_p).sum(), list(model.parameters())),
                )
            )

    assert loops_taken == [1]
    torch.testing.assert_close(*values_and_gradients, rtol=1e-5, atol=1e-5)


def test_a_softmax_and_float64_are_left_to_the_plain_code(monkeypatch):
    loops_taken = []
    loops = doc_nade._Loops.apply
    monkeypatch.setattr(doc_nade._Loops, "apply", lambda *a: (loops_taken.append(1), loops(*a))[1])
    info = DataInfo(np.ones(4), Kind.COUNTS)
    x = torch.ones(1, 4)

    DocNADE(info, output="softmax").log_evidence(x)
    DocNADE(info).double().log_evidence(x.double())
    assert loops_taken == []

    DocNADE(info).log_evidence(x)
    assert loops_taken == [1]
