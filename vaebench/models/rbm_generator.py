"""A generative model with few binary latents, a Boltzmann prior and an exact posterior.

The posterior is found by enumeration. The model is the generative half of DVAE## without an
inference network (Vahdat, Andriyash & Macready 2020, appendix E). It has 16 bits there, so that
everything can be summed. With the true posterior as q the one-sample bound is log p(x) itself,
whatever the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vaebench import kernels
from vaebench.data.info import DataInfo
from vaebench.dists import bernoulli, boltzmann_exact
from vaebench.errors import UserError
from vaebench.models.base import SampledPosterior, Tiny
from vaebench.models.posterior import Noise
from vaebench.models.rbm_vae import RBMPriorModel
from vaebench.nn.batch_norm import Tape, name_norms
from vaebench.nn.products import product
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes

CHUNK = 2**25
"""Upper limit, in floats, on a table of states and examples and on the states decoded at once."""


class RBMGenerator(RBMPriorModel, SampledPosterior):
    """p(z) a Boltzmann machine over two halves of ``latents`` bits, p(x | z) factorial Bernoulli.

    q has no parameters. Densities are those that measures take: of hard bits, with the running
    averages of batch normalisation. Every call that needs the posterior runs over all 2^latents
    states. Calls without gradient keep the decoded logits of the states for the next one. Raises
    UserError for more bits than ``boltzmann_exact.MAX_UNITS``.
    """

    facts = FAMILIES["rbm_generator"]
    tiny: ClassVar[Tiny] = {"RBM generator 2+2": {"latents": 4, "layers": 1, "units": 3}}

    def __init__(
        self,
        info: DataInfo,
        latents: int = 16,
        layers: int = 2,
        units: int = 200,
        momentum: float = 0.99,
    ) -> None:
        most = boltzmann_exact.MAX_UNITS
        if type(latents) is not int or not 2 <= latents <= most:
            raise UserError(
                f"model.latents={latents!r}: the posterior is enumerated; allowed: 2 to {most} bits"
            )
        super().__init__(info, [latents], units, layers, momentum)
        self._kept: tuple[list[Tensor], tuple[Tensor, Tensor]] | None = None
        name_norms(self)

    # ------------------------------------------------------------------------------------ posterior

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior``: one uniform (k, batch) for each sample."""
        return {"q1": ("uniform", (k, batch))}

    @torch.no_grad()
    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k exact samples of p(z | x) for each example by inversion: [(k, batch, latents)]."""
        units = self.sizes[1]
        numbers = []
        for rows in self._rows(x):
            # Invert the distribution function over the states, (rows, states), in float64.
            edges = torch.softmax(self.table(x[rows]).double(), -1).cumsum(-1)
            u = noise["q1"][:, rows].T.double().contiguous()
            # The last edge is 1 except for rounding. Noise above it must not pick a state beyond
            # the last.
            numbers.append(torch.searchsorted(edges, u, right=True).clamp(max=2**units - 1))

        # Bit i of a state is digit i of its number, as in ``boltzmann_exact.states``.
        number = torch.cat(numbers).T.unsqueeze(-1)
        return [((number >> torch.arange(units, device=x.device)) & 1).to(x.dtype)]

    def log_marginal(self, x: Tensor) -> Tensor:
        """Return log sum_z exp(-E(z)) p(x | z) = log p(x) + log Z, (batch,), nats.

        ``x`` is (batch, d). The result is differentiable.
        """
        return torch.cat([torch.logsumexp(self.table(x[rows]), -1) for rows in self._rows(x)])

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return log p(z | x) as one term, (k, batch), nats."""
        return [self.log_joint(x, z) - self.log_marginal(x)]

    # ---------------------------------------------------------------------------------- enumeration

    def table(self, x: Tensor) -> Tensor:
        """Return log p(x, z) + log Z of every state z, (batch, 2^latents), nats.

        The states are in the order of ``boltzmann_exact.states``. One matrix product with the
        decoded states is enough, since sum_i x_i l_i - softplus(l_i) is linear in x.
        """
        logits, constant = self._decoded()
        return product(x, logits, constant)

    def _rows(self, x: Tensor) -> Iterator[slice]:
        """Return slices of the examples whose tables have at most CHUNK floats each."""
        step = max(1, CHUNK >> self.sizes[1])
        return (slice(start, start + step) for start in range(0, len(x), step))

    def _decoded(self) -> tuple[Tensor, Tensor]:
        """Return the logits l of every state, (states, d), and a constant, (states,).

        The constant is -E(z) - sum_i softplus(l_i).
        """
        # Logits that were kept have no graph, so a call with gradient must decode anew.
        if torch.is_grad_enabled():
            return self._decode_all()

        # The parameters are compared by value, so that no code that changes them must report it.
        # This is thousands of times cheaper than decoding.
        parameters = list(self.p.state_dict().values())
        if self._kept is None or not _equal(self._kept[0], parameters):
            self._kept = None  # frees the old before the new is made
            self._kept = ([t.clone() for t in parameters], self._decode_all())
        return self._kept[1]

    def _decode_all(self) -> tuple[Tensor, Tensor]:
        """Compute what ``_decoded`` returns, some states at a time."""
        count = 2 ** self.sizes[1]
        step = max(1, CHUNK // max(self.sizes[0], self.p.decoder.net.outputs))
        logits = []
        constants = []
        for start in range(0, count, step):
            z = [boltzmann_exact.states(self.sizes[1], self.mean, start, min(start + step, count))]
            logits.append(self.decode(z))
            # log p(x = 0 | z) = -sum_i softplus(l_i).
            softplus = -bernoulli.log_prob(torch.zeros_like(self.mean), logits[-1])
            constants.append(self.prior().negative_energy(*self.sides(z)) - softplus)

        return torch.cat(logits), torch.cat(constants)

    # ------------------------------------------------------------------------------------- sampling

    def frozen(self, statistics: Tape) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a function (x, z) -> log p(x, z) + log Z, (batch,), of the present parameters.

        It is for many evaluations without gradient: batch normalisation goes by ``statistics`` and
        is folded into the weights.

        Args:
            statistics: Path of a layer -> mean and variance, as on a tape.

        Returns:
            A function of ``x`` (batch, d) and ``z`` (batch, latents).
        """
        net = self.p.decoder.net
        output = self.p.decoder.output

        # Fold the normalisation into each layer: tanh(BN(h W + b)) = tanh(h W' + b').
        hidden = []
        for dense, norm in zip(net.dense, net.norms, strict=True):
            mean, variance = statistics[norm.path]
            scale = norm.scale.detach() * torch.rsqrt(variance + norm.epsilon)
            shift = (dense.bias.detach() - mean) * scale + norm.shift.detach()
            hidden.append((dense.weight.detach() * scale.unsqueeze(1), shift))

        weight = output.weight.detach()
        bias = output.bias.detach() + self.p.decoder.offset
        rbm = self.prior().detach()
        log_prob = _log_prob()

        def log_joint(x: Tensor, z: Tensor) -> Tensor:
            h = z
            for w, b in hidden:
                h = torch.tanh(product(h, w, b))
            return log_prob(x, product(h, weight, bias)) + rbm.negative_energy(*self.sides([z]))

        return log_joint


def _log_prob() -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function for log p(x) of Bernoulli units with given logits, (batch,).

    No gradient passes. A kernel computes it if it can take the arrays.
    """
    if not kernels.allowed():
        return bernoulli.log_prob
    from vaebench.kernels import likelihood

    def log_prob(x: Tensor, logits: Tensor) -> Tensor:
        fits = kernels.takes(x, logits) and x.shape == logits.shape and x.dim() == 2
        return (likelihood if fits else bernoulli).log_prob(x, logits)

    return log_prob


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether two lists of tensors agree in type, place and every value."""
    # torch.equal raises for tensors on different devices, so that is asked first.
    alike = all(u.dtype == v.dtype and u.device == v.device for u, v in zip(a, b, strict=True))
    return alike and all(torch.equal(u, v) for u, v in zip(a, b, strict=True))
