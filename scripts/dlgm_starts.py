"""Whether a deep latent Gaussian model learns at all, by its first values.

Writes results/reference/dlgm_starts.csv.

python scripts/dlgm_starts.py [MIRROR]        a folder with the files of MNIST; a few minutes

A model of table dlgm_mnist (diagonal, bit flips 0.1) is trained by a plain loop for 600 updates of
200 cases, with its nonlinearity and its visible bias as named. Bound and KL are means over the last
100 updates.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from vaebench import data, files, models, objectives
from vaebench.data.splits import Splits
from vaebench.objectives.base import Batch
from vaebench.rng import noise

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
STARTS = (("relu", "mean"), ("relu", "init"), ("tanh", "mean"))
"""Nonlinearity, and where the visible bias starts: ``init`` at 0, ``mean`` at the logit of the
training mean."""

SEEDS = (0, 1, 2)
UPDATES = 600
LAST = 100
"""Last updates over which bound and KL are averaged."""

BATCH = 200
RATE = 5e-4


def trained(splits: Splits, nonlinearity: str, visible_bias: str, seed: int) -> tuple[float, float]:
    """Train once. Return minus the bound and the KL, nats, means over the last updates."""
    config = {
        **{"name": "dlgm", "input_noise": "bit_flip", "noise_rate": 0.1},
        **{"nonlinearity": nonlinearity, "visible_bias": visible_bias},
    }
    model = models.build(config, splits.info)
    rule = objectives.build({"name": "free_energy", "weight_decay": 2e-5}, model)
    models.start(rule, {"init": "glorot", "init_scale": 0.01}, seed)
    optimiser = torch.optim.Adam(rule.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(seed)

    # A plain loop, without the engines: nothing but the start and the nonlinearity should matter.
    bounds_and_kls = []
    for _ in range(UPDATES):
        rows = torch.randint(0, len(splits.train), (BATCH,), generator=generator)
        x = torch.from_numpy(splits.train[rows.numpy()]).float()
        draws = noise.draw(rule.draws(*x.shape), generator)
        loss, _, metrics = rule({}, Batch(x), draws)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bounds_and_kls.append((-float(metrics["bound"]), float(metrics["kl"])))
    bound, kl = torch.tensor(bounds_and_kls[-LAST:]).mean(0).tolist()
    return bound, kl


def main() -> int:
    """Train all starts at all seeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("mirror", nargs="?", help="a folder with the files of MNIST")
    args = parser.parse_args()
    torch.set_num_threads(1)
    splits = data.load({"name": "mnist_static"}, mirror=args.mirror)

    # A line is printed as soon as it is known; the file is written once, at the end.
    lines = []
    for (nonlinearity, bias), seed in product(STARTS, SEEDS):
        bound, kl = trained(splits, nonlinearity, bias, seed)
        lines.append((nonlinearity, bias, seed, UPDATES, round(bound, 3), round(kl, 6)))
        print(*lines[-1], flush=True)
    frame = pd.DataFrame(
        lines, columns=["nonlinearity", "visible_bias", "seed", "updates", "bound", "kl"]
    )
    files.write_atomic(
        REFERENCE / "dlgm_starts.csv", frame.to_csv(index=False, lineterminator="\n")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
