"""The KL above the least at which training ends, by starts.

Writes results/reference/toy_starts.csv.

python scripts/toy_starts.py RESULTS

RESULTS: a folder of runs of table=dvae_sharp_sharp_toy, for instance of

    vaebench run table=dvae_sharp_sharp_toy --only "row=mixture 6" --seeds 0-4 run.results=RESULTS

A seed draws the couplings from which training starts, and all noise. A line per mixture, gradient
and seed: the KL above the least one after half the updates (``halfway``, by the curve) and at the
end (``kl_gap``), in nats.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from vaebench import files

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
ORDER = ["mixture", "gradient", "relaxed_sweeps", "rao_blackwell", "seed"]


def lines(results: Path) -> pd.DataFrame:
    """Return the finished runs of a Boltzmann machine fitted to a mixture, in ``ORDER``."""
    rows = []
    for path in sorted(results.glob("*/seed-*/result.json")):
        result = json.loads(path.read_text())
        model = result["config"]["model"]
        objective = result["config"]["objective"]
        if model["name"] != "rbm_target" or result["status"] != "done":
            continue

        measures = {m["name"]: m for m in result["measures"]}
        curve = pd.read_csv(path.with_name("curve.csv"))
        # The curve's bound is the KL, and was minus the KL in version 1. ``least`` is the KL of the
        # best RBM of this size.
        halfway = curve[curve["update"] == result["updates"] // 2]["valid_bound"].abs().item()
        least_kl = measures["exact_kl"]["extra"]["least"]
        rows.append(
            {
                "mixture": model["mixture"],
                **{
                    name: objective[name]
                    for name in ("gradient", "relaxed_sweeps", "rao_blackwell")
                },
                "seed": result["seed"],
                "updates": result["updates"],
                "halfway": round(halfway - least_kl, 4),
                "kl_gap": round(measures["kl_gap"]["value"], 4),
            }
        )
    return pd.DataFrame(rows).sort_values(ORDER).reset_index(drop=True)


def main() -> None:
    """Write the CSV and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, help="the folder of the runs")
    frame = lines(parser.parse_args().results)
    files.write_atomic(REFERENCE / "toy_starts.csv", frame.to_csv(index=False, lineterminator="\n"))
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
