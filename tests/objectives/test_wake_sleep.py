"""Wake-sleep: each half trains its own network, on its own samples."""

from __future__ import annotations

import pytest
import torch

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.objectives.base import Batch
from vaebench.rng import noise

CASES = 5
VISIBLE = 4


@pytest.fixture
def rule():
    model = models.build(
        {"name": "sbn", "dims": [2, 3]}, DataInfo(torch.linspace(0.2, 0.7, VISIBLE))
    )
    rule = objectives.build({"name": "wake_sleep"}, model).double()
    randomize(rule, 0)

    return rule


def inputs(rule, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(CASES, VISIBLE, generator=generator) < 0.4).double()
    return x, {k: v.double() for k, v in noise.draw(rule.noise(CASES), generator).items()}


def grads(rule, x, draws):
    loss, _, metrics = rule({}, Batch(x, rows=torch.arange(CASES)), draws)
    g = torch.autograd.grad(loss, list(rule.parameters()))
    return {name: -v for (name, _), v in zip(rule.named_parameters(), g, strict=True)}, metrics


def test_gradients_are_the_closed_forms(rule):
    """Wake: sum h_i (h_{i-1} - sigma) at h ~ Q. Sleep: sum input (h_i - q_i) at dreams,
    which are centred too."""
    x, draws = inputs(rule)
    got, _ = grads(rule, x, draws)
    model = rule.model

    # Wake: layers sampled by the inference network from the data.
    with torch.no_grad():
        wake = [x, *(h[0] for h in model.sample_posterior(x, 1, draws))]

        # Sleep: layers sampled by the generative model.
        dream, h = model.sample_joint(draws)
        sleep = [dream, *(v[0] for v in h)]

        for i in range(2):
            # The generative model's layer i, at the waking samples.
            error = wake[i] - torch.sigmoid(wake[i + 1] @ model.p[i].weight.T + model.p[i].bias)
            torch.testing.assert_close(got[f"model.p.{i}.weight"], error.T @ wake[i + 1])
            torch.testing.assert_close(got[f"model.p.{i}.bias"], error.sum(0))

            # The inference network's layer i, at the dreams; their first layer is centred.
            encoder_inputs = sleep[0] - model.mean if i == 0 else sleep[1]
            error = sleep[i + 1] - torch.sigmoid(
                encoder_inputs @ model.q[i].weight.T + model.q[i].bias
            )

            torch.testing.assert_close(got[f"model.q.{i}.weight"], error.T @ encoder_inputs)
            torch.testing.assert_close(got[f"model.q.{i}.bias"], error.sum(0))

        torch.testing.assert_close(
            got["model.p.2.bias"], (wake[2] - torch.sigmoid(model.p[2].bias)).sum(0)
        )


def test_the_halves_do_not_mix(rule):
    """New dreams leave the generative model's gradient alone, new data that of
    the inference network."""
    x, draws = inputs(rule)
    other_x, other_draws = inputs(rule, 1)

    # The draws of "p" are dreams, those of "q" samples of the posterior.
    before, _ = grads(rule, x, draws)
    of_other_dreams, _ = grads(
        rule, x, {k: other_draws[k] if k.startswith("p") else v for k, v in draws.items()}
    )
    of_other_data, _ = grads(
        rule, other_x, {k: other_draws[k] if k.startswith("q") else v for k, v in draws.items()}
    )

    for name, v in before.items():
        unchanged, changed = (
            (of_other_dreams, of_other_data)
            if name.startswith("model.p.")
            else (of_other_data, of_other_dreams)
        )

        torch.testing.assert_close(unchanged[name], v)
        assert not torch.allclose(changed[name], v), name


def test_the_bound_is_that_of_the_data(rule):
    x, draws = inputs(rule)
    z = rule.model.sample_posterior(x, 1, draws)
    wanted = (rule.model.log_joint(x, z) - rule.model.log_posterior(z, x)).mean()
    torch.testing.assert_close(grads(rule, x, draws)[1]["bound"], wanted.detach())


def test_it_cannot_train_models_whose_batches_hang_together():
    info = DataInfo(torch.full((16,), 0.5), shape=(4, 4))
    small = {"latents": 2, "channels": 4, "kernels": [3, 3], "encoder_channels": [3], "features": 4}
    with pytest.raises(UserError, match="wake_sleep cannot train model=image_vae"):
        objectives.build({"name": "wake_sleep"}, models.build({"name": "image_vae", **small}, info))
