"""One file out of a .tar.gz from outside, which is never trusted.

Nothing in it decides where anything is written.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from vaebench.data.files.content import BLOCK, UNREADABLE

LARGEST = 1 << 30
"""Most bytes of a member."""


def take(archive: Path, name: str, to: Path) -> str:
    """Copy the one regular member called ``name`` into the new file ``to``.

    In whatever folder of the archive it is. Links, devices and other members are passed over. ''
    where that was done, else what is wrong with the archive. Raises OSError where ``to`` cannot be
    written.
    """
    try:
        file = archive.open("rb")
    except OSError as e:
        return f"cannot be read ({e.strerror or e})"

    try:
        with file, tarfile.open(fileobj=file, mode="r:gz") as tar:
            found = [m for m in tar if m.isreg() and PurePosixPath(m.name).name == name]
            if len(found) != 1:
                return f"{len(found)} members called {name}, expected one"
            if found[0].size > LARGEST:
                return f"{name} has {found[0].size} bytes, expected {LARGEST} at most"
            with tar.extractfile(found[0]) as content, to.open("xb") as out:  # type: ignore[union-attr]
                shutil.copyfileobj(content, out, BLOCK)
    except (tarfile.TarError, *UNREADABLE) as e:
        return f"not a whole tar.gz archive ({' '.join(str(e).split())})"
    return ""
