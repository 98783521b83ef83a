"""Puts a trained run into results/models, which vaebench ships.

python scripts/ship_model.py RUN [PRESET [TABLE]]        RUN: the folder of a run, .../KEY/seed-S

PRESET is one of the run's table. If the run was made for something else, TABLE and PRESET name what
asks for it. The evaluated parameters are shipped, and how the training went. What only further
training needs is left out, and so are paths of the machine. A run that is not done or is flagged is
refused, and so is one that would make all shipped models together larger than LIMIT.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from vaebench.config import catalogue, compose
from vaebench.files import write_atomic
from vaebench.results import flags, run_files, shipped_models
from vaebench.results.store import read_note
from vaebench.settings import defaults
from vaebench.training import checkpoint
from vaebench.training.run_state import progress_of, shed_checkpoint

MODELS = Path(__file__).resolve().parent.parent / "results" / "models"
LIMIT = 20 * 2**20
"""Bytes of all shipped models together."""


def plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return a note or a result without paths of this machine."""
    # Settings of the execution and the mirror may name folders of this machine.
    config = {**content["config"], "run": defaults.of_section("run")}
    config["data"] = {**config["data"], "mirror": None}
    return {**content, "config": config}


def of_preset(note: dict[str, Any], key: str, preset: str, name: str) -> dict[str, Any]:
    """Return the note as if the run had been made for this preset of a table.

    Raises SystemExit if the preset does not ask for the run.
    """
    table = catalogue.load_table(name)
    cells = [
        cell for cell in compose.cells(table, catalogue.load_preset(preset)) if cell.key == key
    ]
    if not cells:
        sys.exit(f"{key}: no run of {table.name} with preset={preset}")

    # Several cells may show one run. The one that it was made for is taken if it is among them.
    made_for = [cell for cell in cells if (cell.row, cell.column) == (note["row"], note["column"])]
    cell = (made_for or cells)[0]
    return {
        **note,
        "table": name,
        "row": cell.row,
        "column": cell.column,
        "preset": preset,
        "changed": [],
    }


def ship(run: Path, preset: str | None = None, table: str | None = None) -> None:
    """Copy one run. Raises SystemExit if it may not be shipped."""
    note, seed = read_note(run)
    result = json.loads((run / run_files.RESULT).read_text())
    flagged = flags.of_result(result)
    if result["status"] != "done" or flagged:
        sys.exit(
            f"{run}: {result['status']}, flags: {flags.in_short(flagged) or 'none'}; only "
            "sound runs are shipped"
        )
    if preset is not None:
        note = of_preset(note, run.parent.name, preset, table or note["table"])

    # If the last parameters are evaluated, the checkpoint holds them; else the best ones are a file
    # of their own.
    shed = shed_checkpoint(progress_of(run, seed), note["config"]["train"]["select"])
    copied = [run_files.CURVE] if shed.params else [run_files.CURVE, run_files.BEST]
    files = {
        run_files.NOTE: as_text(note),
        run_files.RESULT: as_text(result),
        run_files.CHECKPOINT: written(shed),
        **{name: (run / name).read_bytes() for name in copied},
    }

    # All shipped files but those of this run, which are replaced.
    replaced = MODELS / run.parent.name / run.name
    others = (path for path in MODELS.rglob("*") if path.is_file() and replaced not in path.parents)
    size = sum(path.stat().st_size for path in others) + sum(map(len, files.values()))
    if size > LIMIT:
        sys.exit(f"{run}: {size / 2**20:.1f} MiB in all; allowed: {LIMIT / 2**20:.0f}")
    assert set(files) <= set(shipped_models.KEPT)
    for name, content in files.items():
        write_atomic(MODELS / run.parent.name / run.name / name, content)


def written(content: checkpoint.Checkpoint) -> bytes:
    """Return the bytes of a checkpoint's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / run_files.CHECKPOINT
        checkpoint.write(path, content)
        return path.read_bytes()


def as_text(content: dict[str, Any]) -> bytes:
    """Return JSON without paths of this machine."""
    return (json.dumps(plain(content), indent=1) + "\n").encode()


def main() -> None:
    """Ship the run that is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="its folder, .../KEY/seed-S")
    parser.add_argument(
        "preset", nargs="?", help="of its table, or of TABLE; default: as it was made"
    )
    parser.add_argument("table", nargs="?", help="another one that asks for this run")
    args = parser.parse_args()
    ship(args.run, args.preset, args.table)


if __name__ == "__main__":
    main()
