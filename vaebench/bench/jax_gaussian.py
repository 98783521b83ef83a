"""Updates of models with Gaussian latents as users of JAX would write them, one ``jit`` around a ``lax.scan``.

The same as ``gaussian_loops`` has for PyTorch. JAX is an optional extra, see ``jax_loop``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from vaebench.bench import jax_loop
from vaebench.bench.gaussian_loops import Loss, depth


def loss_of(model: str, nonlinearity: str) -> Loss:
    """The loss of ``vae``, ``iwae`` or ``dlgm``."""
    jax = jax_loop.load()
    jnp = jax.numpy
    act = {"tanh": jnp.tanh, "relu": jax.nn.relu}[nonlinearity]

    def head(p, h, name):
        return h @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def hidden(p, x, prefix):
        for i in range(depth(p, prefix)):
            x = act(head(p, x, f"{prefix}.hidden.{i}"))
        return x

    def nll(p, z, x, prefix):
        logits = head(p, hidden(p, z, prefix), f"{prefix}.heads.logits")
        return (jax.nn.softplus(logits) - x * logits).sum(-1)

    def vae(p, x, normal):
        h = hidden(p, x, "q")
        mean, log_var = head(p, h, "q.heads.mean"), head(p, h, "q.heads.log_var")
        z = mean + jnp.exp(0.5 * log_var) * normal
        kl = 0.5 * (mean**2 + jnp.exp(log_var) - 1 - log_var).sum(-1)
        return (nll(p, z, x, "p").mean(0) + kl).mean()

    def iwae(p, x, normal):
        h = hidden(p, x, "q")
        mean, log_var = head(p, h, "q.heads.mean"), head(p, h, "q.heads.log_var")
        z = mean + jnp.exp(0.5 * log_var) * normal
        log_ratio = 0.5 * (normal**2 + log_var - z**2).sum(-1)
        log_w = log_ratio - nll(p, z, x, "p")
        return -(jax.nn.logsumexp(log_w, 0) - math.log(len(z))).mean()

    def dlgm(p, x, normal):
        h = hidden(p, x, "q")
        mean, log_d = head(p, h, "q.heads.mean1"), head(p, h, "q.heads.log_d1")
        inverse = jnp.exp(-log_d)
        z = normal * jnp.exp(-0.5 * log_d)
        trace, log_det = inverse.sum(-1), -log_d.sum(-1)
        if "q.heads.u1.weight" in p:
            u = head(p, h, "q.heads.u1")
            s = (u**2 * inverse).sum(-1, keepdims=True)
            eta = 1 / (1 + s)
            z = z - eta / (1 + jnp.sqrt(eta)) * (u * z).sum(-1, keepdims=True) * u * inverse
            trace = trace - (eta * (u * inverse) ** 2).sum(-1)
            log_det = log_det - jnp.log1p(s[..., 0])
        kl = 0.5 * ((mean**2).sum(-1) + trace - log_det - mean.shape[-1])
        latent = (mean + z) @ p["p.noise.0.weight"].T
        return (nll(p, latent, x, "p.visible").mean(0) + kl).mean()

    return {"vae": vae, "iwae": iwae, "dlgm": dlgm}[model]


def updates(
    loss: Loss,
    params: dict[str, Tensor],
    optim: dict[str, Any],
    data: Tensor,
    batch: int,
    noise: tuple[int, int],
    length: int,
) -> Callable[[int], float]:
    """A function that makes ``length`` updates, one ``jit`` around a ``lax.scan``, and gives their mean loss, nats."""
    jax = jax_loop.load()
    jnp = jax.numpy
    rows_of = jnp.asarray(data.numpy())
    start = {k: jnp.asarray(v.detach().numpy()) for k, v in params.items()}
    zeros = jax.tree.map(jnp.zeros_like, start)
    rate, k, n = optim["rate"], *noise

    def adam(p, g, moments, t):
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], g)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], g)
        scale = jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        root = jnp.sqrt(1 - 0.999**t) * 1e-8
        p = jax.tree.map(lambda p, m, v: p - rate * scale * m / (jnp.sqrt(v) + root), p, first, second)
        return p, (first, second)

    def adagrad(p, g, squares, t):
        squares = jax.tree.map(lambda s, g: s + g * g, squares, g)
        p = jax.tree.map(lambda p, g, s: p - rate * g / (jnp.sqrt(s) + 1e-10), p, g, squares)
        return p, squares

    descend = {"adam": adam, "adagrad": adagrad}[optim["name"]]

    def update(carry, key):
        p, state, t = carry
        chosen, drawn = jax.random.split(key)
        x = rows_of[jax.random.randint(chosen, (batch,), 0, len(rows_of))].astype(jnp.float32)
        value, gradient = jax.value_and_grad(loss)(p, x, jax.random.normal(drawn, (k, batch, n)))
        p, state = descend(p, gradient, state, t + 1)
        return (p, state, t + 1), value

    block = jax.jit(lambda carry, key: jax.lax.scan(update, carry, jax.random.split(key, length)))
    carry = start, (zeros, zeros) if optim["name"] == "adam" else zeros, jnp.zeros(())

    def advance(number: int) -> float:
        nonlocal carry
        carry, losses = block(carry, jax.random.key(number))
        return float(losses.mean())

    return advance
