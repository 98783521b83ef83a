"""DVAE, DVAE++, DVAE#, GumBolt and PWL: values and gradients against enumeration of the bits and
quadrature over zeta.

The noise is put at the nodes of a quadrature rule, so the mean of an estimator and of its gradient
is a sum and nothing is random. What it is compared with integrates densities, whose derivative
knows nothing of paths.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vaebench import models, objectives
from vaebench.check.tiny import randomize
from vaebench.data.info import DataInfo
from vaebench.dists import boltzmann_exact, mean_field
from vaebench.dists.rbm import RBM

VISIBLE = 4
X = torch.tensor([[1.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
GAMMA = torch.tensor(0.7, dtype=torch.float64)


def rule_of(name, groups, latents=4, layers=1, **settings):
    """In double precision, all parameters N(0, 0.8^2)."""
    config = {
        "name": "rbm_vae",
        "latents": latents,
        "groups": groups,
        "layers": layers,
        "units": 3,
        "context": "none",
    }
    model = models.build(config, DataInfo(torch.linspace(0.2, 0.8, VISIBLE)))
    rule = objectives.build({"name": name, **settings}, model).double()
    randomize(rule, 3)

    return rule


class Placed:
    """A smoothing whose noise is zeta itself (``at`` "zeta"), or the bits that zeta is to
    stand for ("bits")."""

    def __init__(self, relax, at):
        self.relax = relax
        self.at = at

    def __getattr__(self, name):
        return getattr(self.relax, name)

    def sample(self, logit, u):
        zeta = u[0]
        q = torch.sigmoid(logit).detach()
        if self.at == "bits":
            # The quantile in the middle of the wanted bit's mass, which is above 1 - q for a one.
            rho = torch.where(zeta > 0.5, 1 - q / 2, (1 - q) / 2)
            if hasattr(self.relax, "inverse_cdf"):
                return self.relax.inverse_cdf(rho, logit)
            return self.relax.sample_given(zeta, torch.full_like(zeta, 0.5))

        if hasattr(self.relax, "attach"):
            # An overlapping smoothing: zeta as given, with its path derivative by the logit.
            return self.relax.attach(zeta, logit)

        # Spike and exponential: the quantile at which zeta stands. Every quantile below 1 - q gives
        # the spike.
        beta = self.relax.beta
        rho = torch.where(
            zeta > 0, 1 - q + q * torch.expm1(beta * zeta) / math.expm1(beta), (1 - q) / 2
        )

        return self.relax.inverse_cdf(rho, logit)


def grid(relax, units, points):
    """Nodes (points^units, units) over the support of zeta, and weights; the spike at 0 is one
    more, of weight 1."""
    # Unbounded supports are cut at -5 and 6. Callers check that q still integrates to one.
    low, high = relax.support if relax.support[0] == 0 else (-5.0, 6.0)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(points))

    # Gauss-Legendre nodes and weights, moved from [-1, 1] to the support.
    nodes = low + (high - low) * (nodes + 1) / 2
    weights = weights * (high - low) / 2
    if not hasattr(relax, "log_r0"):
        nodes = torch.cat([torch.zeros(1).double(), nodes])
        weights = torch.cat([torch.ones(1).double(), weights])

    return torch.cartesian_prod(*[nodes] * units), torch.cartesian_prod(*[weights] * units).prod(-1)


def log_r(relax, zeta, z):
    """log r(zeta | z), summed over units: zeta (..., n), z (..., n) of zeros and ones.
    The spike has log r 0."""
    if hasattr(relax, "log_r0"):
        return torch.where(z > 0.5, relax.log_r1(zeta), relax.log_r0(zeta)).sum(-1)

    on = math.log(relax.beta) + relax.beta * zeta - math.log(math.expm1(relax.beta))
    impossible = (zeta > 0) != (z > 0.5)
    return torch.where(z > 0.5, on, 0.0).masked_fill(impossible, -math.inf).sum(-1)


def states(units):
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * units)


def log_prior(model):
    """All bits (states, units) and log p of each."""
    z = states(sum(model.sizes[1:]))

    p = model.p.prior
    z1 = z[:, : len(p.b1)]
    z2 = z[:, len(p.b1) :]

    return z, torch.log_softmax(z1 @ p.b1 + z2 @ p.b2 + torch.einsum("si,ij,sj->s", z1, p.w, z2), 0)


def pieces(rule, relax, zeta):
    """The four densities at nodes ``zeta`` (nodes, units).

    Returns:
        log p(x | zeta), (nodes,); log q(z, zeta | x), (states, nodes);
        sum_g log q(z_g | zeta_<g, x), (states, nodes); log p(z), (states, 1). ``states`` are all
        values of the bits.
    """
    model = rule.model
    groups = zeta.split(rule.model.sizes[1:], -1)
    encoded = model.encode(X.expand(len(zeta), -1))

    # A group's logits depend on the samples of the groups before it.
    samples = [g.unsqueeze(0) for g in groups]
    logits = [
        model.group_logits(i, encoded, samples[:i]).reshape(groups[0].shape)
        for i in range(len(groups))
    ]

    z, log_p = log_prior(model)
    all_logits = torch.cat(logits, -1)

    # All bits against all nodes: (states, 1, units) with (nodes, units).
    log_q = (z[:, None] * all_logits - F.softplus(all_logits)).sum(-1)
    joint = log_q + log_r(relax, zeta[None], z[:, None])

    return model.log_likelihood(X.expand(len(zeta), -1), samples)[0], joint, log_q, log_p[:, None]


def noise_at(rule, nodes):
    """Noise of every group from (k, nodes, units)."""
    return {f"q{i}": v[None] for i, v in enumerate(nodes.split(rule.model.sizes[1:], -1), start=1)}


def mean_gain(rule, nodes, weight, gamma, at="zeta"):
    """Means over nodes (k, nodes, units), weighted by ``weight`` (nodes,): of what the rule
    maximises, with its gradient, and of its bound."""
    rule.relax = Placed(rule.relax, at)
    log_z = boltzmann_exact.log_z(rule.model.prior())
    x = X.expand(nodes.shape[1], -1)

    gain, bound, more = rule.gain(x, gamma, log_z, {}, noise_at(rule, nodes), None)
    rule.relax = rule.relax.relax

    assert more == {}

    # The rule tells its bound without log Z, and the weights sum to one.
    return (gain * weight).sum(), (bound * weight).sum() - log_z


def gradient(rule, value):
    grads = torch.autograd.grad(value, list(rule.parameters()), materialize_grads=True)
    return dict(zip(dict(rule.named_parameters()), grads, strict=True))


def assert_same_gradients(rule, have, want, tolerance):
    have = gradient(rule, have)
    want = gradient(rule, want)

    for name, g in want.items():
        torch.testing.assert_close(
            have[name], g, rtol=0, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )

    # Gradients of zero would agree too: each part has one far above the tolerance.
    for part in ("model.q.outputs.0", "model.p.prior", "model.p.decoder"):
        assert (
            max(g.abs().max() for name, g in want.items() if name.startswith(part))
            > 300 * tolerance
        )


OVERLAPPING = [
    ("exponential", 2.0, 1, 4, 8),
    ("exponential", 2.0, 2, 4, 8),
    ("exponential", 2.0, 4, 4, 8),
    ("exponential", 1.0, 3, 6, 5),  # the sides' border runs through the second group
    ("uniform_exponential", 2.0, 2, 4, 8),
    ("gaussian", 4.0, 2, 2, 90),
    ("logistic", 4.0, 2, 2, 90),
]
"""Smoothing, beta, groups, units in all, nodes per unit."""


@pytest.mark.parametrize(("smoothing", "beta", "groups", "latents", "points"), OVERLAPPING)
def test_dvae_pp_has_the_elbo_and_its_gradient_as_mean(smoothing, beta, groups, latents, points):
    """E over zeta of log p(x | zeta) - gamma KL(q(z, zeta) || p(z, zeta)), where r cancels."""
    rule = rule_of("dvae_pp", groups, latents, smoothing=smoothing, beta=beta)
    nodes, w = grid(rule.relax, latents, points)
    likelihood, joint, log_q, log_p = pieces(rule, rule.relax, nodes)

    q = joint.exp() * w

    # The quadrature's own error: 3e-6 is what the sums below are allowed as well.
    assert q.sum().item() == pytest.approx(1, abs=3e-6)

    kl = (q * (log_q - log_p)).sum()
    elbo = (q * likelihood).sum() - GAMMA * kl

    gain, bound = mean_gain(rule, nodes[None], q.sum(0).detach(), GAMMA)

    torch.testing.assert_close(gain, elbo, rtol=0, atol=3e-6)
    torch.testing.assert_close(bound, elbo - (1 - GAMMA) * kl, rtol=0, atol=3e-6)
    assert_same_gradients(rule, gain, elbo, 1e-5)


@pytest.mark.parametrize(
    ("groups", "latents", "points"), [(1, 4, 6), (2, 4, 6), (4, 4, 6), (3, 6, 4)]
)
def test_dvae_has_the_elbos_gradient_as_mean(groups, latents, points):
    """Also through bits that switch; nothing but the quadrature stands between the two."""
    rule = rule_of("dvae", groups, latents, beta=1.0)
    nodes, w = grid(rule.relax, latents, points)

    # zeta says which bits are on, so each node has one state: its row in the tables of all states.
    z = (nodes > 0).double()
    state = (z * 2 ** torch.arange(latents - 1, -1, -1)).sum(-1).long()

    likelihood, joint, log_q, log_p = pieces(rule, rule.relax, nodes)
    own_state = lambda v: v.expand(-1, len(nodes)).gather(0, state[None])[0]  # noqa: E731
    q = own_state(joint).exp() * w

    assert q.sum().item() == pytest.approx(1, abs=3e-6)

    kl = (q * (own_state(log_q) - own_state(log_p))).sum()

    elbo = (q * likelihood).sum() - GAMMA * kl
    gain, bound = mean_gain(rule, nodes[None], q.detach(), GAMMA)

    torch.testing.assert_close(gain, elbo, rtol=0, atol=3e-6)
    torch.testing.assert_close(bound, elbo - (1 - GAMMA) * kl, rtol=0, atol=3e-6)
    assert_same_gradients(rule, gain, elbo, 1e-5)


def test_dvae_with_saturated_units():
    """Logits near 20: finite gradients in single precision, and no unit's share of it
    exceeds its couplings."""
    rule = rule_of("dvae", 2).float()
    logits = [
        torch.tensor([[[18.0, -18.0]]], requires_grad=True),
        torch.tensor([[[25.0, 100.0]]], requires_grad=True),
    ]
    zeta = [torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)]

    grads = torch.autograd.grad(rule.kl(zeta, logits).sum(), logits)
    w = rule.model.p.prior.w

    assert all(torch.isfinite(g).all() for g in grads)

    # Unit 0 of side 1 is 0 at logit 18. (1 - z) / (1 - q) times dq/dlogit is q there, near 1, and
    # the units of side 2 are on: what is left is minus its couplings.
    torch.testing.assert_close(grads[0][0, 0, 0], -w[0].sum(), rtol=1e-5, atol=1e-5)
    assert grads[1].abs().max() < 1e-6


def exact_partition(machine, evidence1, evidence2, iterations=5):
    """log Z of the prior given the evidence by enumeration, in place of the mean-field bound."""
    shape = torch.Size([*evidence1.shape[:-1], *machine.w.shape])
    return boltzmann_exact.log_z(
        RBM(machine.b1 + evidence1, machine.b2 + evidence2, machine.w.expand(shape))
    )


@pytest.mark.parametrize(("smoothing", "beta", "groups", "latents", "points"), OVERLAPPING)
def test_dvae_sharp_has_the_elbo_and_its_gradient_as_mean(
    monkeypatch, smoothing, beta, groups, latents, points
):
    """E over zeta of log p(x | zeta) + gamma [log p(zeta) - log q(zeta | x)], with p(zeta) summed
    over all bits."""
    rule = rule_of("dvae_sharp", groups, latents, smoothing=smoothing, beta=beta)
    nodes, w = grid(rule.relax, latents, points)
    likelihood, joint, _, log_p = pieces(rule, rule.relax, nodes)
    z, _ = log_prior(rule.model)

    # p(zeta) sums over the bits at every node; log q(zeta | x) likewise.
    marginal = torch.logsumexp(log_p + log_r(rule.relax, nodes[None], z[:, None]), 0)
    log_q = torch.logsumexp(joint, 0)
    q = log_q.exp() * w

    elbo, elbo_of_weight_1 = (
        (q * (likelihood + g * (marginal - log_q))).sum() for g in (GAMMA, 1.0)
    )

    # First with the mean-field bound of log p(zeta), then with the exact sum in its place.
    with_mean_field = mean_gain(rule, nodes[None], q.detach(), GAMMA)

    monkeypatch.setattr(mean_field, "log_partition", exact_partition)
    gain, bound = mean_gain(rule, nodes[None], q.detach(), GAMMA)

    torch.testing.assert_close(gain, elbo, rtol=0, atol=3e-6)
    torch.testing.assert_close(bound, elbo_of_weight_1, rtol=0, atol=3e-6)
    assert_same_gradients(rule, gain, elbo, 1e-5)

    # The mean-field bound is below the exact value, and close to it.
    assert -1e-9 < (gain - with_mean_field[0]).item() < 0.12
    assert -1e-9 < (bound - with_mean_field[1]).item() < 0.15


@pytest.mark.parametrize("estimator", ["plain", "doubly_reparameterized"])
@pytest.mark.parametrize("groups", [1, 2])
def test_dvae_sharp_with_two_samples_has_the_weighted_bounds_gradient_as_mean(
    monkeypatch, estimator, groups
):
    monkeypatch.setattr(mean_field, "log_partition", exact_partition)
    rule = rule_of("dvae_sharp", groups, 2, beta=2.0, samples=2, estimator=estimator)
    nodes, w = grid(rule.relax, 4, 8)

    # Two samples of two units each are four dimensions of one grid: (2, nodes, units).
    nodes = torch.stack(nodes.split(2, -1))
    z, _ = log_prior(rule.model)
    log_q = []
    log_w = []
    log_w_of_weight_1 = []

    for zeta in nodes:
        # Log-weights of this sample, with the KL's weight gamma and with 1.
        likelihood, joint, _, log_p = pieces(rule, rule.relax, zeta)
        log_q.append(torch.logsumexp(joint, 0))
        ratio = torch.logsumexp(log_p + log_r(rule.relax, zeta[None], z[:, None]), 0) - log_q[-1]
        log_w.append(likelihood + GAMMA * ratio)
        log_w_of_weight_1.append(likelihood + ratio)

    q = sum(log_q).exp() * w

    wanted = (q * (torch.logsumexp(torch.stack(log_w), 0) - math.log(2))).sum()

    gain, bound = mean_gain(rule, nodes, q.detach(), GAMMA)

    torch.testing.assert_close(gain, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(bound, (q * sum(log_w_of_weight_1) / 2).sum(), rtol=0, atol=1e-6)
    assert_same_gradients(rule, gain, wanted, 3e-6)


# ------------------------------------------------------------------------------------ plug-in forms


def loops(rule, zeta, logits, k, case, relieved):
    """-E, the groups from ``relieved`` on at their means, and the entropies of all, of
    one sample, unit by unit."""
    p = rule.model.p.prior
    flat = []
    q = []
    values = []

    for g, (z, v) in enumerate(zip(zeta, logits, strict=True)):
        for i in range(z.shape[-1]):
            # q of the unit, (its zeta, its logit), and what stands for it in the energy.
            q.append(1 / (1 + math.exp(-v[k, case, i])))
            flat.append((z[k, case, i].item(), v[k, case, i].item()))
            values.append(q[-1] if g >= relieved else flat[-1][0])

    n = len(p.b1)
    energy = sum(b * v for b, v in zip([*p.b1.tolist(), *p.b2.tolist()], values, strict=True))
    energy += sum(
        values[i] * p.w[i, j].item() * values[n + j] for i in range(n) for j in range(len(p.b2))
    )
    entropy = -sum(a * math.log(a) + (1 - a) * math.log(1 - a) for a in q)
    log_q = sum(z * v - math.log1p(math.exp(v)) for z, v in flat)

    return energy, entropy, log_q


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("name", ["gumbolt", "pwl"])
def test_plug_in_forms_by_loops(name, groups, samples):
    """One sample: side 2 at its means and exact entropies; several: zeta
    throughout, in weights with gamma."""
    rule = rule_of(name, groups, samples=samples, beta=2.0)

    x = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 1]]).double()

    generator = torch.Generator().manual_seed(5)
    noise = {
        k: torch.rand(s, generator=generator).double()
        for k, (_, s) in rule.posterior_noise(2).items()
    }

    with torch.no_grad():
        gain, bound, _ = rule.gain(x, GAMMA, torch.tensor(0.0), {}, noise, None)
        zeta, logits = rule.infer(rule.model.encode(x), noise, None)
        likelihood = rule.model.log_likelihood(x, zeta)

        # Else no unit would lie between 0 and 1, and nothing would tell zeta from a bit.
        assert any(((z > 0.01) & (z < 0.99)).any() for z in zeta)

        for example in range(2):
            log_w = []
            log_v = []
            for k in range(samples):
                # With one sample the second half of the groups stands at its means.
                energy, entropy, log_q = loops(
                    rule, zeta, logits, k, example, groups // 2 if samples == 1 else groups
                )
                ratio = energy + (entropy if samples == 1 else -log_q)
                log_w.append(likelihood[k, example].item() + 0.7 * ratio)
                log_v.append(likelihood[k, example].item() + ratio)

            assert gain[example].item() == pytest.approx(
                math.log(sum(map(math.exp, log_w)) / samples)
            )
            assert bound[example].item() == pytest.approx(sum(log_v) / samples)


@pytest.mark.parametrize("name", ["dvae", "dvae_pp", "gumbolt", "pwl"])
def test_one_group_has_the_kl_of_bits(name):
    """Whatever the sample: value and gradient are those of sum_z q (log q - log p)."""
    rule = rule_of(name, 1)
    z, log_p = log_prior(rule.model)

    logit = torch.tensor([0.3, -1.0, 2.0, 0.1], dtype=torch.float64, requires_grad=True)
    log_q = (z * logit - F.softplus(logit)).sum(-1)
    wanted = (log_q.exp() * (log_q - log_p)).sum()

    zeta = rule.relax.sample(
        logit, torch.full((rule.relax.uniforms, 1, 1, 4), 0.6, dtype=torch.float64)
    )

    # ``kl`` leaves out log Z of the prior.
    got = rule.kl([zeta], [logit.expand(1, 1, 4)]).sum() + boltzmann_exact.log_z(rule.model.prior())

    torch.testing.assert_close(got, wanted)

    leaves = [logit, *rule.model.p.prior.parameters()]
    for a, b in zip(
        torch.autograd.grad(got, leaves), torch.autograd.grad(wanted, leaves), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    "settings",
    [
        {"name": "dvae"},
        *[
            {"name": n, "smoothing": s}
            for n in ("dvae_pp", "dvae_sharp")
            for s in ("exponential", "logistic", "gaussian")
        ],
        {"name": "dvae_sharp", "smoothing": "power"},
        {"name": "gumbolt"},
        {"name": "pwl"},
    ],
    ids=lambda s: " ".join(s.values()),
)
def test_the_hard_limit_is_the_discrete_elbo(settings, groups):
    """As beta grows, zeta becomes z: at every state of the bits, weighted by q,
    the ELBO of the model."""
    rule = rule_of(groups=groups, beta=1e6, **settings)
    bits = states(4)

    with torch.no_grad():
        z = [v[None] for v in bits.split(rule.model.sizes[1:], -1)]
        x = X.expand(len(bits), -1)
        log_q = rule.model.log_posterior(z, x)[0]
        wanted = (
            log_q.exp()
            * (rule.model.log_joint(x, z)[0] - boltzmann_exact.log_z(rule.model.prior()) - log_q)
        ).sum()
        gain, bound = mean_gain(
            rule, bits[None], log_q.exp(), torch.tensor(1.0).double(), at="bits"
        )

    # Gaussian smoothing at beta 1e6 is still 1e-3 wide, the others are narrower.
    torch.testing.assert_close(
        gain, wanted, rtol=0, atol=5e-3 if settings.get("smoothing") == "gaussian" else 1e-4
    )
    torch.testing.assert_close(bound, gain, rtol=0, atol=1e-9)
