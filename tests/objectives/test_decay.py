"""Weight decay as a term of the loss, and as one that the caller adds to the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaebench import kernels, models, objectives
from vaebench.bench import sections as bench
from vaebench.data.info import DataInfo
from vaebench.objectives import decay


@pytest.mark.parametrize("name", ["rbm_vae", "rbm_posterior"])
def test_strengths_are_the_gradient_of_the_penalty(name):
    model = models.build(
        {"name": name, "latents": 4, "layers": 1, "units": 3}, DataInfo(np.full(5, 0.3))
    )
    models.start(model, {"init": "fan_in", "init_scale": 0.1}, 0)
    rule = {"rbm_vae": "dvae_sharp", "rbm_posterior": "dvae_sharp_sharp"}[name]
    rule = objectives.build({"name": rule, "weight_decay": 0.3}, model)
    names, leaves = zip(*rule.named_parameters(), strict=True)

    grads = torch.autograd.grad(decay.penalty(model, rule.weight_decay), leaves, allow_unused=True)
    strengths = decay.strengths(rule)

    # Parameters that the penalty does not contain have no gradient, and must have no strength.
    assert set(strengths) == {name for name, g in zip(names, grads, strict=True) if g is not None}

    for name, p, g in zip(names, leaves, grads, strict=True):
        if g is not None:
            torch.testing.assert_close(strengths[name] * p.detach(), g)


def test_the_penalty_is_left_out_in_a_block_alone():
    model = models.build({"name": "rbm_vae", "latents": 4, "layers": 0}, DataInfo(np.full(5, 0.3)))
    models.start(model, {"init": "fan_in", "init_scale": 0.1}, 0)
    before = decay.penalty(model, 0.3)

    with decay.apart(True):
        assert decay.penalty(model, 0.3) == 0
        with decay.apart(False):
            assert torch.equal(decay.penalty(model, 0.3), before)

    assert torch.equal(decay.penalty(model, 0.3), before)


def test_rules_without_decay_have_no_strengths():
    model = models.build({"name": "rbm_vae", "latents": 4, "layers": 0}, DataInfo(np.full(5, 0.3)))
    assert (
        decay.strengths(objectives.build({"name": "dvae_sharp", "weight_decay": 0.0}, model)) == {}
    )

    sbn = models.build({"name": "sbn", "dims": [3]}, DataInfo(np.full(5, 0.3)))
    assert decay.strengths(objectives.build({"name": "nvil"}, sbn)) == {}


@pytest.mark.parametrize(
    "descent", [{"name": "adam", "rate": 0.1, "epsilon": 1.0}, {"name": "sgd", "rate": 0.02}]
)
def test_kernels_train_with_decay_as_the_plain_engine_does(descent):
    """A hundred updates of a whole pack, with decay as strong as the gradient;
    sides of 20 and 21 units.

    With so large an epsilon Adam does not enlarge rounding errors, which are all the gradient that
    biases before a norm have.
    """
    if kernels.missing():
        pytest.skip(kernels.missing())

    model = {"name": "rbm_posterior", "latents": 41, "layers": 1, "units": 17}
    rule = {"name": "dvae_sharp_sharp", "weight_decay": 0.05, "prior_chains": 40, "prior_sweeps": 2}
    packs = {}

    for engine in ("plain", "kernel"):
        packs[engine] = bench.make_pack(model, rule, 1, engine, torch.device("cpu"), descent)
        start = packs[engine].seed(0)[0]
        for number in range(100):
            bench.advance(packs[engine], number, 1, 10)

    plain, kernel = (packs[engine].seed(0) for engine in ("plain", "kernel"))

    # Two hundredths of the way that the parameter moved.
    for name, v in plain[0].items():
        moved = (v - start[name]).norm()
        assert (kernel[0][name] - v).norm() < 0.02 * moved + 1e-4, name

    # Rounding turns a few bits.
    assert (kernel[1]["posterior"] != plain[1]["posterior"]).float().mean() < 1e-3
