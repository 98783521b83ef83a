"""Importance-weighted estimate of the NLL (Burda, Grosse & Salakhutdinov 2016), streamed, log-sum-exp in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vaebench.estimators import jackknife
from vaebench.estimators.sums import Sums
from vaebench.estimators.weights import Pass, stream
from vaebench.metrics import perplexity
from vaebench.models.kinds import latent, reads_documents
from vaebench.results.stats import Measure

if TYPE_CHECKING:
    from vaebench.metrics.job import Job


@dataclass(frozen=True)
class Importance:
    """``nll``: minus the mean over cases of log (1/K) sum_k w_k, nats, positive for discrete data.

    In expectation it is an upper bound of the exact NLL that falls to it as K grows: a bias of about 1 / (2 ESS), and
    more where ``ess`` is small, that is no part of ``error``, the Monte Carlo standard error given the cases, by the
    jackknife over groups of samples; None with one sample.
    ``curve``: K -> the same from the first K samples. ``ess``: mean over cases of (sum w)^2 / sum w^2, between 1 and K;
    ``ess_min`` the smallest of any case. ``spread``: standard error over cases, as if they were a sample of a
    population.
    """

    nll: float
    error: float | None
    spread: float | None
    curve: dict[int, float]
    ess: float
    ess_min: float
    cases: int
    samples: int


def nested(samples: int) -> list[int]:
    """1, 10, 100, ... below K, then K: the points of the curve."""
    return [10**i for i in range(int(math.log10(samples)) + 1) if 10**i < samples] + [samples]


class ImportanceSum(Sums):
    """Streaming log-sum-exp of w and of w^2 over the samples of every case; ``log_z`` is what log P(x, z) lacks.

    ``groups`` has the sums of groups of samples, from which the error is taken.
    """

    def __init__(self, cases: int, samples: int, device: torch.device | str = "cpu", *, log_z: float = 0.0) -> None:
        self.cases, self.samples, self.log_z = cases, samples, log_z
        self.log_sum = torch.full((cases,), -math.inf, dtype=torch.float64, device=device)
        self.log_square = self.log_sum.clone()
        self.groups = jackknife.LogSums(cases, samples, device)
        self.points = nested(samples)
        self.at = {k: torch.full_like(self.log_sum, math.nan) for k in self.points}

    def add(self, part: Pass) -> None:
        """Take the samples of ``part`` that are among the first ``samples``; they must follow those taken before."""
        if part.first >= self.samples:
            return
        log_w, cases = part.log_w[: self.samples - part.first], part.cases
        self.groups.add(log_w, part.first, cases)
        done = 0
        for k in [p for p in self.points if part.first < p < part.first + len(log_w)] + [part.first + len(log_w)]:
            piece = log_w[done : k - part.first]
            done = k - part.first
            self.log_sum[cases] = torch.logaddexp(self.log_sum[cases], torch.logsumexp(piece, 0))
            self.log_square[cases] = torch.logaddexp(self.log_square[cases], torch.logsumexp(2 * piece, 0))
            if k in self.at:
                self.at[k][cases] = self.log_sum[cases] - math.log(k)

    def each(self) -> Tensor:
        """The NLL of every case, (n,), nats."""
        return self.log_z - self.at[self.samples]

    def result(self) -> Importance:
        """The estimate. Raises RuntimeError when a case has not had all its samples."""
        log_p = self.at[self.samples]
        if torch.isnan(log_p).any() and not torch.isnan(self.log_sum).any():
            raise RuntimeError(f"{int(torch.isnan(log_p).sum())} cases had fewer than {self.samples} samples")
        ess = torch.exp(2 * self.log_sum - self.log_square)
        return Importance(
            nll=float(-log_p.mean()) + self.log_z,
            error=float(self.variance().sum().sqrt() / self.cases) if self.samples > 1 else None,
            spread=float(log_p.std() / math.sqrt(self.cases)) if self.cases > 1 else None,
            curve={k: float(-v.mean()) + self.log_z for k, v in self.at.items()},
            ess=float(ess.mean()),
            ess_min=float(ess.min()),
            cases=self.cases,
            samples=self.samples,
        )

    def variance(self) -> Tensor:
        """Var[log p^] of every case, (n,), by the jackknife."""
        return jackknife.variance(self.groups.groups, self.samples)


def start(job: Job) -> ImportanceSum | None:
    """Models with a normalised posterior, where samples are asked for."""
    samples = job.settings["iw_samples"]
    if not samples or job.boltzmann_posterior or not latent(job.model):
        return None
    return ImportanceSum(len(job.x), samples, job.x.device, log_z=job.log_z)


def measures(job: Job, total: ImportanceSum) -> list[Measure]:
    """The NLL with its curve over the number of samples; of documents the perplexity besides."""
    w = total.result()
    each = total.each()
    found = [job.with_log_z("iw_nll", w.nll, w.error, w.samples, each=each, **details(w))]
    return found + ([perplexity.measure(job, w.nll, w.error, w.samples, each)] if reads_documents(job.model) else [])


def details(w: Importance) -> dict[str, object]:
    """What a result keeps beside the value and its error."""
    return {"curve": w.curve, "ess": w.ess, "ess_min": w.ess_min, "spread": w.spread, "error_by": "jackknife"}


def importance(
    model: nn.Module,
    x: Tensor,
    samples: int,
    seed: int,
    purpose: str = "eval",
    *,
    log_z: float = 0.0,
    chunk: int | None = None,
    batch: int | None = None,
) -> Importance:
    """Importance-weighted NLL of ``model`` on ``x`` (n, d) with ``samples`` posterior samples per case."""
    total = ImportanceSum(len(x), samples, x.device, log_z=log_z)
    for part in stream(model, x, samples, seed, purpose, chunk=chunk, batch=batch):
        total.add(part)
    return total.result()
