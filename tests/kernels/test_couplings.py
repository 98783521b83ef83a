"""Machines from an encoder's output by the kernel, held to the plain code in
float64, gradients included."""

from __future__ import annotations

import pytest
import torch

from vaebench import kernels
from vaebench.models.rbm_posterior import Encoder
from vaebench.nn.batch_norm import name_norms

pytest.importorskip("numba")

from kit.parameters import drawn

from vaebench.kernels import couplings

INPUTS = 6
SIZES = [(1, 1, 2), (3, 2, 7), (16, 32, 4), (17, 23, 5), (40, 17, 30)]
"""(n1, n2, examples). Rows are whole vectors, shorter than one, or end within one."""


def encoder(n1, n2, seed=0):
    """An encoder with every parameter standard normal, scales and shifts of
    the couplings included."""
    module = Encoder(INPUTS, (n1, n2), 5, 1, 0.99)
    name_norms(module)
    return drawn(module, 1.0, seed)


def inputs(batch, seed=1):
    return torch.randn(batch, INPUTS, generator=torch.Generator().manual_seed(seed))


def step(made, x, weights, by_kernel):
    """Return by name the machines, the statistics of the batch, and the gradients of
    sum(machines * ``weights``).

    The biases of the couplings and of the hidden layer are left out: normalisation cancels them, so
    that their gradients are rounding errors.
    """
    tape = {}
    with kernels.use(by_kernel):
        rbm = made(x, tape)
    loss = sum((p * v.to(x.dtype)).sum() for p, v in zip(rbm, weights, strict=True))
    names, leaves = zip(*made.named_parameters(), strict=True)
    grads = dict(zip(names, torch.autograd.grad(loss, leaves), strict=True))
    # The output's first n1 + n2 entries are fields, which are not normalised; couplings follow.
    grads["output.bias"] = grads["output.bias"][: made.n1 + made.n2]
    del grads["net.dense.0.bias"]
    mean, variance = tape["couplings"]

    assert not mean.requires_grad
    assert not variance.requires_grad

    return {**grads, **rbm.detach()._asdict(), "mean": mean, "variance": variance}


@pytest.mark.parametrize(("n1", "n2", "batch"), SIZES)
def test_machines_statistics_and_gradients(n1, n2, batch):
    module = encoder(n1, n2)
    x = inputs(batch)
    generator = torch.Generator().manual_seed(2)
    weights = [torch.randn(batch, *s, generator=generator) for s in ((n1,), (n2,), (n1, n2))]
    by_kernel = step(module, x, weights, True)
    exact = step(module.double(), x.double(), weights, False)

    # 3e-5 of the largest entry of each tensor, or of 1e-3 if all are nearly zero.
    assert by_kernel.keys() == exact.keys()
    for name, value in exact.items():
        size = float(value.abs().max())
        assert (by_kernel[name].double() - value).abs().max() < 3e-5 * max(size, 1e-3), name


def test_a_machine_of_which_one_part_alone_is_used():
    """Parts of the machine that the loss does not use have no gradient, which counts as zero."""
    module = encoder(4, 3)
    x = inputs(6)
    zeros = [torch.zeros(6, 4), torch.zeros(6, 3), torch.zeros(6, 4, 3)]
    weights = [torch.ones(6, 4), *zeros[1:]]
    with_zero_weights = step(module, x, weights, True)["net.dense.0.weight"]
    with kernels.use(True):
        grad, *_ = torch.autograd.grad(module(x, {}).b1.sum(), [module.net.dense[0].weight])

    torch.testing.assert_close(grad, with_zero_weights)


def test_where_the_kernel_is_taken(monkeypatch):
    """The kernel is taken in training, in float32, for a batch and if it is allowed, but not under
    ``vmap``."""
    batches = []
    rbms = couplings.rbms
    monkeypatch.setattr(
        couplings,
        "rbms",
        lambda raw, *more: (batches.append(len(raw)), rbms(raw, *more))[1],
    )
    module = encoder(3, 4).requires_grad_(False)
    x = inputs(5)

    # The kernel is to take the first call alone. The others lack a tape, have an axis more, are
    # mapped, are of float64, or come where kernels are forbidden.
    with kernels.use(True):
        module(x, {})
        module(x)
        module(x.expand(2, 5, INPUTS), {})
        torch.func.vmap(lambda v: tuple(module(v, {})))(x.expand(2, 5, INPUTS))
        module.double()(x.double(), {})

    with kernels.use(False):
        module.float()(x, {})

    assert batches == [5]
