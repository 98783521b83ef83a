"""The command ``vaebench``, and ``python -m vaebench``.

Ctrl-C or SIGTERM prints one line and no traceback, at any moment.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command of ``sys.argv`` and return its exit code.

    The top of this file only imports what Python has already loaded, because Ctrl-C during an
    import prints a traceback.
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
        except OSError:  # stderr is closed or full: the exit code is all that is left to say it
            return code
    return code


def _interrupted_by_sigterm() -> None:
    """Make SIGTERM act like Ctrl-C, unless the process was started with SIGTERM ignored."""
    import signal

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _end_with(code: int) -> None:
    """Let a further signal end the process with the command's own exit code.

    All work is done by now; only the interpreter still has to shut down.
    """
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))


if __name__ == "__main__":
    sys.exit(main())
