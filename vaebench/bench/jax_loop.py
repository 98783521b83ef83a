"""The same NVIL step as a user of JAX would write it, for comparison.

It is one ``jit`` around a ``lax.scan``. JAX is an optional extra (``pip install "vaebench[jax]"``)
and takes no part in anything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from vaebench.errors import UserError

HIDDEN = 100
"""Hidden units of a baseline."""

DECAY = 0.8
"""Weight of the old value in the running mean and variance of the signals."""

RATE = 3e-4
"""Learning rate of the generative model and the baselines; the inference network has a fifth of
it."""


def load() -> Any:
    """Load the jax module, on the CPU, in one thread. Raises UserError if it is not installed."""
    # JAX reads these variables when it starts, so they are set before it is imported.
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        import jax
    except ImportError as e:
        raise UserError(f'--with jax: {e}; pip install "vaebench[jax]"') from None
    return jax


def covers(model: dict[str, Any], objective: dict[str, Any]) -> bool:
    """Whether the loop trains this: sigmoid belief nets with factorial posteriors, by NVIL."""
    factorial = model.get("posterior", "factorial") == "factorial"
    return model["name"] == "sbn" and factorial and objective == {"name": "nvil"}


def updates(dims: list[int], data: Any, batch: int, length: int) -> Callable[[int], float]:
    """Return a function that makes ``length`` updates of a net with layers ``dims``, deepest first.

    The updates use random rows of ``data`` (n, d). The function takes the block's number, waits
    until all is done, and returns the mean bound, nats.
    """
    jax = load()
    jnp = jax.numpy
    x_all = jnp.asarray(data, jnp.float32)
    mean = x_all.mean(0)
    sizes = [x_all.shape[1], *reversed(dims)]
    layers = range(len(dims))

    def draw(number, rows, columns):
        return 0.1 * jax.random.normal(jax.random.key(number), (rows, columns))

    # By layer, from the data up: "p" maps layer i + 1 to layer i, "q" layer i to layer i + 1; "c"
    # has the baselines, networks of one hidden layer that read layer i.
    params = {
        "p": [(draw(i, sizes[i + 1], sizes[i]), jnp.zeros(sizes[i])) for i in layers],
        "prior": jnp.zeros(sizes[-1]),
        "q": [(draw(10 + i, sizes[i], sizes[i + 1]), jnp.zeros(sizes[i + 1])) for i in layers],
        "c": [
            (
                draw(20 + i, sizes[i], HIDDEN),
                jnp.zeros(HIDDEN),
                draw(30 + i, HIDDEN, 1),
                jnp.zeros(1),
            )
            for i in layers
        ],
    }
    rates = {"p": RATE, "prior": RATE, "q": RATE / 5, "c": RATE}

    def log_prob(h, logits):
        return (h * logits - jax.nn.softplus(logits)).sum(-1)

    def loss(params, state, x, keys):
        # Sample the inference network layer by layer; ``below`` is the input of the next one. Its
        # first input, and that of the first baseline, is the centred data.
        below = x - mean
        log_q = []
        predicted = []
        z = [x]
        for (w, b), (a, c, v, v0), key in zip(params["q"], params["c"], keys, strict=True):
            logits = below @ w + b
            predicted.append((jnp.tanh(below @ a + c) @ v + v0)[:, 0])
            uniform = jax.random.uniform(key, logits.shape)
            below = (uniform < jax.nn.sigmoid(logits)).astype(jnp.float32)
            log_q.append(log_prob(below, logits))
            z.append(below)

        # Terms of log p from the data up; the deepest layer has its prior's biases as logits.
        log_p = [log_prob(z[i], z[i + 1] @ w + b) for i, (w, b) in enumerate(params["p"])]
        log_p.append(log_prob(z[-1], params["prior"]))

        signals: list[Any] = []
        total = log_p[-1]
        # A layer's signal has the terms of the bound from this layer to the deepest one.
        for p, q in zip(reversed(log_p[:-1]), reversed(log_q), strict=True):
            total = total + p - q
            signals.insert(0, total)

        # Algorithm 1 of Mnih & Gregor 2014: subtract the baselines' predictions, update the running
        # statistics, subtract the new mean, and divide by the new deviation if it is above 1. No
        # gradient passes through the signals. The term s * predicted trains the baselines.
        s = jax.lax.stop_gradient(jnp.stack(signals) - jnp.stack(predicted))
        means = DECAY * state[0] + (1 - DECAY) * s.mean(1)
        variances = DECAY * state[1] + (1 - DECAY) * s.var(1)
        s = (s - means[:, None]) / jnp.maximum(jnp.sqrt(variances), 1)[:, None]
        gain = sum(log_p).sum() + (s * (jnp.stack(log_q) + jnp.stack(predicted))).sum()
        return -gain, ((means, variances), jax.lax.stop_gradient(total).mean())

    def update(carry, key):
        params, state = carry

        # The first key chooses the batch, the others draw the noise of each layer.
        keys = jax.random.split(key, len(dims) + 1)
        x = x_all[jax.random.randint(keys[0], (batch,), 0, len(x_all))]
        gradient, (state, bound) = jax.grad(loss, has_aux=True)(params, state, x, keys[1:])
        descended = {
            k: jax.tree.map(lambda p, g, r=rates[k]: p - r * g, params[k], gradient[k])
            for k in params
        }
        return (descended, state), bound

    block = jax.jit(lambda carry, key: jax.lax.scan(update, carry, jax.random.split(key, length)))
    carry = params, (jnp.zeros(len(dims)), jnp.zeros(len(dims)))

    def advance(number: int) -> float:
        nonlocal carry
        carry, bounds = block(carry, jax.random.key(number))
        return float(bounds.mean())

    return advance
