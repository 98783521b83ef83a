"""``vaebench show table=NAME``: the content of a table's file, without composing it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vaebench.config import catalogue
from vaebench.report import described
from vaebench.verbs import add_overrides, only_keys

HELP = (
    "Show a table: its rows and recipe, the published numbers, the presets, the "
    "margin and the ledger."
)


def configure(parser: ArgumentParser) -> None:
    add_overrides(parser, "table=NAME, or table=A,B")


def run(args: Namespace) -> int:
    from vaebench.config.selection import parse

    only_keys([a for a in args.overrides if "=" in a], ["table"], "show")
    pages = [described.page(catalogue.load(name)) for name in parse(args.overrides).tables]
    print("\n\n".join(pages))
    return 0
