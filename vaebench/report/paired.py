"""Two models on the same examples.

This file writes what is known of each example to a file, and compares two such files pair by pair.
The likelihoods of an image differ by tens of nats from image to image, but by far less from model
to model on the same image. So the mean of the differences is known much better than the difference
of the means.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaebench.errors import UserError
from vaebench.report import text
from vaebench.report.compare import LEVEL
from vaebench.report.page import Grid
from vaebench.results.stats import half_width, mean_error

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NAMES = ("run", "data", "split", "case")
"""Columns that name an example."""

NUMBERS = ("nll", "iw_nll", "bound", "kl", "ess")
"""Further columns, if known; all are in nats but ``ess``. The first three are compared."""

SAMPLES = "iw_samples"
"""Column with the number of samples of ``iw_nll`` and ``ess``. More samples
give a lower ``iw_nll``."""


def csv_text(
    run: str,
    data: str,
    split: str,
    places: np.ndarray,
    columns: Mapping[str, np.ndarray],
    samples: int | None = None,
) -> str:
    """Return a CSV with a line for each example.

    Args:
        run: Name of the run.
        data: Hash of the split alone, whatever the training data are.
        split: The split that the examples are from.
        places: Their positions in the split, (n,).
        columns: Some of NUMBERS -> (n,).
        samples: Number of samples of ``iw_nll``, if it is there.
    """
    import pandas as pd

    known_columns: dict[str, np.ndarray | int] = {
        name: columns[name] for name in NUMBERS if name in columns
    }

    if "iw_nll" in known_columns and samples is not None:
        known_columns[SAMPLES] = samples

    frame = pd.DataFrame(
        {"run": run, "data": data[:16], "split": split, "case": places, **known_columns}
    )
    return str(frame.to_csv(index=False, lineterminator="\n"))


def is_of_cases(path: str) -> bool:
    """Return whether a file has a line for each example, as its header says.

    False if it cannot be read.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as f:
            return f.readline().rstrip("\r\n").split(",")[: len(NAMES)] == list(NAMES)
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class Pair:
    """One number of two models on the same examples.

    Attributes:
        name: One of NUMBERS.
        a: Mean of the first model.
        b: Mean of the second model.
        difference: b minus a, in nats.
        error: Standard error of the difference over examples; None for a single example.
        allowed: Half-width of its interval at LEVEL by Student's t.
        better: Share of the examples on which the second model is lower.
    """

    name: str
    a: float
    b: float
    difference: float
    error: float | None
    allowed: float
    better: float

    @property
    def differs(self) -> bool:
        """Whether the means differ by more than chance."""
        return abs(self.difference) > self.allowed


@dataclass(frozen=True)
class Pairs:
    """The comparison of two files of examples.

    Attributes:
        a: Name of the first run.
        b: Name of the second run.
        cases: Number of examples that both have.
        lines: One for each number that both have.
        unlike: Why a number that both have is left out; empty if none is.
    """

    a: str
    b: str
    cases: int
    lines: tuple[Pair, ...]
    unlike: str = ""


def compare(first: str, second: str) -> Pairs:
    """Compare two files of examples on those that both have.

    Raises:
        UserError: If a file is damaged, the examples are of other data or another split, or the
            files have nothing in common.
    """
    a = _read(first)
    b = _read(second)

    # ``_read`` has checked that these columns have one value in each file.
    for name in ("data", "split"):
        if a[name].iloc[0] != b[name].iloc[0]:
            raise UserError(
                f"{first} is of {name} {a[name].iloc[0]}, {second} of "
                f"{b[name].iloc[0]}: not the same cases"
            )

    # A line for each example that is in both files. The bias of an importance-weighted NLL depends
    # on the number of samples: both must have the same number.
    pairs = a.merge(b, on="case", suffixes=(" a", " b"))
    unlike = _unlike(a, b)
    names = [
        name for name in NUMBERS[:3] if f"{name} a" in pairs and not (unlike and name == "iw_nll")
    ]
    if not len(pairs) or not names:
        missing = "case" if not len(pairs) else "number"
        raise UserError(
            f"{first} and {second} have no {missing} in common{f' but {unlike}' if unlike else ''}"
        )

    lines = tuple(_pair(name, pairs[f"{name} a"], pairs[f"{name} b"]) for name in names)
    return Pairs(str(a["run"].iloc[0]), str(b["run"].iloc[0]), len(pairs), lines, unlike)


def _unlike(a: pd.DataFrame, b: pd.DataFrame) -> str:
    """Say that importance-weighted NLLs are of different numbers of samples.

    '' if the numbers are equal or not known.
    """
    if SAMPLES not in a or SAMPLES not in b or a[SAMPLES].iloc[0] == b[SAMPLES].iloc[0]:
        return ""
    return (
        f"iw_nll, of K={a[SAMPLES].iloc[0]:,} in A and of K={b[SAMPLES].iloc[0]:,} in B, "
        "which is not compared"
    )


def _pair(name: str, a: pd.Series, b: pd.Series) -> Pair:
    # The error of the mean of the paired differences. The variation from example to example, which
    # both models share, cancels in it.
    differences = (b - a).tolist()
    mean, _, error, n = mean_error(differences)

    # One example has no error, so any difference is allowed.
    allowed = math.inf if error is None else half_width([(error, n - 1)], LEVEL)
    better = sum(d < 0 for d in differences) / n
    return Pair(name, float(a.mean()), float(b.mean()), mean, error, allowed, better)


def _read(path: str) -> pd.DataFrame:
    import pandas as pd

    try:
        content = Path(path).read_text(encoding="utf-8-sig")
        frame = pd.read_csv(io.StringIO(content), dtype={name: str for name in NAMES[:3]})
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: {' '.join(str(e).split())}") from None

    number_columns = [name for name in (*NUMBERS, SAMPLES) if name in frame]

    # What is no number becomes NaN, so that one test finds all damage.
    numbers = frame[["case", *number_columns]].apply(pd.to_numeric, errors="coerce")
    if (
        not len(frame)
        or numbers.isna().any(axis=None)
        or not numbers.abs().lt(math.inf).all(axis=None)
    ):
        raise UserError(
            f"{path}: not a file of cases, or damaged; eval RUN --cases FILE.csv writes one"
        )

    # All columns that belong to the run rather than to an example.
    one_for_all_examples = [*NAMES[:3], *(name for name in number_columns if name == SAMPLES)]
    if frame["case"].duplicated().any() or any(
        frame[name].nunique() != 1 for name in one_for_all_examples
    ):
        raise UserError(f"{path}: a case stands there twice, or several runs do; expected one run")

    return frame.assign(**{name: numbers[name] for name in ("case", *number_columns)})


def render(pairs: Pairs, width: int | None = None) -> str:
    """Return the comparison as text."""
    lines = [
        (
            pair.name,
            f"{pair.a:.3f}",
            f"{pair.b:.3f}",
            f"{pair.difference:+.4f}",
            "" if pair.error is None else f"{pair.error:.4f}",
            f"{pair.better:.0%}",
            "differ" if pair.differs else "agree" if pair.error is not None else "",
        )
        for pair in pairs.lines
    ]

    grid = Grid(
        headers=("number", "A", "B", "B - A", "error", "B lower", ""),
        lines=tuple(lines),
        sides=("left", "right", "right", "right", "right", "right", "left"),
    )

    notes = [
        f"A: {pairs.a}",
        f"B: {pairs.b}",
        *([f"left out: {pairs.unlike}"] if pairs.unlike else []),
        (
            f"{pairs.cases:,} cases, case by case. error: standard error of B - A over "
            "cases. differ: by more"
        ),
        (
            "than the 99.7 % interval. It says nothing of other seeds of the same models, nor of "
            "the bias of an estimate."
        ),
    ]

    return "\n".join([text.grid(grid, width), "", *notes]) + "\n"
