"""Updates of models with Gaussian latents as users of JAX would write them, for comparison.

This is ``gaussian_loops`` in JAX, as one ``jit`` around a ``lax.scan``. JAX is an optional extra,
see ``jax_loop``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vaebench.bench import jax_loop
from vaebench.bench.gaussian_losses import Library, Loss


def library() -> Library:
    """Return what the losses need from JAX. Raises UserError if JAX is not installed."""
    jax = jax_loop.load()

    def linear(x, weight, bias):
        product = x @ weight.T
        return product if bias is None else product + bias

    return Library(
        elementwise=jax.numpy,
        nonlinearities={"tanh": jax.numpy.tanh, "relu": jax.nn.relu},
        linear=linear,
        logsumexp=lambda v: jax.nn.logsumexp(v, 0),
        cross_entropy=lambda logits, x: jax.nn.softplus(logits) - x * logits,
    )


def updates(
    loss: Loss,
    params: dict[str, Tensor],
    optim: dict[str, Any],
    data: Tensor,
    batch: int,
    noise: tuple[int, int],
    length: int,
) -> Callable[[int], float]:
    """Return a function that makes ``length`` updates and gives their mean loss, nats.

    It is one ``jit`` around a ``lax.scan``.
    """
    jax = jax_loop.load()
    jnp = jax.numpy
    rows_of = jnp.asarray(data.numpy())
    start = {k: jnp.asarray(v.detach().numpy()) for k, v in params.items()}
    zeros = jax.tree.map(jnp.zeros_like, start)
    rate, samples, latents = optim["rate"], *noise

    # Adam (Kingma & Ba 2015) with both bias corrections in the step: with v^ = v / (1 - b2^t),
    # sqrt(v^) + 1e-8 is (sqrt(v) + 1e-8 sqrt(1 - b2^t)) / sqrt(1 - b2^t).
    def adam(p, g, moments, t):
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], g)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], g)
        scale = jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        root = jnp.sqrt(1 - 0.999**t) * 1e-8
        p = jax.tree.map(
            lambda p, m, v: p - rate * scale * m / (jnp.sqrt(v) + root), p, first, second
        )
        return p, (first, second)

    def adagrad(p, g, squares, t):
        squares = jax.tree.map(lambda s, g: s + g * g, squares, g)
        p = jax.tree.map(lambda p, g, s: p - rate * g / (jnp.sqrt(s) + 1e-10), p, g, squares)
        return p, squares

    descend = {"adam": adam, "adagrad": adagrad}[optim["name"]]

    def update(carry, key):
        p, state, t = carry
        batch_key, noise_key = jax.random.split(key)
        x = rows_of[jax.random.randint(batch_key, (batch,), 0, len(rows_of))].astype(jnp.float32)
        value, gradient = jax.value_and_grad(loss)(
            p, x, jax.random.normal(noise_key, (samples, batch, latents))
        )
        p, state = descend(p, gradient, state, t + 1)
        return (p, state, t + 1), value

    # The carry of the scan is (parameters, state of the optimiser, updates so far). Adam's state is
    # a pair of moments, AdaGrad's a sum of squares.
    block = jax.jit(lambda carry, key: jax.lax.scan(update, carry, jax.random.split(key, length)))
    carry = start, (zeros, zeros) if optim["name"] == "adam" else zeros, jnp.zeros(())

    def advance(number: int) -> float:
        nonlocal carry
        carry, losses = block(carry, jax.random.key(number))
        return float(losses.mean())

    return advance
