"""How fast training is, of each model family by each engine, all measured in one run.

Models with a Boltzmann prior take tens of milliseconds for an update, most of them for the chains of the prior; they
are measured in a section of their own, at the setting that their papers train with.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from vaebench import bench_text, fast, models, noise, objectives, optim
from vaebench.errors import UserError, nearest
from vaebench.objectives.rbm_prior import RBMPriorObjective

FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "SBN 200, NVIL": ({"name": "sbn", "dims": [200]}, {"name": "nvil"}),
    "SBN 200, wake-sleep": ({"name": "sbn", "dims": [200]}, {"name": "wake_sleep"}),
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
    "RBM prior 100+100, DVAE++": ({"name": "rbm_vae"}, {"name": "dvaepp"}),
    "RBM prior 100+100, DVAE#": ({"name": "rbm_vae"}, {"name": "dvaes"}),
    "RBM prior 100+100, DVAE#, Gaussian": ({"name": "rbm_vae_gaussian"}, {"name": "dvaes_gaussian"}),
    "RBM prior 100+100, GumBolt": ({"name": "rbm_vae"}, {"name": "gumbolt"}),
    "RBM prior 100+100, PWL": ({"name": "rbm_vae"}, {"name": "pwl"}),
    "RBM posterior 100+100, DVAE##": ({"name": "rbm_posterior"}, {"name": "dvaess"}),
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
    draws = noise.update_block(pack.objective.draws(batch, VISIBLE), seeds, number, device, length)
    pack.advance(noise.order_block(CASES, batch, "replacement", seeds, number, length).to(device), draws, None)
    _wait(device)


def speed(pack: fast.Pack, seconds: float) -> float:
    """Seed-updates per second, drawing the noise included; compilation and the first block are not counted."""
    length = pack.objective.block or noise.BLOCK
    advance(pack, 0, length, BATCH)
    began, blocks = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        blocks += 1
        advance(pack, blocks, length, BATCH)
    return blocks * length * pack.size / (time.perf_counter() - began)


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
    return {k: v for k, v in FAMILIES.items() if only is None or only.lower() in k.lower()}


def run(device: torch.device, seconds: float, packed: int, only: str | None = None) -> Iterator[str]:
    """A heading and one line per family, section by section; ``only``: those with this in their name.

    Raises UserError where there is none.
    """
    families = chosen(only)
    third = {k: v for k, v in bench_text.FAMILIES.items() if only is None or only.lower() in k.lower()}
    if not families and not third:
        raise UserError(f"--only {only}: in no family's name: {nearest(str(only), [*FAMILIES, *bench_text.FAMILIES])}")
    first = {k: v for k, v in families.items() if not boltzmann(v[0])}
    second = {k: v for k, v in families.items() if k not in first}
    if first:
        yield from updates_per_second(first, device, seconds, packed)
    if first and second:
        yield ""
    if second:
        yield from milliseconds(second, device, seconds, packed)
    if third:
        if families:
            yield ""
        yield from bench_text.run(third, device, seconds)


def updates_per_second(families: dict, device: torch.device, seconds: float, packed: int) -> Iterator[str]:
    """The section of the models that are updated hundreds of times in a second, beside a plain autograd loop."""
    yield f"updates per second and seed, batch {BATCH}, {VISIBLE} visible units"
    yield "plain: an autograd loop over one seed. ENGINE N: N seeds packed; x: all seeds together, relative to plain"
    engines = [("packed", packed)] if device.type == "cuda" else []
    if device.type == "cuda" or fast.compiler_found():
        engines += [("compiled", 1), ("compiled", packed)]
    heads = ["plain", *(f"{engine} {n}" for engine, n in engines)]
    yield f"{'':42}" + "".join(f"{h:>18}" for h in heads)
    for name, (model, objective) in families.items():
        plain = speed(make_pack(model, objective, 1, "plain", device), seconds)
        cells = [f"{plain:,.0f}"]
        for engine, n in engines:
            rate = speed(make_pack(model, objective, n, engine, device), seconds)
            cells.append(f"{rate / n:,.0f} (x{rate / plain:.1f})")
        yield f"{name:42}" + "".join(f"{c:>18}" for c in cells)


def milliseconds(families: dict, device: torch.device, seconds: float, packed: int) -> Iterator[str]:
    """The section of the models with a Boltzmann prior. They are not worth compiling: packed on a GPU, else plain."""
    seeds, engine = (packed, "packed") if device.type == "cuda" else (1, "plain")
    what = f", {seeds} seeds packed" if seeds > 1 else ""
    yield f"milliseconds per update and seed, batch {BOLTZMANN_BATCH}, Adam, {VISIBLE} visible units{what}"
    yield "chains: of the update, the prior's 1,000 chains of 40 sweeps, their noise included; noise: that alone"
    yield f"{'':42}{'update':>10}{'chains':>18}{'noise':>10}"
    for name, (model, objective) in families.items():
        c = cost(model, objective, seeds, engine, device, seconds)
        share = "-" if math.isnan(c.chains) else f"{c.chains:,.1f} ({c.chains / c.update:.0%})"
        drawn = "-" if math.isnan(c.noise) else f"{c.noise:,.1f}"
        yield f"{name:42}{c.update:>10,.1f}{share:>18}{drawn:>10}"
