"""Taking one file out of a .tar.gz that comes from outside and is never trusted.

Nothing in the archive decides where anything is written.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path, PurePosixPath

from vaebench.data.files.content import BLOCK, UNREADABLE

LARGEST = 1 << 30
"""Most bytes of one member of an archive."""


def take(archive: Path, name: str, to: Path) -> str:
    """Copy the one regular member called ``name`` into the new file ``to``.

    Its folder within the archive does not matter. Links, devices and other members are skipped.

    Args:
        archive: The .tar.gz file.
        name: File name of the member.
        to: The file to write; it must not exist.

    Returns:
        '' if the member was copied, else what is wrong with the archive.

    Raises:
        OSError: If ``to`` cannot be written.
    """
    try:
        compressed = archive.open("rb")
    except OSError as e:
        return f"cannot be read ({e.strerror or e})"

    try:
        with compressed, tarfile.open(fileobj=compressed, mode="r:gz") as tar:
            # Only the last part of a member's name is compared, and it never becomes a path here.
            members = [m for m in tar if m.isreg() and PurePosixPath(m.name).name == name]
            if len(members) != 1:
                return f"{len(members)} members called {name}, expected one"
            if members[0].size > LARGEST:
                return f"{name} has {members[0].size} bytes, expected {LARGEST} at most"
            with tar.extractfile(members[0]) as content, to.open("xb") as out:  # type: ignore[union-attr]
                shutil.copyfileobj(content, out, BLOCK)
    except (tarfile.TarError, *UNREADABLE) as e:
        return f"not a whole tar.gz archive ({' '.join(str(e).split())})"
    return ""
