"""Deep belief nets against enumeration, and their greedy training against contrastive
divergence of each machine."""

from __future__ import annotations

import pytest
import torch
from kit.parameters import drawn

from vaebench import models, objectives
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.errors import UserError
from vaebench.estimators import exact
from vaebench.estimators.log_z import methods as logz
from vaebench.metrics import log_z
from vaebench.metrics.job import Job
from vaebench.objectives.base import Batch
from vaebench.protocol import log_z as protocol
from vaebench.rng import noise
from vaebench.settings.records import EvalSettings

D = 4
N1 = 3
N2 = 5


def info(d=D):
    return DataInfo(torch.linspace(0.2, 0.7, d).numpy())


def perturbed(model, seed=0):
    return drawn(model, 1.0, seed).double()


def dbn(seed=0, dims=(N1, N2)):
    return perturbed(models.build({"name": "dbn", "dims": list(dims)}, info()), seed)


X = boltzmann_exact.states(D, torch.zeros(0, dtype=torch.float64))


def joint(model):
    """log p(x, h1) of all x and h1, (16, 8), from the table of the upper machine's states and the
    lower weights."""
    h1, _, log_p = boltzmann_exact.log_probs(model.prior().detach())
    states = boltzmann_exact.states(N1, X)

    # log p(h1): the upper machine's states with this h1, h2 summed out.
    marginal = torch.stack([torch.logsumexp(log_p[(h1 == h).all(-1)], 0) for h in states])

    logits = states @ model.p["weight"].detach().mT + model.p["visible"].detach()
    likelihood = torch.distributions.Bernoulli(logits=logits).log_prob(X.unsqueeze(1)).sum(-1)
    return likelihood + marginal, states


def test_the_bound_is_its_definition_and_below_the_evidence():
    """E_q[log p(x, h1)] + H(q) over h1 alone, h2 summed out."""
    model = dbn()
    log_p, states = joint(model)
    q = torch.distributions.Bernoulli(logits=model.encode(X).detach())
    log_q = q.log_prob(states.unsqueeze(1)).sum(-1).mT
    bound = (log_q.exp() * (log_p - log_q)).sum(1)
    evidence = torch.logsumexp(log_p, 1)

    torch.testing.assert_close(exact.elbo(model, X).detach(), bound)
    torch.testing.assert_close(exact.log_evidence(model, X).detach(), evidence)
    assert (evidence - bound > 0.01).all()


def test_the_bound_is_the_evidence_where_the_posterior_is_exact():
    """The upper machine is the lower one upside down. Then the net is the lower machine, whose
    posterior is q."""
    model = dbn(dims=(N1, D))
    with torch.no_grad():
        model.p["prior1"].copy_(model.q["hidden"])
        model.p["prior2"].copy_(model.p["visible"])
        model.p["couplings"].copy_(model.p["weight"].mT)

    log_p = -model.lower().free_energy1(X) - boltzmann_exact.log_z(model.lower())

    torch.testing.assert_close(exact.elbo(model, X), log_p)
    torch.testing.assert_close(exact.log_evidence(model, X), log_p)


def test_annealing_from_the_base_rates_finds_log_z():
    """One |z| of five seeds is above 4.75 by chance once in 98,000 times."""
    model = dbn(seed=3)
    settings = {
        "logz_method": "ais",
        "logz_temperatures": 100,
        "logz_chains": 200,
        "logz_base": "base_rate",
        "logz_spacing": "late",
    }
    log_z_exact = float(boltzmann_exact.log_z(model.prior().detach()))

    # ``job.normaliser`` is the estimate of log Z; it must also be precise, within 0.5.
    for seed in range(5):
        estimate = Job(model.requires_grad_(False), X, EvalSettings.of(settings), seed).normaliser
        assert "given base" in estimate.method
        assert abs(float(estimate.value) - log_z_exact) < 4.75 * float(estimate.error) < 0.5

    uniform = log_z.of_prior(model, X, EvalSettings.of({**settings, "logz_base": "uniform"}), 0)

    assert "uniform base" in uniform.method


def test_the_base_rates_are_those_of_the_posterior_over_the_examples(monkeypatch):
    """The mean of q(h1 = 1 | x) over the examples with 0.05 pseudo-ones, taken in parts of three
    examples."""
    arguments = {}
    ais = logz.ais
    monkeypatch.setattr(logz, "ais", lambda *a, **k: arguments.update(k) or ais(*a, **k))
    monkeypatch.setattr(log_z, "CASES", 3)
    model = dbn().requires_grad_(False)
    settings = {"logz_method": "ais", "logz_temperatures": 2, "logz_chains": 3}

    log_z.of_prior(model, X, EvalSettings.of({**settings, "logz_base": "base_rate"}), 0)
    layer1, layer2 = arguments["base"]
    mean = torch.sigmoid(model.encode(X)).mean(0)

    torch.testing.assert_close(torch.sigmoid(layer1), (mean + 0.05) / 1.05)
    assert not layer2.any()


@pytest.mark.parametrize(("passes", "k"), [(1.5, 2), (2.0, 2), (2.5, 1), (4.5, 3)])
def test_each_machine_learns_by_contrastive_divergence_in_its_turn(passes, k):
    """The lower machine learns for two passes. Then the upper one learns on samples of h1, and its
    chains grow from one step again."""
    model = dbn()
    settings = {"steps": 3, "grow": 1, "weight_decay": 0.3}
    rule = objectives.build({"name": "greedy", "lower": 2, **settings}, model)
    draws = noise.fixed(rule.draws(*X.shape), 0, "noise")
    loss, _, metrics = rule({}, Batch(X, passes=torch.tensor(passes)), draws)
    names = [name for name, _ in rule.named_parameters()]
    gradients = dict(zip(names, torch.autograd.grad(loss, list(rule.parameters())), strict=True))

    # A plain RBM with the parameters of the machine whose turn it is.
    lower = passes <= 2
    d, n = (D, N1) if lower else (N1, N2)
    alone = models.build({"name": "rbm", "units": n}, info(d)).double()
    names = {"visible": "p.visible", "hidden": "q.hidden", "weight": "p.weight"}
    if not lower:
        names = {"visible": "p.prior1", "hidden": "p.prior2", "weight": "p.couplings"}
    parameters = dict(model.named_parameters())

    with torch.no_grad():
        for name, parameter_name in names.items():
            alone.p[name].copy_(parameters[parameter_name])

    # It is trained on the data or, for the upper machine, on samples of h1, by the same noise.
    h1 = (draws["shown"] > 1 - torch.sigmoid(model.encode(X))).double()
    shown = X if lower else h1
    chain = {
        "hidden": draws["h1" if lower else "h2"][:k],
        "visible": draws["x" if lower else "h1"][:k],
    }
    cd = objectives.build(
        {"name": "contrastive_divergence", "steps": k, "weight_decay": 0.3}, alone
    )
    cd_loss, _, cd_metrics = cd({}, Batch(shown), chain)

    # A chain of k steps counts with 1 / k.
    torch.testing.assert_close(loss.detach(), cd_loss.detach() / k)
    torch.testing.assert_close(metrics["bound"], cd_metrics["bound"])

    cd_gradients = torch.autograd.grad(cd_loss / k, [alone.p[name] for name in names])
    expected = dict(zip(names.values(), cd_gradients, strict=True))

    # Only the machine whose turn it is has a gradient.
    for name, g in gradients.items():
        parameter_name = name.removeprefix("model.")
        torch.testing.assert_close(g, expected.get(parameter_name, torch.zeros_like(g)))


def test_its_protocol_and_its_settings():
    config = {
        "model": {"name": "dbn", "dims": [500, 2000]},
        "eval": {
            "logz_temperatures": 14500,
            "logz_chains": 100,
            "logz_base": "base_rate",
            "logz_spacing": "late",
        },
    }
    assert protocol.side_of(config) == 500
    assert protocol.log_z_parts(config, "bound") == ["logz:ais-14500x100-base_rate-late"]

    protocol.check_log_z(config)
    with pytest.raises(UserError, match="two numbers of units"):
        dbn(dims=(3,))

    for wrong in ({"lower": 0}, {"grow": 0.0}, {"steps": 0}, {"weight_decay": -1.0}):
        with pytest.raises(UserError, match=f"objective.{next(iter(wrong))}="):
            objectives.build({"name": "greedy", **wrong}, dbn())


def test_weights_and_couplings_decay_and_no_bias():
    model = dbn()
    names = [n for n, p in model.named_parameters() if any(p is v for v in model.decayed())]
    assert sorted(names) == ["p.couplings", "p.weight"]


def test_samples_follow_the_posterior_that_is_scored():
    """For one example the mean weight is p(x), and the mean of its logarithm the bound. A |z| is
    above 4.75 by chance once in 490,000."""
    model = dbn(seed=4)
    x = X[6:7]
    k = 40_000
    draws = {
        name: v.double() for name, v in noise.fixed(model.posterior_noise(k, 1), 0, "noise").items()
    }
    z = model.sample_posterior(x, k, draws)
    log_w = (model.log_joint(x, z) - model.log_posterior(z, x)).detach()[:, 0]
    log_w = log_w - boltzmann_exact.log_z(model.prior().detach())

    for samples, exact_mean in (
        (log_w, exact.elbo(model, x)),
        (log_w.exp(), exact.log_evidence(model, x).exp()),
    ):
        assert (
            abs(float(samples.mean() - exact_mean.detach())) < 4.75 * float(samples.std()) / k**0.5
        )

    # The weight does not depend on h2, of which p(h2 | h1) is exact: its samples
    # are held to their means.
    p = torch.sigmoid(model.prior().logits2(z[0])).detach()
    score = (z[1] - p).sum((0, 1)) / (p * (1 - p)).sum((0, 1)).sqrt()

    assert float(score.abs().max()) < 4.75
