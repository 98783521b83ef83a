"""``vaebench ls``: what there is, one line each. Imports neither torch nor Hydra nor pandas."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vaebench import catalogue
from vaebench.errors import UserError, nearest
from vaebench.verbs import add_overrides, aligned, offer, only_keys, results_root

HELP = "List tables (the default), data, models, objectives, runs or presets, one line each."
KEYS = ("run.results", "data.mirror")


def configure(parser: ArgumentParser) -> None:
    what = parser.add_argument("what", nargs="?", default="tables", help=", ".join(LISTS))
    offer(what, [*LISTS, *(f"{key}=" for key in KEYS)])
    add_overrides(parser, "run.results=DIR: where the runs are; data.mirror=DIR: a folder with the data files", KEYS)


def run(args: Namespace) -> int:
    what, overrides = args.what, args.overrides
    if "=" in what:
        what, overrides = "tables", [what, *overrides]
    if what not in LISTS:
        raise UserError(f"cannot list {what!r}: {nearest(what, LISTS)}")
    rows = LISTS[what](only_keys(overrides, KEYS, "ls"))
    if len(rows) > 1:
        print(aligned(rows))
    else:
        print(f"no {what}")
    return 0


def _tables(_: dict[str, str]) -> list[tuple]:
    tables = [catalogue.load_table(name) for name in catalogue.options("table")]
    head = ("TABLE", "PAPER", "WHERE", "CELLS", "TITLE")
    return [head, *((t.name, t.paper, t.where, "drawn" if t.drawn else len(t.trained()), t.title) for t in tables)]


def _options(group: str) -> list[tuple]:
    """The options of a config group with the first comment line of each file."""
    rows = [(group.upper(), "ABOUT")]
    for name in catalogue.options(group):
        first = (catalogue.conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8").split("\n", 1)[0]
        rows.append((name, first.lstrip("# ") if first.startswith("#") else ""))
    return rows


def _presets(_: dict[str, str]) -> list[tuple]:
    presets = [catalogue.load_preset(name) for name in catalogue.options("preset")]
    return [("PRESET", "LABEL", "ABOUT"), *((p.name, p.label or "-", p.about) for p in presets)]


def _data(given: dict[str, str]) -> list[tuple]:
    from vaebench.verbs.data import listing

    return listing(given.get("data.mirror"))


def _runs(given: dict[str, str]) -> list[tuple]:
    from vaebench.store import Store

    rows = [("RUN", "SEED", "STATUS", "UPDATES", "MEASURES")]
    for result in Store(results_root(given.get("run.results"))).runs():
        measures = [f"{m['name']} {_number(m)}" for m in result.get("measures") or [] if isinstance(m, dict)]
        updates = result.get("updates")
        rows.append(
            (
                result["key"],
                result["seed"],
                result.get("status") or "?",
                "-" if updates is None else f"{updates:,}",
                ", ".join(measures) or result.get("reason") or "-",
            )
        )
    return rows


def _number(measure: dict) -> str:
    value, error = measure.get("value"), measure.get("error")
    if not isinstance(value, (int, float)):
        return "?"
    return f"{value:.2f}" + (f"({error:.2f})" if isinstance(error, (int, float)) else "")


LISTS = {
    "tables": _tables,
    "data": _data,
    "models": lambda _: _options("model"),
    "objectives": lambda _: _options("objective"),
    "runs": _runs,
    "presets": _presets,
}
