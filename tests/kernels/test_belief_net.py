"""Kernels of belief nets: every switch and family against the plain engine, and their law by enumeration."""

from __future__ import annotations

import pytest
import torch

from vaebench import models, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.data.kinds import Kind
from vaebench.estimators import exact
from vaebench.rng import noise, seeds
from vaebench.training import engines as fast

pytest.importorskip("numba")

CPU = torch.device("cpu")
CASES, VISIBLE, BATCH, UPDATES = 40, 37, 7, 100
RATES = {"name": "sgd", "rate": 0.01, "posterior_rate": 0.004, "baseline_rate": 0.02}

NVIL = {"name": "nvil", "baseline_units": 9}
WAKE_SLEEP = {"name": "wake_sleep"}
SBN = {"name": "sbn", "dims": [19]}
DEEP = {"name": "sbn", "dims": [5, 33, 18]}

RUNS = {
    "nvil": (SBN, NVIL),
    "three layers": (DEEP, NVIL),
    "global signals": (DEEP, {**NVIL, "local_signals": False}),
    "no constant baseline": (DEEP, {**NVIL, "constant_baseline": False}),
    "no input baseline": (DEEP, {**NVIL, "input_baseline": False}),
    "no normalisation": (SBN, {**NVIL, "variance_normalization": False}),
    "nothing of all": (
        SBN,
        {
            "name": "nvil",
            "local_signals": False,
            "constant_baseline": False,
            "input_baseline": False,
            "variance_normalization": False,
        },
    ),
    "slow statistics": (SBN, {**NVIL, "decay": 0.99}),
    "mean": (DEEP, {**NVIL, "reduce": "mean"}),
    "autoregressive posterior": ({**DEEP, "posterior": "autoregressive"}, NVIL),
    "fdarn": ({"name": "fdarn", "dims": [70]}, NVIL),
    "darn": ({"name": "darn", "dims": [20], "posterior": "autoregressive"}, NVIL),
    "wake-sleep": (SBN, WAKE_SLEEP),
    "wake-sleep, three layers": (DEEP, WAKE_SLEEP),
    "wake-sleep, mean": (SBN, {**WAKE_SLEEP, "reduce": "mean"}),
    "wake-sleep, autoregressive posterior": ({**DEEP, "posterior": "autoregressive"}, WAKE_SLEEP),
    "wake-sleep, fdarn": ({"name": "fdarn", "dims": [70]}, WAKE_SLEEP),
    "wake-sleep, darn": ({"name": "darn", "dims": [20]}, WAKE_SLEEP),
}


@pytest.fixture
def bits():
    """Training cases with pixels that are mostly 0, always 0, always 1."""
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(CASES, VISIBLE, generator=generator) < torch.linspace(0.02, 0.6, VISIBLE)).to(torch.uint8)
    x[:, 3], x[:, 30] = 0, 1
    return x


def pack_of(model, objective, data, engine, count=1, kind=Kind.BITS, rates=RATES):
    mean = data.float().mean(0) / (255 if kind is Kind.GREY else 1)
    rule = objectives.build(objective, models.build(model, DataInfo(mean)))
    descent, params = optim.build(rates), []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seeds.derive(seed, "init"))
        params.append({k: 0.3 * torch.randn(v.shape, generator=generator) for k, v in rule.named_parameters()})
    states = [rule.state(s, CASES) for s in range(count)]
    return fast.Pack(rule, descent, params, states, [{}] * count, data, kind, engine)


def train(pack, updates=UPDATES):
    """The updates of one block; the sums of the bounds."""
    ids = list(range(pack.size))
    draws = noise.update_block(pack.objective.draws(BATCH, VISIBLE), ids, 0, CPU, updates)
    order = noise.order_block(CASES, BATCH, "replacement", ids, 0, updates)
    grey = noise.binarize_block((BATCH, VISIBLE), ids, 0, CPU, updates) if pack.kind is Kind.GREY else None
    return pack.advance(order, draws, grey)["bound"]


def assert_equal_training(packs, bounds):
    """Parameters and statistics to 1e-4 of their size, with what rounding of float32 leaves."""
    torch.testing.assert_close(*bounds, rtol=1e-5, atol=0)
    one, other = packs
    for part, theirs in ((one.params, other.params), (one.state, other.state)):
        for name, v in part.items():
            distance = float((v - theirs[name]).norm() / v.norm())
            assert distance < 1e-4, f"{name}: {distance}"


@pytest.mark.parametrize("run", RUNS)
def test_a_hundred_updates_are_those_of_the_plain_engine(bits, run):
    # Raw signals make steps so large that rounding grows a millionfold within these updates: smaller ones there.
    scale = 0.1 if run == "nothing of all" else 1
    rates = {k: v if k == "name" else scale * v for k, v in RATES.items()}
    packs = [pack_of(*RUNS[run], bits, engine, 2, rates=rates) for engine in ("kernel", "plain")]
    start = {k: v.clone() for k, v in packs[0].params.items()}
    assert_equal_training(packs, [train(p) for p in packs])
    # What is compared has moved by far more than the tolerance.
    moved = {k: float((v - start[k]).norm() / start[k].norm()) for k, v in packs[0].params.items()}
    assert min(moved.values()) > 1e-3, moved


@pytest.mark.parametrize("objective", [NVIL, WAKE_SLEEP], ids=["nvil", "wake-sleep"])
def test_grey_cases_are_binarized_anew(objective):
    grey = torch.randint(256, (CASES, VISIBLE), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    packs = [pack_of(SBN, objective, grey, engine, 2, Kind.GREY) for engine in ("kernel", "plain")]
    assert_equal_training(packs, [train(p) for p in packs])


@pytest.mark.parametrize("run", ["mean", "fdarn"])
def test_baselines_outside_their_signal_are_counted(bits, run):
    """Predictions that start far away, and come nearer in some updates: as many times as in the plain engine."""
    found = []
    for engine in ("kernel", "plain"):
        pack = pack_of(*RUNS[run], bits, engine, 2)
        pack.params["baseline.0.output.bias"].fill_(3e3)
        ids = list(range(pack.size))
        draws = noise.update_block(pack.objective.draws(BATCH, VISIBLE), ids, 0, CPU, 30)
        order = noise.order_block(CASES, BATCH, "replacement", ids, 0, 30)
        found.append(pack.advance(order, draws, None))
    assert found[0].keys() == found[1].keys()
    assert torch.equal(found[0]["baseline_outside"], found[1]["baseline_outside"])
    assert (found[0]["baseline_outside"] > 0).all()


def test_threads_and_packs_change_nothing(bits):
    before = torch.get_num_threads()
    together = pack_of(DEEP, NVIL, bits, "kernel", 3)
    try:
        torch.set_num_threads(2)
        bounds = train(together)
    finally:
        torch.set_num_threads(before)
    again = pack_of(DEEP, NVIL, bits, "kernel", 3)
    assert torch.equal(bounds, train(again))
    alone = pack_of(DEEP, NVIL, bits, "kernel", 1)
    assert train(alone)[0] == bounds[0]
    for name, v in together.params.items():
        assert torch.equal(v, again.params[name])
        assert torch.equal(v[0], alone.params[name][0])


def test_batches_may_change_their_size(bits):
    """Memory is made anew; what was before does not shine through."""
    packs = [pack_of(DEEP, NVIL, bits, engine) for engine in ("kernel", "plain")]
    sums = []
    for p in packs:
        total = torch.zeros(1, dtype=torch.float64)
        for batch in (11, 3, 16):
            draws = noise.update_block(p.objective.draws(batch, VISIBLE), [0], batch, CPU, 5)
            total += p.advance(noise.order_block(CASES, batch, "replacement", [0], batch, 5), draws, None)["bound"]
        sums.append(total)
    assert_equal_training(packs, sums)


def test_values_that_are_put_are_trained_on(bits):
    """What a validation sets between two calls, by the pack's own way, is where the next one begins."""
    pack, other = (pack_of(DEEP, NVIL, bits, "kernel") for _ in range(2))
    train(pack)
    params, state, opt = pack.seed(0)
    other.put(0, params, state, opt)
    assert torch.equal(train(pack), train(other))
    for name, v in pack.params.items():
        assert torch.equal(v, other.params[name]), name


def test_what_is_not_covered_is_refused(bits):
    with pytest.raises(ValueError, match="no kernel for IWBound"):
        pack_of({"name": "linear_gaussian", "dims": [2]}, {"name": "iw_bound", "samples": 1}, bits, "kernel")
    with pytest.raises(ValueError, match="zeros and ones"):
        pack_of(SBN, NVIL, 3 * bits, "kernel")


# ---------------------------------------------------------------------------------------------------------------- law


def forced(bits_of):
    """Noise that makes units fire or not, whatever their logits are within +-16."""
    return {k: torch.where(v > 0, 2.0**-24, 1 - 2.0**-24).to(torch.float32)[None, None] for k, v in bits_of.items()}


def step(model, objective, x, bits_of):
    """What one update on the case ``x`` adds to the parameters, over their rate, where units are as in ``bits_of``."""
    pack = pack_of(model, objective, x.to(torch.uint8)[None].repeat(CASES, 1), "kernel")
    model_mean = torch.linspace(0.1, 0.8, x.numel())
    pack._kernel.mean[:] = model_mean.numpy()
    start, _, _ = pack.seed(0)
    pack.advance(torch.zeros(1, 1, 1, dtype=torch.int64), forced(bits_of), None)
    rates = pack.optim.rates
    after = pack.seed(0)[0]
    return start, {k: (after[k].double() - v.double()) / rates[pack.group_of[k]] for k, v in start.items()}


def exact_rule(model, objective, start, visible):
    """The objective in float64 with the parameters ``start`` and the mean that ``step`` uses."""
    rule = objectives.build(objective, models.build(model, DataInfo(torch.linspace(0.1, 0.8, visible))))
    rule.load_state_dict(start, strict=False)
    return rule.double()


TINY = [
    {"name": "sbn", "dims": [3]},
    {"name": "sbn", "dims": [2, 2], "posterior": "autoregressive"},
    {"name": "darn", "dims": [3]},
]


@pytest.mark.parametrize("model", TINY, ids=["sbn", "two layers, autoregressive", "darn"])
def test_nvil_follows_the_gradient_of_the_bound(model):
    """Expected over all samples, by enumeration, with raw signals and an input-dependent baseline: without bias."""
    objective = {**NVIL, "constant_baseline": False, "variance_normalization": False}
    x = torch.tensor([1.0, 0, 1, 1])
    sizes = list(reversed(model["dims"]))
    mean: dict[str, torch.Tensor] = {}
    for h in exact.states(sum(sizes)):
        layers = [part[None, None] for part in h.split(sizes)]
        start, moved = step(model, objective, x, {f"q{i}": v for i, v in enumerate(layers, 1)})
        rule = exact_rule(model, objective, start, 4)
        weight = rule.model.log_posterior(layers, x.double()[None]).exp().item()
        for k, v in moved.items():
            mean[k] = mean.get(k, 0) + weight * v
    bound = exact.elbo(rule.model, x.double()[None]).sum()
    names = [k for k, _ in rule.named_parameters() if k.startswith("model.")]
    wanted = torch.autograd.grad(bound, [p for k, p in rule.named_parameters() if k in names])
    for name, gradient in zip(names, wanted, strict=True):
        torch.testing.assert_close(mean[name], gradient, rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("model", TINY, ids=["sbn", "two layers, autoregressive", "darn"])
def test_wake_sleep_follows_both_of_its_gradients(model):
    """Wake: E_Q[grad log P(x, h)]; sleep: E_P[grad log Q(h | x)], each by enumeration."""
    x = torch.tensor([1.0, 0, 1, 1])
    sizes = [4, *reversed(model["dims"])]
    awake: dict[str, torch.Tensor] = {}
    asleep: dict[str, torch.Tensor] = {}
    wanted: dict[str, torch.Tensor] = {}
    rule = None
    for state in exact.states(sum(sizes)):
        dream, *h = (part[None] for part in state.split(sizes))
        layers = [v[None] for v in h]
        fired = {f"q{i}": v for i, v in enumerate(layers, 1)} | {f"p{i}": v for i, v in enumerate([dream, *h])}
        start, moved = step(model, WAKE_SLEEP, x, fired)
        rule = rule or exact_rule(model, WAKE_SLEEP, start, 4)
        probability = rule.model.log_joint(dream, layers).exp().item()
        log_q = rule.model.log_posterior(layers, dream).sum()
        weight = rule.model.log_posterior(layers, x.double()[None]).exp().item() / 2**4  # every dream once
        q = [(k, p) for k, p in rule.named_parameters() if k.startswith("model.q.")]
        for (k, _), g in zip(q, torch.autograd.grad(log_q, [p for _, p in q]), strict=True):
            asleep[k] = asleep.get(k, 0) + probability * moved[k]
            wanted[k] = wanted.get(k, 0) + probability * g
        for k, v in moved.items():
            if k.startswith("model.p."):
                awake[k] = awake.get(k, 0) + weight * v
    p = [(k, v) for k, v in rule.named_parameters() if k.startswith("model.p.")]
    gradients = torch.autograd.grad(exact.expected_log_joint(rule.model, x.double()[None]).sum(), [v for _, v in p])
    wanted.update({k: g for (k, _), g in zip(p, gradients, strict=True)})
    assert wanted.keys() == {**awake, **asleep}.keys()
    for name, v in {**awake, **asleep}.items():
        torch.testing.assert_close(v, wanted[name], rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")
