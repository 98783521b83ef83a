"""The kernels as an engine of a pack: where parameters lie in memory, and updates of all seeds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vaebench.data.examples import binarized
from vaebench.data.kinds import Kind
from vaebench.kernels import layout
from vaebench.kernels.bernoulli import OFF
from vaebench.kernels.nvil import nvil
from vaebench.kernels.rows import RESIDENT
from vaebench.kernels.vectors import LANES, SPILLED
from vaebench.kernels.wake_sleep import wake_sleep
from vaebench.models.belief_net import DARN, FDARN, SBN, BeliefNet, Units
from vaebench.objectives.base import Objective
from vaebench.objectives.nvil import NVIL, RANGE
from vaebench.objectives.wake_sleep import WakeSleep
from vaebench.optim import SGD, Optimiser

LINE = 16
"""Floats in a cache line."""


def padded(n: int) -> int:
    """Round ``n`` floats up to whole vectors."""
    return -(-n // LANES) * LANES


def stride_of(width: int) -> int:
    """Return the length in floats that a row of ``width`` floats takes in memory.

    It is an odd number of cache lines; with an even one a strip would use half of the cache.
    """
    lines = padded(width) // LINE
    return LINE * (lines + 1 - lines % 2)


class _Space:
    """Assigns places in an array that is made later; each begins at a cache line."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, count: int) -> int:
        begin = self.size
        self.size += -(-count // LINE) * LINE
        return begin


class Engine:
    """Trains the seeds of a pack by kernels, on the CPU.

    The model is a belief net, the objective NVIL or wake-sleep, the optimiser plain gradient
    descent.

    Args:
        objective: The objective around the model; gives structure and buffers only.
        optim: Gives the rate of each parameter group.
        params: Name -> initial values, (R, ...).
        data: Training examples, (n, d).
        kind: Kind of the examples: bits, grey levels or counts.

    Attributes:
        params: Views of the engine's memory, with the names and shapes of the pack's parameters,
            (R, ...). Writing to them between two calls changes what is trained.

    Raises:
        ValueError: If there is no kernel for these.
    """

    def __init__(
        self,
        objective: Objective,
        optim: Optimiser,
        params: dict[str, Tensor],
        data: Tensor,
        kind: Kind = Kind.BITS,
    ) -> None:
        # Types are compared exactly: a subclass may make an update that the kernels do not know.
        if type(optim) is not SGD or type(objective) not in (NVIL, WakeSleep):
            raise ValueError(
                f"no kernel for {type(objective).__name__} with {type(optim).__name__}"
            )

        if objective.weight_decay:
            raise ValueError("no kernel with weight decay")

        model = objective.model
        if (
            not isinstance(model, BeliefNet)
            or type(model) not in (SBN, FDARN, DARN)
            or data.is_cuda
        ):
            raise ValueError(f"no kernel for {type(objective.model).__name__} on {data.device}")
        if kind.seen not in (Kind.BITS, Kind.COUNTS) or (
            kind is Kind.BITS and bool((data > 1).any())
        ):
            raise ValueError("no kernel for data that are neither zeros and ones nor counts")
        if model.draws_bits == (kind is Kind.COUNTS):
            raise ValueError(f"no kernel for {kind} by a net that is not made for them")

        self.objective = objective
        self.rates = optim.rates
        self.sizes = model.sizes
        self.model = model
        self.baseline = objective.baseline if isinstance(objective, NVIL) else None
        self.layers = model.layers
        self.data = data
        self.kind = kind
        self.mean = model.mean.numpy().astype(np.float32)
        self.seeds = len(next(iter(params.values())))

        # One block for every layer of the posterior, then for every layer of the model, see
        # ``kernels.layout``. A column that is never set stays -1: the block lacks that part.
        self.blocks = np.full((2 * self.layers + 1, layout.BLOCK_COLUMNS), -1, dtype=np.int64)
        self._chains: list[tuple[int, str]] = []

        # Assign all places first: only then is the length of theta known.
        theta = _Space()
        for i in range(len(self.blocks)):
            self._place(i, theta)
        self.theta = torch.zeros(self.seeds, theta.size)
        self.params = self._views(params)

        # Kernels read an example as the list of its pixels that are 1, or of its tokens. Grey
        # levels are made binary anew for every update, so their lists cannot be kept.
        self._cases: tuple[np.ndarray, np.ndarray] | None = None
        self._longest = model.sizes[0]
        if kind is Kind.COUNTS:
            tokens, ends = _tokens(data)
            self._cases = tokens, ends
            # A document may have more tokens than there are words in the vocabulary.
            self._longest = int(np.diff(ends).max())
        elif kind is not Kind.GREY:
            self._cases = _lists(data)

        self._batch = 0

    # --------------------------------------------------------------------------------------- memory

    def _module(self, i: int) -> tuple[str, Units]:
        """Return name and module of the ``i``-th block."""
        if i < self.layers:
            return f"model.q.{i}", self.model.q[i]
        return f"model.p.{i - self.layers}", self.model.p[i - self.layers]

    def _place(self, i: int, theta: _Space) -> None:
        """Assign the parameters of the ``i``-th block their places in memory."""
        _, module = self._module(i)
        block = self.blocks[i]
        parents = 0 if module.weight is None else module.weight.shape[1]
        units = len(module.bias)

        # The baseline's hidden units see the same parents as the layer. Their weights stand in the
        # same rows, behind the layer's own, so one pass over the parents computes both.
        hidden = 0
        if i < self.layers and self.baseline is not None:
            hidden = padded(len(self.baseline[i].hidden.bias))

        width = padded(units) + hidden
        block[layout.PARENTS] = parents
        block[layout.UNITS] = units
        block[layout.WIDTH] = width
        block[layout.HIDDEN] = padded(units)
        block[layout.STRIDE] = stride_of(width)

        block[layout.WEIGHT] = theta.take(parents * block[layout.STRIDE])
        block[layout.BIAS] = theta.take(width)
        if hidden:
            block[layout.OUT] = theta.take(hidden + 1)  # output weights, then the output bias

        if module.autoregressive is not None:
            block[layout.CHAIN_STRIDE] = stride_of(units)
            block[layout.CHAIN] = theta.take(units * block[layout.CHAIN_STRIDE])

    def _views(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copy the pack's parameters to their places, and return views of them."""
        views = {}
        for i, block in enumerate(self.blocks):
            name, _ = self._module(i)
            units, parents, stride = (
                int(block[c]) for c in (layout.UNITS, layout.PARENTS, layout.STRIDE)
            )
            # Units that only fill up the last vector are never on.
            self._part(int(block[layout.BIAS]), (int(block[layout.HIDDEN]),), (1,)).fill_(OFF)
            views[f"{name}.bias"] = self._part(block[layout.BIAS], (units,), (1,))

            # Weights lie by parent, (parents, stride); a transposed view has the module's shape.
            if parents:
                views[f"{name}.weight"] = self._part(
                    block[layout.WEIGHT], (units, parents), (1, stride)
                )

            # The kernel's chain weights lack the module's entries on and above the diagonal. So the
            # parameter is a tensor of its own, which ``advance`` copies to theta and back.
            if block[layout.CHAIN] >= 0:
                key = f"{name}.autoregressive"
                views[key] = params[key].clone()
                self._chains.append((i, key))

            if self.baseline is not None and block[layout.OUT] >= 0:
                baseline = f"baseline.{i}"
                count = len(self.baseline[i].hidden.bias)
                # In a row of weights the hidden units are the columns from ``first`` on.
                first = int(block[layout.HIDDEN])
                hidden = int(block[layout.WIDTH]) - first
                views[f"{baseline}.hidden.weight"] = self._part(
                    block[layout.WEIGHT] + first, (count, parents), (1, stride)
                )
                views[f"{baseline}.hidden.bias"] = self._part(
                    block[layout.BIAS] + first, (count,), (1,)
                )
                views[f"{baseline}.output.weight"] = self._part(
                    block[layout.OUT], (1, count), (count, 1)
                )
                views[f"{baseline}.output.bias"] = self._part(
                    block[layout.OUT] + hidden, (1,), (1,)
                )

        if views.keys() != params.keys():
            raise ValueError(
                f"not the parameters of a belief net: {sorted(views.keys() ^ params.keys())}"
            )
        for name, value in params.items():
            views[name].copy_(value)
        return {name: views[name] for name in params}

    def _part(self, begin: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        return self.theta.as_strided(
            (self.seeds, *shape), (self.theta.shape[1], *strides), int(begin)
        )

    def _chain(self, i: int) -> Tensor:
        """Return the autoregressive weights of a block by source, (R, units, units), as a view."""
        block = self.blocks[i]
        units = int(block[layout.UNITS])
        return self._part(block[layout.CHAIN], (units, units), (int(block[layout.CHAIN_STRIDE]), 1))

    def _work_for(self, batch: int) -> None:
        """Provide working memory for batches of this size, for every seed its own."""
        if batch == self._batch:
            return
        self._batch = batch

        work = _Space()
        ints = _Space()
        for i, block in enumerate(self.blocks):
            # Blocks of the generative model hold the examples and, behind them, as many dreams.
            rows = batch if i < self.layers else 2 * batch
            block[layout.DELTA] = work.take(rows * block[layout.STRIDE])

            # Only the data, the parents of the lowest layer, are centred. This is the place of
            # mean V and u of ``kernels.centring``.
            if i == 0:
                block[layout.CENTRE] = work.take(2 * block[layout.WIDTH])

        # Thresholds of autoregressive units, in rows as long as those of the logits.
        widest = max(int(block[layout.STRIDE]) for block in self.blocks)
        places = [work.take(batch * widest)]

        # Lists of the units that are on in every layer: rows of ``units`` for the examples, then
        # for the dreams. In ``ints`` the bounds of a layer's dreams stand right behind those of its
        # examples, so that a kernel can take both as one batch of twice the size.
        lists = self.layers + 1
        self.units = np.zeros((2 * lists, layout.UNIT_COLUMNS), dtype=np.int64)
        bounds = [ints.take(4 * batch) for _ in self.sizes]
        bounds += [begin + 2 * batch for begin in bounds]
        longest_lists = [self._longest, *self.sizes[1:]]  # most entries of an example
        for columns, size, longest, begin in zip(
            self.units, self.sizes * 2, longest_lists * 2, bounds, strict=True
        ):
            begins = [
                ints.take(count) for count in (batch * longest + SPILLED, 2 * size, batch * longest)
            ]
            columns[:] = size, begin, *begins, False
        self.units[[0, lists], layout.TOKENS] = self.kind is Kind.COUNTS

        # Scratch, used for one purpose at a time. ``add_many_rows`` keeps two bounds for each part
        # of the rows in each of up to 2 * batch lists. ``sample_chain`` keeps for each row two
        # bounds and LANES units, and one more number.
        parts = -(-max(self.sizes) // RESIDENT)
        places.append(ints.take(max(4 * parts, 2 + LANES) * batch + 1))

        # What kernels call ``places``: the thresholds' in ``work``, and the scratch's in ``ints``.
        self._places = tuple(places)
        self._memory = [
            (torch.zeros(work.size).numpy(), np.zeros(ints.size, np.int32))
            for _ in range(self.seeds)
        ]

    # -------------------------------------------------------------------------------------- updates

    def advance(
        self,
        index: Tensor,
        noise: dict[str, Tensor],
        binarize: Tensor | None,
        state: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Make T updates of the parameters, and of ``state`` in place.

        Nothing else persists from one call to the next.

        Args:
            index: Row numbers of the training examples, (T, R, batch).
            noise: Name -> (T, R, ...).
            binarize: Noise that makes grey examples binary, (T, R, batch, d); None for others.
            state: State of the objective, (R, ...).

        Returns:
            Metrics (R,), summed over the updates.
        """
        self._work_for(index.shape[-1])

        # Entries of a chain on and above the diagonal connect nothing: the kernels get zeros there.
        for i, key in self._chains:
            self._chain(i).copy_(torch.tril(self.params[key], -1).mT)
        floats, blocks = self._place_noise(noise)

        def train(r: int) -> dict[str, float]:
            rows = index[:, r]
            grey = None if binarize is None else binarize[:, r]
            return self._train(r, blocks[r], self._read(rows, grey), floats, state)

        # Kernels release the interpreter's lock, and no two seeds write to the same memory.
        with ThreadPoolExecutor(min(torch.get_num_threads(), self.seeds)) as threads:
            sums = list(threads.map(train, range(self.seeds)))

        # Take the trained entries back, and keep the others as they were.
        for i, key in self._chains:
            above = torch.triu(self.params[key])
            self.params[key].copy_(torch.tril(self._chain(i).mT, -1) + above)
        return {
            name: torch.tensor([of_seed[name] for of_seed in sums], dtype=torch.float64)
            for name in sums[0]
        }

    def _read(self, rows: Tensor, grey: Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return lists of pixels that are 1, or of tokens, and where each list begins and ends.

        The third result says which lists the updates take, (T, batch).
        """
        if self._cases is not None:
            return *self._cases, np.ascontiguousarray(rows.numpy())
        if grey is None:
            raise ValueError("grey examples are made binary by noise, and there is none")

        x = binarized(self.data[rows], grey)
        return *_lists(x.flatten(0, 1)), np.arange(rows.numel()).reshape(rows.shape)

    def _place_noise(self, noise: dict[str, Tensor]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the noise as one row of floats, and ``blocks`` of each seed that point into it.

        The row is the memory of the first tensor. The places of the other tensors are counted from
        its start, wherever in memory they are. Kernels check no bounds, so nothing needs to be
        copied. The tensors must exist as long as the row is in use.
        """
        # The noise of every block, in the order of the blocks.
        names = [f"q{i + 1}" for i in range(self.layers)]
        if isinstance(self.objective, WakeSleep):
            names += [f"p{i}" for i in range(self.layers + 1)]

        floats = noise[names[0]]
        blocks = [self.blocks.copy() for _ in range(self.seeds)]
        for i, name in enumerate(names):
            tensor = noise[name]
            if tensor.dtype != torch.float32 or not tensor.is_contiguous():
                raise ValueError(
                    f"noise {name}: {tensor.dtype} with strides {tensor.stride()}, "
                    "not contiguous floats"
                )

            # In floats from the start of the row; negative if the tensor lies before it.
            start = (tensor.data_ptr() - floats.data_ptr()) // tensor.element_size()
            for r in range(self.seeds):
                blocks[r][i, layout.NOISE] = start + r * tensor.stride(1)
                blocks[r][i, layout.NOISE_STEP] = tensor.stride(0)
                blocks[r][i, layout.UNIFORMS] = tensor.shape[-1]

        return floats.view(-1).numpy(), blocks

    def _train(
        self,
        r: int,
        blocks: np.ndarray,
        examples: tuple[np.ndarray, np.ndarray, np.ndarray],
        noise: np.ndarray,
        state: dict[str, Tensor],
    ) -> dict[str, float]:
        """Make the updates of one seed; return their metrics, summed, by the objective's names."""
        objective = self.objective
        ones, ends, rows = examples

        # Kernels sum the gradients of a batch. Plain gradient descent on the mean is the same with
        # smaller rates. Their order is that of ``layout.MODEL``, ``POSTERIOR`` and ``BASELINE``.
        divisor = 1 if objective.reduce == "sum" else rows.shape[1]
        rates = np.array([self.rates[g] / divisor for g in ("model", "posterior", "baseline")])
        work, ints = self._memory[r]

        # Both kernels share most of their arguments.
        memory = self.theta[r].numpy(), work, ints, blocks
        inputs = ones, ends, rows, noise, self.mean, rates, self._places
        units, dreamt = np.split(self.units, 2)
        if isinstance(objective, WakeSleep):
            return {"bound": wake_sleep(*memory, units, dreamt, *inputs)}

        # Statistics of the signals are views of ``state``, which the kernel updates in place.
        switches = (
            objective.local_signals,
            objective.constant_baseline,
            objective.variance_normalization,
        )
        means, variances = (state[k][r].numpy() for k in ("mean", "variance"))
        bound, baseline_outside = nvil(
            *memory, units, *inputs, objective.decay, switches, means, variances, RANGE
        )
        return (
            {"bound": bound}
            if objective.baseline is None
            else {"bound": bound, "baseline_outside": baseline_outside}
        )


def _lists(data: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """List the pixels that are 1, example after example.

    Returns:
        The lists one after the other, and where each begins and ends, see ``_ends``.
    """
    is_one = data != 0
    return is_one.nonzero()[:, 1].to(torch.int32).numpy(), _ends(is_one.sum(1))


def _tokens(data: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Do the same for counts: list every word of a document as often as it occurs."""
    document, word = data.nonzero(as_tuple=True)
    times = data[document, word].long()
    return word.to(torch.int32).repeat_interleave(times).numpy(), _ends(
        data.sum(1, dtype=torch.int64)
    )


def _ends(lengths: Tensor) -> np.ndarray:
    """Return where consecutive lists of these lengths begin, and where the last one ends."""
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths.numpy(), out=ends[1:])
    return ends
