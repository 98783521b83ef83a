"""How fast training is, of each model family by each engine, all measured in one run.

Models with a Boltzmann prior take tens of milliseconds for an update, most of them for the chains of the prior; they
are measured in a section of their own, at the setting that their papers train with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from vaebench import bench_importance, bench_jax, bench_text, fast, kernels, models, noise, objectives, optim
from vaebench.errors import UserError, nearest
from vaebench.models.belief_net import BeliefNet
from vaebench.objectives.rbm_prior import RBMPriorObjective
from vaebench.objectives.wake_sleep import WakeSleep

FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "SBN 200, NVIL": ({"name": "sbn", "dims": [200]}, {"name": "nvil"}),
    "SBN 200, wake-sleep": ({"name": "sbn", "dims": [200]}, {"name": "wake_sleep"}),
    "SBN 500, NVIL": ({"name": "sbn", "dims": [500]}, {"name": "nvil"}),
    "SBN 200-200, NVIL": ({"name": "sbn", "dims": [200, 200]}, {"name": "nvil"}),
    "SBN 200-200-200, NVIL": ({"name": "sbn", "dims": [200, 200, 200]}, {"name": "nvil"}),
    "fDARN 200, NVIL": ({"name": "fdarn", "dims": [200]}, {"name": "nvil"}),
    "fDARN 200, wake-sleep": ({"name": "fdarn", "dims": [200]}, {"name": "wake_sleep"}),
    "DARN 200, NVIL": ({"name": "darn", "dims": [200]}, {"name": "nvil"}),
    "SBN 200, autoregressive posterior, NVIL": (
        {"name": "sbn", "dims": [200], "posterior": "autoregressive"},
        {"name": "nvil"},
    ),
    "linear-Gaussian 50, ELBO": ({"name": "linear_gaussian", "dims": [50]}, {"name": "iw_bound", "samples": 1}),
    "RBM prior 100+100, DVAE": ({"name": "rbm_vae"}, {"name": "dvae"}),
    "RBM prior 100+100, DVAE++": ({"name": "rbm_vae"}, {"name": "dvae_pp"}),
    "RBM prior 100+100, DVAE#": ({"name": "rbm_vae"}, {"name": "dvae_sharp"}),
    "RBM prior 100+100, DVAE#, Gaussian": ({"name": "rbm_vae_gaussian"}, {"name": "dvae_sharp_gaussian"}),
    "RBM prior 100+100, GumBolt": ({"name": "rbm_vae"}, {"name": "gumbolt"}),
    "RBM prior 100+100, PWL": ({"name": "rbm_vae"}, {"name": "pwl"}),
    "RBM posterior 100+100, DVAE##": ({"name": "rbm_posterior"}, {"name": "dvae_sharp_sharp"}),
    "RBM prior 8+8, bit by bit": ({"name": "rbm_generator"}, {"name": "bit_gibbs"}),
    "RBM fitted to a mixture, 4+4": ({"name": "rbm_target"}, {"name": "rbm_kl"}),
}
"""What is measured: with the documents of ``bench_text`` every registered model and objective."""

BATCH, VISIBLE, CASES = 20, 784, 5000

BOLTZMANN_BATCH = 100
"""Cases of an update where the prior is a Boltzmann machine, as its papers have it; the optimiser is Adam."""

LEAST_ROUNDS = 3
"""Updates that a median in milliseconds is of, at least, however long they take."""


class Cost(NamedTuple):
    """Milliseconds of one update and seed; of them the prior's chains with their noise, and that noise alone.

    The last two are nan where the prior has no chains.
    """

    update: float
    chains: float = math.nan
    noise: float = math.nan


def make_pack(
    model: dict,
    objective: dict,
    seeds: int,
    engine: str,
    device: torch.device,
    descent: dict[str, Any] | None = None,
    start: dict[str, Any] | None = None,
) -> fast.Pack:
    """A pack of ``seeds`` seeds on random binary data of MNIST's shape and density.

    ``descent`` None: SGD. ``start``: how parameters are initialised, None: small normal numbers.
    """
    pixels = np.random.default_rng(0).random((CASES, VISIBLE)) < 0.13
    rule = objectives.build(objective, models.build(model, np.full(VISIBLE, 0.13))).to(device)
    rates = optim.build(descent or {"name": "sgd", "rate": 3e-4}, rule.largest_rates(BATCH))
    params = []
    for seed in range(seeds):
        models.start(rule.cpu(), start or {"init": "normal", "init_scale": 0.1}, seed)
        params.append({k: v.detach().clone().to(device) for k, v in rule.named_parameters()})
    rule.to(device)
    states = [{k: v.to(device) for k, v in rule.state(s, CASES).items()} for s in range(seeds)]
    data = torch.from_numpy(pixels.astype(np.uint8)).to(device)
    return fast.Pack(rule, rates, params, states, [rates.state(p) for p in params], data, engine=engine)


def advance(pack: fast.Pack, number: int, length: int, batch: int) -> None:
    """Block ``number``, of ``length`` updates: draw its noise, train on it, wait until all is done."""
    device, seeds = pack.data.device, list(range(pack.size))
    draws = noise.update_block(pack.draws(batch), seeds, number, device, length)
    pack.advance(noise.order_block(CASES, batch, "replacement", seeds, number, length).to(device), draws, None)
    _wait(device)


def speed(pack: fast.Pack, seconds: float, device: torch.device) -> float:
    """Seed-updates per second, drawing the noise included; compilation and the first block are not counted."""
    length = pack.objective.block or noise.BLOCK
    work = partial(advance, pack, length=length, batch=BATCH)
    return length * pack.size * _per_second(work, seconds, device)


def _per_second(work: Callable[[int], Any], seconds: float, device: torch.device) -> float:
    """Calls of ``work``, with a rising number, in a second of ``_clock``; the first is not counted."""
    work(0)
    ends, began, calls = time.perf_counter() + seconds, _clock(device), 0
    while not calls or time.perf_counter() < ends:
        calls += 1
        work(calls)
    return calls / (_clock(device) - began)


def floor(pack: fast.Pack, seconds: float) -> float:
    """Updates per second of an engine that did nothing but an update's matrix products, by the library.

    Those of a case's logits, forwards, and of their weights' gradient.
    """
    rule, device = pack.objective, pack.data.device
    sleep = isinstance(rule, WakeSleep)
    shapes: list[tuple[int, int, int, int]] = []  # inputs, outputs, times forwards, times for the gradient
    for units in [*rule.model.p, *rule.model.q]:
        own = [v.shape for v in (units.weight, units.autoregressive) if v is not None]
        shapes += [(inputs, outputs, 2 if sleep else 1, 1) for outputs, inputs in own]
    for net in getattr(rule, "baseline", None) or []:
        outputs, inputs = net.hidden.weight.shape
        shapes.append((inputs, outputs, 1, 1))
    full = partial(torch.full, fill_value=0.5, device=device)
    work = []
    for inputs, outputs, forwards, backwards in shapes:
        x, weights, deltas = full((BATCH, inputs)), full((outputs, inputs)), full((BATCH, outputs))
        gradient = torch.empty_like(weights)
        work += [(x, weights.mT, deltas.clone())] * forwards + [(deltas.mT, x, gradient)] * backwards

    def products(number: int) -> None:
        for _ in range(noise.BLOCK):
            for a, b, out in work:
                torch.mm(a, b, out=out)
        _wait(device)

    return noise.BLOCK * _per_second(products, seconds, device)


def cost(model: dict, objective: dict, seeds: int, engine: str, device: torch.device, seconds: float) -> Cost:
    """Milliseconds of one update and seed at the setting of the papers, medians of alternate updates.

    The chains' part is what an update takes longer than one with a single sweep of a single chain, so that it is taken
    where they run, among all the rest.
    """

    def pack(**more: int) -> fast.Pack:
        descent, start = {"name": "adam", "rate": 1e-3}, {"init": "fan_in", "init_scale": 0.1}
        return make_pack(model, {**objective, **more}, seeds, engine, device, descent, start)

    packs = [pack()]
    rule, shapes = packs[0].objective, {}
    if isinstance(rule, RBMPriorObjective):
        packs.append(pack(prior_chains=1, prior_sweeps=1))
        others = rule.posterior_noise(BOLTZMANN_BATCH)
        shapes = {k: v for k, v in rule.noise(BOLTZMANN_BATCH).items() if k not in others}
    took: list[list[float]] = []
    ends = math.inf
    while len(took) <= LEAST_ROUNDS or time.perf_counter() < ends:
        if len(took) == 1:  # the first round compiles, captures and allocates
            ends = time.perf_counter() + seconds
        each = []
        for p in packs:
            began = _clock(device)
            advance(p, len(took), 1, BOLTZMANN_BATCH)
            each.append(_clock(device) - began)
        began = _clock(device)
        noise.update_block(shapes, list(range(seeds)), len(took), device, 1)
        _wait(device)
        took.append([*each, _clock(device) - began])
    whole, *bare, draw = (1e3 / seeds * median(v) for v in zip(*took[1:], strict=True))
    return Cost(whole, whole - bare[0], draw) if bare else Cost(whole)


def _clock(device: torch.device) -> float:
    """Seconds, on a CPU with one thread those that it worked, which other programs hardly disturb."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def boltzmann(model: dict) -> bool:
    """Whether the model's prior is a Boltzmann machine."""
    return "prior" in models.MODELS[model["name"]].unnormalised


def chosen(only: str | None) -> dict[str, tuple[dict, dict]]:
    """The families whose name has ``only`` in it, all for None."""
    return _named(only, FAMILIES)


def _named(only: str | None, families: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in families.items() if only is None or only.lower() in k.lower()}


Record = Callable[[dict[str, Any]], None]
"""Takes what was measured of a family, as plain data."""


def run(
    device: torch.device,
    seconds: float,
    packed: int,
    only: str | None = None,
    jax: bool = False,
    record: Record = lambda found: None,
) -> Iterator[str]:
    """A heading and one line per family, section by section.

    Args:
        device: where.
        seconds: time for each measurement.
        packed: seeds packed together.
        only: families with this in their name; None: all.
        jax: measure a plain JAX loop beside them (see bench_jax), on the CPU.
        record: is given what each line is made of.

    Raises:
        UserError: there is no such family, or no JAX.
    """
    if jax:
        if device.type != "cpu":
            raise UserError("--with jax: on the CPU only; add run.device=cpu")
        bench_jax.load()
    families = chosen(only)
    third = _named(only, bench_text.FAMILIES)
    scored = _named(only, bench_importance.FAMILIES)
    if not families and not third and not scored:
        every = [*FAMILIES, *bench_importance.FAMILIES, *bench_text.FAMILIES]
        raise UserError(f"--only {only}: in no family's name: {nearest(str(only), every)}")
    first = {k: v for k, v in families.items() if not boltzmann(v[0])}
    second = {k: v for k, v in families.items() if k not in first}
    sections = [
        (first, lambda: updates_per_second(first, device, seconds, packed, record, jax)),
        (scored, lambda: bench_importance.run(scored, device, seconds, partial(_clock, device), record)),
        (second, lambda: milliseconds(second, device, seconds, packed, record)),
        (third, lambda: bench_text.run(third, device, seconds, record)),
    ]
    between = False
    for chosen_families, section in sections:
        if not chosen_families:
            continue
        if between:
            yield ""
        yield from section()
        between = True


def updates_per_second(
    families: dict, device: torch.device, seconds: float, packed: int, record: Record, jax: bool = False
) -> Iterator[str]:
    """The section of the models that are updated hundreds of times in a second, beside a plain autograd loop."""
    yield f"updates per second and seed, batch {BATCH}, {VISIBLE} visible units"
    yield "plain: an autograd loop over one seed. ENGINE N: N seeds packed; x: all seeds together, relative to plain"
    yield "kernel: x: relative to the best of compiled and plain too. products: an update's matrix products alone"
    engines = [("packed", packed)] if device.type == "cuda" else []
    if device.type == "cuda" or fast.compiler_found():
        engines += [("compiled", n) for n in dict.fromkeys((1, packed))]
    if device.type == "cpu" and not kernels.missing():
        engines.append(("kernel", 1))
    heads = ["plain", *(f"{engine} {n}" for engine, n in engines), "products", *(["jax"] if jax else [])]
    widths = [26 if head.startswith("kernel") else 18 for head in heads]
    yield f"{'':42}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))
    for name, (model, objective) in families.items():
        found = {"plain": speed(make_pack(model, objective, 1, "plain", device), seconds, device)}
        cells = [f"{found['plain']:,.0f}"]
        for engine, n in engines:
            if engine == "kernel" and not _has_kernel(model, objective):
                cells.append("-")
                continue
            rate = speed(make_pack(model, objective, n, engine, device), seconds, device)
            ratios = f"x{rate / found['plain']:.1f}"
            if engine == "kernel":
                ratios += f", x{rate / max(v for k, v in found.items() if k in ('plain', 'compiled 1')):.1f}"
            found[f"{engine} {n}"] = rate / n
            cells.append(f"{rate / n:,.0f} ({ratios})")
        if issubclass(models.MODELS[model["name"]], BeliefNet):
            found["products"] = floor(make_pack(model, objective, 1, "plain", device), seconds)
        cells.append(f"{found['products']:,.0f}" if "products" in found else "-")
        if jax and bench_jax.covers(model, objective):
            pixels = make_pack(model, objective, 1, "plain", device).data.numpy()
            loop = bench_jax.updates(model["dims"], pixels, BATCH, noise.BLOCK)
            found["jax"] = noise.BLOCK * _per_second(loop, seconds, device)
        if jax:
            cells.append(f"{found['jax']:,.0f}" if "jax" in found else "-")
        record({"family": name, "unit": "updates per second and seed", **found})
        yield f"{name:42}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))


def _has_kernel(model: dict, objective: dict) -> bool:
    return fast.has_kernel({"model": model, "objective": objective, "optim": {"name": "sgd"}})


def milliseconds(families: dict, device: torch.device, seconds: float, packed: int, record: Record) -> Iterator[str]:
    """The section of the models with a Boltzmann prior. They are not worth compiling: packed on a GPU, else plain."""
    seeds, engine = (packed, "packed") if device.type == "cuda" else (1, "plain")
    what = f", {seeds} seeds packed" if seeds > 1 else ""
    yield f"milliseconds per update and seed, batch {BOLTZMANN_BATCH}, Adam, {VISIBLE} visible units{what}"
    yield "chains: of the update, the prior's 1,000 chains of 40 sweeps, their noise included; noise: that alone"
    yield f"{'':42}{'update':>10}{'chains':>18}{'noise':>10}"
    for name, (model, objective) in families.items():
        c = cost(model, objective, seeds, engine, device, seconds)
        numbers = {k: v for k, v in c._asdict().items() if not math.isnan(v)}
        record({"family": name, "unit": "ms per update and seed", **numbers})
        share = "-" if math.isnan(c.chains) else f"{c.chains:,.1f} ({c.chains / c.update:.0%})"
        drawn = "-" if math.isnan(c.noise) else f"{c.noise:,.1f}"
        yield f"{name:42}{c.update:>10,.1f}{share:>18}{drawn:>10}"
