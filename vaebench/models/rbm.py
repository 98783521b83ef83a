"""A restricted Boltzmann machine over the data (Smolensky 1986; Salakhutdinov & Murray 2008)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists.rbm import RBM
from vaebench.models.base import EnergyModel, Tiny
from vaebench.models.posterior import Noise
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes
from vaebench.settings import validate


class BinaryRBM(EnergyModel):
    """p(x) = sum_h exp(b.x + c.h + x' W h) / Z, bits x and ``units`` hidden bits h.

    The hidden units are summed out: F(x) = -b.x - sum_j softplus(c + x' W)_j.

    Args:
        info: What is known of the data.
        units: Number of hidden units.

    Raises:
        UserError: If ``units`` is not a whole number from 1.
    """

    facts = FAMILIES["rbm"]
    tiny: ClassVar[Tiny] = {"RBM 4": {"units": 4}}

    def __init__(self, info: DataInfo, units: int = 500) -> None:
        validate.whole("model.units", units)
        super().__init__(info)
        d = info.size
        self.p = nn.ParameterDict(
            {
                "visible": torch.zeros(d),
                "hidden": torch.zeros(units),
                "weight": torch.zeros(d, units),
            }
        )

    def rbm(self) -> RBM:
        """Return the RBM with x as side 1 and h as side 2; gradients pass to its parameters."""
        return RBM(self.p["visible"], self.p["hidden"], self.p["weight"])

    def decayed(self) -> list[Tensor]:
        """Return the couplings alone: biases do not decay."""
        return [self.p["weight"]]

    def free_energy(self, x: Tensor) -> Tensor:
        """Return F(x), (batch,), nats, of bits ``x`` (batch, d)."""
        return self.rbm().free_energy1(x)

    def gibbs_noise(self, steps: int, batch: int) -> Shapes:
        """Declare the noise of ``gibbs``: uniforms (steps, batch, units) and (steps, batch, d)."""
        d, units = self.p["weight"].shape
        return {
            "hidden": ("dithered", (steps, batch, units)),
            "visible": ("dithered", (steps, batch, d)),
        }

    @torch.no_grad()
    def gibbs(self, x: Tensor, noise: Noise) -> Tensor:
        """Run Gibbs steps from ``x`` (batch, d) and return the last x, (batch, d).

        A step draws the hidden bits given x, then new x given these.
        """
        return self.rbm().gibbs(x, noise["hidden"], noise["visible"])[0]
