"""Updates of models with Gaussian latents as users of PyTorch would write them, to compare with.

Each takes parameters by the names that ours have, so that a test can hold its loss to ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Params = dict[str, Any]
Loss = Callable[[Params, Any, Any], Any]
"""Of parameters, cases (batch, d) and standard normals (k, batch, n): nats, the mean over the cases."""


def depth(params: Params, prefix: str) -> int:
    """Hidden layers whose names begin with ``prefix``."""
    return sum(name.startswith(f"{prefix}.hidden.") and name.endswith("weight") for name in params)


def loss_of(model: str, nonlinearity: str) -> Loss:
    """The loss of ``vae``, ``iwae`` or ``dlgm``."""
    act = {"tanh": torch.tanh, "relu": torch.relu}[nonlinearity]

    def hidden(p: Params, x: Tensor, prefix: str) -> Tensor:
        for i in range(depth(p, prefix)):
            x = act(F.linear(x, p[f"{prefix}.hidden.{i}.weight"], p[f"{prefix}.hidden.{i}.bias"]))
        return x

    def head(p: Params, h: Tensor, name: str) -> Tensor:
        return F.linear(h, p[f"{name}.weight"], p[f"{name}.bias"])

    def nll(p: Params, z: Tensor, x: Tensor, prefix: str) -> Tensor:
        logits = head(p, hidden(p, z, prefix), f"{prefix}.heads.logits")
        return F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)

    def vae(p: Params, x: Tensor, normal: Tensor) -> Tensor:
        h = hidden(p, x, "q")
        mean, log_var = head(p, h, "q.heads.mean"), head(p, h, "q.heads.log_var")
        z = mean + torch.exp(0.5 * log_var) * normal
        kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)
        return (nll(p, z, x, "p").mean(0) + kl).mean()

    def iwae(p: Params, x: Tensor, normal: Tensor) -> Tensor:
        h = hidden(p, x, "q")
        mean, log_var = head(p, h, "q.heads.mean"), head(p, h, "q.heads.log_var")
        z = mean + torch.exp(0.5 * log_var) * normal
        log_ratio = 0.5 * (normal**2 + log_var - z**2).sum(-1)
        log_w = log_ratio - nll(p, z, x, "p")
        return -(torch.logsumexp(log_w, 0) - math.log(len(z))).mean()

    def dlgm(p: Params, x: Tensor, normal: Tensor) -> Tensor:
        h = hidden(p, x, "q")
        mean, log_d = head(p, h, "q.heads.mean1"), head(p, h, "q.heads.log_d1")
        inverse = torch.exp(-log_d)
        z = normal * torch.exp(-0.5 * log_d)
        trace, log_det = inverse.sum(-1), -log_d.sum(-1)
        if "q.heads.u1.weight" in p:
            u = head(p, h, "q.heads.u1")
            s = (u**2 * inverse).sum(-1, keepdim=True)
            eta = 1 / (1 + s)
            z = z - eta / (1 + eta.sqrt()) * (u * z).sum(-1, keepdim=True) * u * inverse
            trace = trace - (eta * (u * inverse) ** 2).sum(-1)
            log_det = log_det - torch.log1p(s[..., 0])
        kl = 0.5 * ((mean**2).sum(-1) + trace - log_det - mean.shape[-1])
        latent = F.linear(mean + z, p["p.noise.0.weight"])
        return (nll(p, latent, x, "p.visible").mean(0) + kl).mean()

    return {"vae": vae, "iwae": iwae, "dlgm": dlgm}[model]


def updates(
    loss: Loss, params: dict[str, Tensor], optim: dict[str, Any], data: Tensor, batch: int, noise: tuple[int, int]
) -> Callable[[int], None]:
    """A function that makes one update; ``noise``: samples of a case, and latents. Changes ``params``."""
    leaves = {k: v.requires_grad_() for k, v in params.items()}
    kind = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[optim["name"]]
    descent = kind(leaves.values(), lr=optim["rate"], fused=True)
    k, n = noise

    def update(number: int) -> None:
        x = data[torch.randint(0, len(data), (batch,))].float()
        descent.zero_grad()
        loss(leaves, x, torch.randn(k, batch, n)).backward()
        descent.step()

    return update
