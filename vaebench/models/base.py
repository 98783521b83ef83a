"""What a model is: the kinds of models, what each offers, in which shapes.

A model knows sampling and log-densities, nothing of training. ``x`` is (batch, d); ``z`` is a list
of latent layers, each (k, batch, n), the one next to the data first; log-densities are (k, batch),
in nats. Parameters of the generative model are named ``p.*``, those of the inference network
``q.*``. All randomness comes in as ``noise``: name -> tensor, in the shapes that the model
declares.

A new model derives from the kinds that fit, says in ``facts`` which line of
``vaebench.protocol.families`` is its own, and in ``tiny`` with which settings it is tested. Whoever
uses models asks ``isinstance`` and never whether there is a method of some name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists.rbm import RBM
from vaebench.models.posterior import Gaussian, Noise, Posterior, log_standard, total
from vaebench.nn.batch_norm import Tape
from vaebench.protocol.families import Family
from vaebench.rng.noise import Shapes

Moments = tuple[Tensor, Tensor]
"""Mean and log-variance of a Gaussian for every example, (batch, n) each."""


Tiny = Mapping[str, Mapping[str, Any]]
"""Name, as ``vaebench check`` prints it -> settings of a model."""


class Program(NamedTuple):
    """A function of a model that can be written down, and run where there is no vaebench.

    Attributes:
        call: Takes the inputs in their order. It branches on no values, only on shapes.
        inputs: Name -> an example whose first axis, the batch, may have any length.
        gives: What it gives, in words.
    """

    call: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: dict[str, Tensor]
    gives: str


class Model(nn.Module, ABC):
    """What all models have.

    Args:
        info: What is known of the data.
        latents: Numbers of each latent layer, the one next to the data first.

    Attributes:
        facts: The line of ``vaebench.protocol.families`` about the model.
        tiny: The settings with which the contract tests and ``vaebench check`` build the model, so
            small that binary latents can be enumerated: at most 16 units in all. A model that takes
            counts as well as other examples is tried on counts with the last of them.
        info: As given.
        settings: What the model was built with, as ``models.build`` knows it.
        sizes: Numbers of an example, then of each latent layer. Of documents the
            first is the vocabulary's.
        mean: Buffer (d,), the training mean; it tells dtype and device of the model.
        reparameterised: Whether a gradient passes through posterior samples to
            the inference network.
        ragged: Whether how much there is to compute depends on the values of a batch, as on the
            words of its documents.
        kernel_layers: Whether layers of the model have loops of our own for a CPU, so that the
            engine of that name gains by them.
    """

    facts: ClassVar[Family]
    tiny: ClassVar[Tiny]
    reparameterised: ClassVar[bool] = False
    ragged: ClassVar[bool] = False
    kernel_layers: ClassVar[bool] = False
    mean: Tensor

    def __init__(self, info: DataInfo, latents: Sequence[int] = ()) -> None:
        super().__init__()
        self.info = info
        self.settings: dict[str, Any] = {}
        self.sizes = [info.size, *latents]
        # It has values even where the model is built without any, on the device
        # "meta", to be checked.
        self.register_buffer("mean", torch.from_numpy(info.mean))

    @property
    def draws_bits(self) -> bool:
        """Whether samples of p(x) are zeros and ones."""
        return self.facts.draws_bits

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Functions that can be written down, by name: none.

        ``x`` (batch, d), the model's dtype, are some examples.
        """
        return {}

    def decayed(self) -> list[Tensor]:
        """What weight decay applies to: all parameters, as if each had a normal prior."""
        return list(self.parameters())

    def dropout_noise(self, batch: int, width: int) -> Shapes:
        """Noise of dropout in training, for ``batch`` examples of ``width`` numbers: none.

        Its names are ``drop*``.
        """
        return {}


class ExactModel(Model):
    """A model without latents that knows log p(x): an autoregressive or a language model."""

    SCORED: ClassVar[int] = 100
    """Examples that ``score`` takes at a time."""

    @abstractmethod
    def log_evidence(
        self, x: Tensor, drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """log p(x), (batch,), nats, differentiable.

        Args:
            x: Examples, (batch, d).
            drop: Noise of dropout, which thins the net.
            tape: In training: normalisation layers, where the model has some, go by the
                batch, and write here.
        """

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """``log_evidence`` of any number of examples, in any dtype, (n,).

        Without gradient and in bounded memory.
        """
        if self.facts.reads_documents:
            return torch.cat([self.log_evidence(part) for part in x.split(self.SCORED)])
        return torch.cat(
            [self.log_evidence(part.to(self.mean.dtype)) for part in x.split(self.SCORED)]
        )


class EnergyModel(Model):
    """p(x) = exp(-F(x)) / Z: F is known, Z is not, and a Markov chain of x leaves p as it is.

    Latents, such as the hidden units of a Boltzmann machine, are summed out in F.
    """

    @abstractmethod
    def free_energy(self, x: Tensor) -> Tensor:
        """F(x) = -log p(x) - log Z, (batch,), nats, of examples ``x`` (batch, d).

        Differentiable in the parameters.
        """

    @abstractmethod
    def gibbs_noise(self, steps: int, batch: int) -> Shapes:
        """Noise of ``gibbs``: name -> (kind, (steps, ...))."""

    @abstractmethod
    def gibbs(self, x: Tensor, noise: Noise) -> Tensor:
        """Where chains from ``x`` (batch, d) stand after as many Gibbs steps as the noise has rows.

        Their shape: (batch, d). No gradient passes.
        """


class OrderedModel(ExactModel):
    """A model whose log p(x) is exact given the order of an example's parts.

    By another order it is another one. ``log_evidence`` reads the order that its noise gives, and
    one fixed order without any.
    """

    @abstractmethod
    def order_noise(self, batch: int) -> Shapes:
        """Noise that makes a random order of each of ``batch`` examples."""

    @abstractmethod
    def words(self, x: Tensor) -> Tensor:
        """How many parts each example has, (batch,)."""

    @abstractmethod
    def score(self, x: Tensor, order: Noise | None = None) -> Tensor:
        """``log_evidence`` of any number of examples in the orders of the noise, (n,).

        See ``ExactModel``.
        """


class BoundedModel(Model):
    """A model of whose log p(x) a bound is known without samples.

    Its posterior is fitted to each example by itself.
    """

    @abstractmethod
    def evidence_bound(self, x: Tensor) -> Tensor:
        """A lower bound on log p(x) of any number of examples, (n,), nats.

        Without gradient and in bounded memory.
        """


class Ensemble(ExactModel):
    """A model with several likelihoods, its members: one for every order of the pixels, or mask.

    The ensemble of the first k members has the mean of their probabilities, see
    ``estimators.ensemble``.

    Attributes:
        members: How many there are; None: as many as one likes.
    """

    members: int | None = None

    @abstractmethod
    def log_member(self, x: Tensor, member: int | Tensor) -> Tensor:
        """log p(x) by the member of that number, from 0, (batch,), nats, differentiable.

        ``x`` (batch, d). Where ``members`` are numbered off the number may be a tensor, ().
        """

    def log_evidence(
        self, x: Tensor, drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """log p(x) by the first member, (batch,), nats, differentiable."""
        return self.log_member(x, 0)


class LatentModel(Model):
    """A model with latents z: log p(x, z) and log q(z | x), term by term."""

    @abstractmethod
    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """log p(x | z_1), log p(z_1 | z_2), ..., the prior last, each (k, batch), nats.

        Differentiable. A prior that does not fall into layers is one term, and an
        unnormalised one lacks -log Z.
        """

    def log_joint(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """log p(x, z), the sum of its terms, (k, batch), nats."""
        return total(self.log_joint_terms(x, z))

    @torch.no_grad()
    def score_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """``log_joint_terms`` for evaluation.

        No gradient, and memory as bounded as the model can.
        """
        return self.log_joint_terms(x, z)

    @abstractmethod
    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """log q of each layer given the one below, or of all in one term, each (k, batch), nats.

        Differentiable. As many terms as the prior has.
        """

    def log_posterior(self, z: Sequence[Tensor], x: Tensor) -> Tensor:
        """log q(z | x), the sum of its terms, (k, batch), nats."""
        return total(self.log_posterior_terms(z, x))


class SampledPosterior(LatentModel):
    """A model whose posterior q(z | x) is normalised and can be sampled at once."""

    @property
    def deterministic(self) -> bool:
        """Whether q(z | x) is a point: its log-probability is 0 there, minus infinity elsewhere."""
        return False

    @abstractmethod
    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Noise of ``sample_posterior``.

        Name -> (kind, shape), kind ``uniform`` on (0, 1) or ``normal``.
        """

    @abstractmethod
    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """k samples of q(z | x) for each example: layers (k, batch, n)."""

    def posterior(self, x: Tensor) -> Posterior:
        """q(z | x) of the examples ``x`` (batch, d), to be asked as often as one likes."""
        return _OfModel(self, x)


class _OfModel(Posterior):
    """A posterior that asks the model anew at every call."""

    def __init__(self, model: SampledPosterior, x: Tensor) -> None:
        self.model = model
        self.x = x

    def sample(self, k: int, noise: Noise) -> list[Tensor]:
        return self.model.sample_posterior(self.x, k, noise)

    def log_prob_terms(self, z: Sequence[Tensor]) -> list[Tensor]:
        return self.model.log_posterior_terms(z, self.x)


class GaussianPosterior(SampledPosterior):
    """z ~ N(0, I), one layer.

    q(z | x) a diagonal Gaussian whose mean and variance an encoder gives at once. So the KL to the
    prior is known without samples, and so are means. A subclass has an encoder and a likelihood.
    """

    reparameterised = True
    refinement: Callable[[GaussianPosterior, Tensor, Gaussian], Gaussian] | None = None
    """Makes the posterior that is sampled and measured from the encoder's;
    None: the encoder's own is.

    Steps of training leave it aside: they bring a tape, and their objective refines. See
    ``models.refinement``.
    """

    @abstractmethod
    def encode(self, x: Tensor, tape: Tape | None = None) -> Moments:
        """Mean and log-variance of q(z | x), (batch, n) each.

        ``tape`` as for ``log_likelihood``.
        """

    @abstractmethod
    def log_likelihood(
        self, x: Tensor, z: Sequence[Tensor], drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """log p(x | z), (k, batch), nats, differentiable.

        Args:
            x: Examples, (batch, d).
            z: Codes, one layer (k, batch, n).
            drop: Noise of dropout, which thins the net.
            tape: In training: normalisation layers, where the model has some, go by the
                batch, and write here.
        """

    @torch.no_grad()
    def score(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """``log_likelihood`` for evaluation, (k, batch), nats.

        No gradient, memory bounded by what the caller holds.
        """
        return self.log_likelihood(x, z)

    def posterior(self, x: Tensor, tape: Tape | None = None) -> Gaussian:
        """q(z | x) of the examples ``x`` (batch, d), computed once.

        ``tape`` as for ``log_likelihood``. With a tape (in training) it is the encoder's. Without
        one (in evaluation) it is refined if the model was trained for a refined posterior, see
        ``refinement``.
        """
        found = Gaussian(*self.encode(x, tape))
        if tape is not None or self.refinement is None:
            return found
        return self.refinement(self, x, found)

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Noise of ``sample_posterior``: standard normals (k, batch, n)."""
        return {"q1": ("normal", (k, batch, self.sizes[1]))}

    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """k reparameterised samples of q(z | x): [z] with z (k, batch, n)."""
        return self.posterior(x).sample(k, noise)

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """[log q(z | x)], (k, batch), nats."""
        return self.posterior(x).log_prob_terms(z)

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """[log p(x | z), log p(z)], each (k, batch), nats, without dropout."""
        return [self.log_likelihood(x, z), log_standard(z[0])]

    @torch.no_grad()
    def score_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """``log_joint_terms`` by ``score``."""
        return [self.score(x, z), log_standard(z[0])]


class BoltzmannPrior(LatentModel):
    """A model whose prior is a Boltzmann machine over all latents.

    ``log_joint`` lacks -log Z of ``prior()``.
    """

    @abstractmethod
    def prior(self) -> RBM:
        """The machine, unnormalised; gradients pass to its parameters."""

    @abstractmethod
    def sides(self, z: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Latents (k, batch, n_i) as the two sides of the machine."""

    @abstractmethod
    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """Logits of p(x | z), a factorial Bernoulli, (k, batch, d)."""


class BoltzmannPosterior(LatentModel):
    """A model whose posterior of each example is a Boltzmann machine.

    ``log_posterior`` lacks -log Z_x. It has no ancestral order, so it cannot be sampled at once:
    samples come from Markov chains.
    """

    @abstractmethod
    def posterior(self, x: Tensor) -> RBM:
        """The machines of the examples, batched (batch,), unnormalised."""


# ----------------------------------------------------------------------- what models can do besides


class Ancestral(ABC):
    """The prior, and so the model, can be sampled at once, layer by layer."""

    @abstractmethod
    def joint_noise(self, batch: int) -> Shapes:
        """Noise of ``sample_joint``.

        Name -> (kind, shape), kind ``uniform`` on (0, 1) or ``normal``.
        """

    @abstractmethod
    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Samples of the model: x (batch, d) and layers (1, batch, n)."""

    def dream_noise(self, batch: int) -> Shapes:
        """Noise of ``dream``: that of ``sample_joint``."""
        return self.joint_noise(batch)

    def dream(self, x: Tensor, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """``sample_joint`` for each of the examples ``x`` (batch, d).

        Of these a model takes what it does not make. Of documents as counts that is their numbers
        of tokens; of all other models nothing.
        """
        return self.sample_joint(noise)


class BinaryVisibles(ABC):
    """Given z the data are bits: pictures can be drawn of them."""

    @abstractmethod
    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Samples of p(x | z), bits of the shape of ``uniform`` (k, batch, d)."""


class MeanVisibles(ABC):
    """Given z the mean of every pixel is known at once.

    Pictures of means can be drawn, which have no noise.
    """

    @abstractmethod
    def visible_mean(self, z: Sequence[Tensor]) -> Tensor:
        """E[x | z], (k, batch, d), numbers from 0 to 1."""
