"""DVAE##: the loss by loops, its gradient against enumeration, chains that belong to
their cases, both engines."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from kit.parameters import drawn
from kit.rbms import transition

from vaebench import models, objectives, optim
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.errors import UserError
from vaebench.objectives.base import Batch
from vaebench.rng import noise
from vaebench.training import engines as fast

VISIBLE = 5
FEW = {"prior_chains": 6, "prior_sweeps": 2, "discrete_sweeps": 2}


def rule_of(seed=0, latents=5, layers=1, scale=0.6, **settings):
    """The rule around a tiny model, every parameter N(0, scale^2), float64."""
    model = {"name": "rbm_posterior", "latents": latents, "layers": layers, "units": 3}
    built = models.build(model, DataInfo(torch.linspace(0.2, 0.7, VISIBLE)))
    return drawn(
        objectives.build({"name": "dvae_sharp_sharp", **FEW, **settings}, built).double(),
        scale,
        seed,
    )


def inputs(rule, cases=4, progress=0.12, seed=1):
    """State, batch and noise of an update; the chains are those of the batch's cases."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(cases, VISIBLE, generator=generator) < 0.5).double()
    draws = {k: v.double() for k, v in noise.draw(rule.noise(cases), generator).items()}
    state = {
        k: v if v.dtype == torch.uint8 else v.double() for k, v in rule.state(seed, cases).items()
    }
    batch = Batch(
        x, rows=torch.arange(cases), update=torch.tensor(0), progress=torch.tensor(progress)
    )

    return state, batch, draws


def sweep(z1, b1, b2, w, u2, u1):
    """One sweep of bits of one chain, by loops over lists."""
    sigma = lambda a: 1 / (1 + math.exp(-a))  # noqa: E731
    z2 = [
        float(u2[j] > 1 - sigma(b2[j] + sum(w[i][j] * z1[i] for i in range(len(b1)))))
        for j in range(len(b2))
    ]
    return [
        float(u1[i] > 1 - sigma(b1[i] + sum(w[i][j] * z2[j] for j in range(len(b2)))))
        for i in range(len(b1))
    ], z2


def relaxed(logit, u, beta=4.0):
    """The piecewise linear relaxation of one bit, as ``PiecewiseLinear`` defines it."""
    q = 1 / (1 + torch.exp(-logit))
    return torch.clamp(0.5 + 0.25 * beta / (q * (1 - q) + 0.01) * (u - (1 - q)), 0, 1)


def energy(b1, b2, w, z1, z2):
    """-E(z1, z2) of one rbm, (), written out."""
    return (b1 * z1).sum() + (b2 * z2).sum() + (z1.unsqueeze(1) * w * z2).sum()


@pytest.mark.parametrize("t", [1, 2])
@pytest.mark.parametrize("rao_blackwell", [True, False])
def test_one_sample_by_loops(t, rao_blackwell):
    """Loss, its whole gradient, chains and bound, chain by chain: 2 sweeps of
    bits, then t relaxed ones."""
    rule = rule_of(relaxed_sweeps=t, rao_blackwell=rao_blackwell, weight_decay=0.1)

    state, batch, draws = inputs(rule)
    model = rule.model

    # The KL's weight at progress 0.12 of a warm-up that takes 0.3.
    gamma = 0.12 / 0.3
    prior = model.prior()
    phantoms = [p.detach().tolist() for p in prior]

    gain = 0.0
    bound = 0.0
    kept_bits = []
    log_z = 0.0

    # The prior's six chains: two sweeps each. Their mean -E has the gradient of log Z.
    for chain in range(6):
        z1 = state["prior"][chain].tolist()
        for s in range(2):
            z1, z2 = sweep(
                z1,
                *phantoms,
                draws["prior2"][s, chain].tolist(),
                draws["prior1"][s, chain].tolist(),
            )

        log_z = log_z + energy(*prior, torch.tensor(z1).double(), torch.tensor(z2).double()) / 6

    # The posterior's chains, one for each example: two sweeps of bits, then t relaxed ones.
    posteriors = model.posterior(batch.x, {})
    ends = []
    for example in range(4):
        b1, b2, w = (p[example] for p in posteriors)
        bits = state["posterior"][example, 0].tolist()
        u2 = draws["posterior2"][:, 0, example]
        u1 = draws["posterior1"][:, 0, example]

        for s in range(2):
            bits, _ = sweep(
                bits, b1.tolist(), b2.tolist(), w.tolist(), u2[s].tolist(), u1[s].tolist()
            )

        kept_bits.append(bits)

        zeta1 = torch.tensor(bits).double()
        for s in range(2, 2 + t):
            zeta2 = relaxed(b2 + zeta1 @ w, u2[s])
            a = b1 + w @ zeta2
            zeta1 = relaxed(a, u1[s])

        ends.append((zeta1, zeta2, 1 / (1 + torch.exp(-a)), (b1, b2, w)))

    # The loss: decoder and energies at the relaxed ends.
    logits = model.decode([torch.stack([e[i] for e in ends]) for i in (0, 1)], {})
    for example, (zeta1, zeta2, mean1, posterior) in enumerate(ends):
        side1 = mean1 if rao_blackwell else zeta1
        likelihood = -F.binary_cross_entropy_with_logits(
            logits[example], batch.x[example], reduction="sum"
        )

        # Of the posterior's energy only the samples carry a gradient, not its parameters.
        kl = energy(*(p.detach() for p in posterior), side1, zeta2) - energy(*prior, side1, zeta2)
        gain = gain + (likelihood - gamma * kl) / 4
        bound += float((likelihood - kl).detach()) / 4

    decay = 0.05 * sum((p**2).sum() for p in model.decayed())

    # The term of log Z has the value 0 and the chains' gradient.
    wanted = decay - gain + gamma * (log_z - log_z.detach())
    loss, new, metrics = rule(state, batch, draws)

    torch.testing.assert_close(loss, wanted)
    assert float(metrics["bound"]) == pytest.approx(bound, abs=1e-10)
    assert new["posterior"].dtype == torch.uint8
    assert new["posterior"][:, 0].double().tolist() == kept_bits

    params = dict(rule.named_parameters())
    got = torch.autograd.grad(loss, list(params.values()))

    for name, a, e in zip(
        params, got, torch.autograd.grad(wanted, list(params.values())), strict=True
    ):
        torch.testing.assert_close(a, e, msg=lambda m, name=name: f"{name}: {m}")

        # Batch normalisation takes the biases before it out again, and nothing else.
        assert (a.abs().max() > 1e-8) == (not name.endswith("dense.0.bias")), name


def test_several_samples_with_one_are_the_weighted_elbo():
    """The rule for several samples, given one, is that for one without
    Rao-Blackwell, to the last gradient."""
    grads = []

    # ``_one`` is what a rule with one sample runs; ``_several`` takes its place.
    for method in ("_one", "_several"):
        rule = rule_of(rao_blackwell=False)
        rule._one = getattr(rule, method)
        loss, _, metrics = rule(*inputs(rule))
        grads.append(
            [
                loss,
                metrics["bound"],
                *torch.autograd.grad(loss, list(rule.parameters()), materialize_grads=True),
            ]
        )

    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def blind(cases, k, t, beta, **settings):
    """A rule whose encoder does not look at x, so that all cases share one machine of 2 + 2 bits,
    and its inputs.

    The chains start at exact samples and the cases alternate between two patterns.
    Both halves are linear.
    """
    rule = rule_of(
        latents=4,
        layers=0,
        samples=k,
        relaxed_sweeps=t,
        beta=beta,
        warmup=0.5,
        weight_decay=0.0,
        **settings,
    )

    # An encoder that is blind to x.
    with torch.no_grad():
        rule.model.q.output.weight.zero_()

    state, batch, draws = inputs(rule, cases, progress=0.25)
    batch = batch._replace(
        x=torch.tensor([[1.0, 0, 1, 1, 0], [0, 0, 1, 0, 1]]).double().repeat(cases // 2, 1)
    )

    posterior = RBM(*(p[0] for p in rule.model.posterior(batch.x[:2], {})))
    u1, u2 = (
        torch.rand(k * cases, *n, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
        for n in ((), (2,))
    )

    # Chains that start at exact samples of the posterior.
    z1, _ = boltzmann_exact.sample(posterior, u1, u2)
    state["posterior"] = z1.reshape(cases, k, 2).to(torch.uint8)

    return rule, state, batch, draws, posterior


def tables(rule, machine, x):
    """Of every state: log q, its own log Z included, (states,), and log p(x | z), log
    p(z) + log Z, (states, 2)."""
    z1, z2, log_q = boltzmann_exact.log_probs(machine)
    all_states = torch.cat([z1, z2], -1).unsqueeze(1).expand(-1, 2, -1)
    return log_q, *rule.model.log_joint_terms(x, [all_states])


def after_a_sweep(machine):
    """Law of all states after one block sweep from q, of which only the sweep is
    differentiated, (states,)."""
    _, _, log_q = boltzmann_exact.log_probs(machine)
    law = log_q.detach().exp() @ transition(machine)

    # The sweep leaves q as it is: only the derivative differs.
    torch.testing.assert_close(law, log_q.exp())

    return law


def gradient(rule, value, names):
    """The gradient of ``value`` in some parameters, as one vector."""
    params = [dict(rule.named_parameters())[n] for n in names]
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, params, retain_graph=True)])


def error(got, wanted):
    """Relative distance of two gradients, by their length."""
    return float((got - wanted).norm() / wanted.norm())


POSTERIOR = ("model.q.output.bias", "model.q.couplings.shift")
DECODER = ("model.p.decoder.output.weight", "model.p.decoder.output.bias")


@pytest.mark.parametrize("rao_blackwell", [True, False])
def test_gradient_of_one_sample_against_enumeration(rao_blackwell):
    """The ELBO's gradient needs neither log Z_x nor the derivative of E_x's parameters, for
    E_q[dlog q] = 0.

    By enumeration that is exact; one relaxed sweep gives the part of it that goes through that
    sweep. The relaxation at beta 10 adds a bias: with the noise of 20,000 chains 0.04 to 0.05 of
    the gradient's length here.
    """
    rule, state, batch, draws, posterior = blind(20_000, 1, 1, 10.0, rao_blackwell=rao_blackwell)
    loss, _, _ = rule(state, batch, draws)

    # 0.5 is the KL's weight, at progress 0.25 of a warm-up of 0.5.
    log_q, likelihood, log_p = tables(rule, posterior, batch.x[:2])
    gain = (likelihood + 0.5 * (log_p - log_q.unsqueeze(-1))).mean(1)
    elbo = log_q.exp() @ gain

    # E_q[d log q] = 0: the gain may be held fixed, and no log Z of the posterior is needed.
    assert (
        error(
            gradient(rule, log_q.exp() @ gain.detach(), POSTERIOR), gradient(rule, elbo, POSTERIOR)
        )
        < 1e-10
    )

    # The step's own gradient: the posterior's through one sweep, the decoder's in whole.
    through_one_sweep = after_a_sweep(posterior) @ gain.detach()
    assert (
        error(-gradient(rule, loss, POSTERIOR), gradient(rule, through_one_sweep, POSTERIOR)) < 0.1
    )
    assert error(-gradient(rule, loss, DECODER), gradient(rule, elbo, DECODER)) < 0.05


def test_gradient_of_two_samples_against_enumeration():
    """The annealed bound of two samples, by all pairs of states.

    The coefficient (1 - gamma) w + gamma w^2 of dlog w_i/dz_i is the derivative of log(1 + e^a) -
    gamma sigmoid(a) in a = log w_i - log w_j. That function in the place of the gain above gives
    the bound's gradient by enumeration, and its part that goes through one sweep.
    """
    rule, state, batch, draws, posterior = blind(20_000, 2, 1, 10.0)

    loss, _, _ = rule(state, batch, draws)
    log_q, likelihood, log_p = tables(rule, posterior, batch.x[:2])
    log_w = likelihood + 0.5 * (log_p - log_q.unsqueeze(-1))

    # The bound of every pair of states, (states, states), averaged over the two patterns of x.
    pairs = (torch.logaddexp(log_w.unsqueeze(0), log_w.unsqueeze(1)) - math.log(2)).mean(-1)
    bound = log_q.exp() @ pairs @ log_q.exp()

    # The gain of the first state of a pair, averaged over the second, so that its gradient is the
    # bound's.
    a = log_w.unsqueeze(1) - log_w.unsqueeze(0)
    gain = 2 * ((F.softplus(a) - 0.5 * torch.sigmoid(a)).mean(-1) @ log_q.exp()).detach()

    assert (
        error(gradient(rule, log_q.exp() @ gain, POSTERIOR), gradient(rule, bound, POSTERIOR))
        < 1e-10
    )

    # The step's own gradient: the posterior's through one sweep, the decoder's in whole.
    through_one_sweep = after_a_sweep(posterior) @ gain
    assert (
        error(-gradient(rule, loss, POSTERIOR), gradient(rule, through_one_sweep, POSTERIOR)) < 0.1
    )
    assert error(-gradient(rule, loss, DECODER), gradient(rule, bound, DECODER)) < 0.05


def packed(engine, **settings):
    """A pack of two seeds on 7 cases, its data, and the rule."""
    rule = rule_of(samples=2, **settings).float()
    params = []
    state = []
    opt = []

    # Adam makes rounding errors of zero gradients large.
    rate = optim.build({"name": "sgd", "rate": 0.01})

    for seed in (0, 1):
        start = {k: v.detach().clone() for k, v in rule_of(seed).float().named_parameters()}
        params.append(start)
        state.append(rule.state(seed, 7))
        opt.append(rate.state(start))

    data = (torch.rand(7, VISIBLE, generator=torch.Generator().manual_seed(2)) < 0.5).to(
        torch.uint8
    )
    return fast.Pack(rule, rate, params, state, opt, data, engine=engine, updates=10)


def test_plain_and_packed_engines_agree():
    index = torch.tensor([[[0, 3, 5], [6, 2, 1]], [[4, 3, 1], [0, 1, 2]]])
    packs = []

    for engine in ("plain", "packed"):
        pack = packed(engine)
        draws = noise.update_block(pack.objective.noise(3), [0, 1], 0, torch.device("cpu"), 2)
        packs.append((pack, pack.advance(index, draws, None)))

    (plain, plain_sums), (packed_pack, packed_sums) = packs
    torch.testing.assert_close(
        plain_sums, packed_sums, rtol=1e-6, atol=0
    )  # float32 sums, kept in float64
    torch.testing.assert_close(plain.params, packed_pack.params, rtol=1e-4, atol=1e-5)
    assert torch.equal(plain.state["posterior"], packed_pack.state["posterior"])


def test_chains_belong_to_their_cases():
    """A chain is found and put back at the row of its case, whatever the order of the
    batch; the others stay."""
    index = torch.tensor([[[5, 0, 3], [1, 4, 6]]])
    order = [2, 0, 1]
    pack = packed("plain")
    turned_pack = packed("plain")

    draws = noise.update_block(pack.objective.noise(3), [0, 1], 0, torch.device("cpu"), 1)
    before = pack.state["posterior"].clone()

    # One pack takes the batch in this order, the other one turned around, each with its noise.
    pack.advance(index, draws, None)
    moved = {k: v[..., order, :] if k.startswith("posterior") else v for k, v in draws.items()}
    turned_pack.advance(index[..., order], moved, None)

    after = pack.state["posterior"]

    assert torch.equal(after, turned_pack.state["posterior"])

    for r, rows in enumerate(index[0].tolist()):
        other_rows = [i for i in range(7) if i not in rows]
        assert torch.equal(after[r, other_rows], before[r, other_rows])
        assert not torch.equal(after[r, rows], before[r, rows])


def test_state_and_noise():
    rule = rule_of(samples=3, relaxed_sweeps=2)
    state = rule.state(0, 10)
    of_seed_1 = rule.state(1, 10)

    assert (state["posterior"].shape, state["posterior"].dtype) == ((10, 3, 2), torch.uint8)
    assert rule.per_case == ("posterior",)
    assert not torch.equal(state["posterior"], of_seed_1["posterior"])
    assert torch.equal(rule_of(samples=1).state(0, 10)["posterior"], state["posterior"][:, :1])
    assert not torch.equal(state["posterior"][:, 0], state["posterior"][:, 1])

    # (sweeps, samples, batch, units of the side): 2 of bits and 2 relaxed ones.
    shapes = rule.noise(7)
    assert (shapes["posterior2"], shapes["posterior1"]) == (
        ("uniform", (4, 3, 7, 3)),
        ("uniform", (4, 3, 7, 2)),
    )


def test_what_it_trains():
    rbm_vae = models.build(
        {"name": "rbm_vae", "latents": 4, "layers": 0}, DataInfo(torch.zeros(VISIBLE))
    )

    with pytest.raises(UserError, match="dvae_sharp_sharp cannot train model=rbm_vae"):
        objectives.build({"name": "dvae_sharp_sharp"}, rbm_vae)

    for key, value in (
        ("relaxation", "gaussian"),
        ("relaxed_sweeps", 0),
        ("rao_blackwell", 1),
        ("beta", 0),
    ):
        with pytest.raises(UserError, match=key):
            rule_of(**{key: value})

    with pytest.raises(
        UserError, match=r"dvae_pp cannot train model=rbm_posterior; allowed: dvae_sharp_sharp$"
    ):
        objectives.build({"name": "dvae_pp"}, rule_of().model)
