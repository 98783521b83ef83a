"""Which updates are made at a stretch, and what is due after them.

A plan without any state of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Stretch(NamedTuple):
    """Updates that nothing interrupts.

    All of one block of noise, with nothing due before their end.

    Attributes:
        first: the number of updates done before.
        length: how many are made.
        block: the block of noise and batches that they belong to.
        offset: where in that block they begin.
        snapshot: whether the parameters after them are kept for good.
        validate: whether they end at a validation.
    """

    first: int
    length: int
    block: int
    offset: int
    snapshot: bool
    validate: bool

    @property
    def end(self) -> int:
        """The number of updates done after them."""
        return self.first + self.length

    @property
    def rows(self) -> slice:
        """Their rows in the block."""
        return slice(self.offset, self.offset + self.length)


def schedule(
    first: int,
    updates: int,
    block: int,
    valid_every: int,
    snapshots: Sequence[int] = (),
    one_by_one: bool = False,
) -> Iterator[Stretch]:
    """The stretches from update ``first`` to the end of the budget.

    Args:
        first: the number of updates done before.
        updates: the budget.
        block: updates whose noise is drawn together.
        valid_every: updates between validations; there is one at the end of the budget too.
        snapshots: numbers of updates after which the parameters are kept.
        one_by_one: make every update a stretch of its own.
    """
    while first < updates:
        number, offset = divmod(first, block)
        # The next update at which something is due.
        ends = [first - offset + block, first - first % valid_every + valid_every, updates]
        ends += [n for n in snapshots if n > first]
        end = first + 1 if one_by_one else min(ends)

        validate = end % valid_every == 0 or end == updates
        yield Stretch(first, end - first, number, offset, end in snapshots, validate)
        first = end
