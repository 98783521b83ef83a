"""Types of settings: a value takes the type of its default, or is refused with the words for it."""

from __future__ import annotations

import pytest

from vaebench.errors import UserError
from vaebench.settings.kinds import like
from vaebench.settings.whole_cell import kind_of


@pytest.mark.parametrize(
    ("default", "value", "result"),
    [
        (1, 2e6, 2_000_000),
        (1, 7, 7),
        (0.5, 1, 1.0),
        (None, None, None),
        (None, 3e2, 300),
        (None, 0.25, 0.25),
        (True, False, False),
        ("a", "b", "b"),
        ([200], [3e2, 5], [300, 5]),
        ([200], [], []),
        ([], ["x"], ["x"]),
        ([0.5], [1], [1.0]),
    ],
)
def test_values_take_the_type_of_their_default(default, value, result):
    checked = like(default).check("model.key", value)
    assert checked == result
    assert type(checked) is type(result)

    if isinstance(result, list):
        assert [type(v) for v in checked] == [type(v) for v in result]


@pytest.mark.parametrize(
    ("default", "value", "wanted"),
    [
        (1, 1.5, "a whole number"),
        (1, True, "a whole number"),
        (1, "x", "a whole number"),
        (1, None, "a whole number"),
        (1, float("inf"), "a whole number"),
        (0.5, "x", "a number"),
        (0.5, float("nan"), "a number"),
        (0.5, True, "a number"),
        (True, 1, "true or false"),
        (True, "yes", "true or false"),
        (None, "x", "null or a number"),
        (None, True, "null or a number"),
        ("a", 3, "a word"),
        ("a", None, "a word"),
        ([200], 200, "a list of whole numbers"),
        ([200], [1, "x"], "a list of whole numbers"),
        ([200], [1.5], "a list of whole numbers"),
    ],
)
def test_values_of_another_type_are_refused(default, value, wanted):
    with pytest.raises(UserError) as caught:
        like(default).check("model.key", value, "table x: model.key=TEXT")
    assert str(caught.value) == f"table x: model.key=TEXT: allowed: {wanted}"


def test_keys_of_two_types():
    assert kind_of("eval.iw_samples", 1000).check("eval.iw_samples", None) is None
    assert kind_of("run.jobs", "auto").check("run.jobs", 3) == 3
    with pytest.raises(UserError, match="null or a whole number"):
        kind_of("eval.iw_samples", 1000).check("eval.iw_samples", "many")
