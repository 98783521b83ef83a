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
    skipped = moved = 0

    # A list, because renaming changes the folders that ``outdated`` looks through.
    for old in list(outdated(store)):
        reason = "" if args.dry_run else rekey(store, old)
        if reason:
            print(f"vaebench: {old.folder} is left as it is: {reason}", file=sys.stderr)
            skipped += 1
            continue
        print(f"{old.folder.parent.name}/seed-{old.seed} -> {old.key}/seed-{old.seed}")
        moved += 1

    print(
        f"{moved} run{'' if moved == 1 else 's'} "
        f"{'would be ' if args.dry_run else ''}renamed in {store.root}"
    )
    return 1 if skipped else 0
