"""The kinds of data: what the numbers of an example are."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kind of the examples of a data set, and the kinds that a model takes."""

    BITS = "bits"
    """0 and 1."""

    GREY = "grey"
    """Training examples are grey levels from 0 to 255: at every visit a pixel is 1 with probability
    grey / 255. The other splits are bits, and so is what a model sees."""

    INTENSITY = "intensity"
    """Grey levels as they are, real numbers from 0 to 1, in all splits."""

    REAL = "real"
    """Real numbers."""

    LEVELS = "levels"
    """Whole numbers from 0 to 255, as they are."""

    TOKENS = "tokens"
    """Documents: token numbers, filled up with 0 at the end of a row."""

    COUNTS = "counts"
    """How often each entry of a vocabulary occurs."""

    @property
    def seen(self) -> Kind:
        """The kind of the examples that a model is given."""
        return Kind.BITS if self is Kind.GREY else self
