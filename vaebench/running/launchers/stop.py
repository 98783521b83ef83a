"""The one stop switch of a command: the first Ctrl-C or SIGTERM saves, the second one ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

STOPPING = "vaebench: saving the state and stopping; once more to end at once\n"


class Stop:
    """Set by the first Ctrl-C or SIGTERM: everybody saves and ends. A second one raises KeyboardInterrupt.

    Args:
        text: What is told at the first.
    """

    def __init__(self, text: str = STOPPING) -> None:
        self.asked = False
        self.text = text

    def __call__(self) -> bool:
        return self.asked

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while the block runs; only the main thread of a process can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            with contextlib.suppress(OSError):
                text = ("\n" if os.isatty(2) else "") + self.text
                os.write(2, text.encode())  # print() may be what was interrupted

        old = {n: signal.signal(n, handle) for n in SIGNALS}
        try:
            yield
        finally:
            for n, handler in old.items():
                signal.signal(n, handler)
