"""What a trained model makes, for the page of its run."""

from __future__ import annotations

from pathlib import Path

from vaebench.data.images.mosaic import mosaic, rows_of
from vaebench.data.text.tokens import text_of
from vaebench.errors import UserError
from vaebench.evaluation import generation, trained_run
from vaebench.report import images
from vaebench.site.build import Samples

NUMBER = 16
"""Number of samples of each model."""


def of_run(folder: Path) -> Samples:
    """Return samples of the run in a folder, as one picture or as documents.

    They are empty if the model makes neither.
    """
    try:
        trained = trained_run.load(folder)
        splits = trained.splits
        if splits.tokens:
            decoding = generation.Decoding("sample", longest=splits.shape[0])
            documents = generation.drawn(trained.model, NUMBER, 0, decoding)
            return Samples(
                documents=[text_of(document.words, splits.vocabulary) for document in documents]
            )

        pixels = generation.drawn_images(trained.model, NUMBER, 0)
    except UserError:
        return Samples()

    # (n, d) -> rows of eight images -> one picture
    picture = mosaic(rows_of(pixels.numpy().reshape(len(pixels), *splits.picture), 8))
    return Samples(pictures=[images.image(lambda canvas: images.pixels(canvas, picture), "png")])
