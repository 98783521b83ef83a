"""Numbers that findings take from the curves in results/reference.

Slopes, ratios of speed, ends of aggressive phases.

python scripts/curve_numbers.py

Writes, from the curves alone:

``nvil_slopes.csv``: the straight line through the validation bounds after ``since`` updates, by
least squares, in nats per 100,000 updates (negative: the NLL falls). ``error`` takes the
validations for independent; ``robust_error`` allows for correlation between neighbours (Newey &
West 1987, lags up to ``LAGS``).

``nvil_ratio.csv``: how many times as many updates the printed rates need as those of preset=tuned
for the same validation bound, along the curve; both curves as medians of five validations, at their
best so far.

``lagging_phases.csv``: every aggressive phase. ``passes`` it lasted and the mean number of
``inner`` updates; the mutual information within batches, which the rule watches, before the last
pass and after it (``batch_before``, ``batch_end``), and ``fell``, the difference; that over the
whole validation set before it, after it, after the next pass, and after the last (``whole_before``,
``whole_end``, ``whole_next``, ``whole_last``). ``noise``: the standard deviation of the estimate
within batches, from the runs of the table in which no unit is active and the whole set's mutual
information is below ``COLLAPSED``, so that the estimate is noise alone. Two estimates differ by
sqrt(2) times that. Runs whose curve lacks the mutual information are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
LAGS = 9
STEP = 100_000
SLOPES = {
    "nvil_mnist-tenth": (1_500_000,),
    "nvil_mnist-tuned": (1_000_000, 1_500_000),
    "nvil_mnist-long": (2_000_000, 3_000_000),
    "nvil_recipe-paper": (5_000_000, 8_000_000),
    "nvil_recipe-short": (3_000_000,),
    "nvil_recipe-twice": (15_000_000, 18_000_000),
}
LEVELS = (100_000, 200_000, 500_000, 1_000_000, 1_500_000, 2_000_000)
COLLAPSED = 0.01


def curves(name: str) -> pd.DataFrame:
    """The curves of one table and preset; the bound as a positive number of nats."""
    frame = pd.read_csv(REFERENCE / f"{name}-curves.csv")
    frame["bound"] = frame["valid_bound"].abs()
    return frame.sort_values(["row", "column", "seed", "update"])


def slope(updates: np.ndarray, bounds: np.ndarray) -> tuple[float, float, float]:
    """Slope per ``STEP`` updates, its error for independent residuals.

    And the error for correlated ones.
    """
    x = np.stack([np.ones(len(updates)), updates / STEP], axis=1)
    inverse = np.linalg.inv(x.T @ x)
    line = inverse @ x.T @ bounds
    rest = bounds - x @ line
    free = len(x) - 2
    plain = inverse * (rest @ rest) / free

    scores = x * rest[:, None]
    meat = scores.T @ scores
    for lag in range(1, LAGS + 1):
        cross = scores[lag:].T @ scores[:-lag]
        meat += (1 - lag / (LAGS + 1)) * (cross + cross.T)
    robust = inverse @ meat @ inverse * len(x) / free
    return float(line[1]), float(plain[1, 1] ** 0.5), float(robust[1, 1] ** 0.5)


def slopes() -> pd.DataFrame:
    """One line per run and beginning of the line."""
    found = []
    for name, beginnings in SLOPES.items():
        for (row, column, seed), run in curves(name).groupby(["row", "column", "seed"]):
            for since in beginnings:
                late = run[run["update"] > since]
                if len(late) < 2 * LAGS:
                    continue
                values = slope(late["update"].to_numpy(float), late["bound"].to_numpy())
                found.append(
                    (name, row, column, seed, since, len(late), *(f"{v:.4f}" for v in values))
                )
    columns = [
        "runs",
        "row",
        "column",
        "seed",
        "since",
        "validations",
        "slope",
        "error",
        "robust_error",
    ]
    return pd.DataFrame(found, columns=columns)


def best_so_far(run: pd.DataFrame) -> np.ndarray:
    """Medians of five validations, each replaced by the lowest up to there."""
    return np.minimum.accumulate(
        run["bound"].rolling(5, center=True, min_periods=1).median().to_numpy()
    )


def ratios() -> pd.DataFrame:
    """Updates of preset=tenth over those of preset=tuned at the same bound, of NVIL."""
    found = []
    literal = curves("nvil_mnist-tenth")
    tuned = curves("nvil_mnist-tuned")
    for (row, seed), slow in literal[literal["column"] == "NVIL"].groupby(["row", "seed"]):
        fast = tuned[(tuned["row"] == row) & (tuned["column"] == "NVIL") & (tuned["seed"] == seed)]
        if not len(fast):
            continue

        levels = best_so_far(slow)
        reached = best_so_far(fast)
        for updates in LEVELS:
            at = slow["update"].to_numpy() == updates
            if not at.any() or reached.min() > levels[at][0]:
                continue
            first = int(fast["update"].to_numpy()[np.argmax(reached <= levels[at][0])])
            found.append(
                (row, seed, f"{levels[at][0]:.2f}", updates, first, f"{updates / first:.1f}")
            )
    return pd.DataFrame(found, columns=["row", "seed", "bound", "literal", "tuned", "ratio"])


def phases() -> pd.DataFrame:
    """One line per run with an aggressive phase."""
    found = []
    for name in ("lagging_synthetic-paper", "lagging_yahoo-small"):
        frame = curves(name).dropna(subset=["valid_mi", "valid_mi_batch"])
        aggressive = frame["row"].str.startswith("aggressive")
        collapsed = (
            ~aggressive & (frame["valid_mi"].abs() < COLLAPSED) & (frame["valid_active_units"] == 0)
        )
        # Rows of a seed share it.
        noise = frame[collapsed].groupby(["seed", "update"])["valid_mi_batch"].first().std()
        for (row, seed), run in frame[aggressive].groupby(["row", "seed"]):
            inside = run["train_inner"] > 0
            passes = int(inside.sum())
            batch = run["valid_mi_batch"].to_numpy()
            whole = run["valid_mi"].to_numpy()
            before = (batch[passes - 2], whole[passes - 2]) if passes > 1 else (np.nan, np.nan)
            numbers = [before[0], batch[passes - 1], before[0] - batch[passes - 1]]
            numbers += [before[1], whole[passes - 1], whole[passes], whole[-1], noise]
            inner = run.loc[inside, "train_inner"].mean()
            texts = ["" if np.isnan(v) else f"{v:.3f}" for v in numbers]
            found.append((name, row, seed, passes, f"{inner:.1f}", *texts))
    measured = [
        "batch_before",
        "batch_end",
        "fell",
        "whole_before",
        "whole_end",
        "whole_next",
        "whole_last",
        "noise",
    ]
    return pd.DataFrame(found, columns=["runs", "row", "seed", "passes", "inner", *measured])


def tables() -> dict[str, str]:
    """File name -> its text."""
    made = {"nvil_slopes.csv": slopes(), "nvil_ratio.csv": ratios(), "lagging_phases.csv": phases()}
    return {name: frame.to_csv(index=False, lineterminator="\n") for name, frame in made.items()}


def main() -> None:
    """Write the files and print them."""
    for name, text in tables().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"{name}\n{text}")


if __name__ == "__main__":
    main()
