"""Files and folders of images: what is read of them, against known arrays."""

from __future__ import annotations

import numpy as np
import pytest
from kit.pictures import SHAPE, bit_images, fine_images, folder_of, grey_images
from PIL import Image

from vaebench.data.files.pictures import read_images


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        # Black and white become bool: True and False, 0 and 1, 0 and 255.
        (lambda a: a >= 100, lambda a: a >= 100),
        (lambda a: (a >= 100).astype(np.uint8), lambda a: a >= 100),
        (lambda a: (a >= 100).astype(np.int64), lambda a: a >= 100),
        (lambda a: (a >= 100).astype(np.float64), lambda a: a >= 100),
        (lambda a: (a >= 100).astype(np.uint8) * np.uint8(255), lambda a: a >= 100),
        # Levels of bytes, in any form.
        (lambda a: a, lambda a: a),
        (lambda a: a.astype(">i4"), lambda a: a),
        (lambda a: np.asfortranarray(a), lambda a: a),
        (lambda a: a[..., None], lambda a: a),
        (lambda a: a / 255, lambda a: a),
        (lambda a: a.astype(np.float32) / np.float32(255), lambda a: a),
        # Levels that are no multiples of 1/255 stay floats.
        (lambda a: a / 256, lambda a: (a / 256).astype(np.float32)),
        (
            lambda a: (a / 999).astype(np.float16),
            lambda a: (a / 999).astype(np.float16).astype(np.float32),
        ),
        # Floats of the levels 0 and 1 of 255: dark, but not black and white.
        (lambda a: np.minimum(a, 1) / 255, lambda a: np.minimum(a, 1)),
    ],
)
def test_arrays_in_their_narrowest_form(stored, expected, tmp_path):
    # All 256 levels.
    grey = np.concatenate([np.arange(256), np.arange(44)]).astype(np.uint8).reshape(10, *SHAPE)
    np.save(tmp_path / "a.npy", stored(grey))
    np.savez(tmp_path / "one.npz", anything=stored(grey))
    np.savez_compressed(tmp_path / "several.npz", train=stored(grey), other=np.zeros(3))

    for name in ("a.npy", "one.npz", "several.npz"):
        images = read_images(tmp_path / name, "train")
        assert images.dtype == expected(grey).dtype
        np.testing.assert_array_equal(images, expected(grey))


def test_pngs_written_by_pillow_are_read_back(tmp_path):
    grey = grey_images()["train"]
    bits = bit_images()["train"]
    fine = fine_images()["train"]

    np.testing.assert_array_equal(read_images(folder_of(grey, tmp_path / "grey"), "train"), grey)
    np.testing.assert_array_equal(read_images(folder_of(bits, tmp_path / "bits"), "train"), bits)

    images = read_images(folder_of(fine, tmp_path / "fine"), "train")
    np.testing.assert_array_equal(images, (fine / 65_535).astype(np.float32))

    # Levels of 16 bits that are levels of bytes: 65,535 is 257 x 255.
    wide = grey.astype(np.uint16) * np.uint16(257)
    np.testing.assert_array_equal(read_images(folder_of(wide, tmp_path / "wide"), "train"), grey)

    # Levels 0 and 1 of a PNG are black and white.
    dim = bits.astype(np.uint8)
    np.testing.assert_array_equal(read_images(folder_of(dim, tmp_path / "dim"), "train"), bits)


def test_pngs_of_several_depths_in_one_folder(tmp_path):
    """Programs that make PNGs small store a black and white image with one bit."""
    grey = grey_images()["train"]
    grey[1] = np.where(grey[1] > 99, 255, 0)
    folder = folder_of(grey, tmp_path / "grey")
    Image.fromarray(grey[1] > 0).save(folder / "001.png")

    np.testing.assert_array_equal(read_images(folder, "train"), grey)

    Image.fromarray(grey[2].astype(np.uint16) * np.uint16(257)).save(folder / "002.png")
    np.testing.assert_array_equal(read_images(folder, "train"), grey)


def test_pngs_come_by_name_and_other_files_are_left_alone(tmp_path):
    grey = grey_images()["train"][:3]
    folder = folder_of(grey, tmp_path / "grey")
    # An ending in capitals counts.
    (folder / "000.png").rename(folder / "b.PNG")
    (folder / "._001.png").write_bytes(b"of a Mac")
    (folder / "notes.txt").write_text("nothing")

    np.testing.assert_array_equal(read_images(folder, "train"), grey[[1, 2, 0]])
