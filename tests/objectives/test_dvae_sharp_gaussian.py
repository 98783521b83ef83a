"""DVAE# with the Gaussian integral: p(zeta), the bound and its gradient against enumeration and quadrature."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions
from torch.func import functional_call, grad, vmap

from vaebench import models, objectives
from vaebench.check import checks as check
from vaebench.data.info import DataInfo
from vaebench.dists.boltzmann_exact import states
from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.objectives import dvae_sharp_gaussian as rules
from vaebench.objectives.base import Batch
from vaebench.optim import SGD
from vaebench.rng import noise
from vaebench.training import choice
from vaebench.training import engines as fast

D = 4
LIMIT = 5.0
"""Of |z|: exceeded by chance once in 1.7 million, fixed seeds make that repeatable."""


def normal(*shape, seed=0, scale=1.0, dtype=torch.float64):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def machine(n1, n2, seed=0, scale=1.0):
    return RBM(*(normal(*s, seed=seed + i, scale=scale) for i, s in enumerate(((n1,), (n2,), (n1, n2)))))


def full(w, shift):
    """S = C + lambda I."""
    n1, n2 = w.shape
    c = torch.cat([torch.cat([w.new_zeros(n1, n1), w], 1), torch.cat([w.mT, w.new_zeros(n2, n2)], 1)])
    return c + shift * torch.eye(n1 + n2, dtype=w.dtype)


def enumerated(m, shift, zeta1, zeta2):
    """log sum_z exp(-E(z)) N(zeta; z, S^-1), state by state."""
    n1, n2 = m.w.shape
    z1, z2 = states(n1 + n2, m.w).split([n1, n2], 1)
    smooth = distributions.MultivariateNormal(torch.cat([z1, z2], 1), precision_matrix=full(m.w, shift))
    log_r = smooth.log_prob(torch.cat([zeta1, zeta2], -1).unsqueeze(-2))
    return torch.logsumexp(log_r + z1 @ m.b1 + z2 @ m.b2 + ((z1 @ m.w) * z2).sum(-1), -1)


def rule_of(groups=2, latents=2, seed=1, scale=0.8, double=True, model=None, **settings):
    config = {"name": "rbm_vae_gaussian", "latents": latents, "groups": groups, "layers": 0, "context": "none"}
    net = models.build({**config, **(model or {})}, DataInfo(torch.linspace(0.2, 0.7, D)))
    small = {"prior_chains": 4, "prior_sweeps": 2, "beta": 6.0, "weight_decay": 0.0, "warmup": 0.0}
    rule = objectives.build({"name": "dvae_sharp_gaussian", **small, **settings}, net)
    check.randomize(rule, seed, scale)
    return rule.double() if double else rule


# ------------------------------------------------------------------------------------------------- the smoothed prior


@pytest.mark.parametrize(("w", "shift"), [(2.0, 6.0), (-4.0, 5.0), (0.0, 30.0)])
def test_one_and_one_unit_integrate_to_one(w, shift):
    m = RBM(*(torch.tensor(v, dtype=torch.float64) for v in ([0.7], [-1.1], [[w]])))
    axis = torch.linspace(-6, 7, 651, dtype=torch.float64)
    zeta1, zeta2 = (v.reshape(1, -1, 1) for v in torch.meshgrid(axis, axis, indexing="ij"))
    log_p = rules.log_density(m, torch.tensor(shift, dtype=torch.float64), zeta1, zeta2) - m.log_z()
    assert float(log_p.exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1.0, abs=1e-9)


def test_two_and_two_units_integrate_to_one():
    """By importance sampling from a wider mixture around every corner."""
    m, shift = machine(2, 2), torch.tensor(6.0, dtype=torch.float64)
    width = math.sqrt(1.3 / float(torch.linalg.eigvalsh(full(m.w, shift)).min()))
    each = distributions.Normal(torch.tensor([0.0, 1.0], dtype=torch.float64), width)
    corner = (torch.rand(100_000, 4, generator=torch.Generator().manual_seed(3)) < 0.5).double()
    zeta = corner + width * normal(100_000, 4, seed=4)
    log_q = (torch.logsumexp(each.log_prob(zeta.unsqueeze(-1)), -1) - math.log(2)).sum(-1)
    weight = (rules.log_density(m, shift, zeta[:, :2], zeta[:, 2:]) - m.log_z() - log_q).exp()
    error = float(weight.std()) / math.sqrt(len(weight))
    assert error < 0.01
    assert abs(float(weight.mean()) - 1) < LIMIT * error


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (2, 3), (4, 2)])
def test_density_and_gradient_are_those_of_the_sum_over_all_states(sizes):
    m = machine(*sizes, scale=1.5)
    shift = rules.largest_singular_value(m.w) + 1.0
    zeta = [normal(3, 5, n, seed=7 + n, scale=1.5) for n in sizes]
    inputs = [v.requires_grad_() for v in (*m, shift.clone(), *zeta)]
    found = rules.log_density(RBM(*inputs[:3]), *inputs[3:])
    wanted = enumerated(RBM(*inputs[:3]), *inputs[3:])
    assert found.shape == (3, 5)
    torch.testing.assert_close(found, wanted)
    probe = normal(3, 5, seed=9)
    for a, b in zip(*(torch.autograd.grad((v * probe).sum(), inputs) for v in (found, wanted)), strict=True):
        assert b.abs().max() > 1e-3
        torch.testing.assert_close(a, b)


def test_float32_holds_with_two_hundred_units_and_large_couplings():
    m = RBM(*(p * s for p, s in zip(machine(100, 100, seed=3), (3.0, 3.0, 2.0), strict=True)))
    shift = rules.largest_singular_value(m.w) + rules.FLOOR
    zeta = [(normal(2, 20, 100, seed=i) > 0).double() + normal(2, 20, 100, seed=5 + i, scale=0.25) for i in (0, 1)]
    values = []
    for dtype in (torch.float32, torch.float64):
        w = m.w.to(dtype).requires_grad_()
        value = rules.log_density(RBM(m.b1.to(dtype), m.b2.to(dtype), w), shift.to(dtype), *(z.to(dtype) for z in zeta))
        values.append((value.double(), torch.autograd.grad(value.sum(), w)[0].double()))
    torch.testing.assert_close(values[0][0], values[1][0], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(values[0][1], values[1][1], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("sizes", [(1, 1), (5, 5), (3, 6), (6, 3)])
def test_log_determinant(sizes):
    w, shift = normal(*sizes), torch.tensor(7.0, dtype=torch.float64)
    sign, wanted = torch.linalg.slogdet(full(w, shift))
    assert sign == 1
    torch.testing.assert_close(rules.log_det(w, shift), wanted)


# ------------------------------------------------------------------------------------------------------------- lambda


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("sizes", [(1, 1), (100, 100), (5, 40), (40, 5)])
def test_largest_singular_value_is_bounded_from_above_and_closely(sizes, scale, dtype):
    w = normal(*sizes, scale=scale).to(dtype).requires_grad_()
    found, wanted = rules.largest_singular_value(w), torch.linalg.matrix_norm(w.detach(), 2)
    assert not found.requires_grad
    excess = float(found.double() / wanted.double())
    assert 1 - 1e-5 < excess < min(sizes) ** (0.25 / 2**rules.SQUARINGS) + 1e-5


def test_largest_singular_value_of_special_matrices():
    assert float(rules.largest_singular_value(torch.zeros(4, 4))) < 1e-15
    # All equal is the worst case: too large by n^(1 / 4m).
    assert float(rules.largest_singular_value(3 * torch.eye(100))) == pytest.approx(3 * 100 ** (1 / 1024), rel=1e-6)
    assert float(rules.largest_singular_value(torch.ones(20, 30))) == pytest.approx(math.sqrt(600), rel=1e-6)


def test_lambda_is_chosen_at_refreshes_and_in_between_raised_only_if_it_must():
    rule = rule_of(latents=20, refresh=3, beta=10.0)
    w = rule.model.p.prior.w
    shift = rule.state()["lambda"]
    assert float(shift) == 10.0
    assert float(rule_of(beta=2.0).state()["lambda"]) == rules.MARGIN
    plan = [  # couplings' largest singular value, lambda for the update
        (0.0, 10.0),
        (7.0, 10.0),
        (9.5, 10.5),  # would be 0.5 from losing positive definiteness
        (9.5, 14.5),
        (12.0, 14.5),
        (1.0, 14.5),
        (1.0, 10.0),
        (80.0, 81.0),
        (70.0, 81.0),
        (70.0, 75.0),
    ]
    for update, (size, wanted) in enumerate(plan):
        with torch.no_grad():
            w.zero_()[2, 5] = size
        new = rule.refreshed(shift, torch.tensor(update))
        assert new.shape == ()
        assert new.dtype == shift.dtype
        assert not new.requires_grad
        assert float(new) == pytest.approx(wanted, rel=1e-6), update
        shift = new


def step_inputs(rule, x, seed=0, update=1, **state):
    draws = {k: v.to(x.dtype) for k, v in noise.fixed(rule.noise(len(x)), seed, "noise").items()}
    batch = Batch(x, rows=torch.arange(len(x)), update=torch.tensor(update), progress=torch.tensor(0.3))
    return {**{k: v.to(x.dtype) for k, v in rule.state().items()}, **state}, batch, draws


def test_the_step_uses_and_returns_the_refreshed_lambda():
    rule = rule_of(refresh=5)
    x = states(D, normal(1))[:6]
    losses = []
    for update, kept, wanted in ((4, 50.0, 50.0), (5, 50.0, 6.0), (5, 6.0, 6.0)):
        loss, state, _ = rule(*step_inputs(rule, x, update=update, **{"lambda": torch.tensor(kept, dtype=x.dtype)}))
        assert float(state["lambda"]) == pytest.approx(wanted)
        losses.append(loss.item())
    assert losses[1] == losses[2] != losses[0]


@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
def test_a_step_survives_couplings_of_any_size(scale):
    rule = rule_of(groups=2, latents=200, double=False, beta=30.0, refresh=1000)
    with torch.no_grad():
        rule.model.p.prior.w.copy_(normal(100, 100, scale=scale, dtype=torch.float32))
    x = states(D, torch.zeros(1))[:6]
    loss, state, _ = rule(*step_inputs(rule, x, update=1))
    least = torch.linalg.eigvalsh(full(rule.model.p.prior.w.detach().double(), state["lambda"].double())).min()
    assert least > 0.9 * rules.FLOOR
    assert torch.isfinite(loss)
    named = dict(rule.named_parameters())
    for (name, p), g in zip(named.items(), torch.autograd.grad(loss, list(named.values())), strict=True):
        assert torch.isfinite(g).all(), name
        assert g.any() or p.numel() == 0, name


# ---------------------------------------------------------------------------------------------- the bound's estimates


def weights(rule, x, zeta, shift):
    """log p(x | zeta), log p(zeta) + log Z and log q(zeta | x) by torch's distributions and enumeration."""
    model = rule.model
    log_q = 0.0
    for i, z in enumerate(zeta):
        logit, delta, sigma = model.group_mixture(i, model.encode(x), zeta[:i])
        means = torch.stack([delta, 1 + delta], -1).expand(*z.shape, 2)
        parts = distributions.Normal(means, sigma.unsqueeze(-1).expand(means.shape))
        which = distributions.Categorical(logits=torch.stack([torch.zeros_like(logit), logit], -1).expand(means.shape))
        log_q = log_q + distributions.MixtureSameFamily(which, parts).log_prob(z).sum(-1)
    return model.log_likelihood(x, zeta), enumerated(model.prior(), shift, *model.sides(zeta)), log_q


def by_quadrature(rule, x, weight, shift):
    """E_q[log p(x | zeta) + weight (log p(zeta) + log Z - log q(zeta | x))] of the first case, two units in all."""
    axis = torch.linspace(-2.2, 3.2, 271, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 1, 2)
    zeta = [grid] if len(rule.model.sizes) == 2 else list(grid.split(1, -1))
    likelihood, log_p, log_q = weights(rule, x, zeta, shift)
    density = log_q.exp() * (axis[1] - axis[0]) ** 2
    assert density.sum().item() == pytest.approx(1.0, abs=1e-6)
    return (density * (likelihood + weight * (log_p - log_q))).sum()


def sampled_gradients(rule, x, weight, shift, draws, seed=0):
    """``gain`` and its gradients for independent noise: (draws,), name -> (draws, ...)."""
    params = {k: v.detach() for k, v in rule.named_parameters()}

    class Gain(torch.nn.Module):  # so that functional_call reaches gain
        def __init__(self):
            super().__init__()
            self.rule = rule

        def forward(self, n):
            gain, bound, _ = self.rule.gain(x, weight, torch.zeros(()), {"lambda": shift}, n, {})
            return gain.sum(), (gain.sum(), bound.sum())

    outer = Gain()
    generator = torch.Generator().manual_seed(seed)
    u = {k: v.double() for k, v in noise.draw(rule.posterior_noise(len(x)), generator, (draws,)).items()}
    one = grad(lambda p, n: functional_call(outer, {f"rule.{k}": v for k, v in p.items()}, (n,)), has_aux=True)
    gradients, (gain, bound) = vmap(one, in_dims=(None, 0))(params, u)
    return gain, bound, gradients


def z_of(values, wanted=0.0):
    """z of the mean of every column; columns without variance must be right to rounding."""
    values = values.reshape(len(values), -1)
    error = values.std(0) / math.sqrt(len(values))
    off = values.mean(0) - wanted
    assert (off[error < 1e-12].abs() < 1e-9).all()
    return (off / error)[error >= 1e-12]


@pytest.mark.parametrize("groups", [1, 2])
def test_bound_and_gradient_have_the_means_that_quadrature_gives(groups):
    rule, x = rule_of(groups, seed=2), states(D, normal(1))[[5]]
    shift, gamma = torch.tensor(7.0, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    gain, bound, gradients = sampled_gradients(rule, x, gamma, shift, 10_000)
    named = dict(rule.named_parameters())
    value = by_quadrature(rule, x, gamma, shift)
    assert z_of(gain, value.item()).abs().max() < LIMIT
    assert z_of(bound, by_quadrature(rule, x, 1.0, shift).item()).abs().max() < LIMIT
    exact = torch.autograd.grad(value, list(named.values()))
    for name, g in zip(named, exact, strict=True):
        assert g.abs().max() > 1e-3, name
        assert z_of(gradients[name], g.reshape(-1)).abs().max() < LIMIT, name


@pytest.mark.parametrize("samples", [1, 3])
def test_the_weighted_bound_is_that_of_its_densities(samples):
    rule, x = rule_of(2, latents=4, samples=samples), states(D, normal(1))[:5]
    shift, gamma = torch.tensor(7.0, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    draws = {k: v.double() for k, v in noise.fixed(rule.posterior_noise(5), 0, "noise").items()}
    log_z = torch.tensor(2.5, dtype=torch.float64)
    gain, bound, new = rule.gain(x, gamma, log_z, {"lambda": shift}, draws, {})
    zeta, _ = rule.infer(rule.model.encode(x), draws, {})
    likelihood, log_p, log_q = weights(rule, x, zeta, shift)
    log_w = likelihood + gamma * (log_p - log_q)
    torch.testing.assert_close(gain, torch.logsumexp(log_w, 0) - math.log(samples) - gamma * log_z)
    torch.testing.assert_close(bound, (likelihood + log_p - log_q).mean(0))
    assert new["lambda"] is shift


@pytest.mark.parametrize("context", ["none", "shared"])
def test_frozen_mixtures_follow_the_samples_below_and_no_parameter(context):
    rule = rule_of(2, latents=4, model={"layers": 1, "units": 5, "context": context})
    x, tape = states(D, normal(1))[:5], {}
    seen, zeta = rule.model.encode(x, tape), [normal(3, 5, 2, seed=i).requires_grad_() for i in (0, 1)]
    frozen = rule.frozen(seen, zeta, tape)
    free = [rule.model.group_mixture(i, seen, zeta[:i], tape) for i in (0, 1)]
    for a, b in zip(frozen, free, strict=True):
        torch.testing.assert_close(a, b)
    probe = normal(*free[1].shape)
    slopes = [torch.autograd.grad((v[1] * probe).sum(), zeta[0], retain_graph=True)[0] for v in (frozen, free)]
    assert slopes[1].abs().max() > 1e-3
    torch.testing.assert_close(slopes[0], slopes[1])
    total = frozen[0].sum() + (frozen[1] * probe).sum()
    for g in torch.autograd.grad(total, list(rule.parameters()), allow_unused=True):
        assert g is None or g.abs().max() < 1e-12


def test_both_estimators_have_the_same_mean():
    """The doubly reparameterised gradient is right only if everything of q is stopped."""
    shift, gamma = torch.tensor(7.0, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    x, gradients = states(D, normal(1))[[5]], []
    for estimator in ("plain", "doubly_reparameterized"):
        rule = rule_of(2, latents=4, seed=3, samples=2, estimator=estimator)
        gradients.append(sampled_gradients(rule, x, gamma, shift, 10_000)[2])
    for name in gradients[0]:
        difference = gradients[1][name] - gradients[0][name]
        z = z_of(difference)
        assert len(z) or name.startswith("model.p."), name  # of the generative model both are the same, draw by draw
        assert len(z) == 0 or z.abs().max() < LIMIT, name


# ------------------------------------------------------------------------------------------------------------ engines


def trained(engine, updates=8, **settings):
    """Three seeds of a net with batch normalisation, the middle of the updates at a refresh."""
    shape = {"model": {"layers": 1, "units": 6}, "double": False, "latents": 6, "refresh": 5, "warmup": 0.3}
    rule, update = rule_of(**shape, **settings), SGD(0.05)
    parts = []
    for seed in range(3):
        check.randomize(rule, 10 + seed, 0.6)
        params = {k: v.detach().clone() for k, v in rule.named_parameters()}
        params["model.p.prior.w"] *= 1 + 4 * seed
        parts.append((params, rule.state(seed), update.state(params)))
    x = states(D, torch.zeros(1))
    pack = fast.Pack(rule, update, *map(list, zip(*parts, strict=True)), data=x, engine=engine, updates=updates)
    draws = noise.update_block(rule.noise(5), [0, 1, 2], 0, torch.device("cpu"), updates)
    order = noise.order_block(len(x), 5, "replacement", [0, 1, 2], 0, updates)
    return pack, pack.advance(order, draws, None), [p["model.p.prior.w"] for p, _, _ in parts]


def assert_same(one, other):
    (pack, sums, _), (again, others, _) = one, other
    torch.testing.assert_close(sums["bound"], others["bound"], rtol=1e-5, atol=1e-3)
    for r in range(3):
        for part, wanted in zip(pack.seed(r), again.seed(r), strict=True):
            assert part.keys() == wanted.keys()
            for name, v in part.items():
                torch.testing.assert_close(v, wanted[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("samples", [1, 2])
def test_packed_equals_plain(samples):
    plain = trained("plain", samples=samples)
    assert_same(plain, trained("packed", samples=samples))
    shifts = [float(plain[0].seed(r)[1]["lambda"]) for r in range(3)]
    assert shifts[0] < shifts[1] < shifts[2]
    moved = trained("plain", updates=8, samples=samples, beta=50.0)
    assert {float(moved[0].seed(r)[1]["lambda"]) for r in range(3)} == {50.0}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own making
@pytest.mark.skipif(not choice.compiler_found(), reason="no C++ compiler")
@pytest.mark.parametrize("samples", [1, 2])
def test_compiled_equals_plain(samples):
    assert_same(trained("plain", samples=samples), trained("compiled", samples=samples))


# ----------------------------------------------------------------------------------------------------------- settings


def test_it_trains_models_with_mixtures_only():
    net = models.build({"name": "rbm_vae", "latents": 4}, DataInfo(torch.full((D,), 0.5)))
    with pytest.raises(UserError, match=r"objective dvae_sharp_gaussian cannot train RBMVAE; allowed: .*dvae_pp"):
        objectives.build({"name": "dvae_sharp_gaussian"}, net)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"beta": 0.0}, "objective.beta=0.0: must be a positive number"),
        ({"beta": "hard"}, "objective.beta='hard': must be a positive number"),
        ({"refresh": 0}, "objective.refresh=0: must be a whole number from 1"),
        ({"refresh": 2.5}, "objective.refresh=2.5: must be a whole number from 1"),
        ({"estimator": "reinforce"}, "objective.estimator='reinforce'"),
    ],
)
def test_bad_settings_are_refused(settings, line):
    with pytest.raises(UserError, match=line.replace(".", r"\.")):
        rule_of(**settings)
