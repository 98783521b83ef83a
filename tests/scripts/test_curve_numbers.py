"""scripts/curve_numbers.py: its errors agree with repeats, and the committed files are what it
makes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from kit.repository import REFERENCE, ROOT, load_script
from scipy.stats import linregress


@pytest.fixture(scope="module")
def script():
    return load_script("curve_numbers")


@pytest.mark.parametrize("name", ["nvil_slopes.csv", "nvil_ratio.csv", "lagging_phases.csv"])
def test_the_committed_numbers_are_those_of_the_curves(script, name: str) -> None:
    from_curves = script.tables()[name]
    committed = (REFERENCE / name).read_text(encoding="utf-8")

    assert from_curves == committed, (
        f"{name} is not what the curves give: python scripts/curve_numbers.py"
    )


@pytest.mark.parametrize("row", ["SBN 200", "SBN 200-200"])
def test_when_equal_rates_are_where_the_literal_ones_end(row: str) -> None:
    """The finding names the update at which the run with equal rates first is as good as the run
    with literal rates at its best, by medians of five validations."""
    curves = pd.read_csv(REFERENCE / "nvil_recipe-paper-curves.csv")
    runs = {
        c: curves[(curves["row"] == row) & (curves["column"] == c)] for c in ("literal", "equal")
    }
    medians = {c: run["valid_bound"].rolling(5).median() for c, run in runs.items()}
    as_good = medians["equal"] <= medians["literal"].min()
    update = int(runs["equal"].loc[as_good.idxmax(), "update"])
    findings = yaml.safe_load(
        (ROOT / "conf" / "table" / "nvil_recipe.yaml").read_text(encoding="utf-8")
    )["findings"]
    (text,) = [
        f["found"] for f in findings if f["topic"].startswith(f"{row} after 10,000,000 updates")
    ]

    assert (
        f"equal ones were after {update:,} updates (medians of five validations, the best so far)"
        in text
    )


def test_the_slope_is_that_of_least_squares(script) -> None:
    rng = np.random.default_rng(0)
    updates = np.arange(1, 51) * 10_000.0
    bounds = 112.0 - 0.3 * updates / 100_000 + rng.normal(0, 0.2, 50)
    fit = linregress(updates / 100_000, bounds)
    slope, error, _ = script.slope(updates, bounds)

    assert (slope, error) == (pytest.approx(fit.slope), pytest.approx(fit.stderr))


@pytest.mark.parametrize(("memory", "low", "high"), [(0.0, 0.85, 1.1), (0.4, 0.8, 1.1)])
def test_the_robust_error_is_that_of_repeats(
    script, memory: float, low: float, high: float
) -> None:
    """The robust error is near the standard deviation of the slopes of 400 repeats.

    If neighbours are correlated by 0.4, the plain error is 0.65 of it: sqrt((1 - 0.4) / (1 + 0.4)).
    """
    rng = np.random.default_rng(1)
    updates = np.arange(1, 201) * 10_000.0
    fits = []
    for _ in range(400):
        noise = rng.normal(size=200)
        # An autoregressive sequence, noise[i] = memory noise[i - 1] + white noise.
        for i in range(1, 200):
            noise[i] += memory * noise[i - 1]
        fits.append(script.slope(updates, noise))

    slopes, plain, robust = np.array(fits).T

    # In the mean of 400 repeats, between 0.8 or 0.85 and 1.1 of what they show. The plain error is
    # right only if neighbours are independent.
    assert low < robust.mean() / slopes.std() < high
    assert bool(plain.mean() > 0.9 * slopes.std()) is (memory == 0.0)


def test_phases_are_read_off_the_curve(script, monkeypatch) -> None:
    """A run has two aggressive passes and then a plain one. The second loses 0.2 nat of mutual
    information within batches. A collapsed run gives the noise."""
    columns = ["row", "column", "seed", "update", "valid_bound"]
    columns += ["train_inner", "valid_mi_batch", "valid_mi", "valid_active_units"]
    # (inner updates, mutual information within batches, that of the whole set) of each pass.
    rows = [
        ("aggressive", "IW", 0, u, 40.0, *rest, 1)
        for u, rest in enumerate([(28, 1.0, 1.1), (30, 0.8, 0.95), (0, 0.9, 1.0)])
    ]
    rows += [
        ("VAE", "IW", 0, u, 40.0, np.nan, noise, 0.0, 0) for u, noise in enumerate((-0.1, 0.0, 0.1))
    ]
    frame = pd.DataFrame(rows, columns=columns)
    monkeypatch.setattr(script, "curves", lambda name: frame)
    (line, _) = script.phases().to_dict("records")

    assert {**line, "runs": ""} == {
        **{"runs": "", "row": "aggressive", "seed": 0, "passes": 2, "inner": "29.0"},
        **{"batch_before": "1.000", "batch_end": "0.800", "fell": "0.200", "whole_before": "1.100"},
        **{"whole_end": "0.950", "whole_next": "1.000", "whole_last": "1.000", "noise": "0.100"},
    }
