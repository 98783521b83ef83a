"""``data=images``, images of the user's own: their splits, what decides their name, and what a user
has to say of them."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from kit.pictures import (
    COUNTS,
    GREY,
    SHAPE,
    bit_images,
    files_of,
    fine_images,
    folder_of,
    grey_images,
)
from PIL import Image

from vaebench import data
from vaebench.cli import main
from vaebench.data.images.mnist import MnistDynamic
from vaebench.data.images.own import OwnImages
from vaebench.data.kinds import Kind
from vaebench.data.splits import array_hash, held_out_mask
from vaebench.errors import DataError, UserError
from vaebench.settings import defaults


@pytest.fixture
def load(tmp_path):
    return lambda config: data.load(config, root=tmp_path / "root")


def test_bits_are_used_as_they_are(tmp_path, load):
    bits = bit_images()
    for grey in ("dynamic", "threshold"):
        splits = load(files_of(bits, tmp_path, grey=grey))
        assert (splits.name, splits.kind, splits.shape) == ("images", Kind.BITS, SHAPE)

        for split, images in bits.items():
            cases = getattr(splits, split)
            assert cases.dtype == np.uint8
            np.testing.assert_array_equal(cases, images.reshape(len(images), -1))
            assert splits.hashes[split] == array_hash(cases)

        np.testing.assert_allclose(splits.mean, bits["train"].reshape(40, -1).mean(0), rtol=1e-6)


@pytest.mark.parametrize("held_out", [None, 7])
def test_grey_images_are_what_the_same_grey_mnist_would_be(held_out, tmp_path, load):
    """A second implementation: the loader of MNIST, given the same images as if
    they came from its files."""
    grey = grey_images()
    flat = {split: images.reshape(len(images), -1) for split, images in grey.items()}
    small = type(
        "Small", (MnistDynamic,), {"rows": {"train": 48, "test": 9}, "valid": 8, "shape": SHAPE}
    )

    pool = np.concatenate([grey["train"], grey["valid"]])
    # The header of an idx file of bytes with three axes.
    header = lambda n: bytes([0, 0, 8, 3]) + struct.pack(">3I", n, *SHAPE)  # noqa: E731
    (tmp_path / "train.idx").write_bytes(header(48) + pool.tobytes())
    (tmp_path / "test.idx").write_bytes(header(9) + grey["test"].tobytes())

    loader = small()
    arrays = loader.arrays({"train": tmp_path / "train.idx", "test": tmp_path / "test.idx"})
    expected = loader.splits(arrays, held_out, 3)

    whole = grey if held_out is None else {"train": pool, "test": grey["test"]}
    splits = load(files_of(whole, tmp_path / "own", held_out=held_out, held_out_seed=3))

    assert splits.kind is Kind.GREY
    assert splits.hashes == expected.hashes
    np.testing.assert_array_equal(splits.mean, expected.mean)

    if held_out is None:
        # Nothing is held out: all images to train on are used, in their order.
        np.testing.assert_array_equal(splits.train, flat["train"])

    assert 0 < splits.test.mean() < 1


def test_binarized_test_images_have_the_levels_as_their_mean(tmp_path, load):
    # A ramp from black to white, 4,000 times; as floats it reaches 0.999.
    levels = np.tile(np.linspace(0, 255, 30).astype(np.uint8).reshape(SHAPE), (4000, 1, 1))
    for test in (levels, levels / 255 * 0.999):
        splits = load(files_of({**grey_images(), "test": test}, tmp_path))
        assert splits.test.dtype == np.uint8

        p = test[0].reshape(-1) / (255 if test.dtype == np.uint8 else 1)
        # 4.5 standard errors at each of 30 pixels: by chance once in 5,000.
        assert (abs(splits.test.mean(0) - p) <= 4.5 * np.sqrt(p * (1 - p) / 4000)).all()
        # Black pixels are never 1.
        assert splits.test[:, 0].max() == 0


def test_levels_finer_than_bytes(tmp_path, load):
    fine = {split: images / np.float32(65_535) for split, images in fine_images().items()}
    splits = load(files_of(fine, tmp_path))

    assert (splits.kind, splits.train.dtype) == (Kind.GREY, np.float32)
    np.testing.assert_array_equal(splits.train, fine["train"].reshape(40, -1) * np.float32(255))
    np.testing.assert_allclose(splits.mean, fine["train"].reshape(40, -1).mean(0), rtol=1e-5)
    assert splits.valid.dtype == splits.test.dtype == np.uint8


def test_half_intensity(tmp_path, load):
    grey = grey_images()
    # The two levels next to one half.
    grey["train"][0, 0, :2] = 127, 128
    # Here 128 is one half.
    fine = {split: images / 256 for split, images in grey.items()}
    for images in (grey, fine):
        splits = load(files_of(images, tmp_path, grey="threshold"))

        assert splits.kind is Kind.BITS
        assert list(splits.train[0, :2]) == [0, 1]
        for split, levels in grey.items():
            np.testing.assert_array_equal(
                getattr(splits, split), levels.reshape(len(levels), -1) >= 128
            )

    # Without the threshold the same prepared file is used.
    assert load(files_of(grey, tmp_path)).kind is Kind.GREY


def test_grey_images_to_train_on_and_binary_ones_to_evaluate(tmp_path, load):
    grey = grey_images()
    bits = bit_images()
    splits = load(files_of({**bits, "train": grey["train"]}, tmp_path / "a"))

    assert splits.kind is Kind.GREY
    np.testing.assert_array_equal(splits.train, grey["train"].reshape(40, -1))
    np.testing.assert_array_equal(splits.test, bits["test"].reshape(9, -1))

    assert load(files_of({**grey, "train": bits["train"]}, tmp_path / "b")).kind is Kind.BITS


def test_validation_images_that_are_named_validate(tmp_path, load):
    """Whatever a table holds out of its own data."""
    grey = grey_images()
    config = files_of(grey, tmp_path)
    expected = load(config)

    # All splits in one file.
    np.savez(tmp_path / "all.npz", **grey)
    at_once = {**config, "train": str(tmp_path / "all.npz"), "valid": None, "test": None}

    for same in (config, at_once):
        settled = data.settle({**same, "held_out": 100})

        assert settled["held_out"] is None
        assert (
            load({**same, "held_out": 100}).hash
            == load({**settled, "held_out": 100}).hash
            == expected.hash
        )

        data.check({**same, "held_out": 100}, cases=40)


@pytest.mark.parametrize("images", [grey_images, bit_images])
def test_held_out_images(images, tmp_path, load):
    splits_of = images()
    without_valid = {split: splits_of[split] for split in ("train", "test")}
    config = files_of(without_valid, tmp_path, held_out=7, held_out_seed=2)

    splits = load(config)
    held = held_out_mask(40, 7, 2)

    np.testing.assert_array_equal(splits.train, splits_of["train"][~held].reshape(33, -1))
    assert splits.valid.shape == (7, 30)

    # Held-out grey images are binarized.
    if splits_of["train"].dtype == bool:
        np.testing.assert_array_equal(splits.valid, splits_of["train"][held].reshape(7, -1))

    assert load({**config, "held_out_seed": 4}).hashes["valid"] != splits.hashes["valid"]

    for n in (0, 40):
        allowed = (
            rf"^data\.held_out={n}: allowed: a whole number from 1 to 39, of 40 "
            r"images to train on; or name"
        )

        with pytest.raises(UserError, match=allowed):
            load({**config, "held_out": n})
        with pytest.raises(UserError, match=allowed):
            data.check({**config, "held_out": n})

    # What was prepared does not need its files again.
    gone = {**config, "content": data.settle(config)["content"], "train": "gone", "test": "gone"}
    with pytest.raises(UserError, match=r"^data\.held_out=40: allowed"):
        load({**gone, "held_out": 40})
    assert load(gone).hash == splits.hash

    # 33 images are left to train on.
    data.check(config, cases=33)
    with pytest.raises(UserError, match=r"^train\.cases=34"):
        data.check(config, cases=34)


def test_however_they_are_stored_the_same_images_are_the_same_data(tmp_path, load, monkeypatch):
    grey = grey_images()
    files = files_of(grey, tmp_path / "npy")
    folders = {
        **files,
        **{s: str(folder_of(images, tmp_path / "png" / s)) for s, images in grey.items()},
    }
    floats = files_of({s: images / 255 for s, images in grey.items()}, tmp_path / "floats")
    # An array of another name is ignored.
    np.savez_compressed(tmp_path / "all.npz", **grey, labels=np.array(["a"]))
    at_once = {**files, "train": str(tmp_path / "all.npz"), "valid": None, "test": None}
    thrice = {**files, **dict.fromkeys(grey, str(tmp_path / "all.npz"))}

    settled = [data.settle(config) for config in (files, folders, floats, at_once, thrice)]

    assert {config["content"] for config in settled} == {settled[0]["content"]}
    assert len(settled[0]["content"]) == 64
    assert {load(config).hash for config in (files, folders, floats, at_once, thrice)} == {
        load(files).hash
    }
    # All five are one prepared file.
    assert len(list((tmp_path / "root" / "prepared").glob("*.h5"))) == 1
    assert OwnImages.of(files).stem == f"images-{settled[0]['content'][:16]}"
    assert OwnImages.of(at_once).sizes == COUNTS
    assert (OwnImages.of(files).shape, OwnImages.of(files).kind) == (SHAPE, Kind.GREY)

    # Paths may be relative to the working folder.
    monkeypatch.chdir(tmp_path)
    assert data.settle({**files, "train": "npy/train.npy"}) == settled[0]
    assert data.settle(settled[0]) == settled[0]


def test_other_images_are_other_data(tmp_path):
    grey = grey_images()
    content = data.settle(files_of(grey, tmp_path))["content"]
    others = [
        {**grey, "train": grey["train"][::-1]},
        {**grey, "valid": grey["test"], "test": grey["valid"]},
        # One pixel of each test image.
        {**grey, "test": grey["test"] ^ (np.arange(30).reshape(SHAPE) == 29)},
        {split: images.swapaxes(1, 2) for split, images in grey.items()},
        {split: images / 256 for split, images in grey.items()},
        bit_images(),
    ]

    contents = [
        data.settle(files_of(images, tmp_path / str(i)))["content"]
        for i, images in enumerate(others)
    ]
    # The same files without those to validate.
    contents.append(
        data.settle({**files_of(grey, tmp_path), "valid": None, "held_out": 3})["content"]
    )

    assert len({content, *contents}) == len(others) + 2


def test_files_that_are_gone_or_changed(tmp_path, load):
    grey = grey_images()
    config = data.settle(files_of(grey, tmp_path / "own"))
    expected = load(config).hash

    np.save(config["test"], grey["valid"])
    with pytest.raises(
        DataError, match=rf"not what they were: expected content {config['content'][:16]}, found"
    ):
        load(config)

    shutil.rmtree(tmp_path / "own")
    # Once prepared, the data need no files.
    assert load(config).hash == expected
    with pytest.raises(
        DataError, match=r"data\.train=.*train\.npy: there is no such file or folder"
    ):
        data.load(config, root=tmp_path / "empty")

    with pytest.raises(
        DataError, match=r"data\.train=.*train\.npy: there is no such file or folder"
    ):
        load({**config, "content": None})


def test_a_changed_folder_is_noticed(tmp_path):
    grey = grey_images()
    config = files_of(grey, tmp_path / "own")
    config["train"] = str(folder_of(grey["train"], tmp_path / "png"))
    first = data.settle(config)["content"]

    Image.fromarray(grey["test"][0]).save(tmp_path / "png" / "005.png")
    second = data.settle(config)["content"]

    (tmp_path / "png" / "006.png").unlink()

    assert len({first, second, data.settle(config)["content"]}) == 3


def test_files_that_change_while_they_are_read(tmp_path, load, monkeypatch):
    config = data.settle(files_of(grey_images(), tmp_path))
    # The loader knows what the files hold; then one of them changes.
    loader = OwnImages.of(config)
    np.save(config["test"], grey_images()["valid"])

    with pytest.raises(DataError, match="changed while they were read"):
        loader.arrays({})


def test_images_have_to_be_named(tmp_path):
    config = files_of(grey_images(), tmp_path)
    np.savez(tmp_path / "two.npz", train=GREY, test=GREY)
    two = {**config, "train": str(tmp_path / "two.npz"), "valid": None, "test": None}

    # Called as the split is, and taken for training alone.
    np.savez(tmp_path / "test.npz", test=GREY)

    cases = [
        (
            {"name": "images"},
            (
                r"name them, data\.train=PATH data\.valid=PATH data\.test=PATH, or "
                r"data\.train=FILE\.npz"
            ),
        ),
        (
            {**config, "valid": None},
            r"no validation images: name them, data\.valid=PATH, or hold .* data\.held_out=N",
        ),
        (
            {**config, "test": None},
            r"no test images: name them, data\.test=PATH; .*train\.npy has none",
        ),
        ({**config, "train": __file__, "test": None}, "neither an .npy nor an .npz file"),
        (two, "no validation images"),
        ({**two, "train": str(tmp_path / "test.npz"), "held_out": 2}, "no test images"),
        (
            {**config, "test": str(tmp_path / "missing")},
            r"data\.test=.*missing: there is no such file or folder",
        ),
        ({**config, "grey": "half"}, r"data\.grey=half: allowed: dynamic or threshold"),
    ]

    for wrong, message in cases:
        with pytest.raises(UserError, match=message):
            data.load(wrong, root=tmp_path / "root")

    assert not (tmp_path / "root").exists()

    with pytest.raises(UserError, match=r"name them, data\.train=PATH"):
        data.get("images", root=tmp_path / "root")

    gone = {**config, "content": "known", **{s: "gone" for s in COUNTS}}
    with pytest.raises(UserError, match="no validation images"):
        OwnImages.of(gone).splits({"train": GREY, "test": GREY}, None, 0)


def test_what_ls_and_verify_show(tmp_path):
    (state,) = (s for s in data.status(root=tmp_path) if s.name == "images")
    assert state.needed == ("data.train=PATH", "data.valid=PATH", "data.test=PATH")
    assert (state.prepared, state.missing, state.path) == (True, (), None)
    assert [c.state for c in data.verify("images", root=tmp_path)] == ["absent"]


def test_the_settings_file_has_every_setting():
    config = defaults.of_option("data", "images")

    assert config["grey"] == "dynamic"
    assert set(config) == {
        "name",
        *COUNTS,
        "grey",
        "content",
        "held_out",
        "held_out_seed",
        "mirror",
    }


@pytest.mark.parametrize("form", ["npz", "png"])
def test_a_table_runs_on_them(form, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VAEBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    images = grey_images()
    if form == "npz":
        np.savez("all.npz", **images)
        named = ["data.train=all.npz"]
    else:
        named = [
            f"data.{split}={folder_of(images[split], tmp_path / split)}"
            for split in ("train", "test")
        ]
        named += ["data.held_out=8", "data.grey=threshold"]

    cell = ["table=nvil_mnist", "preset=quick", "--only", "row=SBN 200", "--only", "column=NVIL"]
    command = [
        "run",
        *cell,
        "data=images",
        *named,
        "train.updates=50",
        "--seeds",
        "0",
        "run.engine=plain",
    ]

    assert main(command) == 0

    (path,) = Path("results/runs").glob("images-sbn200-nvil-*/seed-0/result.json")
    result = json.loads(path.read_text())

    assert result["status"] == "done"
    # The same cell and settings without the seed.
    assert main(["report", *command[1:8], *command[8:-3], "run.engine=plain"]) == 0
    assert "data: images, not the paper's mnist_static" in capsys.readouterr().out

    # The run is found again: nothing is written.
    written_at = path.stat().st_mtime_ns
    assert main(command) == 0
    assert path.stat().st_mtime_ns == written_at

    assert main([*command, "data.grey=half"]) == 2
    assert "allowed: dynamic or threshold" in capsys.readouterr().err
