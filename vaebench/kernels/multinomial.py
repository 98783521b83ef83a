"""Documents as lists of tokens, a row of logits at a time.

Log-probabilities, the differences count - expectation, from which gradients are made, and samples.
Rows are padded to whole vectors. The logits of the padding are -1e30: such words do not occur and
cost nothing.
"""

from __future__ import annotations

import math

from numba import float32

from vaebench.kernels.compiler import kernel
from vaebench.kernels.vectors import (
    LANES,
    add,
    choose,
    exp_minus_abs,
    highest,
    less,
    load,
    mul,
    real,
    splat,
    store,
    sub,
    total,
)


@kernel
def exponentiate(a, at, words):
    """Replace the ``words`` logits at ``a[at:]`` by e^(logit - highest), and return the highest."""
    largest = load(a, at)
    for c in range(LANES, words, LANES):
        logits = load(a, at + c)
        largest = choose(less(largest, logits), logits, largest)

    # logit - highest is never positive, so it is -|.|, and nothing overflows.
    top = highest(largest)
    for c in range(0, words, LANES):
        store(a, at + c, exp_minus_abs(sub(load(a, at + c), splat(top))))
    return top


@kernel
def log_prob_tokens(a, at, words, ints, begin, end, rate):
    """Return the log-probability, nats, of the document with the tokens in ``ints[begin:end]``.

    It is that of the tokens in one given order. The logits at ``a[at:]`` become ``rate`` (count -
    tokens x probability).
    """
    # log p = sum over tokens of their logits, minus tokens x (highest + log sum e^(l - highest)).
    # The logits of the tokens must be summed before they are overwritten.
    chosen = 0.0
    for k in range(begin, end):
        chosen += a[at + ints[k]]

    top = exponentiate(a, at, words)
    mass = splat(float32(0))
    for c in range(0, words, LANES):
        mass = add(mass, load(a, at + c))
    whole = total(mass)

    # The gradient: -tokens x probability for every word, and 1 for each token that is listed.
    tokens = end - begin
    share = splat(float32(-rate * tokens / whole))
    for c in range(0, words, LANES):
        store(a, at + c, mul(share, load(a, at + c)))
    for k in range(begin, end):
        a[at + ints[k]] += float32(rate)
    return chosen - tokens * (top + math.log(whole))


@kernel
def sample_tokens(a, at, words, mass, noise, noise_at, tokens, ints, list_at):
    """Draw ``tokens`` tokens from softmax of the logits at ``a[at:]``, and list them.

    A token is the first word up to which the probability exceeds its number of the noise, as in the
    plain code. The logits are overwritten. ``mass`` (words,) float64 is room. ``noise_at`` may lie
    before the beginning of the array ``noise``. Returns the end of the list.
    """
    # The running sum, unnormalised: the noise is multiplied by its end instead. In float64, as
    # vocabularies are long.
    exponentiate(a, at, words)
    whole = 0.0
    for w in range(words):
        whole += a[at + w]
        mass[w] = whole

    # The first word whose running sum exceeds the number, by bisection.
    for k in range(tokens):
        sought = real(noise, noise_at + k) * whole
        low = 0
        high = words - 1
        while low < high:
            middle = (low + high) // 2
            if mass[middle] > sought:
                high = middle
            else:
                low = middle + 1
        ints[list_at + k] = low
    return list_at + tokens
