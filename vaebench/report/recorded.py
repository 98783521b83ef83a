"""Results that were written to files before.

Several CSVs are read as one frame, and the points of a figure from files beside them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.config import catalogue
from vaebench.config.tables import Table, entry_named
from vaebench.errors import UserError, likely, nearest
from vaebench.protocol.registry import METRICS
from vaebench.report.plots import plot
from vaebench.report.shown import Measured
from vaebench.report.trails import Trail, Trails
from vaebench.results import long_frame, shipped

if TYPE_CHECKING:
    import pandas as pd

ENTRY = ["table", "row", "column"]
"""Columns that name an entry of a table in a file of points."""

RUN = ["table", "row", "column", "seed"]
"""Columns that name a run in a file of points."""

MEASUREMENT = ["table", "row", "column", "preset", "label", "key", "seed", "metric", "signature"]
"""Columns that name one number of the long frame."""

WORDS = ("table", "row", "column", "split", "kind")
WHOLE = ("seed", "update", "case")
"""Columns of a file of points that have text or whole numbers."""


def read(paths: Sequence[Path | str]) -> pd.DataFrame:
    """Return the long frame of all files; see ``Files.frame``."""
    return Files({str(path): long_frame.read_csv(path) for path in paths}).frame


def in_place(
    sources: Sequence[str], tables: Collection[str], presets: Collection[str] | None = None
) -> list[str]:
    """Return the files that ``sources`` name; the word ``reference`` means the shipped results.

    Args:
        sources: Paths, or the word. A file of this name is written ``./reference``.
        tables: Names of the tables whose shipped results are meant.
        presets: Names of their presets; None for all.

    Raises:
        UserError: If nothing is shipped for them, or a source is no file and almost the word.
    """
    paths: list[str] = []
    for source in sources:
        if source == shipped.WORD:
            paths += map(str, shipped.files(tables, presets))
            continue
        if not Path(source).exists() and (hint := likely(source, [shipped.WORD])):
            raise UserError(
                f"{source}: no such file; {hint}allowed: files, or "
                f"{shipped.WORD}, the shipped results"
            )
        paths.append(source)
    return paths


def read_pair(first: str, second: str) -> list[pd.DataFrame]:
    """Return two long frames to compare.

    The word ``reference`` means the shipped results of what the other side has.

    Raises:
        UserError: As ``read`` and ``in_place`` do, and if both are the word.
    """
    if first == second == shipped.WORD:
        raise UserError(
            f"{shipped.WORD} is the shipped results on both sides; name a file of "
            "your own on one of them"
        )
    if first == shipped.WORD:
        return read_pair(second, first)[::-1]

    mine = read([first])

    # In the order of the rows, so that errors name them as the file does.
    tables, presets = (list(dict.fromkeys(mine[name])) for name in ("table", "preset"))
    theirs = read(in_place([second], tables, presets))

    # The shipped files are those of whole tables, also of tables that train some of the entries.
    return [mine, _of_tables(theirs, mine) if second == shipped.WORD else theirs]


def _of_tables(frame: pd.DataFrame, mine: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of ``frame`` that belong to the tables in ``mine``.

    Entries that other tables train get the names of the tables that show them. Only those that
    ``mine`` has too are kept.
    """
    import pandas as pd

    entries = set(mine[ENTRY].itertuples(index=False, name=None))
    parts = []
    for name in dict.fromkeys(mine["table"]):
        # A file of an earlier version may name a table that no longer exists.
        table = catalogue.load(name) if name in catalogue.options("table") else None

        lines = (
            under_own_names(frame, table)
            if isinstance(table, Table)
            else frame[frame["table"] == name]
        )

        # Entries that another table trains are left out if ``mine`` lacks them.
        links = {(name, *link) for link in table.links} if isinstance(table, Table) else set()
        foreign = links - entries
        parts.append(
            lines[[line not in foreign for line in lines[ENTRY].itertuples(index=False, name=None)]]
        )
    return pd.concat(parts)


def refuse_conflicts(frame: pd.DataFrame, where: str) -> None:
    """Refuse a long frame with two values of one measurement, or two statuses of one run.

    Raises UserError naming both. Equal lines are no conflict.
    """
    run = [c for c in MEASUREMENT if c not in ("metric", "signature")]

    # Each pair: columns that must have one content, and columns that name what they belong to.
    for contents, names in ((["value", "error"], MEASUREMENT), (["status"], run)):
        different = frame[[*names, *contents]].drop_duplicates()
        conflicting = different[different.duplicated(names, keep=False)]
        if not len(conflicting):
            continue

        # The message shows the first conflict in full, and counts the others.
        first = conflicting.iloc[0]
        versions = conflicting[(conflicting[names] == first[names]).all(axis=1)]
        values = " and ".join(
            ", ".join(f"{c} {version[c]}" for c in contents)
            for version in versions[contents].to_dict("records")
        )
        run_name = (
            f"{first['table']}: {first['row']} / {first['column']} (preset {first['preset']}) "
            f"seed {first['seed']}"
        )
        run_name += f", {first['metric']}" if "metric" in names else ""

        further = conflicting[names].drop_duplicates().shape[0] - 1
        more = f", and {further} more like it" if further else ""
        remedy = "a run has one status" if "status" in contents else "keep one of them"
        raise UserError(f"{where}: {run_name} stands there twice: {values}{more}; {remedy}")


def narrowed_alike(frames: Sequence[pd.DataFrame], only: Sequence[str]) -> list[pd.DataFrame]:
    """Return the rows of each frame that belong to the entries that ``only`` names.

    ``row=SBN 200`` or ``SBN 200`` names a row, ``column=NVIL`` a column. Several rows are a union;
    rows and columns intersect. Raises UserError if no frame has a name.
    """
    names_in_files = {
        kind: {name for frame in frames for name in frame[kind]} for kind in ("row", "column")
    }

    chosen: dict[str, set[str]] = {"row": set(), "column": set()}
    for text in only:
        kind, name = entry_named(text, names_in_files["row"])
        if name not in names_in_files[kind]:
            raise UserError(
                f"--only: no file has the {kind} {name!r}: {nearest(name, names_in_files[kind])}"
            )
        chosen[kind].add(name)

    return [_of(frame, chosen) for frame in frames]


def _of(frame: pd.DataFrame, chosen: dict[str, set[str]]) -> pd.DataFrame:
    """Return the lines with the chosen names.

    ``chosen`` maps ``row`` and ``column`` to names; an empty set chooses all.
    """
    for kind, names in chosen.items():
        frame = frame[frame[kind].isin(names)] if names else frame
    return frame.reset_index(drop=True)


@dataclass(frozen=True)
class Files:
    """Results files, read together.

    ``parts`` has the path of each, and its content in the long format.
    """

    parts: dict[str, pd.DataFrame]

    @property
    def where(self) -> str:
        """Their paths; if there are more than two, the first, and how many more there are."""
        first, *others = self.parts
        return f"{first} and {len(others)} more" if len(others) > 1 else ", ".join(self.parts)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The content of all files together; lines that several files have are kept once.

        Raises UserError if two files have different values of one measurement.
        """
        import pandas as pd

        frames = list(self.parts.values())

        # If all files are empty, the first of them still gives the columns.
        filled = [frame for frame in frames if len(frame)] or frames[:1]
        whole = pd.concat(filled, ignore_index=True).drop_duplicates(ignore_index=True)
        refuse_conflicts(whole, self.where)
        return whole

    def measured(
        self,
        table: Table,
        preset: str | None = None,
        seeds: Collection[int] | None = None,
        entries: Collection[tuple[str, str]] | None = None,
        figure: str | None = None,
    ) -> Measured:
        """Return a table with its results in the files.

        Args:
            table: The table.
            preset: One preset; None for all.
            seeds: Some seeds; None for all.
            entries: Some trained entries, (row, column); None for all.
            figure: The plot; None for the table's.

        Raises:
            UserError: If no result is left.
        """
        whole = under_own_names(self.frame, table)
        if not len(whole):
            hint = (
                nearest(table.name, set(self.frame["table"]))
                if len(self.frame)
                else "there are no results in it"
            )
            raise UserError(f"{self.where}: no rows of table {table.name}; {hint}")

        frame = whole
        if preset is not None:
            frame = frame[frame["preset"] == preset]
        if seeds is not None:
            frame = frame[frame["seed"].isin(seeds)]
        if entries is not None:
            frame = frame[
                [pair in entries for pair in zip(frame["row"], frame["column"], strict=True)]
            ]
        if not len(frame):
            what = "preset and seeds" if entries is None else "choice, preset and seeds"
            raise UserError(
                f"{self.where}: nothing of table {table.name} by that {what}; there "
                f"are {_contents(whole)}"
            )

        shown = table if entries is None else table.narrowed(entries)

        # Points and trails are read from further files, so only if they are asked for.
        name = figure or table.figure
        chosen = frame.reset_index(drop=True)
        return Measured(
            shown,
            chosen,
            name,
            lambda: self.points(name, chosen, table),
            lambda: self.trails(chosen),
        )

    def left_out(self, shown: Measured) -> Iterator[str]:
        """Yield a line about entries that the table does not have, and one about odd measures.

        The latter are measures that this version does not know.
        """
        entries = zip(shown.frame["row"], shown.frame["column"], strict=True)
        unknown_entries = sorted({*entries} - {*shown.table.trained()})
        if unknown_entries:
            names = "; ".join(f"{row} / {column}" for row, column in unknown_entries)
            yield (
                f"{self.where}: left out, since table {shown.table.name} has no such entry: {names}"
            )

        unknown = sorted({*shown.frame["metric"]} - {*METRICS, ""})
        if unknown:
            yield f"{self.where}: left out, since there is no such measure: {', '.join(unknown)}"

    def trails(self, chosen: pd.DataFrame) -> Trails:
        """Return the validation curves of some of the runs.

        Runs are left out if there is no file of curves beside their results.
        """
        by_key: dict[str, Trail] = {}
        wanted_keys = set(chosen["key"])
        for path, part in self.parts.items():
            # Curves are an extra of the page: a missing or damaged file is no error here.
            with contextlib.suppress(UserError):
                frame = _read(_beside(Path(path), ("curves",)), ("update", "valid_bound"))

                # Files of points name a run by its entry, not by its key.
                key_of = dict(
                    zip(part[ENTRY].itertuples(index=False, name=None), part["key"], strict=True)
                )

                # One curve is enough for a cell: that of its first seed.
                for entry, curves in frame.groupby(ENTRY, sort=False):
                    key = key_of.get(entry, "")
                    if key in wanted_keys and key not in by_key:
                        first_seed = curves[curves["seed"] == curves["seed"].min()]
                        by_key[key] = Trail(tuple(first_seed["valid_bound"]))
        return by_key

    def points(self, name: str, chosen: pd.DataFrame, table: Table | None = None) -> pd.DataFrame:
        """Return what a plot shows of some of the runs, from the files beside the results.

        The curves of the runs in ``X.csv`` are in ``X-curves.csv`` beside it, their posterior means
        in ``X-means.csv``.

        Args:
            name: One of ``vaebench.report.plots.PLOTS``.
            chosen: The results of these runs.
            table: The table that shows them, if its name is not the one in the files: see
                ``under_own_names``.

        Raises:
            UserError: If such a file is missing or lacks a column, or if the runs are of several
                presets, which these files do not tell apart.
        """
        import pandas as pd

        chosen_plot = plot(name)
        if chosen_plot.from_frame is not None:
            return chosen_plot.from_frame(chosen)

        presets = sorted(set(chosen["preset"]))
        if len(presets) > 1:
            raise UserError(
                "--plot and --curves show one preset at a time, these rows are of "
                f"{', '.join(presets)}: add preset=NAME"
            )

        # Only the files that have some of the runs need a file of points beside them.
        runs = _runs(chosen, "preset", "key", "seed")
        sources = [
            path for path, part in self.parts.items() if runs & _runs(part, "preset", "key", "seed")
        ]
        points_of_files = [
            _read(_beside(Path(path), chosen_plot.files), chosen_plot.columns) for path in sources
        ]
        frame = pd.concat(points_of_files, ignore_index=True).drop_duplicates()

        # If columns show the same run, the files have its points once, under the first of them. So
        # lines are chosen by key, row and seed. Only the results know the key of a line of points:
        # (table, row, column, seed) -> key.
        whole = self.frame[self.frame["preset"].isin(presets)]
        if table is not None and table.links:
            frame = under_own_names(frame, table)
            whole = under_own_names(whole, table)
        key_of = dict(zip(whole[RUN].itertuples(index=False, name=None), whole["key"], strict=True))

        # ``run`` is (table, row, column, seed).
        wanted_runs = _runs(chosen, "key", "row", "seed")
        is_wanted = [
            (key_of.get(run), run[1], run[3]) in wanted_runs
            for run in frame[RUN].itertuples(index=False, name=None)
        ]
        return chosen_plot.shown(frame[is_wanted].reset_index(drop=True))


def under_own_names(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Return the lines of a table in a long frame, or in a frame of points.

    Lines of entries of other tables that it shows (``Table.links``) are included under its own
    names, unless it has lines of its own for these entries.
    """
    import pandas as pd

    own_lines = frame[frame["table"] == table.name]
    own_entries = set(zip(own_lines["row"], own_lines["column"], strict=True))

    parts = [own_lines]
    for (row, column), entry in table.links.items():
        of_entry = (
            (frame["table"] == entry.table)
            & (frame["row"] == entry.row)
            & (frame["column"] == entry.column)
        )
        if (row, column) not in own_entries and of_entry.any():
            parts.append(frame[of_entry].assign(table=table.name, row=row, column=column))
    return pd.concat(parts) if len(parts) > 1 else own_lines


def shipped_frame(table: Table) -> pd.DataFrame:
    """Return all shipped results of a table, under its own names; no lines if there are none."""
    if not shipped.has_results(table.name):
        return long_frame.empty()

    frame = read(shipped.files([table.name]))
    return under_own_names(frame, table).reset_index(drop=True)


def read_files(sources: Sequence[str], tables: Collection[str], preset: str | None = None) -> Files:
    """Read the files that a user names.

    ``reference`` means the shipped results of these tables, at one preset or all.

    Raises:
        UserError: As ``in_place`` and ``read`` do.
    """
    paths = in_place(sources, tables, None if preset is None else [preset])
    return Files({path: long_frame.read_csv(path) for path in paths})


def _contents(frame: pd.DataFrame) -> str:
    """List presets and seeds: ``preset short: seeds 0, 1; preset tuned: seed 0``."""
    parts = []
    for preset, part in frame.groupby("preset", sort=False):
        seeds = sorted(set(part["seed"]))
        parts.append(
            f"preset {preset}: seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        )
    return "; ".join(parts)


# ------------------------------------------------------------------------------- points of a figure


def _runs(frame: pd.DataFrame, *names: str) -> set[tuple[object, ...]]:
    """Return the values of some columns, each combination once."""
    return set(frame[[*names]].itertuples(index=False, name=None))


def _beside(source: Path, names: Sequence[str]) -> Path:
    """Return the first of ``SOURCE-NAME.csv`` that exists. Raises UserError if there is none."""
    paths = [source.with_name(f"{source.stem}-{name}.csv") for name in names]
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        raise UserError(
            f"{source}: --plot and --curves need what was recorded beside it in "
            f"{' or '.join(p.name for p in paths)}, which is not there; report --curves FILE "
            "writes it from the runs"
        )
    return path


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as e:  # errors of pandas are ValueErrors
        raise UserError(f"{path}: not a file of points: {' '.join(str(e).split())}") from None

    missing = [c for c in (*RUN, *columns) if c not in frame]
    if missing:
        raise UserError(f"{path}: missing columns {', '.join(missing)}, which this figure shows")

    for name in frame:
        if name in WORDS:
            continue

        try:  # float() reads a printed float exactly, which pandas' fast parser does not
            frame[name] = [float(text or "nan") for text in frame[name]]
        except ValueError as e:
            raise UserError(f"{path}: column {name}: {e}") from None

        if name in WHOLE and frame[name].notna().all():
            frame[name] = frame[name].astype("int64")

    return frame
