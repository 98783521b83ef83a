"""Deep NADEs for every order of the pixels, and their ensembles.

Uria, Murray & Larochelle 2014.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.models.base import Ensemble, PixelByPixel, Tiny
from vaebench.models.nade import pixel_order
from vaebench.models.posterior import Noise
from vaebench.nn.init import logit_of_mean
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes, inside
from vaebench.settings import validate


class EoNADE(Ensemble, PixelByPixel):
    """One network for p(x_i | x_o) of every pixel i given any set o of observed pixels.

    So it has a likelihood for every order. The first layer sees the observed pixels and, through
    weights of its own, which pixels are observed. ReLU layers follow. A probability p is squeezed
    to (1 - squeeze) p + squeeze / 2. The k-th likelihood is that of the k-th random order, which is
    the same for all models with this number of pixels.

    Parameters: ``p.weight0`` (d, units) of the pixels, ``p.mask`` (d, units) of whether they are
    observed, ``p.weightL`` (units, units) of the layers above, ``p.hiddenL`` their biases,
    ``p.output`` (d, units), ``p.bias`` (d,).

    Args:
        info: What is known of the data.
        units: Units of every hidden layer.
        layers: Number of hidden layers.
        squeeze: How far probabilities are kept from 0 and 1, from 0 to below 1.

    Raises:
        UserError: For a setting out of its range.

    Reference:
        Uria, Murray & Larochelle 2014, A Deep and Tractable Density Estimator, sections 3 and 4.
    """

    facts = FAMILIES["eonade"]
    tiny: ClassVar[Tiny] = {
        "EoNADE 3": {"units": 3, "layers": 1},
        "EoNADE 3-3": {"units": 3, "layers": 2, "squeeze": 0.0},
    }

    SCORED: ClassVar[int] = 25

    PIXELS: ClassVar[int] = 16
    """Number of pixels whose hidden units are computed at once in ``log_member``."""

    def __init__(
        self, info: DataInfo, units: int = 500, layers: int = 2, squeeze: float = 1e-4
    ) -> None:
        super().__init__(info)
        validate.whole("model.units", units)
        self.layers = validate.whole("model.layers", layers)
        self.squeeze = validate.below_one("model.squeeze", squeeze)

        d = info.size
        self.p = nn.ParameterDict({"mask": torch.zeros(d, units)})
        for layer in range(layers):
            self.p[f"weight{layer}"] = torch.zeros(units if layer else d, units)
            self.p[f"hidden{layer}"] = torch.zeros(units)
        self.p["output"] = torch.zeros(d, units)
        self.p["bias"] = torch.zeros(d)

    def start(self, generator: torch.Generator) -> None:
        """Set the output biases so that pixels are on as often as in the training data.

        All other parameters start as ``init`` says.
        """
        with torch.no_grad():
            self.p["bias"].copy_(logit_of_mean(self.mean))

    def masked_log_likelihood(
        self, x: Tensor, observed: Tensor, layers: int | None = None, output: Tensor | None = None
    ) -> Tensor:
        """Return sum_{i not in o} log p(x_i | x_o), (batch,), nats, differentiable.

        Args:
            x: Examples, (batch, d).
            observed: 1 where a pixel is in o, else 0, (batch, d).
            layers: Number of hidden layers that are used, from the first on; None: all.
            output: Weights from the last of these layers to the pixels, (d, units); None: the
                model's.
        """
        # The mask tells a pixel that is 0 from one that is not observed.
        sums = (x * observed) @ self.p["weight0"] + observed @ self.p["mask"] + self.p["hidden0"]
        weight = self.p["output"] if output is None else output
        logits = self._above(sums, layers) @ weight.mT + self.p["bias"]
        return ((1 - observed) * self._log_prob(x, logits)).sum(-1)

    def order_agnostic(
        self, x: Tensor, observed: Tensor, layers: int | None = None, output: Tensor | None = None
    ) -> Tensor:
        """Return d / (d - |o|) sum_{i not in o} log p(x_i | x_o), (batch,), nats, differentiable.

        The arguments are those of ``masked_log_likelihood``. Over random sets o as the function
        ``observed`` draws them, the expectation is the mean of log p(x) over all orders.
        """
        # The size of o is a position in a random order, and the pixel there may be any pixel that
        # is not in o. So the mean over these pixels estimates the term of that position, and d
        # times it the sum over all positions.
        unobserved = (1 - observed).sum(-1)
        return x.shape[-1] / unobserved * self.masked_log_likelihood(x, observed, layers, output)

    def log_member(self, x: Tensor, member: int | Tensor) -> Tensor:
        """Return log p(x) by the order of that number, (batch,), nats, differentiable."""
        # Pixels, and the rows of the parameters that belong to pixels, in this order.
        order = self.order(int(member))
        ordered = x[:, order]
        weight = self.p["weight0"][order]
        mask = self.p["mask"][order]
        output = self.p["output"][order]
        bias = self.p["bias"][order]

        before = self.p["hidden0"].expand(len(x), -1)
        total = x.new_zeros(len(x))
        # Each pixel has an input of its own to the first layer: what all pixels before it add. So
        # ``sums`` is (batch, pixels, units), and only PIXELS pixels are computed at a time.
        for start in range(0, len(order), self.PIXELS):
            part = slice(start, start + self.PIXELS)
            pixels = ordered[:, part]
            terms = pixels.unsqueeze(-1) * weight[part] + mask[part]
            # cumsum counts a pixel itself, which it must not see.
            sums = before.unsqueeze(1) + terms.cumsum(1) - terms
            logits = (self._above(sums) * output[part]).sum(-1) + bias[part]
            total = total + self._log_prob(pixels, logits).sum(-1)
            before = before + terms.sum(1)

        return total

    def order(self, member: int) -> Tensor:
        """Return the pixels (d,) in the order of that number, from 0."""
        return pixel_order(self.sizes[0], "random", member).to(self.mean.device)

    @torch.no_grad()
    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples by the first order: x (batch, d), pixel by pixel; there are no latents."""
        # Column i of the noise is for the i-th pixel in the order.
        uniform = inside(noise["p0"])
        x = torch.empty_like(uniform)
        sums = self.p["hidden0"].expand(len(uniform), -1)

        for i, pixel in enumerate(self.order(0).tolist()):
            logit = self._above(sums) @ self.p["output"][pixel] + self.p["bias"][pixel]
            # The squeezed probability that the pixel is 1.
            p = torch.exp(self._log_prob(torch.ones_like(logit), logit))
            bit = (uniform[:, i] < p).to(uniform.dtype)
            sums = sums + bit.unsqueeze(-1) * self.p["weight0"][pixel] + self.p["mask"][pixel]
            x[:, pixel] = bit

        return x, []

    def _above(self, sums: Tensor, layers: int | None = None) -> Tensor:
        """Return the last hidden layer, (..., units), of the first ``layers`` or of all.

        ``sums`` (..., units) is the input of the first layer's nonlinearity.
        """
        hidden = torch.relu(sums)
        for layer in range(1, layers or self.layers):
            hidden = torch.relu(hidden @ self.p[f"weight{layer}"] + self.p[f"hidden{layer}"])
        return hidden

    def _log_prob(self, x: Tensor, logits: Tensor) -> Tensor:
        """Return the log of the squeezed probability of every pixel, elementwise."""
        if not self.squeeze:
            return x * logits - F.softplus(logits)

        # The probability of the value in x: of a zero it is sigmoid(-logit).
        p = torch.sigmoid((2 * x - 1) * logits)
        return torch.log((1 - self.squeeze) * p + self.squeeze / 2)


def mask_noise(batch: int, d: int) -> Shapes:
    """Declare the noise of ``observed``: uniforms (batch, d) and (batch, 1)."""
    return {"order": ("uniform", (batch, d)), "position": ("uniform", (batch, 1))}


def observed(noise: Noise) -> Tensor:
    """Draw random sets of observed pixels, marked by ones, (batch, d).

    Their size is uniform on 0 ... d - 1, and all sets of one size are equally likely. The pixels
    with the smallest numbers in an example's ``order`` are observed.
    """
    order = noise["order"]
    # |o|, (batch, 1). The product may be rounded up to d.
    size = (noise["position"] * order.shape[-1]).long().clamp(max=order.shape[-1] - 1)
    # The smallest number of a pixel that is not observed.
    threshold = order.sort(-1).values.gather(-1, size)
    return (order < threshold).to(order.dtype)
