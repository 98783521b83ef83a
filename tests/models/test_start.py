"""Initial parameters: a function of the seed, of the named distributions,
autoregressive matrices at zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.nn.init import logit_of_mean

MEAN = np.full(40, 0.3, dtype=np.float32)


def started(seed=0, init="normal", init_scale=0.1, **model):
    config = {"name": "sbn", "dims": [50], "init": init, "init_scale": init_scale, **model}
    net = models.build(config, DataInfo(MEAN))
    models.start(net, config, seed)
    return {name: p.detach() for name, p in net.named_parameters()}


def test_a_seed_gives_the_same_start_always_and_another_seed_another():
    parameters = started(0)
    repeated = started(0)
    other_seed = started(1)

    assert all(torch.equal(parameters[k], repeated[k]) for k in parameters)
    assert all(
        not torch.equal(parameters[k], other_seed[k]) for k in parameters if k.endswith("weight")
    )


def test_the_start_does_not_depend_on_the_values_before():
    config = {"name": "sbn", "dims": [50], "init": "normal", "init_scale": 0.1}
    net = models.build(config, DataInfo(MEAN))
    models.start(net, config, 5)
    models.start(net, config, 0)

    assert all(torch.equal(p, started(0)[name]) for name, p in net.named_parameters())


@pytest.mark.parametrize(
    ("init", "sd"), [("normal", 0.1), ("glorot", math.sqrt(6 / 90) / math.sqrt(3))]
)
def test_matrices_follow_the_named_distribution(init, sd):
    """2,000 entries: the mean within 4.5 of its errors, the sd within 10 % (more
    than 6 of its errors)."""
    for name, p in started(init=init).items():
        if p.dim() == 2:
            assert abs(float(p.mean())) < 4.5 * sd / math.sqrt(p.numel()), name
            assert float(p.std()) == pytest.approx(sd, rel=0.1), name
            if init == "glorot":
                assert float(p.abs().max()) <= math.sqrt(6 / 90)
        else:
            assert not p.any(), name


def test_the_scale_is_that_of_the_matrices():
    small = started(init_scale=0.1)
    large = started(init_scale=0.3)
    torch.testing.assert_close(3 * small["p.0.weight"], large["p.0.weight"])


def test_autoregressive_matrices_start_at_zero():
    params = started(name="darn", posterior="autoregressive")
    autoregressive = [name for name in params if name.endswith("autoregressive")]
    assert len(autoregressive) == 3
    assert not any(params[name].any() for name in autoregressive)


def test_an_objective_starts_with_its_baselines():
    config = {"name": "sbn", "dims": [50], "init": "normal", "init_scale": 0.1}
    rule = objectives.build({"name": "nvil"}, models.build(config, DataInfo(MEAN)))
    models.start(rule, config, 0)

    assert float(rule.baseline[0].hidden.weight.detach().std()) == pytest.approx(0.1, rel=0.1)
    assert not rule.baseline[0].output.bias.detach().any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "norml"}, "model.init='norml'"),
        ({"init_scale": 0}, "model.init_scale=0"),
        ({"init_scale": "small"}, "model.init_scale='small'"),
        ({"init_scale": float("nan")}, "model.init_scale=nan"),
        ({"init_scale": float("inf")}, "model.init_scale=inf"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError) as error:
        started(**settings)
    assert message in str(error.value)


def test_fan_in_is_a_cut_normal_and_parts_with_a_start_of_their_own_have_it():
    config = {
        "name": "rbm_vae",
        "latents": 60,
        "units": 50,
        "layers": 1,
        "init": "fan_in",
        "init_scale": 0.1,
    }
    net = models.build(config, DataInfo(MEAN))

    with torch.no_grad():
        for p in net.parameters():
            p.fill_(7.0)

    models.start(net, config, 0)

    # Priors start at zero, scales at one; everything else by fan-in or, biases, at zero.
    for name, p in net.named_parameters():
        if ".prior." in name:
            assert not p.any(), name
        elif name.endswith(".scale"):
            assert bool((p == 1).all()), name
        elif p.dim() < 2:
            assert not p.any(), name
        else:
            # A normal cut at two standard deviations has 0.880 of its own; 2,000 entries and more.
            sd = math.sqrt(2.6 / p.shape[1])
            assert float(p.detach().abs().max()) <= 2 * sd
            assert float(p.detach().std()) == pytest.approx(0.880 * sd, rel=0.08), name


def test_means_of_0_and_1_are_kept_a_thousandth_away():
    """Of visible biases, and of the constant offset of the decoders of binary latents."""
    mean = torch.tensor([0.0, 0.0005, 0.3, 1.0])
    kept_means = torch.tensor([0.001, 0.001, 0.3, 0.999])
    torch.testing.assert_close(torch.sigmoid(logit_of_mean(mean)), kept_means)

    net = models.build({"name": "rbm_vae", "latents": 2, "units": 2}, DataInfo(mean.numpy()))
    torch.testing.assert_close(torch.sigmoid(net.p.decoder.offset), kept_means)
