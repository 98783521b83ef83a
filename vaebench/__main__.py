"""The command ``vaebench``, and ``python -m vaebench``.

Ctrl-C, as SIGTERM, is one line at any moment.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command of ``sys.argv``; returns its exit code.

    Nothing is imported above but what Python has loaded itself, because Ctrl-C during an
    import is a traceback.
    """
    try:
        _interrupted_by_sigterm()
        from vaebench import cli

        code = cli.main()
        _end_with(code)
    except KeyboardInterrupt:
        code = 130
        try:
            os.write(2, b"vaebench: interrupted\n")
        except OSError:  # closed or full: the code says it
            return code
    return code


def _interrupted_by_sigterm() -> None:
    """Let SIGTERM be what Ctrl-C is, unless whoever started the command lets it be ignored."""
    import signal

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _end_with(code: int) -> None:
    """Let a signal end the process with the command's code.

    All is done, only the interpreter's own end is to come.
    """
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))


if __name__ == "__main__":
    sys.exit(main())
