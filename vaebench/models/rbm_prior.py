"""A restricted Boltzmann machine as the prior of binary latents.

Rolfe 2017; Vahdat et al. 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaebench.dists.rbm import RBM


class RBMPrior(nn.Module):
    """p(z) = exp(b1.z1 + b2.z2 + z1' W z2) / Z over two sides of n/2 units.

    Every parameter starts at 0. The units come in groups. The first half of all units, whatever
    their group, is side 1; if n is odd, side 2 has one more.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        half = units // 2
        self.first = half
        self.b1 = nn.Parameter(torch.zeros(half))
        self.b2 = nn.Parameter(torch.zeros(units - half))
        self.w = nn.Parameter(torch.zeros(half, units - half))

    def start(self, generator: torch.Generator) -> None:
        """Set all parameters to 0, which is the uniform distribution."""
        for p in self.parameters():
            nn.init.zeros_(p)

    def rbm(self) -> RBM:
        """Return the Boltzmann machine, through which gradients pass to the parameters."""
        return RBM(self.b1, self.b2, self.w)

    def sides(self, z: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Split groups (k, batch, n_i) into the two sides of the Boltzmann machine."""
        units = z[0] if len(z) == 1 else torch.cat(list(z), -1)
        return units[..., : self.first], units[..., self.first :]
