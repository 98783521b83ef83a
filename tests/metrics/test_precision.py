"""Likelihoods by products in bfloat16: how far they are from float32, and that nothing else
changes."""

from __future__ import annotations

import pytest
import torch

from vaebench import data, objectives, optim
from vaebench.errors import UserError
from vaebench.estimators.weights import stream
from vaebench.evaluation.evaluate import evaluate
from vaebench.models.image_vae import ImageVAE
from vaebench.models.pixel_cnn import PixelCNN
from vaebench.models.refinement import Refinement, Steps
from vaebench.nn.init import initialize
from vaebench.protocol.signature import check_precision
from vaebench.training.engines import Pack

CASES = 60
SAMPLES = 30

MOVED = 0.02
"""Nats that an NLL of about 20 may move by, a thousandth of it; measured are 0.0002 to 0.008."""


@pytest.fixture(scope="module")
def digits():
    return data.load({"name": "digits", "held_out": None, "held_out_seed": 0, "mirror": None})


def trained(model, rule, digits, updates=120):
    """A small model after some passes over the digits, which lower its NLL from 40 nats to 20 or
    less."""
    initialize(model, torch.Generator().manual_seed(0))
    objective = objectives.build({"name": rule}, model)
    update = optim.build({"name": "clipped_adam", "rate": 1e-2})
    params = {k: v.detach().clone() for k, v in objective.named_parameters()}
    x = torch.from_numpy(digits.train)
    parts = ([params], [objective.state(0, len(x))], [update.state(params)])
    pack = Pack(
        objective, update, *parts, data=x, kind=digits.kind, engine="kernel", updates=updates
    )
    generator = torch.Generator().manual_seed(1)

    # Row numbers and noise of every update, (updates, seeds, ...), for the one seed of the pack.
    rows = torch.randint(len(x), (updates, 1, 32), generator=generator)
    noise = {
        k: torch.randn(updates, 1, *shape, generator=generator)
        for k, (_, shape) in pack.draws(32).items()
    }
    pack.advance(rows, noise, None)
    trained_params, state, _ = pack.seed(0)

    with torch.no_grad():
        for name, v in [*objective.named_parameters(), *objective.named_buffers()]:
            v.copy_({**trained_params, **state}.get(name, v))

    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def vae(digits):
    sizes = {"channels": 16, "kernels": [5, 3, 3], "encoder_channels": [16, 16], "features": 16}
    return trained(ImageVAE(digits.info, latents=4, **sizes), "vae", digits)


def config(model, **ev):
    settings = {
        "split": "test",
        "points": None,
        "bound_samples": 1,
        "iw_samples": SAMPLES,
        "mi_batch": 20,
        **ev,
    }
    cell = {
        "data": {"name": "digits"},
        "model": {"name": model},
        "objective": {},
        "recipe": 1,
        "eval": settings,
    }
    return {**cell, "train": {"select": "last", "batch": 20}}


def both(model, name, digits):
    """The measures by name, in float32 and in bfloat16."""
    x = torch.from_numpy(digits.test[:CASES])
    by_precision = [
        evaluate(model, x, config(name, precision=p), "0" * 64, 0) for p in ("float32", "bfloat16")
    ]
    return [{m.name: m for m in measures} for measures in by_precision]


def test_the_likelihood_moves_by_less_than_its_bound_and_says_so(vae, digits):
    in_float32, in_bfloat16 = both(vae, "image_vae", digits)
    assert in_float32["iw_nll"].value < 25  # trained

    for name in ("iw_nll", "bound"):
        assert 0 < abs(in_bfloat16[name].value - in_float32[name].value) < MOVED
        assert "|precision:bfloat16|" in in_bfloat16[name].signature
        assert (
            in_bfloat16[name].signature.replace("|precision:bfloat16", "")
            == in_float32[name].signature
        )


def test_what_only_the_posterior_decides_is_the_same_number(vae, digits):
    in_float32, in_bfloat16 = both(vae, "image_vae", digits)
    for name in ("kl", "active_units", "mi_batch", "mi", "aggregate_kl"):
        assert in_bfloat16[name].to_dict() == in_float32[name].to_dict()


def test_a_refined_posterior_is_refined_in_float32(vae, digits):
    vae.refinement = Refinement(Steps(count=2), batch=20)
    try:
        in_float32, in_bfloat16 = both(vae, "image_vae", digits)
    finally:
        vae.refinement = None

    assert in_bfloat16["kl"].value == in_float32["kl"].value
    assert 0 < abs(in_bfloat16["iw_nll"].value - in_float32["iw_nll"].value) < MOVED


def test_likelihoods_and_weights_are_not_rounded(vae, digits):
    """log p(x | z) is in float32, not rounded to bfloat16. Weights are sums in float64."""
    x = torch.from_numpy(digits.test[:CASES])
    in_float32, in_bfloat16 = (
        next(stream(vae, x, 10, 0, precision=p)) for p in ("float32", "bfloat16")
    )

    assert in_bfloat16.log_p[0].dtype == torch.float32
    assert in_bfloat16.log_w.dtype == torch.float64
    # A number of bfloat16 would survive being rounded to it.
    assert (in_bfloat16.log_p[0] != in_bfloat16.log_p[0].bfloat16().float()).float().mean() > 0.9
    assert torch.equal(in_bfloat16.z[0], in_float32.z[0])
    assert torch.equal(in_bfloat16.log_q[0], in_float32.log_q[0])
    assert torch.equal(in_bfloat16.log_p[1], in_float32.log_p[1])
    assert not torch.equal(in_bfloat16.log_p[0], in_float32.log_p[0])


def test_an_exact_likelihood(digits):
    model = trained(PixelCNN(digits.info, channels=16, kernels=[5, 3, 3]), "likelihood", digits)
    in_float32, in_bfloat16 = both(model, "pixel_cnn", digits)

    assert 0 < abs(in_bfloat16["nll"].value - in_float32["nll"].value) < MOVED
    assert "|precision:bfloat16|" in in_bfloat16["nll"].signature


@pytest.mark.parametrize("model", ["sbn", "text_vae", "linear_gaussian", "rbm_vae"])
def test_other_models_refuse_it(model):
    check_precision(config(model))
    with pytest.raises(
        UserError,
        match=r"eval\.precision=bfloat16: for models of images only; allowed here: float32",
    ):
        check_precision(config(model, precision="bfloat16"))
