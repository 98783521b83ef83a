"""A hard sampler never returns a bit that its logit makes impossible, whatever the
noise, an exact 0 included.

float32 uniforms are multiples of 2^-24, and one in 2^24 of torch.rand's is 0. There log(u) is minus
infinity, and any comparison with it fires: a bit of probability exp(-1000), after which a
log-density is thousands of nats off.
"""

from __future__ import annotations

import pytest
import torch

from vaebench.dists import autoregressive, bernoulli, boltzmann_exact, rbm
from vaebench.dists.rbm import RBM
from vaebench.dists.smoothing import SMOOTHINGS, build

NOISE = (0.0, 2.0**-24, 0.5, 1.0 - 2.0**-24)


def autoregressive_bit(logit, u):
    return autoregressive.sample(torch.tensor([logit]), torch.zeros(1, 1), torch.tensor([u]))


def later_autoregressive_bit(logit, u):
    """The second of two units, whose logit comes through the weight from the first, which is on."""
    a = torch.tensor([50.0, 0.0])
    weight = torch.tensor([[0.0, 0.0], [logit, 0.0]])
    return autoregressive.sample(a, weight, torch.tensor([0.5, u]))[1:]


def exact_bit(logit, u):
    """The other side of an enumerated machine without couplings."""
    coupled_to_none = RBM(torch.zeros(1), torch.full((2,), logit), torch.zeros(1, 2))
    return boltzmann_exact.sample(coupled_to_none, torch.tensor([0.5]), torch.full((1, 2), u))[1]


CLIPPED = ("spike_exponential",)
"""Smoothings that by definition keep every probability at least 1e-7 from 0 and 1."""

SAMPLERS = {
    "autoregressive": autoregressive_bit,
    "autoregressive, later": later_autoregressive_bit,
    "bernoulli": lambda logit, u: bernoulli.sample(torch.tensor([logit]), torch.tensor([u])),
    "rbm": lambda logit, u: rbm.bits(torch.tensor([logit]), torch.tensor([u])),
    "enumerated": exact_bit,
    **{
        name: lambda logit, u, name=name: build({"name": name}).bits(
            torch.tensor([logit]), torch.full((SMOOTHINGS[name].uniforms, 1), u)
        )
        for name in SMOOTHINGS
        if name not in CLIPPED
    },
}


@pytest.mark.parametrize("logit", [1e6, 1000.0, 80.0, 30.0])
@pytest.mark.parametrize("name", SAMPLERS)
def test_no_noise_makes_an_impossible_bit(name, logit):
    """|logit| of 30: probability 1e-13, far below the 2^-24 that the noise resolves."""
    for u in NOISE:
        assert SAMPLERS[name](logit, u).eq(1).all(), f"0 at logit {logit}, noise {u}"
        assert SAMPLERS[name](-logit, u).eq(0).all(), f"1 at logit {-logit}, noise {u}"
