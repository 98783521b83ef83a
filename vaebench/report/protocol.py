"""What the paper's own data and evaluation are, and in which parts a measured number differs from them."""

from __future__ import annotations

from typing import Any

import yaml

from vaebench.config import METRICS, Table, conf_dir, load_yaml, options
from vaebench.store import signature_parts

WORDS = {"data": "data", "split": "split", "points": "test cases", "samples": "samples per case"}


def paper_parts(table: Table, row: str, column: str) -> dict[str, str]:
    """Data, split, points and samples of the table as the paper has them: without any preset or override.

    Follows the group choices and the ``data.``/``eval.``/``train.`` fields in base, column and row, in the order of
    composition.
    """
    choice = {"data": "", "eval": ""}
    shipped = yaml.safe_load((conf_dir() / "cell.yaml").read_text())
    for entry in shipped.get("defaults", []):
        if isinstance(entry, dict):
            choice.update({k: str(v) for k, v in entry.items() if k in choice})
    fields: dict[str, Any] = {}
    train = dict(shipped.get("train") or {})
    own_column, own_row = table.columns.get(column), table.rows.get(row)
    overrides = [*table.base, *(own_column.set if own_column else ()), *(own_row.set if own_row else ())]
    for name, _, value in (o.lstrip("+").partition("=") for o in overrides):
        if name in choice:
            choice[name] = value
        elif name.startswith("eval."):
            fields[name.removeprefix("eval.")] = yaml.safe_load(value)
        elif name.startswith("train."):
            train[name.removeprefix("train.")] = yaml.safe_load(value)
    ev = (load_yaml("eval", choice["eval"]) if choice["eval"] in options("eval") else {}) | fields
    metric = METRICS.get(table.measure)
    group, setting = (metric and metric.samples) or ("eval", "")
    validation = table.measure.startswith("valid_")  # taken on all validation cases, see vaebench.config.signature
    known_data = choice["data"] in options("data")
    parts = {
        "data": load_yaml("data", choice["data"]).get("name", "") if known_data else choice["data"],
        "split": "valid" if validation else ev.get("split", ""),
        "points": "all" if validation else ev.get("points") or "all",
        "samples": {"eval": ev, "train": train}[group].get(setting, ""),
    }
    return {k: str(v) for k, v in parts.items() if v not in ("", None)}


def differing(table: Table, row: str, column: str, signature: str) -> str:
    """The parts of a signature that are not the paper's, in words; empty where none is found.

    For example ``data digits, not mnist_static; test cases 100, not all``.
    """
    found, paper = signature_parts(signature), paper_parts(table, row, column)
    found["data"] = found.get("data", "").split("@")[0]
    return "; ".join(
        f"{word} {found[part]}, not {paper[part]}"
        for part, word in WORDS.items()
        if found.get(part) and paper.get(part) and found[part] != paper[part]
    )
