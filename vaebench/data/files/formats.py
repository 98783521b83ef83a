"""Readers of the file formats that data sets come in.

They are strict: a file that is not exactly of its format is a DataError.
"""

from __future__ import annotations

import io
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from vaebench.data.files.content import BLOCK, UNREADABLE, open_content
from vaebench.errors import DataError

UBYTE = 0x08
"""Type code of unsigned bytes in the magic number of an idx file."""


def read_idx(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """Read the uint8 array in an idx file, gzipped or plain.

    Format: http://yann.lecun.com/exdb/mnist/. ``shape`` is the shape that is expected, with None
    where any size will do. Raises DataError if the magic number, the shape or the length is wrong,
    or if the file is truncated.
    """
    try:
        with open_content(path) as f:
            # Two zero bytes, the type code, the number of dimensions; then each size as a
            # big-endian 32-bit number, then the bytes of the array, row-major.
            header = f.read(4)
            if header[:3] != bytes([0, 0, UBYTE]) or len(header) < 4:
                raise DataError(
                    f"{path}: not an idx file of bytes: magic number {header.hex() or 'missing'}"
                )
            if header[3] != len(shape):
                raise DataError(
                    f"{path}: {header[3]} dimensions in the idx header, expected {len(shape)}"
                )

            size_bytes = f.read(4 * len(shape))
            if len(size_bytes) < 4 * len(shape):
                raise DataError(f"{path}: truncated in the idx header")

            sizes_found = tuple(int(size) for size in np.frombuffer(size_bytes, dtype=">u4"))
            if any(
                expected is not None and expected != size
                for expected, size in zip(shape, sizes_found, strict=True)
            ):
                allowed = " x ".join("any" if size is None else str(size) for size in shape)
                raise DataError(
                    f"{path}: {' x '.join(map(str, sizes_found))} in the idx header, "
                    f"expected {allowed}"
                )

            length = math.prod(sizes_found)
            content = bytearray()
            # At most one byte more than expected is read: enough to notice trailing bytes, and a
            # bad header cannot fill the memory.
            while len(content) <= length and (
                block := f.read(min(BLOCK, length + 1 - len(content)))
            ):
                content += block
    except UNREADABLE as e:
        raise DataError(f"{path}: truncated or damaged gzip ({e})") from None

    if len(content) != length:
        state = "truncated" if len(content) < length else "too long"
        raise DataError(f"{path}: {state}: expected {length} bytes after the idx header")
    return np.frombuffer(content, dtype=np.uint8).reshape(sizes_found)


def read_mat(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Read named arrays of real numbers from a MATLAB file, gzipped or plain.

    Formats 4 to 7 are read, 7.3 is not. ``shapes`` maps the name of a variable to the shape that is
    expected; other variables are skipped. Raises DataError if the file is truncated or damaged, or
    if a variable is missing, not an array of real numbers, or of another shape.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadWarning

    try:
        with open_content(path) as f, warnings.catch_warnings():
            warnings.simplefilter("error", MatReadWarning)  # two variables of one name
            # The whole content is read first, so that gzip checks all of it.
            arrays = loadmat(io.BytesIO(f.read()), variable_names=list(shapes))
    except OSError as e:
        if e.errno is not None:  # of the file system, not of the content
            raise DataError(f"{path}: cannot be read ({e.strerror})") from None
        raise _not_mat(path, e) from None
    except Exception as e:  # damaged bytes can come out of the reader as almost any error
        raise _not_mat(path, e) from None

    # The reader also returns texts and structures; booleans, whole numbers and floats are taken.
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None:
            raise DataError(f"{path}: there is no variable {name!r} in it")
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise DataError(f"{path}: {name} is not an array of real numbers")
        if array.shape != shape:
            raise DataError(
                f"{path}: {name} is {' x '.join(map(str, array.shape))}, expected "
                f"{' x '.join(map(str, shape))}"
            )
    return {name: arrays[name] for name in shapes}


def _not_mat(path: Path, error: Exception) -> DataError:
    why = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path}: truncated, damaged or not a MATLAB file of formats 4 to 7 ({why})")


class _ArraysAlone(pickle.Unpickler):
    """An unpickler that only knows the names by which NumPy writes an array.

    It refuses all others.
    """

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 renamed numpy.core to numpy._core; a file may come from either.
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _unfilled,
            ("numpy._core.multiarray", "_reconstruct"): _unfilled,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which is no part of an array of numbers"
            )
        return allowed[module, name]


def _unfilled(cls: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array that is still to be given its state, as NumPy's ``_reconstruct`` does."""
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def read_pickled(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read the uint8 array in a pickle of a list of that one array; nothing in the file is run.

    Raises DataError if the file is truncated or damaged, if it asks for anything but an array of
    numbers, or if the array has another type or shape.
    """
    try:
        with open_content(path) as f:
            # Pickles of Python 2 hold byte strings; read as Latin-1, every byte is kept.
            content = _ArraysAlone(io.BytesIO(f.read()), encoding="latin1").load()
    except Exception as e:  # damaged bytes can come out of the reader as almost any error
        why = " ".join(str(e).split()) or type(e).__name__
        raise DataError(f"{path}: truncated, damaged or not a pickled array ({why})") from None

    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], np.ndarray):
        raise DataError(f"{path}: not a list of one array")

    (array,) = content
    if array.dtype != np.uint8 or array.shape != shape:
        found, expected = (" x ".join(map(str, dimensions)) for dimensions in (array.shape, shape))
        raise DataError(f"{path}: {found} of {array.dtype}, expected {expected} of uint8")
    return array


def upright(cases: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Turn pictures (n, height * width) stored column by column into ones stored row by row.

    MATLAB has them column by column; everywhere here they are row by row.
    """
    # Stored column by column, an image is (width, height).
    height, width = shape
    return cases.reshape(-1, width, height).swapaxes(1, 2).reshape(len(cases), height * width)


def read_amat(path: Path, width: int) -> np.ndarray:
    """Read the binary examples in an .amat text, gzipped or plain.

    Every line holds ``width`` times 0 or 1 with one blank between. Raises DataError naming the
    first bad line.

    Returns:
        (rows, width) uint8 of 0 and 1.
    """
    # Each value has one character and one blank or line feed behind it.
    line_bytes = 2 * width

    # Whole lines are read at once, about BLOCK bytes of them.
    blocks: list[np.ndarray] = []
    rows = 0
    block_bytes = line_bytes * max(1, BLOCK // line_bytes)
    try:
        with open_content(path) as f:
            while text := f.read(block_bytes):
                # Only the very last line may lack its line feed.
                text = text + b"\n" if len(text) % line_bytes == line_bytes - 1 else text
                blocks.append(_amat_block(text, width, path, rows))
                rows += len(blocks[-1])
    except UNREADABLE as e:
        raise DataError(f"{path}: truncated or damaged gzip ({e})") from None

    if not blocks:
        raise DataError(f"{path}: empty")
    return np.concatenate(blocks)


def _amat_block(text: bytes, width: int, path: Path, before: int) -> np.ndarray:
    """Return the examples of a block of whole lines that ``before`` lines of the file precede."""
    # Whole blocks are checked at once, which is fast; only if that fails, the bad line is looked
    # for below. '0' and '1' differ in their lowest bit alone; 32 is a blank, 10 a line feed.
    if len(text) % (2 * width) == 0:
        characters = np.frombuffer(text, dtype=np.uint8).reshape(-1, 2 * width)
        values = characters[:, 0::2]
        blanks = characters[:, 1::2]
        if (
            (values >> 1 == ord("0") >> 1).all()
            and (blanks[:, :-1] == 32).all()
            and (blanks[:, -1] == 10).all()
        ):
            return values - ord("0")

    for i, content in enumerate(text.split(b"\n")):
        line_values = content.split(b" ")
        if len(line_values) != width:
            raise DataError(
                f"{path}: line {before + i + 1} has {len(line_values)} values, expected {width}"
            )
        for value in line_values:
            if value not in (b"0", b"1"):
                raise DataError(
                    f"{path}: line {before + i + 1} has the value "
                    f"{value[:20].decode(errors='replace')!r}, expected 0 or 1"
                )
    raise DataError(f"{path}: not lines of {width} values")
