"""The model of DVAE# with the Gaussian integral.

Its smoothed bits are mixtures of Gaussians whose shape the network gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.models.base import Tiny
from vaebench.models.rbm_vae import RBMVAE, Inference
from vaebench.nn.batch_norm import Tape
from vaebench.nn.layers import layer_list
from vaebench.protocol.families import FAMILIES


class Widths(nn.Module):
    """Trained standard deviations of ``units`` Gaussians, the same for every example.

    They are |0.2 v| + 0.05, with v = 1 at first.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.ones(units))

    def start(self, generator: torch.Generator) -> None:
        """Set initial parameters: widths of 0.25."""
        nn.init.ones_(self.v)

    def forward(self) -> Tensor:
        return (0.2 * self.v).abs() + 0.05


class MixtureInference(Inference):
    """An inference network with shifts, one more output for each group, and with widths."""

    def __init__(self, plain: Inference, units: int) -> None:
        super().__init__(plain.context, plain.nets, plain.outputs)
        self.shifts = layer_list([nn.Linear(net.outputs, units) for net in self.nets])
        self.widths = layer_list([Widths(units) for _ in self.nets])


class RBMVAEGaussian(RBMVAE):
    """RBMVAE with a mixture of two Gaussians for each group i.

    q(zeta_i | x, zeta_<i) = (1 - q) N(delta, sigma^2) + q N(1 + delta, sigma^2). The group's net
    gives q and delta = 0.5 (sigmoid(a) - 0.5), between -1/4 and 1/4. Every unit has its own sigma,
    a parameter (Vahdat, Andriyash & Macready 2018, DVAE#). Measures use the sampling and
    log-densities of RBMVAE. These are of hard bits and do not depend on delta and sigma. The
    settings are those of RBMVAE.
    """

    facts = FAMILIES["rbm_vae_gaussian"]
    tiny: ClassVar[Tiny] = {
        "RBM prior 2+2, Gaussian": {"latents": 4, "groups": 2, "layers": 1, "units": 3}
    }
    q: MixtureInference

    def __init__(self, info: DataInfo, *args: Any, **settings: Any) -> None:
        super().__init__(info, *args, **settings)
        # All groups have the same size. The nets keep their paths below ``q``, so that their
        # normalisation need not be named again.
        self.q = MixtureInference(self.q, self.sizes[1])

    def group_mixture(
        self, i: int, seen: Tensor, before: Sequence[Tensor], tape: Tape | None = None
    ) -> Tensor:
        """Return the logits of q, delta and sigma of group i, stacked.

        Args:
            i: Number of the group, from 0.
            seen: What ``encode`` returned.
            before: The groups before it, (k, batch, n) each, any real values.
            tape: Given in training, for batch normalisation.

        Returns:
            (3, batch, n) for the first group, (3, k, batch, n) for the others.
        """
        if before:
            seen = torch.cat([seen.expand(len(before[0]), *seen.shape), *before], -1)
        hidden = self.q.nets[i](seen, tape)

        # The logits of q and the shifts delta depend on x; the widths sigma do not.
        logit = self.q.outputs[i](hidden)
        delta = 0.5 * (torch.sigmoid(self.q.shifts[i](hidden)) - 0.5)
        return torch.stack([logit, delta, self.q.widths[i]().expand(logit.shape)])
