"""Which numbers and runs are flagged, and which are not: exact small cases, and every result in
the reference."""

from __future__ import annotations

import json
import math

import pytest
import torch
from kit.repository import REFERENCE

from vaebench.estimators.importance_weighted import ImportanceSum
from vaebench.estimators.weights import Pass
from vaebench.protocol.registry import METRICS
from vaebench.results import flags, long_frame, store
from vaebench.results.stats import Measure


def measure(name="iw_nll", value=90.0, data="mnist_static", error=0.01, points=10_000, **extra):
    signature = f"{name}|data:{data}@8f3a12cd|split:test|points:all"
    return Measure(name, value, "nats", error, "monte carlo", points, 100, signature, extra)


def kinds(m):
    return flags.kinds(flags.of_measure(m))


# -------------------------------------------------------------------------------- impossible values


LIKELIHOODS = {name for name, metric in METRICS.items() if metric.floor == 0.0}


def test_likelihoods_have_a_floor():
    assert {
        "bound",
        "iw_nll",
        "iw_nll_weighted",
        "nll",
        "annealed_nll",
        "valid_bound",
    } <= LIKELIHOODS


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
@pytest.mark.parametrize("data", ["mnist_static", "omniglot", "toy_text", "text"])
def test_no_nll_or_bound_of_discrete_data_is_negative(name, data):
    assert kinds(measure(name, -0.5, data)) == ("impossible",)
    assert kinds(measure(name, 0.5, data)) == ()


def test_a_perplexity_below_one_is_a_negative_nll():
    assert kinds(measure("perplexity", 0.9)) == ("impossible",)
    assert kinds(measure("perplexity", 1.1)) == ()


def test_noise_around_nothing_is_possible():
    # Three standard errors below 0 are possible, also of log Z; without an error, only rounding.
    assert kinds(measure("bound", -0.02, error=0.01, points=100)) == ()
    assert kinds(measure("bound", -0.04, error=0.01, points=100)) == ("impossible",)
    assert kinds(measure("bound", -0.04, error=0.01, log_z_error=0.05)) == ()
    assert kinds(measure("nll", -1e-9, error=None)) == ()


@pytest.mark.parametrize("cases", [1, 2, 40])
def test_an_error_as_large_as_the_value_excuses_nothing(cases):
    # Log weights, shape (samples, cases). One sample of a few cases is so far out that the mean
    # over the cases moves by 740 nats. The standard error grows with it, to 740 (one case) or 117
    # (40 cases).
    log_w = -110 + 3 * torch.randn(
        100, 10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    log_w[0, :cases] = 7.4e6 / cases
    total = ImportanceSum(10_000, 100)
    total.add(Pass(slice(0, 10_000), 0, [log_w], [torch.zeros_like(log_w)], []))
    estimate = total.result()

    assert estimate.nll < -600
    assert estimate.error > 100
    assert "impossible" in kinds(
        measure(value=estimate.nll, error=estimate.error, spread=estimate.case_error)
    )


def test_no_error_excuses_more_than_a_surprise_of_all_cases_together():
    # ``flags.SURPRISE`` allows 14 nats below 0, summed over the 20 cases. The error of log Z is
    # common to all cases, so it is allowed besides.
    assert kinds(measure(value=-13.0 / 20, error=10.0, points=20)) == ()
    assert kinds(measure(value=-15.0 / 20, error=10.0, points=20)) == ("impossible",)
    assert kinds(measure(value=-15.0 / 20, error=10.0, points=20, log_z_error=0.5)) == ()


def test_a_density_may_exceed_one():
    assert kinds(measure("bound", -50.0, density=True)) == ()


def test_of_unknown_data_nothing_is_said():
    assert kinds(measure("bound", -50.0, "continuous_things")) == ()


@pytest.mark.parametrize(
    "name", sorted(name for name, metric in METRICS.items() if metric.floor is None)
)
def test_other_measures_may_have_either_sign(name):
    assert "impossible" not in kinds(measure(name, -0.5))


# -------------------------------------------------------------------------- cases, layers, training


def test_a_case_that_was_noticed_is_named():
    noticed = {"case": 17, "value": -7_435_000.0, "median": 109.0, "shift": -743.5}
    (flag,) = flags.of_measure(measure(one_case=noticed))

    assert flag == (
        "one case: case 17, at -7,435,000.00, moves the mean by -743.50, more "
        "than all others together"
    )


def test_an_error_over_cases_beyond_the_mean_shows_a_few_cases():
    assert kinds(measure(value=-626.3, spread=743.2)) == ("impossible", "one case")
    assert kinds(measure(value=97.1, spread=0.25)) == ()


def annealed(**extra):
    return measure(
        "ais_nll", 88.0, **{"ess": 9.0, "chains": 16, "gap": 0.2, "gap_error": 0.05, **extra}
    )


def test_an_annealed_estimate_says_where_it_failed():
    assert kinds(annealed()) == ()

    # Less than a tenth of the 16 chains.
    (flag,) = flags.of_measure(annealed(ess=1.5))
    assert flag == "annealing: the effective number of chains is 1.5 of 16"

    # 0.7 less three errors of 0.05 is more than the limit of 0.5.
    (flag,) = flags.of_measure(annealed(gap=0.7))
    assert flag == (
        "annealing: from below and from above log p(x) differs by 0.70 nats on "
        "cases that the model made"
    )
    assert kinds(annealed(gap=0.6)) == ()  # within three errors of the limit
    assert "annealing" in flags.FAULTS
    assert kinds(measure("iw_nll", 88.0, ess=1.0)) == ()  # of samples, not of chains


def test_log_z_from_above_that_lies_below_has_missed_a_mode():
    """For log p(x) on cases that the model made, the chains from above cannot miss a mode. There a
    negative difference is chance."""
    missed_mode = (
        "the chains from above have missed a mode, so log Z is at least about that from below"
    )
    disagreement = {"ess": 90.0, "chains": 100, "gap": -8.45, "gap_error": 0.5}
    (flag,) = flags.of_measure(measure("log_z", 264.9, **disagreement))

    assert (
        flag == f"annealing: from below and from above log Z differs by -8.45 nats; {missed_mode}"
    )

    for not_missed in (measure("log_z", 264.9, **disagreement | {"gap": 8.45}), annealed(gap=-0.7)):
        (flag,) = flags.of_measure(not_missed)
        assert missed_mode not in flag


def test_a_value_that_is_no_number_says_how_many_cases():
    (flag,) = flags.of_measure(measure(value=math.nan, not_finite={"cases": 3, "first": 41}))
    assert flag == "not finite: 3 of 10,000 cases, case 41 the first of them"
    assert kinds(measure(value=math.inf)) == ("not finite",)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ([31.1, 13.3, 0.06], "layer 3 of 3 carries less than 0.1 nat"),
        ([35.6, 0.0, 0.03], "layers 2, 3 of 3 carry less than 0.1 nat"),
        ([0.0999], "the latents carry less than 0.1 nat"),
        ([31.1, 13.3, 0.1], None),
        ([31.1, -4.0, 12.0], None),  # a middle layer's share, no KL of its own, may be negative
    ],
    ids=str,
)
def test_a_layer_that_carries_nothing_is_dead(layers, why):
    layer_flags = flags.of_measure(measure("kl", sum(layers), layers=layers))
    assert layer_flags == (() if why is None else (f"dead layer: {why}",))
    assert kinds(measure("active_units", 5, layers=[5, 0])) == ()


def test_documents_of_unknown_words_are_flagged_above_a_fifth():
    assert kinds(measure(data="text", unknown=0.2)) == ()

    (flag,) = flags.of_measure(measure(data="text", unknown=0.314))
    assert (
        flag == "unknown words: 31 % of the words are not in the vocabulary and are scored as <unk>"
    )
    assert not set(flags.kinds([flag])) & set(flags.FAULTS)  # the number itself is right


def test_a_model_without_data_has_no_dead_layer():
    assert kinds(measure("kl", 0.05, "blank", layers=[0.05])) == ()


def test_a_baseline_that_went_astray_marks_the_run():
    point = {"update": 1000, "train_bound": -100.0, flags.OUTSIDE: 0.0}
    assert flags.of_curve([point, {**point, "update": 2000}]) == ()
    # The curve of a learning rule without such a baseline.
    assert flags.of_curve([{"update": 1000, "train_bound": -100.0}]) == ()

    (flag,) = flags.of_curve(
        [point, {**point, "update": 2000, flags.OUTSIDE: 0.02}, {**point, "update": 3000}]
    )
    assert flag == (
        "baseline: predictions far outside the range of the learning signal, first noticed at the "
        "validation of update 2,000, in up to 2 % of the updates between two validations"
    )


# ---------------------------------------------------------------------------- stored and read again


def test_what_was_stored_stays_and_is_not_said_twice():
    stored_measure = Measure.from_dict(
        {**measure(value=-3.0).to_dict(), "flags": ["impossible: as it was said"]}
    )
    assert flags.of_measure(stored_measure) == ("impossible: as it was said",)
    assert Measure.from_dict(json.loads(json.dumps(stored_measure.to_dict()))) == stored_measure


def test_flags_of_a_result():
    # The measures that cannot be read are passed over.
    result = {
        "flags": ["baseline: astray"],
        "measures": [measure(value=-3.0).to_dict(), {"name": "damaged"}, 3],
    }
    named_flags = flags.of_result(result)

    assert [(m, flags.kind_of(f)) for m, f in named_flags] == [
        ("", "baseline"),
        ("iw_nll", "impossible"),
    ]
    assert flags.in_short(named_flags) == "baseline, iw_nll impossible"
    assert flags.of_result({"measures": None, "flags": "?"}) == []


@pytest.mark.parametrize(
    "extra",
    [
        {"one_case": {}},
        {"one_case": 3},
        {"layers": [None, "a"]},
        {"spread": "x"},
        {"not_finite": []},
        {"density": 0},
    ],
    ids=str,
)
def test_odd_extras_are_no_error(extra):
    # Any flags may come out; nothing may be raised.
    for value in (-1.0, 1.0, math.nan, math.inf):
        flags.of_measure(measure("kl", value, **extra))
        flags.of_measure(measure("iw_nll", value, error=math.nan, **extra))


def test_the_column_of_the_long_frame(tmp_path):
    row = {
        "table": "t",
        "row": "a",
        "column": "b",
        "status": "done",
        "metric": "iw_nll",
        "value": -3.0,
        "seed": 0,
    }
    row |= {
        "signature": "iw_nll|data:digits@1|split:test",
        "paper_protocol": True,
        "flags": '["baseline: ä"]',
    }
    frame = long_frame.typed([row])

    assert flags.kinds(flags.split(frame["flags"][0])) == ("baseline", "impossible")

    path = tmp_path / "a.csv"
    long_frame.write_csv(frame, path)

    assert long_frame.read_csv(path).equals(frame)

    # Take the closing bracket from the JSON list; the quotes of the CSV stay whole.
    text = path.read_text()
    assert text.count('""]"') == 1

    path.write_text(text.replace('""]"', '"""'))
    with pytest.raises(store.UserError, match="column flags"):
        long_frame.read_csv(path)


def test_files_of_earlier_versions_are_judged_as_new_ones(tmp_path):
    frame = long_frame.typed(
        [
            {
                "metric": "nll",
                "value": -3.0,
                "seed": 0,
                "signature": "nll|data:digits@1",
                "paper_protocol": True,
            }
        ]
    )
    old = frame.drop(columns="flags")
    path = tmp_path / "old.csv"
    old.to_csv(path, index=False)

    assert long_frame.read_csv(path)["flags"].tolist() == frame["flags"].tolist() != [""]


def results_files():
    """The CSV files of the reference that are results, not curves or points."""
    head = "table,row,column,preset,label,seed,status,metric,"
    return [p for p in sorted(REFERENCE.glob("*.csv")) if p.read_text().startswith(head)]


@pytest.mark.parametrize("path", results_files(), ids=lambda p: p.stem)
def test_of_the_reference_only_layers_without_kl_are_flagged(path):
    """Healthy runs have no other flags than these and those of annealing, which few tables have."""
    frame = long_frame.read_csv(path)

    for row in frame[frame["flags"] != ""].itertuples():
        flag_kinds = flags.kinds(flags.split(row.flags))
        assert set(flag_kinds) <= {"dead layer", "annealing"}

        if "dead layer" in flag_kinds:
            assert row.metric == "kl"
            assert min(map(abs, json.loads(row.extra)["layers"])) < 0.1

        if "annealing" in flag_kinds:
            # The findings of these tables report it.
            assert row.table in ("rbm_mnist", "rbm_logz", "nvil_documents")
