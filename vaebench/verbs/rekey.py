"""``vaebench rekey``: give run folders of earlier versions their present names."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from vaebench.settings.defaults import results_root
from vaebench.verbs import add_overrides, only_keys

HELP = (
    "Rename run folders that an earlier version of vaebench named by other rules or other names "
    "of options.\n"
    "Nothing is trained, evaluated or thrown away; after an interruption the same command goes on."
)
KEYS = ("run.results",)


def configure(parser: ArgumentParser) -> None:
    add_overrides(parser, "run.results=DIR: where the runs are", KEYS)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be renamed")


def run(args: Namespace) -> int:
    from vaebench.results.rekey import outdated, rekey
    from vaebench.results.store import Store

    store = Store(results_root(only_keys(args.overrides, KEYS, "rekey").get("run.results")))
    left = moved = 0
    for found in list(outdated(store)):
        why = "" if args.dry_run else rekey(store, found)
        if why:
            print(f"vaebench: {found.folder} is left as it is: {why}", file=sys.stderr)
            left += 1
            continue
        print(f"{found.folder.parent.name}/seed-{found.seed} -> {found.key}/seed-{found.seed}")
        moved += 1

    print(
        f"{moved} run{'' if moved == 1 else 's'} "
        f"{'would be ' if args.dry_run else ''}renamed in {store.root}"
    )
    return 1 if left else 0
