"""The variational bound: the one-sample bound, averaged over several samples of each example.

With a Gaussian posterior, E_Q[log p(x | z)] is sampled and the KL is exact (Kingma & Welling 2014,
equation 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.estimators.importance_weighted import sampled
from vaebench.estimators.sums import Sums
from vaebench.estimators.weights import Pass, cases_of, stream
from vaebench.models.base import Model
from vaebench.models.posterior import total


@dataclass(frozen=True)
class Bound:
    """The variational bound and the KL in it.

    Attributes:
        value: Mean over examples of E_Q[log P(x, z) - log Q(z | x)], nats; in expectation at most
            log p(x).
        error: Monte Carlo standard error given the examples; None for one sample.
        kl: E_Q[log Q - log P(z)] of each latent layer, or of all layers in one number if the prior
            is a single term.
        cases: Number of examples.
        samples: Samples of each example.
        analytic: Whether the KL is exact, given the model.
    """

    value: float
    error: float | None
    kl: list[float]
    cases: int
    samples: int
    analytic: bool = False


class BoundSum(Sums):
    """Streaming sums of the bound over the first ``samples`` samples of every example.

    ``log_z`` is what the log-prior lacks. It is subtracted once from the bound, and added once to
    the KL.
    """

    def __init__(
        self, cases: int, samples: int, device: torch.device | str = "cpu", *, log_z: float = 0.0
    ) -> None:
        self.cases = cases
        self.samples = samples
        self.log_z = log_z
        self.total = torch.zeros(cases, dtype=torch.float64, device=device)
        self.square = torch.zeros_like(self.total)
        self.shared = torch.zeros_like(self.total)
        self.kl: list[Tensor] = []
        self.case_kl = torch.zeros_like(self.total)
        self.analytic = False

    @torch.no_grad()
    def add(self, part: Pass) -> None:
        """Take those samples of ``part`` that are among the first ``samples``."""
        k = min(part.log_w.shape[0], self.samples - part.first)
        if k <= 0:
            return

        exact_kl = part.posterior.exact_kl() if part.posterior else None
        if exact_kl is None:
            # One-sample terms, (k, batch).
            log_w = part.log_w[:k]
            # log_p begins with the data term; a prior term for each term of log_q follows.
            ratios = [
                q[:k].double() - p[:k].double()
                for p, q in zip(part.log_p[1:], part.log_q, strict=True)
            ]
            kl = [ratio.sum() for ratio in ratios]
            case_kl = total([ratio.sum(0) for ratio in ratios])
        else:
            # Only log p(x | z) is sampled.
            log_w = part.log_p[0][:k].double() - total(exact_kl)
            kl = [k * term.sum() for term in exact_kl]
            self.analytic = True
            case_kl = k * total(exact_kl)

        self.total[part.cases] += log_w.sum(0)
        self.square[part.cases] += (log_w**2).sum(0)
        self.case_kl[part.cases] += case_kl

        # ``shared`` is the variance of an estimated log Z_x. All samples of an example share the
        # error, so more samples do not reduce it.
        if part.error is not None:
            self.shared[part.cases] = part.error.double() ** 2

        # KL of each layer, summed over examples and samples.
        self.kl = [a + b for a, b in zip(self.kl, kl, strict=True)] if self.kl else kl

    def each(self) -> Tensor:
        """Return minus the bound of every example, (n,), nats; positive for discrete data."""
        return self.log_z - self.total / self.samples

    def each_kl(self) -> Tensor:
        """Return the KL of every example, all layers together, (n,), nats."""
        return self.case_kl / self.samples + self.log_z

    def variance(self) -> Tensor | None:
        """Return the Monte Carlo variance of the bound of every example, (n,), nats^2.

        With one sample it is unknown (None).
        """
        if self.samples < 2:
            return None

        # Unbiased variance of one sample; the bound is the mean of ``samples`` of them.
        mean = self.total / self.samples
        variance = (self.square - self.samples * mean**2).clamp(min=0) / (self.samples - 1)
        return variance / self.samples + self.shared

    def result(self) -> Bound:
        """Return the mean bound, its error and the KL.

        With one sample per example the Monte Carlo error is unknown (None).
        """
        mean = self.total / self.samples
        variance = self.variance()
        error = None if variance is None else float(variance.sum().sqrt() / self.cases)
        kl = [float(v) / (self.cases * self.samples) for v in self.kl]

        # The prior's term is the last one, and its log P(z) lacks -log Z.
        if kl:
            kl[-1] += self.log_z

        return Bound(
            float(mean.mean()) - self.log_z, error, kl, self.cases, self.samples, self.analytic
        )


def bound(
    model: Model,
    x: Tensor,
    samples: int,
    seed: int,
    purpose: str = "eval",
    *,
    log_z: float | None = None,
) -> Bound:
    """Return the bound of a model, in nats: negative for discrete data.

    Args:
        model: A model whose posterior can be sampled at once.
        x: Examples, (n, d), a tensor or an array.
        samples: Posterior samples of each example.
        seed: Seed of the noise.
        purpose: What the noise is for; another purpose draws other noise.
        log_z: log Z of the prior, nats, for models whose prior is a Boltzmann machine.

    Raises:
        UserError: If the model has no such posterior, or lacks a log Z that is not given.
    """
    model, log_z = sampled(model, log_z, "samples")
    x = cases_of(model, x)

    bound_sum = BoundSum(len(x), samples, x.device, log_z=log_z)
    for part in stream(model, x, samples, seed, purpose):
        bound_sum.add(part)
    return bound_sum.result()
