"""Gradients against central differences."""

from __future__ import annotations

import pytest
import torch

STEP = 1e-5


def assert_finite_differences(rule, loss, directions=5):
    """Along random directions, the gradient of ``loss(rule)`` is the slope by central differences.

    The parameters must be float64. A difference is off by about STEP^2 of the third derivative, and
    by 1e-16 / STEP by rounding; both are far below the tolerance.
    """
    params = list(rule.parameters())
    grads = torch.autograd.grad(loss(rule), params)
    generator = torch.Generator().manual_seed(3)

    for _ in range(directions):
        direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in params]
        sides = []
        for step in (STEP, -STEP):
            with torch.no_grad():
                for p, v in zip(params, direction, strict=True):
                    p.add_(v, alpha=step)
                sides.append(float(loss(rule)))

                # Back to where the parameters were.
                for p, v in zip(params, direction, strict=True):
                    p.sub_(v, alpha=step)

        slope = sum(float((g * v).sum()) for g, v in zip(grads, direction, strict=True))

        assert slope == pytest.approx((sides[0] - sides[1]) / (2 * STEP), rel=1e-6, abs=1e-6)
