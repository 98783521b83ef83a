"""What a trained model makes: examples from its prior, and reconstructions.

A reconstruction is drawn from p(x | z), with z from the posterior of an example. Images are bits
(n, d); documents are ``Document``s. All randomness comes from a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeGuard

import torch
from torch import Tensor

from vaebench.data.text.tokens import ids_of
from vaebench.dists.rbm import RBM
from vaebench.errors import UserError, nearest
from vaebench.estimators import imputation
from vaebench.models import text_generation
from vaebench.models.base import (
    Ancestral,
    BinaryVisibles,
    BoltzmannPosterior,
    BoltzmannPrior,
    GaussianPosterior,
    LatentModel,
    Model,
    SampledPosterior,
    has_codes,
)
from vaebench.models.dlgm import DLGM
from vaebench.models.posterior import Gaussian
from vaebench.models.refinement import whole_batches
from vaebench.models.text_generation import Document, TextModel
from vaebench.rng import noise
from vaebench.settings import options

SWEEPS = 10_000
"""Gibbs sweeps of a Boltzmann machine, from random bits, after which its state counts as a
sample."""

BLOCK = 100
"""Sweeps whose noise is drawn at once."""

HOWS = ("sample", "greedy", "beam")

TOGETHER = 256
"""Documents that are decoded or encoded side by side; each needs memory for softmaxes over the
vocabulary."""


@dataclass(frozen=True)
class Decoding:
    """How documents are decoded from p(x | z).

    ``how`` is one of HOWS, ``width`` that of a beam, ``longest`` the largest number of tokens.
    """

    how: str = "sample"
    width: int = 5
    longest: int = 100

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise UserError(f"--how {self.how}: {nearest(self.how, HOWS)}")
        options.WIDTH.check("width", self.width, f"--width {self.width}")
        options.LONGEST.check("longest", self.longest, f"--longest {self.longest}")

    def documents(self, model: Model, z: Tensor | None, rows: int, seed: int) -> list[Document]:
        """Return a document for each of the codes ``z`` (rows, n).

        A model without codes (``z`` None) gives ``rows`` documents.
        """
        # Without codes and noise all documents are the same.
        if z is None and self.how != "sample":
            return self._some(model, None, None) * rows

        documents: list[Document] = []
        for number, part in enumerate(torch.arange(rows).split(TOGETHER)):
            # Each part has noise of its own, by its number.
            u = (
                _noise((len(part), self.longest), seed, "made_case", model, number)
                if self.how == "sample"
                else None
            )
            documents += self._some(model, None if z is None else z[part], u)
        return documents

    def _some(self, model: Model, z: Tensor | None, u: Tensor | None) -> list[Document]:
        """Decode a few codes (rows, n), by the noise (rows, longest) if documents are sampled."""
        if not isinstance(model, TextModel):
            raise UserError(f"{model.called} writes no documents")
        if u is not None:
            return text_generation.sample(model, z, u)
        if self.how == "greedy":
            return text_generation.greedy(model, z, self.longest)
        return text_generation.beam(model, z, self.width, self.longest)


def drawn(model: Model, number: int, seed: int, decoding: Decoding) -> list[Document]:
    """Return ``number`` documents, with codes drawn from the prior."""
    z = None
    if isinstance(model, LatentModel):
        z = _noise((number, model.sizes[1]), seed, "made_code", model, kind="normal")
    return decoding.documents(model, z, number, seed)


def tokens_of(texts: Sequence[str], vocabulary: Sequence[str]) -> Tensor:
    """Return documents (n, d) of token numbers from texts, padded with 0.

    Unknown words become ``<unk>``.
    """
    rows = [ids_of(text.split(), vocabulary) for text in texts]
    x = torch.zeros(len(rows), max(map(len, rows), default=0), dtype=torch.int64)
    for row, ids in zip(x, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return x


def codes(model: Model, x: Tensor, seed: int, mean: bool) -> Tensor:
    """Return codes of the documents ``x`` (n, d), (n, latents).

    They are the means of q(z | x) if ``mean``, else one sample of it each. Raises UserError for a
    model without codes of documents.
    """
    if not (model.facts.reads_documents and isinstance(model, GaussianPosterior)):
        raise UserError(f"{model.called} has no codes of documents")

    # One posterior for all documents, so that a code does not depend on how they were split.
    parts = [model.posterior(part) for part in x.split(whole_batches(model, TOGETHER))]
    q = Gaussian(
        torch.cat([part.mean for part in parts]), torch.cat([part.log_var for part in parts])
    )

    if mean:
        return q.mean

    draws = noise.fixed(
        model.posterior_noise(1, len(x)), seed, "made_code", device=model.mean.device
    )
    return q.sample(1, draws)[0][0]


def paths(z: Tensor, points: int) -> Tensor:
    """Return codes on the way from each of the codes ``z`` (n, latents) to the next.

    Their shape is ((n - 1) points, latents). Each way has ``points`` codes, both ends included.
    Raises UserError if there is only one code.
    """
    if len(z) < 2:
        raise UserError("--path: needs two documents at least")
    return torch.cat([text_generation.path(a, b, points) for a, b in pairwise(z)])


def has_means(model: Model) -> TypeGuard[GaussianPosterior | DLGM]:
    """Whether codes are one layer of Gaussian latents with a posterior mean known without samples.

    So a DLGM has means if it has one layer of latents.
    """
    return isinstance(model, GaussianPosterior) or (
        isinstance(model, DLGM) and len(model.sizes) == 2
    )


@torch.no_grad()
def posterior_means(model: GaussianPosterior | DLGM, x: Tensor) -> Tensor:
    """Return the means of q(z | x) of the examples ``x`` (n, d), (n, latents).

    They are computed part by part, for models that ``has_means`` accepts.
    """
    return torch.cat(
        [model.posterior(part).mean for part in x.split(whole_batches(model, TOGETHER))]
    )


@torch.no_grad()
def drawn_images(model: Model, number: int, seed: int) -> Tensor:
    """Return ``number`` examples x ~ p(x), bits (number, d).

    A Boltzmann prior is sampled by SWEEPS Gibbs sweeps. Raises UserError for a model that makes no
    images of zeros and ones.
    """
    if isinstance(model, Ancestral) and model.draws_bits:
        shapes = model.joint_noise(number)
        return model.sample_joint(
            noise.fixed(shapes, seed, "made_code", device=model.mean.device),
        )[0]
    if not (isinstance(model, BoltzmannPrior) and isinstance(model, BinaryVisibles)):
        raise UserError(f"{model.called} makes no images of zeros and ones")

    # One chain for each image, from random bits: rounding a uniform is the toss of a fair coin.
    rbm = model.prior()
    z1 = _noise((1, number, len(rbm.b1)), seed, "made_start", model).round()
    z = _settled(rbm, z1, seed)
    return model.sample_visible(z, _noise((1, number, model.sizes[0]), seed, "made_case", model))[0]


@torch.no_grad()
def images_again(model: Model, x: Tensor, seed: int, mean: bool = False) -> Tensor:
    """Return a reconstruction of every example of ``x`` (n, d): drawn from p(x | z), bits (n, d).

    z is a sample of the example's posterior, or its mean if ``mean`` is set. Raises UserError for a
    model without such codes, or without means of them.
    """
    if not has_codes(model):
        raise UserError(f"{model.called} has no codes of images of zeros and ones")

    if mean:
        if not isinstance(model, GaussianPosterior):
            raise UserError(
                f"{model.called} has no mean of the codes of an image, whose latents are bits"
            )
        z = [posterior_means(model, x).unsqueeze(0)]
    elif isinstance(model, BoltzmannPosterior):
        # One chain for each image, in the Boltzmann machine that is its posterior.
        rbm = model.posterior(x)
        z = _settled(rbm, _noise((1, *rbm.b1.shape), seed, "made_start", model).round(), seed)
    elif not isinstance(model, SampledPosterior):
        raise UserError(f"{model.called} has no posterior to draw codes from")
    else:
        shapes = model.posterior_noise(1, len(x))
        z = model.sample_posterior(
            x, 1, noise.fixed(shapes, seed, "made_code", device=model.mean.device)
        )

    return model.sample_visible(z, _noise((1, *x.shape), seed, "made_case", model))[0]


IMPUTED = (1, 2, 3, 5, 10, 15)
"""The steps of a chain after which its images are shown."""


def imputed_images(model: Model, x: Tensor, hidden: Tensor, seed: int) -> Tensor:
    """Return for each example of ``x`` (n, d): itself, what is left of it, what a chain fills in.

    Returns:
        Images (n, 2 + len(IMPUTED), d). In the second the missing pixels, those in ``hidden``
        (n, d), are 0.5. The others are the chain's states after the ``IMPUTED`` steps.

    Raises:
        UserError: For a model without codes of images of zeros and ones.
    """
    if not imputation.decodes(model):
        raise UserError(f"{model.called} has no codes of images of zeros and ones")

    # State 0 is that before the first step.
    states = list(imputation.states(model, x, hidden, IMPUTED[-1], seed))
    return torch.stack([x, torch.where(hidden, 0.5, x), *(states[step] for step in IMPUTED)], 1)


def _settled(rbm: RBM, z1: Tensor, seed: int) -> list[Tensor]:
    """Return both sides [z1, z2] after SWEEPS Gibbs sweeps of ``rbm`` from ``z1`` (1, n, n1)."""
    n2 = rbm.b2.shape[-1]
    z2 = z1

    # The noise of all sweeps at once would take too much memory.
    for block in range(-(-SWEEPS // BLOCK)):
        sweeps = min(BLOCK, SWEEPS - block * BLOCK)
        shapes = {
            "u2": ("uniform", (sweeps, *z1.shape[:-1], n2)),
            "u1": ("uniform", (sweeps, *z1.shape)),
        }
        u = noise.fixed(shapes, seed, "made_chain", block)
        z1, z2 = rbm.gibbs(z1, u["u2"], u["u1"])

    return [z1, z2]


def _noise(
    shape: tuple[int, ...],
    seed: int,
    purpose: str,
    model: Model,
    *index: int,
    kind: str = "uniform",
) -> Tensor:
    """Return noise of this shape, a function of seed, purpose and index, for the model's device."""
    return noise.fixed(
        {"u": (kind, tuple(shape))}, seed, purpose, *index, device=model.mean.device
    )["u"]
