"""Long loops that can be stopped between two steps and continued later.

They also report how far they are.

A function that may take seconds writes its loops as ``for i in steps("what it does", total,
state):`` instead of ``for i in range(total):``, or calls ``tick()`` in them. Neither has any effect
until a caller opens a ``Work``:

    with Work(should_stop, keep=file.write, kept=file.read()):
        long_function()

Then every step asks ``should_stop``. If it is True, the state of all open loops is kept and
Interrupted is raised. The same block, run again with what was kept, skips the steps that were done
and ends with the same numbers, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol

from vaebench.errors import Interrupted
from vaebench.formatting import duration

KEEP_SECONDS = 60.0
"""Upper limit, in seconds, of the work lost when the process is killed."""

TELL_SECONDS = 0.5
"""Seconds between two reports of how far the work is."""


class Stateful(Protocol):
    """What a loop changes, as plain values and tensors (also in lists, tuples and dicts).

    A step may change it only after the last ``tick`` or ``steps`` within that step, because a state
    kept in the middle of a step counts as the state before it. After the loop only a later loop
    with the same state may change it.
    """

    def state(self) -> dict[str, Any]:
        """Return all that the steps so far changed. It is read at once and need not be a copy."""

    def load(self, kept: dict[str, Any]) -> None:
        """Take over what ``state`` returned."""


class Box(SimpleNamespace):
    """A state of named values, as attributes: ``box = Box(total=zeros, found=[])``."""

    def state(self) -> dict[str, Any]:
        """Return all attributes."""
        return dict(self.__dict__)

    def load(self, kept: dict[str, Any]) -> None:
        """Replace the attributes by those of ``kept``."""
        self.__dict__.update(kept)


@dataclass(frozen=True)
class Kept:
    """How far one loop was: ``at`` of ``total`` steps, with the state after them."""

    path: str
    at: int
    total: int
    state: dict[str, Any]


@dataclass(eq=False)
class _Loop:
    """A loop that is open, or that has ended within the present step of the loop around it.

    ``first`` is the step at which it began in this process, ``at`` the number of steps done, and
    ``began`` the time at which it was opened.
    """

    path: str
    name: str
    total: int
    state: Stateful | None
    first: int = 0
    at: int = 0
    began: float = field(default_factory=lambda: time.monotonic())
    names: dict[str, int] = field(default_factory=dict)
    """Loop name -> how many loops with it were opened within the present step."""


class Work:
    """A block of long work; see the module.

    Args:
        should_stop: Called between steps. If it returns True, Interrupted is raised.
        patience: Seconds from the beginning in which it is not called, so that short work is never
            stopped.
        keep: Called with the state of all loops and the seconds spent, at a stop and every
            KEEP_SECONDS. None: nothing is kept.
        kept: What an earlier block of the same work has kept.
        spent: Seconds that the earlier block had spent.
        clock: The clock that measures the seconds spent; None: wall-clock time.
        tell: Called with how far the work is, in words, every TELL_SECONDS.
    """

    def __init__(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        patience: float = 0.0,
        keep: Callable[[list[Kept], float], None] | None = None,
        kept: list[Kept] | None = None,
        spent: float = 0.0,
        clock: Callable[[], float] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._should_stop = should_stop
        self._keep = keep
        self._kept = {entry.path: entry for entry in kept or ()}
        self._tell = tell
        self._root = _Loop("", "", 1, None)
        self._open = [self._root]
        self._ended: dict[str, _Loop] = {}

        # Two clocks: wall-clock time says when something is due, ``clock`` what has been spent,
        # which goes on where an earlier block stood.
        now = time.monotonic()
        self._asked_from = now + patience
        self._clock = clock or time.monotonic
        self._began = self._clock() - spent
        self._saved = now
        self._told = -math.inf

    def __enter__(self) -> Work:
        self._token: Token[Work | None] = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)

    @property
    def seconds(self) -> float:
        """Seconds spent, including those of earlier blocks of the same work."""
        return self._clock() - self._began

    def check(self) -> None:
        """Stop, save or report between two steps, if it is due. Raises Interrupted for a stop."""
        now = time.monotonic()
        if now >= self._asked_from and self._should_stop():
            self._save()
            raise Interrupted(f"stopped at {self._counts() or 'its beginning'}")

        # Read the clock anew: writing a large state may take seconds itself.
        if self._keep is not None and now - self._saved > KEEP_SECONDS:
            self._save()
            self._saved = time.monotonic()

        if self._tell is not None and now - self._told >= TELL_SECONDS:
            self._told = now
            self._tell(self._words())

    def loop(self, name: str, total: int, state: Stateful | None) -> Iterator[int]:
        """Yield the numbers of the steps, as described for ``steps``."""
        loop = self._begin(name, total, state)
        try:
            while loop.at < total:
                self.check()
                yield loop.at
                loop.at += 1
                self._next_step(loop)
        finally:
            self._open.remove(loop)

        # The step around this loop is not over, so its own state does not contain what this loop
        # has done. A stop within the rest of that step must keep it too: see ``_next_step``.
        if self._keep is not None and state is not None:
            self._ended[loop.path] = loop

    def _begin(self, name: str, total: int, state: Stateful | None) -> _Loop:
        # A path names a loop within the whole work, the same in every run of it: for each loop
        # around, its step and the name opened there. A name's second loop within a step has #1.
        around = self._open[-1]
        number = around.names.get(name, 0)
        around.names[name] = number + 1
        path = f"{around.path}/{around.at}:{name}" + (f"#{number}" if number else "")

        # An ended loop is kept at ``total`` steps: it loads its state and makes no step. If the
        # number of steps differs, this is other work, which begins anew.
        loop = _Loop(path, name, total, state)
        kept = self._kept.pop(path, None)
        if state is not None and kept is not None and kept.total == total:
            state.load(kept.state)
            loop.first = kept.at
            loop.at = kept.at
        self._open.append(loop)
        return loop

    def _next_step(self, loop: _Loop) -> None:
        """Forget the loops that ended within the step before.

        Their outcome is part of the state of ``loop`` by now.
        """
        loop.names.clear()
        if self._ended:
            inside = f"{loop.path}/"
            self._ended = {
                path: ended for path, ended in self._ended.items() if not path.startswith(inside)
            }

    def _save(self) -> None:
        if self._keep is None:
            return

        loops = [*self._ended.values(), *self._open]
        entries = [
            Kept(v.path, v.at, v.total, v.state.state()) for v in loops if v.state is not None
        ]
        self._keep(entries, self.seconds)

    def _counts(self) -> str:
        """Return the open loops with their counts, the outermost first."""
        return ", ".join(f"{v.name} {v.at:,}/{v.total:,}" for v in self._open[1:] if v.total > 1)

    def _words(self) -> str:
        """Return the counts, and the time left of the outermost loop."""
        left = self._left()
        return self._counts() + (f", {duration(left)} left" if left is not None else "")

    def _left(self) -> float | None:
        """Return the seconds until the outermost loop ends, at its pace so far.

        None before anything is done, or if no loop of more than one step is open.
        """
        # Loops of one step only give a path to what is within them.
        loops = [v for v in self._open if v.total > 1]
        if not loops:
            return None

        # The share of the work that is done: each loop adds the share within its present step.
        done = 0.0
        for loop in reversed(loops):
            done = (loop.at + done) / loop.total

        # The pace is that of this process: what an earlier one did took none of its time.
        outer = loops[0]
        done_here = done - outer.first / outer.total
        if done_here <= 0:
            return None
        return (time.monotonic() - outer.began) * (1 - done) / done_here


_current: ContextVar[Work | None] = ContextVar("work", default=None)


def steps(name: str, total: int, state: Stateful | None = None) -> Iterator[int]:
    """Yield the numbers 0 ... ``total`` - 1, one for each step of a loop.

    Within a ``Work`` that continues, the numbers start where the loop was stopped.

    Args:
        name: What the loop does, as a person reads it before a count.
        total: Number of steps, the same whenever the loop is run.
        state: What the steps change. None: the loop can be stopped, but begins anew when the
            work is continued.
    """
    work = _current.get()
    return iter(range(total)) if work is None else work.loop(name, total, state)


def tick() -> None:
    """Allow a stop between two parts of a step that takes long.

    Raises Interrupted if the user asked to stop.
    """
    work = _current.get()
    if work is not None:
        work.check()
