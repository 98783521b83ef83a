"""What a trained model makes, for trackers to show.

These are samples, and test examples with their reconstructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vaebench.data.images.mosaic import mosaic, rows_of
from vaebench.data.splits import Splits
from vaebench.data.text.tokens import text_of
from vaebench.evaluation import generation
from vaebench.evaluation.generation import Decoding
from vaebench.models.base import Model, has_codes

SAMPLES = 16
"""Number of images, or documents, of each kind."""


@dataclass(frozen=True)
class Pictures:
    """Name -> picture (height, width) with values in [0, 1], and name -> documents."""

    images: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, Sequence[str]] = field(default_factory=dict)


@torch.no_grad()
def pictures(model: Model, splits: Splits, seed: int) -> Pictures:
    """Return samples of a model, and test examples with their reconstructions.

    Raises UserError if the model makes neither images of bits nor documents.
    """
    model = model.to("cpu")
    if splits.tokens:
        decoding = Decoding("sample", longest=splits.shape[0])
        documents = generation.drawn(model, SAMPLES, seed, decoding)
        return Pictures(
            texts={
                "samples": [text_of(document.words, splits.vocabulary) for document in documents]
            }
        )

    shape = splits.picture
    images = {"samples": grid(generation.drawn_images(model, SAMPLES, seed), shape)}

    # Only a model with latent codes can reconstruct.
    if has_codes(model):
        x = torch.from_numpy(splits.test[:SAMPLES])
        images["originals"] = grid(x, shape)
        images["reconstructions"] = grid(generation.images_again(model, x, seed), shape)
    return Pictures(images)


def grid(x: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Put images ``x`` (n, d) together, four a line, with black lines and black empty places."""
    return mosaic(rows_of(x.reshape(len(x), *shape).numpy(), 4), line=0.0)
