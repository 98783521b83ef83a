"""What several metrics share: the standard error over examples, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vaebench.metrics.job import case_error


def test_the_error_over_examples_is_that_of_their_mean():
    """Variance (4 + 1 + 9) / 2 = 7, three examples."""
    assert case_error(torch.tensor([1.0, 2.0, 6.0])) == pytest.approx(math.sqrt(7 / 3))
    assert case_error(torch.tensor([1.0, 2.0, 6.0]).repeat(100)) == pytest.approx(
        math.sqrt(14 / 3 * 300 / 299 / 300)
    )
    assert case_error(torch.tensor([3.0])) is None
