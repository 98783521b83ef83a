"""DVAE# with the Gaussian integral: its lambda, the bound and its gradient against quadrature,
packs and settings."""

from __future__ import annotations

import math

import pytest
import torch
from kit.draws import normal
from kit.sharp_gaussian import LIMIT, enumerated, full
from torch import distributions
from torch.func import functional_call, grad, vmap

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.dists.boltzmann_exact import states
from vaebench.errors import UserError
from vaebench.objectives import dvae_sharp_gaussian as rules
from vaebench.objectives.base import Batch
from vaebench.optim import SGD
from vaebench.rng import noise
from vaebench.training import choice
from vaebench.training import engines as fast

D = 4


def rule_of(groups=2, latents=2, seed=1, scale=0.8, double=True, model=None, **settings):
    config = {
        "name": "rbm_vae_gaussian",
        "latents": latents,
        "groups": groups,
        "layers": 0,
        "context": "none",
    }
    net = models.build({**config, **(model or {})}, DataInfo(torch.linspace(0.2, 0.7, D)))
    small = {"prior_chains": 4, "prior_sweeps": 2, "beta": 6.0, "weight_decay": 0.0, "warmup": 0.0}
    rule = objectives.build({"name": "dvae_sharp_gaussian", **small, **settings}, net)
    randomize(rule, seed, scale)

    return rule.double() if double else rule


def test_lambda_is_chosen_at_refreshes_and_in_between_raised_only_if_it_must():
    rule = rule_of(latents=20, refresh=3, beta=10.0)
    w = rule.model.p.prior.w

    shift = rule.state()["lambda"]

    # As chosen without couplings: beta, or the margin if that is larger.
    assert float(shift) == 10.0
    assert float(rule_of(beta=2.0).state()["lambda"]) == rules.MARGIN

    # Every third update chooses lambda anew; see MARGIN and FLOOR.
    plan = [  # largest singular value of the couplings, lambda for the update
        (0.0, 10.0),
        (7.0, 10.0),
        (9.5, 10.5),  # raised: 10 would leave S an eigenvalue of 0.5, below the floor of 1
        (9.5, 14.5),  # chosen: 9.5 and the margin of 5
        (12.0, 14.5),
        (1.0, 14.5),
        (1.0, 10.0),
        (80.0, 81.0),
        (70.0, 81.0),
        (70.0, 75.0),
    ]
    for update, (singular_value, wanted) in enumerate(plan):
        with torch.no_grad():
            w.zero_()[2, 5] = singular_value

        chosen = rule.refreshed(shift, torch.tensor(update))

        assert chosen.shape == ()
        assert chosen.dtype == shift.dtype
        assert not chosen.requires_grad
        assert float(chosen) == pytest.approx(wanted, rel=1e-6), update

        shift = chosen


def step_inputs(rule, x, seed=0, update=1, **state):
    draws = {k: v.to(x.dtype) for k, v in noise.fixed(rule.noise(len(x)), seed, "noise").items()}
    batch = Batch(
        x, rows=torch.arange(len(x)), update=torch.tensor(update), progress=torch.tensor(0.3)
    )
    return {**{k: v.to(x.dtype) for k, v in rule.state().items()}, **state}, batch, draws


def test_the_step_uses_and_returns_the_refreshed_lambda():
    rule = rule_of(refresh=5)
    x = states(D, normal(1))[:6]
    losses = []

    # At updates 4 (lambda is kept) and 5 (a refresh, whatever it was before).
    for update, kept, wanted in ((4, 50.0, 50.0), (5, 50.0, 6.0), (5, 6.0, 6.0)):
        loss, state, _ = rule(
            *step_inputs(rule, x, update=update, **{"lambda": torch.tensor(kept, dtype=x.dtype)})
        )

        assert float(state["lambda"]) == pytest.approx(wanted)

        losses.append(loss.item())

    # The loss is that of the refreshed lambda: where it was 50, the loss at 50 is another one.
    assert losses[1] == losses[2] != losses[0]


@pytest.mark.parametrize("scale", [0.1, 2.0, 30.0])
def test_a_step_survives_couplings_of_any_size(scale):
    rule = rule_of(groups=2, latents=200, double=False, beta=30.0, refresh=1000)
    with torch.no_grad():
        rule.model.p.prior.w.copy_(normal(100, 100, scale=scale, dtype=torch.float32))

    x = states(D, torch.zeros(1))[:6]
    loss, state, _ = rule(*step_inputs(rule, x, update=1))

    least = torch.linalg.eigvalsh(
        full(rule.model.p.prior.w.detach().double(), state["lambda"].double())
    ).min()

    # Single precision may take a tenth of the floor.
    assert least > 0.9 * rules.FLOOR
    assert torch.isfinite(loss)

    named = dict(rule.named_parameters())
    for (name, p), g in zip(
        named.items(), torch.autograd.grad(loss, list(named.values())), strict=True
    ):
        assert torch.isfinite(g).all(), name

        # Parameters of no elements have nothing to learn.
        assert g.any() or p.numel() == 0, name


def weights(rule, x, zeta, shift):
    """log p(x | zeta), log p(zeta) + log Z and log q(zeta | x) by torch's
    distributions and enumeration."""
    model = rule.model
    log_q = 0.0
    for i, z in enumerate(zeta):
        # The two components of every unit stand at delta (bit 0) and 1 + delta (bit 1).
        logit, delta, sigma = model.group_mixture(i, model.encode(x), zeta[:i])
        means = torch.stack([delta, 1 + delta], -1).expand(*z.shape, 2)
        parts = distributions.Normal(means, sigma.unsqueeze(-1).expand(means.shape))
        which = distributions.Categorical(
            logits=torch.stack([torch.zeros_like(logit), logit], -1).expand(means.shape)
        )
        log_q = log_q + distributions.MixtureSameFamily(which, parts).log_prob(z).sum(-1)

    return (
        model.log_likelihood(x, zeta),
        enumerated(model.prior(), shift, *model.sides(zeta)),
        log_q,
    )


def by_quadrature(rule, x, weight, shift):
    """E_q[log p(x | zeta) + weight (log p(zeta) + log Z - log q(zeta | x))] of the first
    case, two units in all."""
    # Beyond these ends q has no mass: its integral is checked below.
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

    class Gain(torch.nn.Module):  # functional_call calls ``forward`` only
        def __init__(self):
            super().__init__()
            self.rule = rule

        def forward(self, n):
            gain, bound, _ = self.rule.gain(x, weight, torch.zeros(()), {"lambda": shift}, n, {})
            return gain.sum(), (gain.sum(), bound.sum())

    outer = Gain()

    generator = torch.Generator().manual_seed(seed)
    uniforms = {
        k: v.double()
        for k, v in noise.draw(rule.posterior_noise(len(x)), generator, (draws,)).items()
    }

    # Gradients of one draw; vmap takes all draws at once.
    of_one_draw = grad(
        lambda p, n: functional_call(outer, {f"rule.{k}": v for k, v in p.items()}, (n,)),
        has_aux=True,
    )
    gradients, (gain, bound) = vmap(of_one_draw, in_dims=(None, 0))(params, uniforms)

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
    rule = rule_of(groups, seed=2)
    x = states(D, normal(1))[[5]]
    shift = torch.tensor(7.0, dtype=torch.float64)
    gamma = torch.tensor(0.6, dtype=torch.float64)

    gain, bound, gradients = sampled_gradients(rule, x, gamma, shift, 10_000)
    named = dict(rule.named_parameters())
    value = by_quadrature(rule, x, gamma, shift)

    # |z| of the bound, and of every entry of the gradient.
    assert z_of(gain, value.item()).abs().max() < LIMIT
    assert z_of(bound, by_quadrature(rule, x, 1.0, shift).item()).abs().max() < LIMIT

    exact = torch.autograd.grad(value, list(named.values()))
    for name, g in zip(named, exact, strict=True):
        assert g.abs().max() > 1e-3, name
        assert z_of(gradients[name], g.reshape(-1)).abs().max() < LIMIT, name


@pytest.mark.parametrize("samples", [1, 3])
def test_the_weighted_bound_is_that_of_its_densities(samples):
    rule = rule_of(2, latents=4, samples=samples)
    x = states(D, normal(1))[:5]
    shift = torch.tensor(7.0, dtype=torch.float64)
    gamma = torch.tensor(0.6, dtype=torch.float64)
    draws = {k: v.double() for k, v in noise.fixed(rule.posterior_noise(5), 0, "noise").items()}
    log_z = torch.tensor(2.5, dtype=torch.float64)
    gain, bound, new = rule.gain(x, gamma, log_z, {"lambda": shift}, draws, {})

    zeta, _ = rule.infer(rule.model.encode(x), draws, {})
    likelihood, log_p, log_q = weights(rule, x, zeta, shift)
    log_w = likelihood + gamma * (log_p - log_q)

    # gain has the weight gamma before log p - log q, log Z included; bound has neither.
    torch.testing.assert_close(gain, torch.logsumexp(log_w, 0) - math.log(samples) - gamma * log_z)
    torch.testing.assert_close(bound, (likelihood + log_p - log_q).mean(0))
    assert new["lambda"] is shift


@pytest.mark.parametrize("context", ["none", "shared"])
def test_frozen_mixtures_follow_the_samples_below_and_no_parameter(context):
    rule = rule_of(2, latents=4, model={"layers": 1, "units": 5, "context": context})
    x = states(D, normal(1))[:5]
    batch_statistics = {}
    encoded = rule.model.encode(x, batch_statistics)

    zeta = [normal(3, 5, 2, seed=i).requires_grad_() for i in (0, 1)]
    frozen = rule.frozen(encoded, zeta, batch_statistics)
    free = [rule.model.group_mixture(i, encoded, zeta[:i], batch_statistics) for i in (0, 1)]

    for a, b in zip(frozen, free, strict=True):
        torch.testing.assert_close(a, b)

    # The mean delta of group 2 depends on the sample of group 1, frozen or not.
    probe = normal(*free[1].shape)
    slopes = [
        torch.autograd.grad((v[1] * probe).sum(), zeta[0], retain_graph=True)[0]
        for v in (frozen, free)
    ]

    assert slopes[1].abs().max() > 1e-3
    torch.testing.assert_close(slopes[0], slopes[1])

    # Nothing flows into the parameters.
    total = frozen[0].sum() + (frozen[1] * probe).sum()
    for g in torch.autograd.grad(total, list(rule.parameters()), allow_unused=True):
        assert g is None or g.abs().max() < 1e-12


def test_both_estimators_have_the_same_mean():
    """The doubly reparameterised gradient is right only if everything of q is stopped."""
    shift = torch.tensor(7.0, dtype=torch.float64)
    gamma = torch.tensor(0.6, dtype=torch.float64)
    x = states(D, normal(1))[[5]]
    gradients = []

    for estimator in ("plain", "doubly_reparameterized"):
        rule = rule_of(2, latents=4, seed=3, samples=2, estimator=estimator)
        gradients.append(sampled_gradients(rule, x, gamma, shift, 10_000)[2])

    for name in gradients[0]:
        difference = gradients[1][name] - gradients[0][name]
        z = z_of(difference)

        # Of the generative model both are the same, draw by draw.
        assert len(z) or name.startswith("model.p."), name
        assert len(z) == 0 or z.abs().max() < LIMIT, name


def trained(engine, updates=8, **settings):
    """Three seeds of a net with batch normalisation, the middle of the updates at a refresh."""
    shape = {
        "model": {"layers": 1, "units": 6},
        "double": False,
        "latents": 6,
        "refresh": 5,
        "warmup": 0.3,
    }
    rule = rule_of(**shape, **settings)
    update = SGD(0.05)
    starts = []

    for seed in range(3):
        randomize(rule, 10 + seed, 0.6)
        params = {k: v.detach().clone() for k, v in rule.named_parameters()}
        params["model.p.prior.w"] *= 1 + 4 * seed
        starts.append((params, rule.state(seed), update.state(params)))

    x = states(D, torch.zeros(1))
    pack = fast.Pack(
        rule, update, *map(list, zip(*starts, strict=True)), data=x, engine=engine, updates=updates
    )

    draws = noise.update_block(rule.noise(5), [0, 1, 2], 0, torch.device("cpu"), updates)
    order = noise.order_block(len(x), 5, "replacement", [0, 1, 2], 0, updates)

    return pack, pack.advance(order, draws, None)


def assert_same(one, other):
    pack, sums = one
    second_pack, second_sums = other

    torch.testing.assert_close(sums["bound"], second_sums["bound"], rtol=1e-5, atol=1e-3)

    for r in range(3):
        for part, wanted in zip(pack.seed(r), second_pack.seed(r), strict=True):
            assert part.keys() == wanted.keys()
            for name, v in part.items():
                torch.testing.assert_close(
                    v, wanted[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
                )


@pytest.mark.parametrize("samples", [1, 2])
def test_packed_equals_plain(samples):
    plain = trained("plain", samples=samples)
    assert_same(plain, trained("packed", samples=samples))

    # Couplings of 1, 5 and 9 times their start need a larger and larger lambda.
    shifts = [float(plain[0].seed(r)[1]["lambda"]) for r in range(3)]
    assert shifts[0] < shifts[1] < shifts[2]

    # Beta 50 is above what any of the couplings asks for.
    sharp = trained("plain", updates=8, samples=samples, beta=50.0)
    assert {float(sharp[0].seed(r)[1]["lambda"]) for r in range(3)} == {50.0}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own making
@pytest.mark.skipif(not choice.compiler_found(), reason="no C++ compiler")
@pytest.mark.parametrize("samples", [1, 2])
def test_compiled_equals_plain(samples):
    assert_same(trained("plain", samples=samples), trained("compiled", samples=samples))


def test_it_trains_models_with_mixtures_only():
    net = models.build({"name": "rbm_vae", "latents": 4}, DataInfo(torch.full((D,), 0.5)))
    with pytest.raises(
        UserError,
        match=r"objective dvae_sharp_gaussian cannot train model=rbm_vae; allowed: .*dvae_pp",
    ):
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
