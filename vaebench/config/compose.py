"""From the overrides of a table, a preset and the user to cells.

Each cell has its whole configuration, checked. ``options`` reads the chosen options (``model=sbn``,
``eval=iw``), ``values`` lays the values over them. Only these two import Hydra, and only inside
functions.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from vaebench.config import catalogue
from vaebench.config.cells import GROUPS, IDENTITY, Cell, canonical, identity
from vaebench.config.options import known_option, primary_sections, section_of, sections
from vaebench.config.selection import picked
from vaebench.config.tables import Preset, Table
from vaebench.config.values import NotOfOption, leaves, overlay, refuse_prefix
from vaebench.data import settle
from vaebench.errors import UserError
from vaebench.protocol import log_z, signature
from vaebench.settings import defaults
from vaebench.settings.records import SECTIONS
from vaebench.settings.whole_cell import check_cell


def cells(
    table: Table, preset: Preset, overrides: Sequence[str] = (), only: Sequence[str] = ()
) -> list[Cell]:
    """Return the trained cells of a table in its order, each with its whole configuration, checked.

    Args:
        table: The table.
        preset: How much is run.
        overrides: The user's settings, ``key=value``.
        only: Which cells: ``row=SBN 200`` or ``SBN 200`` chooses a row, ``column=NVIL`` a column.
            Several rows, or columns, are a union; rows and columns intersect. Empty: all.

    Raises:
        UserError: If a row, column, key or option is unknown, a value has the wrong type or is out
            of range, or nothing to train is left.
    """
    for override in overrides:
        refuse_prefix(override)
        key = override.partition("=")[0]
        if key == "recipe":
            raise UserError(
                f"{override}: the recipe number belongs to the table; no override changes it"
            )

    if preset.name not in catalogue.presets_of(table):
        raise UserError(
            f"table {table.name} says nothing of preset={preset.name}; "
            f"allowed: {', '.join(catalogue.presets_of(table))}"
        )

    user = [("", text) for text in overrides]
    paper = catalogue.load_preset("paper")
    resolved = _Resolver()

    # An entry that another table trains has all settings of that table, including its recipe
    # number and its part of the preset.
    entries = picked(table, only)
    links = {entry: table.links[entry] for entry in entries if entry in table.links}
    other_tables = {
        name: catalogue.load_table(name) for name in {link.table for link in links.values()}
    }

    made = []
    for row, column in entries:
        link = links.get((row, column))

        # Table, row and column by whose settings the entry is trained.
        place = (other_tables[link.table], link.row, link.column) if link else (table, row, column)

        # Three configurations, whose differences make the label and decide whether the paper's
        # number is comparable: the paper's, the preset's, and that with the user's overrides.
        as_paper = resolved(_settings(paper, *place))
        as_preset = resolved(_settings(preset, *place))
        try:
            config = resolved(_settings(preset, *place, user))
        except _LeftOver as e:
            raise UserError(f"{row} / {column}: {e}") from None
        except NotOfOption as e:
            prefix = f"{row} / {column}: " if len(entries) > 1 else ""
            raise UserError(f"{prefix}{e}") from None

        signature.check_measure(table.measure_of(column), config)
        _check_evaluation(config)
        log_z.check_validation(config)

        label = _label(config, as_preset, as_paper, place[0].in_its_words(preset).label)
        protocol = _protocol(table, column, config)
        protocol_of_paper = _protocol(table, column, as_paper)
        made.append(
            Cell(
                table=table.name,
                row=row,
                column=column,
                preset=preset.name,
                config=copy.deepcopy(config),  # the resolver's is shared
                label=label,
                paper_protocol=protocol == protocol_of_paper,
                paper_signature=protocol_of_paper[0],
                published=table.rows[row].published.get(column),
                measure=table.measure_of(column),
                changed=_of_training(overrides) if "modified" in label else (),
            )
        )
    return made


def section(group: str, option: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings of one option, which are ``config[group]`` of a cell that chose it.

    Args:
        group: One of GROUPS.
        option: Its name, such as 'digits'.
        overrides: Settings of the option, such as ``data.held_out=100``.

    Raises:
        UserError: If the option, a key or a value is refused.
    """
    for text in overrides:
        refuse_prefix(text)

    # Other groups have their default options; only this one is returned.
    settings = [f"{group}={option}", *overrides]
    config = _Resolver()(tuple(("", text) for text in settings))
    return copy.deepcopy(config[group])


def _of_training(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that may change what is trained."""
    groups = [text.partition("=")[0].partition(".")[0] for text in overrides]
    return tuple(text for text, group in zip(overrides, groups, strict=True) if group in IDENTITY)


def reevaluated(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of a stored run with other evaluation or execution settings.

    ``overrides`` are ``eval=OPTION``, ``eval.KEY=VALUE``, ``run.KEY=VALUE`` or ``data.mirror=DIR``.
    Raises UserError for anything else, because what was trained cannot be changed afterwards.
    """
    config = copy.deepcopy(config)
    values = []  # (where from, key, override); '' is the user

    for text in overrides:
        refuse_prefix(text)
        key, _, value = text.partition("=")
        if key == "eval":
            config["eval"] = section_of(
                "eval", known_option("", "eval", value), str(catalogue.conf_dir())
            )
        elif key.startswith(("eval.", "run.")) or key == "data.mirror":
            _fill_in(config, key)
            values.append(("", key, text))
        else:
            raise UserError(
                f"{text}: a stored run keeps its training; allowed: eval=NAME, eval.KEY=..., "
                "run.KEY=..., data.mirror=FOLDER, and data=NAME with its settings for other data"
            )

    config = overlay(config, values)
    check_cell(config)
    _check_evaluation(config)
    return config


def _check_evaluation(config: dict[str, Any]) -> None:
    """Refuse settings of ``eval`` that the model of a cell does not allow."""
    signature.check_precision(config)
    log_z.check_log_z(config)


def of_other_data(overrides: Sequence[str]) -> tuple[dict[str, Any] | None, list[str]]:
    """Separate overrides that choose other data, to evaluate a stored run on, from all others.

    Args:
        overrides: Perhaps with ``data=NAME``, and then settings of it, ``data.KEY=VALUE``.

    Returns:
        The ``data`` settings of the other data, or None without ``data=NAME``; and the remaining
        overrides. A ``data.mirror`` is part of both.

    Raises:
        UserError: If the name, a key or a value is refused.
    """
    keys = [text.partition("=")[0] for text in overrides]
    if "data" not in keys:
        return None, list(overrides)

    # As elsewhere, the last override of a key counts. ``data.mirror`` also concerns the run's own
    # data, so it stays among the rest.
    name = next(text.partition("=")[2] for text in reversed(overrides) if text.startswith("data="))
    settings = [text for text, key in zip(overrides, keys, strict=True) if key.startswith("data.")]
    rest = [
        text
        for text, key in zip(overrides, keys, strict=True)
        if key != "data" and (key == "data.mirror" or not key.startswith("data."))
    ]
    return section("data", name, settings), rest


def _fill_in(config: dict[str, Any], key: str) -> None:
    """Add the setting ``key``, ``GROUP.NAME``, to the configuration of an earlier version.

    It is only added if the group, or the group's option, has this setting now.
    """
    group, _, name = key.partition(".")
    settings = config[group]
    if name in settings:
        return

    # The section ``run`` has no options. Elsewhere the option of the stored run may be gone by now.
    present: Mapping[str, Any] = {}
    if group not in GROUPS:
        present = defaults.of_section(group)
    elif settings.get("name") in catalogue.options(group):
        present = section_of(group, settings["name"], str(catalogue.conf_dir()))

    # Not the value in conf/, but what the code did before there was the setting (see
    # ``settings.records``).
    if name in present:
        settings[name] = getattr(SECTIONS[group], name)


def _label(
    config: dict[str, Any], as_preset: dict[str, Any], as_paper: dict[str, Any], label: str
) -> str:
    """Return '' if the paper's recipe is trained, else the preset's label.

    If the user's overrides change the training, 'modified' is added to the label or stands alone.
    """
    # The same text means the same training: evaluation and execution are no part of an identity.
    trained, by_preset, by_paper = (canonical(identity(c)) for c in (config, as_preset, as_paper))
    if trained == by_paper:
        return ""

    # A preset may change nothing in this cell. Its label would then say something untrue.
    parts = [label] if label and by_preset != by_paper else []
    if trained != by_preset:
        parts.append("modified")
    return ", ".join(parts)


def _protocol(table: Table, column: str, config: dict[str, Any]) -> tuple[str, str]:
    """Return what must be the same as in the paper for a verdict.

    This is how the column's measure is taken, and every setting of the data.
    """
    measure = table.measure_of(column)
    how = signature.signature(config, measure, signature.samples_of(config, measure))
    return how, canonical(identity(config)["data"])


Setting = tuple[str, str]
"""(where the override comes from, with a colon; '' for the user's own; the override itself)"""


def _settings(
    preset: Preset, table: Table, row: str, column: str, user: Sequence[Setting] = ()
) -> tuple[Setting, ...]:
    """Return all overrides of a cell; later ones win."""
    at = f"table {table.name}: "

    # From the general to the special: a later override of a key replaces an earlier one.
    def all_of() -> Iterator[Setting]:
        def tag(where: str, texts: Sequence[str]) -> Iterator[Setting]:
            return ((where, text) for text in texts)

        yield from tag(f"{at}base: ", table.base)
        yield from tag(f"preset {preset.name}: ", preset.set)
        yield from tag(f"{at}columns.{column}: ", table.columns[column].set)
        yield from tag(f"{at}rows.{row}: ", table.rows[row].set)
        yield from tag(
            f"{at}rows.{row}.entries.{column}: ", table.rows[row].entries.get(column, ())
        )

        special = table.presets.get(preset.name)
        if special:
            inside = f"{at}presets.{preset.name}."
            yield from tag(f"{inside}set: ", special.set)
            yield from tag(f"{inside}columns.{column}: ", special.columns.get(column, ()))

            # "*" stands for all columns of the row.
            for name in ("*", column):
                yield from tag(
                    f"{inside}rows.{row}.{name}: ", special.rows.get(row, {}).get(name, ())
                )

        yield from user
        yield at, f"recipe={table.recipe}"  # last, so that nothing above changes it

    return tuple(all_of())


class _Resolver:
    """Makes settings into configurations, and looks at the user's own files once for all of them.

    A resolver is for one call: by the next one the files may have changed, or the working
    directory.
    """

    def __init__(self) -> None:
        self._conf = str(catalogue.conf_dir())
        self._data: dict[str, dict[str, Any]] = {}

    def __call__(self, settings: tuple[Setting, ...]) -> dict[str, Any]:
        """Return the configuration that settings make, checked and complete.

        It is shared: it must be copied before it is passed on, and never be changed.
        """
        config = _resolved(settings, self._conf)

        # ``settle`` reads the user's own files for their digest, once for the same settings.
        data_settings = json.dumps(config["data"], sort_keys=True)
        if data_settings not in self._data:
            self._data[data_settings] = settle(config["data"])
        return {**config, "data": self._data[data_settings]}


@lru_cache(maxsize=4096)
def _resolved(settings: tuple[Setting, ...], conf: str) -> dict[str, Any]:
    """Return the configuration that settings make, checked, as far as the settings alone decide it.

    It is shared, as that of ``_Resolver`` is.
    """
    choices: dict[str, str] = {}  # group -> option, by the last choice
    option_of_table: dict[str, str] = {}  # the same without the user's choices
    values: list[tuple[str, str, str]] = []  # (where from, key, override)

    for where, text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{where}{text!r} is not an override: write key=value")
        if key in GROUPS:
            choices[key] = known_option(where, key, value)
            if where:  # '' is the user
                option_of_table[key] = choices[key]
        else:
            values.append((where, key, text))

    # An option of the user's must have all that table and preset set for the option it replaces.
    for group, option in choices.items():
        _refuse_left_over(
            group,
            option,
            option_of_table.get(group) or primary_sections(conf)[group]["name"],
            values,
            conf,
        )

    # Sorted, so that the cache of ``sections`` finds the same choices in any order.
    config = overlay(sections(tuple(sorted(choices.items())), conf), values)
    check_cell(config)
    return config


class _LeftOver(UserError):
    """An option that the user chose lacks something that the table sets of its own option."""


def _refuse_left_over(
    group: str, chosen: str, replaced: str, values: Sequence[tuple[str, str, str]], conf: str
) -> None:
    """Refuse an option that lacks a setting that table and preset give to the option it replaces.

    Args:
        group: Group of the option.
        chosen: The option that the user chose.
        replaced: The option that there would be without the user's choice.
        values: For each setting where it comes from ('' for the user's own), key and override.
        conf: The folder of the options.

    Raises:
        _LeftOver: If a setting is lacking. It names the first such setting, where it comes from,
            and the options that have them all.
    """
    if chosen == replaced:
        return

    # What table and preset set in the group: key -> where it is set, the last place if several.
    its_keys = _keys(group, replaced, conf)
    set_at = {
        key: where.removesuffix(": ") for where, key, _ in values if where and key in its_keys
    }
    missing = [key for key in set_at if key not in _keys(group, chosen, conf)]
    if missing:
        alternatives = [
            name for name in catalogue.options(group) if set_at.keys() <= _keys(group, name, conf)
        ]
        raise _LeftOver(
            f"{group}={chosen} has no {missing[0]}, which {set_at[missing[0]]} sets for "
            f"{group}={replaced}; options with all that is set here: {', '.join(alternatives)}"
        )


def _keys(group: str, option: str, conf: str) -> set[str]:
    """Return the keys of an option, such as ``objective.samples``."""
    return {key for key, _ in leaves(section_of(group, option, conf), f"{group}.")}
