"""The estimators of this package held against exact answers on tiny models: what `vaebench check` prints and tests run.

Every line compares an estimate with the exact value of what it estimates, by its own standard error. All in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from vaebench import objectives
from vaebench.check import counts as check_counts
from vaebench.check import documents as check_documents
from vaebench.check import images as check_images
from vaebench.check import tractable as check_tractable
from vaebench.check.line import Line, mean_line
from vaebench.check.tiny import ancestral_samples, built, double, of_kind, randomize, tiny_models
from vaebench.data.info import DataInfo
from vaebench.dists import autoregressive, boltzmann_exact
from vaebench.dists.rbm import RBM
from vaebench.estimators import annealed_posterior, exact
from vaebench.estimators.importance_weighted import importance
from vaebench.estimators.log_z import methods as logz
from vaebench.estimators.weights import stream
from vaebench.models.base import Ancestral, LatentModel, Model, SampledPosterior
from vaebench.models.linear_gaussian import LinearGaussian
from vaebench.models.posterior import total
from vaebench.models.rbm_posterior import RBMPosteriorVAE
from vaebench.models.rbm_target import RBMTarget
from vaebench.objectives.base import Batch, Objective
from vaebench.objectives.dvae_pp import DVAEPlusPlus
from vaebench.objectives.iw_bound import IWBound
from vaebench.objectives.mdl import MDL
from vaebench.objectives.nvil import NVIL
from vaebench.objectives.wake_sleep import WakeSleep
from vaebench.rng import noise, seeds
from vaebench.training import engines as fast

VISIBLE = 4
DRAWS = 40_000
PER_PASS = 4_000

MODELS = tiny_models(
    lambda cls: cls.facts.latent == "binary" and issubclass(cls, SampledPosterior) and cls is not RBMTarget
)
"""Tiny models of binary units that can be enumerated: all of some data whose posterior can be sampled."""

NVIL_VARIANTS: dict[str, dict[str, Any]] = {
    "all parts": {},
    "global signals": {"local_signals": False},
    "baseline, VN": {"input_baseline": False},
    "baseline only": {"input_baseline": False, "variance_normalization": False},
    "VN only": {"input_baseline": False, "constant_baseline": False},
    "IDB only": {"constant_baseline": False, "variance_normalization": False},
    "none": {"input_baseline": False, "constant_baseline": False, "variance_normalization": False},
}


def tiny(config: dict[str, Any], seed: int = 0, device: str | torch.device = "cpu", scale: float = 0.8) -> Model:
    """A model with VISIBLE visible units and parameters N(0, scale^2), in float64."""
    return built(config, DataInfo(torch.linspace(0.2, 0.7, VISIBLE).numpy()), seed, scale, device)


def run(device: str | torch.device = "cpu") -> Iterator[Line]:
    """All lines, one after the other; under a minute."""
    yield from sampling(device)
    for name, config in MODELS.items():
        # Milder parameters: with a poor posterior the importance weights vary so much that their z-scores mean
        # nothing.
        yield from densities(name, of_kind(SampledPosterior, tiny(config, 1, device, scale=0.5)))

    for name in ("SBN 4", "SBN 2-2-3", "SBN 2-3, autoregressive posterior", "fDARN 4"):
        yield from gradients(f"NVIL, {name}", "nvil", {}, tiny(MODELS[name], 2, device))
    for variant, settings in NVIL_VARIANTS.items():
        yield from gradients(f"NVIL ({variant}), SBN 2-3", "nvil", settings, tiny(MODELS["SBN 2-3"], 3, device))
    for name in ("SBN 2-3", "DARN 4"):
        yield from gradients(f"wake-sleep, {name}", "wake_sleep", {}, tiny(MODELS[name], 4, device))
    for name in ("SBN 4", "DARN 4"):
        yield from gradients(f"MDL, {name}", "mdl", {}, tiny(MODELS[name], 9, device))

    yield from linear_gaussian(device)
    yield from log_z(device)
    yield from boltzmann_posterior(device)
    for groups in (1, 2):
        yield from smoothed_kl(groups, device)

    yield from check_counts.lines(device)
    yield from check_documents.lines(device)
    yield from check_images.lines(device)
    yield from check_tractable.lines(device)


# ------------------------------------------------------------------------------------------- densities and bounds


def densities(name: str, model: SampledPosterior) -> Iterator[Line]:
    """Probabilities sum to one; samples follow them; the bound and the importance weights have the right means."""
    device = model.mean.device
    every = exact.states(VISIBLE).to(device)
    log_p = exact.log_evidence(model, every).detach()
    yield Line(f"{name}: sum of p(x)", 1.0, float(log_p.exp().sum()), 0.0)
    sums = _posterior_sums(model, every)
    yield Line(f"{name}: sum of Q(h|x)", float(len(every)), sums, 0.0)

    if isinstance(model, Ancestral):
        yield ancestral_samples(name, model, log_p.exp(), DRAWS)

    missing = _missing(model)
    repeated = every[5:6].expand(DRAWS // 10, -1)  # one case many times: its samples are independent draws
    log_w = torch.cat([part.log_w.reshape(-1) for part in stream(model, repeated.double(), 10, 0)]) - missing
    yield mean_line(f"{name}: one-sample bound", float(exact.elbo(model, every[5:6]).detach()), log_w)
    yield mean_line(f"{name}: importance weight", float(log_p[5].exp()), log_w.exp())
    iw = importance(model, every[5:6].expand(200, -1), 1000, 0, log_z=missing)
    yield Line(f"{name}: IW-NLL, 1,000 samples", -float(log_p[5]), iw.nll, iw.error)


def _posterior_sums(model: SampledPosterior, x: Tensor) -> float:
    z = [h.to(x.device).expand(-1, len(x), -1) for h in exact.latent_states(model)]
    return float(model.log_posterior(z, x).detach().exp().sum())


def sampling(device: str | torch.device = "cpu", units: int = 130, cases: int = 100) -> Iterator[Line]:
    """Autoregressive samples, solved as a fixed point block by block, are those drawn unit after unit."""
    generator = torch.Generator().manual_seed(seeds.derive(0, "check"))
    shapes = ((cases, units), (units, units), (cases, units))
    a, weight, normal = (torch.randn(s, generator=generator, dtype=torch.float64).to(device) for s in shapes)
    uniform = torch.special.ndtr(normal)
    same = autoregressive.sample(a, weight, uniform) == autoregressive_sample_by_units(a, weight, uniform)
    yield Line("autoregressive sampling: share of right units", 1.0, float(same.double().mean()), 0.0)


def linear_gaussian(device: str | torch.device = "cpu") -> Iterator[Line]:
    """The importance-weighted and ELBO machinery on a model whose answers are closed forms."""
    model = of_kind(LinearGaussian, tiny({"name": "linear_gaussian", "dims": [2]}, 5, device))
    x = torch.randn(1, VISIBLE, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device)
    log_w = torch.cat([part.log_w.reshape(-1) for part in stream(model, x.expand(DRAWS // 10, -1), 10, 0)])
    yield mean_line("linear-Gaussian: one-sample bound", float(model.elbo(x).detach()), log_w)
    with torch.no_grad():  # a posterior wide enough for weights of finite variance
        model.q["weight"].zero_()
        model.q["bias"].zero_()
        model.q["log_sd"].fill_(0.3)
        model.p["weight"].mul_(0.5)
        model.p["log_sd"].fill_(0.0)

    log_w = torch.cat([part.log_w.reshape(-1) for part in stream(model, x.expand(DRAWS // 10, -1), 10, 1)])
    yield mean_line("linear-Gaussian: importance weight", float(model.log_evidence(x).detach().exp()), log_w.exp())
    yield from gradients("ELBO, linear-Gaussian", "iw_bound", {"samples": 1, "reduce": "sum"}, model)


# --------------------------------------------------------------------------------------------- Boltzmann machines


def log_z(device: str | torch.device = "cpu", side: int = 6) -> Iterator[Line]:
    """Annealing both ways and tempering against enumeration. Strongly coupled, so that one sweep is far from enough."""
    generator = torch.Generator().manual_seed(seeds.derive(0, "check"))
    shapes = ((side,), (side,), (side, side))
    rbm = RBM(*(1.5 * torch.randn(s, generator=generator, dtype=torch.float64).to(device) for s in shapes))
    wanted = float(boltzmann_exact.log_z(rbm))
    found = logz.ais(rbm, 100, 2000, 0, base="uniform", reverse=True)
    yield Line("log Z, 6+6: annealed", wanted, float(found.value), float(found.error))
    if found.upper is not None and found.upper_error is not None:
        yield Line("log Z, 6+6: annealed, from above", wanted, float(found.upper), float(found.upper_error))
    found = logz.parallel_tempering(rbm, 150, 100, 0, base="uniform", pilot=20)
    yield Line("log Z, 6+6: tempered", wanted, float(found.value), float(found.error))


def boltzmann_posterior(device: str | torch.device = "cpu") -> Iterator[Line]:
    """A Boltzmann posterior for every case, annealed: its NLL both ways, and the bound."""
    ((name, settings),) = RBMPosteriorVAE.tiny.items()
    model = of_kind(RBMPosteriorVAE, tiny({"name": "rbm_posterior", **settings}, 7, device, scale=0.3))
    every = exact.states(VISIBLE).to(device)
    total = annealed_posterior.AnnealedSum(len(every), 4000, device, log_z=_missing(model))
    for part in annealed_posterior.stream(model, every, 4000, 30, 0):
        total.add(part)
    wanted = -float(exact.log_evidence(model, every).detach().mean())
    for measure, w in (("IW-NLL", total.plain.result()), ("IW-NLL, AIS-weighted", total.weighted.result())):
        yield Line(f"{name}: {measure}, 4,000 samples", wanted, w.nll, w.error)


def smoothed_kl(groups: int, device: str | torch.device = "cpu", grid: int = 100) -> Iterator[Line]:
    """DVAE++: KL(q(zeta, z | x) || p(zeta, z)) at samples of zeta against sums over the bits, quadrature over zeta.

    Bits come first there and zeta from r(zeta | z), so the posterior of the bits given zeta, which the rule needs, has
    no part in it. The last group's bits are followed by nothing, so their zeta is not needed.
    """
    model = tiny({**MODELS["RBM prior 2+2"], "groups": groups}, 8, device)
    rule = objectives.build({"name": "dvae_pp", "beta": 5.0, "samples": DRAWS, "prior_chains": 1}, model)
    if not isinstance(rule, DVAEPlusPlus):
        raise TypeError(f"{type(rule).__name__} is no DVAEPlusPlus")
    x = exact.states(VISIBLE)[5:6].to(device)
    missing = _missing(rule.model)
    with torch.no_grad():
        draws = double(noise.fixed(rule.posterior_noise(1), 0, "check", device=device))
        zeta, logits = rule.infer(rule.model.encode(x), draws, None)
        values = rule.kl(zeta, [v.expand_as(z) for v, z in zip(logits, zeta, strict=True)])[:, 0] + missing
        wanted = _hard_kl(rule, x, grid) + missing

    if groups == 1:  # a closed form, the same for every sample
        yield Line("DVAE++, 1 group: KL", wanted, float(values[0]), 0.0)
    else:
        yield mean_line(f"DVAE++, {groups} groups: KL", wanted, values)


def _hard_kl(rule: DVAEPlusPlus, x: Tensor, grid: int) -> float:
    """E[log q(z | x, zeta) + E(z)], all bits summed over, zeta of the first of two groups by midpoints of its noise."""
    model = rule.model
    kl = 0.0
    seen = model.encode(x)
    if len(model.sizes) == 2:
        return float(exact.layer_kl(model, x)[0]) - _missing(model)

    u = (torch.arange(grid, dtype=torch.float64, device=x.device) + 0.5) / grid
    u = torch.cartesian_prod(u, u).unsqueeze(1)  # (grid^2, 1, 2)
    first = model.group_logits(0, seen, [])
    for z1 in exact.states(2).to(x.device):
        log_q1 = -nn.functional.softplus((1 - 2 * z1) * first).sum()
        zeta1 = rule.relax.sample((80.0 * (z1 - 0.5)).expand_as(u), u.unsqueeze(0))
        second = model.group_logits(1, seen, [zeta1])
        for z2 in exact.states(2).to(x.device):
            log_q2 = -nn.functional.softplus((1 - 2 * z2) * second).sum(-1)
            energy = model.prior().negative_energy(z1[None], z2[None])
            kl += float((log_q1.exp() * log_q2.exp() * (log_q1 + log_q2 - energy)).mean())
    return kl


# ------------------------------------------------------------------------------------------------------ gradients


class _Moments(NamedTuple):
    """Sums over draws of a gradient: of its coordinates, of their squares; and its part in the exact direction."""

    total: Tensor
    square: Tensor
    projected: list[Tensor]


def gradients(name: str, objective: str, settings: dict[str, Any], model: Model) -> Iterator[Line]:
    """The mean of an objective's gradient against the exact gradient of what it ascends, one line per group.

    Running statistics are held fixed, at values that matter. A batch of three cases, one of them twice.
    """
    device = model.mean.device
    rule = objectives.build({"name": objective, **settings}, model).double()
    baseline = getattr(rule, "baseline", None)
    if baseline is not None:
        randomize(baseline, 6, 0.5)
    rule.to(device)

    state = frozen_state(rule)
    x = exact.states(VISIBLE)[[3, 5, 5, 10]].to(device)
    wanted = exact_gradients(rule, state, x)

    sums: dict[str, _Moments] = {}
    for g in sampled_gradients(rule, state, x):
        for group, v in g.items():
            own = sums.setdefault(group, _Moments(torch.zeros_like(v[0]), torch.zeros_like(v[0]), []))
            own.total.add_(v.sum(0))
            own.square.add_((v**2).sum(0))
            direction = wanted[group] / wanted[group].norm().clamp(min=1e-12)
            own.projected.append(v @ direction)

    for group, (linear, square, projected) in sums.items():
        mean = linear / DRAWS
        error = ((square / DRAWS - mean**2).clamp(min=0) / DRAWS).sqrt()
        free = error > 1e-12
        z = (mean - wanted[group])[free] / error[free]
        line = mean_line(f"{name}: gradient, {group}", float(wanted[group].norm()), torch.cat(projected))
        yield Line(line.name, line.exact, line.estimate, line.error, z.cpu())


def frozen_state(rule: Objective) -> dict[str, Tensor]:
    """A state that stays as it is: means and variances that differ by layer, and a decay of one."""
    state = {k: v.double() for k, v in rule.state().items()}
    if "variance" in state:
        n = len(state["mean"])
        state = {"mean": -torch.arange(1.0, n + 1).double(), "variance": torch.linspace(4.0, 9.0, n).double()}
        if isinstance(rule, NVIL):
            rule.decay = 1.0
    return {k: v.to(next(rule.parameters()).device) for k, v in state.items()}


def sampled_gradients(
    rule: Objective, state: dict[str, Tensor], x: Tensor, draws: int = DRAWS, stream_index: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Gradients of the objective (ascent direction) for independent noise: group -> (PER_PASS, coordinates)."""
    params = {k: v.detach() for k, v in rule.named_parameters()}
    group_of = fast.group_of(rule)
    batch = Batch(x, torch.arange(len(x), device=x.device))

    def loss(p: dict[str, Tensor], draw: dict[str, Tensor]) -> Tensor:
        return functional_call(rule, p, (state, batch, draw))[0]

    many: Callable[..., dict[str, Tensor]] = vmap(grad(loss), in_dims=(None, 0))
    for i in range(draws // PER_PASS):
        generator = torch.Generator(x.device).manual_seed(seeds.derive(0, "check", stream_index, i))
        g = many(params, double(noise.draw(rule.noise(len(x)), generator, (PER_PASS,))))
        yield {
            group: torch.cat([-g[k].reshape(PER_PASS, -1) for k in g if group_of[k] == group], 1)
            for group in rule.groups()
            if group in group_of.values()
        }


def exact_gradients(rule: Objective, state: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Exact gradient of each group's own objective, flattened in the order of the parameters' names.

    With fixed statistics NVIL's inference layer i follows the gradient of the bound divided by max(1, sqrt(v_i)). That
    of MDL does not follow a bound: see ``_code_gradients``.
    """
    if isinstance(rule, NVIL):
        values = _grad(rule, exact.elbo(rule.model, x).sum())
        for i in range(rule.model.layers):
            scale = state["variance"][i].sqrt().clamp(min=1.0) if rule.variance_normalization else 1.0
            for k in values:
                if k.startswith(f"model.q.{i}."):
                    values[k] = values[k] / scale
        if rule.baseline is not None:
            values.update(_baseline_gradients(rule, state, x))

    elif isinstance(rule, WakeSleep):
        values = _grad(rule, exact.expected_log_joint(rule.model, x).sum())
        sleep = _grad(rule, exact.expected_log_posterior(rule.model).to(x.device) * len(x))
        values.update({k: v for k, v in sleep.items() if k.startswith("model.q.")})

    elif isinstance(rule, MDL) and rule.model.layers == 1:
        values = _grad(rule, exact.expected_log_joint(rule.model, x).sum())
        values.update(_code_gradients(rule, x))

    elif isinstance(rule, IWBound) and isinstance(rule.model, LinearGaussian) and rule.samples == 1:
        values = _grad(rule, rule.model.elbo(x).sum())

    else:
        raise ValueError(f"no exact gradient is known for {type(rule).__name__}")

    group_of = fast.group_of(rule)
    out: dict[str, list[Tensor]] = {}
    for k, v in values.items():
        out.setdefault(group_of[k], []).append(v.reshape(-1))
    return {g: torch.cat(v) for g, v in out.items()}


def _grad(rule: nn.Module, value: Tensor) -> dict[str, Tensor]:
    named = dict(rule.named_parameters())
    g = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return {k: torch.zeros_like(p) if v is None else v for (k, p), v in zip(named.items(), g, strict=True)}


def _baseline_gradients(rule: NVIL, state: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """Minus the gradient of E_Q[(l_i - C_i - c_i)^2] / 2, by enumeration, divided by the signal's scale."""
    model = rule.model
    z = [h.to(x.device).expand(-1, len(x), -1) for h in exact.latent_states(model)]
    with torch.no_grad():
        log_p = model.log_joint_terms(x, z)
        log_q = model.log_posterior_terms(z, x)
        weight = total(log_q).exp()
        log_p = [t.expand_as(weight) for t in log_p]
        bound = total(log_p) - total(log_q)

    inputs = model.posterior_inputs(x, z)
    value = torch.zeros((), dtype=torch.float64, device=x.device)
    for i, net in enumerate(rule.baseline or []):
        signal = total(log_p[i:]) - total(log_q[i:]) if rule.local_signals else bound
        center = state["mean"][i] if rule.constant_baseline else 0.0
        scale = state["variance"][i].sqrt().clamp(min=1.0) if rule.variance_normalization else 1.0
        value = value - (weight * (signal - net(inputs[i]) - center) ** 2).sum() / (2 * scale)
    return {k: v for k, v in _grad(rule, value).items() if k.startswith("baseline.")}


def _code_gradients(rule: MDL, x: Tensor) -> dict[str, Tensor]:
    """What the inference network of one layer follows, by enumeration.

    For the probability q of each bit: the slopes of log p(x, h) at 0 and at 1, half of both, the other bits drawn; and
    the exact gradient of the entropy.
    """
    model = rule.model
    h = exact.latent_states(model)[0].to(x.device).expand(-1, len(x), -1).contiguous().requires_grad_()
    (slopes,) = torch.autograd.grad(model.log_joint(x, [h]).sum(), h)
    q = torch.sigmoid(model.q[0].logits(x - model.mean))
    with torch.no_grad():
        of_bits = torch.where(h > 0, q, 1 - q)
        weight = of_bits.prod(-1, keepdim=True)
        to_q = (weight * slopes / (2 * of_bits)).sum(0)
    entropy = -(q * q.log() + (1 - q) * (1 - q).log()).sum()
    values = _grad(rule, (to_q * q).sum() + entropy)
    return {k: v for k, v in values.items() if k.startswith("model.q.")}


# --------------------------------------------------------------------------------------------------------- pieces


def _missing(model: LatentModel) -> float:
    """log Z of the prior where the model's densities lack it, else 0."""
    return float(torch.as_tensor(exact.log_z(model, model.mean[None])[0]).detach())


def autoregressive_sample_by_units(a: Tensor, weight: Tensor, uniform: Tensor) -> Tensor:
    """Second implementation of ``dists.autoregressive.sample``: unit after unit, as the definition says."""
    h = torch.zeros_like(uniform)
    weight = autoregressive.strictly_lower(weight)
    for j in range(uniform.shape[-1]):
        h[..., j] = (uniform[..., j] < torch.sigmoid(a[..., j] + h @ weight[j])).to(h.dtype)
    return h
