"""NVIL against its definition: local signals, the bound, and gradients in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from kit.nvil import ALL, SWITCHES, one_step, rule_of
from torch import distributions

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.errors import UserError


def literal_terms(rule, layers):
    """log P(h_{i-1} | h_i), log P(h_n) and log Q(h_i | h_{i-1}), each (batch,), from
    torch's own Bernoulli."""
    p = rule.model.p
    q = rule.model.q
    n = rule.model.layers

    def log_prob(h, logits):
        return distributions.Bernoulli(logits=logits.expand(h.shape)).log_prob(h).sum(-1)

    log_likelihoods = [
        log_prob(layers[i], layers[i + 1] @ p[i].weight.T + p[i].bias) for i in range(n)
    ]
    encoder_inputs = [layers[0] - rule.model.mean, *layers[1:-1]]
    posterior = [
        log_prob(layers[i + 1], encoder_inputs[i] @ q[i].weight.T + q[i].bias) for i in range(n)
    ]

    return log_likelihoods, log_prob(layers[-1], p[n].bias), posterior


def test_local_signals_of_three_layers():
    """The learning signals of layers 1 to 3.

    l_1 is everything; l_2 = log P(h_1, h_2, h_3) - log Q(h_2, h_3 | h_1); l_3 = log P(h_2, h_3)
    - log Q(h_3 | h_2).
    """
    rule = rule_of()
    _, layers = one_step(rule)
    (p01, p12, p23), top, (q1, q2, q3) = literal_terms(rule, layers)

    x = layers[0]
    z = [h.unsqueeze(0) for h in layers[1:]]
    terms = rule.model.log_joint_terms(x, z), rule.model.log_posterior_terms(z, x)

    whole = p01 + p12 + p23 + top - q1 - q2 - q3
    wanted = torch.stack([whole, p12 + p23 + top - q2 - q3, p23 + top - q3])

    torch.testing.assert_close(rule.signals(*terms), wanted.detach())
    assert not rule.signals(*terms).requires_grad

    # Without local signals every layer learns from the whole bound.
    rule.local_signals = False
    torch.testing.assert_close(rule.signals(*terms), torch.stack([whole] * 3).detach())


def test_the_bound_is_raw():
    """Whatever the baselines: the mean over the batch of the one-sample bound."""
    for settings in ({}, {"local_signals": False}, {"input_baseline": False}):
        rule = rule_of(**settings)
        inputs, layers = one_step(rule)
        log_likelihoods, top, posterior = literal_terms(rule, layers)

        torch.testing.assert_close(
            rule(*inputs)[2]["bound"], (sum(log_likelihoods) + top - sum(posterior)).mean().detach()
        )


def closed_form(rule, inputs, layers):
    """The update's direction (ascent, summed over cases) written out layer by
    layer, without autograd.

    Model: sum h_i (h_{i-1} - sigma). Inference: sum s_i (h_i - q_i) input.
    Baselines: sum s_i grad C_i.
    """
    switches = {name: getattr(rule, name) for name in SWITCHES if name != "input_baseline"}
    state = inputs[0]
    model = rule.model
    n = rule.model.layers
    gradients = {}
    below, top, posterior = literal_terms(rule, layers)
    encoder_inputs = [layers[0] - model.mean, *layers[1:-1]]

    for i in range(n):
        # The generative model: sum h_i (h_{i-1} - sigma).
        error = layers[i] - torch.sigmoid(layers[i + 1] @ model.p[i].weight.T + model.p[i].bias)
        gradients[f"model.p.{i}.weight"] = error.T @ layers[i + 1]
        gradients[f"model.p.{i}.bias"] = error.sum(0)

        # The signal of layer i, less its input baseline.
        first = i if switches["local_signals"] else 0
        s = sum(below[first:]) + top - sum(posterior[first:])
        if rule.baseline is not None:
            hidden = rule.baseline[i].hidden
            output = rule.baseline[i].output
            hidden_units = torch.tanh(encoder_inputs[i] @ hidden.weight.T + hidden.bias)
            s = s - (hidden_units @ output.weight[0] + output.bias)

        # The statistics that are used have this batch in them already; decay 0.8.
        mean = 0.8 * state["mean"][i] + 0.2 * s.mean() if switches["constant_baseline"] else 0.0
        variance = 0.8 * state["variance"][i] + 0.2 * ((s - s.mean()) ** 2).mean()
        s = s - mean
        if switches["variance_normalization"]:
            s = s / max(1.0, math.sqrt(float(variance.detach())))

        # The inference network: sum s_i (h_i - q_i) input.
        error = s[:, None] * (
            layers[i + 1] - torch.sigmoid(encoder_inputs[i] @ model.q[i].weight.T + model.q[i].bias)
        )
        gradients[f"model.q.{i}.weight"] = error.T @ encoder_inputs[i]
        gradients[f"model.q.{i}.bias"] = error.sum(0)

        # The baseline, by hand through its one hidden layer of tanh units.
        if rule.baseline is not None:
            hidden_error = s[:, None] * (1 - hidden_units**2) * output.weight[0]
            gradients[f"baseline.{i}.output.weight"] = (s @ hidden_units)[None]
            gradients[f"baseline.{i}.output.bias"] = s.sum()[None]
            gradients[f"baseline.{i}.hidden.weight"] = hidden_error.T @ encoder_inputs[i]
            gradients[f"baseline.{i}.hidden.bias"] = hidden_error.sum(0)

    gradients[f"model.p.{n}.bias"] = (layers[-1] - torch.sigmoid(model.p[n].bias)).sum(0)
    return gradients


@pytest.mark.parametrize(
    "switches", [ALL, *({**ALL, s: False} for s in SWITCHES), {s: False for s in SWITCHES}]
)
def test_gradients_are_the_closed_forms(switches):
    rule = rule_of(**switches)
    inputs, layers = one_step(rule)
    rule(*inputs)[0].backward()
    wanted = closed_form(rule, inputs, layers)

    assert set(wanted) == {name for name, _ in rule.named_parameters()}
    for name, p in rule.named_parameters():
        torch.testing.assert_close(-p.grad, wanted[name], msg=lambda m, name=name: f"{name}: {m}")


def test_each_switch_changes_the_update():
    """Else the ablations would compare a thing with itself."""
    # The name of a switch: everything on but this one. "": everything on.
    rules = {"": rule_of(**ALL), **{name: rule_of(**{**ALL, name: False}) for name in SWITCHES}}
    posterior_gradients = {}
    model_gradients = {}

    for name, rule in rules.items():
        # All start at the same parameters; only the rules of the update differ.
        rule.model.load_state_dict(rules[""].model.state_dict())
        inputs, _ = one_step(rule)
        rule(*inputs)[0].backward()
        posterior_gradients[name] = rule.model.q[1].weight.grad
        model_gradients[name] = rule.model.p[1].weight.grad

    for name in SWITCHES:
        assert not torch.allclose(posterior_gradients[name], posterior_gradients[""], rtol=1e-2), (
            name
        )

        # That of the generative model needs no signal.
        torch.testing.assert_close(model_gradients[name], model_gradients[""])


def test_without_baselines_there_are_no_baseline_parameters():
    assert not [
        name for name, _ in rule_of(input_baseline=False).named_parameters() if "baseline" in name
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": 1.0}, "objective.decay=1.0"),
        ({"decay": -0.1}, "objective.decay=-0.1"),
        ({"baseline_units": 0}, "objective.baseline_units=0"),
        ({"baseline_units": 2.5}, "objective.baseline_units=2.5"),
        ({"reduce": "average"}, "objective.reduce='average'"),
        ({"local_signal": True}, "local_signal"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError) as error:
        rule_of(**settings)
    assert message in str(error.value)


def test_it_cannot_train_continuous_latents():
    model = models.build({"name": "linear_gaussian", "dims": [2]}, DataInfo(torch.zeros(3)))
    with pytest.raises(
        UserError, match="nvil cannot train model=linear_gaussian; allowed: wake_sleep, iw_bound"
    ):
        objectives.build({"name": "nvil"}, model)
