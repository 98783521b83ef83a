"""Minimum description length against enumeration: every code of a tiny belief net,
weighed by its probability."""

from __future__ import annotations

import pytest
import torch

from vaebench import models, objectives
from vaebench.check import checks as check
from vaebench.check.gradients import exact_gradients
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.estimators import exact
from vaebench.estimators.variational import bound
from vaebench.metrics.validation import validation
from vaebench.objectives import mdl
from vaebench.objectives.base import Batch
from vaebench.rng import noise

VISIBLE = 4
ONE_LAYER = ("SBN 4", "fDARN 4", "DARN 4")


def rule_of(config, seed=0, scale=0.8, kind=Kind.BITS):
    """MDL around a net of float64, every parameter N(0, scale^2)."""
    longest = 4 if kind is Kind.COUNTS else 0
    model = models.build(config, DataInfo(torch.linspace(0.2, 0.7, VISIBLE), kind, (), longest))
    rule = objectives.build({"name": "mdl"}, model).double()
    randomize(rule, seed, scale)

    return rule


def noise_of(model, x, state):
    """Noise by which the codes of all examples are ``state``: layers (n,),
    whatever the layers below."""
    draws = {}
    parent = x - model.mean
    for i, (units, bits) in enumerate(zip(model.q, state, strict=True), start=1):
        q = torch.sigmoid(units.logits(parent)).expand(1, len(x), -1)

        # u below q makes a one: 0.5 q is in the middle of that range, 0.5 + 0.5 q in the middle of
        # the rest.
        draws[f"q{i}"] = torch.where(bits > 0, 0.5 * q, 0.5 + 0.5 * q).detach()
        parent = bits.expand(1, len(x), -1)

    return draws


def expected_gradient(rule, x):
    """E over all codes of the gradient of one example ``x`` (1, d), upwards: name -> tensor."""
    model = rule.model
    expected = {name: torch.zeros_like(p) for name, p in rule.named_parameters()}

    for state in exact.states(sum(model.sizes[1:])):
        layers = state.split(model.sizes[1:])
        loss = rule({}, Batch(x), noise_of(model, x, layers))[0]
        code = [h.expand(1, 1, -1) for h in layers]
        weight = model.log_posterior(code, x).exp().item()
        gradient = torch.autograd.grad(loss, list(rule.parameters()))

        # The loss is minimised, the gradient is of what is maximised.
        for (name, _), g in zip(rule.named_parameters(), gradient, strict=True):
            expected[name] -= weight * g

    return expected


def gradient_of(value, rule):
    g = torch.autograd.grad(value, list(rule.parameters()), allow_unused=True, retain_graph=True)
    named = zip(rule.named_parameters(), g, strict=True)
    return {name: torch.zeros_like(p) if v is None else v for (name, p), v in named}


def flat(values, prefix):
    return torch.cat([v.reshape(-1) for name, v in values.items() if name.startswith(prefix)])


CASES = [
    *((config, Kind.BITS) for config in (check.MODELS[name] for name in (*ONE_LAYER, "SBN 2-3"))),
    ({"name": "fdarn", "dims": [3]}, Kind.COUNTS),
]


@pytest.mark.parametrize(("config", "kind"), CASES, ids=str)
def test_the_generative_model_follows_its_own_gradient(config, kind):
    """Unbiased, at every depth: of the mean over codes of log p(x, h)."""
    rule = rule_of(config, kind=kind)
    x = torch.tensor(
        [[3.0, 0.0, 1.0, 0.0] if kind is Kind.COUNTS else [1.0, 0.0, 1.0, 1.0]]
    ).double()
    wanted = gradient_of(exact.expected_log_joint(rule.model, x).sum(), rule)

    torch.testing.assert_close(
        flat(expected_gradient(rule, x), "model.p."), flat(wanted, "model.p.")
    )


# ----------------------------------------------------------------------------------- half estimator


def enumerated(f, logits, estimator):
    """Expected gradient by an estimator of E[f(h)] in the ``logits`` (n,)
    of q, and the true one."""
    states = exact.states(len(logits))
    q = torch.sigmoid(logits)
    weight = torch.where(states > 0, q, 1 - q).prod(-1)

    # Exact: the derivative of the sum over all states.
    (true,) = torch.autograd.grad((weight * f(states)).sum(), logits, retain_graph=True)

    estimated = torch.zeros_like(logits)

    for state, p in zip(states, weight.detach(), strict=True):
        (g,) = torch.autograd.grad(f(estimator(state, logits)), logits)
        estimated += p * g

    return estimated, true


@pytest.fixture
def logits():
    return torch.tensor([-1.3, 0.2, 2.1], dtype=torch.float64, requires_grad=True)


def quadratic(h):
    """Squares and products of all bits."""
    a = torch.tensor([[1.0, -2.0, 0.5], [0.3, 3.0, 1.1], [-0.7, 0.2, -1.5]], dtype=torch.float64)
    return ((h @ a) * h).sum(-1) + h @ torch.tensor([0.4, -1.0, 2.0], dtype=torch.float64)


def test_it_is_exact_for_quadratic_functions(logits):
    estimated, true = enumerated(quadratic, logits, mdl.half)
    torch.testing.assert_close(estimated, true)


def test_it_is_biased_for_a_cubic_by_what_the_trapezium_misses(logits):
    """Of h^3 the slopes at 0 and 1 are 0 and 3: their mean is 1.5, the difference 1."""
    estimated, true = enumerated(lambda h: (h**3).sum(-1), logits, mdl.half)
    torch.testing.assert_close(estimated, 1.5 * true)


def test_a_slope_twice_as_large_is_seen(logits):
    """The test of quadratic functions can fail: by an estimator without the
    half, and straight through."""
    for wrong in (lambda h, a: h + 2 * (mdl.half(h, a) - h), mdl.straight):
        estimated, true = enumerated(quadratic, logits, wrong)
        assert not torch.allclose(estimated, true, rtol=0.05)


def bias(name, seed, scale):
    """The inference network's expected gradient against the bound's, summed over all x.

    Returns:
        Length of the difference relative to the bound's gradient; cosine of the two.
    """
    rule = rule_of(check.MODELS[name], seed, scale)
    estimated = expected = 0.0
    for x in exact.states(VISIBLE).unsqueeze(1):
        estimated = estimated + flat(expected_gradient(rule, x), "model.q.")
        expected = expected + flat(gradient_of(exact.elbo(rule.model, x).sum(), rule), "model.q.")

    cosine = float(estimated @ expected / (estimated.norm() * expected.norm()))
    return float((estimated - expected).norm() / expected.norm()), cosine


@pytest.mark.parametrize(
    ("scale", "least", "most"), [(0.4, 0.001, 0.006), (0.8, 0.01, 0.02), (1.6, 0.03, 0.12)]
)
def test_the_coder_of_a_belief_net_has_a_small_bias(scale, least, most):
    """-log p(x, h) is not quadratic in h: the wider its logits, the larger the
    bias, of four nets each."""
    biases = [bias("SBN 4", seed, scale) for seed in range(4)]
    assert all(least < error < most for error, _ in biases), biases
    assert all(cosine > 0.995 for _, cosine in biases)


@pytest.mark.parametrize("name", ONE_LAYER)
def test_the_expected_gradient_of_the_coder_is_the_one_that_the_check_writes_down(name):
    """Two ways to it: the rule's own steps over all codes, and the slopes at
    both values of each bit."""
    rule = rule_of(check.MODELS[name])
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0]]).double()
    wanted = exact_gradients(rule, {}, x)["posterior"]
    torch.testing.assert_close(flat(expected_gradient(rule, x), "model.q."), wanted)


def test_the_bound_has_the_right_mean():
    """Its mean over the codes is the ELBO; the entropy in it is exact, so it scatters
    less than one sample's."""
    rule = rule_of(check.MODELS["SBN 2-3"])
    model = rule.model
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0]]).double()

    mean = 0.0

    for state in exact.states(5):
        layers = state.split(model.sizes[1:])
        weight = model.log_posterior([h.expand(1, 1, -1) for h in layers], x).exp().item()
        mean += weight * float(rule({}, Batch(x), noise_of(model, x, layers))[2]["bound"])

    assert mean == pytest.approx(float(exact.elbo(model, x).detach()))


FAULTS = {
    "no half": ("half", lambda h, a: h + 2 * (half(h, a) - h)),
    "no slope": ("half", lambda h, a: h),
    "straight through": ("half", lambda h, a: straight(h, a)),
}
half = mdl.half
straight = mdl.straight


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_sees_a_wrong_slope(monkeypatch, fault):
    function, wrong = FAULTS[fault]
    monkeypatch.setattr(mdl, function, wrong)

    # The lines of the check that fail: the inference network's and no other.
    lines = check.gradients("g", "mdl", {}, check.tiny(check.MODELS["SBN 4"], 9))
    assert [line.name for line in lines if not line.ok] == ["g: gradient, posterior"]


def test_the_check_sees_an_entropy_that_is_left_out(monkeypatch):
    monkeypatch.setattr(mdl.bernoulli, "entropy", lambda logits: 0 * logits.sum(-1))

    # The lines of the check that fail: the inference network's and no other.
    lines = check.gradients("g", "mdl", {}, check.tiny(check.MODELS["SBN 4"], 9))
    assert [line.name for line in lines if not line.ok] == ["g: gradient, posterior"]


# ------------------------------------------------------------------------------ deterministic codes


def deterministic(name, seed=0):
    return rule_of({**check.MODELS[name], "posterior": "deterministic"}, seed)


@pytest.mark.parametrize("name", [*ONE_LAYER, "SBN 2-2-3"])
def test_a_deterministic_code_bounds_the_likelihood(name):
    """-log p(x, h(x)) is the bound, by enumeration, by the evaluation and by the
    validation; above -log p(x)."""
    model = deterministic(name).model
    x = exact.states(VISIBLE)

    # h(x): every unit is on if its probability exceeds one half.
    code = []
    parent = x - model.mean

    for units in model.q:
        parent = (torch.sigmoid(units.logits(parent)) > 0.5).double()
        code.append(parent.unsqueeze(0))

    length = -model.log_joint(x, code)[0].detach()
    nll = -exact.log_evidence(model, x).detach()

    assert bool((length > nll).all())
    torch.testing.assert_close(-exact.elbo(model, x).detach(), length)
    assert -bound(model, x, 10, 0, "eval").value == pytest.approx(float(length.mean()))
    assert validation(model, x, 10, 0, 0, {})["valid_bound"] == pytest.approx(float(length.mean()))


def test_its_kl_is_the_length_of_the_code():
    model = deterministic("SBN 2-3").model
    x = exact.states(VISIBLE)
    terms = model.log_joint_terms(
        x, model.sample_posterior(x, 1, noise_of(model, x, exact.states(5)[3].split([3, 2])))
    )

    for kl, log_p in zip(exact.layer_kl(model, x), terms[1:], strict=True):
        torch.testing.assert_close(kl, -log_p[0])


def test_the_gradient_goes_straight_through():
    """Of the coder's logits: the slope of log p(x, h) times q (1 - q), by differences;
    nothing from an entropy."""
    rule = deterministic("fDARN 4")
    model = rule.model

    x = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]]).double()
    loss, _, metrics = rule({}, Batch(x), {"q1": torch.rand(1, 2, 4).double()})
    gradients = gradient_of(-loss, rule)

    # The slope of log p(x, h) in every bit, by central differences at the code.
    logits = model.q[0].logits(x - model.mean).detach()
    h = (logits > 0).double().unsqueeze(0)
    slope = torch.zeros(2, 4, dtype=torch.float64)

    for j in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[j] = 1e-6
        up, down = (model.log_joint(x, [h + sign * step])[0].detach() for sign in (1, -1))
        slope[:, j] = (up - down) / 2e-6

    # Straight through: dq/dlogit = q (1 - q) in place of the derivative of a threshold.
    q = torch.sigmoid(logits)
    to_logits = slope * q * (1 - q)

    torch.testing.assert_close(
        gradients["model.q.0.weight"], to_logits.T @ (x - model.mean), rtol=1e-6, atol=1e-8
    )
    torch.testing.assert_close(gradients["model.q.0.bias"], to_logits.sum(0), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(metrics["bound"], model.log_joint(x, [h]).mean().detach())

    # The generative model has its own gradient at the code.
    wanted = gradient_of(model.log_joint(x, [h]).sum(), rule)
    torch.testing.assert_close(flat(gradients, "model.p."), flat(wanted, "model.p."))


def test_noise_does_not_move_a_deterministic_code():
    model = deterministic("SBN 2-3").model
    x = exact.states(VISIBLE)
    draws = [noise.fixed(model.posterior_noise(3, len(x)), seed, "noise") for seed in (0, 1)]
    of_noise_0, of_noise_1 = (
        model.sample_posterior(x, 3, {k: v.double() for k, v in noise_of_layers.items()})
        for noise_of_layers in draws
    )

    assert all(torch.equal(a, b) for a, b in zip(of_noise_0, of_noise_1, strict=True))
    assert [v.shape for v in of_noise_0] == [(3, len(x), 3), (3, len(x), 2)]


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["nvil", "wake_sleep"])
def test_other_rules_refuse_codes_that_are_not_drawn(name):
    model = models.build(
        {"name": "sbn", "dims": [3], "posterior": "deterministic"}, DataInfo(torch.full((4,), 0.5))
    )

    with pytest.raises(
        UserError,
        match=f"{name} cannot train model=sbn with model.posterior=deterministic; allowed: mdl",
    ):
        objectives.build({"name": name}, model)


def test_a_setting_that_changes_nothing_is_not_blamed():
    """No rule for Boltzmann machines trains a belief net, whatever its codes are."""
    model = models.build(
        {"name": "sbn", "dims": [3], "posterior": "deterministic"}, DataInfo(torch.full((4,), 0.5))
    )

    with pytest.raises(UserError, match="rbm_kl cannot train model=sbn; allowed: mdl"):
        objectives.build({"name": "rbm_kl"}, model)


def test_settings_that_a_class_hands_on_are_known():
    """A model that takes settings of the class it derives from says what their defaults are."""
    settings = next(iter(models.model_class("rbm_vae_gaussian").tiny.values()))
    model = models.build({"name": "rbm_vae_gaussian", **settings}, DataInfo(torch.full((4,), 0.5)))
    with pytest.raises(UserError, match="mdl cannot train model=rbm_vae_gaussian; allowed: "):
        objectives.build({"name": "mdl"}, model)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_weight_decay_pulls_every_parameter_to_zero(reduce):
    """Its gradient is lambda times the parameter beside the sum or the mean, and the bound is
    told without it."""
    x = torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 1]], dtype=torch.float64)
    plain = rule_of(check.MODELS["DARN 4"])
    decayed = objectives.build(
        {"name": "mdl", "reduce": reduce, "weight_decay": 0.3}, plain.model
    ).double()
    bare = objectives.build({"name": "mdl", "reduce": reduce}, plain.model).double()
    draws = noise.draw(bare.noise(2), torch.Generator().manual_seed(0))
    draws = {name: u.double() for name, u in draws.items()}

    parameters = list(bare.parameters())

    without, _, metrics = bare({}, Batch(x), draws)
    with_it, _, decayed_metrics = decayed({}, Batch(x), draws)

    added = torch.autograd.grad(with_it - without, parameters)

    for p, g in zip(parameters, added, strict=True):
        torch.testing.assert_close(g, 0.3 * p.detach())

    assert torch.equal(metrics["bound"], decayed_metrics["bound"])


def test_it_refuses_an_autoregressive_coder():
    model = models.build(
        {"name": "darn", "dims": [3], "posterior": "autoregressive"},
        DataInfo(torch.full((4,), 0.5)),
    )
    said = "mdl cannot train model=darn with model.posterior=autoregressive; allowed: nvil,"
    with pytest.raises(UserError, match=said):
        objectives.build({"name": "mdl"}, model)


def test_it_trains_belief_nets_only():
    model = models.build({"name": "linear_gaussian", "dims": [2]}, DataInfo(torch.full((4,), 0.5)))
    with pytest.raises(UserError, match="objective mdl cannot train model=linear_gaussian"):
        objectives.build({"name": "mdl"}, model)
