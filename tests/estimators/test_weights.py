"""The stream of importance weights: the same for every pass size, nested in K, for any number of
cases and samples."""

from __future__ import annotations

import pytest
import torch

from vaebench.check import checks as check
from vaebench.estimators import weights
from vaebench.estimators.weights import stream

CONFIG = {"name": "sbn", "dims": [2, 3]}


def cases(n, dtype=torch.uint8):
    noise = torch.rand(n, check.VISIBLE, generator=torch.Generator().manual_seed(0))
    return (noise < 0.4).to(dtype)


def collect(model, x, samples, seed=0, **settings):
    """All log weights (samples, n), and the first layer's samples; every cell must
    be filled exactly once."""
    out = torch.full((samples, len(x)), float("nan"), dtype=torch.float64)
    z = torch.full((samples, len(x), model.sizes[1]), float("nan"), dtype=torch.float64)

    for part in stream(model, x, samples, seed, **settings):
        rows = slice(part.first, part.first + part.log_w.shape[0])
        assert torch.isnan(out[rows, part.cases]).all()
        assert part.log_w.dtype == torch.float64

        out[rows, part.cases] = part.log_w
        z[rows, part.cases] = part.z[0].double()

    assert not torch.isnan(out).any()

    return out, z


@pytest.mark.parametrize(("n", "samples"), [(1, 1), (100, 10), (101, 11), (250, 37)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_chunk_and_batch_gives_the_same_weights(n, samples, dtype):
    model = check.tiny(CONFIG).to(dtype)
    x = cases(n)
    log_w, z = collect(model, x, samples)
    tolerance = {"rtol": 0, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0, "atol": 1e-12}

    for chunk, batch in ((10, 100), (20, None), (1000, None), (None, 200), (25, 1000), (1, 1)):
        other_log_w, other_z = collect(model, x, samples, chunk=chunk, batch=batch)
        assert torch.equal(other_z, z)
        torch.testing.assert_close(other_log_w, log_w, **tolerance)


def test_the_first_of_many_samples_are_the_samples_of_few():
    model = check.tiny(CONFIG)
    x = cases(120)
    many, _ = collect(model, x, 53)

    for samples in (1, 9, 10, 11, 50, 53):
        torch.testing.assert_close(
            collect(model, x, samples)[0], many[:samples], rtol=0, atol=1e-12
        )


def test_the_first_of_many_cases_are_the_cases_of_a_shorter_set():
    model = check.tiny(CONFIG)
    x = cases(230)
    whole, _ = collect(model, x, 5)

    for n in (1, 99, 100, 101, 200):
        torch.testing.assert_close(collect(model, x[:n], 5)[0], whole[:, :n], rtol=0, atol=1e-12)


def test_cases_samples_seeds_and_purposes_have_noise_of_their_own():
    """One case repeated: no two grains, cases or samples may share their draws."""
    model = check.tiny({"name": "linear_gaussian", "dims": [2]})

    # 230 cases and 25 samples are parts of nine grains of 100 cases and 10 samples.
    x = torch.ones(230, check.VISIBLE)
    log_w, _ = collect(model, x, 25)

    assert len(log_w.unique()) > 0.999 * log_w.numel()

    for other_log_w in (
        collect(model, x, 25, seed=1)[0],
        collect(model, x, 25, purpose="valid")[0],
    ):
        assert (other_log_w != log_w).all()


def test_the_dtype_of_the_cases_does_not_matter():
    model = check.tiny(CONFIG)
    assert torch.equal(
        collect(model, cases(30), 12)[0], collect(model, cases(30, torch.float32), 12)[0]
    )


def test_the_weight_is_the_joint_minus_the_posterior():
    model = check.tiny(CONFIG)
    x = cases(7)
    (part,) = stream(model, x, 10, 0)
    expected = model.log_joint(x.double(), part.z) - model.log_posterior(part.z, x.double())

    torch.testing.assert_close(part.log_w, expected.detach())
    assert not part.log_w.requires_grad
    assert weights.SAMPLES == 10  # the passes above are cut at grains of this size
