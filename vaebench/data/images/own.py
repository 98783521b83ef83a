"""The user's own images: data=images data.train=PATH data.valid=PATH data.test=PATH."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.data.files import own
from vaebench.data.kinds import Kind
from vaebench.data.loader import Loader
from vaebench.errors import DataError, UserError

if TYPE_CHECKING:
    import numpy as np

    from vaebench.data.splits import Splits

SPLITS = ("train", "valid", "test")

GREY = ("dynamic", "threshold")
"""What grey images are turned into: bits drawn anew at every visit, or bits at half intensity."""

TRAIN_STREAM = 0
TEST_STREAM = 1
"""Streams of the noise by which grey validation and test images are binarized, as for MNIST."""

NO_VALID = (
    "data=images: no validation images: name them, data.valid=PATH, or hold training images out "
    "at random, data.held_out=N"
)


@dataclass(frozen=True)
class Found:
    """What is known of the images of one split.

    Attributes:
        digest: Hex SHA-256 of the images, however they are stored.
        count: Number of images.
        shape: (height, width).
        bits: Whether every pixel is black or white.
    """

    digest: str
    count: int
    shape: tuple[int, int]
    bits: bool


class OwnImages(Loader):
    """The user's own grey or binary images.

    They are three files or folders, or one .npz file with arrays train, valid and test. The
    training loop binarizes grey training images at each visit; the others are binarized once, with
    the noise of ``mnist_dynamic``. So grey MNIST as the user's own images is ``mnist_dynamic``.
    With ``data.grey=threshold`` a pixel is 1 from half intensity. Canonical arrays are
    (n, height, width), of ``pictures.read_images``.

    If there are validation images, they are used, and ``settle`` makes ``data.held_out`` null: the
    number that a table holds out of its own data says nothing about these. If there are none, the
    array 'valid' is missing, and ``data.held_out`` of the training images are used for validation.

    A run is identified by the content of the files, not by their place: ``settle`` writes the
    digest of all images into ``data.content``, and the prepared file is named by it.
    """

    name = "images"
    keep = True
    asks = tuple(f"data.{split}=PATH" for split in SPLITS)

    def __init__(
        self,
        paths: Mapping[str, Path] | None = None,
        grey: str = GREY[0],
        content: str = "",
        found: Mapping[str, Found] | None = None,
    ) -> None:
        self.paths = dict(paths or {})
        self.grey = grey
        self.content = content
        self.found = dict(found or {})
        # If the files are gone, nothing is known of the images before the prepared file is read.
        if self.found:
            train = self.found["train"]
            self.shape = train.shape
            self.kind = Kind.BITS if train.bits or grey == "threshold" else Kind.GREY

    @classmethod
    def settle(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return absolute paths, ``content``, and ``held_out`` null if there are validation images.

        If ``content`` is known and none of the files exists any more, the prepared file is relied
        upon.

        Raises:
            UserError: If images are not named, or none are left for validation.
            DataError: If a file is missing or damaged, holds no grey images, or is not what it was.
        """
        paths = _paths(config)
        content = config.get("content")
        held_out = config.get("held_out")
        if not own.gone(content, paths):
            found_images = found_in(paths, held_out)
            held_out = None if "valid" in found_images else held_out
            digest = content_of(found_images)
            own.refuse_changed(content, digest, paths)
            content = digest
        return {
            **config,
            **{s: str(path) for s, path in paths.items()},
            "content": content,
            "held_out": held_out,
        }

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> OwnImages:
        grey = config.get("grey", GREY[0])
        if grey not in GREY:
            raise UserError(f"data.grey={grey}: allowed: {' or '.join(GREY)}")
        config = cls.settle(config)
        paths = _paths(config)
        files_exist = not own.gone(config["content"], paths)
        return cls(
            paths,
            grey,
            config["content"],
            found_in(paths, config.get("held_out")) if files_exist else None,
        )

    @property
    def sizes(self) -> dict[str, int]:
        return {
            split: self.found[split].count if split in self.found else 0
            for split in SPLITS
            if self.found
        }

    def check_held_out(self, held_out: int | None) -> None:
        if held_out is None or not self.found or "valid" in self.found:
            return
        count = self.found["train"].count
        if not 1 <= held_out < count:
            raise UserError(
                f"data.held_out={held_out!r}: allowed: a whole number from 1 to {count - 1}, of "
                f"{count} images to train on; or name validation images, data.valid=PATH"
            )

    def arrays(self, files: dict[str, Path]) -> dict[str, np.ndarray]:
        """Read the images.

        Raises DataError if the files are gone, or if they changed after their digest was taken.
        """
        from vaebench.data.files.pictures import read_images

        arrays = {split: read_images(path, split) for split, path in _places(self.paths).items()}
        digest = content_of({split: _about(images) for split, images in arrays.items()})
        if digest != self.content:
            settings = " ".join(f"data.{split}={path}" for split, path in self.paths.items())
            raise DataError(f"{settings}: changed while they were read")
        return arrays

    def splits(self, arrays: dict[str, Any], held_out: int | None, held_out_seed: int) -> Splits:
        import numpy as np

        from vaebench.data.splits import held_out_mask, make_grey_splits, make_splits

        shape = arrays["train"].shape[1:]
        flat = {split: images.reshape(len(images), -1) for split, images in arrays.items()}
        train = flat["train"]
        test = flat["test"]

        # Places of the validation images among those that share the noise: own ones come after the
        # training images, as in MNIST's file; held-out ones stay where they are.
        if "valid" in flat:
            valid = flat["valid"]
            places = np.arange(len(train), len(train) + len(valid))
        elif held_out is None:
            raise UserError(NO_VALID)
        else:
            self.check_held_out(held_out)
            held = held_out_mask(len(train), held_out, held_out_seed)
            valid = train[held]
            train = train[~held]
            places = np.flatnonzero(held)

        valid = self._bits(valid, TRAIN_STREAM, places)
        test = self._bits(test, TEST_STREAM, np.arange(len(test)))

        # Grey training images stay grey: the training loop binarizes them at each visit.
        if train.dtype == bool or self.grey == "threshold":
            train = self._bits(train, TRAIN_STREAM, np.arange(len(train)))
            return make_splits(self.name, train, valid, test, shape)
        return make_grey_splits(self.name, train, valid, test, shape)

    def _bits(self, images: np.ndarray, stream: int, places: np.ndarray) -> np.ndarray:
        """Return binary images (n, d) uint8.

        ``places`` (n,) are their places among the images that share the stream.
        """
        import numpy as np

        from vaebench.data.images.binarize import binarize_once

        if images.dtype == bool:
            return images.astype(np.uint8)
        if self.grey == "threshold":
            return (images >= (128 if images.dtype == np.uint8 else 0.5)).astype(np.uint8)
        # Floats from 0 to 1 are scaled, because ``binarize_once`` takes levels from 0 to 255.
        levels = images if images.dtype == np.uint8 else images * np.float32(255)
        return binarize_once(levels, stream, places)


# ---------------------------------------------------------------------------------------- the files


def content_of(found: Mapping[str, Found]) -> str:
    """Return one hex SHA-256 over the images of all splits."""
    return own.digest(f"{split}:{found[split].digest}" for split in SPLITS if split in found)


def found_in(paths: Mapping[str, Path], held_out: Any) -> dict[str, Found]:
    """Return what is known of the images of each split.

    Args:
        paths: Split -> the file or folder that is named for it.
        held_out: ``data.held_out``; if it is null, there must be validation images.

    Raises:
        UserError: If there are no validation or no test images.
        DataError: If a file cannot be read as images, or the splits do not fit together.
    """
    place_of = _places(paths)
    found_images = {split: _found(path, split, _state(path)) for split, path in place_of.items()}
    if "test" not in found_images:
        raise UserError(
            f"data=images: no test images: name them, data.test=PATH; {place_of['train']} has none"
        )
    if "valid" not in found_images and held_out is None:
        raise UserError(NO_VALID)

    height, width = found_images["train"].shape
    for split, about in found_images.items():
        where = f"data.{split}={place_of[split]}"
        if about.shape != (height, width):
            size = " x ".join(map(str, about.shape))
            raise DataError(
                f"{where}: images of {size} pixels, but those to train on have {height} x {width}"
            )
        if about.count < 2:  # a variance over a split needs two images
            raise DataError(f"{where}: a single image, expected two or more")
    return found_images


def _paths(config: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files and folders that are named. Raises UserError if there is no training one."""
    if not config.get("train"):
        raise UserError(
            "data=images: your own images: name them, data.train=PATH data.valid=PATH "
            "data.test=PATH, or data.train=FILE.npz with arrays train, valid and test"
        )
    named = [split for split in SPLITS if config.get(split)]
    return {split: Path(str(config[split])).expanduser().absolute() for split in named}


def _places(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Return where the images of each split are.

    That is the path named for the split, else the .npz file of the training images. Raises
    DataError if a named path does not exist.
    """
    from vaebench.data.files.pictures import array_names

    for split, path in paths.items():
        if not path.exists():
            raise DataError(f"data.{split}={path}: there is no such file or folder")

    # If the training file is an .npz with an array 'train', its other arrays are splits too.
    names = array_names(paths["train"])
    named_in_archive = names if "train" in names else ()
    return {
        split: paths.get(split, paths["train"])
        for split in SPLITS
        if split in paths or split in named_in_archive
    }


def _state(path: Path) -> tuple[object, ...]:
    """Return names, sizes and times, which tell a changed file or folder without reading it."""
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                return tuple(sorted((e.name, *_stamp(e.stat())) for e in entries))
        return _stamp(path.stat())
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e})") from None


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=64)
def _found(path: Path, split: str, state: tuple[object, ...]) -> Found:
    """Return what the images of a file are; ``state`` makes the cache forget a changed file.

    A table asks for this once for each of its cells.
    """
    from vaebench.data.files.pictures import read_images

    return _about(read_images(path, split))


def _about(images: np.ndarray) -> Found:
    from vaebench.data.splits import array_hash

    return Found(array_hash(images), len(images), images.shape[1:], images.dtype == bool)
