"""What the verbs and the training loop call: load, get, verify, status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vaebench import data
from vaebench.config.catalogue import load_yaml, options
from vaebench.data.inventory import lines
from vaebench.data.splits import Splits
from vaebench.errors import DataError, UserError


@pytest.fixture
def tiny(tiny_static, monkeypatch):
    monkeypatch.setitem(data.DATA, "tiny", tiny_static.cls)
    return tiny_static


def state_of(name, **places):
    return next(s for s in data.status(**places) if s.name == name)


def test_every_data_option_has_a_loader():
    assert sorted(data.DATA) == options("data")
    for name, cls in data.DATA.items():
        assert cls.name == name == load_yaml("data", name)["name"]


def test_load_needs_neither_mirror_nor_root_in_the_environment_for_digits():
    splits = data.load(load_yaml("data", "digits"))
    assert isinstance(splits, Splits)
    assert splits.name == "digits"
    assert len(splits.valid) == 297
    assert len(data.load({"name": "digits", "held_out": 100, "held_out_seed": 2}).valid) == 100


def test_mirror_from_argument_setting_or_environment(tiny, tmp_path, monkeypatch):
    config = {"name": "tiny", "held_out": None, "held_out_seed": 0}
    by_argument = data.load(config, mirror=str(tiny.mirror), root=tmp_path / "a")

    assert (
        data.load({**config, "mirror": str(tiny.mirror)}, root=tmp_path / "c").hash
        == by_argument.hash
    )

    monkeypatch.setenv("VAEBENCH_MIRROR", str(tiny.mirror))
    assert data.load(config, root=tmp_path / "b").hash == by_argument.hash
    assert data.load(config).hash == by_argument.hash
    # The environment names this folder, by VAEBENCH_DATA.
    assert (tmp_path / "default_root" / "prepared" / "tiny-v1.h5").is_file()


def test_unknown_name_is_a_user_error():
    for call in (lambda: data.load({"name": "mnist_statik"}), lambda: data.get("mnist_statik"),
                 lambda: data.verify("mnist_statik")):  # fmt: skip
        with pytest.raises(UserError, match="did you mean 'mnist_static'"):
            call()


def test_status_get_and_verify(tiny, tmp_path):
    needed = ("tiny_train.amat", "tiny_valid.amat", "tiny_test.amat")
    nothing = state_of("tiny", root=tmp_path)
    assert (nothing.needed, nothing.present, nothing.missing) == (needed, (), needed)
    assert (nothing.prepared, nothing.bytes) == (False, 0)
    assert {c.state for c in data.verify("tiny", root=tmp_path)} == {"absent"}

    mirrored = state_of("tiny", mirror=tiny.mirror, root=tmp_path)
    assert (mirrored.present, mirrored.missing, mirrored.prepared, mirrored.bytes) == (
        needed,
        (),
        False,
        0,
    )

    got = data.get("tiny", mirror=tiny.mirror, root=tmp_path)
    assert got.prepared
    assert got.bytes == got.path.stat().st_size > 0
    assert got == state_of("tiny", mirror=tiny.mirror, root=tmp_path)

    checks = data.verify("tiny", mirror=tiny.mirror, root=tmp_path)
    # Three files and the prepared one.
    assert [c.state for c in checks] == ["ok"] * 4

    # A source of other content, and a prepared file that is cut short.
    tiny.file("valid").write_bytes(b"0 1\n")
    got.path.write_bytes(got.path.read_bytes()[:-500])
    bad = [c for c in data.verify("tiny", mirror=tiny.mirror, root=tmp_path) if c.state == "bad"]

    assert [Path(c.file).name for c in bad] == ["tiny_valid.amat.gz", "tiny-v1.h5"]
    assert tiny.cls.sources["valid"].sha256 in str(bad[0])


def test_lines_say_what_is_missing_what_is_here_and_what_is_ready(tiny, tmp_path):
    def line(**places):
        head, *rows = lines([state_of("tiny", root=tmp_path, **places)])
        assert head == ("DATA", "STATE", "MB", "FILES")
        return rows

    needed = "tiny_train.amat, tiny_valid.amat, tiny_test.amat"

    assert line() == [("tiny", "missing 3 of 3", "0.0", needed)]
    assert line(mirror=tiny.mirror) == [("tiny", "files here", "0.0", needed)]

    got = data.get("tiny", mirror=tiny.mirror, root=tmp_path)
    assert line() == [("tiny", "ready", f"{got.bytes / 1e6:.1f}", str(got.path))]
    assert lines([state_of("digits", root=tmp_path)])[1] == ("digits", "ready", "0.0", "embedded")


def test_digits_are_always_there(tmp_path):
    state = state_of("digits", root=tmp_path)
    assert (state.needed, state.prepared, state.path, state.bytes) == ((), True, None, 0)
    assert data.get("digits", root=tmp_path) == state
    assert [c.state for c in data.verify("digits", root=tmp_path)] == ["ok"]
    assert not any(tmp_path.iterdir())


def test_status_and_verify_write_nothing(tiny, tmp_path):
    root = tmp_path / "untouched"
    data.status(mirror=tiny.mirror, root=root)
    for name in data.DATA:
        data.verify(name, mirror=tiny.mirror, root=root)

    assert not root.exists()


def test_altered_file_stops_load_with_one_line(tiny, tmp_path):
    source = tiny.cls.sources["test"]
    tiny.file("test").write_bytes(b"0 1 1 0 0 1\n")

    with pytest.raises(DataError) as e:
        data.load({"name": "tiny"}, mirror=tiny.mirror, root=tmp_path)
    assert source.name in str(e.value)
    assert source.sha256 in str(e.value)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "prepared" / "tiny-v1.h5").exists()


def test_import_is_light():
    code = (
        "import sys, vaebench.data; print([m for m in ('numpy', 'h5py', 'sklearn', 'pooch', "
        "'requests', 'torch') if m in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    # None of these is loaded by the import alone.
    assert process.stdout.strip() == "[]"


def test_other_data_sets_are_settled_as_they_are():
    config = load_yaml("data", "digits")
    assert data.settle(config) == config
    with pytest.raises(UserError, match="unknown data set"):
        data.settle({"name": "txet"})
