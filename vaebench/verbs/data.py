"""``vaebench data ls | get NAME... | verify [NAME...]``: the data files on this machine."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from vaebench.errors import DataError, UserError, nearest
from vaebench.formatting import listed
from vaebench.verbs import completes, offer, only_keys, streams

HELP = (
    "List the data sets, download and prepare them, or hold every local file against its SHA-256."
)
ACTIONS = ("ls", "get", "verify")


def configure(parser: ArgumentParser) -> None:
    offer(parser.add_argument("action", help=", ".join(ACTIONS)), ACTIONS)
    names = parser.add_argument(
        "names", nargs="*", metavar="NAME", help="data sets; and data.mirror=DIR, a folder of files"
    )
    completes(names, _names)


def _names(prefix: str, **_: object) -> list[str]:
    from vaebench.data import DATA

    return [word for word in (*DATA, "data.mirror=") if word.startswith(prefix)]


def run(args: Namespace) -> int:
    from vaebench.data import DATA

    if args.action not in ACTIONS:
        raise UserError(f"unknown action {args.action!r}: {nearest(args.action, ACTIONS)}")

    mirror = only_keys([a for a in args.names if "=" in a], ["data.mirror"], "data").get(
        "data.mirror"
    )

    names = [a for a in args.names if "=" not in a]
    for name in names:
        if name not in DATA:
            raise UserError(f"unknown data set {name!r}: {nearest(name, DATA)}")

    if args.action == "ls":
        print(listed(listing(mirror, names), streams.width()))
        return 0

    if args.action == "get" and not names:
        raise UserError(f"data get: name the data sets to get; {nearest('', DATA)}")
    if args.action == "get" and mirror is not None and not Path(mirror).expanduser().is_dir():
        raise UserError(f"data.mirror={mirror}: not a folder")

    if args.action == "verify":
        warn_of_mirror(mirror)

    # Every data set is tried, and the worst exit code counts.
    act = _get if args.action == "get" else _verify
    return max([act(name, mirror, bool(names)) for name in names or DATA])


def warn_of_mirror(mirror: str | None) -> None:
    """Warn on stderr if the mirror that is named, here or in the environment, does not exist."""
    from vaebench.data.files.fetch import mirror_root

    root = mirror_root(mirror)
    if root is not None and not root.is_dir():
        print(f"vaebench: warning: the mirror {root} is not a folder", file=sys.stderr)


def listing(mirror: str | None, names: list[str] | None = None) -> list[tuple[str, ...]]:
    """Return a header and one line for each data set (``names``, or all).

    If the mirror does not exist, a warning is printed on stderr.
    """
    from vaebench import data
    from vaebench.data.inventory import lines

    warn_of_mirror(mirror)
    return lines(
        [status for status in data.status(mirror=mirror) if not names or status.name in names]
    )


def _get(name: str, mirror: str | None, _: bool) -> int:
    """Fetch and prepare one data set, and return the exit code.

    A failure is a line on stderr, so that the others are still fetched.
    """
    from vaebench import data

    try:
        status = data.get(name, mirror=mirror)
    except DataError as e:
        print(f"vaebench: {e}", file=sys.stderr)
        return 1
    print(f"{name}: ready" + (f" in {status.path}" if status.path is not None else ""))
    return 0


def _verify(name: str, mirror: str | None, asked: bool) -> int:
    """Print the checks of one data set, and return the exit code.

    It is 1 if a file is bad, or if the data set was named and none of its files is here.
    """
    from vaebench import data

    try:
        checks = data.verify(name, mirror=mirror)
    except DataError as e:
        print(f"{name}: bad: {e}")
        return 1

    for check in checks:
        print(check)
    states = [check.state for check in checks]
    return int("bad" in states or (asked and set(states) == {"absent"}))
