"""Systematic resampling: expectations kept, no chain that is not there, any number
of populations at once."""

from __future__ import annotations

import pytest
import torch
from torch.func import vmap

from vaebench.dists.resampling import parents


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_resampling_keeps_expectations():
    """Over u, spread evenly, chain i has R w_i / sum w copies on average, and never
    more than 1 from that.

    So has any run of neighbours. The mean over M values of u is off by 1 / M at most for each edge.
    """
    # Only differences of log-weights count, so they may be near 300.
    log_w = 1.5 * torch.randn(9, generator=generator(), dtype=torch.float64) + 300.0
    expected = 9 * torch.softmax(log_w, 0)

    u = ((torch.arange(2_000) + 0.5) / 2_000).unsqueeze(1)
    chosen = vmap(parents, in_dims=(None, 0))(log_w, u)

    assert chosen.shape == (2_000, 9)
    assert (chosen.diff(dim=1) >= 0).all()

    # How many copies each chain has, for every u: (u, chains).
    copies = torch.nn.functional.one_hot(chosen, 9).sum(1)
    torch.testing.assert_close(copies.double().mean(0), expected, rtol=0, atol=2 / 2_000)

    # Runs from the first chain on; others are differences of two of these.
    run_counts = copies.cumsum(1)[:, :-1]
    run_expected = expected.cumsum(0)[:-1]

    # Nowhere more than 1 from the average.
    for counts, mean in ((copies, expected), (run_counts, run_expected)):
        assert (counts >= mean.floor()).all()
        assert (counts <= mean.ceil()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_weights_leave_every_chain_where_it_is(dtype):
    stay = torch.arange(1000)
    for u in (0.0, 0.3, 1 - 2**-24):
        chosen = parents(torch.full((1000,), -0.7, dtype=dtype), torch.tensor([u], dtype=dtype))
        assert torch.equal(chosen, stay)


def test_noise_at_its_ends_picks_chains_that_are_there():
    for seed in range(50):
        log_w = 3 * torch.randn(1000, generator=generator(seed))
        for u in (0.0, 1 - 2**-24):
            chosen = parents(log_w, torch.tensor([u]))
            assert chosen.min() >= 0
            assert chosen.max() < 1000

    # Two chains of weight exp(-200): both ends of the noise lead to the third.
    chosen = parents(torch.tensor([-200.0, 0.0, -200.0]), torch.tensor([0.0]))
    assert torch.equal(chosen, torch.ones(3, dtype=torch.int64))

    # A seed that diverges must not take down the others of its pack.
    lost = parents(torch.tensor([0.0, torch.nan, 0.0]), torch.tensor([0.5]))
    assert set(lost.tolist()) <= {0, 1, 2}


def test_populations_side_by_side_are_resampled_each_by_itself():
    log_w = torch.randn(2, 3, 50, generator=generator())
    u = torch.rand(2, 3, 1, generator=generator(1))
    chosen = parents(log_w, u)

    for i in range(2):
        for j in range(3):
            assert torch.equal(chosen[i, j], parents(log_w[i, j], u[i, j]))
