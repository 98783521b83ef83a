"""How fast training is: seed-updates per second of each model family by each engine, all measured in one run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from vaebench import fast, models, noise, objectives, optim

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
"""What is measured: every registered model and objective is among them."""

BATCH, VISIBLE, CASES = 20, 784, 5000


def make_pack(model: dict, objective: dict, seeds: int, engine: str, device: torch.device) -> fast.Pack:
    """A pack of ``seeds`` seeds on random binary data of MNIST's shape and density."""
    pixels = np.random.default_rng(0).random((CASES, VISIBLE)) < 0.13
    rule = objectives.build(objective, models.build(model, np.full(VISIBLE, 0.13))).to(device)
    descent = optim.build({"name": "sgd", "rate": 3e-4})
    params = []
    for seed in range(seeds):
        models.start(rule.cpu(), {"init": "normal", "init_scale": 0.1}, seed)
        params.append({k: v.detach().clone().to(device) for k, v in rule.named_parameters()})
    rule.to(device)
    states = [{k: v.to(device) for k, v in rule.state(s, CASES).items()} for s in range(seeds)]
    data = torch.from_numpy(pixels.astype(np.uint8)).to(device)
    return fast.Pack(rule, descent, params, states, [descent.state(p) for p in params], data, engine=engine)


def speed(pack: fast.Pack, seconds: float, device: torch.device) -> float:
    """Seed-updates per second, drawing the noise included; compilation and the first block are not counted."""
    seeds, length = list(range(pack.size)), pack.objective.block or noise.BLOCK

    def block(number: int) -> None:
        draws = noise.update_block(pack.objective.noise(BATCH), seeds, number, device, length)
        pack.advance(noise.order_block(CASES, BATCH, "replacement", seeds, number, length).to(device), draws, None)
        if device.type == "cuda":
            torch.cuda.synchronize()

    block(0)
    began, blocks = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        blocks += 1
        block(blocks)
    return blocks * length * pack.size / (time.perf_counter() - began)


def run(device: torch.device, seconds: float, packed: int) -> Iterator[str]:
    """One line per family."""
    engines = [("packed", packed)] if device.type == "cuda" else []
    if device.type == "cuda" or fast.compiler_found():
        engines += [("compiled", 1), ("compiled", packed)]
    heads = ["plain", *(f"{engine} {n}" for engine, n in engines)]
    yield f"{'':42}" + "".join(f"{h:>18}" for h in heads)
    for name, (model, objective) in FAMILIES.items():
        plain = speed(make_pack(model, objective, 1, "plain", torch.device(device)), seconds, device)
        cells = [f"{plain:,.0f}"]
        for engine, n in engines:
            rate = speed(make_pack(model, objective, n, engine, device), seconds, device)
            cells.append(f"{rate / n:,.0f} (x{rate / plain:.1f})")
        yield f"{name:42}" + "".join(f"{c:>18}" for c in cells)
