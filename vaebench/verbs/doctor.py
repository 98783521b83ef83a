"""``vaebench doctor``: check all that a run needs. One line for each: ok, warn or FAIL."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vaebench.settings.defaults import results_root
from vaebench.verbs import add_overrides, only_keys

HELP = (
    "Check Python, PyTorch, the compiler, cores, memory, disk space and data. Exits with "
    "1 if something FAILs."
)
KEYS = ("run.results", "data.mirror")


def configure(parser: ArgumentParser) -> None:
    add_overrides(
        parser,
        "run.results=DIR: where runs are kept; data.mirror=DIR: a folder with the data files",
        KEYS,
    )


def run(args: Namespace) -> int:
    from vaebench.running.installation import FAIL, lines

    value_of = only_keys(args.overrides, KEYS, "doctor")
    failed = False
    for level, text in lines(
        lambda: results_root(value_of.get("run.results")), value_of.get("data.mirror")
    ):
        print(f"{level:<4}  {text}", flush=True)
        failed = failed or level == FAIL
    return int(failed)
