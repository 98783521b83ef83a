"""CUDA graphs: an update is captured once, and replayed without Python."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Captured:
    """One update, captured in a CUDA graph.

    Each replay takes the next row of the block of batches and noise that is on the device.

    Args:
        step: Makes one update in place and returns its metrics.
        index: Row numbers of the examples of a block, (T, R, batch).
        noise: Name -> (T, R, ...).
        binarize: Noise for grey examples, (T, R, batch, d), or None.
        clock: Number of every update, (T,).
        live: The tensors that ``step`` changes; the capture leaves them as they were.
    """

    def __init__(
        self,
        step: Callable[..., dict[str, Tensor]],
        index: Tensor,
        noise: dict[str, Tensor],
        binarize: Tensor | None,
        clock: Tensor,
        live: list[dict[str, Tensor]],
    ) -> None:
        # Objectives that draw no noise are captured too, so the device is that of the parameters.
        device = next(tensor.device for part in live for tensor in part.values())

        # The inputs of every replay. A graph always reads the same memory, so blocks are copied to
        # it. ``row`` is the number of the update within the block; it lies on the device as well.
        self.index = torch.zeros_like(index, device=device)
        self.noise = {name: torch.zeros_like(value) for name, value in noise.items()}
        self.binarize = None if binarize is None else torch.zeros_like(binarize)
        self.clock = torch.zeros_like(clock, device=self.index.device)
        self.row = torch.zeros(1, dtype=torch.int64, device=self.index.device)
        self._load(index, noise, binarize, clock)

        saved = [{name: value.clone() for name, value in part.items()} for part in live]

        def body() -> dict[str, Tensor]:
            noise_now = {
                name: value.index_select(0, self.row)[0] for name, value in self.noise.items()
            }
            grey = None if self.binarize is None else self.binarize.index_select(0, self.row)[0]

            # Indexed by a tensor, not by a number, which the capture would fix.
            metrics = step(
                self.index.index_select(0, self.row)[0],
                noise_now,
                grey,
                self.clock.index_select(0, self.row)[0],
            )

            # Part of the graph, so each replay takes the next update of the block.
            self.row.add_(1)
            return metrics

        # PyTorch asks for a warm-up on a stream of its own before a capture.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            # Compilation, and what the libraries allocate, must come before the capture.
            for _ in range(3):
                metrics = body()
                self.row.zero_()

        torch.cuda.current_stream().wait_stream(side)

        # The sums are in double precision, since a block has many updates.
        self.total = {
            name: torch.zeros_like(value, dtype=torch.float64) for name, value in metrics.items()
        }

        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for name, value in body().items():
                self.total[name].add_(value)

        # The warm-up has changed the parameters: restore them.
        for part, values in zip(live, saved, strict=True):
            for name, value in values.items():
                part[name].copy_(value)

    def fits(self, index: Tensor, noise: dict[str, Tensor]) -> bool:
        """Whether a block fits the captured one: the same shapes, and no more updates."""
        return index.shape[1:] == self.index.shape[1:] and index.shape[0] <= self.index.shape[0]

    def _load(
        self, index: Tensor, noise: dict[str, Tensor], binarize: Tensor | None, clock: Tensor
    ) -> None:
        # A block may be shorter than the captured one: it fills only the first rows.
        updates = index.shape[0]
        self.index[:updates].copy_(index)
        self.clock[:updates].copy_(clock)
        for name, value in noise.items():
            self.noise[name][:updates].copy_(value)
        if binarize is not None and self.binarize is not None:
            self.binarize[:updates].copy_(binarize)
        self.row.zero_()

    def replay(
        self, index: Tensor, noise: dict[str, Tensor], binarize: Tensor | None, clock: Tensor
    ) -> dict[str, Tensor]:
        """Make the updates of a block, and return their metrics (R,), summed."""
        self._load(index, noise, binarize, clock)
        for value in self.total.values():
            value.zero_()

        for _ in range(index.shape[0]):
            self.graph.replay()
        return {name: value.clone() for name, value in self.total.items()}
