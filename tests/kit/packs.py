"""Packs of tiny nets on two engines, and what one update by kernels adds to the parameters if its
samples are forced."""

from __future__ import annotations

import torch

from vaebench import models, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import exact
from vaebench.rng import noise, seeds
from vaebench.training import engines as fast

CPU = torch.device("cpu")
BATCH = 7
UPDATES = 100
RATES = {"name": "sgd", "rate": 0.01, "posterior_rate": 0.004, "baseline_rate": 0.02}


def pack_of(model, objective, data, engine, count=1, kind=Kind.BITS, rates=RATES):
    """``count`` seeds with parameters N(0, 0.3^2), on the examples ``data`` (n, d)."""
    # DataInfo has means of what the model sees, and for counts the tokens of the longest document.
    mean = data.float().mean(0) / (255 if kind is Kind.GREY else 1)
    longest = int(data.sum(1).max()) if kind is Kind.COUNTS else 0
    rule = objectives.build(
        objective, models.build(model, DataInfo(mean, kind.seen, longest=longest))
    )
    descent = optim.build(rates)
    params = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seeds.derive(seed, "init"))
        params.append(
            {k: 0.3 * torch.randn(v.shape, generator=generator) for k, v in rule.named_parameters()}
        )

    states = [rule.state(s, len(data)) for s in range(count)]
    return fast.Pack(rule, descent, params, states, [{}] * count, data, kind, engine)


def kernel_of(pack, data, kind):
    """The kernels for a pack's objective and parameters, but with other data."""
    from vaebench.training.kernel_engine import Engine

    return Engine(pack.objective, pack.optim, pack.params, data, kind)


def train(pack, updates=UPDATES):
    """Make the updates of one block and return the sums of their bounds, one for each seed."""
    ids = list(range(pack.size))
    cases, visible = pack.data.shape
    draws = noise.update_block(pack.objective.draws(BATCH, visible), ids, 0, CPU, updates)
    order = noise.order_block(cases, BATCH, "replacement", ids, 0, updates)
    grey = (
        noise.binarize_block((BATCH, visible), ids, 0, CPU, updates)
        if pack.kind is Kind.GREY
        else None
    )
    return pack.advance(order, draws, grey)["bound"]


def assert_equal_training(packs, bounds):
    """Two packs have the same bounds, and parameters and statistics that agree to 1e-4 of their
    norm, which is what rounding of float32 leaves."""
    torch.testing.assert_close(*bounds, rtol=1e-5, atol=0)

    first, second = packs
    for in_first, in_second in ((first.params, second.params), (first.state, second.state)):
        for name, v in in_first.items():
            distance = float((v - in_second[name]).norm() / v.norm())
            assert distance < 1e-4, f"{name}: {distance}"


def assert_a_block_is_that_of_the_plain_engine(
    model, objective, data, kind=Kind.BITS, rates=RATES, updates=UPDATES
):
    """Two seeds come to the same parameters by kernels and by autograd.

    Every parameter has moved by more than ten times the tolerance, so that an update left out would
    show.
    """
    packs = [
        pack_of(model, objective, data, engine, 2, kind, rates) for engine in ("kernel", "plain")
    ]
    start = {k: v.clone() for k, v in packs[0].params.items()}

    assert_equal_training(packs, [train(p, updates) for p in packs])

    moved = {k: float((v - start[k]).norm() / start[k].norm()) for k, v in packs[0].params.items()}
    assert min(moved.values()) > 1e-3, moved


def forced(bits_of):
    """Noise that makes each unit the given bit, whatever its logit is within +-16.

    sigmoid(-16) = 1.1e-7 is above 2^-24 = 6.0e-8. Two axes, of updates and seeds, are put in front.
    """
    return {
        k: torch.where(v > 0, 2.0**-24, 1 - 2.0**-24).to(torch.float32)[None, None]
        for k, v in bits_of.items()
    }


def step(model, objective, x, draws, info):
    """What one update by kernels on the case ``x`` (d,) adds to the parameters, over their rate.

    ``draws``: the update's noise, (1, 1, ...). ``info``: facts of the data, whose mean centres the
    case. Returns the parameters before the update, and what was added.
    """
    pack = pack_of(model, objective, x.to(torch.uint8)[None], "kernel", kind=info.kind)
    # Centred by the mean of its one case, the input would be zero.
    pack._kernel.mean[:] = info.mean
    start, _, _ = pack.seed(0)
    pack.advance(torch.zeros(1, 1, 1, dtype=torch.int64), draws, None)
    rates = pack.optim.rates
    after = pack.seed(0)[0]
    return start, {
        k: (after[k].double() - v.double()) / rates[pack.group_of[k]] for k, v in start.items()
    }


def exact_rule(model, objective, start, info):
    """The objective in float64 with the parameters ``start``."""
    rule = objectives.build(objective, models.build(model, info))
    rule.load_state_dict(start, strict=False)
    return rule.double()


def assert_nvil_is_unbiased(model, objective, x, info):
    """The expected step on the case ``x`` is the gradient of the bound, by enumeration of all
    samples."""
    # ``dims`` has the deepest layer first, the samples q1, q2, ... that next to x.
    sizes = list(reversed(model["dims"]))
    mean = {}
    for h in exact.states(sum(sizes)):
        layers = [part[None, None] for part in h.split(sizes)]
        start, moved = step(
            model, objective, x, forced({f"q{i}": v for i, v in enumerate(layers, 1)}), info
        )
        rule = exact_rule(model, objective, start, info)

        # E_Q[step] = sum over h of Q(h | x) step(h).
        weight = rule.model.log_posterior(layers, x.double()[None]).exp().item()
        for k, v in moved.items():
            mean[k] = mean.get(k, 0) + weight * v

    bound = exact.elbo(rule.model, x.double()[None]).sum()
    named = {k: p for k, p in rule.named_parameters() if k.startswith("model.")}

    for (name, _), gradient in zip(
        named.items(), torch.autograd.grad(bound, list(named.values())), strict=True
    ):
        torch.testing.assert_close(
            mean[name], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
        )


def assert_wake_sleep_is_unbiased(model, objective, x, info, dreams):
    """Expected steps on the case ``x``, by enumeration, follow both gradients of wake-sleep.

    Wake: over the samples, the generative model follows the gradient of E_Q[log P(x, h)]. Sleep:
    over the dreams, the inference network follows the gradient of log Q(h | dream).

    Args:
        model: Settings of a net.
        objective: Settings of wake-sleep.
        x: A case, (d,).
        info: Facts of the data.
        dreams: A function of the rule and of layers h. It returns all that the net can dream from
            h: pairs of a case (1, d) and the noise that makes it.
    """
    sizes = list(reversed(model["dims"]))
    states = [[part[None, None] for part in h.split(sizes)] for h in exact.states(sum(sizes))]
    start, _, _ = pack_of(
        model,
        objective,
        x.to(torch.uint8)[None],
        "plain",
        kind=info.kind,
    ).seed(0)
    rule = exact_rule(model, objective, start, info)
    of_model = {k: v for k, v in rule.named_parameters() if k.startswith("model.p.")}
    of_network = {k: v for k, v in rule.named_parameters() if k.startswith("model.q.")}

    # What an update adds, with samples ``sampled`` of the posterior and a dream from ``dreamt``.
    def moved(sampled, dreamt, noise):
        draws = forced(
            {f"q{i}": v for i, v in enumerate(sampled, 1)}
            | {f"p{i}": v[0] for i, v in enumerate(dreamt, 1)}
        )
        return step(model, objective, x, draws | {"p0": noise}, info)[1]

    expected_steps = {k: torch.zeros_like(v) for k, v in (of_model | of_network).items()}

    # Wake: E_Q of the steps of the generative model, whatever is dreamt.
    _, any_noise = dreams(rule, states[0])[0]
    for h in states:
        probability = rule.model.log_posterior(h, x.double()[None]).exp().item()
        steps = moved(h, states[0], any_noise)
        for k in of_model:
            expected_steps[k] += probability * steps[k]

    bound = exact.expected_log_joint(rule.model, x.double()[None]).sum()
    gradients = dict(
        zip(of_model, torch.autograd.grad(bound, list(of_model.values())), strict=True)
    )
    gradients |= {k: torch.zeros_like(v) for k, v in of_network.items()}

    # Sleep: sums over (h, dream) of P(h, dream), whatever is sampled.
    for h in states:
        for dream, dream_noise in dreams(rule, h):
            probability = rule.model.log_joint(dream, h).exp().item()
            steps = moved(states[0], h, dream_noise)
            slopes = torch.autograd.grad(
                rule.model.log_posterior(h, dream).sum(), list(of_network.values())
            )
            for k, slope in zip(of_network, slopes, strict=True):
                expected_steps[k] += probability * steps[k]
                gradients[k] += probability * slope

    for name, v in expected_steps.items():
        torch.testing.assert_close(
            v, gradients[name], rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}"
        )
