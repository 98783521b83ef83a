"""Speed of models with a Boltzmann prior, and of annealing log Z of that prior.

An update takes tens of milliseconds at the settings that the papers train with. The prior's chains
take most of that time. Engines take turns, update by update, so that other work on the machine
disturbs all of them alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch

from vaebench import kernels
from vaebench.bench.packs import VISIBLE, Families, Record, advance, in_turns, make_pack, wait
from vaebench.dists.rbm import RBM
from vaebench.estimators.log_z import methods as logz
from vaebench.objectives.bit_gibbs import BitGibbs
from vaebench.objectives.rbm_prior import RBMPriorObjective
from vaebench.rng import noise
from vaebench.training.choice import has_kernel
from vaebench.training.engines import Pack

FAMILIES: Families = {
    "RBM prior 100+100, DVAE": ({"name": "rbm_vae"}, {"name": "dvae"}),
    "RBM prior 100+100, DVAE++": ({"name": "rbm_vae"}, {"name": "dvae_pp"}),
    "RBM prior 100+100, DVAE#": ({"name": "rbm_vae"}, {"name": "dvae_sharp"}),
    "RBM prior 100+100, DVAE#, Gaussian": (
        {"name": "rbm_vae_gaussian"},
        {"name": "dvae_sharp_gaussian"},
    ),
    "RBM prior 100+100, GumBolt": ({"name": "rbm_vae"}, {"name": "gumbolt"}),
    "RBM prior 100+100, PWL": ({"name": "rbm_vae"}, {"name": "pwl"}),
    "RBM posterior 100+100, DVAE##": ({"name": "rbm_posterior"}, {"name": "dvae_sharp_sharp"}),
    "RBM prior 8+8, bit by bit": ({"name": "rbm_generator"}, {"name": "bit_gibbs"}),
    "RBM fitted to a mixture, 4+4": ({"name": "rbm_target"}, {"name": "rbm_kl"}),
    "RBM 500, CD-1": ({"name": "rbm"}, {"name": "contrastive_divergence"}),
    "DBN 500-2000, greedy": (
        {"name": "dbn", "dims": [500, 2000]},
        {"name": "greedy", "steps": 1, "grow": None, "lower": 1},
    ),
    "RBM 500, CD-25": ({"name": "rbm"}, {"name": "contrastive_divergence", "steps": 25}),
}
"""Name -> model and objective."""

BATCH = 100
"""Examples of an update, as in the papers."""

DESCENT = {"name": "adam", "rate": 1e-3}
"""The optimiser of all families."""

LEAST_ROUNDS = 3
"""Least number of updates behind a median, however long they take."""


class Annealing(NamedTuple):
    """Settings of an annealing: units on each side of the RBM, temperatures and chains."""

    side: int
    temperatures: int
    chains: int


ANNEALINGS = {
    "log Z of an RBM 100+100, 1,000 temperatures, 1,024 chains": Annealing(100, 1000, 1024)
}
"""The annealing that is done at every validation."""


class Cost(NamedTuple):
    """Milliseconds per update and seed.

    ``update`` is the whole update. ``chains`` is the part that the prior's chains take, their noise
    included, and ``noise`` the part of that noise. Both are nan if the prior has no chains.
    """

    update: float
    chains: float = math.nan
    noise: float = math.nan


def costs(
    model: dict[str, Any],
    objective: dict[str, Any],
    seeds: int,
    engines: tuple[str, ...],
    device: torch.device,
    seconds: float,
) -> dict[str, Cost]:
    """Return the cost by each engine: medians of rounds in which all engines take their turn.

    The chains' share is the difference between an update and one with a single sweep of a single
    chain. So the chains are timed where they run, within an update.
    """
    # All parts of all engines take turns; the times come back in the same flat order.
    works_of = {engine: _parts(model, objective, seeds, engine, device) for engine in engines}
    times = iter(
        in_turns(
            [work for timed in works_of.values() for work in timed], seconds, device, LEAST_ROUNDS
        )
    )

    cost_of = {}
    for engine, timed in works_of.items():
        # Medians in the order of ``_parts``: the whole update, the update with next to no chains,
        # the noise.
        whole, *rest = (1e3 / seeds * median(next(times)) for _ in timed)
        cost_of[engine] = Cost(whole, whole - rest[0], rest[1]) if rest else Cost(whole)
    return cost_of


def _parts(
    model: dict[str, Any], objective: dict[str, Any], seeds: int, engine: str, device: torch.device
) -> list[Callable[[int], Any]]:
    """Return what is timed: an update, and the parts of it if the prior has chains.

    The parts are the same update with a single sweep of a single chain, and drawing the chains'
    noise.
    """

    def pack(**more: int) -> Pack:
        start = {"init": "fan_in", "init_scale": 0.1}
        return make_pack(model, {**objective, **more}, seeds, engine, device, DESCENT, start)

    full_update = pack()
    # One update a call: the prior's chains need so much noise that training draws it update by
    # update too.
    update = partial(advance, full_update, length=1, batch=BATCH)
    if not isinstance(full_update.objective, RBMPriorObjective):
        return [update]

    # The chains' noise alone, without that of the posterior's samples.
    shapes = {
        k: v for k, v in full_update.draws(BATCH).items() if k in full_update.objective.chain_noise
    }
    draw = partial(_draw, shapes, list(range(seeds)), device)
    return [
        update,
        partial(advance, pack(prior_chains=1, prior_sweeps=1), length=1, batch=BATCH),
        draw,
    ]


def _draw(shapes: noise.Shapes, seeds: list[int], device: torch.device, number: int) -> None:
    noise.update_block(shapes, seeds, number, device, 1)
    wait(device)


def products(pack: Pack) -> Callable[[int], None]:
    """Return a function that makes an update's matrix products alone, by the library.

    They are the products of the layers, forwards and backwards, and of the chains. A posterior that
    is an RBM for each example has only products of matrices with vectors, which are left out.
    """
    rule = pack.objective
    # (rows, inputs, outputs, times). A linear layer has three products: forwards, and backwards for
    # the gradients of its input and of its weights. Bit-by-bit sampling also decodes the batch.
    shapes = [
        (BATCH, layer.in_features, layer.out_features, times)
        for layer in rule.modules()
        if isinstance(layer, torch.nn.Linear)
        for times in (3, _evaluations(rule) if ".decoder." in _name_of(rule, layer) else 0)
    ]

    # A sweep of the prior's chains has a product for each side.
    if isinstance(rule, RBMPriorObjective):
        units1, units2 = rule.model.prior().w.shape
        shapes.append((rule.prior_chains, units1, units2, 2 * rule.prior_sweeps))

    work = [
        (torch.full((m, k), 0.5), torch.full((k, n), 0.5), torch.empty(m, n))
        for m, k, n, times in shapes
        for _ in range(times)
    ]

    def run(number: int = 0) -> None:
        for a, b, out in work:
            torch.mm(a, b, out=out)

    return run


def _evaluations(rule: torch.nn.Module) -> int:
    """Return how many times a batch is decoded without a gradient."""
    return rule.sweeps * rule.model.sizes[1] if isinstance(rule, BitGibbs) else 0


def _name_of(rule: torch.nn.Module, layer: torch.nn.Module) -> str:
    return next(name for name, module in rule.named_modules() if module is layer)


def run(
    families: Families, device: torch.device, seconds: float, packed: int, record: Record
) -> Iterator[str]:
    """Yield a heading and a line for each family.

    These models are not worth compiling. On a GPU they are packed; on a CPU the plain engine and
    the kernels are compared.
    """
    on_cpu = device.type == "cpu"
    seeds, engine = (1, "plain") if on_cpu else (packed, "packed")

    with_kernels = on_cpu and not kernels.missing()
    packing = f", {seeds} seeds packed" if seeds > 1 else ""

    yield f"milliseconds per update and seed, batch {BATCH}, Adam, {VISIBLE} visible units{packing}"
    yield (
        "chains: of the update, the prior's 1,000 chains of 40 sweeps, their noise "
        "included; noise: that alone"
    )
    yield (
        "x: of the plain engine's time. products: an update's matrix products alone, by the library"
    )
    yield (
        f"{'':42}{engine:>10}{'chains':>14}{'noise':>8}{'kernel':>18}{'chains':>18}{'products':>10}"
    )

    for name, (model, objective) in families.items():
        # This pack is not timed: it tells whether kernels fit, and which products an update has.
        plain = make_pack(model, objective, 1, "plain", device, DESCENT)
        kernel = with_kernels and has_kernel(plain.objective, plain.optim)
        cost_of = costs(
            model, objective, seeds, (engine, "kernel") if kernel else (engine,), device, seconds
        )

        # ``update``, ``chains``, ``noise`` of the first engine; ``kernel update`` and so on of the
        # kernels. What does not exist is nan, and left out of the record.
        numbers: dict[str, float] = {}
        for engine_name, cost in cost_of.items():
            by_name = {
                k if engine_name == engine else f"kernel {k}": v for k, v in cost._asdict().items()
            }
            numbers |= {k: v for k, v in by_name.items() if not math.isnan(v)}

        if on_cpu:
            numbers["products"] = _floor(plain, seconds, device)

        record({"family": name, "unit": "ms per update and seed", **numbers})
        yield f"{name:42}" + _cells(numbers)


def _floor(pack: Pack, seconds: float, device: torch.device) -> float:
    """Return the milliseconds of the products alone, the median of rounds."""
    (times,) = in_turns([products(pack)], seconds / 2, device, LEAST_ROUNDS)
    return 1e3 * median(times)


def _cells(numbers: dict[str, float]) -> str:
    update = numbers["update"]
    chains = numbers.get("chains")
    chains_cell = "-" if chains is None else f"{chains:,.1f} ({chains / update:.0%})"
    noise_cell = f"{numbers['noise']:,.1f}" if "noise" in numbers else "-"

    # The kernels' time of each part, and its ratio to the first engine's.
    ratios = []
    for key in ("update", "chains"):
        kernel_time = numbers.get(f"kernel {key}")
        ratios.append(
            "-"
            if kernel_time is None
            else f"{kernel_time:,.1f} (x{kernel_time / numbers[key]:.2f})"
        )
    floor = f"{numbers['products']:,.1f}" if "products" in numbers else "-"
    return (
        f"{update:>10,.1f}{chains_cell:>14}{noise_cell:>8}{ratios[0]:>18}{ratios[1]:>18}{floor:>10}"
    )


def _anneal(rbm: RBM, size: Annealing, with_kernels: bool, number: int) -> None:
    """Make another estimate at each call, with kernels or without."""
    with kernels.use(with_kernels):
        logz.ais(rbm, size.temperatures, size.chains, number, base="uniform")


def annealing(
    sizes: dict[str, Annealing], device: torch.device, seconds: float, record: Record
) -> Iterator[str]:
    """Yield a line for each annealing of log Z that starts at the uniform distribution.

    The best of rounds counts; the engines take turns.
    """
    engines = (
        {"plain": False, "kernel": True}
        if device.type == "cpu" and not kernels.missing()
        else {"plain": False}
    )

    yield "milliseconds of annealing; x: of the plain code's time"
    yield f"{'':60}" + "".join(f"{name:>18}" for name in engines)
    for name, size in sizes.items():
        # Biases of both sides and couplings, N(0, 0.2^2).
        generator = torch.Generator().manual_seed(0)
        shapes = ((size.side,), (size.side,), (size.side, size.side))
        rbm = RBM(*(0.2 * torch.randn(*shape, generator=generator).to(device) for shape in shapes))

        annealings = [
            partial(_anneal, rbm, size, with_kernels) for with_kernels in engines.values()
        ]
        times_of = in_turns(annealings, seconds, device, least=1)
        numbers = {
            engine: 1e3 * min(times) for engine, times in zip(engines, times_of, strict=True)
        }

        record({"family": name, "unit": "ms", **numbers})
        cells = f"{numbers['plain']:>18,.0f}"
        if "kernel" in numbers:
            ratio = f"{numbers['kernel']:,.0f} (x{numbers['kernel'] / numbers['plain']:.2f})"
            cells += f"{ratio:>18}"
        yield f"{name:60}{cells}"
