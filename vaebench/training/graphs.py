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
        self.index = torch.zeros_like(index, device=device)
        self.noise = {k: torch.zeros_like(v) for k, v in noise.items()}
        self.binarize = None if binarize is None else torch.zeros_like(binarize)
        self.clock = torch.zeros_like(clock, device=self.index.device)
        self.row = torch.zeros(1, dtype=torch.int64, device=self.index.device)
        self._load(index, noise, binarize, clock)
        saved = [{k: v.clone() for k, v in part.items()} for part in live]

        def body() -> dict[str, Tensor]:
            now = {k: v.index_select(0, self.row)[0] for k, v in self.noise.items()}
            grey = None if self.binarize is None else self.binarize.index_select(0, self.row)[0]
            metrics = step(
                self.index.index_select(0, self.row)[0],
                now,
                grey,
                self.clock.index_select(0, self.row)[0],
            )
            self.row.add_(1)
            return metrics

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            # Compilation, and what the libraries allocate, must come before the capture.
            for _ in range(3):
                metrics = body()
                self.row.zero_()

        torch.cuda.current_stream().wait_stream(side)
        self.total = {k: torch.zeros_like(v, dtype=torch.float64) for k, v in metrics.items()}

        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for k, v in body().items():
                self.total[k].add_(v)

        # The warm-up has changed the parameters: restore them.
        for part, old in zip(live, saved, strict=True):
            for k, v in old.items():
                part[k].copy_(v)

    def fits(self, index: Tensor, noise: dict[str, Tensor]) -> bool:
        """Whether a block fits the captured one: the same shapes, and no more updates."""
        return index.shape[1:] == self.index.shape[1:] and index.shape[0] <= self.index.shape[0]

    def _load(
        self, index: Tensor, noise: dict[str, Tensor], binarize: Tensor | None, clock: Tensor
    ) -> None:
        t = index.shape[0]
        self.index[:t].copy_(index)
        self.clock[:t].copy_(clock)
        for k, v in noise.items():
            self.noise[k][:t].copy_(v)
        if binarize is not None and self.binarize is not None:
            self.binarize[:t].copy_(binarize)
        self.row.zero_()

    def replay(
        self, index: Tensor, noise: dict[str, Tensor], binarize: Tensor | None, clock: Tensor
    ) -> dict[str, Tensor]:
        """Make the updates of a block, and return their metrics (R,), summed."""
        self._load(index, noise, binarize, clock)
        for v in self.total.values():
            v.zero_()

        for _ in range(index.shape[0]):
            self.graph.replay()
        return {k: v.clone() for k, v in self.total.items()}
