"""The one run that ``sample``, ``reconstruct`` and ``export`` take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vaebench.config import catalogue
from vaebench.errors import UserError
from vaebench.results import shipped_models
from vaebench.settings.defaults import results_root


def add_run(parser: ArgumentParser) -> None:
    """Add the arguments for the run and for the folder of runs."""
    parser.add_argument(
        "run",
        nargs="+",
        metavar="RUN",
        help="a run's directory, or NAME/seed-0 as `vaebench ls runs` has it; or TABLE ROW of a "
        "shipped model; run.results=DIR",
    )


def folder_of(args: Namespace) -> Path:
    """Return the folder of the run that the arguments name. Raises UserError if there is none."""
    names, settings = shipped_models.names_and_settings(args.run)
    value_of = dict(setting.split("=", 1) for setting in settings)
    for key in value_of:
        if key != "run.results":
            raise UserError(f"{key}: a trained run has its settings; allowed: run.results")
    return shipped_models.one(
        results_root(value_of.get("run.results")), names, catalogue.options("table")
    )
