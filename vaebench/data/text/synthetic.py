"""The synthetic sequences of He et al. (2019, Section 3 and Appendix B.1).

An LSTM generates them from a z of two dimensions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vaebench.data.text.corpus import TextLoader

if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.splits import Splits

log = logging.getLogger(__name__)

SEED = 19950927
SEQUENCES = {"train": 16_000, "valid": 2_000, "test": 2_000}
LENGTH = 10
WORDS = 1_000
HIDDEN = 100
EMBEDDING = 100
CENTRES = ((2.0, 2.0), (2.0, -2.0), (-2.0, 2.0), (-2.0, -2.0))
"""Means of the four normal distributions, of unit variance and equal weight, that z comes from."""
SCALE = 1.0
SCALE_Z = 5.0
"""Parameters are uniform between -SCALE and SCALE; for those that lead from z straight to
the logits it is SCALE_Z."""
HASH = "ea797c75542d1ed9de2edfba744c9b8d04ef514fe9633eb6e53f22b8897206db"
"""SHA-256 that the splits should have on every machine."""

_BLOCK = 2_000


class Parameters(NamedTuple):
    """Parameters of the LSTM, float64; the gates are in the order input, forget, cell, output.

    Shapes: embedding (V, E), from_input (4H, E + 2), from_hidden (4H, H), two biases (4H,), from_z
    (H, 2), to_words (V, H), z_to_words (V, 2).
    """

    embedding: np.ndarray
    from_input: np.ndarray
    from_hidden: np.ndarray
    bias_input: np.ndarray
    bias_hidden: np.ndarray
    from_z: np.ndarray
    to_words: np.ndarray
    z_to_words: np.ndarray


class SyntheticText(TextLoader):
    """16,000/2,000/2,000 sequences of 10 words, 1,004 entries; the words are the numbers 0 to 999.

    The seed is the paper's, but the random numbers are not: they are those of NumPy's RandomState,
    whose stream is frozen, with arithmetic in float64. Two machines differ only if a uniform number
    lies within their rounding errors, about 1e-12, of a boundary between two words. For the 180,000
    draws together the probability is about 1e-6. The hash of the sequences is known, and a
    different one is reported. Making them takes seconds, so they are kept on disk.
    """

    name = "synthetic_text"
    keep = True
    documents = SEQUENCES
    entries = WORDS + 4

    def read(self, files: dict[str, Path]) -> dict[str, Iterable[list[str]]]:
        tokens, _ = generate()
        documents = [list(map(str, row)) for row in tokens.tolist()]
        parts: dict[str, Iterable[list[str]]] = {}
        start = 0
        # The splits are consecutive sequences, in the order in which they were generated.
        for split, n in SEQUENCES.items():
            parts[split] = documents[start : start + n]
            start += n
        return parts

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        made = super().splits(arrays, held_out, held_out_seed)
        if made.hash != HASH:
            log.warning(
                "%s: this machine's arithmetic gave other sequences: expected %s, found %s; "
                "numbers made with them compare only with their like",
                self.name, HASH[:16], made.hash[:16],
            )  # fmt: skip
        return made


def generate(count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Generate all 20,000 sequences, or the first ``count``.

    Returns:
        Tokens (n, 10) int64 from 0, and the z (n, 2) that they were made from.
    """
    import numpy as np

    noise = np.random.RandomState(SEED)
    parameters = draw_parameters(noise, WORDS, HIDDEN, EMBEDDING)

    # Noise is drawn for all sequences even if ``count`` are wanted, so that these are the first
    # ones of the data set.
    n = sum(SEQUENCES.values())
    z = draw_z(noise, n)
    uniform = noise.random_sample((n, LENGTH))
    return sample(parameters, z[:count], uniform[:count]), z[:count]


def draw_parameters(
    noise: np.random.RandomState, words: int, hidden: int, embedding: int
) -> Parameters:
    """Draw the parameters of the LSTM.

    They are uniform between -1 and 1, embeddings and biases too, but between -5 and 5 from z to the
    logits.
    """
    # In the order of the fields of ``Parameters``, which is also the order of the draws.
    shapes = ((words, embedding), (4 * hidden, embedding + 2), (4 * hidden, hidden),
              (4 * hidden,), (4 * hidden,), (hidden, 2), (words, hidden), (words, 2))  # fmt: skip
    scales = (SCALE,) * (len(shapes) - 1) + (SCALE_Z,)
    drawn = [2 * noise.random_sample(shape) - 1 for shape in shapes]  # exact in float64
    return Parameters._make(scale * p for scale, p in zip(scales, drawn, strict=True))


def draw_z(noise: np.random.RandomState, n: int) -> np.ndarray:
    """Draw n points (n, 2) from the mixture."""
    import numpy as np

    # First which normal distribution each point is from, then its deviation from the mean.
    centre = np.array(CENTRES)[(len(CENTRES) * noise.random_sample(n)).astype(int)]
    return centre + noise.standard_normal((n, 2))


def sample(p: Parameters, z: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Draw sequences (n, length) int64, given z (n, 2).

    The distribution functions are inverted at ``uniform`` (n, length). The first token is uniform
    over the words. Before the first step c = A z and h = tanh(c). Each step reads the last token's
    embedding and z, and the next token has the logits U h + Z z (Appendix B.1).
    """
    import numpy as np

    blocks = range(0, len(z), _BLOCK)
    return np.concatenate([_sample(p, z[i : i + _BLOCK], uniform[i : i + _BLOCK]) for i in blocks])


def _sample(p: Parameters, z: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    import numpy as np

    words, embedding = p.embedding.shape
    # What does not depend on h is computed once: the gates' part of every word, (V, 4H), and of
    # every z, (n, 4H), and the logits' part of z, (n, V).
    by_token = p.embedding @ p.from_input[:, :embedding].T
    by_z = z @ p.from_input[:, embedding:].T + (p.bias_input + p.bias_hidden)
    logits_z = z @ p.z_to_words.T

    c = z @ p.from_z.T
    h = np.tanh(c)

    # The first token is uniform: the assignment rounds down to a whole number.
    tokens = np.empty(uniform.shape, dtype=np.int64)
    tokens[:, 0] = words * uniform[:, 0]

    for t in range(1, uniform.shape[1]):
        gates = by_token[tokens[:, t - 1]] + by_z + h @ p.from_hidden.T
        # The gates of an LSTM: input, forget, cell and output, (n, H) each.
        i, f, g, o = np.split(gates, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        tokens[:, t] = _inverted(h @ p.to_words.T + logits_z, uniform[:, t])
    return tokens


def _inverted(logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return the words (n,) at which the distribution functions pass ``uniform`` (n,).

    The distributions are softmax(logits), with logits (n, V).
    """
    import numpy as np

    # Masses are not normalised; ``uniform`` is multiplied by the total instead.
    mass = np.cumsum(np.exp(logits - logits.max(axis=1, keepdims=True)), axis=1)
    # As u <= 1 - 2^-53, even the rounded u * total is less than the total: the last word is never
    # passed.
    return (mass <= (uniform * mass[:, -1])[:, None]).sum(axis=1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    import numpy as np

    return 0.5 * (1 + np.tanh(0.5 * x))
