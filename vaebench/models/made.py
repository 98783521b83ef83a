"""Masked autoencoders for distribution estimation (Germain, Gregor, Murray & Larochelle 2015)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.models.base import Ensemble, PixelByPixel, Tiny
from vaebench.models.posterior import Noise
from vaebench.protocol.families import FAMILIES
from vaebench.rng import seeds
from vaebench.rng.noise import inside
from vaebench.settings import validate


class MADE(Ensemble, PixelByPixel):
    """A net from x to the logits of x, whose masks make it autoregressive.

    Masks cut every path from a pixel to itself and to earlier pixels. A member is a mask: an order
    of the pixels and, for every hidden unit, a degree m, from the least degree in the layer before
    it to d - 1. The unit sees pixels at positions up to m, and is seen by those at later positions.

    Parameters: ``p.weightL`` (units, inputs) and ``p.hiddenL`` of the hidden layers, ``p.output``
    (d, units), ``p.bias`` (d,), and with ``direct`` ``p.direct`` (d, d), from pixels to pixels.

    Args:
        info: What is known of the data.
        units: Units of every hidden layer, which are ReLU.
        layers: Number of hidden layers.
        masks: Number of members. Training takes them in turn, another one for every update.
        direct: Whether pixels also see earlier ones without a hidden layer between.
        mask_seed: Decides the masks, which are the same for every seed of a table.

    Raises:
        UserError: For a setting out of its range.

    Reference:
        Germain et al. 2015, MADE: Masked Autoencoder for Distribution Estimation, equations 8 to
        13.
    """

    facts = FAMILIES["made"]
    tiny: ClassVar[Tiny] = {
        "MADE 12": {"units": 12},
        "MADE 12-12, three masks": {"units": 12, "layers": 2, "masks": 3, "direct": False},
    }
    members: int
    positions: Tensor
    degrees: Tensor

    def __init__(
        self,
        info: DataInfo,
        units: int = 500,
        layers: int = 1,
        masks: int = 1,
        direct: bool = True,
        mask_seed: int = 0,
    ) -> None:
        super().__init__(info)
        validate.whole("model.units", units)
        self.layers = validate.whole("model.layers", layers)
        self.members = validate.whole("model.masks", masks)
        validate.flag("model.direct", direct)
        validate.whole("model.mask_seed", mask_seed, least=0)

        d = info.size
        self.p = nn.ParameterDict()
        for layer in range(layers):
            self.p[f"weight{layer}"] = torch.zeros(units, units if layer else d)
            self.p[f"hidden{layer}"] = torch.zeros(units)
        self.p["output"] = torch.zeros(d, units)
        self.p["bias"] = torch.zeros(d)
        if direct:
            self.p["direct"] = torch.zeros(d, d)

        # (masks, d) and (masks, layers, units). The settings decide them, so a checkpoint need not
        # hold them.
        by_member = [mask_degrees(d, units, layers, mask_seed, member) for member in range(masks)]
        self.register_buffer(
            "positions", torch.stack([positions for positions, _ in by_member]), persistent=False
        )
        self.register_buffer(
            "degrees", torch.stack([degrees for _, degrees in by_member]), persistent=False
        )

    def logits(self, x: Tensor, member: int | Tensor) -> Tensor:
        """Return the logits of every pixel given those before it in a member's order, (batch, d).

        ``x`` is (batch, d).
        """
        # The member may be a tensor, which a step must not turn into a Python number.
        number = torch.as_tensor(member, device=x.device).reshape(1)
        positions = self.positions.index_select(0, number)[0]
        degrees = self.degrees.index_select(0, number)[0]

        # A hidden unit sees inputs whose degree is at most its own. An output sees units whose
        # degree is below the pixel's position, so no path leads from a pixel to itself.
        hidden = x
        input_degrees = positions
        for layer in range(self.layers):
            weight = self.p[f"weight{layer}"] * (degrees[layer].unsqueeze(-1) >= input_degrees)
            hidden = torch.relu(F.linear(hidden, weight, self.p[f"hidden{layer}"]))
            input_degrees = degrees[layer]

        logits = F.linear(
            hidden, self.p["output"] * (positions.unsqueeze(-1) > input_degrees), self.p["bias"]
        )
        if "direct" in self.p:
            logits = logits + F.linear(x, self.p["direct"] * (positions.unsqueeze(-1) > positions))
        return logits

    def log_member(self, x: Tensor, member: int | Tensor) -> Tensor:
        """Return log p(x) by the mask of that number, (batch,), nats, differentiable.

        The number may be a tensor, ().
        """
        return bernoulli.log_prob(x, self.logits(x, member))

    @torch.no_grad()
    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples by the first mask: x (batch, d), pixel by pixel; there are no latents."""
        uniform = inside(noise["p0"])
        # Pixels that are not drawn yet are 0; the logit of an earlier pixel does not see them.
        x = torch.zeros_like(uniform)
        for pixel in self.positions[0].argsort().tolist():
            means = torch.sigmoid(self.logits(x, 0)[:, pixel])
            x[:, pixel] = (uniform[:, pixel] < means).to(x.dtype)
        return x, []


def mask_degrees(d: int, units: int, layers: int, seed: int, member: int) -> tuple[Tensor, Tensor]:
    """Draw the mask of one member.

    NumPy's RandomState draws it, whose stream is frozen: a trained model would be useless with
    other masks.

    Returns:
        Positions of the pixels, (d,), and degrees of the hidden units, (layers, units), all from 1.
    """
    generator = np.random.RandomState(seeds.derive(seed, "pixel_order", member) % 2**32)
    positions = generator.permutation(d) + 1

    # Degrees go up to d - 1, since the last pixel is seen by none. They begin at the least degree
    # of the layer before, so that every unit sees something.
    degrees = np.empty((layers, units), np.int64)
    least = 1
    for layer in range(layers):
        degrees[layer] = generator.randint(least, max(d, least + 1), units)
        least = int(degrees[layer].min())

    return torch.from_numpy(positions.astype(np.int64)), torch.from_numpy(degrees)
