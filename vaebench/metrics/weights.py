"""Log importance weights log P(x, z) - log Q(z | x), z ~ Q(z | x), streamed over cases and samples.

The noise of a sample depends on the seed, the case's position and the sample's number only: cases and samples are
cut into grains of fixed size, each with a generator of its own, and passes of any size put grains together. So every
result is the same, within rounding, for every chunk and batch size, and the first k of K samples are the same for
all K.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaebench import noise

CASES, SAMPLES = 100, 10
"""A grain: the noise of this many cases times this many samples comes from one generator."""

BUDGET = 2**25
"""Floats of one pass (samples x cases x units of the widest layer), so that memory stays bounded."""


@dataclass(frozen=True)
class Pass:
    """Part of the work: some samples of some cases.

    ``cases`` are the cases' positions, ``first`` the number of the first sample. ``log_p`` and ``log_q`` are the terms
    of the joint and of the posterior, each (k, batch) nats; ``z`` the layers (k, batch, n). ``error`` (batch,):
    standard error of log_q where its normaliser is an estimate, the same for all samples of a case.
    """

    cases: slice
    first: int
    log_p: list[Tensor]
    log_q: list[Tensor]
    z: list[Tensor]
    error: Tensor | None = None

    @property
    def log_w(self) -> Tensor:
        """(k, batch), nats, float64."""
        return sum(t.double() for t in self.log_p) - sum(t.double() for t in self.log_q)


def terms(
    model: nn.Module, x: Tensor, k: int, draws: dict[str, Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Terms of log P(x, z), terms of log Q(z | x), and z, for k samples of every case of ``x`` (batch, d)."""
    z = model.sample_posterior(x, k, draws)
    return model.log_joint_terms(x, z), model.log_posterior_terms(z, x), z


@torch.no_grad()
def stream(
    model: nn.Module,
    x: Tensor,
    samples: int,
    seed: int,
    purpose: str = "eval",
    *,
    chunk: int | None = None,
    batch: int | None = None,
) -> Iterator[Pass]:
    """All ``samples`` of every case of ``x`` (n, d), any dtype, in passes of ``chunk`` samples and ``batch`` cases.

    For each group of cases the samples come in order. ``chunk`` and ``batch`` None: chosen to fit the memory budget.
    """
    n, device = len(x), x.device
    widest = max(model.sizes)
    if batch is None:
        batch = CASES * (10 if device.type == "cuda" else 1)
    batch = max(CASES, batch // CASES * CASES)
    if chunk is None:
        chunk = max(SAMPLES, min(samples, BUDGET // (batch * widest) if device.type == "cuda" else SAMPLES))
    chunk = max(SAMPLES, chunk // SAMPLES * SAMPLES)
    for start in range(0, n, batch):
        cases = slice(start, min(start + batch, n))
        xs = x[cases].to(model.mean.dtype)
        for first in range(0, samples, chunk):
            k = min(chunk, samples - first)
            yield Pass(cases, first, *terms(model, xs, k, _draws(model, cases, first, k, seed, purpose, device)))


def _draws(model, cases: slice, first: int, k: int, seed: int, purpose: str, device: torch.device) -> dict[str, Tensor]:
    shapes = model.posterior_noise(SAMPLES, CASES)
    columns = []
    for g in range(cases.start // CASES, -(-cases.stop // CASES)):
        blocks = range(first // SAMPLES, -(-(first + k) // SAMPLES))
        rows = [noise.fixed(shapes, seed, purpose, g, b, device=device) for b in blocks]
        columns.append({name: torch.cat([r[name] for r in rows])[:k] for name in shapes})
    return {name: torch.cat([c[name] for c in columns], 1)[:, : cases.stop - cases.start] for name in shapes}
