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
"""Smallest share of a word in the visible biases at the start."""


class ReplicatedSoftmax(EnergyModel):
    """p(v_1, ..., v_L, h) = exp(b.n + L a.h + n' W h) / Z_L, for documents of L words.

    n are the counts of the words, h bits. All words share one set of weights, and the hidden biases
    are scaled by L. So there is a model for every length, with a Z_L of its own, which is a sum
    over the V^L sequences of words. The hidden units are summed out:
    F(n) = -b.n - sum_j softplus(L a_j + W_j.n).

    Args:
        info: What is known of the data: the vocabulary, and how often its words occur.
        units: Number of hidden units.

    Raises:
        UserError: If ``units`` is not a whole number from 1.

    Reference:
        Salakhutdinov & Hinton 2009, Replicated Softmax: an Undirected Topic Model, equations 3 to
        6.
    """

    facts = FAMILIES["replicated_softmax"]
    tiny: ClassVar[Tiny] = {"Replicated Softmax 3": {"units": 3}}
    ragged = True

    def __init__(self, info: DataInfo, units: int = 50) -> None:
        validate.whole("model.units", units)
        super().__init__(info)
        self.p = Parameters(info, units)

    def decayed(self) -> list[Tensor]:
        """Return the couplings alone: biases do not decay."""
        return [self.p.weight]

    def hidden_logits(self, x: Tensor) -> Tensor:
        """Return L a + n' W, the logits of the hidden units, (batch, units).

        ``x`` (batch, V) are the counts n.
        """
        return x @ self.p.weight + x.sum(-1, keepdim=True) * self.p.hidden

    def free_energy(self, x: Tensor) -> Tensor:
        """Return F, (batch,), nats, of counts ``x`` (batch, V).

        It is that of any sequence of these words.
        """
        return -(x @ self.p.visible) - F.softplus(self.hidden_logits(x)).sum(-1)

    def word_logits(self, h: Tensor) -> Tensor:
        """Return b + W h, the logits of every word given bits ``h`` (..., units), (..., V)."""
        return F.linear(h, self.p.weight) + self.p.visible

    def gibbs_noise(self, steps: int, batch: int) -> Shapes:
        """Declare the noise of ``gibbs``.

        Uniforms (steps, batch, units), and two for the words of each document, (steps, batch, 2).
        """
        units = len(self.p.hidden)
        return {
            "hidden": ("uniform", (steps, batch, units)),
            "words": ("uniform", (steps, batch, 2)),
        }

    @torch.no_grad()
    def gibbs(self, x: Tensor, noise: Noise) -> Tensor:
        """Run Gibbs steps from counts ``x`` (batch, V).

        A step draws the hidden bits given the words, then as many words given these bits.
        """
        # Every document keeps its length, since each length has a distribution of its own.
        length = x.sum(-1)
        place = torch.arange(int(length.max()) if len(x) else 0, device=x.device)

        for hidden_noise, word_noise in zip(noise["hidden"], noise["words"], strict=True):
            h = (hidden_noise < torch.sigmoid(self.hidden_logits(x))).to(x.dtype)
            # Two uniforms are the seed of the uniforms of all words of a document,
            # (batch, longest document).
            uniforms = shuffles.uniforms(shuffles.seeds_of(word_noise).unsqueeze(-1), place)
            x = multinomial.sample(self.word_logits(h), uniforms, length)
        return x


def log_shares(mean: Tensor) -> Tensor:
    """Return the logarithms of the words' shares, (V,), none below LEAST_RATE.

    ``mean`` (V,) are the mean counts of the words.
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
        """Set the visible biases to the logarithms of the words' shares.

        The generator is not used.
        """
        self.visible.copy_(self.start_visible)
