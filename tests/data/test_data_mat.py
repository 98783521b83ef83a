"""MATLAB files: arrays read, pictures turned upright, and one line for what is damaged."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import scipy.sparse
from kit.matlab import changed, column_by_column, mat

from vaebench.data.files.formats import read_mat, upright
from vaebench.errors import DataError

REAL = {"a": np.arange(6.0).reshape(2, 3) / 7, "b": np.eye(2, dtype=np.uint8), "other": np.zeros(3)}
SHAPES = {"a": (2, 3), "b": (2, 2)}


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_mat_is_read(tmp_path, options, pack):
    path = tmp_path / "file.bin"
    path.write_bytes(pack(mat(REAL, **options)))
    arrays = read_mat(path, SHAPES)

    # The variable "other" is not asked for.
    assert list(arrays) == ["a", "b"]
    np.testing.assert_array_equal(arrays["a"], REAL["a"])
    np.testing.assert_array_equal(arrays["b"], REAL["b"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"a": REAL["a"]}, "there is no variable 'b' in it"),
        ({**REAL, "b": np.eye(3)}, "b is 3 x 3, expected 2 x 2"),
        ({**REAL, "b": "text"}, "b is not an array of real numbers"),
        ({**REAL, "b": np.eye(2) * 1j}, "b is not an array of real numbers"),
        ({**REAL, "b": {"field": 1}}, "b is not an array of real numbers"),
        ({**REAL, "b": scipy.sparse.csc_matrix(np.eye(2))}, "b is not an array of real numbers"),
    ],
)
def test_mat_with_other_content_is_refused(tmp_path, content, says):
    path = tmp_path / "file.mat"
    path.write_bytes(mat(content))

    with pytest.raises(DataError, match=says) as e:
        read_mat(path, SHAPES)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


COMPRESSED = mat({"a": REAL["a"], "b": REAL["b"]}, do_compression=True)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"<html>moved</html>" * 20,
        mat(REAL)[:200],
        COMPRESSED[:-20],
        COMPRESSED[:150],
        changed(COMPRESSED, 150),
        changed(COMPRESSED, len(COMPRESSED) - 3),  # a check sum
        mat({"a": REAL["a"]}) + mat(REAL)[128:],  # two variables of one name
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" * 20,
        gzip.compress(mat(REAL), mtime=0)[:-9],
    ],
    ids=[
        "empty",
        "html",
        "cut",
        "cut_compressed",
        "cut_early",
        "flipped",
        "check_sum",
        "twice",
        "hdf5",
        "cut_gzip",
    ],
)
def test_damaged_mat_is_one_line(tmp_path, damaged):
    path = tmp_path / "file.mat"
    path.write_bytes(damaged)

    with pytest.raises(
        DataError, match="truncated, damaged or not a MATLAB file of formats 4 to 7"
    ) as e:
        read_mat(path, SHAPES)
    assert str(path) in str(e.value)
    assert "\n" not in str(e.value)


def test_a_mat_that_cannot_be_opened_is_not_called_damaged(tmp_path):
    with pytest.raises(DataError, match=r"none\.mat: cannot be read \(No such file"):
        read_mat(tmp_path / "none.mat", SHAPES)


def test_pictures_are_turned_upright():
    picture = np.array([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(upright(column_by_column(np.stack([picture, picture + 6])),
                                          (2, 3)),
                                  [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])  # fmt: skip
