"""Sum or mean over the cases of a minibatch."""

from __future__ import annotations

import pytest
import torch

from vaebench.errors import UserError
from vaebench.objectives import reduction


def test_only_the_last_axis_is_averaged():
    values = torch.tensor([[1.0, 2.0, 6.0], [10.0, 20.0, 30.0]])
    assert float(reduction.over_cases(values, "sum")) == 69.0
    assert float(reduction.over_cases(values, "mean")) == 23.0
    assert float(reduction.over_cases(values[0], "mean")) == 3.0


def test_other_words_are_refused():
    assert reduction.check("mean") == "mean"
    with pytest.raises(UserError, match=r"objective\.reduce='avg'"):
        reduction.check("avg")
