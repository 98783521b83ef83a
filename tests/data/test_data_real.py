"""The real files of the data sets, where a mirror has them: sizes, and hashes of what is loaded."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from kit.documents import DOCUMENTS

from vaebench import data
from vaebench.config.catalogue import load_yaml
from vaebench.data.files import fetch
from vaebench.data.files.sources import Source
from vaebench.data.text.tokens import statistics
from vaebench.errors import DataError
from vaebench.estimators.document_perplexity import per_document, pooled

REAL_MIRROR = os.environ.get("VAEBENCH_MIRROR")


def real(folder: str):
    """A mark for tests of the real files: skip them if the mirror has no such folder."""
    has_folder = REAL_MIRROR is not None and (Path(REAL_MIRROR) / folder).is_dir()
    return pytest.mark.skipif(not has_folder, reason=f"needs VAEBENCH_MIRROR with {folder}/")


@real("binarized_mnist")
def test_real_fixed_binarization(tmp_path):
    splits = data.load(load_yaml("data", "mnist_static"), mirror=REAL_MIRROR, root=tmp_path)
    parts = (splits.train, splits.valid, splits.test)

    assert [p.shape for p in parts] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    assert [round(float(p.mean(dtype=np.float64)), 5) for p in parts] == [0.13056, 0.13113, 0.13251]
    assert splits.shape == (28, 28)
    # Pinned: the same data on every machine.
    assert splits.hash == "f208dae42089bca308cbcaab97fe3eb80568f9bc0b523c043de534afc65bfea9"


@real("mnist")
def test_real_grey_mnist(tmp_path):
    splits = data.load(load_yaml("data", "mnist_dynamic"), mirror=REAL_MIRROR, root=tmp_path)

    assert [p.shape for p in (splits.train, splits.valid, splits.test)] == [
        (50_000, 784),
        (10_000, 784),
        (10_000, 784),
    ]
    assert splits.train.max() == 255
    # The evaluation examples are the same on every machine.
    assert (
        splits.hashes["valid"] == "6ea74329d9862125667408af4f34628ba0d0be57201770fa98da10a5e3e9c848"
    )
    assert (
        splits.hashes["test"] == "f3fcff00be79c63356bd8f96a3926ff94ee4585915a071131e9fcd4d301d1d45"
    )


GREY = [
    pytest.param(
        *(
            "frey_face",
            (1_500, 100, 365),
            "6fd69f3a8aafdd3d14da945b2dcbd11318d452b1e63599d235c516afbf407058",
        ),
        marks=real("frey_face"),
        id="frey_face",
    ),
    pytest.param(
        *(
            "mnist_grey",
            (50_000, 10_000, 10_000),
            "7a3828f3c6eca7c611368ec9143ad8be00b84b0ca2c22d53822dd8ddb4d8fa6e",
        ),
        marks=real("mnist"),
        id="mnist_grey",
    ),
]


@pytest.mark.parametrize(("name", "sizes", "expected"), GREY)
def test_real_grey_levels(tmp_path, name, sizes, expected):
    splits = data.load({"name": name}, mirror=REAL_MIRROR, root=tmp_path)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == sizes
    assert splits.hash == expected


@real("omniglot")
def test_real_omniglot(tmp_path):
    splits = data.load(
        load_yaml("data", "omniglot_reconstructed"), mirror=REAL_MIRROR, root=tmp_path
    )

    assert [p.shape for p in (splits.train, splits.valid, splits.test)] == [
        (23_000, 784),
        (1_345, 784),
        (8_115, 784),
    ]
    assert splits.hash == "9d7c829355e683c529920ae653d4a863ec1f33dd90aff6da4bf77f4d1261f0b7"


@real("caltech101_silhouettes")
def test_real_silhouettes(tmp_path):
    splits = data.load(
        load_yaml("data", "caltech101_silhouettes"), mirror=REAL_MIRROR, root=tmp_path
    )

    assert [p.shape for p in (splits.train, splits.valid, splits.test)] == [
        (4_100, 784),
        (2_264, 784),
        (2_307, 784),
    ]
    assert splits.hash == "16b49d0d22899cb2ea9e504deabbfe037f77db30cd701c39f740ef7a4095f98d"


@real("yahoo")
def test_real_yahoo_small(tmp_path):
    splits = data.load(load_yaml("data", "yahoo_small"), mirror=REAL_MIRROR, root=tmp_path)
    by_split = {s: statistics(getattr(splits, s)) for s in DOCUMENTS}

    assert [x.documents for x in by_split.values()] == [9_000, 1_000, 10_000]
    assert [x.tokens for x in by_split.values()] == [720_112, 80_568, 798_673]
    assert (splits.shape, len(splits.vocabulary)) == ((202,), 16_699)
    # The first four entries are padding, frame and <unk>.
    assert splits.vocabulary[4:9] == ("what", "do", "you", "think", "of")
    assert splits.hash == "02a457b5ae48943348f1bbf1aab621fb6466d12af2984c5954701c4b004ab7dc"


@real("yahoo")
def test_real_yahoo_lacks_its_training_documents(tmp_path):
    has_training = (Path(REAL_MIRROR) / "yahoo" / "yahoo.train.txt").is_file()

    state = next(s for s in data.status(mirror=REAL_MIRROR, root=tmp_path) if s.name == "yahoo")
    assert state.missing == (() if has_training else ("yahoo.train.txt",))

    if not has_training:
        with pytest.raises(
            DataError, match=r"yahoo\.train\.txt: .*expected 100,000 documents; tried"
        ) as e:
            fetch.fetch(
                Source(*("yahoo", "yahoo.train.txt", ""), documents=100_000),
                Path(REAL_MIRROR),
                tmp_path,
            )

        assert "\n" not in str(e.value)


def own_unigram(x):
    """Perplexities, per document and pooled, of documents under their own word frequencies."""
    frequency = x.sum(0, dtype=np.int64)
    # Nats of each document, (n,).
    nll = torch.from_numpy(-(x @ np.log(frequency / frequency.sum())))

    tokens = torch.from_numpy(x.sum(1, dtype=np.int64))
    return per_document(nll, tokens).value, pooled(nll, tokens).value


@real("20news")
def test_real_news20(tmp_path):
    """Sizes and lengths as counted in the public files by others, with and without logarithms."""
    config = {"name": "news20", "held_out": 100}
    splits = data.load(config, mirror=REAL_MIRROR, root=tmp_path)

    assert [s.shape for s in (splits.train, splits.valid, splits.test)] == [
        (11_168, 2000),
        (100, 2000),
        (7505, 2000),
    ]

    lengths = splits.test.sum(1, dtype=np.int64)
    assert (lengths.sum(), lengths.max(), np.median(lengths)) == (720_898, 4306, 57)
    assert lengths.std() == pytest.approx(187, abs=0.5)
    assert splits.vocabulary[:2] == ("who", "out")

    # As the vocabulary file says of its first word.
    count = splits.train[:, 0].sum() + splits.valid[:, 0].sum()
    assert count == 6494

    log_lengths = data.load(
        {**config, "counts": "log1p"}, mirror=REAL_MIRROR, root=tmp_path
    ).test.sum(1, dtype=np.int64)
    assert log_lengths.mean() == pytest.approx(66.8, abs=0.05)
    assert log_lengths.std() == pytest.approx(75.5, abs=0.05)

    plain = data.load({"name": "news20"}, mirror=REAL_MIRROR, root=tmp_path)
    assert plain.hash == "2804ca9788bada255cec28b41b5d4d1e9d0b3500b8829a3676dc6eda6f659566"

    # As counted by others.
    for counts, per, pool in (("raw", 1190.0, 1183.8), ("log1p", 1195.9, 1231.3)):
        perplexities = own_unigram(
            data.load({**config, "counts": counts}, mirror=REAL_MIRROR, root=tmp_path).test
        )
        assert perplexities == (pytest.approx(per, abs=0.05), pytest.approx(pool, abs=0.05))
