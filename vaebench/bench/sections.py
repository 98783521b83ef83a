"""Training speed of each model family by each engine, all measured in one run.

Each kind of number is a section. The section of the models that make hundreds of updates per second
is in this file; each other section has a file of its own in this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from vaebench import kernels, models
from vaebench.bench import boltzmann as bench_boltzmann
from vaebench.bench import counts as bench_counts
from vaebench.bench import gaussian as bench_gaussian
from vaebench.bench import images as bench_images
from vaebench.bench import importance as bench_importance
from vaebench.bench import jax_loop as bench_jax
from vaebench.bench import text as bench_text
from vaebench.bench.packs import (
    BATCH,
    VISIBLE,
    Families,
    Record,
    advance,
    in_turns,
    make_pack,
    wait,
)
from vaebench.errors import UserError, nearest
from vaebench.models.base import BoltzmannPrior, EnergyModel
from vaebench.models.belief_net import BeliefNet
from vaebench.objectives.wake_sleep import WakeSleep
from vaebench.rng import noise
from vaebench.training import choice
from vaebench.training import engines as fast

FAMILIES: Families = {
    "SBN 200, NVIL": ({"name": "sbn", "dims": [200]}, {"name": "nvil"}),
    "SBN 200, wake-sleep": ({"name": "sbn", "dims": [200]}, {"name": "wake_sleep"}),
    "SBN 500, NVIL": ({"name": "sbn", "dims": [500]}, {"name": "nvil"}),
    "SBN 200-200, NVIL": ({"name": "sbn", "dims": [200, 200]}, {"name": "nvil"}),
    "SBN 200-200-200, NVIL": ({"name": "sbn", "dims": [200, 200, 200]}, {"name": "nvil"}),
    "fDARN 200, NVIL": ({"name": "fdarn", "dims": [200]}, {"name": "nvil"}),
    "fDARN 200, wake-sleep": ({"name": "fdarn", "dims": [200]}, {"name": "wake_sleep"}),
    "DARN 200, NVIL": ({"name": "darn", "dims": [200]}, {"name": "nvil"}),
    "DARN 200, MDL": ({"name": "darn", "dims": [200]}, {"name": "mdl"}),
    "SBN 200, autoregressive posterior, NVIL": (
        {"name": "sbn", "dims": [200], "posterior": "autoregressive"},
        {"name": "nvil"},
    ),
    "linear-Gaussian 50, ELBO": (
        {"name": "linear_gaussian", "dims": [50]},
        {"name": "iw_bound", "samples": 1},
    ),
    "VAE 500-20, wake-sleep": ({"name": "gaussian_vae"}, {"name": "wake_sleep"}),
    "VAE 100-3, Monte Carlo EM": (
        {"name": "gaussian_vae", "latents": 3, "encoder": [100]},
        {"name": "mcem"},
    ),
    "mixture of 500 Bernoullis, EM": ({"name": "bernoulli_mixture"}, {"name": "em"}),
    "EoNADE 500-500, order-agnostic": ({"name": "eonade"}, {"name": "order_agnostic"}),
    "MADE 500, likelihood": ({"name": "made"}, {"name": "likelihood"}),
    "NADE 500, likelihood": ({"name": "nade"}, {"name": "likelihood"}),
    "VAE of two layers, ELBO": ({"name": "hierarchical_vae"}, {"name": "iw_bound", "samples": 1}),
    **bench_boltzmann.FAMILIES,
}
"""What is measured on binary examples of MNIST's size: models of the papers' sizes, with the
objectives that train them."""


def speed(pack: fast.Pack, seconds: float, device: torch.device) -> float:
    """Return seed-updates per second, including the drawing of noise.

    Compilation and the first block are not counted.
    """
    length = pack.objective.block or noise.BLOCK
    work = partial(advance, pack, length=length, batch=BATCH)
    return length * pack.size * _per_second(work, seconds, device)


def _per_second(work: Callable[[int], Any], seconds: float, device: torch.device) -> float:
    """Return the calls of ``work`` per second.

    Each call is given a rising number. The first call does not count.
    """
    (times,) = in_turns([work], seconds, device, least=1)
    return len(times) / sum(times)


def floor(pack: fast.Pack, seconds: float) -> float:
    """Return the updates per second of an engine that did only an update's matrix products.

    The library makes the products. They are those of the logits, forwards, and those of the
    weights' gradients.
    """
    rule = pack.objective
    device = pack.data.device
    sleep = isinstance(rule, WakeSleep)
    # For each weight matrix: inputs, outputs, products forwards, products for the gradient.
    shapes: list[tuple[int, int, int, int]] = []
    if not isinstance(rule.model, BeliefNet):
        raise TypeError(f"{type(rule.model).__name__} is no belief net")

    for units in [*rule.model.p, *rule.model.q]:
        own = [v.shape for v in (units.weight, units.autoregressive) if v is not None]
        shapes += [(inputs, outputs, 2 if sleep else 1, 1) for outputs, inputs in own]
    for net in getattr(rule, "baseline", None) or []:
        outputs, inputs = net.hidden.weight.shape
        shapes.append((inputs, outputs, 1, 1))

    full = partial(torch.full, fill_value=0.5, device=device)
    work = []
    for inputs, outputs, forwards, backwards in shapes:
        x = full((BATCH, inputs))
        weights = full((outputs, inputs))
        deltas = full((BATCH, outputs))
        gradient = torch.empty_like(weights)
        work += [(x, weights.mT, deltas.clone())] * forwards + [
            (deltas.mT, x, gradient)
        ] * backwards

    def products(number: int) -> None:
        for _ in range(noise.BLOCK):
            for a, b, out in work:
                torch.mm(a, b, out=out)
        wait(device)

    return noise.BLOCK * _per_second(products, seconds, device)


def boltzmann(model: dict[str, Any]) -> bool:
    """Whether the model's prior, or the model itself, is a Boltzmann machine."""
    return issubclass(models.model_class(model["name"]), (BoltzmannPrior, EnergyModel))


def chosen(only: str | None) -> Families:
    """Return the families whose name contains ``only``; all if it is None."""
    return _named(only, FAMILIES)


def _named(only: str | None, families: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in families.items() if only is None or only.lower() in k.lower()}


def run(
    device: torch.device,
    seconds: float,
    packed: int,
    only: str | None = None,
    jax: bool = False,
    record: Record = lambda found: None,
) -> Iterator[str]:
    """Yield a heading and one line per family, section by section.

    Args:
        device: Where the work is done.
        seconds: Time for each measurement.
        packed: Seeds that are packed together.
        only: Measure families with this in their name; None: all.
        jax: Measure a plain JAX loop too (see ``jax_loop``), on the CPU.
        record: Receives the numbers of each line.

    Raises:
        UserError: If no family has such a name, or JAX is not installed, or not on the CPU.
    """
    if jax:
        if device.type != "cpu":
            raise UserError("--with jax: on the CPU only; add run.device=cpu")
        bench_jax.load()

    families = chosen(only)
    third = _named(only, bench_text.FAMILIES)
    fourth = _named(only, bench_images.FAMILIES)
    counted = _named(only, bench_counts.FAMILIES)
    scored = _named(only, bench_importance.FAMILIES)
    annealed = _named(only, bench_boltzmann.ANNEALINGS)
    gaussian = _named(only, bench_gaussian.FAMILIES)

    if not any((families, gaussian, third, fourth, counted, scored, annealed)):
        texts_and_images = [*bench_counts.FAMILIES, *bench_text.FAMILIES, *bench_images.FAMILIES]
        latent = [*bench_gaussian.FAMILIES, *bench_importance.FAMILIES, *bench_boltzmann.ANNEALINGS]
        every = [*FAMILIES, *latent, *texts_and_images]
        raise UserError(f"--only {only}: in no family's name: {nearest(str(only), every)}")

    first = {k: v for k, v in families.items() if not boltzmann(v[0])}
    second = {k: v for k, v in families.items() if k not in first}
    sections: list[tuple[dict[str, Any], Callable[[], Iterator[str]]]] = [
        (first, lambda: updates_per_second(first, device, seconds, packed, record, jax)),
        (gaussian, lambda: bench_gaussian.run(gaussian, device, seconds, record, jax)),
        (scored, lambda: bench_importance.run(scored, device, seconds, record)),
        (second, lambda: bench_boltzmann.run(second, device, seconds, packed, record)),
        (annealed, lambda: bench_boltzmann.annealing(annealed, device, seconds, record)),
        (counted, lambda: bench_counts.run(counted, device, seconds, record)),
        (third, lambda: bench_text.run(third, device, seconds, record)),
        (fourth, lambda: bench_images.run(fourth, device, seconds, record)),
    ]

    # An empty line separates the sections that are shown.
    between = False
    for chosen_families, section in sections:
        if not chosen_families:
            continue
        if between:
            yield ""
        yield from section()
        between = True


def updates_per_second(
    families: dict[str, Any],
    device: torch.device,
    seconds: float,
    packed: int,
    record: Record,
    jax: bool = False,
) -> Iterator[str]:
    """Yield the section of the models that make hundreds of updates per second.

    They are compared with a plain autograd loop.
    """
    yield f"updates per second and seed, batch {BATCH}, {VISIBLE} visible units"
    yield (
        "plain: an autograd loop over one seed. ENGINE N: N seeds packed; x: all seeds "
        "together, relative to plain"
    )
    yield (
        "kernel: x: relative to the best of compiled and plain too. products: an update's "
        "matrix products alone"
    )

    engines = [("packed", packed)] if device.type == "cuda" else []
    if device.type == "cuda" or choice.compiler_found():
        engines += [("compiled", n) for n in dict.fromkeys((1, packed))]
    if device.type == "cpu" and not kernels.missing():
        engines.append(("kernel", 1))

    heads = [
        "plain",
        *(f"{engine} {n}" for engine, n in engines),
        "products",
        *(["jax"] if jax else []),
    ]
    widths = [26 if head.startswith("kernel") else 18 for head in heads]
    yield f"{'':42}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))

    for name, (model, objective) in families.items():
        plain = make_pack(model, objective, 1, "plain", device)
        found = {"plain": speed(plain, seconds, device)}
        cells = [f"{found['plain']:,.0f}"]
        for engine, n in engines:
            if engine == "kernel" and not choice.has_kernel(plain.objective, plain.optim):
                cells.append("-")
                continue

            rate = speed(make_pack(model, objective, n, engine, device), seconds, device)
            ratios = f"x{rate / found['plain']:.1f}"
            if engine == "kernel":
                best = max(v for k, v in found.items() if k in ("plain", "compiled 1"))
                ratios += f", x{rate / best:.1f}"
            found[f"{engine} {n}"] = rate / n
            cells.append(f"{rate / n:,.0f} ({ratios})")

        if issubclass(models.model_class(model["name"]), BeliefNet):
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
