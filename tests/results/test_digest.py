"""The line of a run in a list: numbers of one name are told apart."""

from __future__ import annotations

import json

from vaebench.results import shipped_models
from vaebench.results.digest import found, lines
from vaebench.results.run_files import RESULT


def line(*measures):
    """Return the line of a run; a measure is its name, samples and the rest of its signature."""
    stored = [
        {
            "name": name,
            "value": 1.0,
            "unit": "nats",
            "samples": samples,
            "signature": f"{name}|data:x@1|points:all{rest}",
        }
        for name, samples, rest in measures
    ]
    return found({"status": "done", "key": "x", "seed": 0, "measures": stored}).line


def test_samples_stand_with_numbers_that_depend_on_them():
    assert line(("bound", 10, ""), ("iw_nll", 100, "")) == "bound 1.00, iw_nll K=100 1.00"
    assert line(("bound", 10, ""), ("bound", 20, "")) == "bound K=10 1.00, bound K=20 1.00"


def test_numbers_of_one_name_have_the_parts_in_which_their_protocols_differ():
    square = "|missing:square|steps:15"
    random = "|missing:random-0.8|steps:15"

    assert line(("imputation", 10, square), ("imputation", 10, random), ("kl", 10, "")) == (
        "imputation missing:square 1.00, imputation missing:random-0.8 1.00, kl 1.00"
    )
    assert (
        line(("kl", 10, ""), ("kl", 10, "|precision:bfloat16"))
        == "kl 1.00, kl precision:bfloat16 1.00"
    )
    assert line(("imputation", 10, square)) == "imputation 1.00"


def test_a_line_for_each_measure_with_its_error_its_protocol_and_its_flags():
    of_all_cases = {
        "name": "bound",
        "value": 22.5,
        "unit": "nats",
        "signature": "bound|data:x@1|points:all",
    }
    of_50_cases = {
        **of_all_cases,
        "signature": "bound|data:x@1|points:50",
        "error": 0.25,
        "error_kind": "monte carlo",
        "points": 50,
    }

    assert lines({"measures": [of_all_cases]}) == [
        "  bound              22.500  nats   bound|data:x@1|points:all"
    ]

    shown_lines = lines({"measures": [of_all_cases, {**of_50_cases, "flags": ["odd: too large"]}]})
    assert shown_lines == [
        "  of all test cases:",
        "  bound              22.500  nats   bound|data:x@1|points:all",
        "  of 50 cases:",
        "  bound              22.500 +- 0.250 (monte carlo)  nats   bound|data:x@1|points:50",
        "    flagged: odd: too large",
    ]


def test_no_two_numbers_of_a_shipped_model_are_called_the_same():
    for run in shipped_models.runs():
        shown_line = found({**json.loads((run / RESULT).read_text()), "key": "x", "seed": 0}).line
        # A group is ``a 1.00, b 2.00``, perhaps after ``of 50 cases: ``. Other cases may repeat a
        # name.
        for group in shown_line.split("; "):
            names = [text.rpartition(" ")[0] for text in group.rpartition(": ")[2].split(", ")]
            assert len(set(names)) == len(names), group
