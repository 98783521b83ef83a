"""Readers of images: .npy and .npz files, and folders of grey PNGs.

They are strict, and nothing is ever unpickled. The same images come out as the same array, however
they are stored. It has the narrowest of three forms: ``bool`` for bits, ``uint8`` for levels 0..255
that are multiples of 1/255, ``float32`` for other levels in [0, 1].
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from vaebench.errors import DataError

_NPY = b"\x93NUMPY"
_ZIP = b"PK"
_PNG = b"\x89PNG"
"""The first bytes of each kind of file. They decide the kind; the file's name is not trusted."""

_TOP = {"1": 1, "L": 255, "I;16": 65_535, "I": 65_535}
"""Mode of a grey PNG, as Pillow calls it -> its highest level. Only PNGs of 16
bits are opened as ``I``."""


def array_names(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays in an .npz file; () for an .npy file or a folder.

    Raises DataError if the file cannot be read.
    """
    if path.is_dir() or _first_bytes(path)[:2] != _ZIP:
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(_members(archive))
    except Exception as e:  # damaged bytes can come out of the reader as almost any error
        raise _damaged(path, "npz file", e) from None


def read_images(path: Path, name: str) -> np.ndarray:
    """Read the images in a file or a folder.

    Args:
        path: An .npy file, an .npz file, or a folder of PNGs, which are taken in the order of
            their names.
        name: Name of the wanted array in an .npz file; the only array of a file may have any name.

    Returns:
        (n, height, width), bool, uint8 or float32.

    Raises:
        DataError: If these are not grey or binary images of one size.
    """
    if path.is_dir():
        return _from_folder(path)

    start = _first_bytes(path)
    if start == _NPY:
        return _images(_npy(_content(path), str(path)), str(path))
    if start[:2] == _ZIP:
        return _from_npz(path, name)
    if start[:4] == _PNG:
        raise DataError(f"{path}: a single PNG, expected a folder of PNGs")
    raise DataError(
        f"{path}: neither an .npy nor an .npz file; allowed: these, or a folder of PNGs"
    )


# -------------------------------------------------------------------------------------- npy and npz


def _from_npz(path: Path, name: str) -> np.ndarray:
    names = array_names(path)
    if not names:
        raise DataError(f"{path}: no array in it")
    chosen = name if name in names else names[0]
    if chosen != name and len(names) > 1:
        raise DataError(
            f"{path}: arrays {', '.join(names)}; expected one called {name}, or a single array"
        )

    where = f"{path}: {chosen}"
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(_members(archive)[chosen])
    except Exception as e:
        raise _damaged(path, "npz file", e) from None
    return _images(_npy(content, where), where)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return array name -> its file in the archive."""
    infos = archive.infolist()
    return {
        info.filename.removesuffix(".npy"): info for info in infos if info.filename.endswith(".npy")
    }


def _npy(content: bytes, where: str) -> np.ndarray:
    """Return the array of numbers in the bytes of an .npy file.

    Python objects are refused, so nothing is unpickled.
    """
    # NumPy's format has a header of version 1 or 2 for arrays of numbers; 3 is for Unicode names of
    # fields, which images do not have.
    stream = io.BytesIO(content)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, by_column, dtype = readers[np.lib.format.read_magic(stream)](stream)
    except Exception as e:
        raise _damaged(where, "npy array", e) from None

    if dtype.hasobject:
        raise DataError(
            f"{where}: pickled Python objects, which are never read; expected an array of numbers"
        )
    if dtype.kind not in "biuf":
        raise DataError(f"{where}: not an array of real numbers (its type is {dtype})")

    # The numbers are taken straight from the bytes: no code of the file is run, and a wrong length
    # is noticed.
    body = memoryview(content)[stream.tell() :]
    expected = math.prod(shape) * dtype.itemsize
    if len(body) != expected:
        state = "truncated" if len(body) < expected else "too long"
        raise DataError(f"{where}: {state}: {len(body):,} bytes of numbers, expected {expected:,}")
    try:
        return np.frombuffer(body, dtype).reshape(shape, order="F" if by_column else "C")
    except ValueError as e:
        raise _damaged(where, "npy array", e) from None


def _images(array: np.ndarray, where: str) -> np.ndarray:
    """Return the images that an array of numbers holds, in their narrowest form."""
    # A single channel is grey; its axis is dropped.
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]

    shape = " x ".join(map(str, array.shape)) or "a single number"
    if array.ndim == 4 and array.shape[-1] in (3, 4):
        raise DataError(
            f"{where}: {shape}: colour images; expected grey or binary ones, n x height x width"
        )
    if array.ndim != 3:
        raise DataError(f"{where}: {shape}; expected n x height x width, or n x height x width x 1")
    if not len(array):
        raise DataError(f"{where}: {shape}: no images")
    if not array.size:
        raise DataError(f"{where}: {shape}: images without pixels")

    # Floats are levels from 0 to 1, booleans bits, whole numbers levels from 0 to 255.
    if array.dtype.kind == "f":
        _check_range(array, 1, where)
        return _narrowed(array.astype(np.float32))
    if array.dtype == bool:
        return array != 0
    _check_range(array, 255, where)
    return _of_levels(array.astype(np.uint8), 255)


def _check_range(array: np.ndarray, top: int, where: str) -> None:
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise DataError(f"{where}: {int(np.isnan(array).sum()):,} values are NaN")
    lowest = array.min()
    highest = array.max()
    if lowest < 0 or highest > top:
        allowed = "whole numbers from 0 to 255" if top == 255 else "floats from 0 to 1"
        raise DataError(f"{where}: values from {lowest:g} to {highest:g}; allowed: {allowed}")


# ------------------------------------------------------------------------------------------ folders


def _from_folder(folder: Path) -> np.ndarray:
    """Read the PNGs of a folder in the order of their names; hidden and other files are skipped."""
    try:
        files = sorted(
            f for f in folder.iterdir() if f.suffix.lower() == ".png" and not f.name.startswith(".")
        )
    except OSError as e:
        raise DataError(f"{folder}: cannot be read ({e.strerror or e})") from None

    if not files:
        raise DataError(
            f"{folder}: no PNG in it; allowed: a folder of PNGs, an .npy or an .npz file"
        )

    images: list[np.ndarray] = []
    tops: list[int] = []
    for file in files:
        image, top = _read_png(file)
        images.append(image)
        tops.append(top)
        if image.shape != images[0].shape:
            sizes = [" x ".join(map(str, i.shape)) for i in (image, images[0])]
            raise DataError(
                f"{file}: {sizes[0]} pixels, but {files[0].name} has {sizes[1]}; expected one size"
            )

    # Programs that shrink PNGs choose the bits of each file, so those of one folder may differ.
    # The highest level of a file, 1, 255 or 65,535 = 255 * 257, divides that of any deeper one.
    top = max(tops)
    level_dtype = np.dtype(np.uint16 if top > 255 else np.uint8)
    levels = np.stack(
        [
            image.astype(level_dtype) * level_dtype.type(top // file_top)
            for image, file_top in zip(images, tops, strict=True)
        ]
    )
    return _of_levels(levels, top)


def _read_png(file: Path) -> tuple[np.ndarray, int]:
    """Return the levels (height, width) of a grey PNG, and the level of white."""
    from PIL import Image

    # An error here means a damaged file; what kind of picture it is, is judged below.
    try:
        with Image.open(file, formats=("PNG",)) as image:
            image.load()
            mode = image.mode
            transparent = "transparency" in image.info
            frames = getattr(image, "n_frames", 1)
            levels = np.asarray(image)
    except Exception as e:  # damaged bytes can come out of Pillow as almost any error
        raise _damaged(file, "PNG", e) from None

    if mode not in _TOP:
        kinds = {"LA": "has transparent pixels", "P": "has a palette of colours"}
        raise DataError(
            f"{file}: {kinds.get(mode, 'in colour')} (mode {mode}); expected a grey or binary PNG"
        )
    if transparent:
        raise DataError(f"{file}: has transparent pixels; expected a grey or binary PNG")
    if frames > 1:
        raise DataError(f"{file}: {frames} frames of a moving picture; expected a single image")
    return levels, _TOP[mode]


# -------------------------------------------------------------------------------------------- forms


def _of_levels(levels: np.ndarray, top: int) -> np.ndarray:
    """Return images of whole numbers from 0 to ``top`` in their narrowest form.

    If there are only 0 and 1, they are bits, whatever ``top`` is.
    """
    if levels.max() <= 1:
        return levels != 0
    if top == 255:
        black_or_white = bool(((levels == 0) | (levels == 255)).all())
        return levels != 0 if black_or_white else levels
    return _narrowed((levels / top).astype(np.float32))


def _narrowed(levels: np.ndarray) -> np.ndarray:
    """Return float32 levels in [0, 1] in their narrowest form."""
    # Bytes hold the levels exactly if every level comes back from its nearest multiple of 1/255.
    whole = np.rint(levels * np.float32(255)).astype(np.uint8)
    if not (whole / np.float32(255) == levels).all():
        return levels
    black_or_white = bool(((whole == 0) | (whole == 255)).all())
    return whole != 0 if black_or_white else whole


# -------------------------------------------------------------------------------------------- files


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as f:
            return f.read(len(_NPY))
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e})") from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e})") from None


def _damaged(where: Path | str, kind: str, error: Exception) -> DataError:
    # An error of the file system, not of the content.
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{where}: cannot be read ({error.strerror})")
    why = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{where}: truncated, damaged or no {kind} ({why})")
