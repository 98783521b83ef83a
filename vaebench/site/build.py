"""The folder of pages: an index, a page for each table and each run, and the leaderboard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Any, TypeGuard

from jinja2 import Environment, PackageLoader, StrictUndefined

from vaebench import __version__
from vaebench.config.cells import Table
from vaebench.errors import UserError
from vaebench.files import write_output
from vaebench.formatting import duration
from vaebench.report import table_page
from vaebench.report.cells import number
from vaebench.report.summary import ReportRow, summarize
from vaebench.site import figures, leaderboard
from vaebench.site.sources import Results, Run
from vaebench.site.states import MEANING, State, counts, states

if TYPE_CHECKING:
    import pandas as pd

PLOTLY = "plotly.min.js"


@dataclass(frozen=True)
class Samples:
    """What a trained model makes: pictures (PNG), or documents."""

    pictures: Sequence[bytes] = ()
    documents: Sequence[str] = ()


Sampler = Callable[[Path], Samples]
"""Gives samples of the run in a folder."""


def plotly_script() -> str:
    """Plotly's script, which ships with its Python package. Raises UserError if that is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError(
            "vaebench site draws with plotly, which is not installed; pip install 'vaebench[site]'"
        ) from None
    return str(get_plotlyjs())


@dataclass(frozen=True)
class TableView:
    """What the index and the page of a table say of it."""

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
        once = self.results.frame.drop_duplicates(["key", "seed"])
        return float(once["seconds"].sum() + once["eval_seconds"].fillna(0).sum()) / 3600


def view(results: Results) -> TableView:
    """A table with its rows and their states."""
    rows = summarize(results.table, results.frame)
    return TableView(results, rows, states(results.table, rows))


def build(folder: Path, results: Sequence[Results], samples: Sampler | None = None) -> int:
    """Write the pages below ``folder``.

    Args:
        folder: Made if it is not there. Files of an earlier site in it are replaced, others are left alone.
        results: The tables, in the order of the index.
        samples: Gives samples of a run's model; None for pages without them.

    Returns:
        The number of pages.

    Raises:
        UserError: If Plotly is not installed or a file cannot be written.
    """
    script = plotly_script()
    loader = PackageLoader("vaebench.site")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.globals.update(version=__version__, State=State, MEANING=MEANING, slug=slug, page_of=page_of, number=number)
    pages.filters.update(time=_time, count=_count, figure=_json)

    views = [view(each) for each in results]
    boards = leaderboard.boards(results)
    made: dict[str, str | bytes] = {
        PLOTLY: script,
        "style.css": _own("style.css"),
        "page.js": _own("page.js"),
        "index.html": pages.get_template("index.html").render(views=views, at="."),
        "leaderboard.html": pages.get_template("leaderboard.html").render(boards=boards, at="."),
    }
    for each in views:
        made[f"table/{each.name}.html"] = _table_page(pages, each)
    for result in results:
        made |= _run_pages(pages, result, samples)
    for name, content in made.items():
        write_output(folder / name, content)
    return sum(name.endswith(".html") for name in made)


# ------------------------------------------------------------------------------------------------- page of a table


def _table_page(pages: Environment, shown: TableView) -> str:
    table = shown.table
    page = table_page.make(table, shown.results.frame)
    curves = {preset: figures.curves(frame) for preset, frame in shown.results.curves.items()}
    return pages.get_template("table.html").render(
        view=shown,
        table=table,
        page=page,
        dots=figures.differences(table, shown.rows),
        curves={preset: spec for preset, spec in curves.items() if spec},
        commands=_commands(table.name, shown.results.frame["preset"]),
        runs=_listed(shown.results.frame),
        at="..",
    )


def _commands(table: str, presets: Iterable[str]) -> list[str]:
    """The commands that make and report what is shown, of each preset; of the paper's where nothing is."""
    named = [[f"preset={preset}"] if preset != "paper" else [] for preset in dict.fromkeys(presets)]
    return [join(["vaebench", verb, f"table={table}", *words]) for words in named or [[]] for verb in ("run", "report")]


def _listed(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A line for each run of a table, with the name of its page."""
    once = frame.drop_duplicates(["key", "seed"])
    wanted = ("row", "column", "preset", "seed", "status", "updates", "seconds", "device")
    return [{**{k: r[k] for k in wanted}, "page": page_of((r["key"], r["seed"]))} for r in once.to_dict("records")]


# --------------------------------------------------------------------------------------------------- page of a run


def page_of(run: Run) -> str:
    """The file of a run's page, below the folder of the site."""
    key, seed = run
    return f"run/{slug(key)}-seed-{seed}.html"


def _run_pages(pages: Environment, results: Results, samples: Sampler | None) -> dict[str, str | bytes]:
    out: dict[str, str | bytes] = {}
    template = pages.get_template("run.html")
    for (key, seed), frame in results.frame.groupby(["key", "seed"], sort=False):
        run = (str(key), int(seed))
        first = frame.iloc[0]
        cell = results.cells.get(run[0])
        drawn = samples(results.folders[run]) if samples and run in results.folders else Samples()
        files = [f"{page_of(run).removesuffix('.html')}-{i}.png" for i in range(len(drawn.pictures))]
        out |= dict(zip(files, drawn.pictures, strict=True))
        out[page_of(run)] = template.render(
            table=results.table,
            first=first.to_dict(),
            measures=_measures(frame),
            curve=_curve(results, first),
            config=_settings(cell.config) if cell else {},
            command=_command(first, cell.changed if cell else ()),
            pictures=[Path(name).name for name in files],
            documents=drawn.documents,
            at="..",
        )
    return out


def _measures(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The measures of one run, each once, though several columns of a table may show it."""
    wanted = ["metric", "value", "unit", "error", "error_kind", "points", "samples", "signature", "flags"]
    once = frame[frame["metric"] != ""].drop_duplicates(["metric", "signature"])
    return [{k: _shown(v) for k, v in record.items()} for record in once[wanted].to_dict("records")]


def _shown(value: Any) -> str:
    """A cell of the frame as text: nothing for what is unknown, six digits for real numbers."""
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) and value != int(value) else str(value).removesuffix(".0")


def _curve(results: Results, first: pd.Series) -> dict[str, Any] | None:
    """The curve of one run; cells that share it have it under the first of them."""
    frame = results.curves.get(str(first["preset"]))
    if frame is None:
        return None
    same = results.frame[(results.frame["key"] == first["key"]) & (results.frame["preset"] == first["preset"])]
    columns = set(same[same["row"] == first["row"]]["column"])
    mine = (frame["row"] == first["row"]) & frame["column"].isin(columns) & (frame["seed"] == first["seed"])
    return figures.curves(frame[mine])


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Dotted name -> value, execution left out."""
    out = {}
    for section, value in config.items():
        if section == "run":
            continue
        inner = value if isinstance(value, Mapping) else {"": value}
        out.update({f"{section}.{key}".rstrip("."): json.dumps(each) for key, each in inner.items()})
    return out


def _command(first: pd.Series, changed: Sequence[str]) -> str:
    words = ["vaebench", "run", f"table={first['table']}"]
    words += [f"preset={first['preset']}"] if first["preset"] != "paper" else []
    words += ["--only", f"row={first['row']}", "--only", f"column={first['column']}", "--seeds", str(first["seed"])]
    return join([*words, *changed])


# ------------------------------------------------------------------------------------------------------------ files


def slug(text: str) -> str:
    """A name of a file, and of an element, that needs no escapes."""
    return re.sub(r"[^\w-]+", "-", text).strip("-")


def _known(value: float | None) -> TypeGuard[float]:
    """Whether a number of the frame is there: None and NaN stand for one that is not."""
    return value is not None and value == value


def _count(value: float | None) -> str:
    return f"{value:,.0f}" if _known(value) else ""


def _time(seconds: float | None) -> str:
    return duration(seconds) if _known(seconds) else ""


def _json(spec: Any) -> str:
    """A figure as JSON that may stand inside an HTML script element."""
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _own(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
