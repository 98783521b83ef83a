"""Gaussian posteriors of all cases of a split, and one sample of each.

And their mixture, the aggregated posterior. KL(q(z|x) || p), E log q(z|x) and log q(z) = log (1/n)
sum_j q(z | x_j), the sum over all cases or over a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaebench.dists import gaussian
from vaebench.estimators.sums import Sums
from vaebench.estimators.weights import Pass, draws, plan
from vaebench.models.base import GaussianPosterior, Moments
from vaebench.models.posterior import Gaussian
from vaebench.work.steps import tick

BLOCK = 2**21
"""Numbers of a block of densities (samples x posteriors), so that memory stays bounded whatever the
size of the set."""

LOSS = 1e8
"""Largest term of a quadratic form that is expanded: in float64, differences of
such terms keep 1e-7 nats."""

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Posteriors:
    """``mean`` and ``log_var`` of q(z | x_i), and one sample ``z`` of each: (n, units), float64."""

    mean: Tensor
    log_var: Tensor
    z: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    def of(self, cases: slice, dtype: torch.dtype) -> Gaussian:
        """The posteriors of some of the cases, in the precision of the model that gave them."""
        return Gaussian(self.mean[cases].to(dtype), self.log_var[cases].to(dtype))

    def kl(self) -> Tensor:
        """KL(q(z | x_i) || N(0, I)) of every case, (n,), nats, exact."""
        return gaussian.kl_standard(self.mean, self.log_var)

    def log_own(self) -> Tensor:
        """log q(z_i | x_i), (n,), nats."""
        return gaussian.log_prob(self.z, self.mean, self.log_var / 2)

    def expected_log_own(self) -> Tensor:
        """E log q(z | x_i) under q(z | x_i), minus its entropy, (n,), nats, exact."""
        return -0.5 * (1 + self.log_var + LOG_2PI).sum(-1)

    def log_prior(self) -> Tensor:
        """log N(z_i; 0, I), (n,), nats."""
        zero = torch.zeros((), dtype=self.z.dtype, device=self.z.device)
        return gaussian.log_prob(self.z, zero, zero)

    def log_aggregate(self, groups: Sequence[Tensor] | None = None) -> Tensor:
        """log of the mean of q(z_i | x_j) over the cases j of the group of i, itself included.

        (n,), nats. ``groups``: index tensors that hold every case once; None: all cases are one
        group. Raises ValueError for groups that leave out a case or name one twice.
        """
        if groups is None:
            return log_mixture(self.z, self.mean, self.log_var)
        rows = torch.cat([torch.as_tensor(g, device=self.z.device) for g in groups])
        if not torch.equal(rows.sort().values, torch.arange(len(self), device=rows.device)):
            raise ValueError(f"groups must hold each of the {len(self)} cases once")
        out = self.z.new_empty(len(self))
        for g in groups:
            rows = torch.as_tensor(g, device=self.z.device)
            out[rows] = log_mixture(self.z[rows], self.mean[rows], self.log_var[rows])
        return out


def log_mixture(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log (1/n) sum_j N(z_i; mean_j, exp(log_var_j)), (m,), nats.

    ``z`` (m, units), the others (n, units), float64. Blockwise, in bounded memory. Where the
    quadratic form is expanded it costs two matrix products.
    """
    constant = -0.5 * (log_var + LOG_2PI).sum(-1) - math.log(len(mean))
    precision = torch.exp(-log_var)
    centre = mean.mean(0)

    # z'Pz - 2 z'Pm + m'Pm loses digits where its terms are far greater than their sum.
    largest = torch.maximum(
        (z - centre).square().amax(0), (mean - centre).square().amax(0)
    ) * precision.amax(0)
    if float(largest.max()) > LOSS:
        each = BLOCK // (len(mean) * z.shape[1])
        density = _direct
    else:
        each = BLOCK // len(mean)
        density = _expanded
        z = z - centre
        mean = mean - centre

    parts = []
    for part in z.split(max(1, each)):
        tick()
        parts.append(torch.logsumexp(density(part, mean, precision) + constant, -1))
    return torch.cat(parts)


def _expanded(z: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    quadratic = (
        z.square() @ precision.mT
        - 2 * z @ (mean * precision).mT
        + (mean.square() * precision).sum(-1)
    )
    return -0.5 * quadratic.clamp(min=0)


def _direct(z: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    return -0.5 * ((z[:, None] - mean).square() * precision).sum(-1)


class Gather(Sums):
    """Takes the moments and the first sample of every case from the passes of a stream."""

    samples = 1

    def __init__(self, cases: int) -> None:
        self.cases = cases
        self.rows: list[tuple[slice, Moments, Tensor]] = []

    def add(self, part: Pass) -> None:
        """Take the case's posterior, and the sample, of the pass that has the first."""
        if part.first == 0:
            q = part.posterior
            if not isinstance(q, Gaussian):
                raise TypeError("only a Gaussian posterior has a mean and a variance")
            self.rows.append((part.cases, (q.mean.detach(), q.log_var.detach()), part.z[0][0]))

    def result(self) -> Posteriors:
        """All of them. Raises RuntimeError when a case is missing or came twice."""
        rows = sorted(self.rows, key=lambda row: row[0].start)
        ends = [0, *(cases.stop for cases, _, _ in rows)]
        if ends[-1] != self.cases or ends[:-1] != [cases.start for cases, _, _ in rows]:
            raise RuntimeError(f"the passes do not hold each of the {self.cases} cases once")
        each = [(*moments, z) for _, moments, z in rows]
        return Posteriors(*(torch.cat(column).double() for column in zip(*each, strict=True)))


@torch.no_grad()
def posteriors(
    model: GaussianPosterior,
    x: Tensor,
    seed: int,
    purpose: str = "eval",
    known: Posteriors | None = None,
) -> Posteriors:
    """The posteriors of the cases ``x`` (n, d) by the encoder alone.

    With the samples that come first in a stream. ``known``: the same posteriors with other samples,
    so that they need not be found again.
    """
    rows = []
    for cases, _, xs in plan(model, x, 1):
        tick()
        q = model.posterior(xs) if known is None else known.of(cases, model.mean.dtype)
        (z,) = q.sample(1, draws(model, cases, 0, 1, seed, purpose, x.device))
        rows.append((q.mean, q.log_var, z[0]))
    return Posteriors(*(torch.cat(column).double() for column in zip(*rows, strict=True)))


def mean_and_error(each: Tensor) -> tuple[float, float | None]:
    """Mean over cases (n,) and its standard error, sd / sqrt(n) with n - 1 degrees of freedom.

    None for one case.
    """
    return float(each.mean()), float(each.std() / math.sqrt(len(each))) if len(each) > 1 else None
