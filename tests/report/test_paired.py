"""Two models on the same examples: the mean of the differences and its
error, against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from vaebench.cli import main
from vaebench.errors import UserError
from vaebench.report import paired
from vaebench.report.compare import LEVEL


def write(path, run, places, data="d" * 64, split="test", samples=None, **columns):
    numbers = {name: np.array(values) for name, values in columns.items()}
    path.write_text(paired.csv_text(run, data, split, np.array(places), numbers, samples))
    return str(path)


def test_the_difference_is_that_of_a_paired_t_test(tmp_path):
    rng = np.random.default_rng(0)
    difficulty = rng.normal(100, 20, 400)  # images differ far more than models
    a = difficulty + rng.normal(0, 0.5, 400)
    b = difficulty - 0.2 + rng.normal(0, 0.5, 400)

    comparison = paired.compare(
        write(tmp_path / "a.csv", "A", range(400), iw_nll=a, kl=a),
        write(tmp_path / "b.csv", "B", range(400), iw_nll=b, kl=b),
    )

    (pair,) = comparison.lines
    expected = stats.ttest_rel(b, a)

    assert (comparison.cases, pair.name) == (400, "iw_nll")
    assert pair.difference == pytest.approx((b - a).mean(), abs=1e-9)
    # The ratio is the t statistic of scipy.
    assert pair.difference / pair.error == pytest.approx(expected.statistic, rel=1e-6)
    assert pair.differs == (expected.pvalue < 1 - LEVEL)
    assert pair.differs
    assert pair.better == np.mean(b < a)

    # The error without pairing, of two means over 400 cases: 20 is sqrt(400).
    unpaired_error = math.hypot(a.std() / 20, b.std() / 20)
    assert pair.error < unpaired_error / 10


def test_only_examples_that_both_have_count(tmp_path):
    a = write(tmp_path / "a.csv", "A", [0, 2, 4], nll=[1.0, 2.0, 3.0])
    b = write(tmp_path / "b.csv", "B", [4, 3, 2], nll=[5.0, 9.0, 2.5])

    comparison = paired.compare(a, b)

    # The examples 2 and 4 are in both, in another order: 2.0 and 2.5, 3.0 and 5.0.
    assert comparison.cases == 2

    (pair,) = comparison.lines
    assert pair.difference == pytest.approx((2.0 + 0.5) / 2)
    assert pair.error == pytest.approx(0.75)  # half of their distance
    # Of two examples by Student's t with one degree of freedom.
    assert pair.allowed == pytest.approx(0.75 * stats.t.ppf((1 + LEVEL) / 2, 1), rel=1e-6)


def test_a_single_example_is_not_judged(tmp_path):
    comparison = paired.compare(
        write(tmp_path / "a.csv", "A", [1], nll=[1.0]),
        write(tmp_path / "b.csv", "B", [1], nll=[7.0]),
    )

    assert not comparison.lines[0].differs

    # Neither an error nor a verdict follows the difference, and B is lower in none of the cases.
    line = paired.render(comparison).splitlines()[2]
    assert line.split() == ["nll", "1.000", "7.000", "+6.0000", "0%"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"data": "e" * 64}, "not the same cases"),
        ({"split": "valid"}, "not the same cases"),
        ({"places": [7, 8]}, "no case in common"),
        ({"places": [1, 1]}, "stands there twice"),
        ({"nll": [math.nan, 1.0]}, "damaged"),
        ({"nll": [math.inf, 1.0]}, "damaged"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, line, tmp_path):
    a = write(tmp_path / "a.csv", "A", [1, 2], nll=[1.0, 2.0])
    given = {"places": [1, 2], "nll": [1.0, 2.0], **change}
    b = write(tmp_path / "b.csv", "B", given.pop("places"), **given)

    with pytest.raises(UserError, match=line):
        paired.compare(a, b)


def test_importance_weighted_numbers_of_unlike_samples_are_not_compared(tmp_path, capsys):
    of_20_samples = write(
        tmp_path / "few.csv", "A", [1, 2], samples=20, iw_nll=[5.0, 6.0], bound=[7.0, 8.0]
    )
    of_1000_samples = write(
        tmp_path / "many.csv", "A", [1, 2], samples=1000, iw_nll=[4.0, 5.0], bound=[7.0, 8.0]
    )
    # Files of earlier versions do not say the number of samples.
    of_unknown_samples = write(
        tmp_path / "earlier.csv", "A", [1, 2], iw_nll=[4.0, 5.0], bound=[7.0, 8.0]
    )
    nll_of_30_samples = write(tmp_path / "alone.csv", "A", [1, 2], samples=30, iw_nll=[4.0, 5.0])

    assert [pair.name for pair in paired.compare(of_20_samples, of_20_samples).lines] == [
        "iw_nll",
        "bound",
    ]
    assert [pair.name for pair in paired.compare(of_20_samples, of_unknown_samples).lines] == [
        "iw_nll",
        "bound",
    ]
    assert [pair.name for pair in paired.compare(of_20_samples, of_1000_samples).lines] == ["bound"]

    assert main(["compare", of_20_samples, of_1000_samples]) == 0
    assert (
        "left out: iw_nll, of K=20 in A and of K=1,000 in B, which is not compared"
        in capsys.readouterr().out
    )

    with pytest.raises(
        UserError, match="no number in common but iw_nll, of K=20 in A and of K=30 in B"
    ):
        paired.compare(of_20_samples, nll_of_30_samples)


def test_the_verb_says_whether_they_differ(tmp_path, capsys):
    a = write(tmp_path / "a.csv", "A", range(50), nll=np.arange(50.0))
    b = write(tmp_path / "b.csv", "B", range(50), nll=np.arange(50.0) + 1 + 0.01 * np.arange(50))

    assert main(["compare", a, a]) == 0
    assert main(["compare", a, b]) == 1

    out = capsys.readouterr().out
    # 1 + 0.01 times the mean of 0 to 49.
    assert "+1.2450" in out

    assert main(["compare", a, b, "--tol", "3"]) == 2
    capsys.readouterr()
    assert main(["compare", a, str(Path(a).with_name("gone.csv"))]) == 2
    assert (
        "gone.csv: no such file; vaebench eval RUN --cases FILE.csv writes one like"
        in capsys.readouterr().err
    )
