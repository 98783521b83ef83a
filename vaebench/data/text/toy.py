"""Sentences of a small grammar, made here.

Nothing is downloaded, and they are small enough for tests and first steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from vaebench.data.text.corpus import TextLoader

SEED = 20190115
"""Seed of the sentences, in NumPy's RandomState, whose stream is frozen. Changing it, or any word
below, changes the data."""

DETERMINERS = ("the", "a", "every", "one")
ADJECTIVES = ("small", "old", "red", "quiet", "happy", "green")
NOUNS = (("dog", "hen", "farmer", "barn"), ("fish", "gull", "sailor", "ship"))
"""Nouns of the two subject matters that a sentence may have, so that there is something for a
latent variable to know. ``PLACES`` has the prepositions of the same two."""
PLACES = (("near", "behind"), ("under", "beside"))
INTRANSITIVE = ("sleeps", "sings", "waits", "runs")
TRANSITIVE = ("sees", "loves", "finds", "follows")
ADVERBS = ("often", "never", "today")


class ToyText(TextLoader):
    """600/100/100 sentences of 3 to 12 words, 37 entries.

    A sentence is ``subject verb [object] [place] [adverb]``, with all nouns and places of one
    subject matter. Half of the sentences have an object, half a place, half an adverb, and half of
    the nouns have an adjective.
    """

    name = "toy_text"
    documents: ClassVar[dict[str, int]] = {"train": 600, "valid": 100, "test": 100}
    entries = 37

    def read(self, files: dict[str, Path]) -> dict[str, Iterable[list[str]]]:
        import numpy as np

        uniform = np.random.RandomState(SEED).random_sample
        return {split: [sentence(uniform) for _ in range(n)] for split, n in self.documents.items()}


def sentence(uniform: Callable[[], float]) -> list[str]:
    """Return the words of one sentence; ``uniform`` returns the next number in [0, 1)."""

    def pick(words: Sequence[str]) -> str:
        return words[int(len(words) * uniform())]

    def perhaps() -> bool:
        return uniform() < 0.5

    def noun() -> list[str]:
        return [pick(DETERMINERS), *([pick(ADJECTIVES)] if perhaps() else []), pick(NOUNS[matter])]

    # The order of the draws is part of the data: it must stay.
    matter = int(2 * uniform())
    words = noun()
    words += [pick(TRANSITIVE), *noun()] if perhaps() else [pick(INTRANSITIVE)]
    words += [pick(PLACES[matter]), *noun()] if perhaps() else []
    return words + ([pick(ADVERBS)] if perhaps() else [])
