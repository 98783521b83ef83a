"""Gaussian posteriors of all examples of a split, one sample of each, and their mixture.

The mixture is the aggregated posterior. From these follow KL(q(z|x) || p), E log q(z|x) and
log q(z) = log (1/n) sum_j q(z | x_j), where the sum is over all examples or over a batch.
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
"""Numbers in a block of densities (samples x posteriors), so that memory stays bounded whatever the
size of the set."""

LOSS = 1e8
"""Largest term of a quadratic form that is expanded: in float64, differences of such terms are
right to 1e-7 nats."""

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
        """Return the posteriors of some of the examples, in the precision of their model."""
        return Gaussian(self.mean[cases].to(dtype), self.log_var[cases].to(dtype))

    def kl(self) -> Tensor:
        """Return KL(q(z | x_i) || N(0, I)) of every example, (n,), nats, exact."""
        return gaussian.kl_standard(self.mean, self.log_var)

    def log_own(self) -> Tensor:
        """Return log q(z_i | x_i), (n,), nats."""
        return gaussian.log_prob(self.z, self.mean, self.log_var / 2)

    def expected_log_own(self) -> Tensor:
        """Return E log q(z | x_i) under q(z | x_i), minus its entropy, (n,), nats, exact."""
        return -0.5 * (1 + self.log_var + LOG_2PI).sum(-1)

    def log_prior(self) -> Tensor:
        """Return log N(z_i; 0, I), (n,), nats."""
        zero = torch.zeros((), dtype=self.z.dtype, device=self.z.device)
        return gaussian.log_prob(self.z, zero, zero)

    def log_aggregate(self, groups: Sequence[Tensor] | None = None) -> Tensor:
        """Return the log of the mean of q(z_i | x_j) over the examples j of the group of i.

        The result is (n,), nats. Example i itself is in its group. ``groups``: index tensors that
        hold every example once; None: all examples are one group. Raises ValueError for groups that
        leave out an example or name one twice.
        """
        if groups is None:
            return log_mixture(self.z, self.mean, self.log_var)

        members = torch.cat([torch.as_tensor(g, device=self.z.device) for g in groups])
        if not torch.equal(members.sort().values, torch.arange(len(self), device=members.device)):
            raise ValueError(f"groups must hold each of the {len(self)} cases once")

        log_q = self.z.new_empty(len(self))
        for g in groups:
            members = torch.as_tensor(g, device=self.z.device)
            log_q[members] = log_mixture(self.z[members], self.mean[members], self.log_var[members])
        return log_q


def log_mixture(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """Return log (1/n) sum_j N(z_i; mean_j, exp(log_var_j)), (m,), nats.

    ``z`` is (m, units), the others are (n, units), all float64. The work is done in blocks, in
    bounded memory. If the quadratic form can be expanded, it costs two matrix products.
    """
    # What does not depend on z: the normaliser of each component and its weight 1/n, (n,).
    constant = -0.5 * (log_var + LOG_2PI).sum(-1) - math.log(len(mean))
    precision = torch.exp(-log_var)
    centre = mean.mean(0)

    # z'Pz - 2 z'Pm + m'Pm loses digits if its terms are far greater than their sum. Moving the
    # origin to the mean of the means keeps the terms small; a bound of them is found unit by unit.
    largest_term = torch.maximum(
        (z - centre).square().amax(0), (mean - centre).square().amax(0)
    ) * precision.amax(0)

    # The direct form has an axis of units, so fewer samples fit into a block.
    if float(largest_term.max()) > LOSS:
        samples_at_once = BLOCK // (len(mean) * z.shape[1])
        density = _direct
    else:
        samples_at_once = BLOCK // len(mean)
        density = _expanded
        z = z - centre
        mean = mean - centre

    # Log-densities (samples of the block, n), then log-sum-exp over the components.
    by_block = []
    for block in z.split(max(1, samples_at_once)):
        tick()
        by_block.append(torch.logsumexp(density(block, mean, precision) + constant, -1))
    return torch.cat(by_block)


def _expanded(z: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    quadratic = (
        z.square() @ precision.mT
        - 2 * z @ (mean * precision).mT
        + (mean.square() * precision).sum(-1)
    )

    # Rounding may make the quadratic form negative.
    return -0.5 * quadratic.clamp(min=0)


def _direct(z: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    return -0.5 * ((z[:, None] - mean).square() * precision).sum(-1)


class Gather(Sums):
    """Takes the moments and the first sample of every example from the passes of a stream."""

    samples = 1

    def __init__(self, cases: int) -> None:
        self.cases = cases
        self.rows: list[tuple[slice, Moments, Tensor]] = []

    def add(self, part: Pass) -> None:
        """Take the posterior and the sample of a pass, if it has the first sample."""
        if part.first == 0:
            q = part.posterior
            if not isinstance(q, Gaussian):
                raise TypeError("only a Gaussian posterior has a mean and a variance")

            # The only layer, its first sample: (batch, units).
            self.rows.append((part.cases, (q.mean.detach(), q.log_var.detach()), part.z[0][0]))

    def result(self) -> Posteriors:
        """Return all of them. Raises RuntimeError if an example is missing or came twice."""
        rows = sorted(self.rows, key=lambda row: row[0].start)
        # The passes must join without gap or overlap, from the first example to the last.
        borders = [0, *(cases.stop for cases, _, _ in rows)]
        if borders[-1] != self.cases or borders[:-1] != [cases.start for cases, _, _ in rows]:
            raise RuntimeError(f"the passes do not hold each of the {self.cases} cases once")

        columns = [(*moments, z) for _, moments, z in rows]
        return Posteriors(*(torch.cat(column).double() for column in zip(*columns, strict=True)))


@torch.no_grad()
def posteriors(
    model: GaussianPosterior,
    x: Tensor,
    seed: int,
    purpose: str = "eval",
    known: Posteriors | None = None,
) -> Posteriors:
    """Return the posteriors of the examples ``x`` (n, d) by the encoder alone.

    Their samples are those that come first in a stream. ``known``: the same posteriors with other
    samples, so that they need not be computed again.
    """
    by_group = []
    for cases, _, xs in plan(model, x, 1):
        tick()
        q = model.posterior(xs) if known is None else known.of(cases, model.mean.dtype)
        (z,) = q.sample(1, draws(model, cases, 0, 1, seed, purpose, x.device))
        by_group.append((q.mean, q.log_var, z[0]))
    return Posteriors(*(torch.cat(column).double() for column in zip(*by_group, strict=True)))
