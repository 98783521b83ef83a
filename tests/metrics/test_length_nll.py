"""The NLL of a Replicated Softmax, with one log Z for every length: against brute force, and with
the errors that documents of one length share."""

from __future__ import annotations

import math

import pytest
import torch
from kit.recorded_calls import recorded_calls

from tests.models.test_replicated_softmax import brute_log_z, built
from vaebench.errors import UserError
from vaebench.estimators.log_z import by_length
from vaebench.estimators.log_z.partition import LogZ
from vaebench.metrics import length_nll
from vaebench.metrics.job import Job
from vaebench.metrics.length_nll import METRIC
from vaebench.metrics.validation import validation_bound
from vaebench.protocol import log_z as protocol
from vaebench.protocol.signature import evaluated, samples_of, signature
from vaebench.results import flags
from vaebench.settings.records import EvalSettings

X = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 3.0, 1.0]]).double()


def nll(model):
    """NLL of every document, by enumeration of all sequences and all hidden states."""
    log_z = torch.tensor([brute_log_z(model, int(v)) for v in X.sum(-1)], dtype=torch.float64)
    return model.free_energy(X).detach() + log_z


def measured(model, **settings):
    job = Job(model, X, EvalSettings.of(settings), 0)
    return {m.name: m for m in METRIC.measures(job, METRIC.collect(job))}


def test_by_enumeration_it_is_exact():
    model = built()
    measures = measured(model)
    expected = nll(model)

    assert measures["annealed_nll"].value == pytest.approx(float(expected.mean()), abs=1e-9)
    assert measures["annealed_nll"].extra["log_z_error"] == 0
    assert "annealed_nll_reverse" not in measures

    per_document = math.exp(float((expected / X.sum(-1)).mean()))
    assert measures["document_perplexity"].value == pytest.approx(per_document)
    assert measures["pooled_perplexity"].value == pytest.approx(
        math.exp(float(expected.sum() / X.sum()))
    )

    # The validation is the same number, in nats.
    annealing = {"temperatures": 300, "chains": 300}
    assert validation_bound(model, X, 1, 0, annealing) == pytest.approx(
        float(expected.mean()), abs=1e-6
    )


def test_annealed_from_both_sides_it_is_near():
    """There are three z: one of them is above 4.5 by chance once in 50,000 seeds."""
    model = built()
    annealing = {
        "logz_method": "ais",
        "logz_temperatures": 30,
        "logz_chains": 300,
        "logz_base": "base_rate",
    }

    measures = measured(model, **annealing)
    expected = nll(model)

    for name in ("annealed_nll", "annealed_nll_reverse"):
        m = measures[name]
        assert 0 < m.extra["log_z_error"] < 0.1
        assert abs(m.value - float(expected.mean())) < 4.5 * m.extra["log_z_error"]

    perplexity = measures["document_perplexity"]
    assert 0 < perplexity.error < 0.1 * perplexity.value
    assert (
        abs(perplexity.value - math.exp(float((expected / X.sum(-1)).mean())))
        < 4.5 * perplexity.error
    )
    assert perplexity.extra["lengths"] == 3
    assert perplexity.extra["chains"] == 300


def test_a_validation_anneals_where_there_are_too_many_units_to_enumerate(monkeypatch):
    """As if two hidden units were too many. z is above 4.5 by chance once in 150,000 seeds; the
    value is that of the seed and the purpose that are asked for."""
    model = built()
    monkeypatch.setattr(protocol, "MAX_SIDE", 1)

    calls = recorded_calls(monkeypatch, by_length, "ais")
    value = validation_bound(model, X, 1, 3, {"temperatures": 100, "chains": 300})
    (((_, lengths, annealing, seed), options, log_z),) = calls

    assert (lengths.tolist(), len(annealing.times) - 1, annealing.chains) == ([1, 3, 4], 100, 300)
    assert (seed, options["purpose"], options["reverse"]) == (3, "valid_logz", False)

    # Two of the four documents have three words.
    error_1, error_3, error_4 = log_z.error.tolist()
    error = math.hypot(error_1, 2 * error_3, error_4) / 4

    assert 1e-3 < error < 0.1
    assert abs(value - float(nll(model).mean())) < 4.5 * error


def test_documents_of_one_length_share_its_error():
    """Two documents have the length 3, one has 1 and one 4: the errors of the three log Z count 2,
    1 and 1 times."""
    collected = length_nll.annealed(
        built(), X, EvalSettings(logz_method="ais", logz_temperatures=5, logz_chains=20), 0
    )
    error_1, error_3, error_4 = collected.log_z.error.tolist()

    variance = float(collected.variance(collected.log_z.error).sum())

    assert variance == pytest.approx(error_1**2 + (2 * error_3) ** 2 + error_4**2)

    # Per word, a document counts as one over its length.
    per_word = float((collected.variance(collected.log_z.error) / X.sum(-1) ** 2).sum())
    assert per_word == pytest.approx(error_1**2 + (2 * error_3 / 3) ** 2 + (error_4 / 4) ** 2)


def test_the_errors_of_both_directions_by_hand():
    """Three lengths, one of which two documents have. Squared errors are 0.1^2, (2 * 0.2)^2 and
    0.3^2 from below; the errors from above are twice as large."""
    error = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    log_z = LogZ(
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
        error,
        "by hand",
        ess=torch.tensor([9.0, 7.0, 8.0]),
        chains=10,
        upper=torch.tensor([1.5, 2.5, 3.5], dtype=torch.float64),
        upper_error=2 * error,
        upper_ess=torch.tensor([5.0, 4.0, 6.0]),
    )

    # Four documents, whose lengths are the entries 1, 0, 1 and 2 of log Z.
    energy = torch.tensor([1.0, 3.0, 5.0, 7.0], dtype=torch.float64)
    collected = length_nll.Annealed(energy, log_z, torch.tensor([1, 0, 1, 2]))
    job = Job(built(), X, EvalSettings(), 0)

    below, above, *_ = METRIC.measures(job, collected)

    assert below.value == pytest.approx((3 + 4 + 7 + 10) / 4)
    assert above.value == below.value + 0.5
    assert below.extra["log_z_error"] == pytest.approx(math.sqrt(0.01 + 0.16 + 0.09) / 4)
    assert above.extra["log_z_error"] == pytest.approx(math.sqrt(0.01 + 0.16 + 0.09) / 2)
    assert below.extra["spread"] == pytest.approx(math.sqrt(30 / 3 / 4))
    assert (below.extra["ess"], above.extra["ess"]) == (7.0, 4.0)


def test_the_gap_told_is_that_of_the_length_that_is_furthest_off():
    """Three lengths have the gaps 0.5, -2 and 1.5, with errors of 0.05, 0.5 and 0.5."""
    gap, error = length_nll._largest_gap(
        torch.tensor([0.5, -2.0, 1.5]),
        torch.tensor([0.03, 0.3, 0.3]),
        torch.tensor([0.04, 0.4, 0.4]),
    )

    assert (gap, error) == pytest.approx((-2.0, 0.5))

    # Only three errors count: a gap of 3 whose error is 1 is no gap.
    gap, error = length_nll._largest_gap(
        torch.tensor([3.0, 0.5]), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.1])
    )

    assert (gap, error) == pytest.approx((0.5, 0.1))


def test_few_effective_chains_of_any_length_are_flagged():
    model = built(scale=6.0)
    measures = measured(
        model, logz_method="ais", logz_temperatures=1, logz_chains=100, logz_base="uniform"
    )

    assert measures["document_perplexity"].extra["ess"] < 10
    assert "annealing" in flags.kinds(flags.of_measure(measures["document_perplexity"]))


def test_what_is_refused():
    with pytest.raises(UserError, match="tempering"):
        measured(built(), logz_method="tempering")


def test_the_protocol_says_how_log_z_is_found():
    config = {
        "data": {"name": "tiny"},
        "model": {"name": "replicated_softmax", "units": 50},
        "train": {"select": "last"},
        "eval": {
            "split": "test",
            "points": 50,
            "bound_samples": 1,
            "logz_temperatures": 1000,
            "logz_chains": 100,
        },
        "recipe": 1,
    }

    assert "|logz:ais-1000x100|" in signature(
        config, "document_perplexity", samples_of(config, "document_perplexity")
    )
    assert samples_of(config, "document_perplexity") is None
    assert "document_perplexity" in evaluated(config, "document_perplexity")
    assert "annealed_nll" in evaluated(config, "document_perplexity")
