"""A model whose Boltzmann posteriors are strongly coupled and yet near the true ones, so that
its estimates mean something."""

from __future__ import annotations

import math

import pytest
import torch


@pytest.fixture(scope="session")
def boltzmann():
    """A model of 3 + 3 bits, whose posterior is the prior's machine, moved a little by the data.

    Couplings are so strong that log Z is far from that of the base.
    """
    # Every run of pytest loads this file, and few use the model.
    from vaebench.check import checks as check
    from vaebench.models.rbm_posterior import COUPLING

    config = {"name": "rbm_posterior", "latents": 6, "layers": 0, "units": 3}
    model = check.tiny(config, seed=1, scale=0.6).requires_grad_(False)
    for p in model.q.parameters():
        p.mul_(0.3)
    model.p.prior.w.mul_(2.5)

    # The constant part of the encoder's output is set to the prior's machine. The encoder gives
    # fields h and couplings J of spins, with W = 4 J and b1 = 2 (h1 - J 1); this is the inverse.
    # Its couplings are COUPLING / sqrt(n1) times the normalised ones, n1 = 3.
    prior = model.prior()
    j = prior.w / 4
    model.q.couplings.shift.copy_((j * math.sqrt(3) / COUPLING).reshape(-1))
    model.q.output.bias[:6] = torch.cat([prior.b1 / 2 + j.sum(1), prior.b2 / 2 + j.sum(0)])
    return model
