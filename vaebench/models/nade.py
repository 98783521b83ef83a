"""The neural autoregressive distribution estimator, whose likelihood is exact.

Larochelle & Murray 2011.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.models.base import ExactModel, PixelByPixel, Tiny
from vaebench.models.posterior import Noise
from vaebench.nn import running_sum
from vaebench.nn.batch_norm import Tape
from vaebench.protocol.families import FAMILIES
from vaebench.rng import seeds
from vaebench.rng.noise import inside
from vaebench.settings import validate

ORDERS = ("raster", "random")


class NADE(ExactModel, PixelByPixel):
    """p(x) = prod_d p(x_d | x_<d), an autoregressive model with shared weights.

    p(x_d = 1 | x_<d) = sigmoid(b_d + V_d . sigmoid(c + sum_{e<d} x_e W_e)). The pixels have one
    fixed order. Row d of ``p.weight`` (W), of ``p.output`` (V) and of ``p.bias`` (b) belongs to the
    d-th pixel in that order; ``p.hidden`` is c.

    Args:
        info: What is known of the data.
        units: Number of hidden units.
        tied: Whether V is W.
        order: Order of the pixels: ``raster``, as they stand in an example, or ``random``.
        order_seed: Decides the random order, which is the same for every seed of a table.

    Raises:
        UserError: For a setting out of its range.

    Reference:
        Larochelle & Murray 2011, The Neural Autoregressive Distribution Estimator, equations 10 and
        11.
    """

    facts = FAMILIES["nade"]
    tiny: ClassVar[Tiny] = {
        "NADE 3": {"units": 3},
        "NADE 4, tied, in raster order": {"units": 4, "tied": True, "order": "raster"},
    }
    kernel_layers = True
    order: Tensor

    def __init__(
        self,
        info: DataInfo,
        units: int = 500,
        tied: bool = False,
        order: str = "random",
        order_seed: int = 0,
    ) -> None:
        super().__init__(info)
        validate.whole("model.units", units)
        validate.flag("model.tied", tied)
        validate.one_of("model.order", order, ORDERS)
        validate.whole("model.order_seed", order_seed, least=0)

        d = info.size
        self.p = nn.ParameterDict({"weight": torch.zeros(d, units), "hidden": torch.zeros(units)})
        if not tied:
            self.p["output"] = torch.zeros(d, units)
        self.p["bias"] = torch.zeros(d)
        # The settings decide the order, so a checkpoint need not hold it.
        self.register_buffer("order", pixel_order(d, order, order_seed), persistent=False)

    def start(self, generator: torch.Generator) -> None:
        """Set the authors' initial values: weights uniform on +-1/d, biases 0."""
        d = self.sizes[0]
        for name in ("weight", "output"):
            if name in self.p:
                nn.init.uniform_(self.p[name], -1 / d, 1 / d, generator=generator)
        nn.init.zeros_(self.p["hidden"])
        nn.init.zeros_(self.p["bias"])

    @property
    def output(self) -> Tensor:
        """V, the output weights, (d, units)."""
        return self.p["output"] if "output" in self.p else self.p["weight"]

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of every pixel given those before it, (batch, d).

        Both ``x`` (batch, d) and the result are in the model's order of the pixels.
        """
        sums = running_sum.logits(x, self.p["weight"], self.p["hidden"], self.output)
        return sums + self.p["bias"]

    def log_evidence(
        self, x: Tensor, drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x), (batch,), nats, differentiable in the parameters."""
        ordered = x[:, self.order]
        return bernoulli.log_prob(ordered, self.logits(ordered))

    @torch.no_grad()
    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples x (batch, d), pixel by pixel; there are no latents."""
        # Column i of the noise is for the i-th pixel in the model's order.
        uniform = inside(noise["p0"])
        # Input of the hidden units, (batch, units): each bit that is drawn adds its row of W.
        sums = self.p["hidden"].expand(len(uniform), -1)
        x = torch.empty_like(uniform)

        for i, pixel in enumerate(self.order.tolist()):
            logit = torch.sigmoid(sums) @ self.output[i] + self.p["bias"][i]
            bit = (uniform[:, i] < torch.sigmoid(logit)).to(uniform.dtype)
            sums = sums + bit.unsqueeze(-1) * self.p["weight"][i]
            x[:, pixel] = bit
        return x, []


def pixel_order(d: int, order: str, seed: int = 0) -> Tensor:
    """Return the d pixels in a ``raster`` or ``random`` order, (d,) int64.

    ``seed`` decides the random order. NumPy's RandomState draws it, whose stream is frozen: a
    trained model would be useless with another order.
    """
    if order == "raster":
        return torch.arange(d)

    pixels = np.random.RandomState(seeds.derive(seed, "pixel_order") % 2**32).permutation(d)
    return torch.from_numpy(pixels.astype(np.int64))
