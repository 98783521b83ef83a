"""The terms of belief nets' importance weights, by kernels.

They are those of ``weights.terms``, several times as fast. Parameters do not change while a model
is evaluated, so each matrix is made into a table once (``vaebench.kernels.scores``). What
depends on the example alone is computed once for all its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaebench.dists.autoregressive import strictly_lower
from vaebench.kernels import scores
from vaebench.kernels.bernoulli import OFF
from vaebench.kernels.vectors import LANES
from vaebench.kernels.words import packed, unpacked, words_of
from vaebench.models.belief_net import BeliefNet, Units
from vaebench.models.posterior import Posterior

ROWS = 2500
"""Rows that are computed at a time: their sums stay in the second cache."""

NONE = np.zeros(0, np.float32)
NO_BITS = np.zeros(0, np.uint16)


class Base(NamedTuple):
    """Logits without parents: ``cycle`` rows of ``stride`` floats.

    Sample r takes row r modulo ``cycle``.
    """

    values: np.ndarray
    stride: int
    cycle: int


class Table(NamedTuple):
    """A matrix of weights in the layout of ``scores.fill_table``.

    ``words`` is the number of words that hold the bits of the parents.
    """

    values: np.ndarray
    words: int


def base_of(logits: Tensor) -> Base:
    """Return logits (cycle, units), or (units,), padded with units that are never 1."""
    # The kernels take whole strips of units. A unit of the padding has a logit so low that it is
    # never 1 and adds nothing to log p.
    logits = torch.atleast_2d(logits.detach())
    cycle, units = logits.shape
    stride = -(-units // scores.STRIP) * scores.STRIP
    values = torch.nn.functional.pad(logits, (0, stride - units), value=OFF).contiguous()
    return Base(values.view(-1).numpy(), stride, cycle)


def table_of(weight: Tensor | None) -> Table:
    """Return the table of weights (units, parents)."""
    if weight is None:
        return Table(NONE, 0)

    units, parents = weight.shape
    words = words_of(parents)
    # torch aligns its memory to whole cache lines; without that every load would touch two.
    values = torch.zeros(-(-units // scores.STRIP) * words * scores.WORD).numpy()
    scores.fill_table(
        values, weight.detach().contiguous().view(-1).numpy(), parents, units, 1, parents
    )
    return Table(values, words)


class Chain:
    """Autoregressive weights (units, units).

    Row k of ``source`` has the weights from unit k to later units, in the sampler's layout.
    """

    def __init__(self, weight: Tensor) -> None:
        units = len(weight)
        self.stride = words_of(units) * LANES

        # The same weights twice: as a table for scoring, when all units are known, and by source
        # for sampling, when a unit that fires adds its row to the logits of later units.
        lower = strictly_lower(weight.detach())
        self.table = table_of(lower)
        self.source = (
            torch.nn.functional.pad(lower.mT, (0, self.stride - units))
            .contiguous()
            .view(-1)
            .numpy()
        )


class Layer:
    """A layer of a belief net, ready for scoring and sampling."""

    def __init__(self, units: Units) -> None:
        self.module = units
        self.units = len(units.bias)
        self.bias = base_of(units.bias)

        # log P of all units being 0 with the biases alone. A layer without parents and without
        # autoregressive weights is scored from it by adding the logits of the units that are 1.
        self.off = -float(torch.nn.functional.softplus(units.bias.detach().double()).sum())
        self.table = table_of(units.weight)
        self.chain = None if units.autoregressive is None else Chain(units.autoregressive)


class KernelTerms:
    """The terms of log P(x, z), the terms of log Q(z | x), and z, for a belief net on the CPU.

    The net is in float32 and its examples are bits. An instance is called as ``weights.terms`` is,
    without the model. The model's parameters must not change after the instance is made.
    """

    def __init__(self, model: BeliefNet) -> None:
        self.model = model
        self.p = [Layer(units) for units in model.p]
        self.q = [Layer(units) for units in model.q]
        self._x: Tensor | None = None

    def __call__(
        self, x: Tensor, k: int, noises: dict[str, Tensor], posterior: Posterior
    ) -> tuple[list[Tensor], list[Tensor], Layers]:
        """Return terms (k, batch), nats, for ``k`` samples of every example of ``x`` (batch, d).

        z is (k, batch, units). ``posterior`` is not used: the kernels compute the model's own.
        """
        self._read(x)

        # Rows are samples of examples: sample s of example i is row s * batch + i, as in tensors
        # (k, batch).
        rows = k * len(x)
        batch = len(x)
        shape = (k, batch)
        log_q: list[Tensor] = []
        states: list[np.ndarray] = []

        # From the data up. The logits of the first layer depend on the example alone and are known;
        # the other layers have the layer below as parents.
        for i, layer in enumerate(self.q):
            uniform = noises[f"q{i + 1}"].contiguous().view(-1).numpy()
            state = np.empty(rows * words_of(layer.units), np.uint16)
            base = self._logits if i == 0 else layer.bias
            parents = (NONE, 0, NO_BITS) if i == 0 else (*layer.table, states[-1])
            log_q.append(self._sample(layer, base, parents, uniform, state, rows).view(shape))
            states.append(state)

        # Score every layer given the layer above; the top layer has no parents. What is scored are
        # the examples, of which there are ``batch`` rows only, then the samples of each layer.
        log_p = []
        targets = [(self._cases, batch), *((state, rows) for state in states)]
        for i, (layer, (state, cycle)) in enumerate(zip(self.p, targets, strict=True)):
            base = self._visible if i == 0 else layer.bias
            parents = (*layer.table, states[i]) if i < len(states) else (NONE, 0, NO_BITS)
            # The autoregressive part of the visible units is in ``self._visible`` already, see
            # ``_read``.
            chain = layer.chain.table.values if layer.chain and i else NONE
            log_p.append(self._score(layer, base, parents, chain, state, cycle, rows).view(shape))
        return log_p, log_q, Layers(states, [layer.units for layer in self.q], k)

    def _read(self, x: Tensor) -> None:
        """Compute what depends on the examples alone, unless they are those of the last call."""
        if x is self._x:
            return

        self._x = x
        self._cases = packed(x)
        self._logits = base_of(self.model.q[0].logits(x - self.model.mean))
        self._visible = self.p[0].bias
        visible = self.p[0].module

        # Given an example, what its earlier pixels add to the logits of later ones is the same for
        # all samples.
        if visible.autoregressive is not None:
            self._visible = base_of(visible.bias + x @ strictly_lower(visible.autoregressive).mT)

    def _score(
        self,
        layer: Layer,
        base: Base,
        parents: tuple[np.ndarray, int, np.ndarray],
        chain: np.ndarray,
        state: np.ndarray,
        cycle: int,
        rows: int,
    ) -> Tensor:
        def work(logs: np.ndarray, first: int) -> None:
            if layer.table.words == 0 and layer.chain is None:
                scores.score_fixed(logs, first, layer.units, base.values, layer.off, state)
                return

            memory = torch.empty(len(logs) * scores.SUMS).numpy()
            scores.score(memory, logs, first, layer.units, *base, *parents, chain, state, cycle)

        return _shared(work, rows)

    def _sample(
        self,
        layer: Layer,
        base: Base,
        parents: tuple[np.ndarray, int, np.ndarray],
        uniform: np.ndarray,
        state: np.ndarray,
        rows: int,
    ) -> Tensor:
        def work(logs: np.ndarray, first: int) -> None:
            memory = torch.empty(len(logs) * scores.SUMS).numpy()
            arguments = memory, logs, first, layer.units, *base, *parents, uniform, state
            if layer.chain is None:
                scores.sample(*arguments)
                return

            # Workspace of the chain: logits of all rows and thresholds of TURNS rows.
            logits_room = torch.empty((len(logs) + scores.TURNS) * base.stride).numpy()
            index_room = np.empty((2 + LANES) * scores.TURNS + 1, np.int32)
            scores.sample_chained(
                *arguments, (layer.chain.source, layer.chain.stride), (logits_room, index_room)
            )

        return _shared(work, rows)


def _shared(work: Callable[[np.ndarray, int], None], rows: int) -> Tensor:
    """Return the log-probabilities of ``rows`` rows, (rows,), float32.

    ``work`` computes them, ROWS at a time, in as many threads as torch has.
    """
    logs = np.empty(rows)
    starts = range(0, rows, ROWS)
    parts = [logs[start : start + ROWS] for start in starts]

    workers = min(torch.get_num_threads(), len(parts))
    if workers == 1:
        for part, start in zip(parts, starts, strict=True):
            work(part, start)
    else:
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(work, parts, starts))

    return torch.from_numpy(logs).to(torch.float32)


class Layers(Sequence[Tensor]):
    """Layers of zeros and ones (k, batch, units), unpacked from words on access.

    Few measures read them, so most are never unpacked.
    """

    def __init__(self, states: list[np.ndarray], units: list[int], k: int) -> None:
        self._states = states
        self._units = units
        self._k = k

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, i: int) -> Tensor:  # type: ignore[override]  # nobody asks for several layers at once
        words = self._states[i]
        units = self._units[i]
        return unpacked(words, len(words) // words_of(units), units).unflatten(0, (self._k, -1))
