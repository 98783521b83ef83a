"""Which training examples an update sees, and how many updates make a pass over the data.

A batch is a list of row numbers, (batch,) int64, filled up with -1 if there are fewer. Orders:

- ``replacement``: rows are drawn uniformly.
- ``shuffle``: random permutations of all rows, one after the other.
- ``lengths``: a batch has documents of one length, and its members never change. All batches are
  seen once in a pass, in random order (He et al. 2019). The last batch of a length is smaller.
- ``buckets``: the same with documents of neighbouring lengths. Batches are full, and padded, which
  changes no likelihood.

All of it is a function of (seed, update), so there is nothing to save.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench.errors import UserError
from vaebench.nn.tokens import groups
from vaebench.rng import noise, seeds

FIXED = ("lengths", "buckets")
"""Orders with fixed batches."""


def check_order(order: str, data: str, tokens: bool) -> None:
    """Refuse an order that the data set ``data`` does not have.

    Args:
        order: One of the orders of this module.
        data: Name of the data set.
        tokens: Whether its examples are documents.

    Raises:
        UserError: For an order of documents if there are none.
    """
    if order in FIXED and not tokens:
        raise UserError(f"train.order={order}: for documents only, and data={data} has none")


class Batches:
    """The batches of a run.

    Attributes:
        per_epoch: Number of batches in a pass over the data.
    """

    def __init__(self, cases: int, batch: int, order: str, lengths: Tensor | None = None) -> None:
        self.cases = cases
        self.batch = batch
        self.order = order

        self.fixed: Tensor | None = None  # (batches, batch)
        if order in FIXED:
            if lengths is None:
                raise ValueError(f"train.order={order} needs the lengths of documents")
            self.fixed = _table(groups(lengths, batch, order == "lengths"), batch)
        self.per_epoch = -(-cases // batch) if self.fixed is None else len(self.fixed)

    def block(self, run_seeds: list[int], block: int, length: int) -> Tensor:
        """Return the rows of the updates block * length ... of every seed.

        Their shape is (length, seeds, batch); they are on the CPU.
        """
        if self.fixed is None:
            return noise.order_block(self.cases, self.batch, self.order, run_seeds, block, length)

        # The batches themselves never change, so only their order is drawn: a shuffle of batch
        # numbers, (length, seeds), which then index the table.
        numbers = noise.order_block(self.per_epoch, 1, "shuffle", run_seeds, block, length)[..., 0]
        return self.fixed[numbers]

    def any(self, seed: int, update: int, number: int) -> Tensor:
        """Draw the ``number``-th extra batch, (batch,), beside that of ``update``, uniformly.

        If the order is ``shuffle``, no row occurs twice in it.
        """
        generator = torch.Generator().manual_seed(seeds.derive(seed, "inner_order", update, number))
        if self.fixed is None and self.order == "shuffle":
            return torch.randperm(self.cases, generator=generator)[: self.batch]
        if self.fixed is None:
            return torch.randint(self.cases, (self.batch,), generator=generator)
        return self.fixed[int(torch.randint(self.per_epoch, (), generator=generator))]


def _table(parts: list[Tensor], batch: int) -> Tensor:
    """Put the batches' row numbers into one tensor (batches, batch), filled up with -1."""
    table = torch.full((len(parts), batch), -1, dtype=torch.int64)
    for row, part in zip(table, parts, strict=True):
        row[: len(part)] = part
    return table
