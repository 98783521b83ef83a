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

    wanted = u * total
    running = 0.0
    for k in range(len(weights)):
        running += weights[k]
        if running > wanted:
            return k
    return len(weights) - 1


@kernel
def log_evidence(words, first, topics, alpha, particles, seeds, out):
    """Write the estimate of log p of every document to ``out`` (n,), nats.

    ``words`` has the words of all documents in a row, those of document i from ``first[i]`` to
    ``first[i + 1]``. ``topics`` (V, topics) holds p(word | topic). ``seeds`` has a seed for each
    document, int64.
    """
    count = topics.shape[1]
    weights = np.empty(count)
    probability = np.empty(particles)
    for d in range(len(seeds)):
        own = words[first[d] : first[d + 1]]
        length = len(own)
        z = np.zeros((particles, length), np.int64)
        n = np.zeros((particles, count))
        old_z = np.zeros((particles, length), np.int64)
        old_n = np.zeros((particles, count))

        total = 0.0
        for i in range(length):
            word = own[i]
            for r in range(particles):
                stream = hashed(seeds[d], r)
                # Draw the topic of each earlier word anew, given those of the others before word i.
                for j in range(i):
                    n[r, z[r, j]] -= 1.0
                    earlier = own[j]
                    for k in range(count):
                        weights[k] = (n[r, k] + alpha) * topics[earlier, k]
                    z[r, j] = chosen(weights, uniform(stream, int64(i * length + j)))
                    n[r, z[r, j]] += 1.0

                p = 0.0
                for k in range(count):
                    p += (n[r, k] + alpha) * topics[word, k]
                probability[r] = p

            mean = 0.0
            for r in range(particles):
                mean += probability[r]
            total += np.log(mean / particles / (i + count * alpha))

            # Resample the particles by how well they predicted the word.
            shift = uniform(hashed(seeds[d], particles), i)
            old_z[:] = z
            old_n[:] = n
            running = probability[0]
            source = 0
            for r in range(particles):
                while running <= (r + shift) / particles * mean and source < particles - 1:
                    source += 1
                    running += probability[source]
                z[r] = old_z[source]
                n[r] = old_n[source]

            for r in range(particles):
                for k in range(count):
                    weights[k] = (n[r, k] + alpha) * topics[word, k]
                z[r, i] = chosen(weights, uniform(hashed(seeds[d], r), int64(i * length + i)))
                n[r, z[r, i]] += 1.0
        out[d] = total
