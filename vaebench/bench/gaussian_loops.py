"""Updates of models with Gaussian latents as users of PyTorch would write them, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.bench.gaussian_losses import Library, Loss


def _cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")


LIBRARY = Library(
    elementwise=torch,
    nonlinearities={"tanh": torch.tanh, "relu": torch.relu},
    linear=F.linear,
    logsumexp=lambda v: torch.logsumexp(v, 0),
    cross_entropy=_cross_entropy,
)


def updates(
    loss: Loss,
    params: dict[str, Tensor],
    optim: dict[str, Any],
    data: Tensor,
    batch: int,
    noise: tuple[int, int],
) -> Callable[[int], None]:
    """Return a function that makes one update, and changes ``params``.

    ``noise``: samples of an example, and latents.
    """
    leaves = {name: v.requires_grad_() for name, v in params.items()}
    optimiser_class = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[optim["name"]]
    descent = optimiser_class(leaves.values(), lr=optim["rate"], fused=True)
    samples, latents = noise

    def update(number: int) -> None:
        x = data[torch.randint(0, len(data), (batch,))].float()
        descent.zero_grad()
        loss(leaves, x, torch.randn(samples, batch, latents)).backward()
        descent.step()

    return update
