"""``vaebench ls``: lists, one line each.

It imports neither torch nor Hydra, and pandas only for the progress of the tables.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from vaebench.config import catalogue
from vaebench.config.tables import short_paper
from vaebench.errors import UserError, nearest
from vaebench.formatting import listed
from vaebench.settings.defaults import results_root
from vaebench.verbs import add_overrides, offer, only_keys, streams

HELP = (
    "List tables (the default), data, models, objectives, runs, presets, shipped "
    "models, or the progress of the tables by the shipped results, one line each."
)
KEYS = ("run.results", "data.mirror")
Rows = Sequence[Sequence[object]]


def configure(parser: ArgumentParser) -> None:
    what = parser.add_argument("what", nargs="?", default="tables", help=", ".join(LISTS))
    offer(what, [*LISTS, *(f"{key}=" for key in KEYS)])
    add_overrides(
        parser,
        "run.results=DIR: where the runs are; data.mirror=DIR: a folder with the data files",
        KEYS,
    )


def run(args: Namespace) -> int:
    # In ``vaebench ls run.results=DIR`` no list is named, and the first word is an override.
    what = args.what
    overrides = args.overrides
    if "=" in what:
        what, overrides = "tables", [what, *overrides]

    if what not in LISTS:
        raise UserError(f"cannot list {what!r}: {nearest(what, LISTS)}")

    # The first row is the header.
    rows = LISTS[what](only_keys(overrides, KEYS, "ls"))
    if len(rows) > 1:
        print(listed(rows, streams.width(), 2 if what == "runs" else 1))
    else:
        print(_nothing(what, overrides))
    return 0


def _nothing(what: str, overrides: Sequence[str]) -> str:
    """Say that a list is empty; for runs, in which folder."""
    if what == "shipped":
        return "no shipped models"
    if what != "runs":
        return f"no {what}"

    root = results_root(only_keys(overrides, KEYS, "ls").get("run.results"))
    return f"no runs in {root}" if root.is_dir() else f"no runs: there is no folder {root} yet"


def _tables(_: dict[str, str]) -> Rows:
    head = ("TABLE", "WHERE", "CELLS", "PAPER", "TITLE")
    exhibits = [catalogue.load(name) for name in catalogue.options("table")]
    return [head, *((e.name, e.where, e.extent, short_paper(e.paper), e.title) for e in exhibits)]


def _options(group: str) -> Rows:
    """Return the options of a config group with the first comment line of each file."""
    return [
        (group.upper(), "ABOUT"),
        *((name, catalogue.about(group, name)) for name in catalogue.options(group)),
    ]


def _presets(_: dict[str, str]) -> Rows:
    presets = [catalogue.load_preset(name) for name in catalogue.options("preset")]
    return [("PRESET", "LABEL", "ABOUT"), *((p.name, p.label or "-", p.about) for p in presets)]


def _data(value_of: dict[str, str]) -> Rows:
    from vaebench.verbs.data import listing

    return listing(value_of.get("data.mirror"))


def _runs(value_of: dict[str, str]) -> Rows:
    from vaebench.results.listing import runs
    from vaebench.results.store import Store

    return runs(Store(results_root(value_of.get("run.results"))))


def _shipped(_: dict[str, str]) -> Rows:
    from vaebench.results.listing import shipped

    return shipped()


def _progress(_: dict[str, str]) -> Rows:
    """Return, for each table, how many published values are reproduced, missed and so on."""
    from vaebench.report import progress

    head, *lines = progress.lines(progress.of_shipped())
    return [[name.upper() for name in head], *lines]


LISTS = {
    "tables": _tables,
    "data": _data,
    "models": lambda _: _options("model"),
    "objectives": lambda _: _options("objective"),
    "runs": _runs,
    "presets": _presets,
    "shipped": _shipped,
    "progress": _progress,
}
