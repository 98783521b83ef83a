"""EoNADE: every order by its definition, sums to one, the order-agnostic loss by enumeration,
ensembles by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from kit.parameters import drawn
from kit.sampling import assert_samples_have_their_probabilities

from tests.kit.gradients import assert_finite_differences
from vaebench import models
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators import ensemble, exact, masked
from vaebench.metrics.exact_nll import METRIC
from vaebench.metrics.job import Job
from vaebench.models.eonade import EoNADE, observed
from vaebench.objectives.base import Batch
from vaebench.objectives.order_agnostic import OrderAgnostic
from vaebench.rng import noise
from vaebench.settings.records import EvalSettings

KINDS = [{"layers": 1}, {"layers": 2}, {"layers": 3, "squeeze": 0.0}]


def built(d=5, seed=0, **settings):
    return drawn(
        EoNADE(
            DataInfo(torch.full((d,), 0.3)), **{"units": 4, "squeeze": 0.1, **settings}
        ).double(),
        0.8,
        seed,
    )


def conditional(model, x, seen, pixel):
    """p(x_pixel = 1 | pixels in ``seen``), unit by unit from the equations."""
    parameters = {k: v.detach() for k, v in model.p.items()}
    hidden = parameters["hidden0"] + sum(
        x[position] * parameters["weight0"][position] + parameters["mask"][position]
        for position in seen
    )
    hidden = hidden.clamp(min=0)
    for layer in range(1, model.layers):
        hidden = (parameters[f"hidden{layer}"] + hidden @ parameters[f"weight{layer}"]).clamp(min=0)

    # Squeezed away from 0 and 1.
    on = torch.sigmoid(parameters["bias"][pixel] + parameters["output"][pixel] @ hidden)
    return (1 - model.squeeze) * on + model.squeeze / 2


def literal(model, x, order):
    """log p of one example (d,) by one order."""
    total = 0.0
    for i, pixel in enumerate(order):
        on = conditional(model, x, order[:i], pixel)
        total += math.log(float(on if x[pixel] else 1 - on))
    return total


@pytest.mark.parametrize("settings", KINDS, ids=str)
@pytest.mark.parametrize("pixels", [2, 16])
def test_every_order_is_its_definition_and_sums_to_one(settings, pixels, monkeypatch):
    """With blocks of 2 of the 5 pixels, and with all of them in one block."""
    monkeypatch.setattr(EoNADE, "PIXELS", pixels)
    model = built(**settings)
    all_x = exact.states(5).double()

    for member in (0, 1, 7):
        log_p = model.log_member(all_x, member).detach()
        by_definition = [literal(model, x, model.order(member).tolist()) for x in all_x]
        torch.testing.assert_close(
            log_p, torch.tensor(by_definition, dtype=torch.float64), rtol=0, atol=1e-12
        )
        assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_orders_differ_and_are_the_same_for_every_model():
    model = built(12)
    other_model = built(12, seed=5)
    orders = torch.stack([model.order(k) for k in range(20)])

    assert len({tuple(order.tolist()) for order in orders}) == 20
    assert torch.equal(orders, torch.stack([other_model.order(k) for k in range(20)]))


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_the_order_agnostic_loss_is_the_mean_over_orders(settings):
    """All noise that matters, each with its probability: 4 numbers of observed
    pixels times 24 rankings."""
    model = built(4, **settings)
    x = exact.states(4).double()[[3, 5, 10]]
    mean_over_orders = [
        sum(literal(model, example, order) for order in itertools.permutations(range(4))) / 24
        for example in x
    ]

    rule = OrderAgnostic(model)
    expected_bound = torch.zeros(3, dtype=torch.float64)

    # The ranking of the noise is the order; the position says how many pixels are observed.
    for ranking in itertools.permutations([0.1, 0.3, 0.6, 0.8]):
        for number in range(4):
            draws = {
                "order": torch.tensor([ranking]).double(),
                "position": torch.tensor([[(number + 0.5) / 4]]).double(),
            }
            for i, example in enumerate(x):
                loss, state, metrics = rule({}, Batch(example.unsqueeze(0)), draws)
                assert state == {}
                assert float(metrics["bound"]) == pytest.approx(-float(loss.detach()))

                # Every ranking and number has the probability 1 / (24 * 4).
                expected_bound[i] -= float(loss.detach()) / (24 * 4)

    torch.testing.assert_close(
        expected_bound, torch.tensor(mean_over_orders, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_masks_have_all_numbers_of_pixels_alike():
    """All numbers from 0 to d - 1 are equally frequent, and so are all pixels. One of 12 z exceeds
    4.5 by chance in one of 12,000 sets of seeds."""
    n = 20_000
    d = 6
    are_observed = observed(
        noise.fixed({"order": ("uniform", (n, d)), "position": ("uniform", (n, 1))}, 0, "noise")
    )

    assert set(are_observed.unique().tolist()) == {0.0, 1.0}
    # Each number of observed pixels has probability 1/d, with variance 5/36 of one draw.

    number_shares = torch.bincount(are_observed.sum(-1).long(), minlength=d) / n
    assert len(number_shares) == d
    assert float(((number_shares - 1 / d) / math.sqrt(5 / 36 / n)).abs().max()) < 4.5

    # A pixel is observed with probability 2.5/6; the variance is at most 1/4.
    pixel_shares = are_observed.mean(0)
    assert float(((pixel_shares - 2.5 / 6) / math.sqrt(0.25 / n)).abs().max()) < 4.5


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_gradients_are_slopes(settings):
    model = built(**settings)
    x = exact.states(5).double()[::5]
    draws = noise.fixed(OrderAgnostic(model).noise(len(x)), 0, "noise")
    draws = {name: values.double() for name, values in draws.items()}
    rule = OrderAgnostic(model, reduce="sum")

    assert_finite_differences(rule, lambda r: r({}, Batch(x), draws)[0])
    assert_finite_differences(model, lambda m: m.log_member(x, 2).sum())


def test_an_ensemble_is_the_mean_of_probabilities(monkeypatch):
    model = built()
    # Seven examples at a time.
    monkeypatch.setattr(type(model), "SCORED", 7)
    all_x = exact.states(5)
    members = torch.stack([model.log_member(all_x.double(), k) for k in range(3)]).detach()
    log_p = ensemble.log_evidence(model, all_x, 3)

    torch.testing.assert_close(log_p, torch.log(members.exp().mean(0)), rtol=0, atol=1e-12)
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)

    # By Jensen's inequality: the log of the mean is at least the mean of the logs.
    assert (log_p >= members.mean(0) - 1e-12).all()

    job = Job(model, all_x, EvalSettings(members=3), 0)
    (measure,) = METRIC.measures(job, METRIC.collect(job))
    assert measure.value == pytest.approx(-float(log_p.mean()))
    assert measure.extra["spread"] == pytest.approx(float(log_p.std()) / 32**0.5)


def test_the_bound_of_a_validation_is_the_mean_over_orders():
    """2,000 masks of 8 examples; the error is taken from repeats with other noise. z is beyond 4.5
    by chance once in 150,000 seeds."""
    model = built(4)
    x = exact.states(4)[::2]
    # Over all 24 orders of 4 pixels and the 8 examples.
    nll = -sum(
        literal(model, example.double(), order)
        for example in x
        for order in itertools.permutations(range(4))
    ) / (24 * 8)
    # 100 repeats of 20 masks for each example; the root of 100 is the 10 below.
    estimates = torch.tensor(
        [masked.masked_nll(model, x, 20, seed, "valid") for seed in range(100)]
    ).double()

    assert float((estimates.mean() - nll) / estimates.std() * 10) == pytest.approx(0, abs=4.5)
    assert masked.masked_nll(model, x, 3, 0, "valid") == masked.masked_nll(model, x, 3, 0, "valid")
    with pytest.raises(TypeError, match="no likelihood of masked examples"):
        masked.masked_nll(
            models.build({"name": "nade", "units": 2}, DataInfo(torch.full((4,), 0.5))),
            x,
            3,
            0,
            "valid",
        )


def test_samples_have_their_probabilities():
    assert_samples_have_their_probabilities(built(4, seed=3))


def test_initial_values():
    mean = torch.linspace(0.1, 0.9, 50)
    model = models.build({"name": "eonade", "units": 30}, DataInfo(mean))
    models.start(
        torch.nn.ModuleDict({"model": model}), {"init": "normal_all", "init_scale": 0.01}, 0
    )

    torch.testing.assert_close(torch.sigmoid(model.p["bias"].detach()), mean)

    for name in ("weight0", "mask", "weight1", "hidden0", "output"):
        assert float(model.p[name].detach().std()) == pytest.approx(0.01, rel=0.4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": 0}, r"model.units=0: must be a whole number from 1"),
        ({"layers": 0}, r"model.layers=0: must be a whole number from 1"),
        ({"squeeze": 1.0}, r"model.squeeze=1.0: must be at least 0 and below 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        built(**settings)


# ----------------------------------------------------------------------------------- layer by layer


def in_turns(updates=2):
    """A net of three layers. The nets of one and of two layers are trained first, for ``updates``
    updates each. Every parameter is N(0, 0.8^2)."""
    rule = OrderAgnostic(built(layers=3), pretraining=updates).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in rule.shallower:
            p.normal_(0.0, 0.8, generator=generator)

    return rule


def step(rule, update):
    """Loss and gradients, by name, of that update; the examples and which of their pixels are
    observed."""
    x = exact.states(5).double()[::3]
    draws = {
        name: values.double()
        for name, values in noise.fixed(rule.noise(len(x)), 0, "noise").items()
    }
    loss, _, metrics = rule({}, Batch(x, update=torch.tensor(update)), draws)

    assert float(metrics["bound"]) == pytest.approx(-float(loss.detach()))

    gradients = torch.autograd.grad(loss, list(rule.parameters()))
    named = dict(zip((n for n, _ in rule.named_parameters()), gradients, strict=True))
    return loss.detach(), named, (x, observed(draws).double())


@pytest.mark.parametrize(("update", "layers"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (100, 3)])
def test_layers_are_added_in_turn(update, layers):
    """The net that learns is an EoNADE of fewer layers, with output weights of its
    own; nothing else learns."""
    rule = in_turns()
    loss, gradients, (x, seen) = step(rule, update)

    alone = built(layers=layers)

    # The output weights of each number of layers; the last are the model's own.
    outputs = [*rule.shallower, rule.model.p["output"]]

    with torch.no_grad():
        for name, p in alone.p.items():
            p.copy_(outputs[layers - 1] if name == "output" else rule.model.p[name])

    loss_alone = -alone.order_agnostic(x, seen).mean()

    torch.testing.assert_close(loss, loss_alone.detach())

    gradients_alone = dict(
        zip(alone.p, torch.autograd.grad(loss_alone, list(alone.p.values())), strict=True)
    )

    # From the names of the parameters that learn to their names in the net alone.
    name_alone = {**{f"model.p.{n}": n for n in alone.p}, f"shallower.{layers - 1}": "output"}
    # Fewer layers have output weights of their own; those of the model do not learn yet.
    if layers < 3:
        del name_alone["model.p.output"]

    for name, gradient in gradients.items():
        expected = (
            gradients_alone[name_alone[name]] if name in name_alone else torch.zeros_like(gradient)
        )
        torch.testing.assert_close(gradient, expected, msg=name)


def test_updates_that_cannot_be_read_train_the_same_nets():
    """Under vmap, as in a pack of seeds, the number of the update is a tensor that Python cannot
    read. The loss and the gradient of every update are still those of the update alone."""
    rule = in_turns()
    updates = torch.arange(7)
    _, _, (x, _) = step(rule, 0)
    draws = {k: v.double() for k, v in noise.fixed(rule.noise(len(x)), 0, "noise").items()}

    def loss(params, update):
        return torch.func.functional_call(rule, params, ({}, Batch(x, update=update), draws))[0]

    params = {k: p.detach() for k, p in rule.named_parameters()}
    gradients, losses = torch.func.vmap(torch.func.grad_and_value(loss), (None, 0))(params, updates)

    for row, update in enumerate(updates.tolist()):
        loss_alone, gradients_alone, _ = step(rule, update)
        torch.testing.assert_close(losses[row], loss_alone)
        torch.testing.assert_close({k: v[row] for k, v in gradients.items()}, gradients_alone)


def test_a_net_that_learns_too_early_is_seen(monkeypatch):
    """A planted fault: the second layer learns from the first update on."""
    monkeypatch.setattr(
        OrderAgnostic, "_by_net", lambda self, place, x, seen: self.model.order_agnostic(x, seen)
    )
    with pytest.raises(AssertionError):
        test_layers_are_added_in_turn(0, 1)


def test_pretraining_leaves_the_start_of_the_model_alone():
    """A model starts at the same parameters with and without it. A net of one layer has nothing to
    pretrain."""
    rules = []
    for pretraining in (0, 5):
        rule = OrderAgnostic(built(layers=3), pretraining=pretraining)
        models.start(rule, {"init": "normal_all", "init_scale": 0.01}, 0)
        rules.append(rule)

    for p, q in zip(rules[0].model.parameters(), rules[1].model.parameters(), strict=True):
        assert torch.equal(p, q)

    assert all(float(p.detach().std()) > 0 for p in rules[1].shallower)
    assert len(OrderAgnostic(built(layers=1), pretraining=5).shallower) == 0


@pytest.mark.parametrize("value", [-1, 1.5, None])
def test_bad_pretraining(value):
    with pytest.raises(UserError, match=r"objective.pretraining=.*: must be a whole number from 0"):
        OrderAgnostic(built(), pretraining=value)
