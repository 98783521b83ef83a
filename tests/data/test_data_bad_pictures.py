"""Files and folders without usable images: each is refused in one line, and nothing is prepared
or run."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from kit.pictures import GREY, SHAPE, files_of, folder_of, grey_images
from PIL import Image

from vaebench import data
from vaebench.data.files.pictures import read_images
from vaebench.errors import DataError, UserError


def refused(config: dict, tmp_path: Path) -> str:
    """The one line with which own images are refused; nothing is prepared then."""
    with pytest.raises(UserError) as e:
        data.load(config, root=tmp_path / "root")

    assert "\n" not in str(e.value)
    assert not list((tmp_path / "root").glob("prepared/*.h5"))

    return str(e.value)


def object_array(path: Path) -> None:
    np.save(path, np.array([[1], {}], dtype=object), allow_pickle=True)


def header_of(path: Path, shape: str) -> None:
    """An npy file whose header promises bytes of ``shape``; 30 bytes follow."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    path.write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(30)
    )


def cut(path: Path, save, at: int) -> None:
    """Save a file and keep what is before byte ``at``, from the end if negative."""
    save()
    path.write_bytes(path.read_bytes()[:at])


BAD_FILES = {
    "colour": (
        lambda p: np.save(p, np.zeros((4, 6, 5, 3), np.uint8)),
        "4 x 6 x 5 x 3: colour images; expected grey",
    ),
    "vectors": (lambda p: np.save(p, np.zeros((4, 30))), "4 x 30; expected n x height x width"),
    "channels first": (
        lambda p: np.save(p, np.zeros((4, 1, 6, 5))),
        "4 x 1 x 6 x 5; expected n x height x width",
    ),
    "a number": (
        lambda p: np.save(p, np.float64(3)),
        "a single number; expected n x height x width",
    ),
    "none": (lambda p: np.save(p, np.zeros((0, 6, 5))), "0 x 6 x 5: no images"),
    "flat": (lambda p: np.save(p, np.zeros((4, 0, 5))), "4 x 0 x 5: images without pixels"),
    "one": (lambda p: np.save(p, GREY[:1]), "a single image, expected two or more"),
    "size": (
        lambda p: np.save(p, GREY[:, :, :4]),
        "images of 6 x 4 pixels, but those to train on have 6 x 5",
    ),
    "negative": (lambda p: np.save(p, GREY.astype(int) - 1), "values from -1 to 25"),
    "large": (
        lambda p: np.save(p, GREY.astype(np.uint16) * 257),
        "allowed: whole numbers from 0 to 255",
    ),
    "large floats": (lambda p: np.save(p, GREY * 1.0), "allowed: floats from 0 to 1"),
    "infinite": (
        lambda p: np.save(p, np.where(GREY > 0, np.inf, 0.0)),
        "values from 0 to inf; allowed: floats",
    ),
    "nan": (lambda p: np.save(p, np.where(GREY > 100, np.nan, 0.5)), "values are NaN"),
    "words": (lambda p: np.save(p, np.full((4, 6, 5), "a")), "not an array of real numbers"),
    "complex": (lambda p: np.save(p, np.zeros((4, 6, 5), complex)), "not an array of real numbers"),
    "records": (lambda p: np.save(p, np.zeros(4, [("a", int)])), "not an array of real numbers"),
    "objects": (object_array, "pickled Python objects, which are never read"),
    "pickle": (lambda p: p.write_bytes(pickle.dumps(GREY)), "neither an .npy nor an .npz file"),
    "text": (lambda p: p.write_text("0 1 1"), "neither an .npy nor an .npz file"),
    "empty": (lambda p: p.write_bytes(b""), "neither an .npy nor an .npz file"),
    "png": (
        lambda p: Image.fromarray(GREY[0]).save(p, "PNG"),
        "a single PNG, expected a folder of PNGs",
    ),
    "cut": (
        lambda p: cut(p, lambda: np.save(p, GREY), -7),
        "truncated: 1,193 bytes of numbers, expected 1,200",
    ),
    "cut header": (
        lambda p: cut(p, lambda: np.save(p, GREY), 40),
        "truncated, damaged or no npy array",
    ),
    "long": (
        lambda p: p.write_bytes((np.save(p, GREY), p.read_bytes())[1] + b"x"),
        "too long: 1,201 bytes",
    ),
    "huge": (lambda p: header_of(p, "(9999999999999, 6, 5)"), "truncated: 30 bytes of numbers"),
    "minus": (lambda p: header_of(p, "(-1, -6, 5)"), "truncated, damaged or no npy array"),
    "cut zip": (
        lambda p: cut(p, lambda: np.savez(p, a=GREY), -90),
        "truncated, damaged or no npz file",
    ),
    "no array": (lambda p: zipfile.ZipFile(p, "w").close(), "no array in it"),
    "many": (
        lambda p: np.savez(p, a=GREY, b=GREY),
        "arrays a, b; expected one called test, or a single array",
    ),
    "in a zip": (
        lambda p: np.savez(p, a=np.array([{}], dtype=object)),
        "a: pickled Python objects",
    ),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_bad_file_is_one_line(bad, tmp_path):
    write, message = BAD_FILES[bad]
    config = files_of(grey_images(), tmp_path)

    # np.save and np.savez would append their ending to the name, so it has that ending, whatever is
    # written to the file.
    path = tmp_path / ("test.npz" if "zip" in bad or bad in ("many", "no array") else "test.npy")
    write(path)

    line = refused({**config, "test": str(path)}, tmp_path)

    assert message in line
    assert str(path) in line


def test_a_damaged_zip_is_one_line(tmp_path):
    config = files_of(grey_images(), tmp_path)
    np.savez_compressed(tmp_path / "all.npz", **grey_images())

    content = bytearray((tmp_path / "all.npz").read_bytes())
    # One bit within the compressed numbers of the first array.
    content[300] ^= 16
    (tmp_path / "all.npz").write_bytes(content)

    line = refused({**config, "train": str(tmp_path / "all.npz"), "test": None}, tmp_path)

    assert "truncated, damaged or no npz file" in line


def test_nothing_is_unpickled(tmp_path):
    """A pickle that would write a file if it were read."""
    mark = tmp_path / "mark"

    class Trap:
        def __reduce__(self):
            return (Path.touch, (mark,))

    array = np.empty(2, dtype=object)
    array[:] = [Trap(), Trap()]

    config = files_of(grey_images(), tmp_path)
    np.save(config["train"], array, allow_pickle=True)

    assert "pickled Python objects" in refused(config, tmp_path)
    assert not mark.exists()

    # The trap works: read with pickle, it does write.
    np.load(config["train"], allow_pickle=True)
    assert mark.exists()


def in_colour(mode: str, **options):
    return lambda folder: Image.new(mode, SHAPE[::-1]).save(folder / "001.png", **options)


def flipped(folder: Path) -> None:
    """One bit of the compressed pixels is another one, after the name and 8 bytes more."""
    content = bytearray((folder / "001.png").read_bytes())
    at = content.index(b"IDAT") + 12
    content[at] ^= 1
    (folder / "001.png").write_bytes(content)


def moving(folder: Path) -> None:
    frame = Image.fromarray(GREY[0])
    frame.save(folder / "001.png", save_all=True, append_images=[Image.fromarray(GREY[1])])


BAD_FOLDERS = {
    "colour": (
        in_colour("RGB"),
        r"001\.png: in colour \(mode RGB\); expected a grey or binary PNG",
    ),
    "with alpha": (in_colour("RGBA"), r"001\.png: in colour \(mode RGBA\)"),
    "transparent": (in_colour("LA"), r"001\.png: has transparent pixels"),
    "one level transparent": (in_colour("L", transparency=0), r"001\.png: has transparent pixels"),
    "palette": (in_colour("P"), r"001\.png: has a palette of colours"),
    "moving": (moving, r"001\.png: 2 frames of a moving picture"),
    "size": (lambda f: Image.fromarray(GREY[0, :4]).save(f / "001.png"),
             r"001\.png: 4 x 5 pixels, but 000\.png has 6 x 5; expected one size"),
    "cut": (lambda f: (f / "001.png").write_bytes((f / "001.png").read_bytes()[:60]),
            r"001\.png: truncated, damaged or no PNG"),
    "damaged": (flipped, r"001\.png: truncated, damaged or no PNG"),
    "other": (lambda f: Image.fromarray(GREY[0]).save(f / "001.png", "JPEG"),
              r"001\.png: truncated, damaged or no PNG"),
    "empty": (lambda f: (f / "001.png").write_bytes(b""),
              r"001\.png: truncated, damaged or no PNG"),
    "a folder": (lambda f: ((f / "001.png").unlink(), (f / "001.png").mkdir()),
                 r"001\.png: cannot be read"),
    "nothing": (lambda f: [p.unlink() for p in f.glob("*.png")],
                r"no PNG in it; allowed: a folder of PNGs, an \.npy"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_FOLDERS)
def test_a_bad_folder_is_one_line(bad, tmp_path):
    spoil, message = BAD_FOLDERS[bad]
    config = files_of(grey_images(), tmp_path)
    folder = folder_of(GREY[:3], tmp_path / "png")

    assert len(read_images(folder, "test")) == 3

    spoil(folder)
    with pytest.raises(DataError, match=message):
        read_images(folder, "test")

    refused({**config, "test": str(folder)}, tmp_path)
