"""Importance-weighted estimate of the NLL (Burda, Grosse & Salakhutdinov 2016).

It is streamed, with log-sum-exp in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.estimators import jackknife
from vaebench.estimators.over_examples import standard_error
from vaebench.estimators.sums import Sums
from vaebench.estimators.weights import Pass, cases_of, stream
from vaebench.models.base import BoltzmannPrior, Model, SampledPosterior


@dataclass(frozen=True)
class Importance:
    """The importance-weighted NLL and how far to trust it.

    Attributes:
        nll: Minus the mean over examples of log (1/K) sum_k w_k, nats; positive for discrete data.
            In expectation it is an upper bound of the exact NLL that falls to it as K grows. The
            bias is about 1 / (2 ESS), and more if ``ess`` is small. It is no part of ``error``.
        error: Monte Carlo standard error given the examples, by the jackknife over groups of
            samples; None for one sample.
        case_error: Standard error over examples, as if they were a sample of a population; None for
            one example.
        curve: K -> the same NLL from the first K samples.
        ess: Mean over examples of (sum w)^2 / sum w^2, between 1 and K.
        ess_min: The smallest of any example.
        cases: Number of examples.
        samples: K, the samples of each example.
    """

    nll: float
    error: float | None
    case_error: float | None
    curve: dict[int, float]
    ess: float
    ess_min: float
    cases: int
    samples: int


def nested(samples: int) -> list[int]:
    """Return 1, 10, 100, ... below K, then K: the points of the curve."""
    return [10**i for i in range(int(math.log10(samples)) + 1) if 10**i < samples] + [samples]


class ImportanceSum(Sums):
    """Streaming log-sum-exp of w and of w^2 over the samples of every example.

    ``log_z`` is what log P(x, z) lacks. ``groups`` has the sums of groups of samples, which give
    the error.
    """

    def __init__(
        self, cases: int, samples: int, device: torch.device | str = "cpu", *, log_z: float = 0.0
    ) -> None:
        self.cases = cases
        self.samples = samples
        self.log_z = log_z
        self.log_sum = torch.full((cases,), -math.inf, dtype=torch.float64, device=device)
        self.log_square = self.log_sum.clone()
        self.groups = jackknife.LogSums(cases, samples, device)
        self.points = nested(samples)
        self.at = {k: torch.full_like(self.log_sum, math.nan) for k in self.points}

    def add(self, part: Pass) -> None:
        """Take those samples of ``part`` that are among the first ``samples``.

        They must follow those taken before.
        """
        if part.first >= self.samples:
            return

        log_w = part.log_w[: self.samples - part.first]
        cases = part.cases
        self.groups.add(log_w, part.first, cases)

        # Cut the pass where a point of the curve lies within it, so that the sums can be read off
        # there. ``count`` is the number of samples up to the end of a piece.
        done = 0
        for count in [p for p in self.points if part.first < p < part.first + len(log_w)] + [
            part.first + len(log_w)
        ]:
            piece = log_w[done : count - part.first]
            done = count - part.first
            self.log_sum[cases] = torch.logaddexp(self.log_sum[cases], torch.logsumexp(piece, 0))
            self.log_square[cases] = torch.logaddexp(
                self.log_square[cases], torch.logsumexp(2 * piece, 0)
            )
            if count in self.at:
                self.at[count][cases] = self.log_sum[cases] - math.log(count)

    def each(self) -> Tensor:
        """Return the NLL of every example, (n,), nats."""
        return self.log_z - self.at[self.samples]

    def each_ess(self) -> Tensor:
        """Return the effective sample size (sum w)^2 / sum w^2 of every example, (n,).

        It lies between 1 and the number of samples.
        """
        return torch.exp(2 * self.log_sum - self.log_square)

    def result(self) -> Importance:
        """Return the estimate. Raises RuntimeError if an example has not had all its samples."""
        log_p = self.at[self.samples]

        # An entry of ``at`` stays NaN until its sample has come. Weights that are NaN themselves
        # are no missing samples.
        if torch.isnan(log_p).any() and not torch.isnan(self.log_sum).any():
            raise RuntimeError(
                f"{int(torch.isnan(log_p).sum())} cases had fewer than {self.samples} samples"
            )

        ess = self.each_ess()
        return Importance(
            nll=float(-log_p.mean()) + self.log_z,
            error=float(self.variance().sum().sqrt() / self.cases) if self.samples > 1 else None,
            case_error=standard_error(log_p),
            curve={k: float(-v.mean()) + self.log_z for k, v in self.at.items()},
            ess=float(ess.mean()),
            ess_min=float(ess.min()),
            cases=self.cases,
            samples=self.samples,
        )

    def variance(self) -> Tensor:
        """Return Var[log p^] of every example, (n,), by the jackknife."""
        return jackknife.variance(self.groups.groups, self.samples)


def importance(
    model: Model,
    x: Tensor,
    samples: int,
    seed: int,
    purpose: str = "eval",
    *,
    log_z: float | None = None,
    chunk: int | None = None,
    batch: int | None = None,
) -> Importance:
    """Return the importance-weighted NLL of a model.

    Args:
        model: A model whose posterior can be sampled at once.
        x: Examples, (n, d), a tensor or an array.
        samples: Posterior samples of each example.
        seed: Seed of the noise.
        purpose: What the noise is for; another purpose draws other noise.
        log_z: log Z of the prior, nats, for models whose prior is a Boltzmann machine.
        chunk: Samples in a pass, for speed only.
        batch: Examples in a pass, for speed only.

    Raises:
        UserError: If the model has no such posterior, or lacks a log Z that is not given.

    Reference:
        Burda, Grosse & Salakhutdinov 2016, equation 8.
    """
    model, log_z = sampled(model, log_z, "importance samples")
    x = cases_of(model, x)

    weight_sum = ImportanceSum(len(x), samples, x.device, log_z=log_z)
    for part in stream(model, x, samples, seed, purpose, chunk=chunk, batch=batch):
        weight_sum.add(part)
    return weight_sum.result()


def sampled(model: Model, log_z: float | None, samples: str) -> tuple[SampledPosterior, float]:
    """Return a model whose posterior is sampled at once, and its log Z.

    log Z must be subtracted from log p(x, z); it is 0 if the prior is normalised. Raises UserError
    if log Z is needed and missing, or if there is no posterior to draw ``samples`` from.
    """
    if log_z is None and isinstance(model, BoltzmannPrior):
        raise UserError(
            f"{model.called} has a Boltzmann machine as its prior: give its log_z, "
            "such as float(estimators.log_z.ais(model.prior(), 1000, 100, seed=0).value)"
        )
    if not isinstance(model, SampledPosterior):
        raise UserError(f"{model.called} has no posterior to draw {samples} from")
    return model, float(log_z or 0.0)
