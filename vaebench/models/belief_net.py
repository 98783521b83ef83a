"""Belief nets of binary units with an inference network: SBN, fDARN and DARN.

Mnih & Gregor 2014, sections 2 and 4. The data are bits, or documents as counts (section 4.3). The
layer of visibles is ``Units`` for bits and ``Words`` for counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.dists import autoregressive, bernoulli, multinomial
from vaebench.errors import UserError, nearest
from vaebench.models.base import Ancestral, BinaryVisibles, Program, SampledPosterior, Tiny
from vaebench.models.posterior import Noise
from vaebench.nn.layers import layer_list
from vaebench.protocol.families import FAMILIES
from vaebench.rng.noise import Shapes


class Units(nn.Module):
    """A layer of binary units given its parents.

    The logits are W parent + b, plus R h with R strictly lower triangular if the layer is
    ``chained`` (autoregressive). With ``parents`` 0 the layer has no parents (a prior), and its
    logits are the biases.
    """

    def __init__(self, parents: int, units: int, chained: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(units, parents)) if parents else None
        self.bias = nn.Parameter(torch.zeros(units))
        self.autoregressive = nn.Parameter(torch.zeros(units, units)) if chained else None

    def logits(self, parent: Tensor | None) -> Tensor:
        """Return the logits from the parents alone, (..., units)."""
        if self.weight is None or parent is None:
            return self.bias
        return nn.functional.linear(parent, self.weight, self.bias)

    def log_prob(self, h: Tensor, parent: Tensor | None) -> Tensor:
        """Return log p(h | parent), nats; ``h`` (..., units) -> (...)."""
        a = self.logits(parent)
        if self.autoregressive is None:
            return bernoulli.log_prob(h, a)
        return autoregressive.log_prob(h, a, self.autoregressive)

    def sample(self, parent: Tensor | None, uniform: Tensor) -> Tensor:
        """Draw zeros and ones of the shape of ``uniform`` (..., units)."""
        # The logits may lack leading axes of the noise: a prior's are the biases alone.
        a = self.logits(parent)
        if self.autoregressive is None:
            return bernoulli.sample(a.expand(uniform.shape), uniform)
        return autoregressive.sample(a, self.autoregressive, uniform)

    def sample_like(self, x: Tensor, parent: Tensor | None, uniform: Tensor) -> Tensor:
        """Draw samples of the same sizes as the examples ``x`` (..., units).

        Examples of bits all have one size, so this is ``sample``. Documents differ in their size.
        """
        return self.sample(parent, uniform)

    @property
    def uniforms(self) -> int:
        """Number of uniforms that ``sample`` takes for each example."""
        return len(self.bias)

    @property
    def uniforms_like_data(self) -> int:
        """Number of uniforms with which ``sample_like`` can imitate any example of the data.

        Raises ValueError if that is unknown.
        """
        return self.uniforms


class Thresholded(Units):
    """A layer of codes: h = [W parent + b > 0], the likelier value of every unit.

    Nothing in it is random.
    """

    def log_prob(self, h: Tensor, parent: Tensor | None) -> Tensor:
        """Return 0 at the code of ``parent``, else minus infinity; ``h`` (..., units) -> (...)."""
        is_code = (h == self._code(parent)).all(-1)
        return torch.zeros_like(h[..., 0]).masked_fill(~is_code, -torch.inf)

    def sample(self, parent: Tensor | None, uniform: Tensor) -> Tensor:
        """Return the code: zeros and ones of the shape of ``uniform`` (..., units).

        The values of ``uniform`` do not matter.
        """
        return self._code(parent).expand(uniform.shape)

    def _code(self, parent: Tensor | None) -> Tensor:
        # A threshold has no gradient.
        a = self.logits(parent).detach()
        return (a > 0).to(a.dtype)


class Words(Units):
    """A document as counts, given its parents.

    All of its tokens are drawn from softmax(W parent + b). The number of tokens has no probability:
    it is given.

    Args:
        parents: Number of units above.
        info: What is known of the data. If a document is sampled without an example to imitate, it
            has the mean number of tokens, rounded.
    """

    def __init__(self, parents: int, info: DataInfo) -> None:
        super().__init__(parents, info.size, chained=False)
        # The mean counts of all words add up to the mean length.
        self.tokens = max(1, round(float(info.mean.sum())))
        self.longest = info.longest

    def log_prob(self, h: Tensor, parent: Tensor | None) -> Tensor:
        """Return log p of the sequence of tokens, nats; counts ``h`` (..., V) -> (...)."""
        return multinomial.log_prob(h, self.logits(parent))

    def sample(self, parent: Tensor | None, uniform: Tensor) -> Tensor:
        """Draw counts (..., V) of documents with T tokens each, by uniforms (..., T)."""
        return multinomial.sample(self.logits(parent), uniform)

    def sample_like(self, x: Tensor, parent: Tensor | None, uniform: Tensor) -> Tensor:
        """Draw counts (..., V) of documents with as many tokens as ``x`` (..., V) have, at most T.

        The uniforms are (..., T).
        """
        return multinomial.sample(self.logits(parent), uniform, x.sum(-1))

    @property
    def uniforms(self) -> int:
        return self.tokens

    @property
    def uniforms_like_data(self) -> int:
        if not self.longest:
            raise ValueError(
                "documents like those of the data: the tokens of the longest are not known"
            )
        return self.longest


POSTERIORS = ("factorial", "autoregressive", "deterministic")
"""Allowed values of ``model.posterior``."""


class BeliefNet(SampledPosterior, Ancestral, BinaryVisibles):
    """P(x, h) = P(h_n) prod_i P(h_{i-1} | h_i), with an inference network Q.

    Q(h | x) = prod_i Q(h_i | h_{i-1}), h_0 = x (equations 1 to 4). ``dims`` lists the DEEPEST layer
    first, as the paper does: [200, 200, 500] has 500 units next to the data. The training mean is
    subtracted from the input of the inference network only. P(x | h) is of the zeros and ones, or
    the counts, as they are.

    Args:
        info: What is known of the data.
        dims: Units of each layer.
        posterior: ``factorial``: units of a layer are independent given the layer below.
            ``autoregressive``: a unit also depends on those before it. ``deterministic``: Q is a
            point, each unit at its likelier value. The bound is then log P(x, h), and the KL of a
            layer is minus the log-probability of its code.

    Raises:
        UserError: If ``dims`` are not layer sizes, or too many, or ``posterior`` is none of these.
    """

    chained_prior = False
    chained_visibles = False
    max_layers: int | None = None

    def __init__(self, info: DataInfo, dims: Sequence[int], posterior: str = "factorial") -> None:
        dims = list(dims) if isinstance(dims, (list, tuple)) else dims
        if (
            not isinstance(dims, list)
            or not dims
            or not all(type(n) is int and n > 0 for n in dims)
        ):
            raise UserError(
                f"model.dims={dims}: must be a list of layer sizes from 1, deepest "
                "first, such as [200,200]"
            )

        if self.max_layers and len(dims) > self.max_layers:
            raise UserError(f"model.dims={dims}: {self.called} has {self.max_layers} latent layer")
        if posterior not in POSTERIORS:
            raise UserError(f"model.posterior={posterior!r}: {nearest(str(posterior), POSTERIORS)}")

        # From here on the layer next to the data comes first: sizes[0] = d, sizes[i] of h_i.
        super().__init__(info, dims[::-1])
        n = len(dims)

        # p[i] is P(h_i | h_{i+1}), p[n] the prior of h_n, and q[i] is Q(h_{i+1} | h_i).
        chained = posterior == "autoregressive"
        layer = Thresholded if posterior == "deterministic" else Units
        hidden = [Units(self.sizes[i + 1], self.sizes[i], chained=False) for i in range(1, n)]
        self.p = layer_list(
            [self._visibles(), *hidden, Units(0, self.sizes[n], self.chained_prior)]
        )
        self.q = layer_list([layer(self.sizes[i], self.sizes[i + 1], chained) for i in range(n)])

    def _visibles(self) -> Units:
        """Build the layer of the data according to their kind."""
        if self.info.kind is Kind.COUNTS:
            return Words(self.sizes[1], self.info)
        return Units(self.sizes[1], self.sizes[0], self.chained_visibles)

    @property
    def draws_bits(self) -> bool:
        """Whether the data are bits, not counts."""
        return not isinstance(self.p[0], Words)

    @property
    def layers(self) -> int:
        """Number of latent layers."""
        return len(self.q)

    @property
    def deterministic(self) -> bool:
        """Whether each example determines its codes, so that nothing is drawn."""
        return isinstance(self.q[0], Thresholded)

    # ---------------------------------------------------------------------------------------- noise

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior``.

        Uniforms (k, batch, units) for each latent layer.
        """
        return {f"q{i}": ("uniform", (k, batch, n)) for i, n in enumerate(self.sizes[1:], start=1)}

    def joint_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``sample_joint``: uniforms (batch, units) for each layer.

        For counts the layer of the data has a uniform for each token.
        """
        return {f"p{i}": ("uniform", (batch, layer.uniforms)) for i, layer in enumerate(self.p)}

    def dream_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``dream``, which is that of ``sample_joint`` for bits.

        For counts the layer of the data has a uniform for each token of the longest document of the
        data.
        """
        return {**self.joint_noise(batch), "p0": ("uniform", (batch, self.p[0].uniforms_like_data))}

    # ------------------------------------------------------------------------------------ posterior

    def posterior_inputs(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return the input of each layer of the inference network.

        These are the centred data (batch, d), then the samples of the layers below.
        """
        return [x - self.mean, *z[:-1]]

    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k samples of Q(h | x) for each example.

        Returns layers (k, batch, n), the one next to the data first.
        """
        # The data (batch, d) have no axis of samples. The noise (k, batch, n) of the first layer
        # brings it in.
        z: list[Tensor] = []
        parent = x - self.mean
        for i, units in enumerate(self.q, start=1):
            parent = units.sample(parent, noise[f"q{i}"])
            z.append(parent)
        return z

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return log Q(h_i | h_{i-1}) for i = 1..n, each (k, batch), nats."""
        inputs = self.posterior_inputs(x, z)
        return [units.log_prob(h, v) for units, h, v in zip(self.q, z, inputs, strict=True)]

    # ---------------------------------------------------------------------------------------- joint

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log P(h_{i-1} | h_i) for i = 1..n, then log P(h_n), each (k, batch), nats."""
        # Each layer with its parents, the layer above; the deepest has none.
        return [
            units.log_prob(h, v) for units, h, v in zip(self.p, [x, *z], [*z, None], strict=True)
        ]

    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Draw samples of P(x | h), bits of the shape of ``uniform`` (k, batch, d)."""
        return self.p[0].sample(z[0], uniform)

    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw ancestral samples: x (batch, d) and layers (1, batch, n).

        The layer next to the data comes first.
        """
        h = self._sample_prior(noise)
        return self.p[0].sample(h[0], noise["p0"]), [v.unsqueeze(0) for v in h]

    def dream(self, x: Tensor, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw ancestral samples, one for each of the examples ``x`` (batch, d).

        They are drawn as by ``sample_joint``, but a document as counts gets as many tokens as its
        example in ``x`` has.
        """
        h = self._sample_prior(noise)
        return self.p[0].sample_like(x, h[0], noise["p0"]), [v.unsqueeze(0) for v in h]

    def _sample_prior(self, noise: Noise) -> list[Tensor]:
        """Draw the latent layers (batch, n) from the top down.

        Returns the layer next to the data first.
        """
        parent: Tensor | None = None
        layers: list[Tensor] = []
        for i in reversed(range(1, len(self.p))):
            parent = self.p[i].sample(parent, noise[f"p{i}"])
            layers.insert(0, parent)
        return layers

    # ------------------------------------------------------------------------------------- programs

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return the encoder and the sampler, which take uniforms on (0, 1), and the decoder."""
        # Examples of the inputs. The uniforms u0, u1, ... are those of ``sample_joint``, from the
        # data upwards. The encoder needs one for each latent, so it takes all but u0.
        rows = len(x)
        shapes = self.joint_noise(rows).values()
        noise = {f"u{i}": torch.rand(shape, dtype=x.dtype) for i, (_, shape) in enumerate(shapes)}
        latent_noise = {name: u for name, u in noise.items() if name != "u0"}
        visibles = self.p[0]
        z = {"z1": (noise["u1"] > 0.5).to(x.dtype)}

        def encode(x: Tensor, *u: Tensor) -> tuple[Tensor, ...]:
            layers = self.sample_posterior(
                x, 1, {f"q{i}": v.unsqueeze(0) for i, v in enumerate(u, start=1)}
            )
            return tuple(layer[0] for layer in layers)

        def decode(z1: Tensor, x: Tensor | None = None) -> Tensor:
            logits = visibles.logits(z1)
            if x is None or visibles.autoregressive is None:
                return logits
            return autoregressive.logits(x, logits, visibles.autoregressive)

        def draw(*u: Tensor) -> Tensor:
            return self.sample_joint({f"p{i}": v for i, v in enumerate(u)})[0]

        # Autoregressive visibles also depend on the pixels before them, so the decoder reads x.
        pixels = {} if visibles.autoregressive is None else {"x": x}
        given = "" if visibles.autoregressive is None else " given the pixels before each"
        return {
            "encoder": Program(
                encode,
                {"x": x, **latent_noise},
                "a sample of every latent layer, z1 next to the data",
            ),
            "decoder": Program(decode, {**z, **pixels}, f"logits of x{given}"),
            "sample": Program(draw, noise, "x drawn from the model"),
        }


class SBN(BeliefNet):
    """Sigmoid belief net: the units of every layer are independent given the layer above."""

    facts = FAMILIES["sbn"]
    tiny: ClassVar[Tiny] = {
        "SBN 4": {"dims": [4]},
        "SBN 2-2-3": {"dims": [2, 2, 3]},
        "SBN 2-3, autoregressive posterior": {"dims": [2, 3], "posterior": "autoregressive"},
        "SBN 2-3": {"dims": [2, 3]},
    }


class FDARN(BeliefNet):
    """fDARN: an autoregressive prior over one latent layer; visibles independent given it."""

    facts = FAMILIES["fdarn"]
    tiny: ClassVar[Tiny] = {
        "fDARN 4": {"dims": [4]},
        "fDARN 3, autoregressive posterior": {"dims": [3], "posterior": "autoregressive"},
    }
    chained_prior = True
    max_layers = 1


class DARN(FDARN):
    """DARN: as fDARN, but the visibles are autoregressive too."""

    facts = FAMILIES["darn"]
    tiny: ClassVar[Tiny] = {
        "DARN 4": {"dims": [4]},
        "DARN 4, autoregressive posterior": {"dims": [4], "posterior": "autoregressive"},
    }
    chained_visibles = True
