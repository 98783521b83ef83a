"""Particles of topics that pass over documents from left to right.

The plain code is ``estimators/left_to_right.py``. In a document of L words each particle draws a
topic L^2 / 2 times, one draw after the other.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, uint64

from vaebench.kernels.compiler import kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)


@kernel
def mixed(v):
    """Return ``v`` after one mixing of SplitMix64."""
    v = (v ^ (v >> uint64(30))) * FIRST
    v = (v ^ (v >> uint64(27))) * SECOND
    return v ^ (v >> uint64(31))


@kernel
def hashed(seed, place):
    """Return what ``rng.shuffles.hashed`` returns."""
    return mixed(mixed(uint64(seed)) + (uint64(place) + uint64(1)) * GOLDEN)


@kernel
def uniform(seed, place):
    """Return what ``rng.shuffles.uniforms`` returns."""
    return (float64(hashed(seed, place) >> uint64(41)) + 0.5) * 2.0**-23


@kernel
def chosen(weights, u):
    """Return the first topic at which the running sum of the weights exceeds ``u`` of their sum."""
    total = 0.0
    for k in range(len(weights)):
        total += weights[k]

    threshold = u * total
    running = 0.0
    for k in range(len(weights)):
        running += weights[k]
        if running > threshold:
            return k

    # Rounding may leave the running sum at the threshold.
    return len(weights) - 1


@kernel
def log_evidence(words, first, topics, alpha, particles, seeds, out):
    """Write the estimate of log p of every document to ``out`` (n,), nats.

    ``words`` has the words of all documents in a row, those of document i from ``first[i]`` to
    ``first[i + 1]``. ``topics`` (V, topics) holds p(word | topic). ``seeds`` has a seed for each
    document, int64.

    Reference:
        Wallach et al. 2009, with resampling; see ``estimators/left_to_right.py``.
    """
    # z (particles, words) has the topic of each word, n (particles, topics) how often each topic
    # occurs among the words so far. The document's mixture of topics is integrated out: given the
    # other topics, topic k has probability (n_k + alpha) / (sum n + count alpha).
    count = topics.shape[1]
    weights = np.empty(count)
    probability = np.empty(particles)
    for d in range(len(seeds)):
        document = words[first[d] : first[d + 1]]
        length = len(document)
        z = np.zeros((particles, length), np.int64)
        n = np.zeros((particles, count))
        old_z = np.zeros((particles, length), np.int64)
        old_n = np.zeros((particles, count))

        total = 0.0
        for i in range(length):
            word = document[i]
            for r in range(particles):
                # Each particle has a stream of uniforms of its own. The number for word j at step i
                # has the place i length + j in it, as in the plain code.
                stream = hashed(seeds[d], r)
                # Draw the topic of each earlier word anew, given those of the others before word i.
                for j in range(i):
                    n[r, z[r, j]] -= 1.0
                    earlier = document[j]
                    for k in range(count):
                        weights[k] = (n[r, k] + alpha) * topics[earlier, k]
                    z[r, j] = chosen(weights, uniform(stream, int64(i * length + j)))
                    n[r, z[r, j]] += 1.0

                # p(word i | its particle's earlier topics), without the denominator that is common
                # to all particles.
                p = 0.0
                for k in range(count):
                    p += (n[r, k] + alpha) * topics[word, k]
                probability[r] = p

            # The factor of the estimate that belongs to word i is the mean over particles.
            mass = 0.0
            for r in range(particles):
                mass += probability[r]
            total += np.log(mass / particles / (i + count * alpha))

            # Resample the particles by how well they predicted the word. The resampling is
            # systematic: one uniform shifts a comb of equal distances over their probabilities. Its
            # stream is the one behind those of the particles.
            shift = uniform(hashed(seeds[d], particles), i)
            old_z[:] = z
            old_n[:] = n
            running = probability[0]
            source = 0
            for r in range(particles):
                while running <= (r + shift) / particles * mass and source < particles - 1:
                    source += 1
                    running += probability[source]
                z[r] = old_z[source]
                n[r] = old_n[source]

            # Each particle draws a topic of word i itself.
            for r in range(particles):
                for k in range(count):
                    weights[k] = (n[r, k] + alpha) * topics[word, k]
                z[r, i] = chosen(weights, uniform(hashed(seeds[d], r), int64(i * length + i)))
                n[r, z[r, i]] += 1.0
        out[d] = total
