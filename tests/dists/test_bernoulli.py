"""Bernoulli units given by their logits."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from vaebench.dists import bernoulli


def test_log_prob_is_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(7, 4, generator=generator, dtype=torch.float64)
    x = torch.bernoulli(torch.full((3, 7, 4), 0.5, dtype=torch.float64), generator=generator)

    torch.testing.assert_close(
        bernoulli.log_prob(x, logits), distributions.Bernoulli(logits=logits).log_prob(x).sum(-1)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_prob_is_exact_at_extreme_logits(dtype):
    logits = torch.tensor([[200.0], [-200.0]], dtype=dtype, requires_grad=True)
    likely = torch.tensor([[1.0], [0.0]], dtype=dtype)
    unlikely = torch.tensor([[0.0], [1.0]], dtype=dtype)

    assert bernoulli.log_prob(likely, logits).tolist() == pytest.approx([0.0, 0.0], abs=1e-30)
    assert bernoulli.log_prob(unlikely, logits).tolist() == [-200.0, -200.0]

    bernoulli.log_prob(unlikely, logits).sum().backward()
    assert logits.grad.flatten().tolist() == [-1.0, 1.0]  # x - sigmoid(logit)


def test_a_sample_compares_noise_with_the_probability():
    logits = torch.tensor([0.0, 0.0, 2.0, 2.0, -200.0, 200.0], requires_grad=True)
    uniform = torch.tensor([0.49, 0.5, 0.88, 0.881, 0.5, 1 - 2**-24])
    samples = bernoulli.sample(logits, uniform)

    assert samples.tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 1.0]  # sigmoid(2) = 0.8808
    assert samples.dtype == logits.dtype
    assert not samples.requires_grad
