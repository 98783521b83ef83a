"""log p(words) of a topic model, by particles.

The particles pass over a document from left to right (Wallach et al. 2009). A particle is a topic
for each word so far. At word n every earlier topic is drawn anew, given all others and the words so
far; this leaves p(z_<n | w_<n) as it is. The mean over particles of p(w_n | z_<n) is a factor of
the estimate. Then the particles are resampled by it, and each draws a topic of word n.

Wallach et al. do not resample. With the resampling this is a particle filter with moves, and the
estimate of p(words) has no bias (Del Moral 2004; Buntine 2009 also has a form without bias). So its
logarithm is too low on average, and a perplexity too high, less so with more particles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaebench import kernels
from vaebench.models.lda import LDA
from vaebench.nn import counts
from vaebench.rng import noise, shuffles
from vaebench.work.steps import Box, steps

PART = 50
"""Documents in a group; an evaluation can be stopped after each group."""


@torch.no_grad()
def log_evidence(model: LDA, x: Tensor, particles: int, seed: int) -> Tensor:
    """Return estimates of log p(words) given the mean topics, (n,), nats, float64.

    The documents have the counts ``x`` (n, V). Their words come in a random order. The numbers
    depend on the seed and the position of a document.
    """
    topics = model.mean_topics().double().cpu()

    # Two uniforms of a document make one seed of any number of draws, because its length is not
    # known before; see ``shuffles``. One seed is for the order of the words, one for the particles.
    uniforms = noise.fixed(
        {"order": ("uniform", (len(x), 2)), "particles": ("uniform", (len(x), 2))}, seed, "eval"
    )
    order_seeds, particle_seeds = (
        shuffles.seeds_of(uniforms[name]) for name in ("order", "particles")
    )

    results = Box(log_p=torch.zeros(len(x), dtype=torch.float64))
    groups = torch.arange(len(x)).split(PART)
    for number in steps("words from left to right", len(groups), results):
        documents = groups[number]
        word, document = counts.words_of(x[documents.to(x.device)].cpu())

        # The words come sorted by number. Their order does not matter to the model, but it does to
        # the estimate.
        word = word[shuffles.shuffled(document, order_seeds[documents])]
        first_word = shuffles.first_of(document, len(documents) + 1)
        results.log_p[documents] = of_words(
            word, first_word, topics, model.alpha, particles, particle_seeds[documents]
        )
    return results.log_p.to(x.device)


def of_words(
    word: Tensor, first: Tensor, topics: Tensor, alpha: float, particles: int, seeds: Tensor
) -> Tensor:
    """Return the estimates for documents given as words in a row, (documents,).

    Args:
        word: All words, (n,); document i has the places ``first[i]`` to ``first[i + 1]``.
        first: The first place of each document and the end, (documents + 1,).
        topics: p(word | topic), (topics, V), float64.
        alpha: Parameter of the Dirichlet prior of a document's topics.
        particles: Particles of each document.
        seeds: Seed of each document, (documents,) int64.
    """
    word_topics = topics.mT.contiguous()
    if kernels.allowed():
        from vaebench.kernels import topics as loops

        log_p = torch.zeros(len(seeds), dtype=torch.float64)
        arrays = [v.numpy() for v in (word, first, word_topics)]
        loops.log_evidence(*arrays, alpha, particles, seeds.numpy(), log_p.numpy())
        return log_p

    documents = zip(word.tensor_split(first[1:-1]), seeds, strict=True)
    return torch.stack(
        [
            _of_document(words_of_one, word_topics, alpha, particles, seed)
            for words_of_one, seed in documents
        ]
    )


def _of_document(
    word: Tensor, topics: Tensor, alpha: float, particles: int, seed: Tensor
) -> Tensor:
    """Return the estimate for one document, (), with ``topics`` (V, topics)."""
    length = len(word)
    topic_total = topics.shape[1]

    # A stream of uniforms for each particle, and one more for the resampling.
    streams = shuffles.hashed(seed, torch.arange(particles))
    choice = shuffles.hashed(seed, torch.tensor(particles))

    # z (particles, length) are the topics; topic_counts (particles, topics) say how often each
    # occurs among them. A draw has a number that does not depend on what was drawn before:
    # i * length + j for the topic of word j when the particles have come to word i.
    z = torch.zeros(particles, length, dtype=torch.int64)
    topic_counts = torch.zeros(particles, topic_total, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    ones = torch.ones(particles, 1, dtype=torch.float64)

    for i in range(length):
        # Draw every earlier topic anew: p(z_j | other topics, w_j) is proportional to (count
        # without j + alpha) p(w_j | topic). It costs the square of the length.
        for j in range(i):
            topic_counts.scatter_add_(1, z[:, j : j + 1], -ones)
            z[:, j] = _drawn((topic_counts + alpha) * topics[word[j]], streams, i * length + j)
            topic_counts.scatter_add_(1, z[:, j : j + 1], ones)

        # p(w_i | z_<i) of every particle, up to the denominator i + topics * alpha.
        probability = (topic_counts + alpha) @ topics[word[i]]
        total = total + torch.log(probability.mean() / (i + topic_total * alpha))

        # Systematic resampling of the particles: evenly spaced points with one common offset.
        points = (
            torch.arange(particles) + shuffles.uniforms(choice, torch.tensor(i)).double()
        ) / particles
        running = probability.cumsum(0)
        copied = torch.searchsorted(running, points * running[-1], right=True).clamp(
            max=particles - 1
        )
        z = z[copied]
        topic_counts = topic_counts[copied]

        # A topic for word i itself, given the resampled past.
        z[:, i] = _drawn((topic_counts + alpha) * topics[word[i]], streams, i * length + i)
        topic_counts.scatter_add_(1, z[:, i : i + 1], ones)
    return total


def _drawn(weights: Tensor, streams: Tensor, place: int) -> Tensor:
    """Draw a topic of each particle, (particles,), by ``weights`` (particles, topics)."""
    u = shuffles.uniforms(streams, torch.tensor(place)).double().unsqueeze(-1)
    running = weights.cumsum(-1)
    return (
        torch.searchsorted(running, u * running[:, -1:], right=True)
        .squeeze(-1)
        .clamp(max=weights.shape[-1] - 1)
    )
