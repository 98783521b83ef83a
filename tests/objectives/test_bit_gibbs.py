"""Single-bit Gibbs sweeps against tables of every state, and the update against the exact gradient of log p(x)."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.func import functional_call, grad, vmap

from vaebench import models, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.errors import UserError
from vaebench.estimators import exact
from vaebench.nn.batch_norm import BatchNorm
from vaebench.objectives.base import Batch
from vaebench.objectives.bit_gibbs import sweep_bits
from vaebench.rng import noise
from vaebench.training import choice
from vaebench.training import engines as fast

VISIBLE, BITS = 5, 4
LIMIT = 5.0
"""|z| of one comparison; 100 of them exceed it by chance once in 17,000 seeds, and seeds are fixed."""

EVERY = exact.states(BITS)


def rule_of(layers=1, seed=0, latents=BITS, scale=1.0, **settings):
    """float64, every parameter away from its start; the running averages in the module are not those of the state."""
    config = {"name": "rbm_generator", "latents": latents, "layers": layers, "units": 3}
    rule = objectives.build(
        {"name": "bit_gibbs", **settings}, models.build(config, DataInfo(torch.linspace(0.2, 0.7, VISIBLE)))
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, p in sorted(rule.named_parameters()):
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * scale)
    return rule


def inputs_of(rule, cases=6, seed=1):
    """(state, batch, noise) of one update, statistics of the state away from their start."""
    generator = torch.Generator().manual_seed(seed)
    state = rule.state(seed, cases)
    for name, v in state.items():
        if name != "posterior":
            state[name] = v.double() + torch.linspace(0.4, 1.1, len(v))
    x = (torch.rand(cases, VISIBLE, generator=generator) < 0.4).double()
    batch = Batch(x, rows=torch.arange(cases), update=torch.tensor(0), progress=torch.tensor(0.0))
    return state, batch, noise.draw(rule.noise(cases), generator)


def norms_of(rule):
    return [m for m in rule.model.modules() if isinstance(m, BatchNorm)]


def table(rule, x, statistics):
    """log p(x, z) + log Z of every state, (batch, states), by the model itself with these averages in its buffers."""
    buffers = {f"{path}.{n}": v for path, pair in statistics.items() for n, v in zip(("mean", "variance"), pair)}  # noqa: B905
    z = EVERY.unsqueeze(1).expand(-1, len(x), -1)

    class Joint(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = rule.model

        def forward(self):
            return self.model.log_joint(x, [z])

    named = {f"model.{k}": v for k, v in buffers.items()}
    return functional_call(Joint(), named, ()).T.detach()


def number(z):
    return (z.long() * 2 ** torch.arange(z.shape[-1])).sum(-1)


def literal_sweeps(log_p, z, u):
    """log_p: (batch, states). Case by case, bit by bit, each conditional from the table's probabilities."""
    p = torch.softmax(log_p, 1)
    codes = number(z).tolist()
    for sweep in u:
        for i, v in enumerate(sweep):
            for b, code in enumerate(codes):
                on, off = code | 1 << i, code & ~(1 << i)
                conditional = float(p[b, on] / (p[b, on] + p[b, off]))
                codes[b] = on if float(v[b]) > 1 - conditional else off
    return torch.tensor(codes)


# --------------------------------------------------------------------------------------------------------- sweeps


def arbitrary(batch, seed=0):
    """log p of every state, (batch, states), anything; and the function of z that it is."""
    log_p = 2 * torch.randn(batch, 2**BITS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return log_p, lambda z: log_p.gather(1, number(z).unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("sweeps", [1, 3])
def test_every_bit_is_drawn_from_its_conditional(sweeps):
    log_p, f = arbitrary(200)
    generator = torch.Generator().manual_seed(1)
    u = torch.rand(sweeps, BITS, 200, generator=generator, dtype=torch.float64)
    z = EVERY[torch.randint(16, (200,), generator=generator)]
    before = z.clone()
    got = sweep_bits(f, z, u)
    assert torch.equal(number(got), literal_sweeps(log_p, z, u))
    assert torch.equal(z, before)
    assert len(number(got).unique()) > 10


def test_each_bit_takes_one_evaluation():
    calls = []
    _, f = arbitrary(3)
    sweep_bits(lambda z: calls.append(1) or f(z), EVERY[:3], torch.rand(5, BITS, 3))
    assert len(calls) == 5 * BITS + 1


def transition(f, sweeps=1):
    """P(z' | z) of one sweep as the code has it, (16, 16): where each bit turns is found by bisection of its noise.

    Bits before the one in question are forced to the target's values by noise 0 and almost 1.
    """
    start, target = EVERY.repeat_interleave(16, 0), EVERY.repeat(16, 1)
    forced = torch.where(target.T > 0, 1 - 1e-12, 0.0)
    out = torch.ones(256, dtype=torch.float64)
    for i in range(BITS):
        low, high = torch.zeros(256).double(), torch.ones(256).double()
        for _ in range(40):
            middle = (low + high) / 2
            u = torch.stack([*forced[:i], middle, *forced[i + 1 :]]).unsqueeze(0)
            on = sweep_bits(f, start, u)[:, i] > 0
            low, high = torch.where(on, low, middle), torch.where(on, middle, high)
        out = out * torch.where(target[:, i] > 0, 1 - high, high)
    return out.reshape(16, 16)


@pytest.mark.parametrize("layers", [0, 1])
def test_a_sweep_leaves_the_posterior_as_it_is(layers):
    """pi T = pi with T the transition matrix of a sweep; many sweeps lead there from everywhere."""
    rule = rule_of(layers)
    state, batch, _ = inputs_of(rule)
    statistics = rule._statistics(state, state["posterior"].double())
    x = batch.x[2]
    log_joint = rule.model.frozen(statistics)
    t = transition(lambda z: log_joint(x.expand(len(z), -1), z))
    pi = torch.softmax(table(rule, x[None], statistics)[0], 0)
    torch.testing.assert_close(t.sum(1), torch.ones(16).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(pi @ t, pi, rtol=0, atol=1e-9)
    assert float(pi.max()) < 0.9
    torch.testing.assert_close(torch.linalg.matrix_power(t, 500), pi.expand(16, -1), rtol=0, atol=1e-8)


# ------------------------------------------------------------------------------------------------------- the step


@pytest.mark.parametrize(("layers", "statistics"), [(0, "running"), (1, "running"), (1, "batch"), (2, "batch")])
def test_the_chains_of_a_step(layers, statistics):
    """The new bits are those of literal sweeps over the posterior with the statistics that the setting names."""
    rule = rule_of(layers, statistics=statistics, sweeps=3)
    state, batch, draws = inputs_of(rule, cases=40)
    _, new, _ = rule(state, batch, draws)
    tape, kept = {}, {}
    rule.model.decode([state["posterior"].double()], tape)
    for m in norms_of(rule):
        kept[m.path] = state[f"model.{m.path}.mean"], state[f"model.{m.path}.variance"]
    wanted = {"running": kept, "batch": tape}
    results = {
        k: literal_sweeps(table(rule, batch.x, v), state["posterior"], draws["posterior"]) for k, v in wanted.items()
    }
    assert torch.equal(number(new["posterior"]), results[statistics])
    if layers:
        assert not torch.equal(*results.values())
    assert new["posterior"].dtype == torch.uint8


@pytest.mark.parametrize("layers", [0, 2])
def test_loss_bound_and_statistics_of_a_step(layers):
    """mean log p(x, z) at the new bits, the decoder in training; weight decay in the loss alone."""
    rule = rule_of(layers, weight_decay=0.3)
    state, batch, draws = inputs_of(rule)
    loss, new, metrics = rule(state, batch, draws)
    z, tape, machine = new["posterior"].double(), {}, rule.model.prior()
    logits = rule.model.p.decoder(z, tape)
    log_p = torch.distributions.Bernoulli(logits=logits).log_prob(batch.x).sum(-1)
    energies = [machine.negative_energy(s[None, :2], s[None, 2:])[0] for s in (*z, *EVERY)]
    log_p = (log_p + torch.stack(energies[:6]) - torch.logsumexp(torch.stack(energies[6:]), 0)).detach()
    assert float(metrics["bound"]) == pytest.approx(float(log_p.mean()), abs=1e-12)
    decayed = sum(
        float((p.detach() ** 2).sum()) for n, p in rule.named_parameters() if n.endswith(("weight", "scale", ".w"))
    )
    assert float(loss.detach()) == pytest.approx(0.15 * decayed - float(log_p.mean()), abs=1e-10)
    for m in norms_of(rule):
        for name, value in zip(("mean", "variance"), tape[m.path], strict=True):
            key = f"model.{m.path}.{name}"
            torch.testing.assert_close(new[key], 0.99 * state[key] + 0.01 * value)
    assert set(new) == set(state)
    assert not any(v.requires_grad for v in new.values())


def test_the_bound_is_one():
    """log p(x, z) is at most log p(x) for every z, and sums to it: with linear decoders no batch statistics enter."""
    rule = rule_of(layers=0, sweeps=1)
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    log_p = float((rule.model.log_marginal(x) - rule.model.prior().log_z()).detach())
    bounds = [float(forced(rule, z, x)[2]["bound"]) for z in EVERY]
    assert max(bounds) < log_p
    assert math.log(sum(map(math.exp, bounds))) == pytest.approx(log_p, abs=1e-9)


def forced(rule, z, x):
    """A step whose noise leads to ``z`` (n,) from anywhere, one case ``x`` (1, d)."""
    state = {"posterior": 1 - z[None].to(torch.uint8)}
    for m in norms_of(rule):
        state |= {f"model.{m.path}.mean": m.mean, f"model.{m.path}.variance": m.variance}
    u = torch.where(z > 0, 1 - 1e-15, 0.0)[None, :, None].expand(rule.sweeps, -1, -1)
    return rule(state, Batch(x), {"posterior": u})


# ------------------------------------------------------------------------------------------------------- gradients


@pytest.fixture
def fixed_statistics(monkeypatch):
    """Batch normalisation by its running averages in training too: else cases of a batch are not independent."""

    def forward(self, x, tape=None):
        if tape is not None:
            tape[self.path] = (self.mean, self.variance)
        return (x - self.mean) * (self.scale * torch.rsqrt(self.variance + self.epsilon)) + self.shift

    monkeypatch.setattr(BatchNorm, "forward", forward)


def spread_averages(rule):
    with torch.no_grad():
        for m in norms_of(rule):
            m.mean.copy_(torch.linspace(-0.5, 0.9, len(m.mean)))
            m.variance.copy_(torch.linspace(0.3, 2.0, len(m.mean)))


def exact_gradient(rule, x):
    """Of minus the mean log p(x), plus the decay."""
    value = -(rule.model.log_marginal(x).mean() - rule.model.prior().log_z())
    value = value + rule.weight_decay / 2 * sum((p**2).sum() for p in rule.model.decayed())
    return torch.autograd.grad(value, list(rule.parameters()))


@pytest.mark.parametrize("layers", [0, 1])
def test_fisher_identity(layers, fixed_statistics):
    """sum_z p(z | x) (gradient of a step that ends at z) = gradient of log p(x), exactly."""
    rule = rule_of(layers, sweeps=1, weight_decay=0.1)
    spread_averages(rule)
    for x in (torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0]]).double(), torch.zeros(1, VISIBLE).double()):
        posterior = torch.softmax(rule.model.table(x)[0].detach(), 0)
        total = [torch.zeros_like(p) for p in rule.parameters()]
        for z, weight in zip(EVERY, posterior, strict=True):
            loss, new, _ = forced(rule, z, x)
            assert torch.equal(new["posterior"][0].double(), z)
            for t, g in zip(total, torch.autograd.grad(loss, list(rule.parameters())), strict=True):
                t += weight * g
        for got, wanted in zip(total, exact_gradient(rule, x), strict=True):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)
            assert float(wanted.abs().max()) > 1e-6


@pytest.mark.parametrize("layers", [0, 1])
def test_chains_from_the_posterior_give_the_gradient_in_expectation(layers, fixed_statistics):
    rule = rule_of(layers, seed=3, scale=0.7, sweeps=2, weight_decay=0.1)
    spread_averages(rule)
    n, generator = 4000, torch.Generator().manual_seed(5)
    x = torch.tensor([[1.0, 0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0, 1.0], [1.0] * 5], dtype=torch.float64)
    (z,) = rule.model.sample_posterior(x, n, noise.draw(rule.model.posterior_noise(n, 3), generator))
    u = noise.draw(rule.noise(3), generator, (n,))["posterior"]
    params = {k: v.detach() for k, v in rule.named_parameters()}
    averages = {}
    for m in norms_of(rule):
        averages |= {f"model.{m.path}.mean": m.mean, f"model.{m.path}.variance": m.variance}

    def loss(p, start, noise_now):
        state = {"posterior": start, **averages}
        return functional_call(rule, p, (state, Batch(x), {"posterior": noise_now}))[0]

    g = vmap(grad(loss), in_dims=(None, 0, 0))(params, z.to(torch.uint8), u)
    compared = 0
    for got, wanted in zip(g.values(), exact_gradient(rule, x), strict=True):
        error = got.std(0) / math.sqrt(n)
        free = error > 1e-12
        compared += int(free.sum())
        assert float(((got.mean(0) - wanted)[free] / error[free]).abs().max()) < LIMIT
    assert compared > 20


# ------------------------------------------------------------------------------------------------ chains and packs


def pack_of(rule, data, seeds, engine, rate):
    descent = optim.build({"name": "sgd", "rate": rate})
    params = []
    for s in seeds:
        other = rule_of(len(norms_of(rule)), seed=20 + s, scale=0.5).float()
        params.append({k: v.detach().clone() for k, v in other.named_parameters()})
    states = [rule.state(s, len(data)) for s in seeds]
    return fast.Pack(rule, descent, params, states, [descent.state(p) for p in params], data, engine=engine)


def advance(pack, batch, seeds, rows):
    order = noise.order_block(len(pack.data), batch, "shuffle", seeds, 0, rows.stop)
    draws = noise.update_block(pack.objective.noise(batch), seeds, 0, torch.device("cpu"), rows.stop)
    return order, pack.advance(order[rows], {k: v[rows] for k, v in draws.items()}, None)


@pytest.mark.parametrize("engine", ["plain", "packed"])
def test_chains_follow_their_images(engine):
    """Every pixel is a copy of a bit: one sweep tells an image by its chain, in whatever order images come."""
    rule = objectives.build(
        {"name": "bit_gibbs", "sweeps": 1},
        models.build({"name": "rbm_generator", "latents": BITS, "layers": 0}, DataInfo([0.5] * BITS)),
    )
    data = EVERY.to(torch.uint8)[torch.randperm(16, generator=torch.Generator().manual_seed(2))]
    descent = optim.build({"name": "sgd", "rate": 1e-9})
    params = {k: torch.zeros_like(v) for k, v in rule.named_parameters()}
    params["model.p.decoder.output.weight"] = 80 * torch.eye(BITS)
    params["model.p.decoder.output.bias"] = torch.full((BITS,), -40.0)
    seeds, parts = [0, 1], [rule.state(s, 16) for s in (0, 1)]
    pack = fast.Pack(rule, descent, [params] * 2, parts, [{}, {}], data, engine=engine)
    before = [s["posterior"].clone() for s in parts]
    order, _ = advance(pack, 4, seeds, slice(0, 3))
    for r in range(2):
        seen = order[:3, r].flatten()
        rest = [i for i in range(16) if i not in seen.tolist()]
        chains = pack.state["posterior"][r]
        assert len(rest) == 4
        assert torch.equal(chains[seen], data[seen])
        assert torch.equal(chains[rest], before[r][rest])
    advance(pack, 4, seeds, slice(3, 4))
    assert torch.equal(pack.state["posterior"], data.expand(2, -1, -1))


def test_packed_equals_plain():
    data = (torch.rand(12, VISIBLE, generator=torch.Generator().manual_seed(0)) < 0.4).to(torch.uint8)
    seeds, packs = [0, 1, 2], []
    for engine in ("plain", "packed"):
        rule = rule_of(1, sweeps=2).float()
        packs.append(pack_of(rule, data, seeds, engine, 0.05))
        start = packs[-1].seed(0)
        packs[-1].sums = advance(packs[-1], 4, seeds, slice(0, 15))[1]
        moved = {k: not torch.equal(v, start[0][k]) for k, v in packs[-1].seed(0)[0].items()}
        del moved["model.p.decoder.net.dense.0.bias"]  # batch normalisation takes it away again
        assert all(moved.values())
    torch.testing.assert_close(packs[0].sums["bound"], packs[1].sums["bound"], rtol=1e-5, atol=1e-4)
    for a, b in ((packs[0].params, packs[1].params), (packs[0].state, packs[1].state)):
        for k, v in a.items():
            torch.testing.assert_close(v, b[k], rtol=1e-4, atol=1e-5)
    assert not torch.equal(packs[0].state["posterior"][0], packs[0].state["posterior"][1])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own making
@pytest.mark.skipif(not choice.compiler_found(), reason="no C++ compiler")
def test_compiled_equals_plain():
    data = (torch.rand(12, VISIBLE, generator=torch.Generator().manual_seed(0)) < 0.4).to(torch.uint8)
    packs = [pack_of(rule_of(1, sweeps=1).float(), data, [0, 1], engine, 0.05) for engine in ("plain", "compiled")]
    sums = [advance(p, 4, [0, 1], slice(0, 6))[1]["bound"] for p in packs]
    torch.testing.assert_close(*sums, rtol=1e-5, atol=1e-4)
    assert torch.equal(packs[0].state["posterior"], packs[1].state["posterior"])


# ----------------------------------------------------------------------------------------------------- settings


def test_the_start():
    rule = rule_of(latents=6)
    state = rule.state(3, 500)
    bits = state["posterior"]
    assert bits.shape == (500, 6)
    assert bits.dtype == torch.uint8
    assert set(bits.unique().tolist()) == {0, 1}
    assert abs(float(bits.double().mean()) - 0.5) < LIMIT * 0.5 / math.sqrt(3000)
    assert torch.equal(bits, rule.state(3, 500)["posterior"])
    assert not torch.equal(bits, rule.state(4, 500)["posterior"])
    assert rule.per_case == ("posterior",)
    assert {k for k in state if k != "posterior"} == {k for k, _ in rule.named_buffers() if "norms" in k}
    assert rule.noise(7) == {"posterior": ("uniform", (10, 6, 7))}
    assert set(fast.group_of(rule).values()) == {"model"}


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        *itertools.product(["sweeps"], [0, 1.5, True], ["a whole number from 1"]),
        *itertools.product(["weight_decay"], [-1.0, math.inf, math.nan, "a", True], ["a number from 0"]),
        ("statistics", "bach", "batch"),
    ],
)
def test_bad_settings_are_named(key, value, allowed):
    with pytest.raises(UserError, match=rf"objective\.{key}=.*{allowed}") as e:
        rule_of(**{key: value})
    assert "\n" not in str(e.value)


def test_it_trains_models_without_an_inference_network():
    model = models.build({"name": "rbm_vae", "latents": 4, "units": 3}, DataInfo([0.5] * 3))
    with pytest.raises(UserError, match="bit_gibbs cannot train RBMVAE"):
        objectives.build({"name": "bit_gibbs"}, model)
    mine = models.build({"name": "rbm_generator", "latents": 4, "units": 3}, DataInfo([0.5] * 3))
    able = [n for n, cls in objectives.OBJECTIVES.items() if cls.trains(mine)]
    assert able == ["bit_gibbs"]
