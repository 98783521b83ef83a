"""The kernels as an engine of a pack: where parameters lie, and updates of all its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from vaebench.kernels import belief_net as net
from vaebench.kernels.bernoulli import OFF
from vaebench.kernels.vectors import LANES
from vaebench.models.belief_net import BeliefNet
from vaebench.objectives.nvil import NVIL
from vaebench.objectives.wake_sleep import WakeSleep

LINE = 16
"""Floats in a cache line."""


def padded(n: int) -> int:
    """``n`` rounded up to whole vectors."""
    return -(-n // LANES) * LANES


def stride_of(width: int) -> int:
    """Length of a row of ``width`` floats: an odd number of cache lines, or a strip would use half of the cache."""
    lines = padded(width) // LINE
    return LINE * (lines + 1 - lines % 2)


class _Space:
    """Hands out places of an array that is still to be made."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, count: int) -> int:
        at = self.size
        self.size += -(-count // LINE) * LINE
        return at


class Engine:
    """Trains the seeds of a pack: a belief net by NVIL.

    ``params`` are views of its memory by the names and shapes of the pack's, (R, ...): whoever writes to them between
    two calls changes what is trained.
    """

    def __init__(self, objective: NVIL, rates: Mapping[str, float], params: dict[str, Tensor], data: Tensor) -> None:
        model: BeliefNet = objective.model
        self.objective, self.rates, self.sizes = objective, rates, model.sizes
        self.layers = model.layers
        self.mean = model.mean.numpy().astype(np.float32)
        self.seeds = len(next(iter(params.values())))
        self.blocks = np.full((2 * self.layers + 1, net.BLOCK_COLUMNS), -1, dtype=np.int64)
        self._chains: list[tuple[int, str]] = []
        theta = _Space()
        for i in range(len(self.blocks)):
            self._place(i, theta)
        self.theta = torch.zeros(self.seeds, theta.size)
        self.params = self._views(params)
        self._ends, self._ones = _lists(data)
        self._batch = 0

    # ------------------------------------------------------------------------------------------------------- memory

    def _module(self, i: int) -> tuple[str, torch.nn.Module]:
        """Name and module of a block."""
        model = self.objective.model
        half, j = ("q", i) if i < self.layers else ("p", i - self.layers)
        return f"model.{half}.{j}", getattr(model, half)[j]

    def _place(self, i: int, theta: _Space) -> None:
        """Give a block's parameters their places."""
        name, module = self._module(i)
        block = self.blocks[i]
        parents = 0 if module.weight is None else module.weight.shape[1]
        units = len(module.bias)
        hidden = 0
        if i < self.layers and getattr(self.objective, "baseline", None) is not None:
            hidden = padded(len(self.objective.baseline[i].hidden.bias))
        width = padded(units) + hidden
        block[net.PARENTS], block[net.UNITS], block[net.WIDTH] = parents, units, width
        block[net.HIDDEN], block[net.STRIDE] = padded(units), stride_of(width)
        block[net.WEIGHT] = theta.take(parents * block[net.STRIDE])
        block[net.BIAS] = theta.take(width)
        if hidden:
            block[net.OUT] = theta.take(hidden + 1)
        if module.autoregressive is not None:
            block[net.CHAIN_STRIDE] = stride_of(units)
            block[net.CHAIN] = theta.take(units * block[net.CHAIN_STRIDE])

    def _views(self, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """The pack's parameters, copied to their places."""
        out = {}
        for i, block in enumerate(self.blocks):
            name, module = self._module(i)
            units, parents, stride = (int(block[c]) for c in (net.UNITS, net.PARENTS, net.STRIDE))
            self._part(int(block[net.BIAS]), (int(block[net.HIDDEN]),), (1,)).fill_(OFF)
            out[f"{name}.bias"] = self._part(block[net.BIAS], (units,), (1,))
            if parents:
                out[f"{name}.weight"] = self._part(block[net.WEIGHT], (units, parents), (1, stride))
            if block[net.CHAIN] >= 0:
                key = f"{name}.autoregressive"
                out[key] = params[key].clone()
                self._chains.append((i, key))
            if block[net.OUT] >= 0:
                own = f"baseline.{i}"
                count = len(self.objective.baseline[i].hidden.bias)
                first = int(block[net.HIDDEN])
                hidden = int(block[net.WIDTH]) - first
                out[f"{own}.hidden.weight"] = self._part(block[net.WEIGHT] + first, (count, parents), (1, stride))
                out[f"{own}.hidden.bias"] = self._part(block[net.BIAS] + first, (count,), (1,))
                out[f"{own}.output.weight"] = self._part(block[net.OUT], (1, count), (count, 1))
                out[f"{own}.output.bias"] = self._part(block[net.OUT] + hidden, (1,), (1,))
        if out.keys() != params.keys():
            raise ValueError(f"not the parameters of a belief net: {sorted(out.keys() ^ params.keys())}")
        for name, v in params.items():
            out[name].copy_(v)
        return {name: out[name] for name in params}

    def _part(self, at: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        return self.theta.as_strided((self.seeds, *shape), (self.theta.shape[1], *strides), int(at))

    def _chain(self, i: int) -> Tensor:
        """The place of a block's chain weights by source, (R, units, units)."""
        block = self.blocks[i]
        units = int(block[net.UNITS])
        return self._part(block[net.CHAIN], (units, units), (int(block[net.CHAIN_STRIDE]), 1))

    def _work_for(self, batch: int) -> None:
        """Memory for batches of this size, for each seed its own."""
        if batch == self._batch:
            return
        self._batch = batch
        work, ints = _Space(), _Space()
        for i, block in enumerate(self.blocks):
            block[net.DELTA] = work.take(batch * block[net.STRIDE])
            if i == 0:
                block[net.CENTRE] = work.take(2 * block[net.WIDTH])
        widest = max(int(b[net.STRIDE]) for b in self.blocks)
        places = [work.take(batch * widest)]
        lists = self.layers + 1
        self.units = np.zeros((2 * lists, net.UNIT_COLUMNS), dtype=np.int64)  # of the cases, then of the dreams
        for row, size in zip(self.units, self.sizes * 2, strict=True):
            taken = [ints.take(count) for count in (2 * batch, batch * size, 2 * size, batch * size)]
            row[:] = size, *taken
        places.append(ints.take(2 * batch + LANES * batch + 1))
        self._places = tuple(places)
        self._memory = [
            (torch.zeros(work.size).numpy(), np.zeros(ints.size, np.int32)) for _ in range(self.seeds)
        ]

    # ------------------------------------------------------------------------------------------------------ updates

    def advance(self, index: Tensor, noise: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Updates: ``index`` (T, R, batch), noise (T, R, ...). Changes ``state`` (R, ...); returns summed metrics (R,).

        Every call begins from the parameters as they are and ends with them, so nothing else is to be kept.
        """
        steps, _, batch = index.shape
        self._work_for(batch)
        for i, key in self._chains:
            self._chain(i).copy_(torch.tril(self.params[key], -1).mT)
        blocks = self.blocks.copy()
        flat = self._noise_places(blocks, noise, steps * batch)
        rows = np.ascontiguousarray(index.transpose(0, 1).numpy())
        one = lambda r: self._seed(r, blocks, rows[r], flat[r], state)  # noqa: E731
        with ThreadPoolExecutor(min(torch.get_num_threads(), self.seeds)) as threads:
            bounds = list(threads.map(one, range(self.seeds)))
        for i, key in self._chains:
            self.params[key].copy_(torch.tril(self._chain(i).mT, -1) + torch.triu(self.params[key]))
        return {"bound": torch.tensor(bounds, dtype=torch.float64)}

    def _noise_places(self, blocks: np.ndarray, noise: dict[str, Tensor], rows: int) -> np.ndarray:
        """The noise of every seed as one row, block after block, (R, floats)."""
        at, parts = 0, []
        names = [f"q{i + 1}" for i in range(self.layers)]
        if isinstance(self.objective, WakeSleep):
            names += [f"p{i}" for i in range(self.layers + 1)]
        for block, name in zip(blocks, names, strict=False):
            block[net.NOISE] = at
            part = noise[name].transpose(0, 1).reshape(self.seeds, -1)
            at += part.shape[1]
            parts.append(part)
        return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).contiguous().numpy()

    def _seed(self, r: int, blocks: np.ndarray, rows: np.ndarray, noise: np.ndarray, state: dict[str, Tensor]) -> float:
        rule = self.objective
        share = 1 if rule.reduce == "sum" else rows.shape[1]
        rates = np.array([self.rates[g] / share for g in ("model", "posterior", "baseline")])
        work, ints = self._memory[r]
        memory = self.theta[r].numpy(), work, ints, blocks
        cases = self._ones, self._ends, rows, noise, self.mean, rates, self._places
        units, dreamt = np.split(self.units, 2)
        if isinstance(rule, WakeSleep):
            return net.wake_sleep(*memory, units, dreamt, *cases)
        switches = rule.local_signals, rule.constant_baseline, rule.variance_normalization
        means, variances = (state[k][r].numpy() for k in ("mean", "variance"))
        return net.nvil(*memory, units, *cases, rule.decay, switches, means, variances)


def _lists(data: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that are 1 of every case, one list after the other, and where each list begins and the last ends."""
    x = data.numpy() != 0
    ends = np.zeros(len(x) + 1, dtype=np.int64)
    np.cumsum(x.sum(1), out=ends[1:])
    return ends, np.nonzero(x)[1].astype(np.int32)
