"""Numbers that findings quote are computed again from the recorded results: means over seeds,
intervals, slopes."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from kit.repository import REFERENCE
from scipy.stats import t

from vaebench.config import catalogue

NUMBER = r"[-+]?\d+\.\d+"

SEEDS = rf"(?:{NUMBER}, )?{NUMBER} and {NUMBER}"
MEAN = re.compile(
    rf"({SEEDS})\b[^:;]*: ({NUMBER})(?: in the mean)?, (?:with a )?standard error "
    rf"(?:of )?({NUMBER})"
)
"""Meets ``99.84, 99.76 and 100.12: 99.91 in the mean, standard error 0.11``, also with words before
the colon. Groups: the seeds, their mean, its standard error."""

SLOPE = re.compile(rf"({NUMBER}) \+- ({NUMBER})")

QUOTED = [
    (name, finding)
    for name in catalogue.options("table")
    for finding in catalogue.load(name).findings
]
"""(table, finding)."""


def rounded(text: str, value: float, slack: float = 1e-9) -> bool:
    """Whether ``text`` is ``value``, rounded to as many decimals as ``text`` has.

    ``slack``: how far ``value`` may be off itself.
    """
    decimals = len(text.partition(".")[2])
    return abs(float(text) - value) <= 0.5 * 10**-decimals + slack


def seeds_of(evidence: str) -> dict[tuple[str, str, str, str], list[float]]:
    """(file, row, column, metric) -> the values of all seeds, from the files that the evidence
    names."""
    values_of_seeds = {}
    for name in re.findall(r"[\w\-]+\.csv", evidence):
        frame = pd.read_csv(REFERENCE / name)
        # Other files than those of results lack these columns.
        if {"metric", "seed", "value"} <= set(frame.columns):
            groups = frame.groupby(["row", "column", "metric"])["value"]
            values_of_seeds |= {(name, *key): values.dropna().tolist() for key, values in groups}

    return values_of_seeds


def errors_in_means(found: str, evidence: str) -> list[str]:
    """The quoted means of seeds that are wrong, or have a wrong standard error."""
    wrong = []
    for match in MEAN.finditer(found):
        # Which row and column a sentence speaks of is told by the values of its seeds alone.
        quoted = re.findall(NUMBER, match[1])
        candidates = [
            pd.Series(v)
            for v in seeds_of(evidence).values()
            if len(v) == len(quoted) and all(map(rounded, quoted, v))
        ]
        if not any(rounded(match[2], v.mean()) and rounded(match[3], v.sem()) for v in candidates):
            wrong.append(match[0])

    return wrong


def errors_in_intervals(found: str, evidence: str) -> list[str]:
    """The quotations ``ROW MEAN +- HALF`` that are wrong, in a finding that says that it quotes
    halves of 95 % intervals."""
    if "half the 95 % interval" not in found:
        return []
    wrong = []
    for (_, row, _, metric), v in seeds_of(evidence).items():
        match = re.search(rf"(?:: |, |; ){re.escape(row)} ({NUMBER}) \+- ({NUMBER})", found)
        if metric in ("iw_nll", "nll") and match:
            values = pd.Series(v)
            # Student's t: the standard deviation is estimated from the same few seeds.
            half = t.ppf(0.975, len(v) - 1) * values.sem()
            if not (rounded(match[1], values.mean()) and rounded(match[2], half)):
                wrong.append(match[0])

    return sorted(set(wrong))


def errors_in_slopes(found: str, evidence: str) -> list[str]:
    """The quoted slopes per 100,000 updates that ``nvil_slopes.csv`` lacks.

    Their errors must be those that allow for correlation.
    """
    if "nvil_slopes.csv" not in evidence:
        return []
    lines = pd.read_csv(REFERENCE / "nvil_slopes.csv")
    wrong = []
    for sentence in re.split(r"(?<=\D)\. ", found):
        for slope, error in SLOPE.findall(sentence) if "per 100,000" in sentence else ():
            # Without a sign the size is quoted ("falls by 0.142").
            recorded_slopes = lines["slope"] if slope[0] in "+-" else lines["slope"].abs()
            pairs = zip(recorded_slopes, lines["robust_error"], strict=True)
            # The file has four decimals, so its numbers are off by up to 5e-5 themselves.
            if not any(rounded(slope, s, 5e-5) and rounded(error, e, 5e-5) for s, e in pairs):
                wrong.append(f"{slope} +- {error}")

    return wrong


@pytest.mark.parametrize("check", [errors_in_means, errors_in_intervals, errors_in_slopes])
def test_findings_quote_what_is_recorded(check) -> None:
    wrong = {
        f"{name}: {f.topic}": errors for name, f in QUOTED if (errors := check(f.found, f.evidence))
    }
    assert not wrong


def test_there_are_such_numbers_in_findings() -> None:
    """The patterns meet something: one that meets nothing would find no error."""
    findings = [f.found for _, f in QUOTED]
    assert sum(len(MEAN.findall(found)) for found in findings) >= 9
    assert sum("half the 95 % interval" in found for found in findings) >= 2
    assert sum(len(SLOPE.findall(found)) for found in findings if "per 100,000" in found) >= 20


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (
            errors_in_means,
            "99.84, 99.76 and 100.12: 99.91 in the mean, standard error 0.11",
            ("99.91", "99.90"),
        ),
        (
            errors_in_means,
            "99.84, 99.76 and 100.12: 99.91 in the mean, standard error 0.11",
            ("0.11", "0.19"),
        ),
        (
            errors_in_means,
            "99.84, 99.76 and 100.12: 99.91 in the mean, standard error 0.11",
            ("99.76", "99.67"),
        ),
        (
            errors_in_intervals,
            "half the 95 % interval: LSTM-LM 345.96 +- 4.1, VAE 347.06 +- 1.3",
            ("1.3", "1.2"),
        ),
        (errors_in_slopes, "falls by 0.142 +- 0.006 nat per 100,000 updates", ("0.006", "0.003")),
    ],
)
def test_a_wrong_number_is_seen(check, right: str, wrong: tuple[str, str]) -> None:
    evidence = "nvil_mnist-paper.csv, lagging_yahoo-small.csv and nvil_slopes.csv"
    assert check(right, evidence) == []
    assert check(right.replace(*wrong), evidence)
