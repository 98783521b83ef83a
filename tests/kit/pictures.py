"""Images of the user's own: arrays, and the files and folders that hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SHAPE = (6, 5)
COUNTS = {"train": 40, "valid": 8, "test": 9}


def grey_images() -> dict[str, np.ndarray]:
    """Levels of 8 bits."""
    rng = np.random.default_rng(0)
    return {split: rng.integers(0, 256, (n, *SHAPE), dtype=np.uint8) for split, n in COUNTS.items()}


def bit_images() -> dict[str, np.ndarray]:
    """The same, black and white."""
    return {split: images >= 100 for split, images in grey_images().items()}


def fine_images() -> dict[str, np.ndarray]:
    """Levels of 16 bits."""
    rng = np.random.default_rng(1)
    return {
        split: rng.integers(0, 65_536, (n, *SHAPE), dtype=np.uint16) for split, n in COUNTS.items()
    }


def folder_of(images: np.ndarray, folder: Path) -> Path:
    """Write the images as PNGs, of one bit for ``bool`` and sixteen for uint16."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    return folder


def files_of(images: dict[str, np.ndarray], folder: Path, **more) -> dict:
    """Write an .npy file for each split, and return the ``data`` group that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"name": "images", "grey": "dynamic", "content": None, "held_out": None, **more}
    for split, array in images.items():
        np.save(folder / f"{split}.npy", array)
        config[split] = str(folder / f"{split}.npy")

    return config


GREY = grey_images()["train"]
