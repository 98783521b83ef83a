"""Diagonal Gaussians against torch's."""

from __future__ import annotations

import torch
from torch import distributions

from vaebench.dists import gaussian


def test_log_prob_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, 4, generator=generator, dtype=torch.float64)
    mean = torch.randn(7, 4, generator=generator).double()
    log_sd = torch.randn(4, generator=generator).double()
    wanted = distributions.Normal(mean, log_sd.exp()).log_prob(x).sum(-1)

    torch.testing.assert_close(gaussian.log_prob(x, mean, log_sd), wanted)


def test_log_prob_is_finite_far_out():
    value = gaussian.log_prob(torch.tensor([1e4]), torch.zeros(1), torch.tensor([-3.0]))
    assert torch.isfinite(value)
    assert value < -1e8


def test_a_sample_is_mean_plus_sd_times_noise_and_carries_gradients():
    mean = torch.tensor([1.0, -2.0], requires_grad=True)
    log_sd = torch.tensor([0.0, 1.0], requires_grad=True)
    noise = torch.tensor([0.5, -1.0])
    z = gaussian.sample(mean, log_sd, noise)

    torch.testing.assert_close(z, torch.tensor([1.5, -2.0 - 2.7182817]))

    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones(2))
    torch.testing.assert_close(log_sd.grad, torch.tensor([0.5, -2.7182817]))
