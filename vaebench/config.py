"""What a table, a cell and a run are: plain typed data. No Hydra, no torch, so that `vaebench ls` starts at once.

A *table* is one published table or figure, a *cell* one row/column entry of it, a *run* one cell at one seed.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from vaebench.errors import UserError, nearest

GROUPS = ("data", "model", "objective", "optim", "eval")
"""Config groups a cell is made of; each option is one file in conf/<group>/."""

IDENTITY = ("data", "model", "objective", "optim", "train", "recipe")
"""The parts of a cell that decide what is trained. Evaluation and execution settings are not among them."""


@dataclass(frozen=True)
class Ledger:
    """One place where the paper is silent, ambiguous or differs from its own code, and what is done here."""

    topic: str
    paper: str
    here: str
    why: str


@dataclass(frozen=True)
class Finding:
    """What this project's own runs showed about a table, with its budget and seeds, and the files that show it."""

    topic: str
    found: str
    evidence: str
    reading: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: what it overrides in every row. ``set`` is a list of Hydra overrides.

    ``published`` is what the paper's CSV in results/published/ calls it; empty: as here.
    """

    set: tuple[str, ...] = ()
    note: str = ""
    published: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    ``columns`` names the trained columns of this row; None means all of them, an empty tuple means that nothing is
    trained (a literature row). ``entries`` maps a column name to what is overridden in that one entry. ``published``
    maps a column name, or the name of a literature column, to the number as printed (nats, positive NLL or bound), or
    to None where the paper prints a curve and no number.
    """

    set: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    entries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    published: dict[str, float | None] = field(default_factory=dict)
    source: str = ""
    note: str = ""


@dataclass(frozen=True)
class TablePreset:
    """What a preset changes in this table only: for all cells (``set``), per column, and per row.

    ``rows`` maps a row name to {column name or "*": overrides}. Later wins: set, then columns, then rows.
    """

    set: tuple[str, ...] = ()
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    note: str = ""


@dataclass(frozen=True)
class Preset:
    """How much is run: conf/preset/<name>.yaml. ``label`` stands behind every verdict; empty for the paper's recipe."""

    name: str
    label: str
    about: str
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Table:
    """One published table or figure; see conf/table/ for the files and ``docs/tables.md`` for how to add one.

    ``drawn`` names a figure of formulas alone (``vaebench.report.drawn.FIGURES``), which has nothing of ``TRAINING``;
    empty: the cells are trained.
    """

    name: str
    title: str
    paper: str
    where: str
    recipe: int
    measure: str
    margin: float
    margin_why: str
    seeds: tuple[int, ...]
    base: tuple[str, ...]
    columns: dict[str, Column]
    rows: dict[str, Row]
    kind: str = "table"
    drawn: str = ""
    presets: dict[str, TablePreset] = field(default_factory=dict)
    ledger: tuple[Ledger, ...] = ()
    findings: tuple[Finding, ...] = ()
    published_csv: str = ""
    notes: tuple[str, ...] = ()

    def trained(self) -> list[tuple[str, str]]:
        """(row, column) of every cell that is trained here, in the order of the table."""
        return [(r, c) for r, row in self.rows.items() for c in self.columns if row.columns is None or c in row.columns]


TRAINING = (
    *("kind", "recipe", "measure", "margin", "margin_why"),
    *("base", "seeds", "columns", "rows", "presets", "published_csv"),
)
"""Keys of a table that a figure of formulas alone does not have."""


@dataclass(frozen=True)
class Cell:
    """One row/column entry of a table, resolved.

    ``config`` is the whole nested configuration (plain dicts, lists, numbers, strings): data, model, objective,
    optim, train, eval, run, recipe. ``label`` is '' when what is trained is the paper's recipe, else the name behind
    the verdict ('tuned', 'short', 'quick', 'modified'). ``paper_protocol`` says whether the evaluation (and the data)
    of this cell are the paper's own; only then is there a verdict. ``published`` is a number of kind ``measure``.
    """

    table: str
    row: str
    column: str
    preset: str
    config: dict[str, Any]
    label: str = ""
    paper_protocol: bool = True
    published: float | None = None
    measure: str = "bound"

    @property
    def key(self) -> str:
        """The name of the run directories of this cell: readable parts, then a hash of all that decides the training.

        Two cells of different tables that train the same thing share it, and so share their runs.
        """
        return run_key(self.config)

    def __str__(self) -> str:
        return f"{self.table}: {self.row} / {self.column}"


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """The parts of a configuration that decide what is trained; where data files are looked for is not one."""
    parts = {k: config.get(k) for k in IDENTITY}
    return {**parts, "data": {k: v for k, v in parts["data"].items() if k != "mirror"}}


def run_key(config: dict[str, Any]) -> str:
    """Readable, filesystem-safe name of a training configuration, ending in a hash of its ``identity``."""
    digest = hashlib.sha256(canonical(identity(config)).encode()).hexdigest()[:10]
    model = config["model"]
    dims = "-".join(str(d) for d in model.get("dims", []))
    parts = [config["data"]["name"], model["name"] + dims, config["objective"]["name"], digest]
    return "-".join(p.replace("/", "_") for p in parts if p)


def canonical(value: Any) -> str:
    """JSON text in which equal settings are equal strings: keys sorted, 1 and 1.0 alike, NaN refused."""

    def plain(v: Any) -> Any:
        if isinstance(v, dict):
            return {str(k): plain(x) for k, x in v.items()}
        if isinstance(v, (list, tuple)):
            return [plain(x) for x in v]
        if isinstance(v, float) and math.isfinite(v) and v == int(v) and abs(v) < 2**53:
            return int(v)
        return v

    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Metric:
    """What is measured of a trained model, under one name, in all models that have such a number.

    ``heading``: its column in a report, beside the measure of the table; empty: none. ``files``: the files in
    vaebench/metrics/ that take it, each for the models to which it applies; none where the training does. ``samples``:
    the setting that says how many samples per case it takes. ``log_z``: whether the prior's log Z enters it.
    """

    heading: str
    files: tuple[str, ...] = ()
    samples: tuple[str, str] | None = None
    log_z: bool = False


METRICS: dict[str, Metric] = {
    "bound": Metric("bound", ("bound",), ("eval", "bound_samples"), log_z=True),
    "iw_nll": Metric("IW-NLL", ("importance", "rbm_posterior"), ("eval", "iw_samples"), log_z=True),
    "iw_nll_weighted": Metric("IW-NLL, AIS-weighted", ("rbm_posterior",), ("eval", "iw_samples"), log_z=True),
    "nll": Metric("exact NLL", ("exact_nll",)),
    "kl": Metric("KL", ("bound",), ("eval", "bound_samples"), log_z=True),
    "exact_kl": Metric("exact KL", ("exact_kl",)),
    "kl_gap": Metric("above least KL", ("exact_kl",)),
    "active_units": Metric("active units", ("active_units",), ("eval", "bound_samples")),
    "log_z": Metric("log Z", ("normaliser",), log_z=True),
    "valid_bound": Metric("", (), ("train", "valid_samples")),
}
"""Every measure by its name, in the order of a report's columns."""

UNNORMALISED: dict[str, tuple[str, ...]] = {
    "rbm_vae": ("prior",),
    "rbm_vae_gaussian": ("prior",),
    "rbm_generator": ("prior",),
    "rbm_posterior": ("prior", "posterior"),
}
"""Models of whose densities a Boltzmann machine's log Z is missing: how it is found is then part of the protocol.

As the models themselves say (``unnormalised``), but readable without torch.
"""

MAX_SIDE = 20
"""Units of the smaller side of a Boltzmann machine up to which log Z is found by enumeration, unless told otherwise."""

LOG_Z_DEFAULTS: dict[str, Any] = {
    "logz_method": "auto",
    "logz_temperatures": 10_000,
    "logz_chains": 1024,
    "logz_sweeps": 10_000,
    "posterior_temperatures": 500,
}
"""Settings of log Z where the ``eval`` option has none; see conf/eval/dvae.yaml."""


def log_z_method(settings: dict[str, Any], side: int) -> str:
    """'exact', 'ais' or 'tempering', for a machine whose smaller side has ``side`` units, by ``logz_method``."""
    method = (LOG_Z_DEFAULTS | settings)["logz_method"]
    return ("exact" if side <= MAX_SIDE else "ais") if method == "auto" else method


def log_z_parts(config: dict[str, Any], measure: str) -> list[str]:
    """How the log Z that enter a measure are found, as parts of its protocol; none for most models.

    ``logz:exact``, ``logz:ais-10000x1024`` (temperatures x chains) or ``logz:tempering-10000x32`` (sweeps x ladders) of
    the prior, ``posterior:ais-500x4000`` of a posterior for each case.
    """
    metric, lacking = METRICS.get(measure), UNNORMALISED.get(config.get("model", {}).get("name", ""), ())
    if metric is None or not metric.files:
        return []
    ev, parts = LOG_Z_DEFAULTS | config["eval"], []
    if metric.log_z and "prior" in lacking:
        method = log_z_method(ev, config["model"]["latents"] // 2)
        steps = {"ais": "logz_temperatures", "tempering": "logz_sweeps"}.get(method)
        parts.append(f"logz:{method}" + (f"-{ev[steps]}x{ev['logz_chains']}" if steps else ""))
    if metric.samples and "posterior" in lacking:
        parts.append(f"posterior:ais-{ev['posterior_temperatures']}x{posterior_chains(ev)}")
    return parts


def posterior_chains(settings: dict[str, Any]) -> int:
    """Samples of a Boltzmann posterior for each case: as many as any measure takes."""
    return max(settings["bound_samples"], settings["iw_samples"] or 0)


def samples_of(config: dict[str, Any], measure: str) -> int | None:
    """Samples per case of a measure by this configuration; None for a measure that takes none."""
    metric = METRICS.get(measure)
    if metric is None or metric.samples is None:
        return None
    group, key = metric.samples
    return config[group].get(key)


def signature(config: dict[str, Any], measure: str, samples: int | None, data_hash: str | None = None) -> str:
    """The protocol of a measure: two numbers may be compared when their signatures are equal.

    For example ``iw_nll|data:mnist_static@8f3a12cd|split:test|points:all|samples:1000|select:valid_bound|recipe:1``.
    Without ``data_hash`` it is the protocol as configured, before any data were read. Measures named ``valid_*`` are
    taken on all validation cases, whatever ``eval`` says. Models that lack a log Z have ``log_z_parts`` besides.
    """
    data, ev = config["data"], config["eval"]
    split, points = ("valid", None) if measure.startswith("valid_") else (ev["split"], ev["points"])
    name = data["name"] + (f"@{data_hash[:8]}" if data_hash else "")
    parts = [measure, f"data:{name}", f"split:{split}", f"points:{points or 'all'}"]
    if samples is not None:
        parts.append(f"samples:{samples}")
    parts += log_z_parts(config, measure)
    parts += [f"select:{config['train']['select']}", f"recipe:{config['recipe']}"]
    return "|".join(parts)


# ---------------------------------------------------------------------------------------------- reading the files


@lru_cache(maxsize=1)
def conf_dir() -> Path:
    """The folder of the shipped configuration: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for place in (package / "conf", package.parent / "conf"):
        if (place / "cell.yaml").is_file():
            return place
    raise UserError(f"the configuration is missing: neither {package / 'conf'} nor {package.parent / 'conf'} has it")


def options(group: str) -> list[str]:
    """Names of the options of a config group ('table', 'preset', 'data', ...), sorted."""
    return sorted(p.stem for p in (conf_dir() / group).glob("*.yaml"))


def load_yaml(group: str, name: str) -> dict[str, Any]:
    """The mapping in conf/<group>/<name>.yaml; UserError with the nearest right name where there is none."""
    path = conf_dir() / group / f"{name}.yaml"
    if name not in options(group):
        raise UserError(f"unknown {group} {name!r}: {nearest(name, options(group))}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(e).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping, found {type(content).__name__}")
    return content


def _build(cls: type, content: Any, where: str) -> Any:
    """A dataclass from a mapping, with an error line for every key that is missing or unknown."""
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected a mapping with {', '.join(f.name for f in fields(cls))}")
    names = {f.name for f in fields(cls)}
    for key in content:
        if key not in names:
            raise UserError(f"{where}: unknown key {key!r}: {nearest(str(key), names)}")
    try:
        return cls(**content)
    except TypeError as e:
        missing = str(e).split("argument", 1)[-1].strip("s: ")
        raise UserError(f"{where}: missing {missing}") from None


def _mapping(value: Any, where: str) -> dict[str, Any]:
    """A copy of a mapping with names as keys (YAML reads a bare 5 as a number); nothing at all is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a mapping, found {value!r}")
    return {str(k): v for k, v in value.items()}


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise UserError(f"{where}: expected a list of overrides such as [optim.rate=3e-4], found {value!r}")
    return tuple(value)


def _seeds(value: Any, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(v) is int and v >= 0 for v in value) or not value:
        raise UserError(f"{where}: seeds must be a list of whole numbers from 0, found {value!r}")
    return tuple(value)


def load_table(name: str) -> Table:
    """conf/table/<name>.yaml, checked against the schema. Raises UserError naming the file and the key."""
    raw = dict(load_yaml("table", name))
    at = f"table {name}"
    if "drawn" in raw:
        raw = _drawn(raw, at)
    columns = {}
    for key, value in _mapping(raw.pop("columns", None), f"{at}: columns").items():
        value = _mapping(value, f"{at}: columns.{key}")
        value["set"] = _strings(value.get("set", []), f"{at}: columns.{key}.set")
        columns[key] = _build(Column, value, f"{at}: columns.{key}")
    rows = {}
    for key, value in _mapping(raw.pop("rows", None), f"{at}: rows").items():
        rows[key] = _row(value, columns, f"{at}: rows.{key}")
    presets = {
        key: _table_preset(value, columns, rows, f"{at}: presets.{key}")
        for key, value in _mapping(raw.pop("presets", None), f"{at}: presets").items()
    }
    for preset in presets:
        if preset not in options("preset"):
            raise UserError(f"{at}: presets.{preset}: no such preset: {nearest(preset, options('preset'))}")
    ledger = _entries(Ledger, raw.pop("ledger", None), f"{at}: ledger")
    findings = _entries(Finding, raw.pop("findings", None), f"{at}: findings")
    raw["base"] = _strings(raw.get("base", []), f"{at}: base")
    raw["notes"] = _strings(raw.get("notes", []), f"{at}: notes")
    raw["seeds"] = _seeds(raw.get("seeds"), at) or (0,)
    built = {"columns": columns, "rows": rows, "presets": presets, "ledger": ledger, "findings": findings}
    table = _build(Table, {"name": name, **built, **raw}, at)
    _check_scalars(table, at)
    return table


def _drawn(raw: dict[str, Any], at: str) -> dict[str, Any]:
    """A figure of formulas alone, completed with what the schema asks of a table that is trained."""
    if not isinstance(raw["drawn"], str) or not raw["drawn"]:
        raise UserError(f"{at}: drawn: expected the name of a figure, found {raw['drawn']!r}")
    for key in TRAINING:
        if key in raw:
            raise UserError(f"{at}: {key}: a drawn figure trains nothing and has none; leave it out")
    return {**raw, "kind": "figure", "recipe": 1, "measure": "", "margin": 0.0, "margin_why": ""}


def _check_scalars(table: Table, at: str) -> None:
    for name in ("title", "paper", "where", "measure", "margin_why", "kind", "published_csv"):
        if not isinstance(getattr(table, name), str):
            raise UserError(f"{at}: {name}: expected text, found {getattr(table, name)!r}")
    if table.kind not in ("table", "figure"):
        raise UserError(f"{at}: kind {table.kind!r}: {nearest(table.kind, ['table', 'figure'])}")
    if type(table.recipe) is not int or table.recipe < 1:
        raise UserError(f"{at}: recipe: expected a whole number from 1, found {table.recipe!r}")
    if not _number(table.margin) or table.margin < 0:
        raise UserError(f"{at}: margin: expected a number of nats from 0, found {table.margin!r}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _entries(cls: type, entries: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(entries or [], list):
        raise UserError(f"{where}: expected a list of entries, found {entries!r}")
    return tuple(_build(cls, entry, f"{where} entry {i}") for i, entry in enumerate(entries or [], start=1))


def _row(value: Any, columns: dict[str, Column], where: str) -> Row:
    value = _mapping(value, where)
    value["set"] = _strings(value.get("set", []), f"{where}.set")
    chosen = value.get("columns")
    if chosen is not None:
        value["columns"] = _strings(chosen, f"{where}.columns")
        for c in value["columns"]:
            if c not in columns:
                raise UserError(f"{where}.columns: unknown column {c!r}: {nearest(c, columns)}")
    entries = _mapping(value.get("entries"), f"{where}.entries")
    value["entries"] = {c: _strings(v, f"{where}.entries.{c}") for c, v in entries.items()}
    for c in entries:
        if c not in (columns if chosen is None else chosen):
            raise UserError(f"{where}.entries: {c!r} is not trained here: {nearest(c, chosen or columns)}")
    value["published"] = _mapping(value.get("published"), f"{where}.published")
    for c, number in value["published"].items():
        if number is not None and not _number(number):
            raise UserError(f"{where}.published.{c}: expected a number or null, found {number!r}")
    return _build(Row, value, where)


def _table_preset(value: Any, columns: dict[str, Column], rows: dict[str, Row], where: str) -> TablePreset:
    value = _mapping(value, where)
    value["set"] = _strings(value.get("set", []), f"{where}.set")
    value["seeds"] = _seeds(value.get("seeds"), where)
    per_column = _mapping(value.get("columns"), f"{where}.columns")
    value["columns"] = {c: _strings(v, f"{where}.columns.{c}") for c, v in per_column.items()}
    value["rows"] = {
        r: {c: _strings(v, f"{where}.rows.{r}.{c}") for c, v in _mapping(entry, f"{where}.rows.{r}").items()}
        for r, entry in _mapping(value.get("rows"), f"{where}.rows").items()
    }
    for c in value["columns"]:
        if c not in columns:
            raise UserError(f"{where}.columns: unknown column {c!r}: {nearest(c, columns)}")
    for r, entry in value["rows"].items():
        if r not in rows:
            raise UserError(f"{where}.rows: unknown row {r!r}: {nearest(r, rows)}")
        for c in entry:
            if c != "*" and c not in columns:
                raise UserError(f"{where}.rows.{r}: unknown column {c!r}: {nearest(c, [*columns, '*'])}")
    return _build(TablePreset, value, where)


def load_preset(name: str) -> Preset:
    """conf/preset/<name>.yaml, checked against the schema."""
    raw = dict(load_yaml("preset", name))
    raw["set"] = _strings(raw.get("set", []), f"preset {name}: set")
    raw["seeds"] = _seeds(raw.get("seeds"), f"preset {name}")
    return _build(Preset, {"name": name, **raw}, f"preset {name}")


def presets_of(table: Table) -> list[str]:
    """Names of the presets that mean something for a table: paper, its own, and those that change any table.

    None for a drawn figure, which trains nothing.
    """
    if table.drawn:
        return []
    return [p for p in options("preset") if p == "paper" or p in table.presets or load_preset(p).set]
