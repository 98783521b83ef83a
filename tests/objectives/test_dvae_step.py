"""The step of the rules with a Boltzmann prior: its weights, its prior's chains, its state,
engines, settings."""

from __future__ import annotations

import copy

import pytest
import torch

from vaebench import models, objectives, optim
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.errors import UserError
from vaebench.objectives.base import Batch
from vaebench.rng import noise
from vaebench.training import engines as fast

VISIBLE = 4
CASES = 6
RULES = [
    {"name": "dvae", "samples": 2},
    {"name": "dvae_pp", "samples": 2},
    {"name": "dvae_sharp"},
    {"name": "dvae_sharp", "samples": 3, "smoothing": "power"},
    {"name": "gumbolt", "samples": 2},
    {"name": "pwl"},
]


def name_of(settings):
    return " ".join(str(v) for v in settings.values())


def rule_of(settings, groups=2, latents=4, layers=1, context="none", momentum=0.8, **more):
    config = {"name": "rbm_vae", "latents": latents, "groups": groups, "layers": layers, "units": 3}
    config |= {"context": context, "momentum": momentum}
    model = models.build(config, DataInfo(torch.linspace(0.2, 0.8, VISIBLE)))
    rule = objectives.build({"prior_chains": 3, "prior_sweeps": 2, **settings, **more}, model)
    randomize(rule, 3)

    return rule


def data():
    return (torch.rand(CASES, VISIBLE, generator=torch.Generator().manual_seed(0)) < 0.5).float()


def inputs(rule, progress=0.5, seed=0, dtype=torch.float64):
    """State of the start, a batch of all cases, noise."""
    rule.to(dtype)

    cast = lambda part: {k: v.to(dtype) for k, v in part.items()}  # noqa: E731
    batch = Batch(
        data().to(dtype), rows=torch.arange(CASES), progress=torch.tensor(progress, dtype=dtype)
    )

    return cast(rule.state(seed)), batch, cast(noise.fixed(rule.noise(CASES), seed, "noise"))


def loss_at(rule, progress):
    return rule(*inputs(rule, progress))[0].item()


@pytest.mark.parametrize("settings", RULES, ids=name_of)
def test_the_weight_of_the_kl_rises_to_one(settings):
    """weight min(progress / warmup, 1); it stands before the KL, and in the weighted bound before
    log p - log q."""
    rule = rule_of(settings, warmup=0.4, weight_decay=0.0)

    # Progress, weight.
    for progress, weight in ((0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (0.9, 1.0)):
        assert rule.kl_weight(torch.tensor(progress)).item() == pytest.approx(weight)

    # Losses at these four progresses: past the warm-up nothing changes any more.
    losses = [loss_at(rule, p) for p in (0.0, 0.1, 0.4, 0.9)]
    assert losses[2] == losses[3]
    assert abs(losses[2] - losses[0]) > 0.1

    # In the ELBO the weight is linear. In the weighted bound it stands within a logarithm.
    if not hasattr(rule, "estimator") or rule.samples == 1:
        assert losses[1] == pytest.approx(0.75 * losses[0] + 0.25 * losses[2])

    # Without a warm-up the weight is 1 from the first update.
    without_warmup = rule_of(settings, warmup=0.0, weight_decay=0.0)
    assert without_warmup.kl_weight(torch.tensor(0.0)).item() == 1.0
    assert loss_at(without_warmup, 0.0) == pytest.approx(losses[2])

    # The bound that the step tells has weight 1 throughout.
    bounds = [rule(*inputs(rule, p))[2]["bound"].item() for p in (0.0, 0.9)]
    assert bounds[0] == bounds[1]

    if not hasattr(rule, "estimator") or rule.samples == 1:
        assert -losses[2] == pytest.approx(bounds[0])


def test_weight_decay_adds_lambda_times_the_weights():
    """To the gradient of kernels, scales of batch normalisation and the prior's
    couplings, and of nothing else."""
    grads = []
    for decay in (0.0, 0.3):
        rule = rule_of(RULES[1], weight_decay=decay, context="shared")
        rule(*inputs(rule))[0].backward()
        grads.append({k: p.grad for k, p in rule.named_parameters()})

    decayed = set()
    for name, p in rule.named_parameters():
        added = grads[1][name] - grads[0][name]
        if added.abs().max() > 0:
            decayed.add(name)
            torch.testing.assert_close(added, 0.3 * p.detach())

    # What must decay, by name.
    wanted = {f"model.q.outputs.{i}.weight" for i in (0, 1)} | {
        "model.p.decoder.output.weight",
        "model.p.prior.w",
    }
    for net in ("model.q.context", "model.p.decoder.net"):
        wanted |= {f"{net}.dense.0.weight", f"{net}.norms.0.scale"}

    assert decayed == wanted


@pytest.mark.parametrize("settings", RULES, ids=name_of)
def test_the_priors_chains_give_the_gradient_of_log_z(settings):
    """Chains that start as exact samples stay so. |z| of one of 8 means exceeds 5 once in 200,000.

    What is left of the gradient once log Z's own is exact must be no concern of the chains.
    """
    chains = 4000
    rule = rule_of(settings, prior_chains=chains, prior_sweeps=1, warmup=0.0, weight_decay=0.0)
    state, batch, draws = inputs(rule)
    prior = rule.model.prior()

    # Chains in exact samples of the prior, which one sweep leaves there.
    u = torch.rand(chains, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    state["prior"], _ = boltzmann_exact.sample(prior, u[:, 0], u[:, 1:])

    leaves = list(rule.model.p.prior.parameters())
    loss, new, _ = rule(state, batch, draws)
    got = torch.autograd.grad(loss, leaves)

    # The exact gradient: log Z with its value taken off again, and no chains.
    log_z = boltzmann_exact.log_z(prior)
    gain, *_ = rule.gain(batch.x, torch.tensor(1.0), log_z - log_z.detach(), state, draws, {})
    wanted = torch.autograd.grad(-gain.mean(), leaves)

    # The derivatives of log Z are moments; a mean over chains has the variance of a bit by their
    # number.
    moments = boltzmann_exact.moments(prior)

    for estimate, exact, mean in zip(
        got, wanted, (moments.mean1, moments.mean2, moments.mean12), strict=True
    ):
        assert ((estimate - exact).abs() < 5 * (mean * (1 - mean) / chains).sqrt()).all()

    # The chains go on by one Gibbs sweep.
    z1, z2 = prior.gibbs(state["prior"], draws["prior2"], draws["prior1"])
    assert torch.equal(new["prior"], z1)

    # Taking off each gradient of log Z, the chains' and the exact one, leaves the same: the chains
    # enter nowhere else.
    by_chains = torch.autograd.grad(prior.negative_energy(z1, z2).mean(), leaves)
    torch.testing.assert_close(got[2] - by_chains[2], wanted[2] - moments.mean12)


def test_the_chains_start_as_fair_bits_of_the_seed():
    rule = rule_of(RULES[0], prior_chains=4000)
    of_seed_0 = rule.state(0)["prior"]
    of_seed_1 = rule.state(1)["prior"]

    assert of_seed_0.shape == (4000, 2)
    assert set(of_seed_0.unique().tolist()) == {0.0, 1.0}

    # 5 standard errors of a fair bit's mean.
    assert ((of_seed_0.mean(0) - 0.5).abs() < 5 * 0.5 / 4000**0.5).all()
    assert not torch.equal(of_seed_0, of_seed_1)
    assert torch.equal(of_seed_0, rule.state(0)["prior"])


@pytest.mark.parametrize("settings", RULES, ids=name_of)
def test_running_averages_of_batch_normalisation(settings):
    """Of the statistics of one pass over all samples together, also where the
    bound is evaluated twice."""
    rule = rule_of(settings, context="shared")
    state, batch, draws = inputs(rule)
    new = rule(state, batch, draws)[1]
    model = rule.model

    with torch.no_grad():
        # What enters each batch normalisation, recomputed; the second takes all samples together.
        batch_statistics = {}
        zeta, _ = rule.infer(model.encode(batch.x, batch_statistics), draws, batch_statistics)
        hidden = {
            "q.context": model.q.context.dense[0](batch.x - model.mean),
            "p.decoder.net": model.p.decoder.net.dense[0](torch.cat(zeta, -1)).flatten(0, -2),
        }

        for path, inputs_of_norm in hidden.items():
            key = f"model.{path}.norms.0."

            # Momentum 0.8, from mean 0 and variance 1.
            torch.testing.assert_close(new[key + "mean"], 0.2 * inputs_of_norm.mean(0))
            torch.testing.assert_close(
                new[key + "variance"], 0.8 + 0.2 * inputs_of_norm.var(0, unbiased=False)
            )

    assert set(new) == {
        "prior",
        *(f"model.{p}.norms.0.{n}" for p in hidden for n in ("mean", "variance")),
    }
    assert {k: v.shape for k, v in new.items()} == {k: v.shape for k, v in rule.state().items()}
    assert not any(v.requires_grad for v in new.values())


@pytest.mark.parametrize("settings", RULES, ids=name_of)
def test_the_step_is_pure_and_every_parameter_learns(settings):
    rule = rule_of(settings)
    args = inputs(rule, dtype=torch.float32)
    copies = copy.deepcopy(args)
    before = {k: v.clone() for k, v in rule.state_dict().items()}

    loss, state, metrics = rule(*args)
    second_step = rule(*args)

    # A second call with the same arguments gives the same, and changes none of them.
    assert torch.equal(loss, second_step[0])
    assert all(torch.equal(state[k], second_step[1][k]) for k in state)
    torch.testing.assert_close(args, copies, rtol=0, atol=0)
    assert all(torch.equal(v, before[k]) for k, v in rule.state_dict().items())
    assert metrics["bound"].shape == ()

    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in rule.parameters())

    without_gradient = {name for name, p in rule.named_parameters() if not p.grad.abs().sum() > 0}

    # Batch normalisation takes the mean out again, so that biases before it have no effect.
    assert {n for n in without_gradient if ".dense." not in n or not n.endswith("bias")} == set()


@pytest.mark.parametrize("settings", RULES, ids=name_of)
def test_packed_equals_plain(settings):
    rule = rule_of(settings)
    packs = []
    x = data()
    seeds = [0, 1]
    updates = 3

    order = noise.order_block(CASES, 4, "replacement", seeds, 0, updates)
    draws = noise.update_block(rule.noise(4), seeds, 0, torch.device("cpu"), updates)

    for engine in ("plain", "packed"):
        update = optim.build({"name": "sgd", "rate": 0.05})
        params = [{k: v.detach() + 0.1 * s for k, v in rule.named_parameters()} for s in seeds]
        starts = [rule.state(s) for s in seeds], [update.state(p) for p in params]
        packs.append(
            fast.Pack(rule, update, params, *starts, data=x, engine=engine, updates=updates)
        )
        packs[-1].advance(order, draws, None)

    # Parameters and state of the two packs, name by name.
    for plain, packed in zip(*([*p.params.items(), *p.state.items()] for p in packs), strict=True):
        torch.testing.assert_close(
            plain[1], packed[1], rtol=1e-4, atol=1e-5, msg=lambda m, k=plain[0]: f"{k}: {m}"
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "dvae_pp", "smoothing": "concrete"},
            "objective.smoothing='concrete': .*exponential, gaussian, logistic",
        ),
        (
            {"name": "dvae_sharp", "smoothing": "powr"},
            "objective.smoothing='powr': did you mean 'power'?",
        ),
        (
            {"name": "dvae_sharp", "estimator": "iwae"},
            "objective.estimator='iwae': allowed: doubly_reparameterized, plain",
        ),
        ({"name": "dvae", "beta": 0}, "objective.beta=0: must be a positive number"),
        (
            {"name": "dvae_sharp", "smoothing": "logistic", "beta": True},
            "objective.beta=True: must be a positive number",
        ),
        (
            {"name": "gumbolt", "groups": 3},
            "model.groups=3: GumBolt and PWL take 1 group or an even number",
        ),
        ({"name": "pwl", "stop_slope": 1}, "stop_slope=1: must be true or false"),
        ({"name": "dvae", "smoothing": "power"}, "objective dvae: .*smoothing"),
        ({"name": "dvae_pp", "estimator": "plain"}, "objective dvae_pp: .*estimator"),
    ],
)
def test_settings_that_are_refused(settings, message):
    groups = settings.get("groups", 2)
    with pytest.raises(UserError, match=message):
        rule_of({k: v for k, v in settings.items() if k != "groups"}, groups, latents=6)


@pytest.mark.parametrize(
    ("settings", "smoothing", "beta"),
    [
        ({"name": "dvae"}, "SpikeExponential", 5.0),
        ({"name": "dvae_pp"}, "Exponential", 8.0),
        ({"name": "dvae_sharp"}, "Exponential", 8.0),
        ({"name": "dvae_sharp", "smoothing": "power"}, "Power", 30.0),
        ({"name": "gumbolt"}, "Concrete", 10.0),
        ({"name": "pwl"}, "PiecewiseLinear", 4.0),
        ({"name": "pwl", "beta": 3}, "PiecewiseLinear", 3.0),
    ],
)
def test_the_smoothing_of_each_rule(settings, smoothing, beta):
    rule = rule_of(settings)
    assert (type(rule.relax).__name__, rule.relax.beta) == (smoothing, beta)


def test_the_sharpness_of_the_logistic_is_one_over_its_scale():
    assert rule_of({"name": "dvae_pp", "smoothing": "logistic", "beta": 4}).relax.scale == 0.25
    assert rule_of({"name": "pwl", "stop_slope": True}).relax.stop_slope
