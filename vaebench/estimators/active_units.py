"""Active units: latents whose posterior mean varies with the data.

Burda, Grosse & Salakhutdinov 2016, section 5.1. For binary units the mean of an example is
estimated from samples, and a unit is active if the variance over examples exceeds the threshold.
For Gaussian posteriors the mean is the encoder's, and a variance equal to the threshold counts as
active (He et al. 2019).
"""

from __future__ import annotations

import torch

from vaebench.estimators.posteriors import Gather
from vaebench.estimators.sums import Sums
from vaebench.estimators.weights import Pass

THRESHOLD = 0.01
"""A unit is active if Var_x(E_Q[z | x]) exceeds this; with Gaussian posteriors, if it is not less.
"""

DDOF = 1
"""Variances over n examples have n - DDOF degrees of freedom."""


class ActiveUnits(Sums):
    """Streaming estimate of Var_x(E_Q[z | x]) of every unit, from samples.

    An even number of samples of each example is used. The mean of a few samples varies within an
    example too, by Var[z | x] / k, which for binary units is more than the threshold. The
    covariance over examples between the means of two halves of the samples has no such bias, so it
    is used.
    """

    def __init__(
        self, cases: int, samples: int, sizes: list[int], device: torch.device | str = "cpu"
    ) -> None:
        if samples < 2:
            raise ValueError("active units need at least 2 samples per case")

        self.cases = cases
        self.samples = samples
        self.half = samples // 2
        self.first = [torch.zeros(cases, n, dtype=torch.float32, device=device) for n in sizes]
        self.second = [torch.zeros_like(v) for v in self.first]

    def add(self, part: Pass) -> None:
        """Take the samples of ``part`` that belong to one of the two halves."""
        for z, first, second in zip(part.z, self.first, self.second, strict=True):
            # Where the halves end within this pass; 0 if they ended before. Slices beyond the pass
            # are cut to it. z is (k, batch, units).
            end_of_first = max(0, self.half - part.first)
            end_of_second = max(0, 2 * self.half - part.first)
            first[part.cases] += z[:end_of_first].sum(0)
            second[part.cases] += z[end_of_first:end_of_second].sum(0)

    def variances(self) -> list[torch.Tensor]:
        """Return Var_x(E_Q[z | x]) of every unit, layer by layer, (units,) each.

        With n examples they have n - 1 degrees of freedom.
        """
        by_layer = []
        for first, second in zip(self.first, self.second, strict=True):
            # The covariance over examples of the two half-means: their noise is independent, so its
            # expectation is Var_x(E_Q[z | x]).
            mean1 = first.double() / self.half
            mean2 = second.double() / self.half
            by_layer.append(
                ((mean1 - mean1.mean(0)) * (mean2 - mean2.mean(0))).sum(0) / (self.cases - DDOF)
            )
        return by_layer

    def result(self) -> list[int]:
        """Return the number of active units of each layer, the layer next to the data first."""
        return [int((v > THRESHOLD).sum()) for v in self.variances()]


def variances(mean: torch.Tensor) -> torch.Tensor:
    """Return the variance of encoder means (n, units) over the examples.

    The result is (units,), float64, with n - 1 degrees of freedom.
    """
    return mean.double().var(0, correction=DDOF)


def active_means(mean: torch.Tensor) -> int:
    """Return the number of active units by their encoder means (n, units); n is at least two."""
    return int((variances(mean) >= THRESHOLD).sum())


class ActiveMeans(Gather):
    """The same as ``ActiveUnits`` for a Gaussian posterior, whose mean is known without samples."""

    def variances(self) -> list[torch.Tensor]:
        """Return the variance over examples of every unit's mean, for the one layer, [(units,)]."""
        return [variances(self.result().mean)]

    def active(self) -> list[int]:
        """Return the number of active units of the one layer."""
        return [active_means(self.result().mean)]
