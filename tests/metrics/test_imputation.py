"""Chains that fill in missing pixels: against their transition matrix, enumerated."""

from __future__ import annotations

import itertools

import pytest
import torch

from vaebench.check import checks as check
from vaebench.config import catalogue
from vaebench.config.compose import cells
from vaebench.errors import UserError
from vaebench.estimators.exact import latent_states
from vaebench.estimators.imputation import CASES, errors, missing, states
from vaebench.evaluation.evaluate import evaluate

HIDDEN = torch.tensor([True, False, True, True])


@pytest.fixture(scope="module")
def model():
    return check.tiny({"name": "sbn", "dims": [2, 2]}, seed=3, scale=1.5).requires_grad_(False)


def fillings(x):
    """All images that agree with ``x`` (4,) in the observed pixel, (8, 4)."""
    rows = x.repeat(8, 1)
    rows[:, HIDDEN] = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=x.dtype)
    return rows


def transition(model, x):
    """T[v, w] = sum_z q(z | v) p(w_missing | z), (8, 8)."""
    images = fillings(x)
    z = latent_states(model)
    q = model.log_posterior([h.expand(-1, 8, -1) for h in z], images).exp()  # (z, v)
    mean = torch.stack([_one(model, z, i, x.dtype) for i in range(4)], -1)

    # p(w | z) of the missing pixels, (z, w).
    p = torch.where(images.bool()[None], mean[:, None], 1 - mean[:, None])[..., HIDDEN].prod(-1)
    return q.T @ p


def _one(model, z, i, dtype):
    """p(x_i = 1 | z) of factorial pixels, from the ratio of two likelihoods that differ in this
    pixel."""
    zeros = torch.zeros(1, 4, dtype=dtype)
    on = zeros.clone()
    on[0, i] = 1
    difference = model.log_joint_terms(on, z)[0] - model.log_joint_terms(zeros, z)[0]
    return torch.sigmoid(difference[:, 0])


def test_the_errors_are_those_of_the_enumerated_chain(model):
    """5,000 chains of one image: the errors after 0 to 5 steps are within 4.5 of their standard
    errors."""
    x = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    matrix = transition(model, x)

    torch.testing.assert_close(matrix.sum(1), torch.ones(8, dtype=torch.float64))
    assert (matrix - matrix.mean(0)).abs().max() > 0.05, "steps would not depend on one another"

    share_wrong = (fillings(x) != x)[:, HIDDEN].double().mean(1)

    # The chain starts with its three missing pixels drawn uniformly.
    probabilities = torch.full((8,), 1 / 8, dtype=torch.float64)
    exact = [probabilities @ share_wrong]

    for _ in range(5):
        probabilities = probabilities @ matrix
        exact.append(probabilities @ share_wrong)

    by_chain = errors(model, x.expand(CASES, -1), HIDDEN.expand(CASES, -1), 5, 50, seed=0)
    assert by_chain.shape == (50, 6, CASES)

    by_step = by_chain.transpose(0, 1).flatten(1)
    z = (by_step.mean(1) - torch.stack(exact)) / (by_step.std(1) / by_step.shape[1] ** 0.5)

    assert z.abs().max() < 4.5
    assert abs(exact[1] - exact[5]) > 0.005, "the curve would be flat"


def test_observed_pixels_stay_and_missing_ones_are_not_looked_at(model):
    x = (torch.rand(20, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    hidden = missing("random", 0.5, (2, 2), 20, 0)
    changed = torch.where(hidden, 1 - x, x)

    for images, images_of_changed in zip(
        states(model, x, hidden, 3, 0), states(model, changed, hidden, 3, 0), strict=True
    ):
        assert torch.equal(images, images_of_changed)
        assert torch.equal(images[~hidden], x[~hidden])
        assert set(images.unique().tolist()) <= {0.0, 1.0}


def test_no_case_depends_on_the_others(model):
    x = (torch.rand(CASES + 5, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    hidden = missing("random", 0.5, (2, 2), CASES + 5, 0)

    # Neither what is missing nor the chains of a case depend on the cases after it.
    assert torch.equal(hidden[: CASES + 2], missing("random", 0.5, (2, 2), CASES + 2, 0))

    whole = errors(model, x, hidden, 3, 2, 0)
    assert torch.equal(
        errors(model, x[: CASES + 2], hidden[: CASES + 2], 3, 2, 0), whole[..., : CASES + 2]
    )


def test_what_is_missing():
    hidden = missing("random", 0.8, (28, 28), 300, 1)
    assert hidden.shape == (300, 784)
    assert float(hidden.double().mean()) == pytest.approx(
        0.8, abs=4.5 * (0.16 / hidden.numel()) ** 0.5
    )
    assert not torch.equal(hidden[0], hidden[1])
    with pytest.raises(UserError, match="square: for images"):
        missing("square", 0.6, (784,), 2, 1)

    square = missing("square", 0.6, (28, 28), 2, 1).view(2, 28, 28)
    assert square.sum().item() == 2 * 14 * 14
    assert square[:, 7:21, 7:21].all()


def test_as_a_measure_it_has_its_curve_and_its_protocol(model):
    x = (torch.rand(30, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    ev = {"bound_samples": 2, "iw_samples": None, "split": "test", "points": None}
    of_imputation = {
        "imputation": "random",
        "missing": 0.5,
        "imputation_steps": 2,
        "imputation_chains": 4,
    }
    config = {
        "data": {"name": "blank"},
        "model": {"name": "sbn"},
        "eval": {**ev, **of_imputation},
        "recipe": 1,
        "train": {"select": "last", "batch": 5},
    }

    measure = {m.name: m for m in evaluate(model, x, config, "0" * 8, 0)}["imputation"]
    hidden = missing("random", 0.5, (4,), 30, 0)

    # Percent of the missing pixels that are wrong, (chains, steps + 1, cases).
    wrong = 100 * errors(model, x, hidden, 2, 4, 0)
    percent = wrong.mean(-1)

    assert measure.value == pytest.approx(float(percent[:, -1].mean()))
    assert measure.error == pytest.approx(float(percent[:, -1].std()) / 2)
    assert (measure.unit, measure.samples) == ("%", 4)

    by_case = wrong[:, -1].mean(0)
    assert measure.extra["spread"] == pytest.approx(float(by_case.std()) / 30**0.5)
    assert list(measure.extra["curve_error"].values()) == pytest.approx(
        (percent.std(0) / 2).tolist()
    )
    assert list(measure.extra["curve"].values()) == pytest.approx(percent.mean(0).tolist())
    assert "|samples:4|missing:random-0.5|steps:2|" in measure.signature

    config["eval"] = ev
    assert "imputation" not in {m.name for m in evaluate(model, x, config, "0" * 8, 0)}


@pytest.mark.parametrize("preset", ["paper", "short"])
def test_the_table_shares_the_runs_of_dlgm_mnist(preset):
    """The table evaluates the models that dlgm_mnist trains with bit flips."""

    def keys(table, *columns):
        made = cells(catalogue.load_table(table), catalogue.load_preset(preset))
        return {(cell.row, cell.key) for cell in made if cell.column in columns}

    assert keys("dlgm_imputation", "MAR 60 %", "MAR 80 %", "NMAR") == keys(
        "dlgm_mnist", "bit flips"
    )
    assert keys("dlgm_noise", "diagonal") >= {
        ("bit flips 0.1", key) for row, key in keys("dlgm_mnist", "bit flips") if row == "diagonal"
    }
