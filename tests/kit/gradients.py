"""Gradients against central differences."""

from __future__ import annotations

import pytest
import torch

STEP = 1e-5


def assert_finite_differences(rule, loss, directions=5):
    """The gradients of ``loss(rule)`` for all parameters are its slopes along random directions."""
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
                for p, v in zip(params, direction, strict=True):
                    p.sub_(v, alpha=step)

        slope = sum(float((g * v).sum()) for g, v in zip(grads, direction, strict=True))

        assert slope == pytest.approx((sides[0] - sides[1]) / (2 * STEP), rel=1e-6, abs=1e-6)
