"""The kinds of models, what each kind offers, and in which shapes.

A model can be sampled and has log-densities; it knows nothing of training. ``x`` is (batch, d).
``z`` is a list of latent layers, each (k, batch, n), the one next to the data first. Log-densities
are (k, batch), in nats. Parameters of the generative model are named ``p.*``, those of the
inference network ``q.*``. A model draws no random numbers itself. It is passed ``noise``, name ->
tensor, in the shapes that it declares.

A new model derives from the kinds that fit. Its ``facts`` name its line of
``vaebench.protocol.families``, and ``tiny`` has the settings with which it is tested. Code that
uses models asks ``isinstance``, never whether a method of some name exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from vaebench.data.info import DataInfo
from vaebench.dists.rbm import RBM
from vaebench.models.posterior import Gaussian, Noise, Posterior, log_standard, total
from vaebench.nn.batch_norm import Tape
from vaebench.protocol.families import FAMILIES, Family
from vaebench.rng.noise import Shapes

Moments = tuple[Tensor, Tensor]
"""Mean and log-variance of a Gaussian for every example, (batch, n) each."""


Tiny = Mapping[str, Mapping[str, Any]]
"""Name, as ``vaebench check`` prints it -> settings of a model."""


class Program(NamedTuple):
    """A function of a model that can be exported and run without vaebench.

    Attributes:
        call: Takes the inputs in their order. It branches only on shapes, never on values.
        inputs: Name -> an example whose first axis, the batch, may have any length.
        gives: What it returns, in words.
    """

    call: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: dict[str, Tensor]
    gives: str


class Model(nn.Module, ABC):
    """Base class of all models.

    Args:
        info: What is known of the data.
        latents: Size of each latent layer, the one next to the data first.

    Attributes:
        facts: The line of ``vaebench.protocol.families`` about the model.
        tiny: The settings with which the contract tests and ``vaebench check`` build the model.
            They are so small that binary latents can be enumerated: at most 16 units in all. If a
            model takes counts as well as other examples, the last of the settings is the one that
            is tried on counts.
        info: As given.
        settings: What the model was built with, as ``models.build`` knows it.
        sizes: Size of an example, then of each latent layer. For documents the first is the size of
            the vocabulary.
        mean: Buffer (d,), the training mean. Its dtype and device are those of the model.
        reparameterised: Whether a gradient passes through posterior samples to the inference
            network.
        ragged: Whether the amount of computation depends on the values of a batch, such as the
            number of words in its documents.
        kernel_layers: Whether some layers of the model have kernels for the CPU, so that the engine
            of that name makes it faster.
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
        # The mean has values even if the model is built on the device "meta", only to be checked.
        self.register_buffer("mean", torch.from_numpy(info.mean))

    @property
    def called(self) -> str:
        """The name of the model in a message: the setting that chooses it, such as ``model=sbn``.

        For a model that is not registered it is the name of its class.
        """
        names = (f"model={name}" for name, facts in FAMILIES.items() if facts is self.facts)
        return next(names, type(self).__name__)

    @property
    def draws_bits(self) -> bool:
        """Whether samples of p(x) are zeros and ones."""
        return self.facts.draws_bits

    def programs(self, x: Tensor) -> dict[str, Program]:
        """Return the functions of the model that can be exported, by name; here none.

        ``x`` (batch, d), in the model's dtype, are some examples.
        """
        return {}

    def decayed(self) -> list[Tensor]:
        """Return the parameters that decay: all of them, as if each had a normal prior."""
        return list(self.parameters())

    def dropout_noise(self, batch: int, width: int) -> Shapes:
        """Declare the noise of dropout in training; here none.

        Args:
            batch: Number of examples.
            width: Numbers of each example.

        Returns:
            Name -> (kind, shape). The names are ``drop*``.
        """
        return {}


class ExactModel(Model):
    """A model without latents that knows log p(x): an autoregressive or a language model."""

    SCORED: ClassVar[int] = 100
    """Number of examples that ``score`` takes at a time."""

    @abstractmethod
    def log_evidence(
        self, x: Tensor, drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x), (batch,), nats, differentiable.

        Args:
            x: Examples, (batch, d).
            drop: Noise of dropout, which thins the net.
            tape: Given in training only. Normalisation layers, if the model has any, then normalise
                by the batch and write its statistics here.
        """

    @torch.no_grad()
    def score(self, x: Tensor) -> Tensor:
        """Return ``log_evidence`` of any number of examples, in any dtype, (n,).

        No gradient passes, and memory is bounded.
        """
        # Token numbers stay as they are; all other examples take the model's dtype.
        if self.facts.reads_documents:
            return torch.cat([self.log_evidence(part) for part in x.split(self.SCORED)])
        return torch.cat(
            [self.log_evidence(part.to(self.mean.dtype)) for part in x.split(self.SCORED)]
        )


class EnergyModel(Model):
    """p(x) = exp(-F(x)) / Z, where F is known and Z is not.

    A Markov chain of x leaves p unchanged. Latents, such as the hidden units of a Boltzmann
    machine, are summed out in F.
    """

    @abstractmethod
    def free_energy(self, x: Tensor) -> Tensor:
        """Return F(x) = -log p(x) - log Z, (batch,), nats, of examples ``x`` (batch, d).

        It is differentiable in the parameters.
        """

    @abstractmethod
    def gibbs_noise(self, steps: int, batch: int) -> Shapes:
        """Declare the noise of ``gibbs``: name -> (kind, (steps, ...))."""

    @abstractmethod
    def gibbs(self, x: Tensor, noise: Noise) -> Tensor:
        """Run Gibbs chains from ``x`` (batch, d), one step for each row of the noise.

        Returns the last states of the chains, (batch, d). No gradient passes.
        """


class OrderedModel(ExactModel):
    """A model whose log p(x) is exact given the order of an example's parts.

    Another order gives another log p(x). ``log_evidence`` reads the order that its noise gives, or
    one fixed order if it gets no noise.
    """

    @abstractmethod
    def order_noise(self, batch: int) -> Shapes:
        """Declare the noise that makes a random order of each of ``batch`` examples."""

    @abstractmethod
    def words(self, x: Tensor) -> Tensor:
        """Return how many parts each example has, (batch,)."""

    @abstractmethod
    def score(self, x: Tensor, order: Noise | None = None) -> Tensor:
        """Return ``log_evidence`` of any number of examples in the orders of the noise, (n,).

        See ``ExactModel.score``.
        """


class BoundedModel(Model):
    """A model for which a bound on log p(x) is known without samples.

    Its posterior is fitted to each example separately.
    """

    @abstractmethod
    def evidence_bound(self, x: Tensor) -> Tensor:
        """Return a lower bound on log p(x) of any number of examples, (n,), nats.

        No gradient passes, and memory is bounded.
        """


class Ensemble(ExactModel):
    """A model with several likelihoods, its members: one for each pixel order, or each mask.

    The probability of the ensemble of the first k members is the mean of their probabilities, see
    ``estimators.ensemble``.

    Attributes:
        members: How many there are; None: any number.
    """

    members: int | None = None

    @abstractmethod
    def log_member(self, x: Tensor, member: int | Tensor) -> Tensor:
        """Return log p(x) by the member of that number, from 0, (batch,), nats, differentiable.

        ``x`` is (batch, d). If ``members`` is not None, the number may be a tensor, ().
        """

    def log_evidence(
        self, x: Tensor, drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x) by the first member, (batch,), nats, differentiable."""
        return self.log_member(x, 0)


class LatentModel(Model):
    """A model with latents z, which gives log p(x, z) and log q(z | x), term by term."""

    @abstractmethod
    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return log p(x | z_1), log p(z_1 | z_2), ..., the prior last, each (k, batch), nats.

        They are differentiable. A prior that does not factorise over layers is one term, and an
        unnormalised prior lacks -log Z.
        """

    def log_joint(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """Return log p(x, z), the sum of its terms, (k, batch), nats."""
        return total(self.log_joint_terms(x, z))

    @torch.no_grad()
    def score_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return ``log_joint_terms`` for evaluation.

        No gradient passes, and memory is as bounded as the model allows.
        """
        return self.log_joint_terms(x, z)

    @abstractmethod
    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return log q of each layer given the one below, or of all layers as one term.

        The terms are (k, batch) each, nats, differentiable. There are as many as the prior has.
        """

    def log_posterior(self, z: Sequence[Tensor], x: Tensor) -> Tensor:
        """Return log q(z | x), the sum of its terms, (k, batch), nats."""
        return total(self.log_posterior_terms(z, x))


class SampledPosterior(LatentModel):
    """A model whose posterior q(z | x) is normalised and sampled directly, without a chain."""

    @property
    def deterministic(self) -> bool:
        """Whether q(z | x) is a point: its log-probability is 0 there, minus infinity elsewhere."""
        return False

    @abstractmethod
    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior`` with k samples for each of ``batch`` examples.

        Returns:
            Name -> (kind, shape), where kind is ``uniform`` on (0, 1) or ``normal``.
        """

    @abstractmethod
    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k samples of q(z | x) for each example: layers (k, batch, n)."""

    def posterior(self, x: Tensor) -> Posterior:
        """Return q(z | x) of the examples ``x`` (batch, d), to be used any number of times."""
        return _OfModel(self, x)


class _OfModel(Posterior):
    """A posterior that calls the model anew each time."""

    def __init__(self, model: SampledPosterior, x: Tensor) -> None:
        self.model = model
        self.x = x

    def sample(self, k: int, noise: Noise) -> list[Tensor]:
        return self.model.sample_posterior(self.x, k, noise)

    def log_prob_terms(self, z: Sequence[Tensor]) -> list[Tensor]:
        return self.model.log_posterior_terms(z, self.x)


class GaussianPosterior(SampledPosterior):
    """A model with z ~ N(0, I), one layer, and a diagonal Gaussian q(z | x).

    An encoder gives the mean and variance of q directly, so the KL to the prior and the posterior
    mean are known without samples. A subclass has an encoder and a likelihood.
    """

    reparameterised = True
    refinement: Callable[[GaussianPosterior, Tensor, Gaussian], Gaussian] | None = None
    """Turns the encoder's posterior into the one that is sampled and measured;
    None: the encoder's own is used.

    Training steps ignore it: they bring a tape, and their objective refines the posterior itself.
    See ``models.refinement``.
    """

    @abstractmethod
    def encode(self, x: Tensor, tape: Tape | None = None) -> Moments:
        """Return mean and log-variance of q(z | x), (batch, n) each.

        ``tape`` is that of ``log_likelihood``.
        """

    @abstractmethod
    def log_likelihood(
        self, x: Tensor, z: Sequence[Tensor], drop: Noise | None = None, tape: Tape | None = None
    ) -> Tensor:
        """Return log p(x | z), (k, batch), nats, differentiable.

        Args:
            x: Examples, (batch, d).
            z: Codes, one layer (k, batch, n).
            drop: Noise of dropout, which thins the net.
            tape: Given in training only. Normalisation layers, if the model has any, then normalise
                by the batch and write its statistics here.
        """

    @torch.no_grad()
    def score(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        """Return ``log_likelihood`` for evaluation, (k, batch), nats.

        No gradient passes. Memory is bounded by what the caller holds.
        """
        return self.log_likelihood(x, z)

    def posterior(self, x: Tensor, tape: Tape | None = None) -> Gaussian:
        """Return q(z | x) of the examples ``x`` (batch, d), computed once.

        ``tape`` is that of ``log_likelihood``. With a tape (in training) the posterior is the
        encoder's. Without one (in evaluation) it is refined if the model was trained for a refined
        posterior, see ``refinement``.
        """
        encoded = Gaussian(*self.encode(x, tape))
        if tape is not None or self.refinement is None:
            return encoded
        return self.refinement(self, x, encoded)

    def posterior_noise(self, k: int, batch: int) -> Shapes:
        """Declare the noise of ``sample_posterior``: standard normals (k, batch, n)."""
        return {"q1": ("normal", (k, batch, self.sizes[1]))}

    def sample_posterior(self, x: Tensor, k: int, noise: Noise) -> list[Tensor]:
        """Draw k reparameterised samples of q(z | x): [z] with z (k, batch, n)."""
        return self.posterior(x).sample(k, noise)

    def log_posterior_terms(self, z: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """Return [log q(z | x)], (k, batch), nats."""
        return self.posterior(x).log_prob_terms(z)

    def log_joint_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return [log p(x | z), log p(z)], each (k, batch), nats, without dropout."""
        return [self.log_likelihood(x, z), log_standard(z[0])]

    @torch.no_grad()
    def score_terms(self, x: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
        """Return the terms of ``log_joint_terms``, the likelihood by ``score``."""
        return [self.score(x, z), log_standard(z[0])]


class BoltzmannPrior(LatentModel):
    """A model whose prior is a restricted Boltzmann machine over all latents.

    ``log_joint`` lacks -log Z of ``prior()``.
    """

    @abstractmethod
    def prior(self) -> RBM:
        """Return the Boltzmann machine, unnormalised; gradients pass to its parameters."""

    @abstractmethod
    def sides(self, z: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Split latents (k, batch, n_i) into the two sides of the Boltzmann machine."""

    @abstractmethod
    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """Return the logits of p(x | z), a factorial Bernoulli, (k, batch, d)."""


class BoltzmannPosterior(LatentModel):
    """A model whose posterior of each example is a restricted Boltzmann machine.

    ``log_posterior`` lacks -log Z_x. A Boltzmann machine has no ancestral order, so it cannot be
    sampled directly: samples come from Markov chains.
    """

    @abstractmethod
    def posterior(self, x: Tensor) -> RBM:
        """Return the Boltzmann machines of the examples, batched (batch,), unnormalised."""


# ----------------------------------------------------------------------- what models can do besides


class Ancestral(ABC):
    """A model that is sampled directly: its latents, if any, layer by layer, then x."""

    @abstractmethod
    def joint_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``sample_joint`` for ``batch`` samples.

        Returns:
            Name -> (kind, shape), where kind is ``uniform`` on (0, 1) or ``normal``.
        """

    @abstractmethod
    def sample_joint(self, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw samples of the model: x (batch, d) and layers (1, batch, n)."""

    def dream_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``dream``; by default that of ``sample_joint``."""
        return self.joint_noise(batch)

    def dream(self, x: Tensor, noise: Noise) -> tuple[Tensor, list[Tensor]]:
        """Draw one sample of the model for each of the examples ``x`` (batch, d).

        A model reads from ``x`` only what it does not generate itself. A model of documents as
        counts takes the numbers of tokens; all other models take nothing.
        """
        return self.sample_joint(noise)


class PixelByPixel(Ancestral):
    """A model without latents whose examples are drawn pixel by pixel."""

    sizes: list[int]

    def joint_noise(self, batch: int) -> Shapes:
        """Declare the noise of ``sample_joint``.

        Uniforms (batch, d), one for every pixel.
        """
        return {"p0": ("uniform", (batch, self.sizes[0]))}


class BinaryVisibles(ABC):
    """A model whose data are bits given z, so that pictures of samples can be drawn."""

    @abstractmethod
    def sample_visible(self, z: Sequence[Tensor], uniform: Tensor) -> Tensor:
        """Draw samples of p(x | z), bits of the shape of ``uniform`` (k, batch, d)."""


class _Coded(LatentModel, BinaryVisibles):
    """A model of both kinds, for the type checker."""


def has_codes(model: Model) -> TypeGuard[_Coded]:
    """Whether a model encodes images of zeros and ones, and can draw images from these codes."""
    return isinstance(model, LatentModel) and isinstance(model, BinaryVisibles) and model.draws_bits


class MeanVisibles(ABC):
    """A model that gives the mean of every pixel given z directly.

    Its pictures can show these means, which have no noise.
    """

    @abstractmethod
    def visible_mean(self, z: Sequence[Tensor]) -> Tensor:
        """Return E[x | z], (k, batch, d), numbers from 0 to 1."""
