"""Binary latents with a Boltzmann prior and a hierarchical inference network.

This is the model of DVAE, DVAE++, DVAE#, GumBolt and PWL. It is discrete. The objective decides how
training relaxes the bits: it calls ``encode``, ``group_logits`` and ``decode`` with values between
0 and 1. Measures use the sampling and log-densities here, which are those of hard bits, with the
running averages of batch normalisation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli
from vaebench.dists.rbm import RBM, bits
from vaebench.errors import UserError
from vaebench.models.base import BinaryVisibles, BoltzmannPrior, SampledPosterior, Tiny
from vaebench.models.posterior import Noise, total
from vaebench.models.rbm_prior import RBMPrior
from vaebench.nn.batch_norm import Tape, name_norms
from vaebench.nn.layers import layer_list
from vaebench.nn.mlp import NormalizedTanhNet
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes
from vaebench.settings import validate

CONTEXTS = ("none", "shared")


class Decoder(nn.Module):
    """Logits of p(x | z): hidden layers and a linear output, plus the logits of the data's mean.

    The logits of the mean are a constant offset, so that the net learns only the difference.
    """

    offset: Tensor

    def __init__(
        self, mean: Tensor, latents: int, units: int, layers: int, momentum: float
    ) -> None:
        super().__init__()
        self.net = NormalizedTanhNet(latents, units, layers, momentum)
        self.output = nn.Linear(self.net.outputs, mean.numel())
        # A pixel that is always 0 or always 1 in training would have an infinite logit.
        self.register_buffer("offset", torch.logit(mean.clamp(0.001, 0.999)))

    def forward(self, z: Tensor, tape: Tape | None = None) -> Tensor:
        return self.output(self.net(z, tape)) + self.offset


class Generator(nn.Module):
    """The generative half: p(z) is a Boltzmann machine, p(x | z) a factorial Bernoulli."""

    def __init__(
        self, mean: Tensor, latents: int, units: int, layers: int, momentum: float
    ) -> None:
        super().__init__()
        self.prior = RBMPrior(latents)
        self.decoder = Decoder(mean, latents, units, layers, momentum)


class RBMPriorModel(BoltzmannPrior, BinaryVisibles):
    """What all models with a Boltzmann prior share; subclasses add the posterior.

    ``log_joint`` lacks -log Z of ``prior()``, which measures add once.
    """

    def __init__(
        self,
        info: DataInfo,
        groups: Sequence[int],
        units: int,
        layers: int,
        momentum: float,
    ) -> None:
        super().__init__(info, groups)

        latents = sum(groups)
        for key, value, least in (
            ("latents", latents, 2),
            ("units", units, 1),
            ("layers", layers, 0),
        ):
            validate.whole(f"model.{key}", value, least)

        validate.below_one("model.momentum", momentum)
        self.p = Generator(self.mean, latents, units, layers, momentum)

    def prior(self) -> RBM:
        """Return the prior's Boltzmann machine, unnormalised."""
        return self.p.prior.rbm()

    def sides(self, z: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Split groups (k, batch, n_i) into the two sides of the prior."""
        return self.p.prior.sides(z)

    def decode(self, z: Sequence[Tensor], tape: Tape | None = None) -> Tensor:
        """Return the logits of p(x | z), (k, batch, d).

        The groups ``z`` are bits or values between 0 and 1.
        """
        return self.p.decoder(torch.cat(list(z), -1), tape)

    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Draw samples of p(x | z), bits of the shape of ``uniform`` (k, batch, d)."""
        return bits(self.decode(z), uniform)

    def log_likelihood(self, x: Tensor, z: Sequence[Tensor], tape: Tape | None = None) -> Tensor:
        """Return log p(x | z), (k, batch), nats."""
        return bernoulli.log_prob(x, self.decode(z, tape))

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log p(x | z) and -E(z) = log p(z) + log Z, each (k, batch), nats."""
        return [self.log_likelihood(x, z), self.prior().negative_energy(*self.sides(z))]

    def decayed(self) -> list[Tensor]:
        """Return the parameters that weight decay applies to.

        These are the weights of all nets, the scales of batch normalisation and the prior's
        couplings.
        """
        # Matrices are the weights of nets and the couplings; biases and shifts are vectors.
        return [p for name, p in self.named_parameters() if p.dim() > 1 or name.endswith(".scale")]


class Inference(nn.Module):
    """The inference network.

    It has a net that all groups share (or None), and for each group a net and its output layer.
    """

    def __init__(
        self,
        context: NormalizedTanhNet | None,
        nets: Iterable[NormalizedTanhNet],
        outputs: Iterable[nn.Linear],
    ) -> None:
        super().__init__()
        self.context = context
        self.nets = layer_list(nets)
        self.outputs = layer_list(outputs)


class RBMVAE(RBMPriorModel, SampledPosterior):
    """q(z | x) = prod_i q(z_i | x, z_<i) over ``groups`` groups of equal size.

    Each factor is a factorial Bernoulli. With ``context`` 'none' every group has a net of its own
    on [x, z_<i] with ``layers`` hidden layers. With 'shared' all groups share one net c(x) with
    ``layers`` hidden layers, and every group has a linear layer on [c(x), z_<i] (Vahdat et al.
    2020, Table 5). The decoder has as many hidden layers as the inference network. ``latents``
    counts the bits of all groups.
    """

    facts = FAMILIES["rbm_vae"]
    tiny: ClassVar[Tiny] = {
        "RBM prior 2+2, one group": {"latents": 4, "groups": 1, "layers": 1, "units": 3},
        "RBM prior 2+2, no context": {
            "latents": 4,
            "groups": 2,
            "layers": 0,
            "units": 3,
            "context": "none",
        },
        "RBM prior 2+2": {
            "latents": 4,
            "groups": 2,
            "layers": 1,
            "units": 3,
            "context": "shared",
            "momentum": 0.8,
        },
    }

    def __init__(
        self,
        info: DataInfo,
        latents: int = 200,
        groups: int = 1,
        layers: int = 2,
        units: int = 200,
        context: str = "shared",
        momentum: float = 0.99,
    ) -> None:
        if (
            type(latents) is not int
            or type(groups) is not int
            or groups < 1
            or latents < 2
            or latents % groups
        ):
            raise UserError(
                f"model.latents={latents!r}: must be a whole number of bits that "
                f"groups={groups!r} divides"
            )

        validate.one_of("model.context", context, CONTEXTS)
        size = latents // groups
        super().__init__(info, [size] * groups, units, layers, momentum)

        # Group i reads x, or the shared context, and the i groups before it. A net without hidden
        # layers returns its input, so that with a shared context a group is linear in it.
        inputs = [info.size + i * size for i in range(groups)]
        shared = None
        hidden = layers
        if context == "shared":
            shared = NormalizedTanhNet(info.size, units, layers, momentum)
            inputs = [shared.outputs + i * size for i in range(groups)]
            hidden = 0

        nets = [NormalizedTanhNet(n, units, hidden, momentum) for n in inputs]
        self.q = Inference(shared, nets, [nn.Linear(net.outputs, size) for net in nets])
        name_norms(self)

    # ------------------------------------------------------------------------------------ posterior

    def encode(self, x: Tensor, tape: Tape | None = None) -> Tensor:
        """Return what every group sees of ``x`` (batch, d), (batch, m).

        This is the shared context, or the centred data if there is none.
        """
        centred = x - self.mean
        return centred if self.q.context is None else self.q.context(centred, tape)

    def group_logits(
        self, i: int, seen: Tensor, before: Sequence[Tensor], tape: Tape | None = None
    ) -> Tensor:
        """Return the logits of q(z_i | x, z_<i).

        Args:
            i: Number of the group, from 0.
            seen: What ``encode`` returned.
            before: The groups before it, (k, batch, n) each, bits or values between 0 and 1.
            tape: Given in training, for batch normalisation.

        Returns:
            (batch, n) for the first group, (k, batch, n) for the others.
        """
        # What the groups see of x is the same for all k samples; the groups before differ.
        if before:
            seen = torch.cat([seen.expand(len(before[0]), *seen.shape), *before], -1)
        return self.q.outputs[i](self.q.nets[i](seen, tape))

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior``: uniforms (k, batch, n) for each group."""
        return {f"q{i}": ("uniform", (k, batch, n)) for i, n in enumerate(self.sizes[1:], start=1)}

    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k samples of q(z | x) for each example: groups of bits (k, batch, n)."""
        seen = self.encode(x)
        z: list[Tensor] = []
        for i in range(len(self.q.outputs)):
            z.append(bits(self.group_logits(i, seen, z), noise[f"q{i + 1}"]))
        return z

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return log q(z | x), (k, batch), nats.

        It is one term, since the prior does not fall into groups.
        """
        seen = self.encode(x)
        return [
            total(
                [bernoulli.log_prob(z[i], self.group_logits(i, seen, z[:i])) for i in range(len(z))]
            )
        ]
