"""The base classes of data sets: what a data set says about itself.

A new data set is a subclass in its own file and a line in ``vaebench.data.DATA``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vaebench.data.files.sources import Source
from vaebench.data.kinds import Kind

# NumPy is loaded with the first array, so that listing the data sets starts at once.
if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.splits import Splits


class Loader:
    """A data set: sources -> canonical arrays -> Splits.

    The arrays are prepared once and kept on disk; Splits are made of them at every load.

    Attributes:
        name: Name in the configuration.
        version: A number that is raised whenever ``arrays`` would return something else. Prepared
            files of other versions are not used.
        sources: The files needed, by a short name; empty if the data come with a library, are made
            here, or are the user's own.
        keep: Whether the arrays are kept on disk although there are no sources, because making them
            takes long.
        empty: Whether there are no data to learn from, and the model fits a known distribution.
        asks: Settings without which nothing can be loaded, as the user writes them.
        kind: Kind of the examples.
        shape: Shape of one example; empty if only the files know.
        content: Digest of the user's own files, which identifies their data; '' if the name alone
            identifies the data.
        entries: For documents as tokens, the size of the vocabulary, special entries included; None
            if only the files know. 0 for other data.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    sources: ClassVar[dict[str, Source]] = {}
    keep: ClassVar[bool] = False
    empty: ClassVar[bool] = False
    asks: ClassVar[tuple[str, ...]] = ()
    kind: Kind = Kind.BITS
    shape: tuple[int, ...] = ()
    content: str = ""
    entries: ClassVar[int | None] = 0

    @classmethod
    def settle(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a cell's ``data`` group, completed with what its files decide, or UserError."""
        return dict(config)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Loader:
        """Return the loader with the settings of a cell's ``data`` group. Raises UserError."""
        return cls()

    @property
    def sizes(self) -> dict[str, int]:
        """Examples in 'train', 'valid' and 'test' as prepared; empty if only the files know."""
        return {}

    @property
    def kept(self) -> bool:
        """Whether the canonical arrays are kept on disk."""
        return bool(self.sources) or self.keep

    @property
    def stem(self) -> str:
        """The name of the prepared file, without its version."""
        return f"{self.name}-{self.content[:16]}" if self.content else self.name

    def check_held_out(self, held_out: int | None) -> None:
        """Raise UserError if ``held_out`` examples cannot be held out.

        Nothing is checked if ``sizes`` is not known.
        """
        if held_out is not None and self.sizes:
            from vaebench.data.splits import check_held_out

            check_held_out(held_out, self.sizes["train"] + self.sizes["valid"])

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        """Return the canonical arrays, made from the checked files of ``sources``.

        'train', 'valid' and 'test' are among them.
        """
        raise NotImplementedError

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        """Return splits made from the canonical arrays, whose first axis is the examples.

        If ``held_out`` is None, the data set's own validation split is kept. Otherwise training and
        validation are pooled in file order, and ``held_out`` of them are held out at random. The
        test split is never touched. Raises UserError if so many cannot be held out.
        """
        raise NotImplementedError


class GreyLoader(Loader):
    """A data set of grey examples; the last of its training examples are used for validation.

    Attributes:
        rows: Number of examples in the files for training and test.
        valid: Number of training examples used for validation.
    """

    kind = Kind.GREY
    rows: ClassVar[dict[str, int]]
    valid: ClassVar[int]

    @property
    def sizes(self) -> dict[str, int]:
        return {
            "train": self.rows["train"] - self.valid,
            "valid": self.valid,
            "test": self.rows["test"],
        }


class PooledLoader(Loader):
    """A data set whose examples are of the same kind in all splits.

    Held-out examples are drawn from training and validation together.
    """

    rows: ClassVar[dict[str, int]] = {}

    @property
    def sizes(self) -> dict[str, int]:
        return dict(self.rows)

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        import numpy as np

        from vaebench.data.splits import held_out_mask

        train = arrays["train"]
        valid = arrays["valid"]
        if held_out is not None:
            # In file order, so that the mask means the same examples everywhere.
            pool = np.concatenate([train, valid])
            held = held_out_mask(len(pool), held_out, held_out_seed)
            train = pool[~held]
            valid = pool[held]

        return self.made(train, valid, arrays["test"])

    def made(self, train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Splits:
        """Return the splits of these canonical arrays, (n, d) each."""
        raise NotImplementedError


class BinaryLoader(PooledLoader):
    """A data set whose canonical splits are binary: (n, d) uint8 of 0 and 1."""

    def made(self, train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Splits:
        from vaebench.data.splits import make_splits

        return make_splits(self.name, train, valid, test, self.shape)


class IntensityLoader(PooledLoader):
    """A data set of grey levels as they are.

    The canonical splits are (n, d) uint8 from 0 to ``top``, and are used as levels / top.
    """

    kind = Kind.INTENSITY
    top: ClassVar[int] = 255

    def made(self, train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Splits:
        from vaebench.data.splits import make_intensity_splits

        return make_intensity_splits(self.name, train, valid, test, self.shape, self.top)
