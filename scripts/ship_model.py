"""Puts a trained run into results/models, which vaebench ships.

python scripts/ship_model.py RUN ...        RUN: the folder of a run, .../KEY/seed-S

Paths of the machine are taken out of its settings. A run that is not done, or flagged, is refused, and so is one that
would make the whole larger than LIMIT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vaebench.files import write_atomic
from vaebench.results import flags, run_files, shipped_models
from vaebench.results.store import read_note
from vaebench.settings import defaults

MODELS = Path(__file__).resolve().parent.parent / "results" / "models"
LIMIT = 20 * 2**20
"""Bytes of all shipped models together."""


def plain(content: dict) -> dict:
    """A note or a result without paths of this machine."""
    config = {**content["config"], "run": defaults.of_section("run")}
    config["data"] = {**config["data"], "mirror": None}
    return {**content, "config": config}


def ship(run: Path) -> None:
    """Copy one run. SystemExit if it may not be shipped."""
    read_note(run)
    result = json.loads((run / run_files.RESULT).read_text())
    flagged = flags.of_result(result)
    if result["status"] != "done" or flagged:
        sys.exit(f"{run}: {result['status']}, flags: {'; '.join(flagged) or 'none'}; only sound runs are shipped")
    there = sum(
        path.stat().st_size for path in MODELS.rglob("*") if path.is_file() and run.parent.name not in path.parts
    )
    size = there + sum((run / name).stat().st_size for name in shipped_models.KEPT if (run / name).exists())
    if size > LIMIT:
        sys.exit(f"{run}: {size / 2**20:.1f} MiB in all; allowed: {LIMIT / 2**20:.0f}")
    for name in shipped_models.KEPT:
        if not (run / name).exists():
            continue
        content = (run / name).read_bytes()
        if name.endswith(".json"):
            content = (json.dumps(plain(json.loads(content)), indent=1) + "\n").encode()
        write_atomic(MODELS / run.parent.name / run.name / name, content)


if __name__ == "__main__":
    for word in sys.argv[1:]:
        ship(Path(word))
