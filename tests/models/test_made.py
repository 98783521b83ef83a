"""MADE: every mask is autoregressive and a net by its definition, sums to one, and training takes
masks in turn."""

from __future__ import annotations

import pytest
import torch
from kit.parameters import drawn
from kit.sampling import assert_samples_have_their_probabilities

from tests.kit.gradients import assert_finite_differences
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators import ensemble, exact
from vaebench.metrics.exact_nll import METRIC
from vaebench.metrics.job import Job
from vaebench.models.made import MADE
from vaebench.objectives.base import Batch
from vaebench.objectives.likelihood import Likelihood
from vaebench.protocol.signature import signature
from vaebench.settings.records import EvalSettings

KINDS = [{}, {"layers": 2, "masks": 3}, {"layers": 3, "direct": False, "masks": 2}]


def built(d=6, seed=0, **settings):
    return drawn(
        MADE(DataInfo(torch.full((d,), 0.3)), **{"units": 9, **settings}).double(), 0.8, seed
    )


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_logit_depends_on_earlier_pixels_alone(settings):
    """The Jacobian at random points: with wide layers every earlier pixel is seen by
    some, no later one by any."""
    model = built(units=60, **settings)
    for member in range(model.members):
        position = model.positions[member]
        earlier = position.unsqueeze(-1) > position
        depends = torch.zeros_like(earlier)

        for seed in range(5):
            x = torch.randn(
                1, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
            )
            # (output pixels, input pixels); a sum over several x, as one may hide a path.
            jacobian = torch.autograd.functional.jacobian(
                lambda v, m=member: model.logits(v, m)[0], x
            )[:, 0]
            depends |= jacobian != 0

        assert torch.equal(depends, earlier)


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_every_member_sums_to_one(settings):
    model = built(**settings)
    all_x = exact.states(6).double()
    for member in range(model.members):
        assert float(model.log_member(all_x, member).exp().sum().detach()) == pytest.approx(
            1.0, abs=1e-12
        )


def literal(model, x, member):
    """Logits of one example, unit by unit: a weight counts if the degrees allow it."""
    parameters = {k: v.detach() for k, v in model.p.items()}
    position = model.positions[member].tolist()

    # Degrees of the layer below; those of the pixels are their positions in the order.
    below = position
    values = x.tolist()

    for layer in range(model.layers):
        degree = model.degrees[member, layer].tolist()
        values = [
            max(
                0.0,
                float(parameters[f"hidden{layer}"][k])
                + sum(
                    float(parameters[f"weight{layer}"][k, j]) * v
                    for j, v in enumerate(values)
                    if degree[k] >= below[j]
                ),
            )
            for k in range(len(degree))
        ]
        below = degree

    # A pixel's logit sees units of a smaller degree than its position only.
    logits = []
    for i in range(len(position)):
        logit = float(parameters["bias"][i])
        logit += sum(
            float(parameters["output"][i, k]) * v
            for k, v in enumerate(values)
            if position[i] > below[k]
        )

        if "direct" in parameters:
            logit += sum(
                float(parameters["direct"][i, j]) * float(x[j])
                for j in range(len(x))
                if position[i] > position[j]
            )

        logits.append(logit)

    return logits


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_it_is_its_definition(settings):
    model = built(**settings)
    x = exact.states(6).double()[[5, 22, 63]]
    for member in range(model.members):
        by_definition = torch.tensor(
            [literal(model, example, member) for example in x], dtype=torch.float64
        )
        torch.testing.assert_close(
            model.logits(x, member).detach(), by_definition, rtol=0, atol=1e-12
        )


def test_gradients_are_slopes():
    model = built(layers=2, masks=3)
    x = exact.states(6).double()[::7]
    assert_finite_differences(model, lambda m: m.log_member(x, 2).sum())


def test_training_takes_the_masks_in_turn():
    model = built(layers=2, masks=3)
    x = exact.states(6).double()[::7]
    rule = Likelihood(model)

    for update in range(7):
        loss, _, _ = rule({}, Batch(x, update=torch.tensor(update)), {})
        torch.testing.assert_close(loss, -model.log_member(x, update % 3).mean())

    # The masks differ, or any of them would have passed.
    losses = {round(float(-model.log_member(x, m).mean().detach()), 9) for m in range(3)}

    assert len(losses) == 3


def test_an_ensemble_has_no_more_members_than_masks():
    model = built(masks=3)
    all_x = exact.states(6)
    members = torch.stack([model.log_member(all_x.double(), m) for m in range(3)]).detach()
    log_mean = torch.log(members.exp().mean(0))

    torch.testing.assert_close(
        ensemble.log_evidence(model, all_x, 50), log_mean, rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        METRIC.collect(Job(model, all_x, EvalSettings(members=3), 0)), log_mean, rtol=0, atol=1e-12
    )
    # Without a number of members only the first counts.
    torch.testing.assert_close(
        METRIC.collect(Job(model, all_x, EvalSettings(), 0)), members[0], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("model", "members", "named"), [("made", 50, "3"), ("made", 2, "2"), ("eonade", 50, "50")]
)
def test_the_protocol_names_how_many(model, members, named):
    config = {
        "model": {"name": model, **({"masks": 3} if model == "made" else {})},
        "data": {"name": "digits"},
        "train": {"select": "last"},
        "eval": {"split": "test", "points": 100, "members": members},
        "recipe": 1,
    }
    parts = signature(config, "nll", None).parts

    assert (parts["members"], parts["points"]) == (named, "100")

    config["model"] = {"name": "nade"}
    assert "members" not in signature(config, "nll", None).parts


def test_samples_have_their_probabilities():
    assert_samples_have_their_probabilities(built(4, seed=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": 0}, r"model.units=0: must be a whole number from 1"),
        ({"layers": 0}, r"model.layers=0: must be a whole number from 1"),
        ({"masks": 0}, r"model.masks=0: must be a whole number from 1"),
        ({"direct": "yes"}, r"model.direct='yes': must be true or false"),
        ({"mask_seed": -1}, r"model.mask_seed=-1: must be a whole number from 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        built(**settings)
