"""Make a store of as many runs as a thousand GPUs would leave.

None is trained; it is to measure what reads stores.

python scripts/simulated_store.py DIR [--runs 100000] [--seeds 5] [--validations 0]

The runs are of all cells of all tables: first by their own settings, then by learning rates around
theirs, as a sweep would make them, at several seeds each. A run has its two files of JSON,
``config.json`` and ``result.json``, with the measures that its cell asks for, and with
``--validations`` a curve of so many lines. About 1 run of 100 has failed, and 1 of 100 has
diverged. Values are random numbers around the published one. 100,000 runs take about 1 GB without
curves.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from vaebench.config import catalogue
from vaebench.config.cells import Cell, run_key
from vaebench.config.compose import cells
from vaebench.config.tables import Table
from vaebench.protocol.signature import evaluated, samples_of, signature

HASH = "0123456789abcdef" * 4


def every_cell() -> list[Cell]:
    """Return the cells of all tables, by the paper's recipe."""
    paper = catalogue.load_preset("paper")
    tables = [t for t in map(catalogue.load, catalogue.options("table")) if isinstance(t, Table)]
    return [cell for table in tables for cell in cells(table, paper)]


def settings(base: list[Cell]) -> Iterator[tuple[str, dict[str, Any], Cell, list[str]]]:
    """Yield key, configuration, cell and changes of one training after the other, no key twice.

    This never ends.
    """
    keys_seen: set[str] = set()
    for round_number in count():
        for cell in base:
            config = copy.deepcopy(cell.config)
            changes = []
            # The first round has the tables' own settings. Each further one raises ``optim.rate``
            # by another thousandth of its value in the table.
            if round_number:
                config["optim"]["rate"] *= 1 + round_number / 1000
                changes = [f"optim.rate={config['optim']['rate']}"]
            key = run_key(config)
            if key not in keys_seen:
                keys_seen.add(key)
                yield key, config, cell, changes


def measures(cell: Cell, config: dict[str, Any], rng: random.Random) -> list[dict[str, Any]]:
    """Return the measures that an evaluation would have found."""
    centre = cell.published or 100.0
    measured = []
    for name in sorted(evaluated(config, cell.measure)):
        k = samples_of(config, name)
        protocol = signature(config, name, k, HASH)
        measured.append(
            {
                **{
                    "name": name,
                    "value": rng.gauss(centre, 1),
                    "unit": "nats",
                    "error": 0.05,
                    "points": 10_000,
                },
                **{
                    "error_kind": "monte carlo",
                    "samples": k,
                    "signature": protocol,
                    "extra": {},
                    "flags": [],
                },
            }
        )
    return measured


def result(
    key: str, seed: int, config: dict[str, Any], cell: Cell, rng: random.Random
) -> dict[str, Any]:
    """Return what ``result.json`` would hold."""
    draw = rng.random()
    status = "failed" if draw < 0.01 else "diverged" if draw < 0.02 else "done"
    updates = config["train"]["updates"]
    return {
        **{
            "schema": 1,
            "status": status,
            "reason": "" if status == "done" else "simulated",
            "flags": [],
        },
        **{"key": key, "seed": seed, "config": config, "updates": updates, "best_update": updates},
        **{
            "stopped_early": False,
            "seconds": 3600 * rng.random(),
            "pack": 1,
            "device": "cuda (simulated)",
        },
        **{
            "engine": "plain",
            "peak_memory_mb": 1000.0,
            "updates_per_second": 100.0,
            "eval_seconds": 10.0,
        },
        "versions": {"vaebench": "0.1.0", "torch": "2", "python": "3", "commit": "0" * 12},
        "data": {
            "name": config["data"]["name"],
            "hash": HASH,
            "hashes": {"train": HASH, "valid": HASH, "test": HASH},
        },
        "measures": measures(cell, config, rng) if status == "done" else [],
    }


def curve(updates: int, validations: int, rng: random.Random) -> str:
    """Return what ``curve.csv`` would hold."""
    lines = ["update,seconds,train_bound,valid_bound,unit"]
    for number in range(1, validations + 1):
        bound = 100 + 100 / number + rng.random()
        lines.append(f"{updates * number // validations},{36.0 * number},{bound - 1},{bound},nats")
    return "\n".join(lines) + "\n"


def make(root: Path, runs: int, seeds: int, validations: int) -> None:
    """Write the store."""
    rng = random.Random(0)
    for key, config, cell, changes in islice(settings(every_cell()), runs // seeds):
        # A key is one folder, with a folder for each seed; the note is the same for all of them.
        note = {"config": config, "data_hash": HASH, "row": cell.row, "column": cell.column}
        note |= {"table": cell.table, "preset": cell.preset, "changed": changes}
        text = json.dumps(note, indent=1) + "\n"
        for seed in range(seeds):
            folder = root / key / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(text)
            (folder / "result.json").write_text(
                json.dumps(result(key, seed, config, cell, rng), indent=1) + "\n"
            )
            if validations:
                (folder / "curve.csv").write_text(
                    curve(config["train"]["updates"], validations, rng)
                )


def main() -> None:
    """Make the store that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="made if it is not there")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, default=5, help="per cell")
    parser.add_argument(
        "--validations", type=int, default=0, help="lines of each curve; 0: no curves"
    )
    args = parser.parse_args()
    make(args.folder, args.runs, args.seeds, args.validations)
    print(f"{args.runs} runs in {args.folder}")


if __name__ == "__main__":
    main()
