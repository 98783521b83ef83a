"""From command-line overrides to a table's cells. The only file that imports Hydra, and only inside functions.

Hydra composes the primary config, in which the chosen options (``model=sbn``, ``eval=iw``), one file each, take the
place of its own, and reads the values (its override grammar); these are then laid over the defaults, each held to the
type of its default. Cells share most of it, so that each file and each override is read once.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from vaebench.config import catalogue
from vaebench.config.cells import (
    GROUPS,
    IDENTITY,
    OF_OPTION,
    PLACES,
    VERSION,
    Cell,
    Preset,
    Table,
    canonical,
    entry_named,
    identity,
)
from vaebench.data import settle
from vaebench.errors import TYPO, UserError, likely, nearest
from vaebench.formatting import shortened
from vaebench.protocol import log_z, signature
from vaebench.rng.seeds import LARGEST_SEED
from vaebench.settings.records import EvalSettings
from vaebench.settings.renamed import unknown
from vaebench.settings.whole_cell import check_cell, kind_of

MAX_SEEDS = 10_000

PATHS = ("run.results", *(f"data.{name}" for name in PLACES))
"""Keys whose value is a path, taken as it stands: ``~``, ``=`` and accents are fine."""

WITH_COMMAS = ("run.partition",)
"""Keys whose value is one text even where it has commas."""


@dataclass(frozen=True)
class Selection:
    """What the arguments of a verb ask for: names of tables, the name of a preset, overrides in their order."""

    tables: tuple[str, ...]
    preset: str
    overrides: tuple[str, ...]


def parse(arguments: Sequence[str]) -> Selection:
    """Read ``table=a,b [preset=p] [key=value ...]``. Raises UserError where a name is unknown or ``=`` is missing."""
    tables: list[str] = []
    preset = "paper"
    overrides: list[str] = []
    for argument in arguments:
        _refuse_prefix(argument)
        key, equals, value = argument.partition("=")
        if argument in catalogue.options("table"):
            raise UserError(f"{argument!r} is not an override: did you mean 'table={argument}'?")
        if not equals or not key.strip():
            raise UserError(f"{argument!r} is not an override: write key=value, such as table=NAME or optim.rate=3e-4")
        if key == "table":
            tables += [name.strip() for name in value.split(",") if name.strip()]
        elif key == "preset":
            preset = value.strip()
        else:
            overrides.append(argument)
    known = catalogue.options("table")
    if not tables:
        keys = [text.partition("=")[0] for text in overrides]
        mistyped = next((key for key in keys if likely(key, ["table"], TYPO)), "")
        hint = f"unknown key {mistyped!r}: did you mean 'table'? " if mistyped else "no table given: "
        raise UserError(f"{hint}write table=NAME; {nearest('', known)}")
    for name in tables:
        if name not in known:
            raise UserError(unknown("table", name, known))
    if preset not in catalogue.options("preset"):
        raise UserError(f"unknown preset {preset!r}: {nearest(preset, catalogue.options('preset'))}")
    return Selection(tuple(dict.fromkeys(tables)), preset, tuple(overrides))


def seeds(table: Table, preset: Preset, given: str | None) -> list[int]:
    """The seeds to run: ``given`` (``0-4``, ``0-2,7``), else the table's for this preset, the preset's, the table's.

    Raises UserError where ``given`` cannot be read.
    """
    if given is None:
        special = table.presets.get(preset.name)
        return list((special and special.seeds) or preset.seeds or table.seeds)
    found: dict[int, None] = {}
    for part in given.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not (first.isascii() and first.isdigit()) or (dash and not (last.isascii() and last.isdigit())):
            raise UserError(f"--seeds {given!r}: write whole numbers and ranges, such as 0-4 or 0,2,5 or 0-2,7")
        low = _seed(first)
        high = _seed(last or first)
        if high < low:
            raise UserError(f"--seeds {given!r}: the range {part.strip()} runs backwards; write {high}-{low}")
        if high > LARGEST_SEED:
            raise UserError(f"--seeds {given!r}: allowed: whole numbers from 0 to {LARGEST_SEED} (2^63 - 1)")
        if high - low + len(found) >= MAX_SEEDS:
            raise UserError(f"--seeds {given!r}: more than {MAX_SEEDS} seeds")
        found.update(dict.fromkeys(range(low, high + 1)))
    return list(found)


def _seed(digits: str) -> int:
    """The number; any with very many digits, of which Python reads no thousands, is just too large."""
    return int(digits) if len(digits) < 40 else LARGEST_SEED + 1


def cells(table: Table, preset: Preset, overrides: Sequence[str] = (), only: Sequence[str] = ()) -> list[Cell]:
    """The trained cells of a table in its order, each with its whole configuration, checked.

    ``only`` picks cells: ``row=SBN 200`` or ``SBN 200`` rows, ``column=NVIL`` columns; several rows are a union, and
    rows and columns intersect. Raises UserError for an unknown row, column, key or option, a value of the wrong type
    or out of range, and a choice that leaves nothing to train.
    """
    for override in overrides:
        _refuse_prefix(override)
        key = override.partition("=")[0]
        if key == "recipe":
            raise UserError(f"{override}: the recipe number belongs to the table; no override changes it")
    if preset.name not in catalogue.presets_of(table):
        raise UserError(
            f"table {table.name} says nothing of preset={preset.name}; "
            f"allowed: {', '.join(catalogue.presets_of(table))}"
        )
    user = [("", text) for text in overrides]
    paper = catalogue.load_preset("paper")
    conf = str(catalogue.conf_dir())
    entries = picked(table, only)
    links = {entry: table.links[entry] for entry in entries if entry in table.links}
    others = {name: catalogue.load_table(name) for name in {there.table for there in links.values()}}
    made = []
    for row, column in entries:
        # An entry from another table has the settings of that one, its recipe and its part of the preset among them.
        there = links.get((row, column))
        place = (others[there.table], there.row, there.column) if there else (table, row, column)
        as_paper = _resolved(_settings(paper, *place), conf)
        as_preset = _resolved(_settings(preset, *place), conf)
        try:
            config = _resolved(_settings(preset, *place, user), conf)
        except _LeftOver as e:
            raise UserError(f"{row} / {column}: {e}") from None
        signature.check_measure(table.measure_of(column), config)
        signature.check_precision(config)
        log_z.check_log_z(config)
        label = _label(config, as_preset, as_paper, place[0].in_its_words(preset).label)
        ours = _protocol(table, column, config)
        papers = _protocol(table, column, as_paper)
        made.append(
            Cell(
                table=table.name,
                row=row,
                column=column,
                preset=preset.name,
                config=copy.deepcopy(config),
                label=label,
                paper_protocol=ours == papers,
                paper_signature=papers[0],
                published=table.rows[row].published.get(column),
                measure=table.measure_of(column),
                changed=_of_training(overrides) if "modified" in label else (),
            )
        )
    return made


def section(group: str, option: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of one option by itself, ``config[group]`` of a cell that chose it.

    Args:
        group: One of GROUPS.
        option: Its name, such as 'digits'.
        overrides: Settings of it, ``data.held_out=100``.

    Raises:
        UserError: If the option, a key or a value is refused.
    """
    for text in overrides:
        _refuse_prefix(text)
    settings = [f"{group}={option}", *overrides]
    resolved = _resolved(tuple(("", text) for text in settings), str(catalogue.conf_dir()))
    return copy.deepcopy(resolved[group])


def _of_training(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that may change what is trained."""
    groups = [text.partition("=")[0].partition(".")[0] for text in overrides]
    return tuple(text for text, group in zip(overrides, groups, strict=True) if group in IDENTITY)


def reevaluated(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The configuration of a stored run with other evaluation or execution settings.

    ``overrides``: ``eval=OPTION``, ``eval.KEY=VALUE``, ``run.KEY=VALUE`` or ``data.mirror=DIR``. Raises UserError for
    anything else: what was trained cannot be changed afterwards.
    """
    config = copy.deepcopy(config)
    values = []
    for text in overrides:
        _refuse_prefix(text)
        key, _, value = text.partition("=")
        if key == "eval":
            config["eval"] = _option("eval", _known_option("", "eval", value), str(catalogue.conf_dir()))
        elif key.startswith(("eval.", "run.")) or key == "data.mirror":
            _fill_in(config["eval"], key)
            values.append(("", key, text))
        else:
            raise UserError(
                f"{text}: a stored run keeps its training; allowed: eval=NAME, eval.KEY=..., run.KEY=..., "
                "data.mirror=FOLDER, and data=NAME with its settings for other data"
            )
    config = _overlay(config, values)
    check_cell(config)
    signature.check_precision(config)
    return config


def of_other_data(overrides: Sequence[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """What overrides of a stored run say of other data to evaluate it on, and the overrides that are left.

    Args:
        overrides: Perhaps with ``data=NAME``, and then settings of it, ``data.KEY=VALUE``.

    Returns:
        The ``data`` settings of the others, None without ``data=NAME``; the rest. A ``data.mirror`` is for both.

    Raises:
        UserError: If the name, a key or a value is refused.
    """
    keys = [text.partition("=")[0] for text in overrides]
    if "data" not in keys:
        return None, list(overrides)
    name = next(text.partition("=")[2] for text in reversed(overrides) if text.startswith("data="))
    settings = [text for text, key in zip(overrides, keys, strict=True) if key.startswith("data.")]
    rest = [
        text
        for text, key in zip(overrides, keys, strict=True)
        if key != "data" and (key == "data.mirror" or not key.startswith("data."))
    ]
    return section("data", name, settings), rest


def _fill_in(settings: dict[str, Any], key: str) -> None:
    """Give ``eval`` settings of an earlier version the setting ``key``, ``eval.NAME``, if their option has it now."""
    group, _, name = key.partition(".")
    if group == "eval" and name not in settings and settings["name"] in catalogue.options("eval"):
        now = _option("eval", settings["name"], str(catalogue.conf_dir()))
        if name in now:
            settings[name] = getattr(EvalSettings, name)


def _label(config: dict[str, Any], as_preset: dict[str, Any], as_paper: dict[str, Any], label: str) -> str:
    """'' for what the paper trains, else the preset's label, 'modified' if the user's overrides change it, or both."""
    trained, by_preset, by_paper = (canonical(identity(c)) for c in (config, as_preset, as_paper))
    if trained == by_paper:
        return ""
    parts = [label] if label and by_preset != by_paper else []
    if trained != by_preset:
        parts.append("modified")
    return ", ".join(parts)


def _protocol(table: Table, column: str, config: dict[str, Any]) -> tuple[str, str]:
    """What must be the paper's for a verdict: how the column's measure is taken, and every setting of the data."""
    measure = table.measure_of(column)
    how = signature.signature(config, measure, signature.samples_of(config, measure))
    return how, canonical(identity(config)["data"])


def picked(table: Table, only: Sequence[str]) -> list[tuple[str, str]]:
    """(row, column) of the trained entries that ``only`` names, all where it is empty; see ``cells``."""
    rows: set[str] = set()
    columns: set[str] = set()
    for text in only:
        kind, name = entry_named(text, table.rows)
        known = table.rows if kind == "row" else table.columns
        if name not in known:
            raise UserError(f"table {table.name} has no {kind} {name!r}: {nearest(name, known)}")
        (rows if kind == "row" else columns).add(name)
    pairs = [(r, c) for r, c in table.trained() if (not rows or r in rows) and (not columns or c in columns)]
    if not pairs:
        chosen = ", ".join(only) or "its rows"
        raise UserError(f"table {table.name}: nothing is trained for {chosen}; see: vaebench show table={table.name}")
    return pairs


# ---------------------------------------------------------------------------------------------------- one cell

Setting = tuple[str, str]
"""(where it stands, with a colon; '' for the user's own; the override)"""


def _settings(preset: Preset, table: Table, row: str, column: str, user: Sequence[Setting] = ()) -> tuple[Setting, ...]:
    """Every override of a cell, the later ones stronger."""
    at = f"table {table.name}: "

    def all_of() -> Iterator[Setting]:
        def tag(where: str, texts: Sequence[str]) -> Iterator[Setting]:
            return ((where, text) for text in texts)

        yield from tag(f"{at}base: ", table.base)
        yield from tag(f"preset {preset.name}: ", preset.set)
        yield from tag(f"{at}columns.{column}: ", table.columns[column].set)
        yield from tag(f"{at}rows.{row}: ", table.rows[row].set)
        yield from tag(f"{at}rows.{row}.entries.{column}: ", table.rows[row].entries.get(column, ()))
        special = table.presets.get(preset.name)
        if special:
            inside = f"{at}presets.{preset.name}."
            yield from tag(f"{inside}set: ", special.set)
            yield from tag(f"{inside}columns.{column}: ", special.columns.get(column, ()))
            for name in ("*", column):
                yield from tag(f"{inside}rows.{row}.{name}: ", special.rows.get(row, {}).get(name, ()))
        yield from user
        yield at, f"recipe={table.recipe}"

    return tuple(all_of())


@lru_cache(maxsize=4096)
def _resolved(settings: tuple[Setting, ...], conf: str) -> dict[str, Any]:
    """The configuration that settings make, checked. It is shared: copied before it is given away, never changed."""
    choices: dict[str, str] = {}
    own: dict[str, str] = {}
    values: list[tuple[str, str, str]] = []
    for where, text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{where}{text!r} is not an override: write key=value")
        if key in GROUPS:
            choices[key] = _known_option(where, key, value)
            if where:
                own[key] = choices[key]
        else:
            values.append((where, key, text))
    for group, option in choices.items():
        _refuse_left_over(group, option, own.get(group) or _primary(conf)[group]["name"], values, conf)
    config = _overlay(_defaults(tuple(sorted(choices.items())), conf), values)
    check_cell(config)
    config["data"] = settle(config["data"])
    return config


class _LeftOver(UserError):
    """An option that the user chose lacks what the table sets of its own option."""


def _refuse_left_over(group: str, chosen: str, own: str, values: Sequence[tuple[str, str, str]], conf: str) -> None:
    """Refuse an option that has not all settings which table and preset give to their own option in its place.

    Args:
        group: Of the option.
        chosen: By the user.
        own: What there would be without the user.
        values: Where it stands, key and override of every setting; '' for the user's own.
        conf: The folder of the options.

    Raises:
        _LeftOver: Naming the first such setting, where it stands, and the options that have them all.
    """
    if chosen == own:
        return
    of_own = _keys(group, own, conf)
    there = {key: where.removesuffix(": ") for where, key, _ in values if where and key in of_own}
    lacking = [key for key in there if key not in _keys(group, chosen, conf)]
    if lacking:
        able = [name for name in catalogue.options(group) if there.keys() <= _keys(group, name, conf)]
        raise _LeftOver(
            f"{group}={chosen} has no {lacking[0]}, which {there[lacking[0]]} sets for {group}={own}; "
            f"options with all that is set here: {', '.join(able)}"
        )


def _keys(group: str, option: str, conf: str) -> set[str]:
    """The keys of an option, such as ``objective.samples``."""
    return {key for key, _ in _leaves(_option(group, option, conf), f"{group}.")}


MOVED = {"run.compile": "write run.engine=plain for off, run.engine=compiled for on"}
"""Keys that there were, and what stands in their place."""


@lru_cache(maxsize=256)
def _defaults(choices: tuple[tuple[str, str], ...], conf: str) -> dict[str, Any]:
    """The primary config with the options chosen, (group, name) each, in the place of its own; shared, not changed."""
    return {**_primary(conf), **{group: _option(group, name, conf) for group, name in choices}}


@lru_cache(maxsize=16)
def _primary(conf: str) -> dict[str, Any]:
    """What Hydra composes without a choice."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    try:
        with initialize_config_dir(conf, version_base="1.3"):
            return cast(dict[str, Any], OmegaConf.to_container(compose("cell")))
    except HydraException as e:
        raise UserError(f"cannot compose {conf}: {' '.join(str(e).split())}") from None


@lru_cache(maxsize=256)
def _option(group: str, name: str, conf: str) -> dict[str, Any]:
    """The section of one option, as Hydra would compose it; it stands in one file, without a defaults list."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    path = Path(conf) / group / f"{name}.yaml"
    try:
        section = OmegaConf.to_container(OmegaConf.load(path))  # reads 1e-4 as a number, which plain YAML does not
    except (YAMLError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(e).split())}") from None
    if "${" in str(section):
        raise UserError(f"{path}: interpolations have no part here; write the values themselves")
    if not isinstance(section, dict) or "defaults" in section:
        raise UserError(f"{path}: expected the settings of {group}={name}, all in this file (no defaults list)")
    return cast(dict[str, Any], section)


def _known_option(where: str, group: str, value: str) -> str:
    name = value.strip()
    if name not in catalogue.options(group):
        raise UserError(where + unknown(group, name, catalogue.options(group)))
    return name


def _overlay(defaults: dict[str, Any], values: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """The defaults with each (where, key, override) laid over, the last one of a key as its type."""
    known = dict(_leaves(defaults))
    config = copy.deepcopy(defaults)
    last: dict[str, tuple[Any, str]] = {}
    for where, key, text in values:
        _known_key(where, key, known, defaults)
        last[key] = _read(where, key, text), where + text

    for key, (value, text) in last.items():
        section, name = _place(config, key)
        section[name] = kind_of(key, known[key]).check(key, value, text)
    return config


def _place(config: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The mapping in which a dotted key stands, and its name there."""
    group, _, name = key.rpartition(".")
    return (config[group] if group else config), name


def _known_key(where: str, key: str, known: dict[str, Any], defaults: dict[str, Any]) -> None:
    group = key.partition(".")[0]
    if group == "hydra":
        raise UserError(f"{where}{key}: Hydra's own settings have no part here; set keys of a cell, such as optim.rate")
    if key in known:
        if group in GROUPS and key == f"{group}.name":
            raise UserError(f"{where}{key} follows from the chosen option: write {group}=NAME")
        if key == f"{group}.{VERSION}":
            raise UserError(f"{where}{key} says what the code computes; no override changes it")
        return
    if key in MOVED:
        raise UserError(f"{where}{key} is gone: {MOVED[key]}")
    settings = [k for k in known if k.rpartition(".")[2] not in OF_OPTION]
    of_group = [k for k in settings if k.partition(".")[0] == group]
    if key in defaults:
        raise UserError(f"{where}{key} has keys of its own, set one at a time: {', '.join(of_group)}")
    option = f" of {group}={defaults[group]['name']}" if group in GROUPS else ""
    if of_group:
        raise UserError(f"{where}unknown key {key!r}{option}: {nearest(key, of_group)}")
    # The group itself is wrong or left out: the last part of the key is the best clue.
    same_end = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    if same_end:
        raise UserError(f"{where}unknown key {key!r}: did you mean {' or '.join(map(repr, same_end))}?")
    words = ("table", "preset", *GROUPS)
    hint = likely(key, words, TYPO) or likely(key, settings)
    raise UserError(f"{where}unknown key {key!r}: {hint.strip() or 'allowed groups: ' + ', '.join(defaults)}")


def _read(where: str, key: str, text: str) -> Any:
    """The value of one override by Hydra's grammar, or a path; a folder of the name null is ./null."""
    raw = text.partition("=")[2]
    if key in PATHS:
        return None if raw == "null" else os.path.expanduser(raw)
    if "${" in raw:
        raise UserError(f"{where}{text}: interpolations have no part here; write the value itself")
    from hydra.errors import HydraException

    try:
        override = _parsed(text)
    except HydraException as e:
        why = " ".join(str(e).split()).partition(" expecting {")[0]
        raise UserError(f"{where}cannot read the value {raw!r} of {key}: {why}") from None
    except (ValueError, RecursionError):  # thousands of digits, thousands of brackets
        raise UserError(f"{where}cannot read the value {shortened(raw)!r} of {key}: too long") from None
    if override.is_sweep_override():
        if key in WITH_COMMAS:
            return raw
        raise UserError(f"{where}{text}: one value each, please; a list is written {key}=[1,2]")
    return override.value()


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """Hydra's reading of an override: tables repeat few of them in many cells. HydraException where it has none.

    An equals sign in a value stands for itself (``run.sbatch=[account=NAME]``), which Hydra would have quoted.
    """
    key, equals, raw = text.partition("=")
    plain = not any(mark in raw for mark in "'\"\\")
    return _parser().parse_override(key + equals + (raw.replace("=", "\\=") if plain else raw))


@lru_cache(maxsize=1)
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _refuse_prefix(argument: str) -> None:
    if argument.startswith(("+", "~")):
        raise UserError(
            f"{argument}: the prefixes +, ++ and ~ have no part here; write key=value, and null for nothing"
        )
    if argument.partition("=")[0].strip().startswith("hydra."):
        raise UserError(f"{argument}: Hydra's own settings have no part here; set keys of a cell, such as optim.rate")
