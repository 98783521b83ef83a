"""Replicated Softmax: a restricted Boltzmann machine over the words of a document.

Salakhutdinov & Hinton 2009.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import multinomial
from vaebench.models.base import EnergyModel, Tiny
from vaebench.models.posterior import Noise
from vaebench.protocol.families import FAMILIES
from vaebench.rng import shuffles
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

LEAST_RATE = 1e-6
"""Least share of a word in the visible biases at the start."""


class ReplicatedSoftmax(EnergyModel):
    """p(v_1, ..., v_L, h) = exp(b.n + L a.h + n' W h) / Z_L.

    For documents of L words, n their counts, h bits. One set of weights is shared by all words, and
    the hidden biases are scaled by L. So there is a model for every length, with a Z_L of its own,
    a sum over the V^L sequences of words. The hidden units are summed out: F(n) = -b.n - sum_j
    softplus(L a_j + W_j.n).

    Args:
        info: What is known of the data: the vocabulary, and how often its words occur.
        units: Hidden units.

    Raises:
        UserError: If ``units`` is no whole number from 1.

    Reference:
        Salakhutdinov & Hinton 2009, Replicated Softmax: an Undirected Topic
        Model, equations 3 to 6.
    """

    facts = FAMILIES["replicated_softmax"]
    tiny: ClassVar[Tiny] = {"Replicated Softmax 3": {"units": 3}}
    ragged = True

    def __init__(self, info: DataInfo, units: int = 50) -> None:
        validate.whole("model.units", units)
        super().__init__(info)
        self.p = Parameters(info, units)

    def decayed(self) -> list[Tensor]:
        """The couplings alone: biases do not decay."""
        return [self.p.weight]

    def hidden_logits(self, x: Tensor) -> Tensor:
        """L a + n' W, the logits of the hidden units given counts ``x`` (batch, V).

        Their shape: (batch, units).
        """
        return x @ self.p.weight + x.sum(-1, keepdim=True) * self.p.hidden

    def free_energy(self, x: Tensor) -> Tensor:
        """F, (batch,), nats, of counts ``x`` (batch, V): that of any sequence of these words."""
        return -(x @ self.p.visible) - F.softplus(self.hidden_logits(x)).sum(-1)

    def word_logits(self, h: Tensor) -> Tensor:
        """b + W h, the logits of every word given bits ``h`` (..., units), (..., V)."""
        return F.linear(h, self.p.weight) + self.p.visible

    def gibbs_noise(self, steps: int, batch: int) -> Shapes:
        """Uniforms (steps, batch, units).

        And two for the words of each document, (steps, batch, 2).
        """
        units = len(self.p.hidden)
        return {
            "hidden": ("uniform", (steps, batch, units)),
            "words": ("uniform", (steps, batch, 2)),
        }

    @torch.no_grad()
    def gibbs(self, x: Tensor, noise: Noise) -> Tensor:
        """Steps from counts ``x`` (batch, V).

        Hidden bits given the words, then as many words given these.
        """
        length = x.sum(-1)
        place = torch.arange(int(length.max()) if len(x) else 0, device=x.device)
        for uniform, words in zip(noise["hidden"], noise["words"], strict=True):
            h = (uniform < torch.sigmoid(self.hidden_logits(x))).to(x.dtype)
            each = shuffles.uniforms(shuffles.seeds_of(words).unsqueeze(-1), place)
            x = multinomial.sample(self.word_logits(h), each, length)
        return x


def log_shares(mean: Tensor) -> Tensor:
    """Logarithms of the words' shares, (V,), of which ``mean`` (V,) are the mean counts.

    None below LEAST_RATE.
    """
    return torch.log((mean / mean.sum().clamp(min=1e-30)).clamp(min=LEAST_RATE))


class Parameters(nn.Module):
    """b (V,), a (units,) and W (V, units); b starts at the logarithms of the words' shares."""

    start_visible: Tensor

    def __init__(self, info: DataInfo, units: int) -> None:
        super().__init__()
        self.visible = nn.Parameter(torch.zeros(info.size))
        self.hidden = nn.Parameter(torch.zeros(units))
        self.weight = nn.Parameter(torch.zeros(info.size, units))
        self.register_buffer(
            "start_visible", log_shares(torch.from_numpy(info.mean)), persistent=False
        )

    def start(self, generator: torch.Generator) -> None:
        """Set the visible biases to the words' shares; the generator is not used."""
        self.visible.copy_(self.start_visible)
