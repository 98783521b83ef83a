"""The folder of pages: an index, a page for each table and each run, and the leaderboard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Any, TypeGuard

from jinja2 import Environment, PackageLoader, StrictUndefined

from vaebench import __version__
from vaebench.config.tables import Table
from vaebench.config.values import leaves
from vaebench.errors import UserError
from vaebench.files import write_output
from vaebench.formatting import duration
from vaebench.report import table_page
from vaebench.report.cells import number
from vaebench.report.select import Record, records
from vaebench.report.states import MEANING, State, counts, states
from vaebench.report.summary import ReportRow, summarize
from vaebench.site import figures, leaderboard
from vaebench.site.sources import Curves, Results, Run
from vaebench.work.steps import steps

if TYPE_CHECKING:
    import pandas as pd

PLOTLY = "plotly.min.js"


@dataclass(frozen=True)
class Samples:
    """What a trained model makes: pictures (PNG), or documents."""

    pictures: Sequence[bytes] = ()
    documents: Sequence[str] = ()


Sampler = Callable[[Path], Samples]
"""Returns samples of the run in a folder."""


def plotly_script() -> str:
    """Return Plotly's script, which comes with its Python package.

    Raises UserError if the package is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError(
            "vaebench site draws with plotly, which is not installed; pip install 'vaebench[site]'"
        ) from None
    return str(get_plotlyjs())


@dataclass(frozen=True)
class TableView:
    """What the index and the page of a table show of it."""

    results: Results
    rows: list[ReportRow]
    states: dict[tuple[str, str], State]

    @property
    def table(self) -> Table:
        return self.results.table

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def counts(self) -> dict[State, int]:
        return counts(self.states)

    @property
    def total(self) -> int:
        return len(self.states)

    @property
    def hours(self) -> float:
        """Recorded hours of training and evaluation of all runs that are shown."""
        one_line_a_run = self.results.frame.drop_duplicates(["key", "seed"])
        return (
            float(one_line_a_run["seconds"].sum() + one_line_a_run["eval_seconds"].fillna(0).sum())
            / 3600
        )


def view(results: Results) -> TableView:
    """Return a table with its rows and their states."""
    rows = summarize(results.table, results.frame)
    return TableView(results, rows, states(results.table, rows))


def build(folder: Path, results: Sequence[Results], samples: Sampler | None = None) -> int:
    """Write the pages below ``folder``.

    Args:
        folder: Created if it does not exist. Files of an earlier site in it are replaced, others
            are left alone.
        results: The tables, in the order of the index.
        samples: Returns samples of a run's model; None for pages without them.

    Returns:
        The number of pages.

    Raises:
        UserError: If Plotly is not installed or a file cannot be written.
    """
    script = plotly_script()
    loader = PackageLoader("vaebench.site")
    pages = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    # What every template may call.
    pages.globals.update(
        version=__version__, State=State, MEANING=MEANING, slug=slug, page_of=page_of, number=number
    )
    pages.filters.update(time=_time, count=_count, figure=_json)

    def write(name: str, content: str | bytes) -> None:
        """Write a file of the site, unless it is there already with the same content."""
        data = content.encode() if isinstance(content, str) else content
        path = folder / name
        if not (path.is_file() and path.read_bytes() == data):
            write_output(path, data, sync=False)

    # Pages about all tables come first: they need the results, but no curves.
    views = [view(results[i]) for i in steps("tables summed up", len(results))]
    boards = leaderboard.boards(results)

    write(PLOTLY, script)
    write("style.css", _own("style.css"))
    write("page.js", _own("page.js"))
    write("index.html", pages.get_template("index.html").render(views=views, at="."))
    write("leaderboard.html", pages.get_template("leaderboard.html").render(boards=boards, at="."))

    # If tables share a run, its page belongs to the last of them.
    shown_in = {run: view.name for view in views for run in view.results.runs()}
    for i in steps("tables written", len(views)):
        # Curves are read for one table at a time: all together may be too many for the memory.
        table_view = views[i]
        curves = table_view.results.curves()
        write(f"table/{table_view.name}.html", _table_page(pages, table_view, curves))

        runs_of_page = [
            run for run in table_view.results.runs() if shown_in[run] == table_view.name
        ]
        for name, content in _run_pages(pages, table_view.results, curves, runs_of_page, samples):
            write(name, content)

    # The index and the leaderboard, the tables, the runs.
    return 2 + len(views) + len(shown_in)


# ---------------------------------------------------------------------------------- page of a table


def _table_page(pages: Environment, shown: TableView, curves: Curves) -> str:
    table = shown.table
    page = table_page.make(table, shown.results.frame, summary=shown.rows)
    spec_of_preset = {preset: figures.curves(runs) for preset, runs in curves.items()}
    return pages.get_template("table.html").render(
        view=shown,
        table=table,
        page=page,
        dots=figures.differences(table, shown.rows),
        curves={preset: spec for preset, spec in spec_of_preset.items() if spec},
        commands=_commands(table.name, shown.results.frame["preset"]),
        runs=_listed(shown.results.frame),
        at="..",
    )


def _commands(table: str, presets: Iterable[str]) -> list[str]:
    """Return the commands that make and report what is shown, for each preset.

    If nothing is shown, they are those of the paper's preset.
    """
    preset_arguments = [
        [f"preset={preset}"] if preset != "paper" else [] for preset in dict.fromkeys(presets)
    ]
    return [
        join(["vaebench", verb, f"table={table}", *arguments])
        for arguments in preset_arguments or [[]]
        for verb in ("run", "report")
    ]


def _listed(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a line for each run of a table, with the name of its page."""
    one_line_a_run = frame.drop_duplicates(["key", "seed"])
    shown_columns = ("row", "column", "preset", "seed", "status", "updates", "seconds", "device")
    return [
        {
            **{column: line[column] for column in shown_columns},
            "page": page_of((line["key"], line["seed"])),
        }
        for line in one_line_a_run.to_dict("records")
    ]


# ------------------------------------------------------------------------------------ page of a run


def page_of(run: Run) -> str:
    """Return the file of a run's page, below the folder of the site."""
    key, seed = run
    return f"run/{slug(key)}-seed-{seed}.html"


def _run_pages(
    pages: Environment,
    results: Results,
    curves: Curves,
    wanted: Sequence[Run],
    samples: Sampler | None,
) -> Iterator[tuple[str, str | bytes]]:
    """Yield name and content of the files for some runs of a table: pages and their pictures."""
    template = pages.get_template("run.html")
    settings = {key: _settings(cell.config) for key, cell in results.cells.items()}

    # Run -> its rows; (key, preset, row) -> columns that share these runs, in their order.
    lines_of_run: dict[Run, list[Record]] = {}
    columns_of_run: dict[tuple[str, ...], dict[str, None]] = {}
    for line in records(results.frame):
        lines_of_run.setdefault((line["key"], line["seed"]), []).append(line)
        columns_of_run.setdefault((line["key"], line["preset"], line["row"]), {})[
            line["column"]
        ] = None

    curve_of = {
        (preset, curve.row, curve.column, curve.seed): curve
        for preset, runs in curves.items()
        for curve in runs
    }

    for i in steps("runs", len(wanted)):
        run = wanted[i]
        key, seed = run
        first_line = lines_of_run[run][0]
        cell = results.cells.get(key)  # None if its table or preset has changed since

        # Pictures are files of their own, beside the page.
        drawn_samples = (
            samples(results.folders[run]) if samples and run in results.folders else Samples()
        )
        picture_names = [
            f"{page_of(run).removesuffix('.html')}-{n}.png"
            for n in range(len(drawn_samples.pictures))
        ]
        yield from zip(picture_names, drawn_samples.pictures, strict=True)

        # Columns that share a run have its curve under the first of these columns.
        preset = first_line["preset"]
        row = first_line["row"]
        curves_of_run = [
            curve_of.get((preset, row, column, seed)) for column in columns_of_run[key, preset, row]
        ]
        yield (
            page_of(run),
            template.render(
                table=results.table,
                first=first_line,
                measures=_measures(lines_of_run[run]),
                curve=figures.curves([curve for curve in curves_of_run if curve]),
                config=settings.get(key, {}),
                command=_command(first_line, cell.changed if cell else ()),
                pictures=[Path(name).name for name in picture_names],
                documents=drawn_samples.documents,
                at="..",
            ),
        )


def _measures(lines: Iterable[Record]) -> list[dict[str, str]]:
    """Return the measures of one run, each once, even if several columns of a table show it."""
    shown_columns = (
        "metric",
        "value",
        "unit",
        "error",
        "error_kind",
        "points",
        "samples",
        "signature",
        "flags",
    )

    by_measure: dict[tuple[str, str], Record] = {}
    for line in lines:
        if line["metric"]:
            by_measure.setdefault((line["metric"], line["signature"]), line)

    return [{name: _shown(line[name]) for name in shown_columns} for line in by_measure.values()]


def _shown(value: Any) -> str:
    """Return a cell of the frame as text: '' if unknown, six digits for real numbers."""
    if value is None or value != value:
        return ""
    return (
        f"{value:.6g}"
        if isinstance(value, float) and not value.is_integer()
        else str(value).removesuffix(".0")
    )


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return dotted name -> value of the settings, without those of execution."""
    return {
        name: json.dumps(value) for name, value in leaves(config) if not name.startswith("run.")
    }


def _command(first: Record, changed: Sequence[str]) -> str:
    arguments = ["vaebench", "run", f"table={first['table']}"]
    arguments += [f"preset={first['preset']}"] if first["preset"] != "paper" else []
    arguments += [
        "--only",
        f"row={first['row']}",
        "--only",
        f"column={first['column']}",
        "--seeds",
        str(first["seed"]),
    ]
    return join([*arguments, *changed])


# -------------------------------------------------------------------------------------------- files


def slug(text: str) -> str:
    """Return ``text`` as a name of a file, or of an element, that needs no escapes."""
    return re.sub(r"[^\w-]+", "-", text).strip("-")


def _known(value: float | None) -> TypeGuard[float]:
    """Whether a number of the frame is known, which None and NaN are not."""
    return value is not None and value == value


def _count(value: float | None) -> str:
    return f"{value:,.0f}" if _known(value) else ""


def _time(seconds: float | None) -> str:
    return duration(seconds) if _known(seconds) else ""


def _json(spec: Any) -> str:
    """Return a figure as JSON that is safe inside an HTML script element."""
    # JSON has no NaN, and ``</script>`` in a name would end the element.
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _own(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
