"""The variational bound by the paper's protocol: the one-sample bound, averaged over several samples per case."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaebench.metrics.weights import Pass, stream


@dataclass(frozen=True)
class Bound:
    """``value``: mean over cases of E_Q[log P(x, z) - log Q(z | x)], nats, at most log p(x) in expectation.

    ``error`` is its Monte Carlo standard error given the cases. ``kl``: E_Q[log Q - log P(z)] of each latent layer.
    """

    value: float
    error: float | None
    kl: list[float]
    cases: int
    samples: int


class BoundSum:
    """Streaming sums of the bound over the first ``samples`` samples of every case."""

    def __init__(self, cases: int, samples: int, layers: int, device: torch.device | str = "cpu") -> None:
        self.cases, self.samples = cases, samples
        self.total = torch.zeros(cases, dtype=torch.float64, device=device)
        self.square = torch.zeros_like(self.total)
        self.kl = torch.zeros(layers, dtype=torch.float64, device=device)

    def add(self, part: Pass) -> None:
        """Take the samples of ``part`` that are among the first ``samples``."""
        k = min(part.log_w.shape[0], self.samples - part.first)
        if k <= 0:
            return
        log_w = part.log_w[:k]
        self.total[part.cases] += log_w.sum(0)
        self.square[part.cases] += (log_w**2).sum(0)
        # log_p holds the data term first, then one prior term per latent layer, as log_q does.
        for i, (p, q) in enumerate(zip(part.log_p[1:], part.log_q, strict=True)):
            self.kl[i] += (q[:k].double() - p[:k].double()).sum()

    def result(self) -> Bound:
        """The mean and its error; with one sample per case the Monte Carlo error is unknown (None)."""
        mean = self.total / self.samples
        error = None
        if self.samples > 1:
            variance = (self.square - self.samples * mean**2).clamp(min=0) / (self.samples - 1)
            error = float((variance.sum() / self.samples).sqrt() / self.cases)
        kl = (self.kl / (self.cases * self.samples)).tolist()
        return Bound(float(mean.mean()), error, kl, self.cases, self.samples)


def bound(model: nn.Module, x: Tensor, samples: int, seed: int, purpose: str = "eval") -> Bound:
    """The bound of ``model`` on the cases ``x`` (n, d) with ``samples`` posterior samples each."""
    total = BoundSum(len(x), samples, len(model.sizes) - 1, x.device)
    for part in stream(model, x, samples, seed, purpose):
        total.add(part)
    return total.result()
