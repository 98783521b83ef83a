"""``vaebench sample`` and ``reconstruct`` draw grids of images: pixel by
pixel what the model made."""

from __future__ import annotations

import numpy as np
import pytest
from kit.signs import Signs

from vaebench.cli import main
from vaebench.data.images.mosaic import LINE, mosaic, rows_of
from vaebench.data.splits import make_splits
from vaebench.evaluation.trained_run import Trained
from vaebench.report.images import DOTS, image, pixels
from vaebench.verbs import generated

WHITE = 0.0
BLACK = 1.0


def drawn(path) -> np.ndarray:
    """The picture in a PNG: one number for each of its squares, 0 white and 1 black. Checks that
    every square is of one colour."""
    from matplotlib.image import imread

    dots = 1 - imread(path)[..., 0]

    # A square is DOTS x DOTS dots; its first dot stands for it.
    squares = dots[::DOTS, ::DOTS]
    assert np.array_equal(dots, squares.repeat(DOTS, 0).repeat(DOTS, 1))

    return squares


@pytest.fixture
def made(monkeypatch):
    """What the verbs take for a trained run: a model by hand and twelve test images of 2x2."""
    # The pixels of image n are the four binary digits of n, the highest first: (12, 4).
    x = np.array([[(n >> (3 - i)) & 1 for i in range(4)] for n in range(12)], dtype=np.uint8)

    run = Trained(
        Signs(scale=(0.5, 1.0, 2.0, 0.25)), make_splits("squares", x, x, x, (2, 2)), {}, 1
    )

    monkeypatch.setattr(generated, "trained", lambda args: run)

    return run


def test_lines_between_images_and_between_groups():
    white = np.zeros((2, 2))
    black = np.ones((2, 2))
    # (rows, columns, height, width)
    grid = np.array([[white, black, white, black], [black, black, white, white]])
    x = LINE

    assert mosaic(grid, group=2).tolist() == [
        [0, 0, x, 1, 1, x, x, x, 0, 0, x, 1, 1],
        [0, 0, x, 1, 1, x, x, x, 0, 0, x, 1, 1],
        [x, x, x, x, x, x, x, x, x, x, x, x, x],
        [1, 1, x, 1, 1, x, x, x, 0, 0, x, 0, 0],
        [1, 1, x, 1, 1, x, x, x, 0, 0, x, 0, 0],
    ]

    assert mosaic(grid[:, :2]).shape == (5, 5)


def test_a_last_row_is_filled_up():
    x = np.arange(1, 6).reshape(5, 1, 1)

    assert rows_of(x, 3)[..., 0, 0].tolist() == [[1, 2, 3], [4, 5, 0]]


def test_every_pixel_is_a_square(tmp_path):
    picture = np.random.default_rng(0).integers(0, 2, (7, 11)).astype(float)

    path = tmp_path / "x.png"
    path.write_bytes(image(lambda canvas: pixels(canvas, picture), "png"))

    assert np.array_equal(drawn(path), picture)


def test_missing_pixels_are_filled_in_row_by_row(made, tmp_path, monkeypatch):
    """A row has the image, what is left of it and six states of the chain.

    The missing square of a 2x2 image is its first pixel.
    """
    monkeypatch.chdir(tmp_path)

    assert main(["reconstruct", "RUN", "--test", "3", "--impute", "square"]) == 0

    picture = drawn(tmp_path / "imputations.png")
    # Images stand three pixels apart, two of their own and one of the line: (3, 8, 4).
    images = np.array(
        [
            [
                picture[3 * row : 3 * row + 2, 3 * column : 3 * column + 2].ravel()
                for column in range(8)
            ]
            for row in range(3)
        ]
    )

    assert images[:, 0].tolist() == made.splits.test[[0, 4, 8]].tolist()
    # The missing pixel is grey, up to the 8 bits of a PNG. The others are those of the image in
    # every state of the chain.
    assert np.allclose(images[:, 1, 0], 0.5, atol=0.01)
    assert (images[:, :, 1:] == images[:, :1, 1:]).all()
    assert set(images[:, 2:, 0].ravel()) <= {0.0, 1.0}

    assert main(["reconstruct", "RUN", "--test", "2", "--impute", "0.5", "--output", "x.png"]) == 0


def test_originals_stand_beside_their_reconstructions(made, tmp_path, monkeypatch):
    """Five images of twelve, evenly spread, in three pairs a row. The model gives them back."""
    monkeypatch.chdir(tmp_path)

    assert main(["reconstruct", "RUN", "--test", "5"]) == 0

    picture = drawn(tmp_path / "reconstructions.png")
    # Two rows with a line between them. Six images in three pairs: the line within a pair is one
    # pixel wide, the one between pairs three.
    assert picture.shape == (2 * 2 + 1, 6 * 2 + 3 + 2 * 3)

    chosen = [0, 2, 4, 7, 9]
    for position, number in enumerate(chosen):
        # A pair is five pixels wide, and three more lead to the next one.
        top = 3 * (position // 3)
        left = 8 * (position % 3)
        original = made.splits.test[number].reshape(2, 2)

        assert np.array_equal(picture[top : top + 2, left : left + 2], original)
        assert np.array_equal(picture[top : top + 2, left + 3 : left + 5], original)

    # There is no sixth image: its place is white but for the line.
    assert (picture[3:, 16:] == [WHITE, WHITE, picture[0, 2], WHITE, WHITE]).all()
    assert picture[0, 2] == pytest.approx(LINE, abs=0.01)

    before = (tmp_path / "reconstructions.png").read_bytes()
    assert main(["reconstruct", "RUN", "--test", "5", "--output", "again.png"]) == 0
    assert (tmp_path / "again.png").read_bytes() == before


def test_what_the_model_changes_is_seen(made, tmp_path, capsys):
    """A model that turns every pixel: the reconstructions, not the originals, are the inverse."""
    made.model.p["steep"].mul_(-1)

    path = tmp_path / "x.png"

    assert main(["reconstruct", "RUN", "--test", "1", "--code", "mean", "--output", str(path)]) == 0

    assert drawn(path)[:, :2].tolist() == [[0, 0], [0, 0]]
    assert drawn(path)[:, 3:].tolist() == [[1, 1], [1, 1]]

    assert main(["reconstruct", "RUN", "--test", "3", "--output", str(tmp_path / "x.txt")]) == 0
    assert (tmp_path / "x.txt").read_text() == "0000\t1111\n0100\t1011\n1000\t0111\n"


def test_latents_are_traversed(made, tmp_path, capsys, monkeypatch):
    """Two rows, of the latents that vary most.

    Image 5 is 0101, so its posterior mean has the signs - + - +.
    """
    monkeypatch.chdir(tmp_path)

    assert main(["sample", "RUN", "--traverse", "2", "--steps", "3", "--around", "5"]) == 0
    # Latent 2 is 2 or -2, each in 6 of 12 images: variance 4 * 12 / 11. Latent 1 is 1 in 4 of 12
    # and else -1: 8 / 9 * 12 / 11.
    assert (
        "latents row by row, with the variance of their posterior mean: 2 (4.36), 1 (0.97)"
        in capsys.readouterr().err
    )

    picture = drawn(tmp_path / "traversal.png")
    assert picture.shape == (5, 8)

    # A latent goes from -3 to 3: its pixel is 0 in the first image and 1 in the last one.
    first = slice(0, 2)
    last = slice(6, 8)

    assert picture[0:2, first].tolist() == [[0, 1], [0, 1]]
    assert picture[0:2, last].tolist() == [[0, 1], [1, 1]]
    assert picture[3:5, first].tolist() == [[0, 0], [0, 1]]
    assert picture[3:5, last].tolist() == [[0, 1], [0, 1]]


def test_a_plane_of_two_latents(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert (
        main(["sample", "RUN", "--manifold", "--steps", "2", "--around", "5", "--output", "x.png"])
        == 0
    )

    picture = drawn(tmp_path / "x.png")
    # Latent 2 falls from row to row, latent 1 rises from column to column.
    corners = {
        (0, 0): [[0, 0], [1, 1]],
        (0, 3): [[0, 1], [1, 1]],
        (3, 0): [[0, 0], [0, 1]],
        (3, 3): [[0, 1], [0, 1]],
    }

    for (top, left), expected in corners.items():
        assert picture[top : top + 2, left : left + 2].tolist() == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reconstruct", "--test", "13"], "--test 13: allowed: a whole number from 1 to 12"),
        (["reconstruct", "--impute", "0.5"], "--impute: of images of the test set, with --test N"),
        (
            ["reconstruct", "--test", "3", "--impute", "0.5", "--output", "x.txt"],
            "--impute: draws a picture",
        ),
        (["reconstruct", "--test", "3", "--path", "4"], "--path: of documents from standard input"),
        (
            ["reconstruct", "--test", "9999"],
            "--test 9999: 19,998 images; a picture holds 10,000 at most",
        ),
        (
            ["sample", "--number", "10001", "--output", "x.png"],
            "--number 10001: 10,001 images; a picture holds",
        ),
        (["sample", "--traverse", "5"], "5 latents to move: the model has 4"),
        (
            ["sample", "--traverse", "2", "--around", "12"],
            "image 12: allowed: a whole number from 0 to 11",
        ),
        (["sample", "--traverse", "2", "--manifold"], "one of them at a time"),
        (
            ["sample", "--traverse", "2", "--number", "3"],
            "--number: --traverse and --manifold draw as many",
        ),
        (["sample", "--steps", "3"], "--steps: goes with --traverse or --manifold"),
        (["sample", "--around", "0"], "--around: goes with --traverse or --manifold"),
        (["sample", "--traverse", "2", "--how", "beam"], "--how: for documents"),
    ],
)
def test_what_is_refused(made, tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)

    assert main([words[0], "RUN", *words[1:]]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
