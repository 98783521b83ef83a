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
    updates = pack.objective.block or noise.BLOCK
    work = partial(advance, pack, length=updates, batch=BATCH)
    return updates * pack.size * _per_second(work, seconds, device)


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
        shapes_of_units = [v.shape for v in (units.weight, units.autoregressive) if v is not None]
        shapes += [(inputs, outputs, 2 if sleep else 1, 1) for outputs, inputs in shapes_of_units]
    for net in getattr(rule, "baseline", None) or []:
        outputs, inputs = net.hidden.weight.shape
        shapes.append((inputs, outputs, 1, 1))

    # (left, right, result) of each product. A layer computes x weight', and its weights' gradient
    # is deltas' x.
    filled = partial(torch.full, fill_value=0.5, device=device)
    operands = []
    for inputs, outputs, forwards, backwards in shapes:
        x = filled((BATCH, inputs))
        weights = filled((outputs, inputs))
        deltas = filled((BATCH, outputs))
        gradient = torch.empty_like(weights)
        operands += [(x, weights.mT, deltas.clone())] * forwards + [
            (deltas.mT, x, gradient)
        ] * backwards

    # A block has as many updates as the noise that is drawn at once.
    def products(number: int) -> None:
        for _ in range(noise.BLOCK):
            for a, b, out in operands:
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
    record: Record = lambda _: None,
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
    text_families = _named(only, bench_text.FAMILIES)
    image_families = _named(only, bench_images.FAMILIES)
    count_families = _named(only, bench_counts.FAMILIES)
    scored_families = _named(only, bench_importance.FAMILIES)
    annealings = _named(only, bench_boltzmann.ANNEALINGS)
    gaussian_families = _named(only, bench_gaussian.FAMILIES)

    if not any(
        (
            families,
            gaussian_families,
            text_families,
            image_families,
            count_families,
            scored_families,
            annealings,
        )
    ):
        names_of_data = [*bench_counts.FAMILIES, *bench_text.FAMILIES, *bench_images.FAMILIES]
        names_of_latents = [
            *bench_gaussian.FAMILIES,
            *bench_importance.FAMILIES,
            *bench_boltzmann.ANNEALINGS,
        ]
        all_names = [*FAMILIES, *names_of_latents, *names_of_data]
        raise UserError(f"--only {only}: in no family's name: {nearest(str(only), all_names)}")

    # Models without a Boltzmann machine are shown in updates per second. An update of the others
    # takes longer: they have a section of their own, in milliseconds.
    fast_families = {k: v for k, v in families.items() if not boltzmann(v[0])}
    boltzmann_families = {k: v for k, v in families.items() if k not in fast_families}
    sections: list[tuple[dict[str, Any], Callable[[], Iterator[str]]]] = [
        (
            fast_families,
            lambda: updates_per_second(fast_families, device, seconds, packed, record, jax),
        ),
        (
            gaussian_families,
            lambda: bench_gaussian.run(gaussian_families, device, seconds, record, jax),
        ),
        (scored_families, lambda: bench_importance.run(scored_families, device, seconds, record)),
        (
            boltzmann_families,
            lambda: bench_boltzmann.run(boltzmann_families, device, seconds, packed, record),
        ),
        (annealings, lambda: bench_boltzmann.annealing(annealings, device, seconds, record)),
        (count_families, lambda: bench_counts.run(count_families, device, seconds, record)),
        (text_families, lambda: bench_text.run(text_families, device, seconds, record)),
        (image_families, lambda: bench_images.run(image_families, device, seconds, record)),
    ]

    # An empty line separates the sections that are shown: those with families.
    shown_before = False
    for chosen_families, section in sections:
        if not chosen_families:
            continue
        if shown_before:
            yield ""
        yield from section()
        shown_before = True


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

    # (engine, seeds packed together). The kernels come last: they are compared with the best of
    # those before.
    engines = [("packed", packed)] if device.type == "cuda" else []
    if device.type == "cuda" or choice.compiler_found():
        engines += [("compiled", seeds) for seeds in dict.fromkeys((1, packed))]
    if device.type == "cpu" and not kernels.missing():
        engines.append(("kernel", 1))

    heads = [
        "plain",
        *(f"{engine} {seeds}" for engine, seeds in engines),
        "products",
        *(["jax"] if jax else []),
    ]
    widths = [26 if head.startswith("kernel") else 18 for head in heads]
    yield f"{'':42}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))

    for name, (model, objective) in families.items():
        plain = make_pack(model, objective, 1, "plain", device)

        # Rates are shown per seed, ratios for all seeds of a pack together.
        numbers = {"plain": speed(plain, seconds, device)}
        cells = [f"{numbers['plain']:,.0f}"]
        for engine, seeds in engines:
            if engine == "kernel" and not choice.has_kernel(plain.objective, plain.optim):
                cells.append("-")
                continue

            rate = speed(make_pack(model, objective, seeds, engine, device), seconds, device)
            ratios = f"x{rate / numbers['plain']:.1f}"
            if engine == "kernel":
                best = max(v for k, v in numbers.items() if k in ("plain", "compiled 1"))
                ratios += f", x{rate / best:.1f}"
            numbers[f"{engine} {seeds}"] = rate / seeds
            cells.append(f"{rate / seeds:,.0f} ({ratios})")

        if issubclass(models.model_class(model["name"]), BeliefNet):
            numbers["products"] = floor(make_pack(model, objective, 1, "plain", device), seconds)
        cells.append(f"{numbers['products']:,.0f}" if "products" in numbers else "-")

        # JAX trains on the same random images.
        if jax and bench_jax.covers(model, objective):
            pixels = make_pack(model, objective, 1, "plain", device).data.numpy()
            loop = bench_jax.updates(model["dims"], pixels, BATCH, noise.BLOCK)
            numbers["jax"] = noise.BLOCK * _per_second(loop, seconds, device)
        if jax:
            cells.append(f"{numbers['jax']:,.0f}" if "jax" in numbers else "-")

        record({"family": name, "unit": "updates per second and seed", **numbers})
        yield f"{name:42}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))
