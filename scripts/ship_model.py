"""Puts a trained run into results/models, which vaebench ships.

python scripts/ship_model.py RUN [PRESET [TABLE]]        RUN: the folder of a run, .../KEY/seed-S

PRESET is that of its table, or of another TABLE, which asks for this run, if it was made for
something else. What is shipped: the parameters that are evaluated, and how the training went; what
only further training needs is left out, and so are paths of the machine. A run that is not done, or
flagged, is refused, and so is one that would make the whole larger than LIMIT.
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
    """A note or a result without paths of this machine."""
    config = {**content["config"], "run": defaults.of_section("run")}
    config["data"] = {**config["data"], "mirror": None}
    return {**content, "config": config}


def of_preset(note: dict[str, Any], key: str, preset: str, name: str) -> dict[str, Any]:
    """The note as if the run had been made for this preset of a table.

    SystemExit if that does not ask for it.
    """
    table = catalogue.load_table(name)
    cells = [
        cell for cell in compose.cells(table, catalogue.load_preset(preset)) if cell.key == key
    ]
    if not cells:
        sys.exit(f"{key}: no run of {table.name} with preset={preset}")

    # Several cells may show one run: its own, if that is among them.
    own = [cell for cell in cells if (cell.row, cell.column) == (note["row"], note["column"])]
    cell = (own or cells)[0]
    return {
        **note,
        "table": name,
        "row": cell.row,
        "column": cell.column,
        "preset": preset,
        "changed": [],
    }


def ship(run: Path, preset: str | None = None, table: str | None = None) -> None:
    """Copy one run. SystemExit if it may not be shipped."""
    note, seed = read_note(run)
    result = json.loads((run / run_files.RESULT).read_text())
    flagged = flags.of_result(result)
    if result["status"] != "done" or flagged:
        sys.exit(
            f"{run}: {result['status']}, flags: {'; '.join(flagged) or 'none'}; only "
            "sound runs are shipped"
        )
    if preset is not None:
        note = of_preset(note, run.parent.name, preset, table or note["table"])

    last = shed_checkpoint(progress_of(run, seed), note["config"]["train"]["select"])
    as_it_is = [run_files.CURVE] if last.params else [run_files.CURVE, run_files.BEST]
    files = {
        run_files.NOTE: as_text(note),
        run_files.RESULT: as_text(result),
        run_files.CHECKPOINT: written(last),
        **{name: (run / name).read_bytes() for name in as_it_is},
    }

    others = (
        path for path in MODELS.rglob("*") if path.is_file() and run.parent.name not in path.parts
    )
    size = sum(path.stat().st_size for path in others) + sum(map(len, files.values()))
    if size > LIMIT:
        sys.exit(f"{run}: {size / 2**20:.1f} MiB in all; allowed: {LIMIT / 2**20:.0f}")
    assert set(files) <= set(shipped_models.KEPT)
    for name, content in files.items():
        write_atomic(MODELS / run.parent.name / run.name / name, content)


def written(content: checkpoint.Checkpoint) -> bytes:
    """The file of a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / run_files.CHECKPOINT
        checkpoint.write(path, content)
        return path.read_bytes()


def as_text(content: dict[str, Any]) -> bytes:
    """JSON without paths of this machine."""
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
