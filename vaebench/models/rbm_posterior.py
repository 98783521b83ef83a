"""DVAE##: the posterior of each example is a Boltzmann machine of its own.

Vahdat, Andriyash & Macready 2020. q(z | x) = exp(-E_x(z)) / Z_x over the same two sides as the
prior. The encoder gives all biases and couplings for each example. A Boltzmann machine has no
ancestral order, so it cannot be sampled directly. Samples come from Markov chains: persistent ones
in training, annealed ones for measures. log Z_x must be estimated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from vaebench import kernels
from vaebench.data.info import DataInfo
from vaebench.dists.rbm import RBM
from vaebench.models.base import BoltzmannPosterior, Tiny
from vaebench.models.rbm_vae import RBMPriorModel
from vaebench.nn.batch_norm import BatchNorm, Tape, name_norms
from vaebench.nn.mlp import NormalizedTanhNet
from vaebench.protocol.families import FAMILIES
from vaebench.settings import validate

COUPLING = 1.5
"""Standard deviation of a coupling of spins at the start, times sqrt(n1). It is large enough for
several modes.
"""


class Encoder(nn.Module):
    """From x to the posterior of each example: hidden layers, then a linear output layer.

    The n1 + n2 + n1 n2 outputs are fields h1, h2 and couplings J of spins +-1. The couplings have a
    normalisation of their own, J = 1.5 BN(.) / sqrt(n1). ``from_spins`` turns all into biases and
    couplings of bits.
    """

    def __init__(
        self, inputs: int, sides: tuple[int, int], units: int, layers: int, momentum: float
    ) -> None:
        super().__init__()
        self.n1, self.n2 = sides
        self.net = NormalizedTanhNet(inputs, units, layers, momentum)
        self.output = nn.Linear(self.net.outputs, self.n1 + self.n2 + self.n1 * self.n2)
        self.couplings = BatchNorm(self.n1 * self.n2, momentum)

    def forward(self, x: Tensor, tape: Tape | None = None) -> RBM:
        out = self.output(self.net(x, tape))
        factor = COUPLING / math.sqrt(self.n1)
        # The kernel normalises by the statistics of the batch, so it is for training only.
        if tape is not None and out.dim() == 2 and kernels.plain(out) and kernels.allowed():
            return self._by_kernel(out, factor, tape)

        h1, h2, j = out.split([self.n1, self.n2, self.n1 * self.n2], -1)
        j = factor * self.couplings(j, tape)
        return from_spins(h1, h2, j.reshape(*j.shape[:-1], self.n1, self.n2))

    def _by_kernel(self, out: Tensor, factor: float, tape: Tape) -> RBM:
        from vaebench.kernels.couplings import rbms

        norm = self.couplings
        sides = (self.n1, self.n2)
        # The fields of the RBM, then the batch statistics of the couplings, which go on the tape.
        *rbm, mean, variance = rbms(out, norm.scale, norm.shift, sides, norm.epsilon, factor)
        tape[norm.path] = mean, variance
        return RBM(*rbm)


def from_spins(h1: Tensor, h2: Tensor, j: Tensor) -> RBM:
    """Turn a Boltzmann machine over spins s = 2 z - 1 into the same one over bits z.

    The spins have -E = h1.s1 + h2.s2 + s1' J s2 + constant, with ``h1`` (*batch, n1), ``h2``
    (*batch, n2), ``j`` (*batch, n1, n2). Then W = 4 J, b1 = 2 (h1 - J 1), b2 = 2 (h2 - J' 1).
    """
    return RBM(2.0 * (h1 - j.sum(-1)), 2.0 * (h2 - j.sum(-2)), 4.0 * j)


class RBMPosteriorVAE(RBMPriorModel, BoltzmannPosterior):
    """Binary latents with a Boltzmann prior and posterior.

    Each example has a posterior of its own, over the same sides as the prior. There is one group of
    ``latents`` bits; its first half is side 1, in the prior and in the posterior. Encoder and
    decoder have ``layers`` hidden layers of ``units`` tanh units. Methods that take samples accept
    [z] with z (k, batch, latents), or [z1, z2] by sides. There is no ``sample_posterior``, since
    sampling takes a chain; see ``posterior``.
    """

    facts = FAMILIES["rbm_posterior"]
    tiny: ClassVar[Tiny] = {"RBM posterior 2+3": {"latents": 5, "layers": 1, "units": 3}}

    def __init__(
        self,
        info: DataInfo,
        latents: int = 200,
        layers: int = 2,
        units: int = 200,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(
            info, [validate.whole("model.latents", latents, 2)], units, layers, momentum
        )
        self.q = Encoder(info.size, (latents // 2, latents - latents // 2), units, layers, momentum)
        name_norms(self)

    def posterior(self, x: Tensor, tape: Tape | None = None) -> RBM:
        """Return the posteriors of the examples ``x`` (batch, d), which are Boltzmann machines.

        They are batched (batch,) and unnormalised.
        """
        return self.q(x - self.mean, tape)

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return -E_x(z) = log q(z | x) + log Z_x, (k, batch), nats.

        Measures subtract the log Z of ``posterior(x)``.
        """
        return [self.posterior(x).negative_energy(*self.sides(z))]

    def decayed(self) -> list[Tensor]:
        """Return what decays in the other models with a Boltzmann prior, but one parameter.

        The scale of the couplings' normalisation does not decay: it sets the size of the couplings,
        which is to be kept.
        """
        return [p for p in super().decayed() if p is not self.q.couplings.scale]
