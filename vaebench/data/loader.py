"""What a data set tells about itself.

A new one is a subclass in its own file and a line in ``vaebench.data.DATA``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vaebench.data.files.sources import Source
from vaebench.data.kinds import Kind
from vaebench.errors import UserError

# numpy is loaded with the first array, so that listing the data sets starts at once.
if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.splits import Splits


class Loader:
    """Sources -> canonical arrays (prepared once, kept on disk) -> Splits (made at every load).

    name : config name.
    version : raised whenever ``arrays`` would give something else; prepared files of other versions
    are not used. sources : the files needed, by a short name; none where the data come with a
    library, are made here, or are the
        user's own.
    keep : whether the arrays are kept on disk although there are no sources, because making them
    takes long. empty : whether there are no data to learn from: the model fits a distribution it
    knows.
    asks : settings without which nothing can be loaded, as the user writes them.
    kind : of its examples.
    shape : of one example; empty where only the files know.
    entries : of documents, how many the vocabulary has, the special ones among them; None where
    only the files know.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    sources: ClassVar[dict[str, Source]] = {}
    keep: ClassVar[bool] = False
    empty: ClassVar[bool] = False
    asks: ClassVar[tuple[str, ...]] = ()
    kind: Kind = Kind.BITS
    shape: tuple[int, ...] = ()
    entries: ClassVar[int | None] = 0

    @classmethod
    def settle(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """The ``data`` group of a cell with what its files decide filled in. Raises UserError."""
        return dict(config)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Loader:
        """The loader with the settings of a cell's ``data`` group. Raises UserError."""
        return cls()

    @property
    def sizes(self) -> dict[str, int]:
        """Cases of 'train', 'valid' and 'test' as prepared; empty where only the files know."""
        return {}

    @property
    def kept(self) -> bool:
        """Whether the canonical arrays are kept on disk."""
        return bool(self.sources) or self.keep

    @property
    def stem(self) -> str:
        """The name of the prepared file, its version apart."""
        return self.name

    def check_held_out(self, held_out: int | None) -> None:
        """Raises UserError where so many cases cannot be held out.

        As far as ``sizes`` are known.
        """
        if held_out is not None and self.sizes:
            pool = self.sizes["train"] + self.sizes["valid"]
            if not 1 <= held_out < pool:
                raise UserError(
                    f"data.held_out={held_out!r}: allowed: null, or a whole number "
                    f"from 1 to {pool - 1}"
                )

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        """The canonical arrays from the checked files of ``sources``.

        'train', 'valid' and 'test' are among them.
        """
        raise NotImplementedError

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        """Splits from the canonical arrays, the first axis of each being the cases.

        ``held_out`` None keeps the data set's own validation split; n pools train and validation in
        file order and holds n of them out at random. The test split is never touched. Raises
        UserError for an impossible n.
        """
        raise NotImplementedError


class GreyLoader(Loader):
    """A data set of grey cases, the last of whose training cases validate.

    rows : cases in the files for training and test; valid : how many of the former validate.
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
    """A data set whose cases are alike in all splits.

    Held-out ones come from training and validation together.
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
            pool = np.concatenate([train, valid])
            held = held_out_mask(len(pool), held_out, held_out_seed)
            train = pool[~held]
            valid = pool[held]
        return self.made(train, valid, arrays["test"])

    def made(self, train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Splits:
        """Splits of these canonical arrays, (n, d) each."""
        raise NotImplementedError


class BinaryLoader(PooledLoader):
    """A data set whose canonical splits are binary: (n, d) uint8 of 0 and 1."""

    def made(self, train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Splits:
        from vaebench.data.splits import make_splits

        return make_splits(self.name, train, valid, test, self.shape)


class IntensityLoader(PooledLoader):
    """A data set of grey levels as they are.

    Canonical splits (n, d) uint8 of 0 to ``top``, used as levels / top.
    """

    kind = Kind.INTENSITY
    top: ClassVar[int] = 255

    def made(self, train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Splits:
        from vaebench.data.splits import make_intensity_splits

        return make_intensity_splits(self.name, train, valid, test, self.shape, self.top)
