"""Which updates are made at a stretch, and what is due after them: a plan, without any state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Stretch(NamedTuple):
    """Updates that nothing interrupts: all of one block of noise, with nothing due before the end.

    Attributes:
        first: Number of updates done before.
        length: How many updates are made.
        block: Number of the block of noise and batches to which they belong.
        offset: Where in that block they begin.
        snapshot: Whether the parameters after them are kept for good.
        validate: Whether they end at a validation.
    """

    first: int
    length: int
    block: int
    offset: int
    snapshot: bool
    validate: bool

    @property
    def end(self) -> int:
        """Number of updates done after the stretch."""
        return self.first + self.length

    @property
    def rows(self) -> slice:
        """Rows of the block that the stretch takes."""
        return slice(self.offset, self.offset + self.length)


def schedule(
    first: int,
    updates: int,
    block: int,
    valid_every: int,
    snapshots: Sequence[int] = (),
    one_by_one: bool = False,
) -> Iterator[Stretch]:
    """Yield the stretches from update ``first`` to the end of the budget.

    Args:
        first: Number of updates done before.
        updates: The budget.
        block: How many updates have their noise drawn together.
        valid_every: Updates between validations; there is one at the end of the budget too.
        snapshots: Numbers of updates after which the parameters are kept.
        one_by_one: Whether to make every update a stretch of its own.
    """
    while first < updates:
        number, offset = divmod(first, block)

        # The next update at which something is due: the end of the block of noise, a validation,
        # the end of the budget, or a snapshot.
        due = [first - offset + block, first - first % valid_every + valid_every, updates]
        due += [update for update in snapshots if update > first]
        end = first + 1 if one_by_one else min(due)

        validate = end % valid_every == 0 or end == updates
        yield Stretch(first, end - first, number, offset, end in snapshots, validate)
        first = end
