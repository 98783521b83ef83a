"""``python -m vaebench`` is the command ``vaebench``."""

from __future__ import annotations

import sys

from vaebench.cli import main

if __name__ == "__main__":
    sys.exit(main())
