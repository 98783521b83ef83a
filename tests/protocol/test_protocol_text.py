"""The text of a protocol: its parts, what readers are told, and whether it is what settings ask
for. It is stored as plain text."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from vaebench.protocol.protocol import UNKNOWN, Protocol
from vaebench.results.stats import Measure

WHOLE = Protocol(
    "iw_nll|data:digits@8f3a12cd|split:test|points:all|samples:10|select:last|recipe:1"
)
WANTED = Protocol("iw_nll|data:digits|split:test|points:all|samples:10|select:last|recipe:1")


def test_its_parts():
    assert WHOLE.measure == "iw_nll"
    assert WHOLE.data == "digits"
    assert WHOLE.parts["samples"] == "10"
    assert WHOLE.cases is None
    # Only the first colon parts a name from its value.
    assert Protocol("kl|data:digits|points:100|log_z:a:b").parts["log_z"] == "a:b"
    assert (UNKNOWN.measure, UNKNOWN.data, UNKNOWN.cases, UNKNOWN.of_other_data) == (
        "",
        "",
        None,
        False,
    )


@pytest.mark.parametrize(
    ("text", "cases", "said"),
    [
        (WHOLE, 360, ""),
        (WHOLE.replace("points:all", "points:50"), 50, "50 cases"),
        (WHOLE.replace("points:all", "points:1"), 1, "1 case"),
        (WHOLE.replace("points:all", "points:500"), 360, ""),
        (WHOLE.replace("points:all", "points:500"), float("nan"), "500 cases"),
        (WHOLE.replace("split:test", "split:valid"), 100, "valid"),
        (WHOLE.replace("iw_nll", "valid_bound").replace("split:test", "split:valid"), 100, ""),
        (WHOLE.replace("|split", "|trained:omniglot|split"), 360, "data digits"),
        (UNKNOWN, float("nan"), ""),
    ],
)
def test_what_it_was_taken_on(text, cases, said):
    assert Protocol(text).taken_on(cases) == said


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        (WHOLE, True),
        (WHOLE.replace("samples:10", "samples:100"), False),
        (WHOLE.replace("|points:all", ""), False),
        (WHOLE.replace("|split", "|trained:omniglot|split"), False),
        (WHOLE.replace("|select", "|precision:bfloat16|select"), False),
        (WHOLE + "|more:1", True),
        (UNKNOWN, False),
    ],
)
def test_whether_it_is_what_settings_ask_for(text, matching):
    assert Protocol(text).matches(WANTED) is matching


def test_the_batch_of_a_refinement_was_not_always_named():
    with_batch = Protocol(WANTED + "|svi:10|svi_batch:50")
    assert Protocol(WHOLE + "|svi:10").matches(with_batch)
    assert not Protocol(WHOLE + "|svi:10|svi_batch:20").matches(with_batch)


def test_it_is_plain_text_wherever_it_is_stored():
    measure = Measure("iw_nll", 90.0, "nats", signature=WHOLE)

    assert Measure.from_dict(json.loads(json.dumps(measure.to_dict()))) == measure
    assert Measure(**measure.to_dict()).signature.data == "digits"
    assert Measure("iw_nll", 90.0, "nats", signature=str(WHOLE)).signature.data == "digits"
    # Reading the parts caches them; a copy must still be equal.
    assert WHOLE.parts
    for same in (copy.deepcopy(WHOLE), pickle.loads(pickle.dumps(WHOLE))):
        assert same == WHOLE
        assert type(same) is Protocol
