"""The one stop switch of a command: the first Ctrl-C or SIGTERM saves, the second one ends at once.

The end of the time that the command was given also saves.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

STOPPING = "vaebench: saving the state and stopping; once more to end at once\n"
LATE = "vaebench: the time is over: saving the state and stopping\n"


class Stop:
    """Set by the first Ctrl-C or SIGTERM; then all work saves its state and ends.

    A second Ctrl-C or SIGTERM raises KeyboardInterrupt.

    Args:
        text: What is printed at the first signal.
        until: When the time is over, as ``time.monotonic`` counts, which stops the work too.

    Attributes:
        asked: Whether the user has asked to stop.
        late: Whether the time was over first.
    """

    def __init__(self, text: str = STOPPING, until: float = math.inf) -> None:
        self.asked = False
        self.late = False
        self.text = text
        self.until = until

    def __call__(self) -> bool:
        if not (self.asked or self.late) and time.monotonic() >= self.until:
            self.late = True
            _tell(LATE)
        return self.asked or self.late

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while the block runs; only the main thread of a process can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        # The first signal only sets the switch. The work looks at it, and ends where its state can
        # be saved.
        def handle(number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            _tell(self.text)

        previous = {signum: signal.signal(signum, handle) for signum in SIGNALS}
        try:
            yield
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        before = "\n" if os.isatty(2) else ""
        os.write(2, (before + text).encode())  # print() itself may have been interrupted
