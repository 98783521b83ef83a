"""Log importance weights log P(x, z) - log Q(z | x), z ~ Q(z | x), as a stream over examples.

The noise of a sample depends only on the seed, the position of the example and the number of the
sample. To that end, examples and samples are divided into grains of fixed size, each with a
generator of its own, and passes of any size put grains together. So every result is the same,
within rounding, for every chunk and batch size, and the first k of K samples are the same for all
K.

The posterior of a group of examples is computed once, whatever the number of their samples. For
models of documents (``tokens``), passes are cut by length: see ``documents``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from vaebench import kernels
from vaebench.errors import UserError
from vaebench.models.base import Model, SampledPosterior
from vaebench.models.belief_net import DARN, FDARN, SBN, BeliefNet
from vaebench.models.posterior import Posterior, total
from vaebench.models.refinement import whole_batches
from vaebench.nn.precision import products_in
from vaebench.nn.tokens import lengths_of
from vaebench.rng import noise
from vaebench.work.steps import Stateful, steps

CASES = 100
SAMPLES = 10
"""A grain: the noise of so many examples times so many samples comes from one generator."""

BUDGET = 2**25
"""Largest number of floats in one pass (samples x examples x units of the widest layer), so that
memory stays bounded."""

TOKENS = {"cpu": 2**14, "cuda": 2**17}
"""Limit of documents x tokens of the longest, for a group that is encoded at once."""

CODES = 2**23
"""Numbers in the samples of z of one pass over documents. The model itself bounds the memory of
their likelihoods: see TextVAE."""

WORTH_KERNELS = 200_000
"""Number of samples, over all examples, from which loading the kernels pays: it takes a second.

The first time on a machine the kernels are compiled, which takes some ten seconds.
"""

KERNEL_SAMPLES = 50
"""Samples of an example in one pass of the kernels: enough that the start of a pass costs nothing.
"""


@dataclass(frozen=True)
class Pass:
    """Part of the work: some samples of some examples.

    Attributes:
        cases: Positions of the examples.
        first: Number of the first sample.
        log_p: Terms of log P(x, z), each (k, batch), nats.
        log_q: Terms of log Q(z | x), each (k, batch), nats.
        z: Layers of the samples, (k, batch, n).
        error: Standard error of log_q if its normaliser is an estimate, (batch,); it is the same
            for all samples of an example.
        posterior: Q(z | x) of the examples, if it can be sampled at once.
    """

    cases: slice
    first: int
    log_p: list[Tensor]
    log_q: list[Tensor]
    z: Sequence[Tensor]
    error: Tensor | None = None
    posterior: Posterior | None = field(default=None, kw_only=True)

    @property
    def log_w(self) -> Tensor:
        """log P(x, z) - log Q(z | x), (k, batch), nats, float64."""
        return total([t.double() for t in self.log_p]) - total([t.double() for t in self.log_q])


def terms(
    model: SampledPosterior,
    x: Tensor,
    k: int,
    noises: dict[str, Tensor],
    posterior: Posterior,
    precision: str = "float32",
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return the terms of log P(x, z), the terms of log Q(z | x), and z.

    They are for k samples of every example of ``x`` (batch, d). ``posterior`` is Q(z | x) of these
    examples. ``precision`` is that of the products that give log P(x, z).
    """
    z = posterior.sample(k, noises)
    with products_in(precision, x.device):
        log_p = model.score_terms(x, z)
    return log_p, posterior.log_prob_terms(z), z


def cases_of(model: Model, x: Tensor) -> Tensor:
    """Return examples (n, d), a tensor or an array, as a tensor on the model's device.

    Raises UserError for other shapes.
    """
    x = torch.as_tensor(x)
    if x.ndim != 2 or not len(x):
        raise UserError(f"cases of shape {tuple(x.shape)}: expected (n, d), n at least 1")
    if not model.facts.reads_documents and x.shape[1] != model.sizes[0]:
        raise UserError(f"cases of {x.shape[1]} dimensions: this model takes {model.sizes[0]}")

    return x.to(model.mean.device)


def by_kernel(model: Model, x: Tensor, samples: int) -> bool:
    """Whether kernels compute the terms of ``samples`` samples of the examples ``x``.

    They do for belief nets of bits on the CPU, if there are enough samples.
    """
    if (
        type(model) not in (SBN, FDARN, DARN)
        or len(x) * samples < WORTH_KERNELS
        or not kernels.allowed()
    ):
        return False

    fits = (
        isinstance(model, BeliefNet)
        and model.draws_bits
        and not model.deterministic
        and x.device.type == "cpu"
        and all(v.dtype == torch.float32 and not v.is_cuda for v in model.parameters())
    )
    # Checked last, because it reads all examples.
    return fits and bool(((x == 0) | (x == 1)).all())


Scored = Callable[
    [Tensor, int, dict[str, Tensor], Posterior], tuple[list[Tensor], list[Tensor], Sequence[Tensor]]
]
"""A function like ``terms``, for one model."""


@torch.no_grad()
def stream(
    model: SampledPosterior,
    x: Tensor,
    samples: int,
    seed: int,
    purpose: str = "eval",
    *,
    chunk: int | None = None,
    batch: int | None = None,
    state: Stateful | None = None,
    precision: str = "float32",
) -> Iterator[Pass]:
    """Yield all ``samples`` samples of every example of ``x`` (n, d), any dtype, as passes.

    For each group of examples the samples come in order.

    Args:
        model: A model whose posterior can be sampled at once.
        x: Examples.
        samples: Samples of each example.
        seed: Seed of the noise.
        purpose: Purpose of the noise.
        chunk: Samples of a pass; None: chosen to fit the memory budget.
        batch: Examples of a pass; None: chosen to fit the memory budget.
        state: What the caller gathers from the passes.
        precision: See ``terms``.
    """
    score: Scored = partial(terms, model, precision=precision)
    if isinstance(model, BeliefNet) and by_kernel(model, x, samples):
        from vaebench.estimators.kernel_terms import KernelTerms

        score = KernelTerms(model)
        chunk = chunk or KERNEL_SAMPLES

    # All passes are one flat list, so that the work can be stopped between any two of them. The
    # posterior of a group is computed at its first pass; a resumed stream computes it again.
    groups = _groups(model, x, samples, chunk, batch)
    passes = [(group, first) for group in groups for first in range(0, samples, group.size)]
    encoded: Group | None = None
    for pass_number in steps("posterior samples", len(passes), state):
        group, first = passes[pass_number]
        if encoded is None or group is not encoded:
            xs = _taken(model, x, group)
            posterior = model.posterior(xs)
            encoded = group

        k = min(group.size, samples - first)
        noises = draws(model, group.cases, first, k, seed, purpose, x.device)
        yield Pass(group.cases, first, *score(xs, k, noises, posterior), posterior=posterior)


Plan = Iterator[tuple[slice, int, Tensor]]
"""Groups of examples: their positions, how many samples of each are taken at a time, and the
examples in the form that the model reads."""


def plan(
    model: Model, x: Tensor, samples: int, chunk: int | None = None, batch: int | None = None
) -> Plan:
    """Yield the examples ``x`` (n, d) in groups that fit the memory budget.

    ``chunk`` of the ``samples`` are taken at a time; None: chosen to fit.
    """
    for group in _groups(model, x, samples, chunk, batch):
        yield group.cases, group.size, _taken(model, x, group)


class Group(NamedTuple):
    """Neighbouring examples, the positions ``cases``; ``size`` of their samples come at a time.

    ``width`` is the number of columns of documents; None for vectors.
    """

    cases: slice
    size: int
    width: int | None = None


def _groups(
    model: Model, x: Tensor, samples: int, chunk: int | None, batch: int | None
) -> Iterator[Group]:
    kind = documents if model.facts.reads_documents else vectors
    return kind(model, x, samples, chunk, batch)


def _taken(model: Model, x: Tensor, group: Group) -> Tensor:
    """Return the examples of a group in the form that the model reads."""
    if group.width is None:
        return x[group.cases].to(model.mean.dtype)
    return x[group.cases, : group.width]


def vectors(
    model: Model, x: Tensor, samples: int, chunk: int | None, batch: int | None
) -> Iterator[Group]:
    """Yield groups of ``batch`` examples.

    ``batch`` and ``chunk`` are rounded down to whole grains, at least one. If posteriors are
    refined in batches, the groups are whole batches and not whole grains.
    """
    n = len(x)
    device = x.device
    widest = max(model.sizes)

    # Whole grains, so that no noise is drawn twice; for refined posteriors whole batches instead.
    if batch is None:
        batch = CASES * (10 if device.type == "cuda" else 1)
    batch = whole_batches(model, batch, CASES)

    # On a GPU a pass has as many samples as the budget allows. On a CPU it has one grain.
    if chunk is None:
        chunk = max(
            SAMPLES, min(samples, BUDGET // (batch * widest) if device.type == "cuda" else SAMPLES)
        )
    chunk = max(SAMPLES, chunk // SAMPLES * SAMPLES)

    for start in range(0, n, batch):
        cases = slice(start, min(start + batch, n))
        yield Group(cases, chunk)


def documents(
    model: Model, x: Tensor, samples: int, chunk: int | None, batch: int | None
) -> Iterator[Group]:
    """Yield groups of neighbouring documents, without the columns in which all are padding.

    A group has as many documents as ``TOKENS`` allows. If these are enough, they are whole grains,
    so that no noise is drawn twice. If posteriors are refined in batches, the group is whole
    batches, whatever ``TOKENS`` allows. A pass has as many samples as ``CODES`` allows: the more of
    them at once, the more work the model can share. Rows sorted by length waste little on padding.
    ``chunk`` is rounded down to whole grains, at least one.
    """
    token_limit = TOKENS.get(x.device.type, TOKENS["cuda"])
    latents = max(model.sizes[1:], default=1)
    tokens = lengths_of(x).tolist()
    chunk = chunk and max(SAMPLES, chunk // SAMPLES * SAMPLES)

    start = 0
    while start < len(x):
        document_limit = max(1, batch or _fitting(tokens[start:], token_limit))
        stop = start + whole_batches(model, document_limit)

        # If the group reaches the border of a grain, it ends at the last such border, and the next
        # group begins with a whole grain. Groups of refined posteriors must stay whole batches, and
        # a ``batch`` that is given stays as it is.
        reaches_border = not batch and start // CASES < stop // CASES and stop < len(x)
        if reaches_border and whole_batches(model, 1) == 1:
            stop = stop // CASES * CASES

        cases = slice(start, min(stop, len(x)))
        samples_that_fit = CODES // (latents * (cases.stop - start))
        yield Group(
            cases, chunk or max(SAMPLES, samples_that_fit // SAMPLES * SAMPLES), max(tokens[cases])
        )
        start = cases.stop


def _fitting(tokens: list[int], limit: int) -> int:
    """Return how many of the first documents have at most ``limit`` tokens together.

    All are counted as long as the longest of them, because they are padded to it.
    """
    longest = 0
    for i, n in enumerate(tokens):
        longest = max(longest, n)
        if (i + 1) * longest > limit:
            return i
    return len(tokens)


def draws(
    model: SampledPosterior,
    cases: slice,
    first: int,
    k: int,
    seed: int,
    purpose: str,
    device: torch.device,
) -> dict[str, Tensor]:
    """Return the posterior noise of the samples ``first`` ... ``first`` + k - 1 of these examples.

    ``first`` must begin a grain.
    """
    # A column (samples, CASES, ...) has all wanted samples of CASES neighbouring examples. Together
    # the columns cover the examples, and up to CASES - 1 more at either end.
    columns = [
        _column(model, g, first // SAMPLES, -(-(first + k) // SAMPLES), seed, purpose, device)
        for g in range(cases.start // CASES, -(-cases.stop // CASES))
    ]

    wanted_examples = slice(cases.start % CASES, cases.start % CASES + cases.stop - cases.start)
    return {
        name: _joined([c[name] for c in columns], 1)[:k, wanted_examples] for name in columns[0]
    }


def _column(
    model: SampledPosterior,
    g: int,
    start: int,
    stop: int,
    seed: int,
    purpose: str,
    device: torch.device,
) -> dict[str, Tensor]:
    """Return the grains ``start`` ... ``stop`` - 1 of the ``g``-th CASES examples, in one row."""
    shapes = model.posterior_noise(SAMPLES, CASES)
    if {kind for kind, _ in shapes.values()} != {"uniform"}:
        rows = [noise.fixed(shapes, seed, purpose, g, b, device=device) for b in range(start, stop)]
        return {name: _joined([r[name] for r in rows], 0) for name in shapes}

    # Uniforms are drawn straight into their place, which saves the copy of a concatenation.
    column = {
        n: torch.empty((stop - start) * SAMPLES, *shape[1:], device=device)
        for n, (_, shape) in shapes.items()
    }
    for b in range(start, stop):
        rows_of_grain = slice((b - start) * SAMPLES, (b - start + 1) * SAMPLES)
        noise.fixed_({name: v[rows_of_grain] for name, v in column.items()}, seed, purpose, g, b)
    return column


def _joined(parts: list[Tensor], axis: int) -> Tensor:
    """Return ``torch.cat`` of the parts, without its copy of a single part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)
