"""Numbers that findings take from the curves in results/reference.

They are slopes, ratios of speed, and ends of aggressive phases.

python scripts/curve_numbers.py

Writes three files, from the curves alone.

``nvil_slopes.csv``: the straight line through the validation bounds after ``since`` updates, by
least squares, in nats per 100,000 updates. A negative slope means that the NLL falls. ``error``
takes the validations for independent; ``robust_error`` allows for correlation between neighbours
(Newey & West 1987, lags up to ``LAGS``).

``nvil_ratio.csv``: how many times as many updates the printed rates need as those of preset=tuned
for the same validation bound, along the curve. Both curves are medians of five validations, at
their best so far.

``lagging_phases.csv``: every aggressive phase.

- ``passes``: how many passes it lasted; ``inner``: the mean number of inner updates.
- ``batch_before``, ``batch_end``: the mutual information within batches, which the objective
  watches, before the last pass of the phase and after it; ``fell``: the difference.
- ``whole_before``, ``whole_end``, ``whole_next``, ``whole_last``: the mutual information over the
  whole validation set before that pass, after it, after the next pass, and at the end.
- ``noise``: the standard deviation of the estimate within batches where it is noise alone: at
  validations of the table's other runs without an active unit and with a mutual information of the
  whole set below ``COLLAPSED``. Two estimates differ by sqrt(2) times that.

Runs whose curve lacks the mutual information are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

REFERENCE = Path(__file__).resolve().parent.parent / "results" / "reference"
LAGS = 9
"""Neighbouring validations that may be correlated, in ``robust_error``."""

STEP = 100_000
"""Updates that a slope refers to."""

SLOPES = {
    "nvil_mnist-tenth": (1_500_000,),
    "nvil_mnist-tuned": (1_000_000, 1_500_000),
    "nvil_mnist-long": (2_000_000, 3_000_000),
    "nvil_recipe-paper": (5_000_000, 8_000_000),
    "nvil_recipe-short": (3_000_000,),
    "nvil_recipe-twice": (15_000_000, 18_000_000),
}
"""Table and preset -> updates after which the lines begin."""

LEVELS = (100_000, 200_000, 500_000, 1_000_000, 1_500_000, 2_000_000)
"""Updates of preset=tenth at which its bound is looked for in preset=tuned."""

COLLAPSED = 0.01
"""Mutual information, nats, below which a model without active units counts as collapsed."""


def curves(name: str) -> pd.DataFrame:
    """Return the curves of one table and preset; the bound is a positive number of nats."""
    frame = pd.read_csv(REFERENCE / f"{name}-curves.csv")
    frame["bound"] = frame["valid_bound"].abs()
    return frame.sort_values(["row", "column", "seed", "update"])


def slope(updates: np.ndarray, bounds: np.ndarray) -> tuple[float, float, float]:
    """Fit a straight line by least squares.

    Args:
        updates: When the validations took place, (n,).
        bounds: Their bounds, (n,), nats.

    Returns:
        The slope per ``STEP`` updates, its standard error for independent residuals, and that for
        correlated ones.

    Reference:
        Newey & West 1987, with weights 1 - lag / (LAGS + 1).
    """
    x = np.stack([np.ones(len(updates)), updates / STEP], axis=1)
    inverse = np.linalg.inv(x.T @ x)
    coefficients = inverse @ x.T @ bounds
    residuals = bounds - x @ coefficients
    degrees_of_freedom = len(x) - 2
    covariance = inverse * (residuals @ residuals) / degrees_of_freedom

    # Newey-West: the products of the scores with themselves, and with their neighbours, whose
    # weights fall linearly. The factor n / (n - 2) is that of small samples.
    scores = x * residuals[:, None]
    long_run = scores.T @ scores
    for lag in range(1, LAGS + 1):
        cross = scores[lag:].T @ scores[:-lag]
        long_run += (1 - lag / (LAGS + 1)) * (cross + cross.T)
    robust_covariance = inverse @ long_run @ inverse * len(x) / degrees_of_freedom
    return (
        float(coefficients[1]),
        float(covariance[1, 1] ** 0.5),
        float(robust_covariance[1, 1] ** 0.5),
    )


def slopes() -> pd.DataFrame:
    """Return the frame of ``nvil_slopes.csv``: a line per run and beginning of the fit."""
    lines = []
    for name, beginnings in SLOPES.items():
        for (row, column, seed), run in curves(name).groupby(["row", "column", "seed"]):
            for since in beginnings:
                after = run[run["update"] > since]
                # So few validations have no error that allows for LAGS correlated neighbours.
                if len(after) < 2 * LAGS:
                    continue

                values = slope(after["update"].to_numpy(float), after["bound"].to_numpy())
                lines.append(
                    (name, row, column, seed, since, len(after), *(f"{v:.4f}" for v in values))
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
    return pd.DataFrame(lines, columns=columns)


def best_so_far(run: pd.DataFrame) -> np.ndarray:
    """Return medians of five validations, each replaced by the lowest up to there."""
    return np.minimum.accumulate(
        run["bound"].rolling(5, center=True, min_periods=1).median().to_numpy()
    )


def ratios() -> pd.DataFrame:
    """Return the frame of ``nvil_ratio.csv``.

    It has the updates of preset=tenth (the printed rates) over those of preset=tuned at the same
    bound, for NVIL.
    """
    lines = []
    printed_rates = curves("nvil_mnist-tenth")
    tuned_rates = curves("nvil_mnist-tuned")
    for (row, seed), slow in printed_rates[printed_rates["column"] == "NVIL"].groupby(
        ["row", "seed"]
    ):
        fast = tuned_rates[
            (tuned_rates["row"] == row)
            & (tuned_rates["column"] == "NVIL")
            & (tuned_rates["seed"] == seed)
        ]
        if not len(fast):
            continue

        levels = best_so_far(slow)
        reached = best_so_far(fast)
        for updates in LEVELS:
            # Skipped: a run that did not get so far, and a bound that preset=tuned never reached.
            at_update = slow["update"].to_numpy() == updates
            if not at_update.any() or reached.min() > levels[at_update][0]:
                continue

            # argmax finds the first validation at which the level is reached.
            updates_needed = int(
                fast["update"].to_numpy()[np.argmax(reached <= levels[at_update][0])]
            )
            lines.append(
                (
                    row,
                    seed,
                    f"{levels[at_update][0]:.2f}",
                    updates,
                    updates_needed,
                    f"{updates / updates_needed:.1f}",
                )
            )
    return pd.DataFrame(lines, columns=["row", "seed", "bound", "literal", "tuned", "ratio"])


def phases() -> pd.DataFrame:
    """Return the frame of ``lagging_phases.csv``: a line per run with an aggressive phase."""
    lines = []
    for name in ("lagging_synthetic-paper", "lagging_yahoo-small"):
        frame = curves(name).dropna(subset=["valid_mi", "valid_mi_batch"])
        is_aggressive = frame["row"].str.startswith("aggressive")
        is_collapsed = (
            ~is_aggressive
            & (frame["valid_mi"].abs() < COLLAPSED)
            & (frame["valid_active_units"] == 0)
        )
        # Collapsed rows of one seed have the same noise, so each validation of a seed counts once.
        noise = frame[is_collapsed].groupby(["seed", "update"])["valid_mi_batch"].first().std()
        for (row, seed), run in frame[is_aggressive].groupby(["row", "seed"]):
            # The phase is the first ``passes`` validations, one after each pass over the data.
            in_phase = run["train_inner"] > 0
            passes = int(in_phase.sum())
            batch = run["valid_mi_batch"].to_numpy()
            whole = run["valid_mi"].to_numpy()
            # Validation ``passes`` - 1 is the last one in the phase, that before it is the one
            # before the phase's last pass. A phase of one pass has none before.
            before = (batch[passes - 2], whole[passes - 2]) if passes > 1 else (np.nan, np.nan)

            numbers = [before[0], batch[passes - 1], before[0] - batch[passes - 1]]
            numbers += [before[1], whole[passes - 1], whole[passes], whole[-1], noise]
            inner = run.loc[in_phase, "train_inner"].mean()
            texts = ["" if np.isnan(v) else f"{v:.3f}" for v in numbers]
            lines.append((name, row, seed, passes, f"{inner:.1f}", *texts))
    columns = [
        "batch_before",
        "batch_end",
        "fell",
        "whole_before",
        "whole_end",
        "whole_next",
        "whole_last",
        "noise",
    ]
    return pd.DataFrame(lines, columns=["runs", "row", "seed", "passes", "inner", *columns])


def tables() -> dict[str, str]:
    """Return the text of each file by its name."""
    made = {"nvil_slopes.csv": slopes(), "nvil_ratio.csv": ratios(), "lagging_phases.csv": phases()}
    return {name: frame.to_csv(index=False, lineterminator="\n") for name, frame in made.items()}


def main() -> None:
    """Write the files and print them."""
    for name, text in tables().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
        print(f"{name}\n{text}")


if __name__ == "__main__":
    main()
