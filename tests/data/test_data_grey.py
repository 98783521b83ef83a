"""Grey levels as they are: MNIST, Frey Face, the digits; and a pickle that is never run."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest

from vaebench.data import DATA, load
from vaebench.data.files.formats import read_pickled
from vaebench.data.files.sources import Source
from vaebench.data.images.digits import levels
from vaebench.data.images.frey_face import FreyFace
from vaebench.data.images.mnist import MnistDynamic, MnistGrey
from vaebench.data.kinds import Kind
from vaebench.errors import DataError

FACES = np.random.RandomState(0).randint(0, 256, (19, 6)).astype(np.uint8)


def python2(array: np.ndarray) -> bytes:
    """A list of one array as Python 2 pickled it, protocol 0: bytes are written as text."""
    rows, columns = array.shape
    return (
        b"(lp0\ncnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntS'b'\ntR(I1\n"
        b"(I%d\nI%d\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS%s\ntba."
        % (rows, columns, repr(array.tobytes())[1:].encode())
    )


@pytest.mark.parametrize("content", [python2(FACES), pickle.dumps([FACES], 4)])
def test_a_pickled_array_is_read(tmp_path, content):
    path = tmp_path / "faces.pkl"
    path.write_bytes(content)
    faces = read_pickled(path, FACES.shape)

    assert faces.dtype == np.uint8
    np.testing.assert_array_equal(faces, FACES)


class Harm:
    def __reduce__(self):
        return print, ("this must not be run",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps([Harm()], 2), "__builtin__.print, which is no part of an array"),
        (b"cos\nsystem\n(S'true'\ntR.", "os.system, which is no part of an array"),
        (pickle.dumps([FACES], 4)[:-9], "truncated, damaged"),
        (b"", "truncated, damaged"),
        (pickle.dumps(FACES, 4), "not a list of one array"),
        (pickle.dumps([FACES, FACES], 4), "not a list of one array"),
        (pickle.dumps([FACES.T], 4), "6 x 19 of uint8, expected 19 x 6 of uint8"),
        (pickle.dumps([FACES.astype(float)], 4), "19 x 6 of float64, expected 19 x 6 of uint8"),
    ],
)
def test_any_other_pickle_is_refused(tmp_path, capsys, content, says):
    path = tmp_path / "faces.pkl"
    path.write_bytes(content)

    with pytest.raises(DataError, match=says) as e:
        read_pickled(path, FACES.shape)
    assert str(path) in str(e.value)
    assert capsys.readouterr().out == ""


def test_frey_faces_are_shuffled_once_and_no_case_is_lost(tmp_path, monkeypatch):
    content = python2(FACES)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "faces.pkl").write_bytes(content)
    source = Source("tiny", "faces.pkl", hashlib.sha256(content).hexdigest())

    rows = {"train": 12, "valid": 3, "test": 4}
    cls = type(
        "Tiny",
        (FreyFace,),
        {"name": "tiny", "sources": {"freyfaces": source}, "rows": rows, "shape": (3, 2)},
    )
    monkeypatch.setitem(DATA, "tiny", cls)

    splits = load({"name": "tiny"}, mirror=tmp_path, root=tmp_path / "root")
    parts = [splits.train, splits.valid, splits.test]

    assert [len(part) for part in parts] == [12, 3, 4]
    assert splits.kind is Kind.INTENSITY
    # Shuffled: not in the order of the file.
    assert not np.array_equal(np.concatenate(parts), FACES / np.float32(255))
    # But each face once, compared as bytes.
    assert sorted(map(bytes, np.concatenate(parts))) == sorted(map(bytes, FACES / np.float32(255)))
    np.testing.assert_allclose(splits.mean, splits.train.mean(0), rtol=1e-6)


def test_grey_mnist_is_the_dynamic_one_before_it_is_binarized(tiny_dynamic):
    files = {key: tiny_dynamic.file(key) for key in tiny_dynamic.cls.sources}
    rows = {"train": 10, "valid": 5, "test": 4}

    grey = type("TinyGrey", (MnistGrey,), {"name": "tiny", "rows": rows, "shape": (2, 3)})()
    splits = grey.splits(grey.arrays(files), None, 0)
    dynamic = tiny_dynamic.cls().arrays(files)

    assert splits.train.dtype == np.float32
    np.testing.assert_array_equal(np.rint(splits.train * 255), dynamic["train"])
    np.testing.assert_array_equal(np.rint(splits.valid * 255), dynamic["valid_grey"])
    np.testing.assert_array_equal(
        splits.test, tiny_dynamic.content["test"].reshape(4, -1) / np.float32(255)
    )
    assert MnistGrey.rows["train"] + MnistGrey.rows["valid"] == MnistDynamic.rows["train"]


def test_grey_digits_are_those_that_are_binarized_at_half_intensity():
    grey = load({"name": "digits_grey"})
    bits = load({"name": "digits"})
    for split in ("train", "valid", "test"):
        # The digits have levels 0 to 16.
        np.testing.assert_array_equal(getattr(grey, split) * 16, levels()[split])
        np.testing.assert_array_equal(getattr(grey, split) >= 0.5, getattr(bits, split))
