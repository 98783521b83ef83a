"""Adaptive weight noise against closed forms, differences, and the rule without noise."""

from __future__ import annotations

import math

import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from torch.distributions import Normal, kl_divergence

from vaebench import models, objectives
from vaebench.check import checks as check
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.objectives.base import Batch
from vaebench.objectives.weight_noise import AT_ONCE, WeightNoise, least_kl
from vaebench.rng import noise

CASES = 50.0
X = torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 1]], dtype=torch.float64)


def net(name="DARN 4"):
    return models.build(check.MODELS[name], DataInfo(torch.linspace(0.2, 0.7, 4)))


def rule_of(name="DARN 4", **settings):
    rule = objectives.build({"name": "mdl", "weight_noise": 0.3, **settings}, net(name)).double()
    randomize(rule, 0, 0.6)
    return rule


def drawn_for(rule, seed=0):
    draws = noise.draw(rule.noise(len(X)), torch.Generator().manual_seed(seed))
    return {name: v.double() for name, v in draws.items()}


def values():
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    log_sigma = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    return mean, log_sigma


def kl_to(mean, log_sigma, m, s):
    """KL of all parameters' posteriors to one prior N(m, s^2), by torch."""
    prior = Normal(*(torch.tensor(v, dtype=torch.float64) for v in (m, s)))
    return float(kl_divergence(Normal(mean, log_sigma.exp()), prior).sum())


def test_the_cost_is_the_divergence_from_the_best_prior():
    """Against torch's own KL, at the best mean and spread and at 400 others around them."""
    mean, log_sigma = values()
    cost = float(least_kl([mean], [log_sigma]))

    # The best prior: the mean of the means, and the spread of means and noise together.
    m = float(mean.mean())
    s = math.sqrt(float(((mean - m) ** 2 + (2 * log_sigma).exp()).mean()))

    assert cost == pytest.approx(kl_to(mean, log_sigma, m, s), rel=1e-12)

    # Priors around the best one, the best one not among them.
    others = [
        kl_to(mean, log_sigma, m + a, s * b)
        for a in torch.linspace(-1, 1, 20).tolist()
        for b in torch.linspace(0.3, 3, 20).tolist()
    ]

    assert min(others) > cost


def test_tensors_share_one_prior():
    """Cut into parts of several shapes, parameters cost what they cost in one tensor."""
    mean, log_sigma = values()

    def parts(v):
        return [v[:1], v[1:, :2].reshape(-1), v[1:, 2:]]

    torch.testing.assert_close(
        least_kl(parts(mean), parts(log_sigma)), least_kl([mean], [log_sigma])
    )


def test_a_tensor_that_begins_at_zero_is_not_held_there():
    """Biases at 0 feel the prior of all parameters, not one of their own that is as narrow as
    their noise: the pull towards it is (mean - m) / s^2."""
    weights = 0.1 * torch.randn(40, 30, generator=torch.Generator().manual_seed(0)).double()

    # Weights of size 0.1, biases that have just left 0, and noise of 0.01 on all of them.
    biases = torch.full((40,), 0.02, dtype=torch.float64, requires_grad=True)
    sigmas = [torch.full(v.shape, math.log(0.01), dtype=torch.float64) for v in (weights, biases)]
    (pull,) = torch.autograd.grad(least_kl([weights, biases], sigmas), biases)

    # The gradient of the KL: (mean - m) / s^2 with the m and s of all parameters.
    all_parameters = torch.cat([weights.reshape(-1), biases.detach()])
    variance = float(all_parameters.var(correction=0)) + 0.01**2

    torch.testing.assert_close(pull, (biases.detach() - all_parameters.mean()) / variance)


def test_equal_parameters_cost_nothing():
    """If all have one mean and one deviation, the prior is the posterior."""
    shapes = [(4, 3), (5,)]
    cost = least_kl([torch.full(v, 0.7) for v in shapes], [torch.full(v, -1.3) for v in shapes])
    assert float(cost) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", ["SBN 2-3", "fDARN 4", "DARN 4"])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_step_is_that_of_the_drawn_parameters_and_their_cost(name, reduce):
    """Loss and gradients against the rule without noise, whose parameters are mu + sigma epsilon:
    that of mu is the same beside the cost's, that of log sigma is sigma epsilon times it."""
    rule = rule_of(name, reduce=reduce)
    draws = drawn_for(rule)
    means = dict(rule.model.named_parameters())
    sigmas = [v.detach().exp() for v in rule.weights.log_sigma]
    examples = {"sum": len(X), "mean": 1}

    # The rule without noise, at the parameters that were drawn.
    noiseless = objectives.build({"name": "mdl", "reduce": reduce}, net(name)).double()
    epsilons = [draws[f"weight{i}"] for i in range(len(sigmas))]

    with torch.no_grad():
        for (key, p), s, e in zip(
            noiseless.model.named_parameters(), sigmas, epsilons, strict=True
        ):
            p.copy_(means[key] + s * e)

    # The cost is that of the whole data, so an example pays 1 / CASES of it.
    cost = least_kl(list(means.values()), list(rule.weights.log_sigma))
    cost = cost / CASES
    told_cost = cost.detach()
    cost = cost * examples[reduce]
    by_mean = torch.autograd.grad(cost, list(means.values()), retain_graph=True)
    by_sigma = torch.autograd.grad(cost, list(rule.weights.log_sigma), retain_graph=True)

    wanted, _, metrics = noiseless({}, Batch(X), draws)
    slopes = torch.autograd.grad(wanted, list(noiseless.model.parameters()))

    loss, state, noisy_metrics = rule({"cases": torch.tensor(CASES)}, Batch(X), draws)

    torch.testing.assert_close(loss, wanted + cost)
    torch.testing.assert_close(noisy_metrics["bound"], metrics["bound"])
    torch.testing.assert_close(noisy_metrics["weight_cost"], told_cost)
    assert state == {"cases": torch.tensor(CASES)}

    # By the means: the slope of the rule without noise and the cost's.
    gradients = torch.autograd.grad(loss, list(means.values()), retain_graph=True)
    for a, g, c in zip(gradients, slopes, by_mean, strict=True):
        torch.testing.assert_close(a, g + c)

    # By log sigma: the chain rule through mu + sigma epsilon, and the cost's.
    gradients = torch.autograd.grad(loss, list(rule.weights.log_sigma))
    for a, g, c, s, e in zip(gradients, slopes, by_sigma, sigmas, epsilons, strict=True):
        torch.testing.assert_close(a, g * s * e + c)


def test_the_expected_gradients_are_those_of_the_expected_loss():
    """Of one weight of the decoder, the code and all other weights fixed. The expected loss is an
    integral over the weight itself, which knows nothing of epsilon."""
    rule = rule_of("SBN 4")
    draws = drawn_for(rule)

    name = "p.0.weight"
    place = [n for n, _ in rule.model.named_parameters()].index(name)
    mean = rule.model.p[0].weight
    log_sigma = rule.weights.log_sigma[place]
    state = {"cases": torch.tensor(CASES)}

    # The mean over epsilon of the rule's gradients, by Gauss-Hermite quadrature.
    sampled = torch.zeros(2, dtype=torch.float64)

    for node, weight in zip(*hermegauss(60), strict=True):
        draws[f"weight{place}"][0, 0] = node
        loss = rule(state, Batch(X), draws)[0]
        slopes = torch.autograd.grad(loss, [mean, log_sigma])
        sampled += weight / math.sqrt(2 * math.pi) * torch.stack([g[0, 0] for g in slopes])

    # The loss as a function of the weight itself, without its cost, on a grid around its mean.
    m = float(mean[0, 0].detach())
    s = float(log_sigma[0, 0].detach().exp())
    grid = torch.linspace(m - 12 * s, m + 12 * s, 2001, dtype=torch.float64)
    draws[f"weight{place}"][0, 0] = 0.0
    losses = []

    for value in grid:
        with torch.no_grad():
            mean[0, 0] = value
            losses.append(rule(state, Batch(X), draws)[0] - kl_share(rule))

    with torch.no_grad():
        mean[0, 0] = m

    losses = torch.stack(losses)

    # The expected loss as a function of mean and log deviation, to be differenced.
    def expected(m, log_s):
        density = Normal(torch.tensor(m, dtype=torch.float64), math.exp(log_s)).log_prob(grid).exp()
        with torch.no_grad():
            mean[0, 0] = m
            log_sigma[0, 0] = log_s
            return float(torch.trapezoid(density * losses, grid) + kl_share(rule))

    log_s = math.log(s)
    wanted = [
        (expected(m + 1e-4, log_s) - expected(m - 1e-4, log_s)) / 2e-4,
        (expected(m, log_s + 1e-4) - expected(m, log_s - 1e-4)) / 2e-4,
    ]

    assert sampled.tolist() == pytest.approx(wanted, rel=1e-5)


def kl_share(rule):
    """The cost of the weights in a sum over the batch."""
    return len(X) * rule.weights.cost(rule.model) / CASES


@pytest.mark.parametrize(("progress", "noisy"), [(0.0, False), (0.49, False), (0.5, True)])
def test_noise_may_begin_later(progress, noisy):
    """Before, a step is that of the rule without noise, and the deviations stand still; from then
    on it is that of the rule with noise."""
    rule = rule_of(weight_noise_from=0.5)
    assert not rule.budget_free

    # The rule that this one should be at this progress.
    draws = drawn_for(rule)
    settings = {"weight_noise": 0.3} if noisy else {}
    same_rule = objectives.build({"name": "mdl", **settings}, rule.model).double()
    if noisy:
        same_rule.weights.load_state_dict(rule.weights.state_dict())

    batch = Batch(X, progress=torch.tensor(progress))
    state = {"cases": torch.tensor(CASES)}
    loss = rule(state, batch, draws)[0]
    wanted = same_rule(state, batch, draws)[0]

    torch.testing.assert_close(loss, wanted)

    means = list(rule.model.parameters())
    gradients = torch.autograd.grad(loss, [*means, *rule.weights.log_sigma])
    slopes = torch.autograd.grad(wanted, means)

    for a, b in zip(gradients, slopes, strict=False):
        torch.testing.assert_close(a, b)

    # Deviations move only if there is noise.
    assert all(bool((v != 0).any()) == noisy for v in gradients[len(means) :])


def test_the_step_leaves_the_means_in_place():
    rule = rule_of()
    before = list(rule.model.parameters())
    rule({"cases": torch.tensor(CASES)}, Batch(X), drawn_for(rule))
    assert all(a is b for a, b in zip(rule.model.parameters(), before, strict=True))


def test_it_starts_at_the_given_deviation_and_draws_nothing_for_it():
    """The means start as they do without noise."""
    start = {"init": "normal", "init_scale": 0.1}
    rule = objectives.build({"name": "mdl", "weight_noise": 0.05}, net())
    plain = objectives.build({"name": "mdl"}, net())

    for r in (rule, plain):
        models.start(r, start, 7)

    for a, b in zip(rule.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(a, b)

    for p in rule.weights.log_sigma:
        torch.testing.assert_close(p.exp(), torch.full_like(p, 0.05))


def test_without_noise_nothing_is_drawn_or_kept():
    rule = objectives.build({"name": "mdl"}, net())
    assert rule.state(0, 10) == {}
    assert set(rule.noise(2)) == {"q1"}
    assert rule.block is None


def test_the_noise_of_a_large_net_is_drawn_in_short_blocks():
    """Of a net of two million parameters ten updates at once, of a tiny one the usual hundred."""
    large = torch.nn.Linear(2_000, 1_000, bias=False)
    assert WeightNoise(large, 0.1).block == AT_ONCE // 2_000_000
    assert WeightNoise(net(), 0.1).block == 100


@pytest.mark.parametrize("value", [-0.1, 1.0, "late"])
def test_a_begin_outside_the_budget_is_refused(value):
    with pytest.raises(UserError, match=r"objective\.weight_noise_from=.*must be"):
        objectives.build({"name": "mdl", "weight_noise": 0.1, "weight_noise_from": value}, net())


def test_the_begin_of_no_noise_is_refused():
    with pytest.raises(UserError, match="there is no weight noise; allowed: 0"):
        objectives.build({"name": "mdl", "weight_noise_from": 0.5}, net())


@pytest.mark.parametrize("value", [-0.1, float("nan"), "much", True, 1e-25, 1e30])
def test_a_deviation_that_is_none_is_refused(value):
    with pytest.raises(UserError, match=r"objective\.weight_noise=.*(must be|allowed: 0, or)"):
        objectives.build({"name": "mdl", "weight_noise": value}, net())
