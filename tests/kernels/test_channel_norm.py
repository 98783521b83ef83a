"""Normalised channels with ELU by the kernel, held to the plain code in
float64, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vaebench import kernels
from vaebench.nn.channel_norm import ChannelNorm

pytest.importorskip("numba")

SHAPES = [(3, 16, 5, 4), (50, 64, 7, 7), (7, 32, 3, 3), (2, 16, 3, 2)]
"""(batch, channels, height, width); the kernel takes channels in multiples of 16."""


def images(shape: tuple[int, ...], seed: int, mean: float = 0.0) -> Tensor:
    """Standard normals around ``mean``, channels last in memory."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + mean
    return x.contiguous(memory_format=torch.channels_last)


def norm(channels: int) -> ChannelNorm:
    """A layer with random scales, shifts and running averages."""
    layer = ChannelNorm(channels)
    generator = torch.Generator().manual_seed(5)

    with torch.no_grad():
        for v in (layer.scale, layer.shift, layer.mean):
            v.normal_(generator=generator)
        layer.variance.uniform_(0.5, 2.0, generator=generator)

    return layer


def step(
    layer: ChannelNorm, x: Tensor, residual: Tensor | None, weights: Tensor, by_kernel: bool
) -> dict[str, Tensor]:
    """Return by name the result, the statistics on the tape, and the gradients of
    sum(result * ``weights``)."""
    x = x.detach().requires_grad_()
    residual = None if residual is None else residual.detach().requires_grad_()
    tape = {}
    with kernels.use(by_kernel):
        out = layer.elu(x, tape, residual)
    leaves = {"x": x, "residual": residual, "scale": layer.scale, "shift": layer.shift}
    leaves = {name: v for name, v in leaves.items() if v is not None}
    grads = torch.autograd.grad((out * weights).sum(), list(leaves.values()))
    mean, variance = tape[layer.path]
    by_name = {"out": out.detach(), "mean": mean, "variance": variance}
    return by_name | {f"d{name}": g for name, g in zip(leaves, grads, strict=True)}


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, 0x7F800001, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_no_number_stays_none(bits, dtype):
    """Every kind of NaN stays one wherever PyTorch has one. Rounding the bits of a float as a
    whole number could turn some of them into 0 or infinity."""
    x = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    # Put in as a whole number: this very NaN, not the usual one.
    x[0, 3, 1, 1] = torch.tensor([bits], dtype=torch.int32).view(torch.float32)[0]
    x = x.contiguous(memory_format=torch.channels_last).to(dtype).requires_grad_()
    nan_places = []
    for kernel in (False, True):
        layer = ChannelNorm(16)
        layer.path = "norm"
        tape = {}
        with kernels.use(kernel):
            trained = layer.elu(x, tape)
            with torch.no_grad():
                evaluated = layer.elu(x)

        (grad,) = torch.autograd.grad(trained.float().sum(), x)
        nan_places.append([v.isnan() for v in (trained, evaluated, grad, *tape["norm"])])

    for plain, by_kernel in zip(*nan_places, strict=True):
        assert torch.equal(plain, by_kernel)
    # There was something to compare: the kernel's result has NaN.
    assert nan_places[1][0].any()


LARGEST_ERRORS = {
    0.0: dict.fromkeys(["out", "mean", "variance", "dx", "dresidual", "dscale", "dshift"], 4e-6),
    300.0: {
        "out": 3e-5,
        "mean": 1.5e-7,
        "variance": 1e-6,
        "dx": 2e-4,
        "dresidual": 2e-4,
        "dscale": 1e-4,
        "dshift": 1.5e-4,
    },
}
"""Mean of the images -> name of an output -> its largest error, relative to its largest entry.

About three times the largest error of six seeds. Floats near 300 are 3e-5 apart: the kernel's mean
is the nearest of them or the next (5e-8 to 1e-7 of 300), and all that follows from x - mean is off
by about 3e-5. The variance comes from differences that are exact, and is as good as around 0.
"""


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("mean", [0.0, 300.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_the_plain_code(shape, mean, residual):
    layer = norm(shape[1])
    x = images(shape, 0, mean)
    added = images(shape, 1) if residual else None
    weights = images(shape, 2)
    by_kernel = step(layer, x, added, weights, True)

    assert by_kernel["out"].is_contiguous(memory_format=torch.channels_last)

    double = None if added is None else added.double()
    exact = step(layer.double(), x.double(), double, weights.double(), False)

    assert by_kernel.keys() == exact.keys()
    for name, value in exact.items():
        largest = float(value.abs().max())
        error = float((by_kernel[name].double() - value).abs().max())
        assert error < LARGEST_ERRORS[mean][name] * largest, name


def test_bfloat16_is_rounded_once():
    """The kernel computes in float32. Its result is the nearest bfloat16 to that, and its gradients
    are near."""
    layer = norm(32)
    x = images((9, 32, 6, 6), 0).bfloat16()
    added = images((9, 32, 6, 6), 1).bfloat16()
    weights = images((9, 32, 6, 6), 2)
    in_bfloat16 = step(layer, x, added, weights, True)
    in_float32 = step(layer, x.float(), added.float(), weights, True)

    assert in_bfloat16["out"].dtype == torch.bfloat16
    torch.testing.assert_close(in_bfloat16["out"], in_float32["out"].bfloat16(), rtol=0, atol=0)

    # bfloat16 keeps 8 bits, so that rounding alone changes a number by up to 0.4 %.
    for name in ("dx", "dresidual", "dscale", "dshift"):
        largest = float(in_float32[name].abs().max())
        assert (in_bfloat16[name].float() - in_float32[name]).abs().max() < 0.01 * largest, name


@pytest.mark.parametrize("residual", [False, True])
def test_by_running_averages(residual):
    layer = norm(16)
    x = images((4, 16, 3, 5), 0)
    added = images((4, 16, 3, 5), 1) if residual else None

    with torch.no_grad():
        with kernels.use(True):
            by_kernel = layer.elu(x, None, added)
        with kernels.use(False):
            plain = layer.elu(x, None, added)

    torch.testing.assert_close(by_kernel, plain, rtol=1e-5, atol=1e-6)


def test_where_the_kernel_is_taken(monkeypatch):
    """The kernel needs one thread, whole vectors of channels, kernels that are allowed, and no
    gradient if running averages are used."""
    layer = norm(16)
    x = images((2, 16, 2, 2), 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)

    assert layer._has_kernel(x, {})
    assert not layer._has_kernel(x, None)
    with torch.no_grad():
        assert layer._has_kernel(x, None)
    assert not norm(8)._has_kernel(images((2, 8, 2, 2), 0), {})
    assert not layer._has_kernel(x.double(), {})
    with kernels.use(False):
        assert not layer._has_kernel(x, {})

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not layer._has_kernel(x, {})
