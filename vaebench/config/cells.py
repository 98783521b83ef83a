"""Cells, which are the row/column entries of a table, and the names of their runs.

This file needs neither Hydra nor torch.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vaebench.settings import defaults
from vaebench.settings.records import EvalSettings, RunSettings, TrainSettings

GROUPS = ("data", "model", "objective", "optim", "eval")
"""Config groups that a cell is made of; each option is one file in conf/<group>/."""

IDENTITY = ("data", "model", "objective", "optim", "train")
"""Sections of a cell that, with its recipe number, decide what is trained. Evaluation and execution
do not."""

PLACES = ("mirror", "train", "valid", "test", "vocabulary")
"""Settings of ``data`` that say where files are. What the files hold is known by its hash."""

VERSION = "version"
"""Key of a number in an option's file that says what the option computes; left out, it is 1.

It is raised when training gives other numbers with the same settings: other noise, another
estimator, a corrected mistake. A number above 1 is part of a run's name, so that runs of the
earlier code are not taken for runs of the present one.
"""

LONGEST_NAME = 255
"""Bytes that the name of a file or folder may have on common file systems."""

OF_OPTION = ("name", VERSION)
"""Keys by which an option's file describes the option itself. They are not settings, so no override
changes them."""


def settings_of(section: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the option of a section (say ``config["model"]``) is built with.

    These are all its keys but ``OF_OPTION``.
    """
    return {k: v for k, v in section.items() if k not in OF_OPTION}


@dataclass(frozen=True)
class Cell:
    """One row/column entry of a table, with all its settings.

    Attributes:
        table: Name of the table.
        row: Name of the row.
        column: Name of the column.
        preset: Name of the preset.
        config: The whole nested configuration (plain dicts, lists, numbers, strings): data, model,
            objective, optim, train, eval, run, recipe.
        label: Empty if the paper's recipe is trained, else the name behind the verdict ('tuned',
            'short', 'modified').
        paper_protocol: Whether its evaluation and its data are the paper's own; only then is there
            a verdict.
        published: The number that the paper printed, of kind ``measure``.
        measure: Name of the metric that the column shows.
        paper_signature: The signature that the measure has in the paper's own cell, without the
            hash of the data.
        changed: The overrides, as they were written, by which the training differs from the
            preset's.
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
    paper_signature: str = ""
    changed: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """The name of the run directories of this cell.

        It has readable parts, then a hash of all that decides the training. Two cells of different
        tables that train the same thing have the same key, and so share their runs.
        """
        return run_key(self.config)

    @cached_property
    def train(self) -> TrainSettings:
        """How it is trained."""
        return TrainSettings.of(self.config["train"])

    @cached_property
    def eval(self) -> EvalSettings:
        """How it is evaluated."""
        return EvalSettings.of(self.config["eval"])

    @cached_property
    def run(self) -> RunSettings:
        """How it is carried out."""
        return RunSettings.of(self.config["run"])

    def __str__(self) -> str:
        return f"{self.table}: {self.row} / {self.column}"


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """Return what decides what is trained, by section.

    These are the chosen options, and the settings that differ from their defaults. So a setting
    that is added later, with a default, changes the identity of no run, and a stored configuration
    without it has the same identity as one with it. In return, defaults must never change: see
    ``docs/results.md``. The places of data files (``PLACES``) do not count. A ``VERSION`` and a
    recipe number count if they are above 1.
    """
    parts = {section: _chosen(section, config.get(section) or {}) for section in IDENTITY}
    recipe = config.get("recipe", 1)
    return parts if recipe == 1 else {**parts, "recipe": recipe}


def _chosen(section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what one section of a configuration adds to its identity."""
    option = str(settings.get("name"))
    unchanged = (
        defaults.of_section("train") if section == "train" else defaults.of_option(section, option)
    )

    # The option's name always counts, and its version counts if it is not 1, whatever the file
    # says.
    unchanged = {**unchanged, "name": None, VERSION: 1}

    changed = {}
    for key, value in settings.items():
        if section == "data" and key in PLACES:
            continue
        if key not in unchanged or not _equal(value, unchanged[key]):
            changed[key] = value
    return changed


def _equal(a: Any, b: Any) -> bool:
    """Whether two settings mean the same: 1 and 1.0 do, 1 and true do not."""
    if type(a) is type(b) and not isinstance(a, (dict, list)):
        return a == b
    return canonical(a) == canonical(b)


def versions(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the configuration as it was with each version of its options.

    The list begins with version 1 and ends with the present versions.
    """
    # Each option has a version of its own. In step n it has version n, or its present one if that
    # is lower.
    present = {section: config[section].get(VERSION, 1) for section in IDENTITY}
    return [
        {**config, **{s: {**config[s], VERSION: min(present[s], number)} for s in IDENTITY}}
        for number in range(1, max(present.values()) + 1)
    ]


def readable(key: str) -> str:
    """Return a run's key without its hash: data, model and objective."""
    return key.rpartition("-")[0]


def run_key(config: dict[str, Any]) -> str:
    """Return a readable name, safe for files, of a training configuration.

    It ends in a hash of its ``identity``. If it would be too long for a file (LONGEST_NAME), the
    list of the model's ``dims`` in it is cut.
    """
    import hashlib

    digest = hashlib.sha256(canonical(identity(config)).encode()).hexdigest()[:10]
    model = config["model"]
    dims = "-".join(str(d) for d in model.get("dims", []))

    def named(sizes: str) -> str:
        # A slash would make a folder.
        parts = [config["data"]["name"], model["name"] + sizes, config["objective"]["name"], digest]
        return "-".join(p.replace("/", "_") for p in parts if p)

    # The limit is one of bytes, not of characters.
    bytes_left = LONGEST_NAME - len(named("").encode())
    return named(dims if len(dims) <= bytes_left else dims[: max(bytes_left, 0)].rstrip("-"))


def canonical(value: Any) -> str:
    """Return JSON text in which equal settings are equal strings.

    Keys are sorted, 1 and 1.0 are the same, and NaN raises ValueError.
    """

    def plain(v: Any) -> Any:
        if isinstance(v, dict):
            return {str(k): plain(x) for k, x in v.items()}
        if isinstance(v, (list, tuple)):
            return [plain(x) for x in v]

        # Above 2^53 a float no longer tells neighbouring whole numbers apart.
        if isinstance(v, float) and math.isfinite(v) and v == int(v) and abs(v) < 2**53:
            return int(v)
        return v

    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
