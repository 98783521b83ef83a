"""What a cell is, one row/column entry of a table, and what its runs are called.

No Hydra, no torch.
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
"""Config groups a cell is made of; each option is one file in conf/<group>/."""

IDENTITY = ("data", "model", "objective", "optim", "train")
"""The sections of a cell that, with its recipe, decide what is trained. Evaluation and execution
are not among them."""

PLACES = ("mirror", "train", "valid", "test", "vocabulary")
"""Settings of ``data`` that say where files are. What they hold is known by its hash."""

VERSION = "version"
"""A number in the file of an option that says what the option computes; left out, it is 1.

It is raised when training gives other numbers with the same settings: other noise, another
estimator, a fault mended. Above 1 it enters the name of a run, so that runs of the earlier code are
not taken for runs of this one.
"""

OF_OPTION = ("name", VERSION)
"""What the file of an option says of the option itself: no settings, so no
override changes them."""


def settings_of(section: dict[str, Any]) -> dict[str, Any]:
    """What the option of a section (``config["model"]``, say) is built with.

    All but ``OF_OPTION``.
    """
    return {k: v for k, v in section.items() if k not in OF_OPTION}


@dataclass(frozen=True)
class Cell:
    """One row/column entry of a table, resolved.

    Attributes:
        table: Its name.
        row: Its name in the table.
        column: Its name in the table.
        preset: Its name.
        config: The whole nested configuration (plain dicts, lists, numbers, strings): data, model,
            objective, optim, train, eval, run, recipe.
        label: Empty if the paper's recipe is trained, else the name behind the verdict ('tuned',
            'short', 'modified').
        paper_protocol: Whether its evaluation and its data are the paper's own; only
            then is there a verdict.
        published: What the paper printed, of kind ``measure``.
        measure: The metric that the table is of.
        paper_signature: The signature that the measure has in the paper's own cell, without the
            hash of the data.
        changed: The overrides, as they were written, by which the training
            differs from the preset's.
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

        Readable parts, then a hash of all that decides the training. Two cells of different tables
        that train the same thing share it, and so share their runs.
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
    """What decides what is trained, by section.

    The chosen options, and the settings that differ from their defaults. So a setting that comes
    later, with a default, changes the identity of no run, and a stored configuration that lacks it
    is of the same identity as one that has it. In return a default never changes: see
    ``docs/results.md``. Where data files are (``PLACES``) does not count. A ``VERSION`` and a
    recipe count above 1.
    """
    parts = {section: _chosen(section, config.get(section) or {}) for section in IDENTITY}
    recipe = config.get("recipe", 1)
    return parts if recipe == 1 else {**parts, "recipe": recipe}


def _chosen(section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What one section of a configuration adds to its identity."""
    option = str(settings.get("name"))
    usual = (
        defaults.of_section("train") if section == "train" else defaults.of_option(section, option)
    )
    # An option's name is no default, and its version counts from 1, whatever the present one is.
    usual = {**usual, "name": None, VERSION: 1}
    out = {}
    for key, value in settings.items():
        if section == "data" and key in PLACES:
            continue
        if key not in usual or not _equal(value, usual[key]):
            out[key] = value
    return out


def _equal(a: Any, b: Any) -> bool:
    """Whether two settings mean the same: 1 and 1.0 do, 1 and true do not."""
    if type(a) is type(b) and not isinstance(a, (dict, list)):
        return a == b
    return canonical(a) == canonical(b)


def versions(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The configuration as each version of its options had it.

    From version 1 to the present ones.
    """
    present = {section: config[section].get(VERSION, 1) for section in IDENTITY}
    return [
        {**config, **{s: {**config[s], VERSION: min(present[s], number)} for s in IDENTITY}}
        for number in range(1, max(present.values()) + 1)
    ]


def readable(key: str) -> str:
    """A run's key without its hash: data, model and objective."""
    return key.rpartition("-")[0]


def run_key(config: dict[str, Any]) -> str:
    """Readable, filesystem-safe name of a training configuration.

    It ends in a hash of its ``identity``.
    """
    import hashlib

    digest = hashlib.sha256(canonical(identity(config)).encode()).hexdigest()[:10]
    model = config["model"]
    dims = "-".join(str(d) for d in model.get("dims", []))
    parts = [config["data"]["name"], model["name"] + dims, config["objective"]["name"], digest]
    return "-".join(p.replace("/", "_") for p in parts if p)


def canonical(value: Any) -> str:
    """JSON text in which equal settings are equal strings.

    Keys sorted, 1 and 1.0 alike, NaN refused.
    """

    def plain(v: Any) -> Any:
        if isinstance(v, dict):
            return {str(k): plain(x) for k, x in v.items()}
        if isinstance(v, (list, tuple)):
            return [plain(x) for x in v]
        if isinstance(v, float) and math.isfinite(v) and v == int(v) and abs(v) < 2**53:
            return int(v)
        return v

    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
